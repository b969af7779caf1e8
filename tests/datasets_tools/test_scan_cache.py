"""Images are decoded once; what was found is kept by content, and a damaged cache is ignored."""

import pytest

from datasets_tools.checks import scan
from datasets_tools.checks.cache import MeasureCache
from datasets_tools.checks.report import check_dataset
from datasets_tools.examples import scan_folder


@pytest.fixture
def decoded(monkeypatch):
    """Names of the images that were decoded, by the scan or by anybody else."""
    names = []
    look_at = scan.look_at

    def look(path, thumbnail=None):
        names.append(path.name)
        return look_at(path, thumbnail)

    monkeypatch.setattr(scan, "look_at", look)
    return names


def test_each_image_is_decoded_once_and_not_after_reopening(make_dataset, decoded, tmp_path):
    folder, place = make_dataset(6), tmp_path / "cache.npz"
    first = check_dataset(folder, cache=MeasureCache(place))
    assert sorted(decoded) == [f"image{number}.png" for number in range(6)]
    again = check_dataset(folder, cache=MeasureCache(place))
    assert len(decoded) == 6
    assert again == first


def test_moved_image_is_known_by_its_content_and_a_new_one_is_not(
    make_dataset, make_image, decoded
):
    folder = make_dataset(6)
    cache = MeasureCache()
    check_dataset(folder, cache=cache)
    (folder / "image3.png").rename(folder / "other.png")
    make_image("set/new.png", (512, 512))
    check_dataset(folder, cache=cache)
    assert decoded[6:] == ["new.png"]


def test_scan_finds_what_the_measuring_found(make_dataset, make_image, monkeypatch):
    folder = make_dataset(4)
    (folder / "broken.png").write_bytes((folder / "image1.png").read_bytes()[:900])
    expected = scan_folder(folder)
    monkeypatch.setattr("datasets_tools.images._facts", {})
    scan.measure_folder(folder, MeasureCache())
    monkeypatch.setattr("datasets_tools.images.fingerprint", None)  # nothing sound is read again
    assert scan_folder(folder) == expected


def test_progress_counts_to_the_end_and_what_is_known_at_once(make_dataset):
    folder, cache, seen = make_dataset(5), MeasureCache(), []
    scan.measure_folder(folder, cache, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 5) for number in range(6)]
    assert scan.count_unknown(folder, cache) == (0, 5)
    scan.measure_folder(folder, cache, lambda done, total: seen.append((done, total)))
    assert seen[6:] == [(5, 5)]


def test_thumbnails_are_made_on_the_way(make_dataset, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    scan.measure_folder(make_dataset(3), MeasureCache(), None, lambda id_: small / f"{id_}.webp")
    examples = scan_folder(tmp_path / "set")[0]
    assert {path.name for path in small.iterdir()} == {f"{one.id}.webp" for one in examples}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"x" * 5000])
def test_damaged_cache_is_ignored_and_replaced(make_dataset, tmp_path, content):
    folder, place = make_dataset(5), tmp_path / "cache.npz"
    place.write_bytes(content)
    report = check_dataset(folder, cache=MeasureCache(place))
    assert len(report.examples) == 5
    assert scan.count_unknown(folder, MeasureCache(place)) == (0, 5)
