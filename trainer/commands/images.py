"""Images with LoRA files: grids, class images, and the worker for the app's previews."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image

from datasets_tools.captions import write_caption
from datasets_tools.files import save_for_person
from datasets_tools.names import explain_path
from trainer.commands.libraries import quiet_model_libraries
from trainer.config import BaseModelConfig
from trainer.device import open_device_context
from trainer.inference.preview_generator import PreviewGenerator
from trainer.inference.preview_worker import serve
from trainer.inference.sampling import generate, make_grid, save_image
from trainer.models import load_family
from trainer.models.family import GenerationRequest
from trainer.runs import PreviewFolder, RunError, is_owned, own_folder
from trainer.runs.grids import Grid, GridFiles, make_keys, write_record
from trainer.runs.previews import list_requests


def generate_grid(
    grid: Grid, models: Path, to: Path, report: Callable[[int, int], None]
) -> tuple[int, int]:
    """Generates the cells of a grid that are not there yet, and the labelled image of them all.

    Args:
        grid: What to generate.
        models: The workspace's folder of base models, for hub ids.
        to: The image to write; `GridFiles` names what lies beside it.
        report: Called with (done, total) at the start and after each cell.

    Returns:
        How many cells were generated, and how often the base model was loaded.

    Raises:
        ModelError, ExportError, RunError: with what to do.
    """
    if problem := explain_path(to):
        raise RunError(problem)
    files = GridFiles(to)
    cells = grid.list_cells()
    keys = make_keys(cells)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_record(grid, cells, keys, files)
    missing = {key: cell for cell, key in zip(cells, keys, strict=True)
               if not files.locate(key).is_file()}  # fmt: skip
    total = len(set(keys))
    report(total - len(missing), total)
    generator = PreviewGenerator(models)
    if missing:
        quiet_model_libraries()
    # Cells with the same adapters follow each other, so that each is attached once.
    ordered = sorted(missing.items(), key=lambda one: [a.path for a in one[1].request.adapters])
    for number, (key, cell) in enumerate(ordered, total - len(missing) + 1):
        made = generator.generate_one(cell.request)
        weight = cell.request.adapters[0].weight
        save_image(files.locate(key), made.image, made.request, weight, generator.sampler)
        report(number, total)
    _write_image(grid, [files.locate(key) for key in keys], to)
    return len(missing), generator.base_loads


def _write_image(grid: Grid, paths: Sequence[Path], to: Path) -> None:
    images = []
    for path in paths:
        with Image.open(BytesIO(path.read_bytes())) as image:
            images.append(image.convert("RGB"))
    width = len(grid.columns.values)
    rows = [images[start : start + width] for start in range(0, len(images), width)]
    labels = [[axis.label(each) for each in axis.values] for axis in (grid.rows, grid.columns)]
    memory = BytesIO()
    make_grid(rows, *labels).save(memory, "PNG")
    save_for_person(to, memory.getvalue(), f"The image {to.name}")


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
