"""`lorasmith batches` shows what the trainer is given: the same pixels, captions and order."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from datasets_tools.errors import DatasetError
from tests.trainer.conftest import write_images
from trainer.commands import list_batches, write_batches
from trainer.runs import RunError
from trainer.training.loop import read_batches
from trainer.training.session import open_session
from trainer.training.shortage import encode_within_memory
from trainer.training.step import take_step

MANY = (
    "train.steps=20", "train.batch_size=2", "train.accumulate=2", "dataset.flip=true",
    "dataset.shuffle_tags=true", "dataset.caption_dropout=0.3", "dataset.trigger=mycat",
    "dataset.max_upscale=8", "samples.every_steps=0",
)  # fmt: skip


@pytest.fixture
def shapes(tmp_path):
    """Images of several shapes, with captions of several tags, one with a mask."""
    folder = write_images(tmp_path / "shapes", [(32, 32), (48, 24), (24, 48), (40, 40), (90, 31)])
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        path.with_suffix(".txt").write_text(f"mycat, tag {number}, black, sitting, day")
    (folder / "masks").mkdir()
    mask = Image.new("L", (48, 24))
    mask.paste(255, (0, 0, 24, 24))
    mask.save(folder / "masks" / f"{sorted(folder.glob('*.png'))[1].name}")
    return folder


def read_pixels(path):
    values = np.asarray(Image.open(path), dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(values).permute(2, 0, 1)[None].contiguous()


def test_batches_shown_equal_the_tensors_trained_on(tmp_path, make_run, shapes, cache):
    run = make_run(*MANY, f"dataset.path={shapes}")
    entries = write_batches(list_batches(run.config, tmp_path, (1, 20)), tmp_path / "shown")
    session = open_session(run, cache)
    latents, captions = [], []
    sample, encode = session.source.latents.sample, session.encode_captions

    def note_latents(indices, flips, noise):
        latents.extend(sample(indices, flips, torch.zeros_like(noise)))  # the means alone
        return sample(indices, flips, noise)

    def note_captions(texts):
        captions.extend(texts)
        return encode(texts)

    session.source.latents.sample, session.encode_captions = note_latents, note_captions
    batches = read_batches(session)
    session.state.start_learning()
    for _ in range(20):
        take_step(session, batches)
    assert [entry["caption"] for entry in entries] == captions
    assert len(entries) == len(latents) == 20 * 2 * 2
    assert [entry["step"] for entry in entries] == [1 + n // 4 for n in range(80)]
    assert [entry["batch"] for entry in entries] == [1 + n // 2 for n in range(80)]
    for entry, trained in zip(entries, latents, strict=True):
        pixels = read_pixels(tmp_path / "shown" / entry["file"])
        mean = encode_within_memory(run, session.family, pixels).mean
        assert torch.equal(mean[0].float(), trained), entry
    # All that can happen to an image did.
    assert {entry["flipped"] for entry in entries} == {True, False}
    assert {tuple(entry["bucket"]) for entry in entries} > {(32, 32)}
    assert "" in captions
    assert len({caption for caption in captions if "tag 1" in caption}) > 1


def test_a_later_step_is_shown_as_if_those_before_had_been(tmp_path, make_run, shapes):
    config = make_run(*MANY, f"dataset.path={shapes}").config
    rows = list_batches(config, tmp_path, (1, 7))
    later = list_batches(config, tmp_path, (5, 3))
    assert [row.to_dict("") for row in later] == [
        row.to_dict("") for row in rows if row.step in (5, 6, 7)
    ]


def test_what_a_mask_leaves_out_is_light_on_the_sheet_and_whole_in_the_file(
    tmp_path, make_run, shapes
):
    words = ("train.batch_size=1", "dataset.masks=folder", f"dataset.path={shapes}")
    rows = list_batches(make_run(*words).config, tmp_path, (1, 5))
    entries = write_batches(rows, tmp_path / "shown")
    masked = [entry for entry in entries if entry["masked"]]
    assert [entry["original"] for entry in masked] == [[48, 24]]
    row = next(row for row in rows if row.shown.example.original == (48, 24))
    with Image.open(tmp_path / "shown" / masked[0]["file"]) as shown:
        assert shown.tobytes() == row.shown.read_image().tobytes()
    mask = np.asarray(row.shown.read_mask(row.config))
    assert (mask[:, : mask.shape[1] // 2 - 1] == 255).all()
    assert (mask[:, mask.shape[1] // 2 + 1 :] == 0).all()
    sheet = Image.open(tmp_path / "shown" / "batches.png").convert("RGB")
    assert sheet.height % 5 == 0
    light = 255 - (255 - np.asarray(row.shown.read_image(), dtype=float)) * 0.25
    top, side = rows.index(row) * sheet.height // 5, mask.shape[0]
    cell = np.asarray(sheet, dtype=float)[top + 192 - side : top + 192, 60 : 60 + mask.shape[1]]
    assert np.abs(cell[:, -4:] - light[:, -4:]).max() <= 1
    assert np.abs(cell[:, :4] - np.asarray(row.shown.read_image())[:, :4]).max() == 0


def test_class_images_are_shown_beside_those_of_the_dataset(tmp_path, make_run, shapes, images):
    words = ("objective.prior=images", f"dataset.prior_path={shapes}", "train.batch_size=2")
    rows = list_batches(make_run(*words).config, tmp_path, (1, 3))
    assert [row.what for row in rows] == ["dataset", "dataset", "class images", "class images"] * 3
    assert {row.shown.source.path.parent for row in rows if row.what == "class images"} == {shapes}


def test_the_command_lists_and_writes(tmp_path, make_run, shapes, capsys):
    run = make_run(*MANY, f"dataset.path={shapes}")
    assert main(["batches", str(run.path), "--steps", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("step 1\n")
    assert text.count("\n") == 1 + 2 * 4
    assert (
        main(["batches", str(run.path), "--steps", "2", "--json", "--to", str(tmp_path / "x")]) == 0
    )
    entries = json.loads(capsys.readouterr().out)
    assert entries == json.loads((tmp_path / "x" / "batches.json").read_text("utf-8"))
    assert sorted(path.name for path in (tmp_path / "x").glob("*-step-*.png")) == [
        entry["file"] for entry in entries
    ]


def test_what_cannot_be_shown_is_refused(tmp_path, make_run, shapes, capsys):
    run = make_run(f"dataset.path={shapes}")
    for words in (["--steps", "0"], ["--first", "0"]):
        assert main(["batches", str(run.path), *words]) == 2
        assert "cannot be shown" in capsys.readouterr().err
    next(shapes.glob("*.png")).write_bytes(b"no image")
    with pytest.raises(DatasetError):
        list_batches(run.config, tmp_path, (1, 1))
    with pytest.raises(RunError):
        list_batches(run.config, tmp_path, (-1, 1))
