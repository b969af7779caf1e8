"""Images with LoRA files: a grid of weights, and the worker for the app's previews."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from datasets_tools.captions import write_caption
from datasets_tools.files import save_for_person
from datasets_tools.names import explain_path
from trainer.commands.libraries import quiet_model_libraries
from trainer.config import BaseModelConfig
from trainer.device import open_device_context
from trainer.inference.preview_worker import serve
from trainer.inference.sampling import generate, make_grid, weighted
from trainer.models import load_family
from trainer.models.family import GenerationRequest
from trainer.runs import PreviewFolder, RunError, is_owned, own_folder
from trainer.runs.previews import list_requests
from trainer.training.attach import attach_file


def generate_grid(
    base_model: Path,
    mix: Sequence[tuple[Path, float]],
    prompts: Sequence[str],
    weights: Sequence[float],
    request: GenerationRequest,
    to: Path,
) -> None:
    """Generates a grid: a row per prompt, a column per weight, the same seed along a row.

    Args:
        base_model: A file or a folder.
        mix: LoRA files, each with its share; a column's weight multiplies all shares.
        prompts: One row each.
        weights: One column each.
        request: All but the prompt; its seed is the first row's.
        to: The image to write.

    Raises:
        ModelError, ExportError, RunError: with what to do.
    """
    if problem := explain_path(to):
        raise RunError(problem)
    quiet_model_libraries()
    context = open_device_context()
    family = load_family(BaseModelConfig(path=str(base_model)), context.device, context.dtype)
    adapters = [attach_file(family, path, context.device) for path, _ in mix]
    rows = []
    for index, prompt in enumerate(prompts):
        cell = replace(request, prompt=prompt, seed=request.seed + index)
        row = []
        for weight in weights:
            with weighted(adapters, [share * weight for _, share in mix]):
                row.append(generate(family, context, cell))
        rows.append(row)
    names = [f"weight {weight:g}" for weight in weights]
    grid = make_grid(rows, list(prompts), names)
    to.parent.mkdir(parents=True, exist_ok=True)
    grid.save(to)


def generate_class_images(
    base_model: Path,
    prompts: Sequence[str],
    count: int,
    request: GenerationRequest,
    to: Path,
    report: Callable[[int, int], None],
) -> int:
    """Generates images of a class with the base model alone, for a prior, each with its caption.

    Those that are in the folder already are not generated again, so it goes on where it ended.

    Args:
        base_model: A file or a folder.
        prompts: They take turns; an image's caption is its prompt.
        count: How many images the folder shall have.
        request: All but the prompt; its seed is the first image's.
        to: The folder, made where it is missing.
        report: Called with (done, total) after each image.

    Returns:
        How many were generated.

    Raises:
        DatasetError, ModelError, RunError: with what to do.
    """
    if problem := explain_path(to):
        raise RunError(problem)
    paths = [to / f"class-{number:04d}.png" for number in range(1, count + 1)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if not missing:
        return 0
    quiet_model_libraries()
    context = open_device_context()
    family = load_family(BaseModelConfig(path=str(base_model)), context.device, context.dtype)
    to.mkdir(parents=True, exist_ok=True)
    for number in missing:
        prompt = prompts[number % len(prompts)]
        image = generate(
            family, context, replace(request, prompt=prompt, seed=request.seed + number)
        )
        memory = BytesIO()
        image.save(memory, "PNG")
        # The caption first: an image without one would be an example of nothing.
        write_caption(paths[number], prompt)
        save_for_person(paths[number], memory.getvalue(), f"The image {paths[number].name}")
        report(number + 1, count)
    return len(missing)


def serve_previews(folder: PreviewFolder, idle_seconds: float) -> None:
    """Runs the preview worker until no request came for a while.

    The app writes a request and then looks whether there is a worker. One that is about to leave
    looks for requests once more after it has given the folder back: so one of both sees the other.
    """
    quiet_model_libraries()
    folder.prepare()
    stopped = False
    while not stopped:
        with own_folder(folder.path):
            stopped = serve(folder, idle_seconds)
        if not list_requests(folder) or is_owned(folder.path):
            break
