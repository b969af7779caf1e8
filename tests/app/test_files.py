"""The Library tab: a file looked into, packed and downloaded."""

import io
import zipfile

import numpy
import pytest
from safetensors.numpy import save
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.core import lora_files as view
from app.core.addresses import file_url, pack_url, word_url
from app.core.workspace import WorkspaceError
from app.library.events import LibraryEvents
from app.library.file_actions import look_into_file, pack_file
from app.library.files_html import make_about, make_pack
from app.web.media import make_routes
from tests.app.conftest import wait_for

LORA = save(
    {"lora_unet_x.lora_down.weight": numpy.zeros((4, 8), "float16")},
    {
        "modelspec.title": "A ${alert(1)} <b>title</b>",
        "lorasmith.config": '{"train": {"steps": 5}}',
    },
)


@pytest.fixture
def events(workspace):
    return LibraryEvents(workspace)


@pytest.fixture
def media(workspace):
    return TestClient(Starlette(routes=make_routes(workspace)))


def bring(workspace, name="mine.safetensors", data=LORA):
    (workspace.loras_path / name).write_bytes(data)
    return view.find_file(workspace, f"file:{name}", None)


def export(run, name="tabby.safetensors"):
    (run.path / name).write_bytes(LORA)
    return name


def inspect(workspace, file):
    look_into_file(workspace, file)
    wait_for(lambda: read(workspace, file).state in {"done", "failed"})
    return read(workspace, file)


def read(workspace, file):
    return view.read_file_errand(workspace, view.INSPECT, file.path)


def test_run_offers_its_files_and_a_brought_file_itself(workspace, run):
    export(run)
    export(run, "tabby-diffusers.safetensors")
    ids = [file.id for file in view.list_files(workspace, run.id)]
    assert sorted(ids) == [f"{run.id}/tabby-diffusers.safetensors", f"{run.id}/tabby.safetensors"]
    chosen = view.find_file(workspace, run.id, f"{run.id}/tabby.safetensors")
    assert chosen.path.name == "tabby.safetensors"
    assert bring(workspace).id == "file:mine.safetensors"


@pytest.mark.parametrize("opened", ["", None, "../x", "file:../x", "file:", "nobody"])
def test_what_is_not_listed_has_no_files(workspace, run, opened):
    export(run)
    assert view.list_files(workspace, opened) == []
    with pytest.raises(WorkspaceError, match="not there any more"):
        look_into_file(workspace, view.find_file(workspace, opened, None))
    with pytest.raises(WorkspaceError, match="not there any more"):
        pack_file(workspace, view.find_file(workspace, opened, None), "hub")


def test_inspection_says_what_the_file_is_who_loads_it_and_what_is_wrong(workspace):
    file = bring(workspace)
    found = view.view_inspection(inspect(workspace, file))
    facts = dict(found.facts)
    assert facts["For"] == "SDXL"
    assert facts["UNet"] == "192 layers, LoRA, rank 16, alpha 8"
    assert facts["Hash"] == "12ab, but the header says 34cd"
    assert [(one.name, one.loads) for one in found.programs] == [
        ("ComfyUI", "yes"),
        ("A1111", "no"),
    ]
    assert [(one.severity, one.message[:10]) for one in found.findings] == [
        ("warning", "The header")
    ]


def test_what_a_file_says_about_itself_is_shown_as_text(workspace):
    file = bring(workspace)
    shown = make_about(file, inspect(workspace, file))
    assert "It refuses the file: &lt;b&gt;names&lt;/b&gt;." in shown
    assert "A ${alert(1)} &lt;b&gt;title" in shown
    assert "<b>names" not in shown


def test_file_that_cannot_be_looked_into_says_why_and_shows_its_header_all_the_same(workspace):
    file = bring(workspace, "broken.safetensors")
    shown = make_about(file, inspect(workspace, file))
    assert "broken.safetensors contains no adapter." in shown
    assert "modelspec.title" in shown


def test_replaced_file_is_looked_into_again(workspace):
    file = bring(workspace)
    inspect(workspace, file)
    file.path.write_bytes(LORA + b"")
    file.path.write_bytes(save({"y.lora_down.weight": numpy.zeros((1, 1))}))
    assert read(workspace, file).state == "none"


