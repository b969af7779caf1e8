"""The Library tab: a file looked into, packed and downloaded."""

import io
import zipfile
from types import SimpleNamespace

import numpy
import pytest
from safetensors.numpy import save
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.core import lora_files as view
from app.core.workspace import WorkspaceError
from app.library import about, html
from app.library.about import make_about, make_pack, view_inspection
from app.library.events import LibraryEvents, look_into_file, pack_file
from app.train.run_actions import continue_run
from app.web.media import make_routes
from tests.app.conftest import add_sample, wait_for

LORA = save(
    {"lora_unet_x.lora_down.weight": numpy.zeros((4, 8), "float16")},
    {
        "modelspec.title": "A ${alert(1)} <b>title</b>",
        "lorasmith.config": '{"train": {"steps": 5}}',
    },
)


@pytest.fixture
def events(workspace):
    return LibraryEvents(workspace, continue_run)


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
    return view.read_file_job(workspace, view.INSPECT, file.path)


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
    found = view_inspection(inspect(workspace, file))
    facts = dict(found.facts)
    assert facts["For"] == "SDXL"
    assert facts["UNet"] == "192 layers, LoRA, rank 16, alpha 8"
    assert facts["Hash"] == "12ab, but the header has 34cd"
    assert [(one.name, one.loads) for one in found.programs] == [
        ("ComfyUI", "yes"),
        ("A1111", "no"),
    ]
    assert [(severity, message[:10]) for severity, message in found.findings] == [
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


@pytest.mark.parametrize("kind", ["civitai", "hub", "kohya", "diffusers"])
def test_pack_is_made_and_downloaded(workspace, media, run, kind):
    export(run)
    file = view.find_file(workspace, run.id, None)
    assert media.get(view.pack_url(file, kind)).status_code == 404
    pack_file(workspace, file, kind)
    wait_for(lambda: view.find_pack(workspace, file, kind) is not None)
    job = view.read_file_job(workspace, kind, file.path)
    assert f'href="{view.pack_url(file, kind)}"' in make_pack(file, kind, job)
    answer = media.get(view.pack_url(file, kind))
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    if kind == "hub":
        assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["tabby/README.md"]


def test_brought_file_is_downloaded_and_nothing_else_is(workspace, media, tmp_path):
    file = bring(workspace)
    assert media.get(view.file_url(file)).content == LORA
    (tmp_path / "secret").write_bytes(b"secret")
    (workspace.loras_path / "link.safetensors").symlink_to(tmp_path / "secret")
    for url in ("/media/lora/link.safetensors", "/media/lora/..%2fbase-models.json",
                "/media/pack/hub/file:mine.safetensors/other.safetensors",
                "/media/pack/x/file:mine.safetensors/mine.safetensors"):  # fmt: skip
        assert media.get(url).status_code == 404, url


def read_view(workspace, name, opened, file=""):
    views = {**html.VIEWS, **about.VIEWS}
    return views[f"library-{name}"].render(workspace, {"open": opened, "library_file": file})


def read_version(workspace, name, opened):
    views = {**html.VIEWS, **about.VIEWS}
    return views[f"library-{name}"].read_version(workspace, {"open": opened})


def test_embedding_is_downloaded_beside_its_file(workspace, media, run):
    name = export(run)
    file = view.find_file(workspace, run.id, None)
    assert file.word is None
    assert media.get(view.word_url(file)).status_code == 404
    folder = run.path / "tabby-embedding"
    folder.mkdir()
    (folder / "zorp.safetensors").write_bytes(b"word")
    file = view.find_file(workspace, run.id, None)
    assert media.get(view.word_url(file)).content == b"word"
    download = read_view(workspace, "opened", run.id)
    assert f'href="{view.word_url(file)}"' in download
    assert "embedding:zorp in ComfyUI" in download
    assert media.get(view.word_url(file).replace(name, "..")).status_code == 404


def test_library_shows_runs_and_brought_files_with_what_can_be_done(workspace, run):
    assert 'id="library-resume"' in read_view(workspace, "opened", run.id)
    export(run)
    file = bring(workspace)
    cards = read_view(workspace, "cards", "")
    assert f'data-key="{run.id}"' in cards
    assert 'data-key="file:mine.safetensors"' in cards
    shown = read_view(workspace, "opened", run.id)
    assert f'href="{view.file_url(view.find_file(workspace, run.id, None))}"' in shown
    assert 'value="&lt;lora:tabby:1&gt;"' in shown
    assert 'value="tabbycat"' in shown
    assert f'id="library-continue" data-key="continue" data-file="{run.id}/tabby' in shown
    shown = read_view(workspace, "opened", file.id)
    assert "A ${alert(1)} &lt;b&gt;title" in shown
    assert 'id="library-settings"' in shown
    assert 'id="library-resume"' not in shown
    shown = read_view(workspace, "opened", "")
    assert "Choose a run or a file" in shown
    assert "data-file" not in shown


def test_one_of_several_files_is_chosen_and_the_newest_where_it_is_not_there(workspace, run):
    names = [export(run), export(run, "tabby-diffusers.safetensors")]
    for name in names:
        shown = read_view(workspace, "opened", run.id, f"{run.id}/{name}")
        assert f'data-file="{run.id}/{name}"' in shown
        assert shown.count('data-selects="library_file"') == 2
        assert shown.count('aria-pressed="true"') == 1
    newest = view.find_file(workspace, run.id, None)
    assert f'data-file="{newest.id}"' in read_view(workspace, "opened", run.id, "other/x")


def test_versions_change_with_what_is_shown_and_with_nothing_else(workspace, run):
    def look():
        names = ("cards", "opened", "log", "about", "share")
        return {name: read_version(workspace, name, run.id) for name in names}

    def changed():
        nonlocal before
        now = look()
        different = {name for name in now if now[name] != before[name]}
        before = now
        return different

    before = look()
    assert changed() == set()
    bring(workspace)
    assert changed() == {"cards"}
    export(run)
    assert changed() == {"opened", "about", "share"}
    add_sample(run, 10, 0)
    assert "cards" in changed()
    run.log_path.write_text("one line")
    assert changed() == {"log"}
    pack_file(workspace, view.find_file(workspace, run.id, None), "hub")
    assert changed() == {"share"}
    look_into_file(workspace, view.find_file(workspace, run.id, None))
    assert "about" in changed()


def press(key, opened, file=""):
    return SimpleNamespace(key=key, open=opened, library_file=file)


def test_buttons_do_what_they_say_for_what_was_shown(workspace, events, run):
    name = export(run)
    file = view.find_file(workspace, run.id, None)
    assert events.pack(press("hub", run.id)) == {"message": ""}
    wait_for(lambda: view.find_pack(workspace, file, "hub") is not None)
    assert events.look(press("look", run.id, f"{run.id}/{name}")) == {"message": ""}
    assert read(workspace, file).state != "none"
    assert events.resume(press("continue", run.id)) is None
    message = events.resume(press("resume", run.id))["message"]
    assert "note-good" in message
    wait_for(lambda: "finished" in read_view(workspace, "opened", run.id))


@pytest.mark.parametrize("sent", [SimpleNamespace(), press("x", "../x"), press(None, None, [])])
def test_presses_that_say_nonsense_do_nothing(workspace, events, sent):
    assert events.pack(sent) is None
    assert events.resume(sent) is None
    assert "not there any more" in events.look(sent)["message"]
    assert "not there any more" in events.pack(press("hub", getattr(sent, "open", "")))["message"]
    assert "no run" in events.resume(press("resume", getattr(sent, "open", "")))["message"]
    assert not list(workspace.jobs_path.glob("*-*"))


def test_upload_is_a_command_and_quotes_what_it_names(workspace):
    bring(workspace, "my $(touch x).safetensors")
    shown = read_view(workspace, "share", "file:my $(touch x).safetensors")
    assert "--hub &#x27;my $(touch x)-hub&#x27;" in shown
    assert "OWNER/NAME --private" in shown
