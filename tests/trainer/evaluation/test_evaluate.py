"""`lorasmith evaluate` on a run of the small model: results, stopping, held-out images."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from datasets_tools.errors import DatasetError
from tests.trainer.conftest import load_plain, write_images
from trainer.commands import EvaluationSettings, evaluate_run, export_checkpoint, train
from trainer.config import DatasetConfig
from trainer.data import read_training_examples, split_examples
from trainer.device import open_device_context
from trainer.diffusion import PROCESSES
from trainer.evaluation.evaluate import EvaluationStopped
from trainer.evaluation.features import load_features
from trainer.evaluation.losses import TIMESTEPS, Model, Probe, measure_forgetting, measure_losses
from trainer.evaluation.plan import choose_prompts
from trainer.inference.sampling import generate, generate_all
from trainer.models import Geometry, ModelError
from trainer.models.family import GenerationRequest
from trainer.runs import RunError, open_run, read_events, read_status, request
from trainer.runs.evaluations import read_best_weight, read_evaluation, read_suggestion
from trainer.seeds import derive_seed
from trainer.training.attach import attach_checkpoint

SETTINGS = EvaluationSettings(
    prompts=("a blob", "a red blob", "a house"), weights=(0.5, 1.0), inference_steps=2
)


def ignore(*_progress):
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pico):
    """A finished run of two checkpoints, with two images held out, and its cache."""
    from trainer.config import layer_config
    from trainer.runs import create_run

    folder = tmp_path_factory.mktemp("evaluated")
    images = write_images(folder / "images", [(32, 32)] * 6)
    settings = {
        "name": "pico",
        "base_model": {"path": str(pico), "precision": "fp32"},
        "dataset": {
            "path": str(images), "trigger": "zorp", "resolution": 32, "bucket_step": 4,
            "held_out": 2,
        },
        "adapter": {"rank": 4, "text_rank": 2},
        "optimizer": {"unet_learning_rate": 1e-2},
        "train": {"steps": 4, "batch_size": 2, "device": "cpu"},
        "samples": {"every_steps": 0},
        "output": {"checkpoint_every_steps": 2},
    }  # fmt: skip
    run = create_run(folder / "runs", layer_config(settings=settings))
    assert train(run, folder / "cache") == "finished"
    return run, folder / "cache"


@pytest.fixture
def run(trained, tmp_path):
    """A copy, so that each test evaluates for the first time."""
    path = tmp_path / "workspace" / "runs" / trained[0].id
    shutil.copytree(trained[0].path, path, ignore=shutil.ignore_patterns("evaluation*"))
    return open_run(path)


@pytest.fixture(scope="module")
def evaluated(trained):
    run, cache = trained
    done = []
    data = evaluate_run(run, cache, SETTINGS, lambda *each: done.append(each))
    return run, data, done


def test_every_checkpoint_is_measured_at_every_weight(evaluated):
    run, data, done = evaluated
    assert json.loads((run.path / "evaluation.json").read_text()) == data
    cells = [(each["step"], each["weight"]) for each in data["cells"]]
    assert cells == [(2, 0.5), (2, 1.0), (4, 0.5), (4, 1.0)]
    assert [each["step"] for each in data["checkpoints"]] == [2, 4]
    assert done[-1][:2] == (15, 15)
    with Image.open(run.path / data["suggestion"]["sheet"]) as sheet:
        assert sheet.size[0] > 3 * 32
    prompts = data["settings"]["prompts"]
    assert prompts[0]["text"] == "zorp, a blob"
    assert prompts[0]["base_text"] == "a blob"


def test_losses_are_told_for_training_held_out_and_forgetting(evaluated):
    _, data, _ = evaluated
    for row in data["checkpoints"]:
        assert set(row["losses"]) == {"training", "held_out", "forgetting"}
        assert all(len(each) == len(TIMESTEPS) for each in row["losses"].values())
        assert all(value > 0 for each in row["losses"].values() for value in each)
    assert set(data["base"]["losses"]) == {"training", "held_out"}
    first, last = (sum(row["losses"]["forgetting"]) for row in data["checkpoints"])
    assert last > first


def test_events_name_the_verdicts_and_leave_the_state_as_it_was(evaluated):
    run, data, _ = evaluated
    events = [each for each in read_events(run.events_path) if each["event"] == "evaluation"]
    verdicts = [(each["checkpoint"], each["verdict"]) for each in events]
    assert verdicts == [(each["step"], each["verdict"]) for each in data["checkpoints"]]
    status = read_status(run.path)
    assert (status.state, status.step) == ("finished", 4)


def test_the_suggestion_is_read_without_torch_and_goes_to_exports(evaluated, trained):
    from safetensors import safe_open

    run, data, _ = evaluated
    chosen = read_suggestion(run.path)
    assert (chosen.step, chosen.weight) == (
        data["suggestion"]["step"],
        data["suggestion"]["weight"],
    )
    step = data["checkpoints"][0]["step"]
    weight = data["checkpoints"][0]["weight"]
    assert read_best_weight(run.path, step) == weight
    assert read_best_weight(run.path, 99) is None
    with safe_open(export_checkpoint(run, trained[1], step), "pt") as file:
        hint = file.metadata()["modelspec.usage_hint"]
    assert hint == f"Put “zorp” in the prompt. Recommended weight: {weight:g}, by measurement."


@pytest.mark.parametrize(
    "rows", [3, None, {}, [3], [None], ["a"], [{"step": 1, "weight": "1"}], [{"step": 1}]]
)
def test_damaged_rows_of_an_evaluation_have_no_weight(tmp_path, rows):
    (tmp_path / "evaluation.json").write_text(json.dumps({"version": 1, "checkpoints": rows}))
    assert read_best_weight(tmp_path, 1) is None


def test_what_is_no_evaluation_suggests_nothing(tmp_path):
    assert read_evaluation(tmp_path) is None
    for text in ("{", "[]", '{"version": 99}', '{"version": 1, "suggestion": null}'):
        (tmp_path / "evaluation.json").write_text(text)
        assert read_suggestion(tmp_path) is None
        assert read_best_weight(tmp_path, 1) is None


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_and_ends_with_the_same_numbers(run, trained, evaluated):
    cache, made = trained[1], []

    def stop_at_the_second_cell(done, _total, _what):
        made.append(done)
        if len(made) == 2:
            request(run.path, "stop")

    with pytest.raises(EvaluationStopped, match="same command continues"):
        evaluate_run(run, cache, SETTINGS, stop_at_the_second_cell)
    assert not (run.path / "evaluation.json").exists()
    stored = {path: path.stat().st_mtime_ns for path in run.path.glob("evaluation/*/*/*.png")}
    assert len(stored) == 6
    data = evaluate_run(run, cache, SETTINGS, ignore)
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    assert data["cells"] == evaluated[1]["cells"]
    assert data["checkpoints"] == evaluated[1]["checkpoints"]
    assert not list((run.path / "control").glob("*"))


@pytest.mark.slow
def test_other_settings_generate_anew(run, trained):
    few = EvaluationSettings(
        prompts=("a blob", "a house"), weights=(1.0,), inference_steps=1, checkpoints=(4,)
    )
    evaluate_run(run, trained[1], few, ignore)
    (before,) = run.path.glob("evaluation/images-*")
    other = EvaluationSettings(**{**vars(few), "inference_steps": 2})
    evaluate_run(run, trained[1], other, ignore)
    (after,) = run.path.glob("evaluation/images-*")
    assert before.name != after.name


def test_the_command_prints_a_table_and_json(run, capsys):
    workspace = str(run.path.parent.parent)
    words = ["evaluate", f"--workspace={workspace}", run.id, "--prompt", "a blob", "--prompt"]
    words += ["a house", "--weights", "1", "--steps", "1", "--checkpoints", "4"]
    assert main(words) == 0
    output = capsys.readouterr()
    assert "suggestion: step 4 at weight 1" in output.out
    assert "image 4/4: step 4 at weight 1" in output.err
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checkpoints", "3"], "no checkpoint at step 3; there are: 2, 4"),
        (["--weights", "0"], "must be above 0"),
        (["--features", "/nowhere"], "is no image model"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(run, capsys, words, message):
    workspace = str(run.path.parent.parent)
    base = ["evaluate", f"--workspace={workspace}", run.id, "--prompt", "a blob", "--steps", "1"]
    assert main([*base, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_refused(make_run, cache):
    with pytest.raises(RunError, match="no checkpoint to evaluate"):
        evaluate_run(make_run(), cache, SETTINGS, ignore)


# --- held-out images ----------------------------------------------------------------------------


def test_held_out_images_are_not_trained_on_whatever_their_names(images):
    config = DatasetConfig(path=str(images), held_out=2)
    out = {each.id for each in split_examples(config)[1]}
    trained_on = {each.id for each in read_training_examples(config)[0]}
    assert (len(out), len(trained_on), len(out & trained_on)) == (2, 4, 0)
    for path in sorted(images.iterdir(), reverse=True):
        path.rename(path.with_name(f"{9 - int(path.stem)}{path.suffix}"))
    assert {each.id for each in split_examples(config)[1]} == out


def test_held_out_images_are_no_part_of_a_run(trained):
    run, _ = trained
    meta = json.loads((run.list_checkpoints()[0].path / "meta.json").read_text())
    assert len(meta["examples"]) == 4


def test_as_many_held_out_as_there_are_is_refused(images):
    with pytest.raises(DatasetError, match="held_out is 6, but the dataset has 6 images"):
        read_training_examples(DatasetConfig(path=str(images), held_out=6))


# --- losses -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(trained):
    run, _ = trained
    family, context = load_plain(run.config.base_model.path), open_device_context("cpu", "fp32")
    adapters = attach_checkpoint(family, run.list_checkpoints()[-1].path, context.device)
    process = PROCESSES[family.noise](family.schedule_config(), family.prediction, context.device)
    return Model(family, context, process, adapters)


@pytest.fixture(scope="module")
def probe(model):
    latents = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(5))
    return Probe("one", latents, "a blob", Geometry((32, 32), (0, 0), (32, 32)))


def test_losses_are_the_same_each_time_and_that_of_two_is_the_mean(model, probe):
    other = Probe("two", -probe.latents, "a house", probe.geometry)
    once = measure_losses(model, [probe], 1.0)
    assert measure_losses(model, [probe], 1.0) == once
    both = measure_losses(model, [probe, other], 1.0)
    mean = (np.array(once) + measure_losses(model, [other], 1.0)) / 2
    assert both == pytest.approx(mean, rel=1e-6)


def test_the_loss_is_the_squared_error_of_the_noise_at_fixed_time_steps(model, probe):
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal = np.cumprod(1 - betas)
    expected = []
    for timestep in (125, 375, 625, 875):
        errors = []
        for number in (0, 1):
            generator = torch.Generator().manual_seed(
                derive_seed("evaluation", "one", timestep, number)
            )
            noise = torch.randn(4, 16, 16, generator=generator)
            share = float(signal[timestep])
            noisy = share**0.5 * probe.latents + (1 - share) ** 0.5 * noise
            with torch.no_grad():
                answer = model.family.predict(
                    noisy[None], torch.tensor([timestep]), model.family.encode_captions(["a blob"])
                )
            errors.append(float((answer[0] - noise).square().mean()))
        expected.append(sum(errors) / 2)
    assert measure_losses(model, [probe], 1.0) == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_the_base_model_is_that_without_the_adapter(model, probe):
    assert measure_losses(model, [probe], 0.0) != measure_losses(model, [probe], 1.0)
    plain = Model(load_plain(model.family.info.path), model.context, model.process, model.adapters)
    assert measure_losses(plain, [probe], 1.0) == pytest.approx(
        measure_losses(model, [probe], 0.0), rel=1e-5
    )


def test_nothing_is_forgotten_at_a_weight_of_0_and_more_at_a_larger_one(model, probe):
    none, half, whole = (measure_forgetting(model, [probe], each) for each in (0.0, 0.5, 1.0))
    assert none == [0.0] * len(TIMESTEPS)
    assert all(0 < less < more for less, more in zip(half, whole, strict=True))


# --- prompts, batches, features -----------------------------------------------------------------


def test_prompts_are_new_situations_of_the_class_and_never_captions(trained):
    run, _ = trained
    examples = read_training_examples(run.config.dataset)[0]
    texts = [each.text for each in choose_prompts(run.config, examples, EvaluationSettings())]
    assert len(texts) == 8
    assert not {each.removeprefix("zorp, ") for each in texts} & {e.caption for e in examples}
    data = run.config.dataset.model_copy(update={"class_word": "cat"})
    config = run.config.model_copy(update={"dataset": data})
    first = choose_prompts(config, examples, EvaluationSettings())[0]
    assert (first.text, first.base_text) == ("zorp, cat in the snow", "cat, cat in the snow")


def test_images_in_a_batch_are_those_made_one_by_one(pico):
    family, context = load_plain(pico), open_device_context("cpu", "fp32")
    requests = [GenerationRequest(each, "", n, 2, 4.0, 32, 32) for n, each in enumerate("abc")]
    together = generate_all(family, context, requests)
    for each, image in zip(requests, together, strict=True):
        alone = np.asarray(generate(family, context, each), dtype=int)
        assert np.abs(alone - np.asarray(image, dtype=int)).max() <= 1


@pytest.mark.parametrize("kind", ["clip", "dinov2"])
def test_features_come_from_a_folder_of_transformers(tmp_path, kind):
    import transformers

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    if kind == "clip":
        config = transformers.CLIPVisionConfig(**sizes, intermediate_size=32, projection_dim=8)
        model = transformers.CLIPVisionModelWithProjection(config)
    else:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes))
    model.save_pretrained(tmp_path)
    facts = {"crop_size": {"height": 28, "width": 28}, "image_mean": [0.5, 0.4, 0.3]}
    facts |= {"image_std": [0.5, 0.25, 0.2]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(facts))
    image = Image.new("RGB", (56, 56), (255, 51, 0))
    rows = load_features(tmp_path, torch.device("cpu"))([image, Image.new("RGB", (28, 28))])
    assert rows.shape == (2, 8 if kind == "clip" else 16)
    pixels = torch.tensor([1.0, (0.2 - 0.4) / 0.25, -1.5]).view(1, 3, 1, 1).expand(1, 3, 28, 28)
    answer = model.eval()(pixel_values=pixels)
    own = answer.image_embeds if kind == "clip" else answer.last_hidden_state[:, 0]
    assert np.allclose(rows[0], own[0].detach().numpy(), atol=1e-5)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is no image model"):
        load_features(tmp_path, torch.device("cpu"))
