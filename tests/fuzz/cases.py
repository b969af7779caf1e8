"""The table of what is fuzzed: how a damaged input is made, and what reads it.

A case is whole, or it is refused by an error of ours, which is a sentence for a person. Any other
exception, more than `MOST_SECONDS`, or more than `MOST_BYTES` of memory is a fault.
"""

import io
import json
import os
import resource
import shutil
import signal
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy
from PIL import Image
from safetensors.numpy import save

from datasets_tools.errors import LorasmithError
from tests.fuzz.mutate import WORDS, damage_bytes, damage_json

MOST_SECONDS = 10.0
MOST_BYTES = 10**9


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        make: Writes a case into a folder.
        read: Reads what lies there.
    """

    make: Callable[[Random, Path], None]
    read: Callable[[Path], object]


class FaultError(AssertionError):
    """A case was neither read nor refused."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends the block by an exception after some seconds (POSIX, main thread)."""

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_case(target: Target, seed: str, folder: Path, seconds: float = MOST_SECONDS) -> bool:
    """Makes a case of a seed and reads it.

    Returns:
        Whether it was read; False where it was refused.

    Raises:
        FaultError: it was neither.
    """
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    target.make(Random(seed), place)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with limited(seconds):
            target.read(place)
    except LorasmithError as error:
        if not str(error).strip():
            raise FaultError(f"{seed}: it was refused without a word") from error
        return False
    except Exception as error:
        raise FaultError(f"{seed}: {type(error).__name__}: {error}") from error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MOST_BYTES:
        raise FaultError(f"{seed}: it took {grown / 1e9:.1f} GB of memory")
    return True


def write_damaged_json(name: str, value: object) -> Callable[[Random, Path], None]:
    def make(random: Random, folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damage_json(random, value))

    return make


# --- files of tensors --------------------------------------------------------------------------

_LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
LORA = save(
    {
        f"{_LAYER}.lora_down.weight": numpy.ones((4, 320), "float16"),
        f"{_LAYER}.lora_up.weight": numpy.ones((320, 4), "float16"),
        f"{_LAYER}.alpha": numpy.array(2.0, "float16"),
    },
    {"ss_network_dim": "4", "ss_base_model_version": "sd_v1", "ss_tag_frequency": '{"a": {"b": 1}}',
     "lorasmith.config": '{"name": "x"}', "ss_bucket_info": "{}"},
)  # fmt: skip


def make_tensors(random: Random, folder: Path) -> None:
    """A header that is damaged as JSON with a true length, or bytes that are damaged anywhere."""
    size = struct.unpack("<Q", LORA[:8])[0]
    header, body = json.loads(LORA[8 : 8 + size]), LORA[8 + size :]
    if random.random() < 0.3:
        content = damage_bytes(random, LORA)
    else:
        text = damage_json(random, header)
        length = len(text) if random.random() < 0.9 else random.choice([0, 2**63, 2**32])
        content = struct.pack("<Q", length) + text + body[: random.choice([None, 0, 9])]
    (folder / "a.safetensors").write_bytes(content)


def read_tensors(folder: Path) -> None:
    from trainer.export import inspect_file, verify_file
    from trainer.formats.header import read_header

    path = folder / "a.safetensors"
    verify_file(path)  # reports what is wrong instead of raising
    read_header(path)
    inspection = inspect_file(path)
    inspection.to_text()
    json.dumps(inspection.to_dict())


def read_header_alone(folder: Path) -> None:
    from trainer.formats.header import read_header

    read_header(folder / "a.safetensors")


def read_base_model(folder: Path) -> None:
    from trainer.models import check_base_model

    check_base_model(folder / "a.safetensors")


# --- settings and the files of runs -------------------------------------------------------------


def make_config(random: Random, folder: Path) -> None:
    from trainer.config import RunConfig
    from trainer.config.files import config_to_toml

    words = [*WORDS, b"[a]\n", b"a.b.c = 1\n", b"x = {", b"[[x]]\n", b"steps = 10", b"= 1979-05-27"]
    content = config_to_toml(RunConfig()).encode()
    lines = content.splitlines(keepends=True)
    if random.random() < 0.5:
        for _ in range(random.randrange(1, 6)):
            place = random.randrange(len(lines))
            key = lines[place].partition(b"=")[0]
            lines[place] = key + b"= " + damage_json(random, [1, "a", {"b": 1}]) + b"\n"
        content = b"".join(lines)
    else:
        content = damage_bytes(random, content, words)
    (folder / "config.toml").write_bytes(content)


def read_settings(folder: Path) -> None:
    from trainer.config import check_settings
    from trainer.config.files import read_config

    check_settings(read_config(folder / "config.toml"))