def test_settings_are_read_from_the_header_and_damaged_ones_are_none(workspace):
    assert view.read_settings(bring(workspace).path) == {"train": {"steps": 5}}
    for number, text in enumerate(("[]", "{", "7", "[" * 9999)):
        data = save({"x.lora_down.weight": numpy.zeros((1, 1))}, {"lorasmith.config": text})
        assert view.read_settings(bring(workspace, f"{number}.safetensors", data).path) == {}
    assert view.read_settings(bring(workspace, "bad.safetensors", b"x").path) == {}


@pytest.mark.parametrize("kind", ["civitai", "hub"])
def test_pack_is_made_and_downloaded(workspace, media, run, kind):
    export(run)
    file = view.find_file(workspace, run.id, None)
    assert media.get(pack_url(file, kind)).status_code == 404
    pack_file(workspace, file, kind)
    wait_for(lambda: view.find_pack(workspace, file, kind) is not None)
    errand = view.read_file_errand(workspace, kind, file.path)
    assert f'href="{pack_url(file, kind)}"' in make_pack(file, kind, errand)
    answer = media.get(pack_url(file, kind))
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    if kind == "hub":
        assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["tabby/README.md"]


def test_brought_file_is_downloaded_and_nothing_else_is(workspace, media, tmp_path):
    file = bring(workspace)
    assert media.get(file_url(file)).content == LORA
    (tmp_path / "secret").write_bytes(b"secret")
    (workspace.loras_path / "link.safetensors").symlink_to(tmp_path / "secret")
    for url in ("/media/lora/link.safetensors", "/media/lora/..%2fbase-models.json",
                "/media/pack/hub/file:mine.safetensors/other.safetensors",
                "/media/pack/x/file:mine.safetensors/mine.safetensors"):  # fmt: skip
        assert media.get(url).status_code == 404, url


def test_learned_word_is_downloaded_beside_its_file(workspace, media, events, run):
    name = export(run)
    file = view.find_file(workspace, run.id, None)
    assert file.word is None
    assert media.get(word_url(file)).status_code == 404
    folder = run.path / "tabby-embedding"
    folder.mkdir()
    (folder / "zorp.safetensors").write_bytes(b"word")
    file = view.find_file(workspace, run.id, None)
    assert media.get(word_url(file)).content == b"word"
    download = str(events.show({}, run.id, None)[4])
    assert f'href="{word_url(file)}"' in download
    assert "embedding:zorp in ComfyUI" in download
    assert media.get(word_url(file).replace(name, "..")).status_code == 404


def test_library_shows_runs_and_brought_files_with_what_can_be_done(workspace, events, run):
    names = ("cards", "facts", "file", "download", "trigger", "syntax", "resume", "continue")
    export(run)
    bring(workspace)
    _, *parts = events.show({}, run.id, None)
    shown = dict(zip(names, parts, strict=False))
    assert f'data-key="{run.id}"' in shown["cards"]
    assert 'data-key="file:mine.safetensors"' in shown["cards"]
    assert "tabby.safetensors" in shown["download"]
    assert shown["syntax"]["value"] == "<lora:tabby:1>"
    assert shown["continue"]["visible"]
    _, *parts = events.show({}, "file:mine.safetensors", None)
    shown = dict(zip(names, parts, strict=False))
    assert "A ${alert(1)} &lt;b&gt;title" in shown["facts"]
    assert not shown["resume"]["visible"]
    _, *parts = events.show({}, "", None)
    assert not dict(zip(names, parts, strict=False))["continue"]["visible"]


def test_upload_is_a_command_and_quotes_what_it_names(workspace, events):
    bring(workspace, "my $(touch x).safetensors")
    *_, upload = events.show_file({}, "file:my $(touch x).safetensors", None)
    assert "--hub 'my $(touch x)-hub'" in upload["value"]
    assert "OWNER/NAME --private" in upload["value"]


def test_every_wish_differs_so_that_the_same_one_is_heard_twice(workspace, events):
    bring(workspace)
    wishes = {events.wish("continue", "file:mine.safetensors", None) for _ in range(3)}
    assert len(wishes) == 3
    assert all(wish.endswith("|file:mine.safetensors") for wish in wishes)
