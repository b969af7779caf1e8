"""What happens to an open image outside of the app, and captions of every script and length."""

import json

import httpx
import pytest

from app.core.examples import view_tiles
from app.dataset.captions import open_caption, save_caption
from app.dataset.images import WorkspaceError, remove_image
from datasets_tools.captions import read_caption
from tests.app.conftest import draw_images, serving


def delete(folder):
    (folder / "image-0.png").unlink()


def replace(folder):
    (folder / "image-0.png").write_bytes(draw_images(folder.parent / "x", 9)[8].read_bytes())


def rename(folder):
    (folder / "image-0.png").rename(folder / "other.png")


@pytest.mark.parametrize("change", [delete, replace, rename])
def test_text_for_an_image_that_changed_outside_reaches_no_other_image(workspace, dataset, change):
    key = view_tiles(dataset)[0].key
    opened = open_caption(workspace, "cats", key)
    before = {path.name: path.read_bytes() for path in dataset.glob("*.txt")}
    change(dataset)
    saved = save_caption(workspace, "cats", key, opened.revision, "a new text")
    assert saved.outcome == "gone"
    assert {path.name: path.read_bytes() for path in dataset.glob("*.txt")} == before
    with pytest.raises(WorkspaceError):
        open_caption(workspace, "cats", key)
    with pytest.raises(WorkspaceError):
        remove_image(dataset, key)


@pytest.mark.parametrize(
    "caption",
    [
        "חתול אדום, יושב על mat",
        "قطة حمراء 🐈 جالسة",
        "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301",
        "🐈" * 27_000,
        "猫" * 27_000,
        "\u202eright to left\u202c mark",
    ],
    ids=["hebrew", "arabic", "joined", "27000 emoji", "27000 han", "override"],
)
def test_captions_of_every_script_and_length_come_back(served, caption):
    url, folder = served
    with httpx.Client(base_url=url) as client:
        address = f"/captions/cats/{view_tiles(folder)[1].key}"
        opened = client.get(address)
        for body in (json.dumps({"text": caption}, ensure_ascii=ascii) for ascii in (True, False)):
            headers = {"if-match": opened.headers["etag"], "content-type": "application/json"}
            answer = client.put(address, content=body.encode(), headers=headers)
            assert answer.status_code == 200, answer.text[:200]
            opened = client.get(address)
            assert opened.json()["text"] == caption
    assert read_caption(folder / "image-1.png") == caption


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts") / "workspace"
    draw_images(root / "datasets" / "cats", 3)
    with serving(root) as url:
        yield url, root / "datasets" / "cats"
