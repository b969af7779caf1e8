"""Base models in a workspace: what a hub id means, and where its download lies.

models/
  my-model.safetensors             whatever a person puts here
  OWNER--NAME[@REVISION]/          a download in the diffusers layout
  OWNER--NAME--FILE.safetensors    a download of one file
  .partial/                        downloads that are not complete yet
"""

import re
from dataclasses import dataclass
from pathlib import Path

from datasets_tools.names import change_name
from trainer.config import BaseModelConfig
from trainer.runs.errors import RunError

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_HUB_ID = re.compile(
    rf"(?P<repository>{_NAME}/{_NAME})"
    r"(?:/(?P<file>[^@\\:/\x00-\x1f][^@\\:\x00-\x1f]*\.(?:safetensors|ckpt|pt|pth|bin)))?"
    r"(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]*))?"
)


@dataclass(frozen=True)
class HubId:
    """OWNER/NAME[/FILE][@REVISION].

    Attributes:
        repository: "owner/name".
        file: One file of it; empty takes the parts of the diffusers layout.
        revision: A branch, a tag or a commit; empty takes the main branch.
    """

    repository: str
    file: str = ""
    revision: str = ""

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"{self.repository}{file}" + (f"@{self.revision}" if self.revision else "")

    @property
    def entry(self) -> str:
        """The name of its download in the folder of base models."""
        parts = self.repository.split("/")
        name = self.file.removesuffix(".safetensors")
        parts += [re.sub(r"[^\w.+-]+", "_", part) for part in name.split("/") if part]
        revision = "@" + self.revision.replace("/", "--") if self.revision else ""
        name = "--".join(parts) + revision + (".safetensors" if self.file else "")
        return change_name(name, "model")


def parse_hub_id(text: str) -> HubId | None:
    """Returns what a text names on the hub, or None where it is not a hub id."""
    match = _HUB_ID.fullmatch(text)
    if match is None or "--" in match["repository"] or ".." in text:
        return None
    return HubId(match["repository"], match["file"] or "", match["revision"] or "")


def is_hub_id(text: str) -> bool:
    """Whether a text has the form of a hub id; a relative path of two parts has it, too."""
    return parse_hub_id(text) is not None


def find_base_model(text: str, models: Path) -> Path:
    """Returns where a base model lies: a path stays, a hub id is looked up among the downloads.

    Args:
        text: A file, a folder or a hub id.
        models: The workspace's folder of base models.

    Raises:
        RunError: it is a hub id that was not downloaded.
    """
    path, hub_id = Path(text).expanduser(), parse_hub_id(text)
    if hub_id is None or path.exists():
        return path
    place = models / hub_id.entry
    if not place.exists():
        msg = (
            f"The base model {text} is not here: there is no such path, and it was not downloaded "
            f"to {models}. `lorasmith download {text}` fetches it from the hub."
        )
        raise RunError(msg)
    return place


def locate_base_model(config: BaseModelConfig, models: Path) -> BaseModelConfig:
    """Returns the config with paths where it has hub ids; see `find_base_model`."""
    paths = {"path": config.path, "vae": config.vae}
    located = {name: str(find_base_model(text, models)) for name, text in paths.items() if text}
    return config.model_copy(update=located)
