"""Batches in a fixed order, latents and captions kept by content."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from datasets_tools.buckets import Bucket, Placement
from datasets_tools.errors import DatasetError
from datasets_tools.examples import scan_folder
from tests.trainer.conftest import write_images
from trainer.commands import train
from trainer.commands.checks import describe_balance
from trainer.config import ConfigError, DatasetConfig, RunConfig, layer_config
from trainer.data import (
    BatchPlan,
    CaptionEncoder,
    EncodedExample,
    Source,
    TensorCache,
    TensorStore,
    choose_sizes,
    encode_examples,
    read_training_examples,
)
from trainer.runs import read_events
from trainer.training.session import open_session
from trainer.training.sources import list_captions

CPU = torch.device("cpu")


def place(bucket):
    size = (64, 32 * (bucket + 1))
    return Placement(Bucket(*size), 1.0, size, (0, 0), upscaled=False, crop_fraction=0.0)


def plan_of(counts, batch_size, **config):
    examples = [
        EncodedExample(f"{bucket}-{index}", "", f"a, b, c {index}", (64, 64), place(bucket))
        for bucket, count in enumerate(counts)
        for index in range(count)
    ]
    return BatchPlan(examples, DatasetConfig(**config), batch_size, seed=3)


def flatten(batches):
    return [
        row
        for batch in batches
        for row in zip(batch.indices, batch.flips, batch.captions, batch.seeds, strict=True)
    ]


def test_four_batches_of_one_hold_what_one_batch_of_four_holds():
    config = {"flip": True, "shuffle_tags": True, "caption_dropout": 0.3}
    singles = flatten(islice(plan_of([7], 1, **config).read(0), 40))
    fours = flatten(islice(plan_of([7], 4, **config).read(0), 10))
    assert singles == fours


def test_a_plan_continues_where_it_was_left():
    plan = plan_of([5, 3, 1], 2, shuffle_tags=True)
    whole = list(islice(plan.read(0), 30))
    assert list(islice(plan.read(11), 19)) == whole[11:]


def test_batches_are_full_of_one_bucket_and_examples_are_shown_equally_often():
    plan = plan_of([9, 4, 1], 4)
    batches = list(islice(plan.read(0), 140))
    for batch in batches:
        assert len(batch.indices) == 4
        assert len({plan.examples[index].bucket for index in batch.indices}) == 1
    shown = Counter(index for batch in batches for index in batch.indices)
    assert max(shown.values()) - min(shown.values()) <= 4


@pytest.mark.parametrize("batch_size", [1, 4])
def test_examples_are_shown_as_often_as_their_repeats_demand(batch_size):
    plan = plan_of([3, 2], batch_size)
    repeats = [10, 1, 4, 3, 2]  # 20 an epoch: 15 in one bucket, 5 in the other
    examples = [replace(each, repeats=n) for each, n in zip(plan.examples, repeats, strict=True)]
    batches = islice(replace(plan, examples=examples).read(0), 40 * 20 // batch_size)
    shown = Counter(index for batch in batches for index in batch.indices)
    for index, count in enumerate(repeats):
        assert abs(shown[index] - 40 * count) <= count + batch_size
    # Within one bucket an epoch shows each exactly so often.
    only = replace(plan_of([3], 1), examples=examples[:3])
    epoch = Counter(index for batch in islice(only.read(0), 15) for index in batch.indices)
    assert epoch == {0: 10, 1: 1, 2: 4}


def test_folders_of_a_config_are_one_dataset_and_repeats_change_its_content(tmp_path):
    write_images(tmp_path / "set" / "4_cat", [(64, 64)] * 2)
    write_images(tmp_path / "more", [(64, 64)])
    config = DatasetConfig(path=str(tmp_path / "set"), folders=[f"3 x {tmp_path / 'more'}"])
    examples, _ = read_training_examples(config)
    assert [(one.name, one.repeats) for one in examples] == [
        ("4_cat/00.png", 4),
        ("4_cat/01.png", 4),
        ("more/00.png", 3),
    ]

    def encode(examples):
        mean = torch.zeros(1, 4, 4, 4)
        encoder = ("vae", lambda pixels: (mean, mean.clone()))
        cache = TensorCache(tmp_path / "cache")
        encoded, _ = encode_examples(examples, config, (8, 32), encoder, cache, CPU, print)
        return [(one.name, one.content, one.repeats) for one in encoded]

    first, second = encode(examples), encode([replace(one, repeats=1) for one in examples])
    assert [one[0] for one in first] == [one.name for one in examples]
    assert all(a[1] != b[1] for a, b in zip(first, second, strict=True))
    assert describe_balance(examples) == [
        "Dataset: 4_cat: 2 images × 4, 73% of what is shown.",  # 8 of 11
        "Dataset: more: 1 image × 3, 27% of what is shown.",
    ]
    assert describe_balance(examples[:2]) == []


@pytest.mark.parametrize("line", ["0 x /sets/cats", "1001 x /sets/cats"])
def test_line_of_a_folder_that_makes_no_sense_is_refused(line):
    with pytest.raises(ConfigError, match=r"dataset\.folders"):
        layer_config(settings={"dataset": {"path": "/sets", "folders": [line]}})


def test_no_seed_comes_twice():
    seeds = [seed for *_, seed in flatten(islice(plan_of([4], 4).read(0), 500))]
    assert len(set(seeds)) == len(seeds) == 2000


def test_captions_are_dropped_and_tags_shuffled_as_asked():
    rows = flatten(
        islice(plan_of([4], 4, caption_dropout=0.25, shuffle_tags=True, keep_tags=1).read(0), 300)
    )
    captions = [caption for _, _, caption, _ in rows]
    assert 0.2 < captions.count("") / len(captions) < 0.3
    kept = [caption for caption in captions if caption]
    assert all(caption.startswith("a, ") for caption in kept)
    assert len({caption for caption in kept if "c 0" in caption}) == 2


def test_the_trigger_is_never_left_out():
    config = {"tag_dropout": 0.9, "keep_tags": 0, "trigger": "A", "protected_tags": "b, C 1"}
    rows = flatten(islice(plan_of([4], 4, **config).read(0), 100))
    shown = {caption for _, _, caption, _ in rows}
    assert all(caption.startswith("a, b") for caption in shown)
    assert {caption.removeprefix("a, b") for caption in shown} == {
        "",
        ", c 0",
        ", c 1",
        ", c 2",
        ", c 3",
    }


def test_captions_that_do_not_vary_are_known_before_the_first_step():
    """Otherwise a text encoder that was set aside would be asked for them."""
    config = RunConfig(dataset=DatasetConfig(keep_separator=" b", caption_dropout=0.5))
    plan = plan_of([4], 4, **config.dataset.model_dump())
    source = Source(list(plan.examples), None, plan)
    shown = {caption for _, _, caption, _ in flatten(islice(plan.read(0), 20))}
    assert shown == set(list_captions(config, (source, None)))
    assert shown == {"", *(f"a, c {n}" for n in range(4))}


class CountingEncoder:
    """Stands for the VAE; latents are a quarter of the size."""

    def __init__(self):
        self.calls = 0

    def __call__(self, pixels):
        self.calls += 1
        mean = torch.nn.functional.avg_pool2d(pixels, 4)
        return mean, mean.abs() + 0.1


def encode(folder, cache, encoder, fingerprint="vae", **config):
    examples, _ = scan_folder(folder)
    settings = DatasetConfig(path=str(folder), **config)
    return encode_examples(
        examples,
        settings,
        (8, 32),
        (fingerprint, encoder),
        TensorCache(cache),
        CPU,
        lambda *_: None,
    )


def test_cached_latents_equal_uncached_ones_and_are_not_encoded_again(tmp_path, images):
    encoder, noise = CountingEncoder(), torch.randn(6, 3, 8, 8)
    indices, flips = list(range(6)), [True, False] * 3
    _, first = encode(images, tmp_path / "cache", encoder, flip=True)
    assert encoder.calls == 12
    _, second = encode(images, tmp_path / "cache", encoder, flip=True)
    assert encoder.calls == 12
    assert torch.equal(first.sample(indices, flips, noise), second.sample(indices, flips, noise))


def test_moving_the_folder_keeps_the_cache_and_another_vae_does_not(tmp_path, images):
    encoder = CountingEncoder()
    encode(images, tmp_path / "cache", encoder)
    moved = images.rename(tmp_path / "moved")
    encode(moved, tmp_path / "cache", encoder)
    assert encoder.calls == 6
    encode(moved, tmp_path / "cache", encoder, fingerprint="other")
    assert encoder.calls == 12


def test_a_damaged_cache_file_is_made_again(tmp_path, images):
    encoder = CountingEncoder()
    encode(images, tmp_path / "cache", encoder)
    for file in (tmp_path / "cache").rglob("*.safetensors"):
        file.write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    encode(images, tmp_path / "cache", encoder)
    assert encoder.calls == 12


def test_flipped_latents_are_of_the_mirrored_image(tmp_path, images):
    _, store = encode(images, tmp_path / "cache", CountingEncoder(), flip=True)
    zero = torch.zeros(1, 3, 8, 8)
    plain, mirrored = store.sample([0], [False], zero), store.sample([0], [True], zero)
    torch.testing.assert_close(plain.flip(-1), mirrored, atol=1e-5, rtol=0)


def test_images_land_in_buckets_and_the_trigger_in_captions(tmp_path):
    folder = write_images(tmp_path / "mixed", [(32, 32), (64, 32), (32, 64)])
    encoded, _ = encode(folder, tmp_path / "cache", CountingEncoder(), trigger="zorp")
    shapes = [(each.bucket.width, each.bucket.height) for each in encoded]
    assert shapes[0] == (32, 32)
    assert shapes[1][0] > shapes[1][1]
    assert shapes[2][0] < shapes[2][1]
    assert all(each.caption.startswith("zorp, ") for each in encoded)


def test_a_broken_image_or_caption_stops_a_run_before_it_starts(images):
    (images / "90.png").write_text("not an image")
    (images / "00.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DatasetError) as caught:
        read_training_examples(DatasetConfig(path=str(images)))
    assert "90.png" in str(caught.value)
    assert "00.txt" in str(caught.value)


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_a_missing_dataset_is_told(tmp_path, path):
    with pytest.raises(DatasetError):
        read_training_examples(DatasetConfig(path=path and str(tmp_path / path)))


def test_bucket_step_must_suit_the_model():
    model = SimpleNamespace(size_step=64, default_resolution=512)
    assert choose_sizes(DatasetConfig(), model) == (64, 512)
    assert choose_sizes(DatasetConfig(bucket_step=128, resolution=768), model) == (128, 768)
    with pytest.raises(DatasetError, match="multiple of 64"):
        choose_sizes(DatasetConfig(bucket_step=32), model)
    with pytest.raises(DatasetError, match="needs at least 64 pixels"):
        choose_sizes(DatasetConfig(resolution=63), model)


def test_captions_are_encoded_once_when_the_text_encoder_is_frozen(tmp_path):
    calls = []

    def encode_text(captions):
        calls.extend(captions)
        return {"text": torch.tensor([[float(len(caption))] for caption in captions])}

    def join(rows):
        return {"text": torch.cat([row["text"] for row in rows])}

    for _ in range(2):  # a second process finds the first one's files
        encoder = CaptionEncoder(encode_text, join, "te", TensorCache(tmp_path), CPU)
        assert encoder(["ab", "abc", "ab"])["text"].tolist() == [[2.0], [3.0], [2.0]]
    assert calls == ["ab", "abc"]
    live = CaptionEncoder(encode_text, join, "te", None, CPU)
    live(["ab"])
    live(["ab"])
    assert calls == ["ab", "abc", "ab", "ab"]


def test_captions_that_do_not_come_again_are_not_kept(tmp_path):
    calls = []

    def encode_text(captions):
        calls.extend(captions)
        return {"text": torch.tensor([[float(len(caption))] for caption in captions])}

    def join(rows):
        return {"text": torch.cat([row["text"] for row in rows])}

    cache = TensorCache(tmp_path)
    encoder = CaptionEncoder(encode_text, join, "te", cache, CPU, repeats=False)
    encoder.prepare(["ab"])
    for _ in range(2):
        assert encoder(["ab", "abc"])["text"].tolist() == [[2.0], [3.0]]
    assert calls == ["ab", "abc", "abc"]
    assert cache.holds("text", "te", "ab")
    assert not cache.holds("text", "te", "abc")


def pair(number):
    return {"mean": torch.full((4, 8, 8), number), "std": torch.full((4, 8, 8), number / 2)}


def test_what_is_beyond_the_limit_is_read_from_the_cache(tmp_path):
    cache = TensorCache(tmp_path)
    store = TensorStore(cache, CPU, limit_bytes=3 * 2048)  # a pair has 2 * 4 * 8 * 8 * 4 bytes
    for number in range(5):
        cache.put(pair(float(number)), "latents", number)
        store.add(number, pair(float(number)), "latents", number)
    store.add("mask", {"mask": torch.ones(1, 32, 32)})  # not in the cache: it stays
    for number in range(5):
        assert torch.equal(store.get(number)["std"], torch.full((4, 8, 8), number / 2))
    assert "mask" in store
    assert store.get("mask")["mask"].sum() == 1024
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 5
    for path in files:
        path.unlink()
    assert store.get(2)["mean"][0, 0, 0] == 2.0  # three are in memory
    with pytest.raises(DatasetError, match="Resume the run"):
        store.get(3)
    with pytest.raises(KeyError):
        store.get(7)


def test_what_the_cache_could_not_keep_stays_in_memory(tmp_path):
    store = TensorStore(TensorCache(tmp_path / "none"), CPU, limit_bytes=0)
    store.add(0, pair(1.0), "latents", 0)
    assert torch.equal(store.get(0)["mean"], torch.ones(4, 8, 8))


def test_captions_beyond_the_chunks_are_named_in_a_warning(make_run, cache, images):
    (images / "02.txt").write_text("a red blob " * 60)
    run = make_run("base_model.max_windows=1")
    session = open_session(run, cache)
    warnings = [one["message"] for one in read_events(run.events_path) if one["event"] == "warning"]
    (warning,) = [each for each in warnings if "not read" in each]
    tokenizer = session.family.tokenizers[0]
    caption = session.source.examples[2].caption
    beyond = len(tokenizer(caption, add_special_tokens=False, verbose=False).input_ids) - (
        tokenizer.model_max_length - 2
    )
    assert f"02.png ({beyond} tokens)" in warning
    assert "are beyond 1 chunks. Shorten the captions" in warning


def test_a_run_reports_the_balance_and_what_is_not_used(make_run, cache, tmp_path, capsys):
    more = write_images(tmp_path / "more", [(64, 64)] * 2, seed=3)
    (more / "clip.mp4").write_bytes(b"video")
    run = make_run(f"dataset.folders=['3 x {more}']", "train.steps=1")
    assert train(run, cache) == "finished"
    lines = capsys.readouterr().err.splitlines()
    assert "Dataset: the folder itself: 6 images × 1, 50% of what is shown." in lines
    assert "Dataset: more: 2 images × 3, 50% of what is shown." in lines
    unused = "Not used: 1 video (clip.mp4): save single frames as PNG."
    assert unused in lines
    assert unused in [one.get("message") for one in read_events(run.events_path)]
