"""The whole config of a run."""

import re
import unicodedata
from typing import Literal, Self

from pydantic import Field, model_validator

from datasets_tools.names import explain_name
from trainer.config.adapter import AdapterConfig
from trainer.config.base_model import BaseModelConfig
from trainer.config.dataset import DatasetConfig
from trainer.config.objective import ObjectiveConfig
from trainer.config.optimizer import OptimizerConfig
from trainer.config.output import OutputConfig
from trainer.config.samples import SamplesConfig
from trainer.config.section import Section
from trainer.config.train import TrainConfig

_SPELLING = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


_NAME_LETTERS = 64


def derive_name(typed: str, fallback: str = "") -> str:
    """Returns the name of a run, and of its file, that stands for what somebody typed.

    Args:
        typed: Any text. A name that is allowed is not changed.
        fallback: Used where nothing of the text can stand in a name.
    """
    # Letters with accents become those without, which is all that NFKD leaves of them in ASCII.
    plain = unicodedata.normalize("NFKD", typed).encode("ascii", "ignore").decode()
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", plain))[:_NAME_LETTERS]
    if name != typed:
        name = name.strip("._-")
    if name == "process":
        return f"{name}-lora"
    if name and name[0].isalnum() and not explain_name(name):
        return name
    return derive_name(fallback) if fallback else str(RunConfig.model_fields["name"].default)


class RunConfig(Section):
    """Everything a run depends on. Two runs with equal configs and data give equal files."""

    version: Literal[1] = Field(default=1, description="Version of this file's layout.")
    name: str = Field(
        default="my-lora",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Name of the run and of the exported file: letters, digits, dot, dash and "
        "underscore, at most 64.",
    )
    base_model: BaseModelConfig = Field(default_factory=BaseModelConfig)
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    samples: SamplesConfig = Field(default_factory=SamplesConfig)
    output: OutputConfig = Field(default_factory=OutputConfig)

    @model_validator(mode="after")
    def _check_across_sections(self) -> Self:
        if self.objective.min_timestep > self.objective.max_timestep:
            msg = "objective.min_timestep must not be above objective.max_timestep"
            raise ValueError(msg)
        if self.objective.prior == "images" and not self.dataset.prior_path:
            msg = "objective.prior = images needs a folder of images in dataset.prior_path"
            raise ValueError(msg)
        self._check_adapter()
        if ".." in self.name:
            msg = "name must not contain '..'"
            raise ValueError(msg)
        if self.name == "process":
            msg = "name must not be 'process': process.json records which process owns a run"
            raise ValueError(msg)
        return self

    def _check_adapter(self) -> None:
        adapter, optimizer = self.adapter, self.optimizer
        if optimizer.kind == "schedule_free" and (adapter.max_norm or adapter.kind == "adalora"):
            what = "adapter.max_norm" if adapter.max_norm else "adapter.kind = adalora"
            msg = (
                f"{what} changes weights after each step, of which schedule_free keeps a second "
                "copy: choose another optimizer.kind"
            )
            raise ValueError(msg)
        if optimizer.kind == "prodigy" and any(block.rate != 1 for block in adapter.blocks):
            msg = "prodigy finds one learning rate for all: leave out rate in adapter.blocks"
            raise ValueError(msg)
        if optimizer.kind == "prodigy" and adapter.word_vectors:
            others = {optimizer.unet_learning_rate, optimizer.text_learning_rate} - {0.0}
            if others - {optimizer.word_learning_rate}:
                msg = (
                    "prodigy finds one learning rate for all: give optimizer.word_learning_rate "
                    "the value of the others"
                )
                raise ValueError(msg)
        if adapter.word_vectors and not _SPELLING.fullmatch(self.dataset.trigger):
            msg = (
                "adapter.word_vectors trains a textual-inversion embedding, whose file is "
                "named after it: set dataset.trigger to one word of letters, digits, - and _"
            )
            raise ValueError(msg)
        if adapter.word_vectors and (problem := explain_name(self.dataset.trigger)):
            msg = f"adapter.word_vectors names a file after dataset.trigger. {problem}"
            raise ValueError(msg)
        per_output = adapter.kind == "dora" and adapter.dora_axis == "output"
        if per_output and self.output.formats != "peft":
            msg = (
                "adapter.dora_axis = output is read wrongly from kohya files: set output.formats "
                "to peft, or dora_axis to input"
            )
            raise ValueError(msg)
