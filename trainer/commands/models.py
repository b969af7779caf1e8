"""Models: downloading one from the hub, and listing the base models of a workspace."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from trainer.commands.libraries import quiet_libraries
from trainer.config import BaseModelConfig
from trainer.formats.families import FAMILIES
from trainer.hub import Report, download_base_model, download_matching, find_token
from trainer.models import ModelError, check_config, check_parts
from trainer.training.progress import log_line

_LINES_PER_DOWNLOAD = 10


@dataclass(frozen=True)
class ListedModel:
    """A base model, or something that wants to be one.

    Attributes:
        name: Of its file or folder.
        path: Where it lies.
        bytes: Its size on the disk.
        layout: "folder" or "file"; empty, as all below, where it is no base model.
        family: A key of `FAMILIES`.
        prediction: A key of `PREDICTIONS`.
        zero_snr: Its noise schedule ends in pure noise.
        message: Why it is no base model, or the question that it leaves open.
        certain: The prediction is stated by the base model, not assumed.
        notes: What a person should know before training on it.
        public: It has the sizes of its family's public model.
    """

    name: str
    path: str
    bytes: int
    layout: str = ""
    family: str = ""
    prediction: str = ""
    zero_snr: bool = False
    message: str = ""
    certain: bool = True
    notes: tuple[str, ...] = ()
    public: bool = False

    def __str__(self) -> str:
        assumed = "" if self.certain else " (assumed, and measured before the first step)"
        what = (
            f"{FAMILIES[self.family].title}, {self.prediction}{assumed}"
            if self.family
            else "no base model"
        )
        size = tqdm.format_sizeof(self.bytes, "B")
        lines = [f"{self.name}  {what}, {size}", *(each for each in (self.message,) if each)]
        return "\n    ".join([*lines, *self.notes])


def download_model(
    hub_id: str, models: Path, report: Report | None = None, *, half: bool = True
) -> Path:
    """Downloads a base model and returns where it lies.

    Args:
        hub_id: "owner/name", "owner/name@revision" or "owner/name/file.safetensors".
        models: The workspace's folder of base models.
        report: Called with the bytes so far and in all; None shows a bar.
        half: Takes weights in fp16 where the repository offers them in both formats.

    Raises:
        HubError: with what to do.
    """
    bar = _DownloadBar(hub_id)
    try:
        return download_base_model(hub_id, models, find_token(), report or bar.update, half=half)
    finally:
        bar.close()


def download_captioner(
    hub_id: str, place: Path, files: Sequence[str], report: Report | None = None
) -> Path:
    """Downloads a captioner's model and returns where it lies.

    Args:
        hub_id: "owner/name" or "owner/name@revision".
        place: The folder that it becomes.
        files: Names of the files it needs; a `*` stands for any letters within one.
        report: Called with the bytes so far and in all; None shows a bar.

    Raises:
        HubError: with what to do.
    """
    bar = _DownloadBar(hub_id)
    try:
        return download_matching(hub_id, place, files, find_token(), report or bar.update)
    finally:
        bar.close()


def describe_model(path: Path) -> ListedModel:
    """Returns what a file or a folder is as a base model; reads its small files and headers."""
    quiet_libraries()
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    model = ListedModel(path.name, str(path), sum(each.stat().st_size for each in files))
    try:
        info = check_config(BaseModelConfig(path=str(path)))
        check_parts(info)
    except ModelError as error:
        return replace(model, message=str(error))
    return replace(
        model,
        layout=info.layout,
        family=info.family,
        prediction=info.prediction,
        zero_snr=info.zero_snr,
        message=info.question,
        certain=info.certain,
        notes=info.notes,
        public=info.is_public,
    )


def list_models(models: Path) -> list[ListedModel]:
    """Returns what lies in a workspace's folder of base models, by name."""
    if not models.is_dir():
        return []
    paths = sorted(path for path in models.iterdir() if not path.name.startswith("."))
    return [describe_model(path) for path in paths]


class _DownloadBar:
    """Progress for a person: a bar on a terminal, else a line for every tenth."""

    def __init__(self, name: str) -> None:
        self._name, self._tenths = name, 0
        self._bar = tqdm(
            desc=name, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
        )

    def update(self, done: int, total: int) -> None:
        """Shows so many bytes."""
        if not self._bar.disable:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            return
        tenths = _LINES_PER_DOWNLOAD * done // max(total, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            sizes = [tqdm.format_sizeof(size, "B") for size in (done, total)]
            log_line(f"{self._name}: {sizes[0]} of {sizes[1]}")

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
