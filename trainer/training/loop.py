"""The training loop: a run from its start to the exported file, for every family."""

import contextlib
import time
from collections.abc import Iterator

from trainer.config import RunConfig
from trainer.data import Batch
from trainer.runs import append_event, clear_requests, read_requests
from trainer.training.artifacts import export_file, save_state
from trainer.training.divergence import LossHistory
from trainer.training.progress import Bar, Pace, log_line
from trainer.training.samples import make_samples
from trainer.training.session import Session
from trainer.training.step import take_step


def learn(session: Session) -> str:
    """Trains from where the state stands to the last step.

    Returns:
        "finished", or "stopped" when a request asked for it.

    Raises:
        DivergenceError: the loss is no longer a number, or far above all before.
        RunError: the disk is full, or another process of the run has ended.
    """
    state, config = session.state, session.config
    batches = read_batches(session)
    pace, bar = Pace(), Bar(config.train.steps, state.step)
    history = LossHistory(state.step)
    with pace.leave_out():
        if state.step == 0:
            make_samples(session)
        session.group.connect(session.fingerprint, session.context.device)
    state.start_learning()
    reported = state.step
    with contextlib.closing(bar), session.group.sharing_cores():
        while state.step < config.train.steps:
            loss = take_step(session, batches)
            if state.step % config.train.log_every_steps == 0 or state.step == config.train.steps:
                pace.report(state.step - reported)
                reported = state.step
                value = loss.item()
                history.check(state.step, value)
                _report_step(session, value, pace, bar)
            with pace.leave_out():
                _save_what_is_due(session)
                if _handle_requests(session) == "stop" and state.step < config.train.steps:
                    return "stopped"
    return "finished"


def read_batches(session: Session) -> Iterator[tuple[Batch, Batch]]:
    """Yields the batches that follow, each with the one that the prior is measured on."""
    consumed = session.state.step * session.config.train.accumulate
    batches = session.source.plan.read(consumed)
    if session.prior:
        yield from zip(batches, session.prior.plan.read(consumed), strict=False)
    else:
        yield from ((batch, batch) for batch in batches)


def _report_step(session: Session, loss: float, pace: Pace, bar: Bar) -> None:
    state, config = session.state, session.config
    speed = pace.steps_per_second
    append_event(
        session.run.events_path,
        "step",
        step=state.step,
        steps=config.train.steps,
        loss=round(loss, 6),
        learning_rates={g["part"]: g["lr"] for g in state.optimizer.param_groups},
        steps_per_second=round(speed, 4),
        seconds_left=round((config.train.steps - state.step) / speed, 1) if speed else None,
        memory_bytes=session.context.memory_bytes(),
    )
    bar.update(state.step, loss, speed)


def _save_what_is_due(session: Session) -> None:
    session.read_samples()
    step, config = session.state.step, session.config
    if _is_due(step, config.samples.every_steps, config):
        _make_samples_meanwhile(session)
    if _is_due(step, config.output.checkpoint_every_steps, config) or step == config.train.steps:
        save_state(session)


def _make_samples_meanwhile(session: Session, *, on_request: bool = False) -> None:
    """Generates samples while the run's other processes wait for the next step."""
    with session.group.using_all_cores():
        make_samples(session, on_request=on_request)


def _is_due(step: int, every: int, config: RunConfig) -> bool:
    return every > 0 and (step % every == 0 or step == config.train.steps)


def _handle_requests(session: Session) -> str:
    """Does what the files in control/ ask for; returns "stop" when that is among them."""
    run, requests = session.run, read_requests(session.run.path)
    if "sample" in requests:
        _make_samples_meanwhile(session, on_request=True)
        clear_requests(run.path, "sample")
    if "save" in requests:
        save_state(session)
        export_file(session, f"{session.config.name}-{session.state.step:06d}.safetensors")
        clear_requests(run.path, "save")
    if "pause" in requests and "stop" not in requests:
        _wait_while_paused(session)
        requests = read_requests(run.path)
    if "stop" not in requests:
        return ""
    save_state(session)
    clear_requests(run.path)
    return "stop"


def _wait_while_paused(session: Session) -> None:
    """Keeps the model in memory until asked to resume or stop; a checkpoint guards the pause."""
    run, step = session.run, session.state.step
    save_state(session)
    append_event(run.events_path, "paused", step=step)
    log_line(f"paused at step {step}")
    while not {"resume", "stop"} & read_requests(run.path):
        time.sleep(0.2)
    clear_requests(run.path, "pause", "resume")
    append_event(run.events_path, "resumed", step=step)
