"""The header of a run's file before there is one, for a person to read and agree to."""

import time
from pathlib import Path

from datasets_tools.buckets import count_buckets, make_buckets
from datasets_tools.captions import add_trigger
from trainer.config import RunConfig
from trainer.data import choose_sizes
from trainer.export import ExportFacts, find_samples, make_metadata, make_thumbnail, name_base_model
from trainer.models import BaseModelInfo, check_config
from trainer.runs import RunFolder
from trainer.runs.base_models import locate_base_model
from trainer.training.sources import scan_datasets


def expect_header(
    config: RunConfig, run: RunFolder | None = None, models: Path = Path("models")
) -> dict[str, str]:
    """Returns the header as it would be written when the last step is done, without the hashes.

    Reads captions, image sizes and the base model's small files; loads no model.

    Args:
        config: What would be trained.
        run: Its folder, whose samples give the thumbnail; None where there are no samples yet.
        models: The workspace's folder of base models, for a hub id.

    Raises:
        ConfigError, DatasetError, ModelError, RunError: what is wrong and what to do.
    """
    info = check_config(locate_base_model(config.base_model, models))
    steps = config.train.steps
    images = find_samples(run.samples_path, steps) if run and config.output.thumbnail else []
    return make_metadata(config, _expect_facts(config, info), make_thumbnail(images))


def _expect_facts(config: RunConfig, info: BaseModelInfo) -> ExportFacts:
    dataset, base = config.dataset, config.base_model
    scans = scan_datasets(config)
    examples = scans.dataset.examples
    step, resolution = choose_sizes(dataset, info)
    buckets = count_buckets(
        [(example.width, example.height) for example in examples],
        make_buckets(resolution, step, dataset.max_aspect),
        step,
        dataset.max_upscale,
    )
    return ExportFacts(
        family=info.family,
        prediction=info.prediction,
        base_model_name=name_base_model(base.path),
        captions=[add_trigger(example.caption, dataset.trigger) for example in examples],
        resolution=resolution,
        buckets={(bucket.width, bucket.height): count for bucket, count in buckets.items()},
        step=config.train.steps,
        started=time.time(),
        zero_snr=info.zero_snr,
        precision="" if base.precision == "auto" else base.precision,
        class_images=len(scans.prior.examples) if scans.prior else 0,
        flow_shift=info.flow_shift,
    )
