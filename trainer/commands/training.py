"""Training a run, and writing the file of one of its checkpoints."""

import contextlib
from functools import partial
from pathlib import Path

from datasets_tools.errors import LorasmithError
from datasets_tools.files import remove_leftovers
from trainer.commands.checks import check_run, describe_balance
from trainer.commands.libraries import quiet_model_libraries
from trainer.config import change_settings
from trainer.device import free_memory, is_out_of_memory
from trainer.device_kinds import DEVICE_KINDS, find_kind
from trainer.memory import explain_plan, plan_run, warn_of_shortage
from trainer.runs import (
    RunError,
    RunFolder,
    RunWriteError,
    append_event,
    clear_requests,
    own_folder,
    read_status,
    request,
    save_config,
)
from trainer.runs.checkpoints import set_damaged_aside
from trainer.runs.systems import end_on_signals, stop_on_closing, stop_on_signals
from trainer.runs.webhook import post_end
from trainer.training.advice import list_warnings
from trainer.training.artifacts import export_file
from trainer.training.divergence import DivergenceError, prepare_recovery
from trainer.training.group import ProcessGroup
from trainer.training.loop import learn
from trainer.training.processes import plan_processes, start_processes
from trainer.training.progress import log_line, warn
from trainer.training.session import Session, open_session
from trainer.training.shortage import MemoryShortageError, change_to_leaner, retry_leaner
from trainer.training.sources import Scans, count_buckets, scan_datasets

OUT_OF_MEMORY = (
    "The device ran out of memory. What helps most: train.gradient_checkpointing = true; "
    "base_model.quantize = fp8; train.micro_batch = 1; a smaller dataset.resolution."
)


def train(run: RunFolder, cache: Path, processes: int = 0, *, take_over: bool = False) -> str:
    """Starts a queued run, or resumes a stopped, failed or lost one.

    Args:
        run: The run.
        cache: Folder of encoded images and captions.
        processes: Replaces `train.processes` in the run's settings; 0 leaves it.
        take_over: Takes the run from a process on another computer that seems to work on it.

    Returns:
        "finished" or "stopped".

    Raises:
        ConfigError, DatasetError, ModelError, ExportError, RunError: with what to do; the run's
            last event has the same message.
    """
    quiet_model_libraries()
    with own_folder(run.path, take_over=take_over):
        if read_status(run.path).state == "finished":
            msg = f"{run.id} is finished. Raise train.steps in its config.toml to train it further."
            if run.config.train.steps <= _last_step(run):
                raise RunError(msg)
        clear_requests(run.path)
        try:
            with end_on_signals():
                return _train_owned(run, cache, processes)
        except BaseException as error:
            # Where the folder cannot be written any more, the error is raised all the same.
            with contextlib.suppress(RunWriteError):
                append_event(run.events_path, "ended", reason="failed", message=_explain(error))
            if is_out_of_memory(error):
                raise RunError(OUT_OF_MEMORY) from error
            raise
        finally:
            _send_message(run)


def _send_message(run: RunFolder) -> None:
    """Sends the message about the run's end; what goes wrong with it ends nothing."""
    try:
        address = run.config.output.webhook
        reason = post_end(run, address) if address else ""
    except (LorasmithError, OSError) as error:
        reason = str(error)
    if reason:
        log_line(f"Warning: output.webhook: {reason}. The run itself has ended as it should.")


def _train_owned(run: RunFolder, cache: Path, processes: int) -> str:
    remove_leftovers(run.path)
    for message in set_damaged_aside(run):
        warn(run, message)
    _refuse_fewer_steps(run)
    _report_start(run)
    scans = scan_datasets(run.config)
    for message in check_run(run.config, run.models_path, scans.dataset.examples):
        warn(run, message)
    for line in describe_balance(scans.dataset.examples):
        log_line(line)
    _plan_memory(run, scans)
    count = plan_processes(run, processes)
    while True:
        with start_processes(run, cache, count) as group:
            session = _open_within_memory(run, cache, scans, group)
            group.open_sessions()
            for message in list_warnings(session.config, session.family.info):
                warn(run, message)
            _report_training_data(session)
            try:
                return _learn_and_export(session)
            except DivergenceError as error:
                prepare_recovery(run, error)
            except MemoryShortageError as error:
                change_to_leaner(run, error)
            device = session.context.device
            del session  # before the base model is loaded once more
        free_memory(device)
        _report_start(run)


