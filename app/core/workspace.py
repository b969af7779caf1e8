"""Where the app's files lie, and how names that come from a browser become paths.

A name is never joined to a path: it is looked up in the listing of a folder, and what the listing
holds is resolved and must lie inside that folder. New names are checked letter by letter.

`base-models.json` holds what only a person knows: where else base models lie, and the answers to
what a file does not state about itself.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from app.core import text
from datasets_tools.bounded_json import read_table
from datasets_tools.errors import LorasmithError
from datasets_tools.files import explain_os_error, write_atomically
from datasets_tools.names import explain_path
from trainer.runs import PreviewFolder, RunFolder
from trainer.runs.workspace import open_workspace

MAX_DATASET_IMAGES = 1000
MAX_DATASET_BYTES = 4 * 1024**3
MAX_IMAGE_BYTES = 64 * 1024**2
MAX_LORA_BYTES = 1024**3
MAX_UPLOAD_TOTAL_BYTES = 2 * 1024**3

_RUN_NAME = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]{0,254}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_IN_DATASET = 100  # an image that was removed, in a folder of its own


class WorkspaceError(LorasmithError):
    """Something that a person asked for cannot be done; the message is a sentence for them."""


class _Place:
    """A path of a workspace, below its root."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, workspace: "Workspace", _owner: type) -> Path:
        return workspace.root / self.name


@dataclass(frozen=True)
class Workspace:
    """The folder with datasets, runs and previews, and what the app needs to work on it.

    `trainer_command` is what `train RUN`, `preview-worker FOLDER` and the commands of jobs are
    appended to. `takes_paths` is whether a browser may name any path of this computer, which only
    a browser on this computer may.
    """

    root: Path
    base_models: tuple[Path, ...] = ()
    trainer_command: tuple[str, ...] = (sys.executable, "-m", "app.cli")
    takes_paths: bool = True

    datasets_path = _Place("datasets")  # one folder per dataset
    runs_path = _Place("runs")  # one folder per run
    models_path = _Place("models")  # base models that the user puts here
    loras_path = _Place("loras")  # LoRA files that the user brought
    jobs_path = _Place("jobs")  # short commands and their answers; see `jobs`
    thumbnails_path = _Place("thumbnails")  # small copies of images, named by content
    checks_path = _Place("checks")  # what was measured on images, a file per dataset
    uploads_path = _Place("uploads")  # Gradio's own: what arrives is imported and then deleted
    served_path = _Place("served")  # the working directory; empty, as Gradio may return it
    known_models_path = _Place("base-models.json")  # see `KnownModels`
    workbench_path = _Place("workbench.json")  # what was last tried on the Library's workbench

    @property
    def preview(self) -> PreviewFolder:
        """Where the preview worker and the app meet."""
        return PreviewFolder(self.root / "preview")

    def prepare(self) -> None:
        """Makes the folders; an older workspace is brought up to date first.

        Raises:
            RunError: it is of a newer version, or cannot be written.
        """
        open_workspace(self.root, create=True)
        for path in (
            self.datasets_path,
            self.runs_path,
            self.models_path,
            self.loras_path,
            self.jobs_path,
            self.thumbnails_path,
            self.uploads_path,
            self.served_path,
        ):
            path.mkdir(parents=True, exist_ok=True)
        self.preview.prepare()

    def list_datasets(self) -> list[str]:
        """Returns the names of the datasets."""
        if not self.datasets_path.is_dir():
            return []
        root = self.datasets_path.resolve()
        return sorted(
            path.name
            for path in self.datasets_path.iterdir()
            if not path.name.startswith(".")
            and path.is_dir()
            and path.resolve().is_relative_to(root)
        )

    def find_dataset(self, name: object) -> Path:
        """Returns the folder of a dataset; raises WorkspaceError where there is none."""
        if isinstance(name, str) and name in self.list_datasets():
            return self.datasets_path / name
        raise WorkspaceError(text.no_such_dataset(name))

    def create_dataset(self, name: str) -> str:
        """Makes an empty dataset and returns its name, in which spaces have become dashes.

        Raises:
            WorkspaceError: the name cannot be a folder's, or it is taken.
        """
        plain = "-".join(str(name).split())
        if not _NAME.fullmatch(plain) or ".." in plain:
            raise WorkspaceError(text.DATASET_NAME_RULE)
        if problem := explain_path(self.datasets_path / plain, _LONGEST_IN_DATASET):
            raise WorkspaceError(problem)
        try:
            (self.datasets_path / plain).mkdir(parents=True)
        except FileExistsError:
            raise WorkspaceError(text.dataset_exists(plain)) from None
        except OSError as error:
            raise WorkspaceError(text.cannot_write(explain_os_error(error))) from error
        return plain

    def find_run(self, run_id: object) -> RunFolder:
        """Returns the run of that id; raises WorkspaceError where there is none."""
        # One folder is looked at, not all of them: a name without a way out of the folder of runs.
        if isinstance(run_id, str) and _RUN_NAME.fullmatch(run_id):
            run = RunFolder(self.runs_path / run_id)
            if run.config_path.is_file() and run.path.resolve().parent == self.runs_path.resolve():
                return run
        raise WorkspaceError(text.no_such_run(run_id))

    def list_loras(self) -> list[Path]:
        """Returns the LoRA files that a person brought, by name."""
        root = self.loras_path.resolve()
        return [
            path
            for path in sorted(self.loras_path.glob("[!.]*.safetensors"))
            if path.is_file() and path.resolve().is_relative_to(root)
        ]

    def list_base_models(self) -> dict[str, Path]:
        """Returns the base models by name: those given at the start, those in `models/`, added."""
        paths = list(self.base_models)
        if self.models_path.is_dir():
            paths += sorted(
                one for one in self.models_path.iterdir() if not one.name.startswith(".")
            )
        paths += [Path(added) for added in read_known(self.known_models_path).added]
        listed: dict[str, Path] = {}
        for path in paths:
            place = path.resolve()
            if not is_base_model(path) or place in listed.values():
                continue
            # Of two that share a name, the later one is named by the folder in which it lies, too.
            name = path.name if path.name not in listed else f"{path.name} ({place.parent.name})"
            listed.setdefault(name, place)
        return listed

    def find_base_model(self, name: object) -> Path:
        """Returns the path of a base model; raises WorkspaceError where there is none."""
        models = self.list_base_models()
        if isinstance(name, str) and name in models:
            return models[name]
        raise WorkspaceError(text.no_such_base_model(name) if models else text.NO_BASE_MODEL)


