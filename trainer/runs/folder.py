"""Where everything of a run lies, and how runs are created and found."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from datasets_tools.disk import remove_quietly
from datasets_tools.files import explain_os_error, write_atomically
from datasets_tools.names import explain_name, explain_path
from trainer.config import RunConfig, config_to_toml, read_config
from trainer.runs.errors import RunError
from trainer.runs.events import append_event

_LONGEST_IN_RUN = 60  # letters below it, beside its name
_CHECKPOINT = re.compile(r"^step-(\d{6,})$")


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A saved point from which a run continues."""

    step: int
    path: Path


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Nothing is kept in memory: every property is a path.

    Attributes:
        path: The folder.
        process: Which of the run's processes writes: the first one, 0, owns all files; the others
            have events and a log of their own, and write nothing else.
    """

    path: Path
    process: int = 0

    @property
    def id(self) -> str:
        """The folder's name, which is how the app and the command line call the run."""
        return self.path.name

    @property
    def config_path(self) -> Path:
        """The complete config."""
        return self.path / "config.toml"

    @property
    def events_path(self) -> Path:
        """What happened, one JSON object a line."""
        return self.path / f"events{self._suffix}.jsonl"

    @property
    def log_path(self) -> Path:
        """Everything the process printed."""
        return self.path / f"log{self._suffix}.txt"

    @property
    def _suffix(self) -> str:
        return f"-{self.process + 1}" if self.process else ""

    @property
    def checkpoints_path(self) -> Path:
        """One folder per checkpoint."""
        return self.path / "checkpoints"

    @property
    def samples_path(self) -> Path:
        """One folder per step at which samples were made."""
        return self.path / "samples"

    @property
    def models_path(self) -> Path:
        """The base models of the workspace in which the run lies."""
        return self.path.resolve().parents[1] / "models"

    @property
    def config(self) -> RunConfig:
        """The run's config, read anew."""
        return read_config(self.config_path)

    def list_checkpoints(self) -> list[Checkpoint]:
        """Returns the complete checkpoints, oldest first."""
        if not self.checkpoints_path.is_dir():
            return []
        checkpoints = []
        for path in self.checkpoints_path.iterdir():
            match = _CHECKPOINT.match(path.name)
            if match and (path / "meta.json").is_file():
                checkpoints.append(Checkpoint(int(match[1]), path))
        return sorted(checkpoints)

    def find_checkpoint(self, step: int) -> Checkpoint:
        """Returns the complete checkpoint of a step.

        Raises:
            RunError: there is none.
        """
        known = {each.step: each for each in self.list_checkpoints()}
        if step not in known:
            steps = ", ".join(map(str, known)) or "none"
            msg = f"{self.id} has no checkpoint at step {step}; there are: {steps}."
            raise RunError(msg)
        return known[step]

    def list_exports(self) -> list[Path]:
        """Returns the exported files, newest first."""
        files = (path for path in self.path.glob("*.safetensors") if not path.name.startswith("."))
        return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def create_run(runs: Path, config: RunConfig) -> RunFolder:
    """Creates a queued run: a folder, which becomes a run when its complete config is in it.

    Raises:
        RunError: the folder cannot be written, or a system cannot have a file of the run's name.
    """
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d_%H%M")
    beyond = _LONGEST_IN_RUN + len(config.name)
    if problem := explain_name(config.name) or explain_path(
        runs / f"{stamp}_{config.name}", beyond
    ):
        raise RunError(problem)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        path = _make_folder(runs, f"{stamp}_{config.name}")
        try:
            append_event(path / "events.jsonl", "queued", name=config.name)
            write_atomically(path / "config.toml", config_to_toml(config))
        except BaseException:
            remove_quietly(path)
            raise
        return RunFolder(path)
    except OSError as error:
        msg = f"The run could not be created in {runs}: {explain_os_error(error)}"
        raise RunError(msg) from error


def save_config(run: RunFolder, config: RunConfig) -> None:
    """Replaces a run's config.

    Raises:
        RunError: it cannot be written.
    """
    try:
        write_atomically(run.config_path, config_to_toml(config))
    except OSError as error:
        msg = f"{run.config_path} cannot be written: {explain_os_error(error)}"
        raise RunError(msg) from error


def open_run(path: Path) -> RunFolder:
    """Returns the run at a path.

    Raises:
        RunError: the folder is missing or is not a run.
    """
    run = RunFolder(path)
    if not run.config_path.is_file():
        msg = f"{path} is not a run: it has no config.toml. `lorasmith status` lists the runs."
        raise RunError(msg)
    return run


def list_runs(runs: Path) -> list[RunFolder]:
    """Returns the runs in a folder, newest first."""
    if not runs.is_dir():
        return []
    folders = [RunFolder(path) for path in runs.iterdir() if (path / "config.toml").is_file()]
    return sorted(
        (run for run in folders if not run.id.startswith(".")), key=lambda run: run.id, reverse=True
    )


def _make_folder(runs: Path, name: str) -> Path:
    # mkdir fails when another process took the name in between.
    for count in range(1, 1000):
        path = runs / (name if count == 1 else f"{name}-{count}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    msg = f"There are too many runs named {name} in {runs}; choose another name."
    raise RunError(msg)
