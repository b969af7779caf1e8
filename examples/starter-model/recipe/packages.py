"""The emoji sets: which npm packages, under which licences, and how they get here."""

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe.errors import RecipeError

# Licences whose works may go into the weights: they ask for attribution at most. Share-alike and
# non-commercial ones do not.
TRAINABLE = frozenset({"Apache-2.0", "MIT", "CC-BY-4.0"})
# Works that may be looked at for measuring, and leave no trace in the weights.
MEASURABLE = TRAINABLE | {"CC-BY-SA-4.0"}


@dataclass(frozen=True)
class IconSet:
    """A package, and the word for its style in captions.

    Attributes:
        npm: Name of the package.
        version: The one that the recipe was written for.
        phrase: What captions call the style.
        author: Whom to name, as the licence asks.
    """

    npm: str
    version: str
    phrase: str
    author: str


SETS: dict[str, IconSet] = {
    "noto": IconSet("@iconify-json/noto", "1.2.9", "noto style", "Google Inc."),
    "noto-v1": IconSet("@iconify-json/noto-v1", "1.2.5", "blobby style", "Google Inc."),
    "twemoji": IconSet(
        "@iconify-json/twemoji",
        "1.2.5",
        "twemoji style",
        "Copyright Twitter, Inc and other contributors",
    ),
    "fluent-emoji-flat": IconSet(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "fluent style",
        "Copyright Microsoft Corporation",
    ),
    "emojione": IconSet(
        "@iconify-json/emojione", "1.2.3", "emojione style", "Copyright Emoji One / EmojiTwo"
    ),
    "openmoji": IconSet("@iconify-json/openmoji", "1.2.29", "", "OpenMoji"),
    "fxemoji": IconSet("@iconify-json/fxemoji", "1.2.2", "", "Mozilla"),
}


@dataclass(frozen=True)
class Package:
    """The parts of a package that matter here.

    Attributes:
        key: A key of `SETS`.
        icons: `icons.json`: SVG contents, sizes, aliases.
        licence: SPDX name of the licence that the package itself states.
        licence_url: Where that licence stands.
    """

    key: str
    icons: dict[str, Any]
    licence: str
    licence_url: str


def load_package(key: str, given: Path | None, cache: Path, training: bool) -> Package:
    """Returns a package from a folder, from an earlier fetch, or from npm.

    Args:
        key: A key of `SETS`.
        given: Folder with packages, packed (`.tgz`) or unpacked; None to use npm.
        cache: Where fetched packages are kept.
        training: Whether the drawings are to go into the weights.

    Raises:
        RecipeError: it is missing, damaged, of another version, or its licence does not allow it.
    """
    if key not in SETS:
        msg = f"There is no emoji set {key!r}; known: {', '.join(SETS)}. Correct data.styles."
        raise RecipeError(msg)
    texts = _find(SETS[key], given) if given else _fetch(SETS[key], cache)
    try:
        version = json.loads(texts["package.json"])["version"]
        info = json.loads(texts["info.json"])
        licence = info["license"]
        package = Package(
            key, json.loads(texts["icons.json"]), licence["spdx"], str(licence.get("url", ""))
        )
    except (ValueError, KeyError, TypeError) as error:
        msg = f"The package {SETS[key].npm} is damaged ({error!r}). Fetch it again with npm pack."
        raise RecipeError(msg) from error
    if version != SETS[key].version:
        msg = (
            f"{SETS[key].npm} is here in version {version}, whose drawings may differ; "
            f"give version {SETS[key].version}."
        )
        raise RecipeError(msg)
    check_licence(package, training)
    return package


def check_licence(package: Package, training: bool) -> None:
    """Refuses a package whose own statement of its licence does not allow the use.

    Raises:
        RecipeError: the licence is not among the allowed ones.
    """
    allowed = TRAINABLE if training else MEASURABLE
    if package.licence not in allowed:
        use = "trained on" if training else "measured on"
        msg = (
            f"The set {package.key} is under {package.licence}, so it cannot be {use}; allowed: "
            f"{', '.join(sorted(allowed))}. Take it out of data."
            f"{'styles' if training else 'measured_styles'}."
        )
        raise RecipeError(msg)


_FILES = ("package.json", "info.json", "icons.json")


def _archive_name(icon_set: IconSet) -> str:
    return f"{icon_set.npm.removeprefix('@').replace('/', '-')}-{icon_set.version}.tgz"


def _find(icon_set: IconSet, folder: Path) -> dict[str, str]:
    archive = folder / _archive_name(icon_set)
    if archive.is_file():
        return _read_archive(archive)
    for pattern in ("package.json", "*/package.json", "*/*/package.json"):
        for path in sorted(folder.glob(pattern)):
            if _names_package(path, icon_set.npm):
                return _read_folder(path.parent)
    msg = (
        f"{folder} holds neither {archive.name} nor an unpacked {icon_set.npm}. "
        f"Fetch it with: npm pack {icon_set.npm}@{icon_set.version}"
    )
    raise RecipeError(msg)


def _names_package(path: Path, npm: str) -> bool:
    try:
        package = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(package, dict) and package.get("name") == npm


def _read_folder(folder: Path) -> dict[str, str]:
    try:
        return {name: (folder / name).read_text(encoding="utf-8") for name in _FILES}
    except (OSError, ValueError) as error:
        msg = f"The package in {folder} is incomplete ({error}). Unpack it again."
        raise RecipeError(msg) from error


def _read_archive(archive: Path) -> dict[str, str]:
    texts = {}
    try:
        with tarfile.open(archive) as tar:
            for name in _FILES:
                # Read in place: nothing of an archive is ever unpacked to the disk.
                member = tar.extractfile(f"package/{name}")
                texts[name] = member.read().decode("utf-8") if member else ""
    except (OSError, KeyError, ValueError, EOFError, tarfile.TarError) as error:
        msg = f"{archive} is damaged ({error}). Delete it and fetch it again with npm pack."
        raise RecipeError(msg) from error
    return texts


def _fetch(icon_set: IconSet, cache: Path) -> dict[str, str]:
    archive = cache / _archive_name(icon_set)
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"{icon_set.npm}@{icon_set.version}", "--silent"]
        try:
            subprocess.run(command, cwd=cache, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            msg = (
                f"{icon_set.npm} {icon_set.version} could not be fetched with npm ({error}). "
                "Fetch it elsewhere with npm pack and name its folder with --packages."
            )
            raise RecipeError(msg) from error
    return _read_archive(archive)
