"""What a run leaves on disk while it learns: samples, checkpoints, the exported file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from datasets_tools.files import explain_os_error, explain_write_error, write_aside
from trainer.device import free_memory, is_out_of_memory
from trainer.device_kinds import DEVICE_KINDS
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
from trainer.inference.sampling import generate, save_image, weighted
from trainer.models.family import GenerationRequest
from trainer.runs import RunError, append_event
from trainer.training.attach import describe_layers, make_rebuild
from trainer.training.checkpoint import remove_old_checkpoints, save_checkpoint
from trainer.training.progress import log_line, warn
from trainer.training.sample_requests import list_sample_requests
from trainer.training.session import Session, choose_models
from trainer.training.shortage import name_shortage, warn_of_retry

EXPORT_REMEDY = (
    "Close other programs that use the device, then resume the run: its last checkpoint is saved."
)


def make_samples(session: Session) -> None:
    """Generates samples of the run's prompts with the current weights; the same seeds every time.

    Raises:
        RunError: they cannot be written.
    """
    config, run, step = session.config.samples, session.run, session.state.step
    if config.every_steps == 0:
        return
    folder = run.samples_path / f"step-{step:06d}"
    log_line(f"generating samples at step {step}")
    with session.state.shown(), weighted([session.adapters], [config.weight]):
        requests = list_sample_requests(session.config, session.examples, session.resolution)
        for index, request in enumerate(requests):
            image = _generate_within_memory(session, request, index)
            if image is None:
                continue
            path = folder / f"{index:02d}.png"
            try:
                # A run's folder that was deleted meanwhile is not made again with nothing in it.
                run.samples_path.mkdir(exist_ok=True)
                folder.mkdir(exist_ok=True)
                save_image(path, image, request, config.weight, session.family.sampler)
            except OSError as error:
                reason = explain_os_error(error)
                msg = f"The samples at step {step} could not be saved: {reason}"
                raise RunError(msg) from error
            append_event(
                run.events_path,
                "sample",
                step=step,
                index=index,
                prompt=request.prompt,
                seed=request.seed,
                weight=config.weight,
                file=path.relative_to(run.path).as_posix(),
            )


def _generate_within_memory(
    session: Session, request: GenerationRequest, index: int
) -> Image.Image | None:
    """Returns a sample; None where the memory is too small for it, which does not end the run."""
    name = f"sample {index + 1} at step {session.state.step}"
    while True:
        try:
            return generate(session.family, session.context, request)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Behind the handler: the error holds what was computed.
        free_memory(session.context.device)
        change = _take_less_for_samples(session)
        if not change:
            break
        warn_of_retry(session.run, f"{name} was generated", change)
    warn(
        session.run,
        f"The device ran out of memory while {name} was generated: the run goes on without it. "
        "Set samples.every_steps to 0, or base_model.quantize to fp8.",
    )
    return None


def _take_less_for_samples(session: Session) -> str:
    """Has samples take less memory; returns how, and "" where nothing is left.

    Only what makes no training step slower: a step does not need what waits, and blocks of the
    UNet that waited for the samples would be copied in every step, too.
    """
    config, kind = session.config, session.context.device.type
    if not config.train.offload and not DEVICE_KINDS[kind].shares_memory:
        session.change_settings({"train.offload": True})
        session.family.keep_on_device(choose_models(session.config, session.needed_models))
        return "train.offload = true"
    return "the VAE on strips" if session.family.save_vae_memory() else ""


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