@dataclass(frozen=True)
class KnownModels:
    """What a person entered, paths of base models and answers by path, and what was measured.

    `measured` holds by path: "prediction" ("" for unknown), "message", and the "stamp" of the base
    model that was measured.
    """

    added: tuple[str, ...] = ()
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    measured: dict[str, dict[str, str]] = field(default_factory=dict)


def read_known(path: Path) -> KnownModels:
    """Returns what was entered; nothing where the file is missing or damaged."""
    try:
        data = read_table(path)
        added = tuple(str(one) for one in data["added"])
        answers, measured = (
            {
                str(model): {str(key): str(value) for key, value in given.items()}
                for model, given in table.items()
            }
            for table in (data["answers"], data.get("measured", {}))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return KnownModels()
    return KnownModels(added, answers, measured)


def write_known(path: Path, known: KnownModels) -> None:
    """Saves what was entered."""
    data = {"added": list(known.added), "answers": known.answers, "measured": known.measured}
    write_atomically(path, json.dumps(data, ensure_ascii=False, indent=1))


def is_base_model(path: Path) -> bool:
    """Whether a path looks like a base model from outside; a worker reads what is inside."""
    if path.is_dir():
        return (path / "model_index.json").is_file()
    return path.suffix.lower() == ".safetensors" and path.is_file()


def stamp_base_model(path: Path) -> str:
    """Returns a text that changes when the base model is replaced."""
    files = [path] if path.is_file() else sorted(path.glob("*/*.safetensors"))
    files += [] if path.is_file() else [path / "model_index.json"]
    return repr([stamp_file(file) for file in files])


def stamp_file(path: Path) -> tuple[str, int, int]:
    """Returns what changes when a file or folder does."""
    try:
        facts = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), facts.st_size, facts.st_mtime_ns