EVENTS = [
    {"event": "started", "time": 1.0, "from_step": 0, "steps": 9, "pid": 1},
    {"event": "step", "time": 2.0, "step": 3, "loss": 0.5, "smoothed": 0.5, "seconds_left": 3},
    {"event": "sample", "time": 2.5, "step": 3, "index": 0, "prompt": "a", "file": "samples/a.png"},
    {"event": "checkpoint", "time": 3.0, "step": 3},
    {"event": "ended", "time": 4.0, "reason": "finished", "step": 9},
]


def make_run(random: Random, folder: Path) -> None:
    from trainer.config import RunConfig
    from trainer.config.files import config_to_toml

    run = folder / "runs" / "2026-01-01_0000_a"
    run.mkdir(parents=True)
    (run / "config.toml").write_text(config_to_toml(RunConfig()))
    lines = [json.dumps(each).encode() for each in EVENTS]
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(lines))
        lines[place] = damage_json(random, EVENTS[place % len(EVENTS)])
    (run / "events.jsonl").write_bytes(b"\n".join(lines) + random.choice([b"", b"\n"]))
    if random.random() < 0.5:
        owner = {"pid": 99999999, "created": 1.0, "host": "h", "boot": "b"}
        (run / "process.json").write_bytes(damage_json(random, owner))
    if random.random() < 0.5:
        place = run / "checkpoints" / "step-000003"
        place.mkdir(parents=True)
        meta = {"step": 3, "version": 1, "time": 1.0, "losses": [0.1]}
        (place / "meta.json").write_bytes(damage_json(random, meta))
        (place / "manifest.json").write_bytes(damage_json(random, {"files": {"meta.json": {}}}))
        (place / "adapter.safetensors").write_bytes(damage_bytes(random, LORA))
    if random.random() < 0.5:
        data = {"version": 1, "suggestion": {"step": 3, "weight": 1.0, "sheet": "s.png"},
                "checkpoints": [{"step": 3, "weight": 1.0}]}  # fmt: skip
        (run / "evaluation.json").write_bytes(damage_json(random, data))


def read_run(folder: Path) -> None:
    from app.core.run_views import view_run
    from trainer.runs import list_runs, read_status
    from trainer.runs.checkpoints import find_damage
    from trainer.runs.evaluations import read_best_weight, read_suggestion

    for run in list_runs(folder / "runs"):
        read_status(run.path)
        read_suggestion(run.path)
        read_best_weight(run.path, 3)
        for checkpoint in run.list_checkpoints():
            find_damage(checkpoint)
        view_run(run)


QUEUE = {
    "version": 1, "paused": False,
    "entries": [{"run": "2026-01-01_0000_a", "at": 0.0, "tries": 0, "step": 0, "devices": ["cpu"]}],
}  # fmt: skip


def read_a_queue(folder: Path) -> None:
    from trainer.runs.queue import read_queue
    from trainer.runs.queue.rows import list_rows

    read_queue(folder)
    list_rows(folder)


def make_workspace(random: Random, folder: Path) -> None:
    (folder / "runs").mkdir()
    for name, value in (("workspace.json", {"format": 2}), ("base-models.json", {"a": {"x": 1}})):
        (folder / name).write_bytes(damage_json(random, value))


def read_workspace(folder: Path) -> None:
    from app.core.base_models import read_answers
    from app.core.workspace import Workspace

    workspace = Workspace(folder)
    workspace.prepare()
    read_answers(workspace, "a")
    workspace.list_base_models()


def read_preview(folder: Path) -> None:
    from trainer.runs import PreviewFolder, read_result
    from trainer.runs.previews import list_requests, read_progress

    place = PreviewFolder(folder)
    place.prepare()
    for path in folder.glob("*.json"):
        shutil.copy(path, place.requests_path / f"{0:020d}-abcdef01.json")
        answer = place.results_path / "x"
        answer.mkdir()
        for name in ("result.json", "progress.json"):
            shutil.copy(path, answer / name)
    list_requests(place)
    read_result(place, "x")
    read_progress(place, "x")


PREVIEW = {
    "base_model": {"path": "x"}, "prompt": "a", "seed": 1, "adapters": [{"path": "y", "weight": 1}],
    "seconds": 1.0, "base_loads": 1, "images": 1, "step": 1, "steps": 2, "image": 1, "error": "",
}  # fmt: skip


# --- datasets -----------------------------------------------------------------------------------

TEXT_WORDS = [
    *WORDS, "猫".encode(), b"(a:1.2)", b"<lora:x:1>", b"__colour__", b"{a|b}", b"a, " * 9000, b"\r",
    "\u202e\u200f".encode(), b"BREAK", b"|||",
]  # fmt: skip
METADATA = {"file_name": "a.png", "text": "a cat", "additional": [1]}


