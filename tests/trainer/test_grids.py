"""Grids over two settings: what each cell is, stopping and going on, and the images themselves."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from app.cli import main
from tests.trainer.conftest import load_plain, write_images
from trainer.commands import generate_grid, train
from trainer.config import layer_config
from trainer.device import open_device_context
from trainer.inference.sampling import generate, weighted
from trainer.models.family import GenerationRequest
from trainer.runs import PreviewRequest, RunError, create_run
from trainer.runs.grids import AXES, Axis, Grid, GridFiles, make_keys
from trainer.training.attach import attach_checkpoint

SETTINGS = {"prompt": "a blob", "inference_steps": 2, "width": 32, "height": 32}


@pytest.fixture(scope="module")
def run(tmp_path_factory, pico):
    """A finished run with checkpoints at steps 1 to 5."""
    folder = tmp_path_factory.mktemp("grids")
    images = write_images(folder / "images", [(32, 32)] * 4)
    settings = {
        "name": "pico",
        "base_model": {"path": str(pico), "precision": "fp32"},
        "dataset": {"path": str(images), "resolution": 32, "bucket_step": 4},
        "adapter": {"rank": 4, "text_rank": 2},
        "optimizer": {"unet_learning_rate": 5e-2},
        "train": {"steps": 5, "batch_size": 2, "device": "cpu"},
        "samples": {"every_steps": 0},
        "output": {"checkpoint_every_steps": 1, "keep_checkpoints": 0},
    }
    made = create_run(folder / "workspace" / "runs", layer_config(settings=settings))
    assert train(made, folder / "cache") == "finished"
    return made


@pytest.fixture
def request_of(run):
    def make(**changes):
        adapters = ({"path": str(run.list_exports()[0])},)
        values = {"base_model": run.config.base_model, "adapters": adapters, **SETTINGS, **changes}
        return PreviewRequest.model_validate(values)

    return make


@pytest.fixture
def draw_alone(run):
    """Generates one image of a checkpoint without anything of a grid."""
    family, context = load_plain(run.config.base_model.path), open_device_context()

    def draw(step, weight, prompt):
        adapters = attach_checkpoint(family, run.find_checkpoint(step).path, context.device)
        wanted = GenerationRequest(prompt, inference_steps=2, width=32, height=32)
        with weighted([adapters], [weight]):
            image = generate(family, context, wanted)
        adapters.remove()
        return np.asarray(image)

    return draw


def ignore(_done, _total):
    """Nobody looks at the progress."""


def stop_after(count):
    def report(done, _total):
        if done == count:
            raise KeyboardInterrupt

    return report


def check_grids(run, request_of, draw_alone, tmp_path, steps, weights, prompts):
    """Stops each grid half-way and goes on; compares the cells with single images."""
    seen = set()
    zero = 1 if 0.0 in weights else 0  # at weight 0 all checkpoints generate one image
    for number, prompt in enumerate(prompts):
        rows, columns = Axis("step", steps), Axis("weight", weights)
        grid = Grid(request_of(prompt=prompt), rows, columns, run)
        to = tmp_path / f"grid-{number}.png"
        total = len(steps) * (len(weights) - zero) + zero
        with pytest.raises(KeyboardInterrupt):
            generate_grid(grid, run.models_path, to, stop_after(total // 2))
        assert len(list(GridFiles(to).cells.iterdir())) == total // 2
        assert not to.exists()
        done = generate_grid(grid, run.models_path, to, ignore)
        assert done == (total - total // 2, 1)
        assert generate_grid(grid, run.models_path, to, ignore) == (0, 0)
        record = json.loads(GridFiles(to).record.read_text())
        for cell in record["cells"]:
            step, weight = steps[cell["row"]], weights[cell["column"]]
            with Image.open(tmp_path / cell["file"]) as image:
                found = np.asarray(image)
            assert np.array_equal(found, draw_alone(step, weight, prompt)), (step, weight)
            seen.add(found.tobytes())
            assert cell["settings"]["prompt"] == prompt
            assert cell["settings"]["adapters"][0]["weight"] == weight
            assert str(tmp_path) not in json.dumps(cell)
    assert len(seen) == len(prompts) * total


def test_a_grid_that_was_stopped_goes_on_and_its_cells_are_single_images(
    run, request_of, draw_alone, tmp_path
):
    check_grids(run, request_of, draw_alone, tmp_path, (2, 5), (0.0, 1.0), ("a blob",))


@pytest.mark.slow
def test_steps_weights_and_prompts_of_a_run_with_five_checkpoints(
    run, request_of, draw_alone, tmp_path
):
    prompts = ("a blob", "a red blob", "a house", "")
    check_grids(run, request_of, draw_alone, tmp_path, (1, 2, 3, 4, 5), (0.0, 0.5, 1.0), prompts)


def test_one_value_more_generates_what_is_missing(run, request_of, tmp_path):
    to = tmp_path / "grid.png"
    first = Grid(request_of(), Axis("sampler", ("Euler", "DDIM")), Axis("seed", (1, 2)))
    assert generate_grid(first, run.models_path, to, ignore) == (4, 1)
    more = Grid(request_of(), Axis("sampler", ("DDIM", "Euler", "UniPC")), Axis("seed", (2, 1)))
    assert generate_grid(more, run.models_path, to, ignore) == (2, 1)
    with Image.open(to) as image:
        assert image.size == (150 + 2 * (32 + 4), 22 + 3 * (32 + 4))


def test_every_axis_changes_what_it_says_and_nothing_else(run, request_of):
    export = str(run.list_exports()[0])
    shared = request_of(adapters=({"path": export, "weight": 0.5}, {"path": "b", "weight": 0.25}))
    values = {
        "adapter": "c.safetensors", "step": 3, "weight": 2.0, "prompt": "a cat", "seed": 9,
        "sampler": "Heun", "guidance": 3.0,
    }  # fmt: skip
    assert set(values) == set(AXES)
    plain = shared.model_dump()

    def change(name):
        grid = Grid(shared, Axis(name, (values[name],)), Axis("seed", (1,)), run)
        return grid.apply({name: values[name]}).model_dump()

    for name in ("prompt", "seed", "sampler", "guidance"):
        assert change(name) == plain | {name: values[name]}
    adapters = {name: change(name)["adapters"] for name in ("adapter", "step", "weight")}
    shares = [[(one["path"], one["weight"]) for one in each] for each in adapters.values()]
    checkpoint = str(run.find_checkpoint(3).path / "adapter.safetensors")
    assert shares == [
        [("c.safetensors", 1.0)],
        [(checkpoint, 0.5), ("b", 0.25)],
        [(export, 1.0), ("b", 0.5)],
    ]


def test_a_key_is_of_the_content_of_a_file_and_not_of_its_place(request_of, run, tmp_path):
    export = run.list_exports()[0]
    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(export.read_bytes())
    other.write_bytes(export.read_bytes()[:-1] + b"\x7f")

    def key(path, **changes):
        shared = request_of(adapters=({"path": str(path)},), **changes)
        return make_keys(Grid(shared, Axis("seed", (1,)), Axis("weight", (1.0,))).list_cells())[0]

    assert key(export) == key(copy)
    assert len({key(export), key(other), key(export, prompt="b"), key(export, guidance=2)}) == 4


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        (Axis("seed", (1,)), Axis("seed", (2,)), "Rows and columns are both seed"),
        (Axis("seed", ()), Axis("weight", (1.0,)), "The axis seed has no value"),
        (Axis("seed", (1, 1)), Axis("weight", (1.0,)), "has seed 1 more than once"),
        (Axis("seed", tuple(range(21))), Axis("guidance", tuple(range(1, 21))), "420 images"),
        (Axis("sampler", ("Eular",)), Axis("weight", (1.0,)), "no sampler Eular. Choose one of"),
        (Axis("step", (7,)), Axis("weight", (1.0,)), "no checkpoint at step 7; there are: 1, 2"),
        (Axis("weight", (5.0,)), Axis("seed", (1,)), "out of bounds: 0 weight: input should be"),
        (Axis("adapter", ("gone.safetensors",)), Axis("seed", (1,)), "no LoRA file at gone"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_a_model_is_loaded(
    run, request_of, tmp_path, monkeypatch, rows, columns, says
):
    monkeypatch.setattr("trainer.commands.images.PreviewGenerator", None)
    with pytest.raises(RunError, match=says):
        generate_grid(Grid(request_of(), rows, columns, run), run.models_path, tmp_path / "g.png",
                      ignore)  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_the_command_takes_a_run_and_prints_events(run, tmp_path, capsys):
    to = tmp_path / "grid.png"
    workspace = run.path.parent.parent
    words = ["grid", run.id, f"--workspace={workspace}", "--prompt=a blob", "--json", f"--to={to}"]
    sizes = ["--width=32", "--height=32", "--steps=1", "--guidance=1"]
    assert main([*words, *sizes, "--step", "4", "5", "--weight", "1"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each.get("done") for each in events] == [0, 1, 2, None]
    assert events[-1] == {"event": "done", "image": str(to), "generated": 2, "base_loads": 1}
    record = json.loads(GridFiles(to).record.read_text())
    assert record["rows"]["labels"] == ["step 4", "step 5"]
    assert record["columns"]["labels"] == ["a blob"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seed", "1", "2", "--guidance", "1", "2", "--weight", "0", "1"], "two axes, and sever"),
        (["--columns=seed"], "--columns is seed, which has no more than one value"),
        (["--step", "all", "x"], "--step takes numbers or all"),
        (["--sampler", "Eular"], "There is no sampler Eular"),
        (["--guidance=0.5"], "guidance: input should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_sentence(run, capsys, words, says):
    workspace = run.path.parent.parent
    assert main(["grid", run.id, f"--workspace={workspace}", "--prompt=a", *words]) == 2
    errors = capsys.readouterr().err
    assert says in errors
    assert len(errors.splitlines()) == 1


def test_only_a_run_has_steps_and_a_base_model(run, tmp_path, capsys):
    file = str(tmp_path / "elsewhere.safetensors")
    shutil.copy(run.list_exports()[0], file)
    assert main(["grid", file, "--prompt=a", f"--workspace={tmp_path}"]) == 2
    assert "Name the base model with --base-model" in capsys.readouterr().err
    base = f"--base-model={run.config.base_model.path}"
    assert main(["grid", file, base, "--step=1", "--prompt=a", f"--workspace={tmp_path}"]) == 2
    assert "Only a run has steps" in capsys.readouterr().err
