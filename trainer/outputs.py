"""What a run leaves on disk while it learns: samples, checkpoints, the exported file."""

import contextlib
from contextlib import AbstractContextManager

from datasets_tools.captions import add_trigger
from trainer.export import compare_with_trained, make_metadata, write_lora
from trainer.models.family import Drawing
from trainer.progress import say
from trainer.runs import RunError, append_event
from trainer.sampling import draw, save_picture, weighted
from trainer.session import Session
from trainer.state import remove_old_checkpoints, save_checkpoint

_PROMPTS_FROM_CAPTIONS = 4


def make_samples(session: Session) -> None:
    """Draws the run's prompts with the weights as they are; the same seeds every time.

    Raises:
        RunError: the disk is full.
    """
    config, run, step = session.config.samples, session.run, session.state.step
    if config.every_steps == 0:
        return
    folder = run.samples_path / f"step-{step:06d}"
    say(f"drawing samples at step {step}")
    with _averaged(session), weighted([session.adapters], [config.weight]):
        for index, prompt in enumerate(sample_prompts(session)):
            drawing = Drawing(
                prompt=prompt,
                negative_prompt=config.negative_prompt,
                seed=config.seed + index,
                inference_steps=config.inference_steps,
                guidance=config.guidance,
                width=session.resolution,
                height=session.resolution,
            )
            image = draw(session.family, session.machine, drawing)
            path = folder / f"{index:02d}.png"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                save_picture(path, image, drawing, config.weight)
            except OSError as error:
                reason = error.strerror or error
                msg = f"The samples at step {step} could not be saved: {reason}. Free some space."
                raise RunError(msg) from error
            append_event(
                run.events_path,
                "sample",
                step=step,
                index=index,
                prompt=prompt,
                seed=drawing.seed,
                weight=config.weight,
                file=path.relative_to(run.path).as_posix(),
            )


def sample_prompts(session: Session) -> list[str]:
    """Returns the prompts with the trigger in front; the first captions where none are given."""
    trigger = session.config.dataset.trigger
    prompts = session.config.samples.prompts
    if prompts:
        return [add_trigger(prompt, trigger) for prompt in prompts]
    captions = list(dict.fromkeys(example.caption for example in session.examples))
    return captions[:_PROMPTS_FROM_CAPTIONS]


def save_state(session: Session) -> None:
    """Saves a checkpoint unless this step has one already.

    Raises:
        RunError: the disk is full.
    """
    run, step = session.run, session.state.step
    if any(checkpoint.step == step for checkpoint in run.list_checkpoints()):
        return
    checkpoint = save_checkpoint(run, session.state, session.contents)
    remove_old_checkpoints(run, session.config.output.keep_checkpoints)
    folder = checkpoint.path.relative_to(run.path).as_posix()
    append_event(run.events_path, "checkpoint", step=step, folder=folder)
    say(f"saved a checkpoint at step {step}")


def export_file(session: Session, name: str) -> None:
    """Writes the LoRA file, reads it back and compares it with what was trained.

    Raises:
        ExportError: the disk is full, a weight is not finite, or the file differs.
    """
    run, config = session.run, session.config
    path = run.path / name
    precision = config.output.precision
    with _averaged(session):
        metadata = make_metadata(config, session.facts())
        digest = write_lora(path, session.adapters.factors(), metadata, precision)
        proof = compare_with_trained(path, session.adapters.deltas(), precision)
    append_event(
        run.events_path,
        "exported",
        step=session.state.step,
        file=path.name,
        bytes=path.stat().st_size,
        modules=proof.modules,
        max_relative_error=proof.max_relative_error,
        sha256=digest,
    )
    say(
        f"exported {path.name}: {proof.modules} layers, {path.stat().st_size / 1e6:.1f} MB, "
        f"largest rounding error {proof.max_relative_error:.1e}"
    )


def _averaged(session: Session) -> AbstractContextManager[None]:
    average = session.state.average
    return average.swapped_in() if average else contextlib.nullcontext()
