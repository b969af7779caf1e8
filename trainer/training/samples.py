"""The samples that a run leaves on disk while it learns."""

from PIL import Image

from datasets_tools.files import explain_os_error
from trainer.config import MAX_PROMPTS, parse_sample_prompt
from trainer.device import free_memory, is_out_of_memory
from trainer.device_kinds import DEVICE_KINDS
from trainer.inference.sampling import generate, save_image, weighted
from trainer.models.family import GenerationRequest
from trainer.runs import RunError, RunFolder, append_event, read_events, read_request_lines
from trainer.training.progress import log_line, warn
from trainer.training.sample_requests import list_sample_requests
from trainer.training.session import Session, choose_models
from trainer.training.shortage import warn_of_retry

_OWN_PROMPTS = 4  # at most in one request


def make_samples(session: Session, *, on_request: bool = False) -> None:
    """Generates samples of the run's prompts with the current weights; the same seeds every time.

    Args:
        session: The run.
        on_request: Whether a person asked for them, perhaps with prompts of their own.

    Raises:
        RunError: they cannot be written.
    """
    config, run, step = session.config.samples, session.run, session.state.step
    if config.every_steps == 0 and not on_request:
        return
    own = _read_own_prompts(session) if on_request else []
    folder = run.samples_path / f"step-{step:06d}"
    log_line(f"generating samples at step {step}")
    with session.state.shown(), weighted([session.adapters], [config.weight]):
        requests = list_sample_requests(session.config, session.examples, session.resolution, own)
        for index, request in enumerate(requests):
            index = _find_column(run, request.prompt) if own else index
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


def _read_own_prompts(session: Session) -> list[str]:
    """Returns the prompts that a request for samples names, without those that cannot be read."""
    prompts = []
    for line in read_request_lines(session.run.path, "sample")[:_OWN_PROMPTS]:
        try:
            parse_sample_prompt(line)
        except ValueError as error:
            warn(session.run, f"The sample was not generated: {error}.")
        else:
            prompts.append(line)
    return prompts


def _find_column(run: RunFolder, prompt: str) -> int:
    """Returns the number under which samples of somebody's own prompt are stored."""
    own = {
        str(event.get("prompt")): int(event["index"])
        for event in read_events(run.events_path)
        if event["event"] == "sample" and event["index"] >= MAX_PROMPTS
    }
    return own.get(prompt, max(own.values(), default=MAX_PROMPTS - 1) + 1)


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
