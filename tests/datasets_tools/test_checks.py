"""The dataset check names each thing that spoils a training, and nothing in a sound dataset."""

import json
from pathlib import Path

import pytest

from datasets_tools.checks import report as reports
from datasets_tools.checks.report import CheckOptions
from datasets_tools.checks.table import CHECKS
from datasets_tools.errors import DatasetError


def check_dataset(folder, trigger="", resolution=512, goal=""):
    return reports.check_dataset(folder, CheckOptions(trigger, resolution, goal=goal))


def codes(report):
    return [finding.code for finding in report.findings]


def only(report, code):
    found = [finding for finding in report.findings if finding.code == code]
    assert len(found) == 1, codes(report)
    return found[0]


def test_sound_dataset_has_no_findings(make_dataset):
    report = check_dataset(make_dataset(), trigger="mycat")
    assert report.findings == []
    assert report.ok
    assert len(report.examples) == 10


@pytest.mark.parametrize(
    ("count", "code"),
    [(1, "too_few_images"), (4, "too_few_images"), (5, "few_images"), (9, "few_images")],
)
def test_few_images_are_a_warning_that_fits_their_number(make_dataset, count, code):
    report = check_dataset(make_dataset(count), trigger="mycat")
    assert codes(report) == [code]
    assert str(count) in report.warnings[0].message
    assert report.ok


def test_missing_and_empty_folders_are_errors_in_the_report(tmp_path):
    report = check_dataset(tmp_path / "none")
    assert (report.ok, codes(report), report.examples) == (False, ["no_images"], [])
    report = check_dataset(tmp_path)
    assert "contains no images" in only(report, "no_images").message


def test_folder_without_one_usable_image_is_an_error(tmp_path):
    (tmp_path / "a.png").write_text("x")
    report = check_dataset(tmp_path)
    assert codes(report) == ["unreadable_image", "no_usable_images"]
    assert not report.ok


def test_unreadable_image_and_caption_are_errors_and_come_first(make_dataset):
    folder = make_dataset(6)
    (folder / "text.png").write_text("x")
    (folder / "image3.txt").write_bytes(b"\xff\xfa")
    report = check_dataset(folder)
    assert codes(report) == ["unreadable_caption", "unreadable_image", "few_images"]
    assert [finding.names for finding in report.errors] == [("image3.png",), ("text.png",)]
    assert not report.ok


def test_small_image_is_named_with_its_enlargement(make_dataset, make_image):
    folder = make_dataset(10, "x {}")
    make_image("set/image4.png", (256, 256))
    report = check_dataset(folder)
    finding = only(report, "small_image")
    assert finding.names == ("image4.png",)
    assert "256 x 256" in finding.message
    assert "2.0 times" in finding.message
    assert codes(check_dataset(folder, resolution=256)) == []


@pytest.mark.parametrize(
    ("size", "ends"),
    [((2000, 512), "left and right"), ((512, 2000), "top and bottom")],
)
def test_extreme_shape_is_named_with_its_loss(make_dataset, make_image, size, ends):
    folder = make_dataset()
    make_image("set/image2.png", size)
    finding = only(check_dataset(folder), "extreme_aspect")
    assert finding.names == ("image2.png",)
    assert f"57% at the {ends}" in finding.message  # 640 of 1500 pixels, at a height of 384


@pytest.mark.parametrize("size", [(900, 600), (800, 600), (1920, 1080), (1000, 1000)])
def test_usual_shapes_are_not_complained_about(make_dataset, make_image, size):
    folder = make_dataset()
    make_image("set/image2.png", size)
    assert check_dataset(folder).findings == []


def test_same_picture_in_another_format_is_a_duplicate(make_dataset, make_image):
    folder = make_dataset()
    for name in ("first.png", "second.bmp", "third.png"):
        make_image(f"set/{name}", (512, 512), seed=7).with_suffix(".txt").write_text(name)
    report = check_dataset(folder)
    assert codes(report) == ["duplicate_image"]
    assert report.findings[0].names == ("second.bmp", "third.png")
    assert "second.bmp like first.png, third.png like first.png" in report.findings[0].message


def test_missing_and_empty_captions_are_named(make_dataset):
    folder = make_dataset()
    (folder / "image1.txt").unlink()
    (folder / "image2.txt").write_text(" \n")
    report = check_dataset(folder, trigger="mycat")
    assert codes(report) == ["empty_caption"]
    assert report.findings[0].names == ("image1.png", "image2.png")


def test_identical_captions_are_one_finding(make_dataset):
    report = check_dataset(make_dataset(10, "mycat"), trigger="mycat")
    assert codes(report) == ["identical_captions"]


def test_missing_trigger_is_counted_and_the_first_names_told(make_dataset):
    folder = make_dataset(10, "mycats, picture {}")
    (folder / "image0.txt").write_text("mycat")
    finding = only(check_dataset(folder, trigger="mycat"), "trigger_missing")
    assert "9 of 10" in finding.message
    assert "image1.png, image2.png, image3.png and 6 more" in finding.message


def test_repeated_trigger_is_told(make_dataset):
    folder = make_dataset()
    (folder / "image5.txt").write_text("mycat, a photo of MyCat")
    finding = only(check_dataset(folder, trigger="mycat"), "trigger_repeated")
    assert "(image5.png)" in finding.message
    assert check_dataset(folder).findings == []


def test_resolution_without_buckets_is_refused(make_dataset):
    with pytest.raises(DatasetError, match="resolution of 32"):
        check_dataset(make_dataset(1), resolution=32)


def test_report_as_json_is_complete_and_without_paths(make_dataset, tmp_path, free_names):
    folder = make_dataset(3)
    (folder / "<b>\n.png").write_text("x")
    report = check_dataset(folder, trigger="mycat")
    data = json.loads(json.dumps(report.to_json()))
    assert (data["ok"], data["errors"], data["warnings"]) == (False, 1, 1)
    assert data["examples"][0] == {
        "name": "image0.png",
        "id": report.examples[0].id,
        "width": 512,
        "height": 512,
        "caption": "mycat, picture 0",
    }
    assert data["findings"][0]["code"] == "unreadable_image"
    assert data["findings"][0]["images"] == ["<b>?.png"]
    assert data["findings"][0]["remedy"] == "remove"
    assert data["findings"][1]["images"] == []
    assert str(tmp_path) not in json.dumps(data)


def test_every_message_is_whole_sentences(make_dataset, make_image):
    folder = make_dataset(3, "mycat mycat")
    make_image("set/wide.png", (900, 100))
    (folder / "text.png").write_text("x")
    (folder / "image0.txt").write_text("a dog")
    report = check_dataset(folder, trigger="mycat")
    assert len(report.findings) >= 6
    for finding in report.findings:
        assert finding.message.endswith("."), finding
        assert finding.message.count(". ") >= 1 or ", so " in finding.message, finding


def test_documentation_lists_every_check():
    page = (Path(__file__).parents[2] / "docs" / "dataset-checks.md").read_text(encoding="utf-8")
    for check in CHECKS:
        assert f"| `{check.code}` | {check.title} | {check.severity} | {check.measures} |" in page
