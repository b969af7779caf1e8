"""What a run leaves on disk while it learns: samples, checkpoints, the exported file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from datasets_tools.files import explain_write_error, write_aside
from trainer.device import free_memory, is_out_of_memory
from trainer.export import (
    ExportError,
    Module,
    compare_with_trained,
    find_samples,
    fits_peft,
    make_metadata,
    make_thumbnail,
    measure_network,
    name_layers,
    verify_file,
    write_embedding,
    write_kohya,
    write_peft,
    write_sidecars,
)
from trainer.runs import append_event
from trainer.training.attach import describe_layers, make_rebuild
from trainer.training.checkpoint import remove_old_checkpoints, save_checkpoint
from trainer.training.progress import log_line, warn
from trainer.training.session import Session
from trainer.training.shortage import name_shortage

EXPORT_REMEDY = (
    "Close other programs that use the device, then resume the run: its last checkpoint is saved."
)


def save_state(session: Session) -> None:
    """Saves a checkpoint unless this step has one already.

    Raises:
        RunError: they cannot be written.
    """
    run, step = session.run, session.state.step
    if any(checkpoint.step == step for checkpoint in run.list_checkpoints()):
        return
    checkpoint = save_checkpoint(run, session.state, session.origin)
    remove_old_checkpoints(run, session.config.output.keep_checkpoints)
    folder = checkpoint.path.relative_to(run.path).as_posix()
    append_event(run.events_path, "checkpoint", step=step, folder=folder)
    log_line(f"saved a checkpoint at step {step}")


def export_file(session: Session, name: str) -> None:
    """Writes the run's files for other programs, with a card and a preview beside them.

    Each is read back and compared with what was trained.

    Args:
        session: The run.
        name: Of the file; where both formats are wanted, the second one's ends in `-diffusers`.

    Raises:
        ExportError: the disk is full, a weight is not finite, or the file differs.
        MemoryShortageError: the device ran out of memory.
    """
    try:
        _export_all(session, name)
        return
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Behind the handler: the error holds what was computed.
    free_memory(session.context.device)
    warn(
        session.run,
        f"The device ran out of memory while exporting {name}, which is done again: all models "
        "wait in main memory meanwhile.",
    )
    with name_shortage("exporting", EXPORT_REMEDY), session.family.offloading_all():
        _export_all(session, name)


def _export_all(session: Session, name: str) -> None:
    run, output = session.run, session.config.output
    path = run.path / name
    images = find_samples(run.samples_path, session.state.step) if output.thumbnail else []
    with session.state.shown():
        modules = session.adapters.modules()
        header = describe_file(session, modules, make_thumbnail(images))
        formats = _choose_formats(session, modules)
        # The file that every program reads is written last, which makes it the newest.
        if formats != "kohya":
            second = path.with_name(f"{path.stem}-diffusers{path.suffix}")
            peft = path if formats == "peft" else second
            _export(
                session, peft, lambda aside: write_peft(aside, modules, header, output.precision)
            )
        if formats != "peft":
            family = session.family
            names = name_layers(modules, family.name, family.unet_names)
            _export(
                session,
                path,
                lambda aside: write_kohya(aside, modules, names, header, output.precision),
            )
        _export_embedding(session, path, header)
    write_sidecars(path, session.config, session.facts(), images)


def _export_embedding(session: Session, path: Path, header: Mapping[str, str]) -> None:
    """Writes the vectors of the trigger, where the run learns such, beside a file."""
    word = session.adapters.word
    if word is None:
        return
    vectors = list(word.vectors)
    embedding = write_embedding(path, word.spelling, vectors, header)
    append_event(
        session.run.events_path,
        "embedding",
        step=session.state.step,
        file=embedding.relative_to(session.run.path).as_posix(),
        word=word.spelling,
        vectors=len(vectors[0]),
    )
    log_line(f"exported {embedding.name}: the word {word.spelling}, an embedding of its own")


def describe_file(
    session: Session, modules: Mapping[str, Module], thumbnail: str
) -> dict[str, str]:
    """Returns the header that a file of the run gets, without the hashes."""
    config, kinds = session.config, session.adapters.kinds()
    network = measure_network(modules, kinds, config.adapter)
    return make_metadata(config, session.facts(), thumbnail, network)


def _choose_formats(session: Session, modules: Mapping[str, Module]) -> str:
    """Returns the formats that the config asks for and the adapter has: runs must not end empty."""
    formats = session.config.output.formats
    if formats == "kohya" or fits_peft(modules):
        return formats
    kinds = " and ".join(sorted(session.adapters.kinds()))
    message = (
        "The diffusers format holds LoRA only, or DoRA per output channel, and this adapter is "
        f"{kinds}: only the kohya format is written."
    )
    append_event(session.run.events_path, "warning", message=message)
    log_line(message)
    return "kohya"


def _export(session: Session, path: Path, write: Callable[[Path], str]) -> None:
    """Writes a file, reads it back, compares it with the trained weights, and reports it.

    It is written aside: a file that is refused never has the name of an export.

    Args:
        session: The run.
        path: Of the file.
        write: Writes it to a path and returns its hash.
    """
    adapters = session.adapters
    try:
        with write_aside(path) as aside:
            digest = write(aside)
            proof = compare_with_trained(
                aside,
                adapters.deltas(),
                session.config.output.precision,
                session.family.unet_names,
                make_rebuild(adapters),
            )
    except OSError as error:
        raise ExportError(explain_write_error(path, error)) from error
    size = path.stat().st_size
    append_event(
        session.run.events_path,
        "exported",
        step=session.state.step,
        file=path.name,
        bytes=size,
        modules=proof.modules,
        max_relative_error=proof.max_relative_error,
        sha256=digest,
    )
    log_line(
        f"exported {path.name}: {proof.modules} layers, {size / 1e6:.1f} MB, "
        f"largest rounding error {proof.max_relative_error:.1e}"
    )
    for finding in verify_file(path, describe_layers(session.family)):
        if finding.severity != "note":
            append_event(session.run.events_path, "warning", message=finding.to_line())
            log_line(f"{path.name}: {finding.to_line()}")
