"""Settings that do not suit a base model: no error, but a person should know before the start."""

from trainer.config import RunConfig, list_advice
from trainer.models import BaseModelInfo


def list_warnings(config: RunConfig, info: BaseModelInfo) -> list[str]:
    """Returns what a person should know before a run starts, one or two sentences each.

    Args:
        config: Of the run.
        info: Its base model, as `check_config` returns it.
    """
    return [*info.notes, *list_advice(config, info.prediction, zero_snr=info.zero_snr)]
