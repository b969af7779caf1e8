"""Zips, folders and captions dropped into an empty app arrive complete, in a real browser."""

import zipfile

import pytest
from playwright.sync_api import expect

from datasets_tools.examples import scan_folder
from tests.app.conftest import draw_images, serving

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.set_default_timeout(90_000)
    yield page
    context.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One server for all tests here, and its folder of datasets."""
    root = tmp_path_factory.mktemp("import") / "workspace"
    with serving(root) as url:
        yield url, root / "datasets"


@pytest.fixture
def tree(tmp_path):
    """A tree of kohya, with captions, a mask and what is not used."""
    for name, count in (("10_mycat cat", 3), ("2_réf", 1)):
        for number, image in enumerate(draw_images(tmp_path / "tree" / name, count, 48 + count)):
            image.with_suffix(".caption").write_text(f"{name} {number}")
    draw_images(tmp_path / "tree" / "10_mycat cat" / "masks", 1)
    (tmp_path / "tree" / "clip.mp4").write_bytes(b"video")
    (tmp_path / "tree" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "tree" / "page.png").write_text("<html>")
    return tmp_path / "tree"


def make_dataset(page, url, name):
    page.goto(url)
    page.fill("#dataset-new-name input, #dataset-new-name textarea", name)
    page.click("#dataset-create")
    expect(page.locator("#dataset-note")).to_contain_text(name)


def drop(page, *paths):
    """Drops files and folders as a mouse does."""
    box = page.locator("#dataset-upload").bounding_box()
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    client = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        client.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def check_tree(page, folder):
    note = page.locator("#dataset-note")
    expect(note).to_contain_text("4 images added with 4 captions and 1 mask.")
    expect(note).to_contain_text("Not used: 1 video (clip.mp4)")
    expect(note).to_contain_text("page.png is a web page and not an image")
    shares = page.locator("#dataset-folders")
    expect(shares).to_contain_text("10_mycat cat: 3 images × 10, 94% of what is shown")
    expect(page.locator("#dataset-grid .tile")).to_have_count(4)
    assert [(one.name, one.caption) for one in scan_folder(folder)[0]] == [
        ("10_mycat cat/image-0.png", "10_mycat cat 0"),
        ("10_mycat cat/image-1.png", "10_mycat cat 1"),
        ("10_mycat cat/image-2.png", "10_mycat cat 2"),
        ("2_réf/image-0.png", "2_réf 0"),
    ]


def test_folder_that_is_dropped_arrives_with_its_repeats(page, served, tree):
    url, datasets = served
    make_dataset(page, url, "by-drop")
    drop(page, tree)
    expect(page.locator("#dataset-note")).to_contain_text("tree/page.png is a web page")
    check_tree(page, datasets / "by-drop")
    page.get_by_role("button", name="Show the images of 2_réf 3 times").click()
    expect(page.locator("#dataset-folders")).to_contain_text("3_réf: 1 image × 3")
    assert (datasets / "by-drop" / "3_réf" / "image-0.png").is_file()


def test_zip_arrives_with_its_repeats(page, served, tree, tmp_path):
    url, datasets = served
    with zipfile.ZipFile(tmp_path / "tree.zip", "w") as packed:
        for file in sorted(tree.rglob("*.*")):
            packed.write(file, file.relative_to(tree).as_posix())
    make_dataset(page, url, "by-zip")
    page.set_input_files("#dataset-upload input[type=file]", tmp_path / "tree.zip")
    check_tree(page, datasets / "by-zip")


def test_images_and_captions_that_are_chosen_arrive_together(page, served, tree, tmp_path):
    url, datasets = served
    make_dataset(page, url, "by-files")
    files = [path for path in (tree / "10_mycat cat").iterdir() if path.is_file()]
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    page.set_input_files("#dataset-upload input[type=file]", [*files, tmp_path / "bad.zip"])
    note = page.locator("#dataset-note")
    expect(note).to_contain_text("3 images added with 3 captions.")
    expect(note).to_contain_text("bad.zip is no zip archive that can be unpacked")
    captions = [one.caption for one in scan_folder(datasets / "by-files")[0]]
    assert captions == ["10_mycat cat 0", "10_mycat cat 1", "10_mycat cat 2"]
