"""Which files of a repository to download, and the checksums of their content."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer.hub.errors import HubError
from trainer.runs.base_models import HubId

_INDEX = "model_index.json"
_NEEDED = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_ALSO = ("text_encoder_2", "tokenizer_2")
_SMALL_FILES = {
    "unet": {"config.json"},
    "vae": {"config.json"},
    "text_encoder": {"config.json"},
    "scheduler": {"scheduler_config.json"},
    "tokenizer": {
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
    },
}
_WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_SAFE_WEIGHTS = (".safetensors", ".onnx")
_PLAIN_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.))*"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository; the checksums are those of the hub.

    Attributes:
        name: Its path in the repository.
        size: Bytes.
        sha256: Of a large file; empty for a small one.
        blob: Git's own checksum of a small file.
    """

    name: str
    size: int
    sha256: str = ""
    blob: str = ""

    def part(self, folder: Path) -> Path:
        """Returns where it grows; named by content, so that no other file continues it."""
        path = folder / self.name
        return path.with_name(f"{path.name}.{(self.sha256 or self.blob)[:16]}.part")

    def part_size(self, folder: Path) -> int:
        """Returns how many bytes have arrived."""
        part = self.part(folder)
        return part.stat().st_size if part.is_file() else 0


def choose_files(hub_id: HubId, offered: Sequence[HubFile], *, half: bool) -> list[HubFile]:
    """Returns the files that make a base model: configs, tokenizers, one set of weights a part.

    Only names that this module knows are ever returned, so none leads out of its folder.

    Raises:
        HubError: the repository has no such model.
    """
    by_name = {file.name: file for file in offered}
    if hub_id.file:
        return [_choose_single(hub_id, by_name)]
    if _INDEX not in by_name:
        raise HubError(_explain_no_index(hub_id, by_name))
    missing = [part for part in _NEEDED if not _list_part(by_name, part)]
    if missing:
        msg = (
            f"{hub_id} has no {missing[0]}/, so it is no SD 1.x, SD 2.x or SDXL model. Choose "
            "another repository."
        )
        raise HubError(msg)
    names = {_INDEX}
    for part in (*_NEEDED, *_ALSO):
        names |= _choose_part(hub_id, part, _list_part(by_name, part), half=half)
    return [by_name[name] for name in sorted(names, key=lambda name: (by_name[name].size, name))]


def choose_matching(
    hub_id: HubId, offered: Sequence[HubFile], patterns: Sequence[str]
) -> list[HubFile]:
    """Returns the files whose names fit one of the patterns, with weights among them.

    Only plain names at the top of the repository are ever returned, so none leads out of its
    folder, and never a pickle.

    Args:
        hub_id: The repository, for the errors.
        offered: Its files.
        patterns: Names; a `*` stands for any letters within one.

    Raises:
        HubError: the repository has no weights of these names.
    """
    if hub_id.file:
        msg = f"{hub_id} is one file, and a whole repository is needed. Name {hub_id.repository}."
        raise HubError(msg)
    allowed = [re.compile(".*".join(map(re.escape, each.split("*")))) for each in patterns]
    chosen = [
        file
        for file in offered
        if re.fullmatch(_PLAIN_NAME, file.name)
        and not file.name.endswith(_PICKLES)
        and any(pattern.fullmatch(file.name) for pattern in allowed)
    ]
    if not any(file.name.endswith(_SAFE_WEIGHTS) for file in chosen):
        pickled = any(file.name.endswith(_PICKLES) for file in offered)
        needed = [each for each in patterns if each.endswith(_SAFE_WEIGHTS)]
        msg = (
            f"{hub_id} offers its weights only as a pickle, which can run code when it is read. "
            if pickled
            else f"{hub_id} has no file {' or '.join(needed)}. "
        )
        raise HubError(f"{msg}Choose another repository.")
    return sorted(chosen, key=lambda file: (file.size, file.name))


def _choose_single(hub_id: HubId, by_name: dict[str, HubFile]) -> HubFile:
    if hub_id.file.endswith(_PICKLES):
        msg = (
            f"{hub_id.file} is a pickle, which can run code when it is read. Choose a "
            ".safetensors file instead."
        )
        raise HubError(msg)
    if hub_id.file not in by_name:
        known = ", ".join(sorted(name for name in by_name if name.endswith(".safetensors")))
        msg = f"{hub_id.repository} has no file {hub_id.file}; it has {known or 'no weights'}."
        raise HubError(msg)
    return by_name[hub_id.file]


def _explain_no_index(hub_id: HubId, names: Iterable[str]) -> str:
    top = sorted(name for name in names if "/" not in name)
    files = [name for name in top if name.endswith(".safetensors")]
    if files:
        return (
            f"{hub_id} is not in the diffusers layout; it offers single files: {', '.join(files)}. "
            f"Name one: `lorasmith download {hub_id.repository}/{files[0]}`."
        )
    if any(name.endswith(_PICKLES) for name in top):
        return (
            f"{hub_id} offers its model only as a pickle, which can run code when it is read. "
            "Choose a repository with .safetensors files."
        )
    return f"{hub_id} holds no base model: neither {_INDEX} nor a .safetensors file is in it."


def _list_part(names: Iterable[str], part: str) -> set[str]:
    """Returns the names of the files that lie directly in a part's folder."""
    return {path.name for name in names if str((path := PurePosixPath(name)).parent) == part}


def _choose_part(hub_id: HubId, part: str, names: set[str], *, half: bool) -> set[str]:
    kind = part.removesuffix("_2")
    chosen = names & _SMALL_FILES[kind]
    if names and kind in _WEIGHTS:
        weights = _choose_weights(_WEIGHTS[kind], names, half=half)
        if not weights:
            pickled = any(name.endswith(_PICKLES) for name in names)
            msg = (
                f"{hub_id} offers its {part} only as a pickle, which can run code when it is read. "
                if pickled
                else f"{hub_id} lacks the weights of its {part}. "
            )
            raise HubError(f"{msg}Choose a repository with .safetensors files.")
        chosen |= weights
    return {f"{part}/{name}" for name in chosen}


def _choose_weights(stem: str, names: set[str], *, half: bool) -> set[str]:
    """Returns one complete set of safetensors files; empty where there is none."""
    plain, small = (_find_set(stem, variant, names) for variant in ("", ".fp16"))
    return (small or plain) if half else (plain or small)


def _find_set(stem: str, variant: str, names: set[str]) -> set[str]:
    """Returns the whole file, else the shards with their index."""
    whole, index = f"{stem}{variant}.safetensors", f"{stem}.safetensors.index{variant}.json"
    if whole in names:
        return {whole}
    number, tail = r"-(\d{5})-of-(\d{5})", re.escape(variant)
    # Libraries have written the variant before the number and behind it.
    pattern = re.compile(rf"{re.escape(stem)}(?:{tail}{number}|{number}{tail})\.safetensors")
    matches = [match for name in names if (match := pattern.fullmatch(name))]
    totals = {int(match[2] or match[4]) for match in matches}
    complete = index in names and totals == {len(matches)}
    return {index, *(match[0] for match in matches)} if complete else set()
