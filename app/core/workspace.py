"""Where the app's files lie, and how names that come from a browser become paths.

A name is never joined to a path: it is looked up in the listing of a folder, and what the listing
holds is resolved and must lie inside that folder. New names are checked letter by letter.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from app.core import text as folders_text
from app.core.known_models import list_base_models
from trainer.runs import PreviewFolder, RunFolder, list_runs

MAX_DATASET_IMAGES = 1000
MAX_DATASET_BYTES = 4 * 1024**3
MAX_IMAGE_BYTES = 64 * 1024**2
MAX_LORA_BYTES = 1024**3
MAX_UPLOAD_TOTAL_BYTES = 2 * 1024**3

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class WorkspaceError(Exception):
    """Something that a person asked for cannot be done; the message is a sentence for them."""


@dataclass(frozen=True)
class Workspace:
    """The folder with datasets, runs and previews, and what the app needs to work on it.

    `trainer_command` is what `train RUN`, `preview-worker FOLDER` and the jobs' words are
    appended to. `takes_paths` says whether a browser may name any path of this computer, which only
    a browser on this computer may.
    """

    root: Path
    base_models: tuple[Path, ...] = ()
    trainer_command: tuple[str, ...] = (sys.executable, "-m", "app.cli")
    takes_paths: bool = True

    @property
    def datasets_path(self) -> Path:
        """One folder per dataset."""
        return self.root / "datasets"

    @property
    def runs_path(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    @property
    def models_path(self) -> Path:
        """Base models that the user puts here."""
        return self.root / "models"

    @property
    def known_models_path(self) -> Path:
        """The base models elsewhere that the user added, and what they said about any."""
        return self.root / "base-models.json"

    @property
    def loras_path(self) -> Path:
        """LoRA files that the user brought."""
        return self.root / "loras"

    @property
    def jobs_path(self) -> Path:
        """Short commands and their answers; see `jobs`."""
        return self.root / "jobs"

    @property
    def workbench_path(self) -> Path:
        """What was last tried on the Library's workbench; see `views.workbench`."""
        return self.root / "workbench.json"

    @property
    def preview(self) -> PreviewFolder:
        """Where the preview worker and the app meet."""
        return PreviewFolder(self.root / "preview")

    @property
    def thumbnails_path(self) -> Path:
        """Small copies of images, named by content."""
        return self.root / "thumbnails"

    @property
    def uploads_path(self) -> Path:
        """Gradio's own folder: what arrives here is imported and then deleted."""
        return self.root / "uploads"

    @property
    def served_path(self) -> Path:
        """The app's working directory. It stays empty, as Gradio may return what lies in it."""
        return self.root / "served"

    def prepare(self) -> None:
        """Makes the folders."""
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
        """Returns the folder of a dataset.

        Raises:
            WorkspaceError: there is no dataset of that name.
        """
        if isinstance(name, str) and name in self.list_datasets():
            return self.datasets_path / name
        raise WorkspaceError(folders_text.no_such_dataset(name))

    def create_dataset(self, name: str) -> str:
        """Makes an empty dataset and returns its name, in which spaces have become dashes.

        Raises:
            WorkspaceError: the name cannot be a folder's, or it is taken.
        """
        plain = "-".join(str(name).split())
        if not _NAME.fullmatch(plain) or ".." in plain or WINDOWS_DEVICE.fullmatch(plain):
            raise WorkspaceError(folders_text.DATASET_NAME_RULE)
        try:
            (self.datasets_path / plain).mkdir(parents=True)
        except FileExistsError:
            raise WorkspaceError(folders_text.dataset_exists(plain)) from None
        except OSError as error:
            raise WorkspaceError(folders_text.cannot_write(str(error.strerror or error))) from error
        return plain

    def find_run(self, run_id: object) -> RunFolder:
        """Returns the run of that id.

        Raises:
            WorkspaceError: there is no such run.
        """
        root = self.runs_path.resolve()
        for run in list_runs(self.runs_path):
            if run.id == run_id and run.path.resolve().is_relative_to(root):
                return run
        raise WorkspaceError(folders_text.no_such_run(run_id))

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
        return list_base_models(self.base_models, self.models_path, self.known_models_path)

    def find_base_model(self, name: object) -> Path:
        """Returns where a base model lies.

        Raises:
            WorkspaceError: there is no base model of that name.
        """
        models = self.list_base_models()
        if isinstance(name, str) and name in models:
            return models[name]
        raise WorkspaceError(
            folders_text.NO_BASE_MODEL if not models else folders_text.no_such_base_model(name)
        )