def _open_within_memory(run: RunFolder, cache: Path, scans: Scans, group: ProcessGroup) -> Session:
    def attempt() -> Session:
        return open_session(run, cache, scans=scans, measure=True, group=group)

    return retry_leaner(run, attempt)


def _learn_and_export(session: Session) -> str:
    run = session.run
    ask = partial(request, run.path, "stop")
    with stop_on_closing(ask):
        with stop_on_signals(ask):
            reason = learn(session)
        export_file(session, f"{session.config.name}.safetensors")
        append_event(run.events_path, "ended", reason=reason, message="", step=session.state.step)
    return reason


def _refuse_fewer_steps(run: RunFolder) -> None:
    """Refuses a run whose last checkpoint is behind its last step."""
    step, steps = _last_step(run), run.config.train.steps
    if step > steps:
        msg = (
            f"train.steps is {steps}, and {run.id} has a checkpoint at step {step} already. Set "
            f"it to {step} or more, or remove the later checkpoints from {run.checkpoints_path}."
        )
        raise RunError(msg)


def _report_start(run: RunFolder) -> None:
    append_event(
        run.events_path, "started", from_step=_last_step(run), steps=run.config.train.steps
    )


def _plan_memory(run: RunFolder, scans: Scans) -> None:
    """Has a run save memory where its GPU is too small, and warns where that is not enough.

    What is chosen stands in the run's settings from here on. A run that has a checkpoint goes on
    as it was.
    """
    kind = find_kind(run.config.train.device)
    if kind == "cpu" or not DEVICE_KINDS[kind].is_available():
        return  # there is enough, or swap
    config = run.config
    if run.list_checkpoints():
        config = change_settings(config, {"train.memory": "off"})
    plan = plan_run(config, run.models_path, scans.dataset.examples)
    if plan is None:
        return
    if plan.settings:
        save_config(run, change_settings(config, {**plan.settings, "train.memory": "off"}))
        message = explain_plan(plan)
        append_event(
            run.events_path,
            "memory",
            settings=dict(plan.settings),
            needed_bytes=plan.needed_bytes,
            planned_bytes=plan.estimate.total_bytes,
            free_bytes=plan.free_bytes,
            message=message,
        )
        log_line(message)
    if message := warn_of_shortage(plan):
        warn(run, message)


def export_checkpoint(run: RunFolder, cache: Path, step: int = 0) -> Path:
    """Writes the LoRA file of a checkpoint, named after its step; returns its path.

    Args:
        run: The run.
        cache: Folder of encoded images.
        step: The checkpoint's step; 0 is the last one.

    Raises:
        ConfigError, DatasetError, ModelError, ExportError, RunError: with what to do.
    """
    quiet_model_libraries()
    checkpoint = run.find_checkpoint(step or _last_step(run))
    session = retry_leaner(run, lambda: open_session(run, cache, checkpoint))
    name = f"{session.config.name}-{session.state.step:06d}.safetensors"
    export_file(session, name)
    return run.path / name


def _report_training_data(session: Session) -> None:
    context, sizes = session.context, count_buckets(session.examples)
    facts = {
        "examples": len(session.examples),
        "buckets": {f"{width}x{height}": count for (width, height), count in sorted(sizes.items())},
        "device": str(context.device),
        "precision": context.precision,
        "processes": session.group.count,
        "layers": len(session.adapters.adapters),
        "parameters": sum(p.numel() for p in session.adapters.named_parameters().values()),
    }
    append_event(session.run.events_path, "data", **facts)
    log_line(
        f"{session.run.id}: {facts['examples']} images, {facts['layers']} layers, "
        f"{facts['parameters']:,} trained weights, {context.device} in {context.precision}, "
        f"{f'{session.group.count} processes, ' if session.group.count > 1 else ''}"
        f"from step {session.state.step}"
    )


def _last_step(run: RunFolder) -> int:
    checkpoints = run.list_checkpoints()
    return checkpoints[-1].step if checkpoints else 0


def _explain(error: BaseException) -> str:
    if isinstance(error, LorasmithError):
        return str(error)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, KeyboardInterrupt):
        return "It was interrupted before the first step."
    return f"An unexpected error: {type(error).__name__}: {error}. The log holds the details."
