"""The guard, the password door and the media routes, asked as a browser or an attacker would."""

import urllib.parse

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.core.examples import image_url, thumbnail_url, view_tiles
from app.core.lora_files import export_url
from app.core.run_contents import sample_url, view_samples
from app.dataset.dataset_actions import make_thumbnails
from app.web.login import LOGIN_PATH, PasswordDoor
from app.web.media import make_routes
from app.web.security import LOOPBACK, Guard, list_hosts
from app.web.server import ServerError, launch, launch_options
from tests.app.conftest import add_sample

HERE = "http://127.0.0.1:7860"


def hello(request):
    return PlainTextResponse("hello")


@pytest.fixture
def guarded(tmp_path):
    everything = Route("/{path:path}", hello, methods=["GET", "POST"])
    guard = Middleware(Guard, hosts=LOOPBACK, uploads=tmp_path, max_upload_bytes=1000)
    return TestClient(Starlette(routes=[everything], middleware=[guard]), base_url=HERE)


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:7860", 200), ("localhost:7860", 200), ("[::1]:7860", 200), ("LOCALHOST", 200),
     ("evil.example", 400), ("127.0.0.1.evil.example", 400), ("localhost@evil.example", 400),
     ("", 400), ("[", 400)],
)  # fmt: skip
def test_only_this_computers_names_are_answered(guarded, host, status):
    assert guarded.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [(HERE, 200), ("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:9", 403),
     ("http://localhost:7860", 403)],
)  # fmt: skip
def test_only_our_own_page_may_post(guarded, origin, status):
    assert guarded.post("/gradio_api/queue/join", headers={"origin": origin}).status_code == status


def test_post_that_says_it_comes_from_another_site_is_refused_without_an_origin(guarded):
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        assert guarded.post("/x", headers={"sec-fetch-site": site}).status_code == status
    assert guarded.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_other_site_cannot_read_across(guarded):
    assert guarded.get("/x", headers={"origin": "http://localhost:3000"}).status_code == 403


def test_headers_forbid_frames_sniffing_and_other_sites(guarded):
    for answer in (guarded.get("/"), guarded.get("/", headers={"host": "evil.example"})):
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=http://10.0.0.1/x", "//gradio_api/file=HTTPS://x", "/gradio_api/proxy=x",
     "/monitoring/summary"],
)  # fmt: skip
def test_routes_that_fetch_or_tell_are_closed(guarded, path):
    assert guarded.get(HERE + path).status_code == 404


def test_uploads_have_a_total_quota(guarded, tmp_path):
    where = "/gradio_api/upload"
    assert guarded.post(where, content=b"x" * 900).status_code == 200
    assert guarded.post(where, content=b"x" * 1001).status_code == 413
    assert guarded.post(where, content=iter([b"x"])).status_code == 411
    (tmp_path / "waiting").write_bytes(b"x" * 500)
    assert guarded.post(where, content=b"x" * 600).status_code == 413


def test_listening_everywhere_knows_this_computers_addresses_and_no_others():
    assert list_hosts("127.0.0.1") == LOOPBACK
    assert "evil.example" not in list_hosts("0.0.0.0")
    assert list_hosts("192.168.7.7") == LOOPBACK | {"192.168.7.7"}


def test_other_computers_are_let_in_with_a_password_only(workspace):
    with pytest.raises(ServerError, match="password is needed"):
        launch(workspace, host="0.0.0.0")


def test_nothing_is_shared_recorded_or_documented(workspace):
    options = launch_options(workspace, "127.0.0.1", "")
    assert options["allowed_paths"] == []
    for name in ("share", "run_history", "ssr_mode", "mcp_server", "enable_monitoring"):
        assert options[name] is False
    assert options["app_kwargs"]["openapi_url"] is None


@pytest.fixture
def locked():
    app = Starlette(routes=[Route("/{path:path}", hello, methods=["GET", "POST"])])
    door = PasswordDoor(app, "open sesame", delay_seconds=0)
    return TestClient(door, base_url=HERE, follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/media/thumbnail/x", "/theme.css", "/gradio_api/info"])
def test_nothing_answers_without_the_password(locked, path):
    answer = locked.get(path)
    assert answer.status_code == 401
    assert "hello" not in answer.text


def test_right_password_opens_and_a_wrong_one_does_not(locked):
    assert locked.post(LOGIN_PATH, data={"password": "open"}).status_code == 401
    assert locked.get("/").status_code == 401
    answer = locked.post(LOGIN_PATH, data={"password": "open sesame"})
    assert answer.status_code == 303
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert locked.get("/anything").text == "hello"


def test_made_up_session_does_not_open(locked):
    assert locked.get("/", headers={"cookie": "lorasmith-session=guess"}).status_code == 401


@pytest.fixture
def media(workspace):
    return TestClient(Starlette(routes=make_routes(workspace)))


def test_media_serves_thumbnail_image_sample_and_export(media, workspace, dataset, run):
    make_thumbnails(workspace, dataset)
    tile = view_tiles(dataset)[0]
    add_sample(run, 10, 0)
    sample = view_samples(run).rows[0][1][0]
    (run.path / "tabby.safetensors").write_bytes(b"weights")
    kinds = {
        thumbnail_url(tile.thumbnail): "image/webp",
        image_url("cats", tile.key): "image/png",
        sample_url(run.id, sample): "image/png",
        export_url(run.id, "tabby.safetensors"): "application/octet-stream",
    }
    for url, kind in kinds.items():
        answer = media.get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert "attachment" in answer.headers["content-disposition"]


def test_media_serves_nothing_else(media, workspace, dataset, run):
    (run.path / "tabby.safetensors").write_bytes(b"weights")
    (workspace.root / "secret.txt").write_text("secret")
    run_id = run.id
    names = ["config.toml", "log.txt", "../../secret.txt", "..", "%2e%2e%2fsecret.txt", ".lock"]
    for name in names:
        quoted = urllib.parse.quote(name, safe="")
        for url in (
            f"/media/export/{run_id}/{quoted}",
            f"/media/thumbnail/{quoted}",
            f"/media/image/cats/{quoted}",
            f"/media/image/{quoted}/x",
            f"/media/preview/{quoted}/with",
            f"/media/sample/{quoted}/1/0",
            f"/media/sample/{run_id}/{quoted}/0",
        ):
            assert media.get(url).status_code == 404, url


def test_link_inside_a_run_does_not_lead_out_of_the_workspace(media, run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (run.path / "tabby.safetensors").symlink_to(secret)
    assert media.get(export_url(run.id, "tabby.safetensors")).status_code == 404
