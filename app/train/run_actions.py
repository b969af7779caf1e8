"""Starting, pausing and stopping runs. Requests are files; the trainer obeys them by itself."""

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

from filelock import FileLock, Timeout

from app.core import text as core_text
from app.core.examples import find_suggesting, list_examples
from app.core.queues import enqueue_run
from app.core.run_lists import find_busy_run
from app.core.run_views import view_run
from app.core.workspace import Workspace, WorkspaceError
from app.train import text
from datasets_tools.files import explain_os_error
from trainer.config import RunConfig, change_settings, parse_sample_prompt
from trainer.runs import (
    RunError,
    RunFolder,
    clear_requests,
    create_run,
    end_run,
    find_owner,
    is_owned,
    read_age,
    request,
    save_config,
)
from trainer.runs.starting import find_starter, has_worker, start_process

Request = Literal["pause", "stop", "sample", "save"]
REQUESTS = get_args(Request)
STOP_SECONDS = 60.0  # after which a second stop ends the process


def start_run(workspace: Workspace, config: RunConfig) -> RunFolder:
    """Creates a run and starts the trainer on it.

    Raises:
        WorkspaceError: another run is being worked on, or the folder cannot be written.
    """
    with _hold_start(workspace):
        _refuse_second(workspace)
        try:
            run = create_run(workspace.runs_path, config)
        except RunError as error:
            raise WorkspaceError(str(error)) from error
        _start_trainer(workspace, run)
    return run


def continue_run(workspace: Workspace, run: RunFolder) -> str:
    """Lets a paused run go on, or starts the trainer on one that has ended; returns a sentence.

    While another one is being worked on, it waits for its turn in the queue.

    Raises:
        WorkspaceError: the run is finished, or waits in the queue already.
    """
    view = view_run(run)
    if view.state == "paused":
        clear_requests(run.path, "pause")
        request(run.path, "resume")
        return text.RESUMED
    if view.busy:
        raise WorkspaceError(text.already_running(view.name))
    if not view.can_resume:
        raise WorkspaceError(text.RUN_FINISHED)
    with _hold_start(workspace):
        busy = find_busy_run(workspace)
        if busy is not None:
            return text.resumes_after(busy.name, enqueue_run(workspace, run))
        clear_requests(run.path)  # a stop that nobody obeyed must not end the new process
        _start_trainer(workspace, run)
    return text.restarted(view.saved)


def ask_run(run: RunFolder, what: Request, prompt: str = "") -> str:
    """Asks a live run for something and returns a sentence.

    Args:
        run: The run.
        what: What it is asked for.
        prompt: What a sample shows instead of the run's prompts.

    A second stop ends the process of a run that has not obeyed the first one for a while.

    Raises:
        WorkspaceError: nobody works on the run, so nobody would hear it.
    """
    if not view_run(run).busy:
        raise WorkspaceError(text.NOT_RUNNING)
    if prompt:
        try:
            parse_sample_prompt(prompt)
        except ValueError as error:
            raise WorkspaceError(text.no_prompt(str(error))) from error
    if what == "pause":
        clear_requests(run.path, "resume")
    if what == "stop" and read_age(run.path, "stop") > STOP_SECONDS:
        end_run(run, find_owner(run.path) if is_owned(run.path) else find_starter(run.path))
        return f"{text.ENDED} {view_run(run).message}".strip()
    request(run.path, what, prompt)
    return core_text.PENDING[what]


def change_prompts(run: RunFolder, lines: list[str]) -> None:
    """Replaces a run's sample prompts; where it is worked on, from its next samples on.

    Raises:
        ConfigError: a line cannot be read.
        WorkspaceError: the run's config cannot be written.
    """
    prompts = [line.strip() for line in lines if line.strip()]
    config = change_settings(run.config, {"samples.prompts": prompts})
    try:
        save_config(run, config)
    except RunError as error:
        raise WorkspaceError(str(error)) from error


def check_before_start(workspace: Workspace, dataset: object, base_model: object) -> None:
    """Looks at what a config cannot know.

    Raises:
        WorkspaceError: there is no dataset, no image in it, or no base model; or captions are
            being written, of which the run would read one half old and one half new.
    """
    workspace.find_base_model(base_model)
    if not dataset:
        raise WorkspaceError(core_text.NO_DATASET)
    if not list_examples(workspace.find_dataset(dataset)):
        raise WorkspaceError(text.no_images_to_train(str(dataset)))
    if find_suggesting(workspace, dataset).state == "running":
        raise WorkspaceError(core_text.STILL_SUGGESTING)


@contextlib.contextmanager
def _hold_start(workspace: Workspace) -> Iterator[None]:
    """Lets two clicks in two tabs look and start one after the other."""
    lock = FileLock(str(workspace.runs_path / ".start.lock"), timeout=10)
    try:
        lock.acquire()
    except Timeout:
        raise WorkspaceError(text.START_IS_BUSY) from None
    except OSError as error:
        raise WorkspaceError(core_text.cannot_write(explain_os_error(error))) from error
    try:
        yield
    finally:
        lock.release()


def _refuse_second(workspace: Workspace) -> None:
    busy = find_busy_run(workspace)
    if busy is not None:
        raise WorkspaceError(text.already_running(busy.name))


def _start_trainer(workspace: Workspace, run: RunFolder) -> None:
    # The preview worker holds a base model, and a small card fits only one.
    if has_worker(workspace.preview.path):
        request(workspace.preview.path, "stop")
    try:
        start_process(run.path, [*workspace.trainer_command, "train", str(run.path)], run.log_path)
    except OSError as error:
        raise WorkspaceError(core_text.cannot_spawn(explain_os_error(error))) from error