def encode(kind: str, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> bytes:
    memory = io.BytesIO()
    Image.new(mode, size, 7).save(memory, kind)
    return memory.getvalue()


KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "tif": "TIFF", "bmp": "BMP"}
IMAGES = {ending: encode(kind) for ending, kind in KINDS.items()}


def make_dataset(random: Random, folder: Path) -> None:
    names = ["a.png", random.choice(["b.jpg", "B.JPG", "é.webp", "10_x/c.png"])]
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(IMAGES.get(path.suffix[1:].lower(), IMAGES["png"]))
    for ending in random.sample([".txt", ".TXT", ".caption", ".png.txt", ".json"], 2):
        (folder / f"a{ending}").write_bytes(damage_bytes(random, b"a cat, red", TEXT_WORDS))
    if random.random() < 0.5:
        lines = [damage_json(random, METADATA) for _ in range(3)]
        (folder / "metadata.jsonl").write_bytes(b"\n".join(lines))
    if random.random() < 0.5:
        table = b'file_name,text\na.png,"a, cat"\n'
        (folder / "metadata.csv").write_bytes(damage_bytes(random, table, TEXT_WORDS))


def read_dataset(folder: Path) -> None:
    from datasets_tools.checks.report import check_dataset
    from datasets_tools.examples import scan_folder

    examples = scan_folder(folder)[0]
    for example in examples:
        (example.caption or "").encode("utf-8")
    check_dataset(folder)


def make_zip(random: Random, folder: Path) -> None:
    memory = io.BytesIO()
    deep = "d/" * random.choice([1, 60]) + "b.png"
    names = ["a.png", "a.txt", "../x.png", "/y.png", deep, "con.png", "\u202e.png", "x.zip",
             "C:\\z.png", "link.png"]  # fmt: skip
    with zipfile.ZipFile(memory, "w", random.choice([0, 8])) as archive:
        for name in random.sample(names, random.randrange(1, 7)):
            info = zipfile.ZipInfo(name)
            if name == "link.png":
                info.external_attr = 0o120777 << 16
            content = IMAGES["png"] if name.endswith("png") else b"a cat"
            archive.writestr(
                info, damage_bytes(random, content) if random.random() < 0.3 else content
            )
    content = memory.getvalue()
    if random.random() < 0.7:
        content = damage_bytes(random, content)
    (folder / "in.zip").write_bytes(content)


def read_zip(folder: Path) -> None:
    from datasets_tools.intake import list_sources, take_in

    target = folder / "dataset"
    target.mkdir()
    take_in(list_sources([folder / "in.zip"]), target)
    outside = {path.name for path in folder.iterdir()} - {"in.zip", "dataset"}
    assert not outside, f"it wrote {outside} beside the dataset"
    assert not any(path.is_symlink() for path in target.rglob("*"))


def make_image(random: Random, folder: Path) -> None:
    ending, content = random.choice(list(IMAGES.items()))
    if random.random() < 0.15:
        content = random.choice([b"", b"<html>", content[:9], os.urandom(0), content * 2])
    else:
        content = damage_bytes(random, content)
    (folder / f"a.{random.choice([ending, 'png', 'jpg'])}").write_bytes(content)


def read_an_image(folder: Path) -> None:
    from datasets_tools.image_import import import_image
    from datasets_tools.images import write_thumbnail

    (path,) = (each for each in folder.iterdir() if each.is_file())
    target = folder / "dataset"
    target.mkdir()
    made = import_image(path, target)
    write_thumbnail(made, folder / "thumbnail.webp")


TARGETS = {
    "tensors": Target(make_tensors, read_tensors),
    "header": Target(make_tensors, read_header_alone),
    "base model": Target(make_tensors, read_base_model),
    "config": Target(make_config, read_settings),
    "run": Target(make_run, read_run),
    "queue": Target(write_damaged_json("queue/queue.json", QUEUE), read_a_queue),
    "workspace": Target(make_workspace, read_workspace),
    "preview": Target(write_damaged_json("request.json", PREVIEW), read_preview),
    "dataset": Target(make_dataset, read_dataset),
    "zip": Target(make_zip, read_zip),
    "image": Target(make_image, read_an_image),
}


def time_cases(target: Target, count: int, seed: str, folder: Path) -> tuple[int, float]:
    """Runs cases; returns how many were read, and the seconds."""
    start = time.monotonic()
    return sum(
        run_case(target, f"{seed}/{n}", folder) for n in range(count)
    ), time.monotonic() - start
