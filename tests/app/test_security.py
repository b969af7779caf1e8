"""The guard, the password door and the routes of media and captions, asked as an attacker would."""

import json
import re
import urllib.parse

import pytest
from gradio.routes import App
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.core.examples import image_url, thumbnail_url, view_tiles
from app.core.lora_files import export_url
from app.core.run_contents import sample_url, view_samples
from app.web import captions_routes
from app.web.login import LOGIN_PATH, LOGOUT_PATH, PasswordGuard, WrongGuesses
from app.web.media import make_routes
from app.web.page import build
from app.web.security import LOOPBACK, Guard, list_hosts
from app.web.server import ServerError, launch, launch_options
from datasets_tools.captions import revision_of
from tests.app.conftest import add_sample

HERE = "http://127.0.0.1:7860"
JSON = "application/json"


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


class Clock:
    """A time that goes on when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def locked():
    app = Starlette(routes=[Route("/{path:path}", hello, methods=["GET", "POST"])])
    door = PasswordGuard(app, "open sesame", Clock())
    return TestClient(door, base_url=HERE, follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/media/thumbnail/x", "/theme.css", "/gradio_api/info"])
def test_nothing_answers_without_the_password(locked, path):
    answer = locked.get(path)
    assert answer.status_code == 401
    assert "hello" not in answer.text


def list_routes(router):
    """Returns the path and the methods of each route, those of routers inside included."""
    found = []
    for route in router.routes:
        if (inside := getattr(route, "original_router", None)) is not None:
            found += list_routes(inside)
        else:
            found.append((route.path, route.methods or {"GET"}))
    return found


def test_a_stranger_sees_the_login_on_every_route_that_there_is(workspace):
    """The routes are those of the running app, so that a new one is looked at, too."""
    options = launch_options(workspace, "0.0.0.0", "open sesame")["app_kwargs"]
    app = App.create_app(build(workspace, has_password=True), app_kwargs=options)
    routes = list_routes(app)
    assert len(routes) > 50
    client = TestClient(app, base_url=HERE, follow_redirects=False)
    answered = set()
    for path, methods in routes:
        for method in {"GET", *methods} - {"HEAD", "OPTIONS"}:
            url = re.sub(r"\{[^}]*\}", "1", path)
            headers = {"origin": HERE, "accept": "text/html"}
            answer = client.request(method, url, headers=headers)
            refused = answer.status_code == 401 and "password" in answer.text.lower()
            closed = answer.status_code in {403, 404, 405}  # whatever it was, it is none of ours
            if not refused and not closed:
                answered.add((method, path, answer.status_code))
    # Gradio asks for this one itself when it starts; it answers true, and nothing of ours.
    assert answered == {("GET", "/gradio_api/startup-events", 200)}


def test_right_password_opens_and_a_wrong_one_does_not(locked):
    assert locked.post(LOGIN_PATH, data={"password": "open"}).status_code == 401
    assert locked.get("/").status_code == 401
    locked.app.guesses._clock.now += 1
    answer = locked.post(LOGIN_PATH, data={"password": "open sesame"})
    assert answer.status_code == 303
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert locked.get("/anything").text == "hello"


def test_made_up_session_does_not_open(locked):
    assert locked.get("/", headers={"cookie": "lorasmith-session=guess"}).status_code == 401


def test_each_wrong_password_doubles_the_wait_of_its_address_and_of_no_other():
    app = Starlette(routes=[Route("/{path:path}", hello, methods=["GET", "POST"])])
    clock = Clock()
    door = PasswordGuard(app, "open sesame", clock)
    first, second = (
        TestClient(door, base_url=HERE, follow_redirects=False, client=(address, 1))
        for address in ("192.0.2.1", "192.0.2.2")
    )
    for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
        wrong = first.post(LOGIN_PATH, data={"password": "guess"})
        assert (wrong.status_code, wrong.headers["retry-after"]) == (401, str(seconds))
        assert f"Try again in {seconds} second" in wrong.text
        clock.now += seconds - 0.5
        # Not even the right one is looked at before its time, nor does asking prolong the wait.
        early = first.post(LOGIN_PATH, data={"password": "open sesame"})
        assert (early.status_code, early.headers["retry-after"]) == (429, "1")
        clock.now += 0.5
    assert second.post(LOGIN_PATH, data={"password": "open sesame"}).status_code == 303
    assert first.post(LOGIN_PATH, data={"password": "open sesame"}).status_code == 303
    # It starts anew after the right one.
    first.cookies.clear()
    wrong = first.post(LOGIN_PATH, data={"password": "guess"})
    assert wrong.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("testclient", "other", False),
    ],
)
def test_a_network_of_a_person_counts_as_one_address(one, other, same):
    guesses = WrongGuesses(Clock())
    guesses.add(one)
    assert (guesses.wait_of(other) > 0) == same


def test_guesses_from_many_addresses_do_not_fill_the_memory():
    guesses = WrongGuesses(Clock())
    for number in range(10_100):
        guesses.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(guesses._known) == 10_000
    assert guesses.wait_of("10.0.0.0") == 0
    assert guesses.wait_of("10.0.39.0") == 1


def test_logging_out_ends_the_session_for_good(locked):
    locked.post(LOGIN_PATH, data={"password": "open sesame"})
    session = locked.cookies["lorasmith-session"]
    assert locked.get("/").text == "hello"
    answer = locked.post(LOGOUT_PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert locked.get("/").status_code == 401
    # Who copied the cookie is out, too, and other sessions stay.
    assert locked.get("/", headers={"cookie": f"lorasmith-session={session}"}).status_code == 401
    assert locked.post(LOGOUT_PATH).status_code == 303


def test_the_page_has_the_button_where_there_is_a_session_to_end(workspace):
    assert "Log out" not in json.dumps(build(workspace).config, default=str)
    components = build(workspace, has_password=True).config["components"]
    heading = next(
        one["props"]["value"] for one in components if one["props"].get("elem_id") == "heading"
    )
    assert 'action="./lorasmith-logout"' in heading


@pytest.fixture
def media(workspace):
    return TestClient(Starlette(routes=make_routes(workspace)))


def test_media_serves_thumbnail_image_sample_and_export(media, workspace, dataset, run):
    tile = view_tiles(dataset)[0]
    add_sample(run, 10, 0)
    sample = view_samples(run).rows[0][1][0]
    (run.path / "tabby.safetensors").write_bytes(b"weights")
    kinds = {
        thumbnail_url("cats", tile.thumbnail): "image/webp",
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
            f"/media/thumbnail/cats/{quoted}",
            f"/media/thumbnail/{quoted}/0123456789abcdef.webp",
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


@pytest.fixture
def editor(workspace, dataset):
    """The routes of captions and trigger words behind the guard, and an image's address."""
    guard = Middleware(Guard, hosts=LOOPBACK, uploads=workspace.uploads_path)
    app = Starlette(routes=captions_routes.make_routes(workspace), middleware=[guard])
    client = TestClient(app, base_url=HERE)
    return client, f"/captions/cats/{view_tiles(dataset)[0].key}"


def put(client, address, content, revision="", **headers):
    sent = {"if-match": f'"{revision}"', **headers}
    return client.put(address, json={"text": content}, headers=sent)


def test_caption_is_read_with_its_revision_and_saved_with_it(editor, dataset):
    client, address = editor
    opened = client.get(address)
    assert (opened.status_code, opened.json()["text"]) == (200, "a red cat")
    tag = opened.headers["etag"]
    assert tag == f'"{opened.json()["revision"]}"'
    assert opened.headers["cache-control"] == "private, no-store"
    assert client.get(address, headers={"if-none-match": tag}).status_code == 304
    saved = put(client, address, "a ünusual cat", tag.strip('"'))
    assert (saved.status_code, saved.headers["etag"] != tag) == (200, True)
    assert (dataset / "image-0.txt").read_text("utf-8") == "a ünusual cat"
    assert client.get(address, headers={"if-none-match": tag}).status_code == 200
    again = put(client, address, "mine", tag.strip('"'))
    assert (again.status_code, again.json()["text"]) == (412, "a ünusual cat")
    assert again.headers["etag"] == saved.headers["etag"]


def test_trigger_is_read_and_saved_likewise(editor, dataset):
    client, _ = editor
    revision = client.get("/trigger/cats").json()["revision"]
    assert put(client, "/trigger/cats", "tabby", revision).json()["text"] == "tabby"
    assert client.get("/trigger/cats").json()["text"] == "tabby"
    assert put(client, "/trigger/cats", "other", revision).status_code == 412
    assert put(client, "/trigger/cats", "x" * 1000, revision).status_code == 412
    now = client.get("/trigger/cats").json()["revision"]
    assert put(client, "/trigger/cats", "x" * 1000, now).status_code == 422


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403),
     ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-site"}, 403),
     ({"host": "evil.example"}, 400), ({"origin": HERE}, 200)],
)  # fmt: skip
def test_other_sites_save_nothing(editor, dataset, headers, status):
    client, address = editor
    revision = client.get(address).json()["revision"]
    for place, tag in ((address, revision), ("/trigger/cats", revision_of(""))):
        assert put(client, place, "evil", tag, **headers).status_code == status
    written = (dataset / "image-0.txt").read_text()
    assert written == ("evil" if status == 200 else "a red cat")


@pytest.mark.parametrize("address", ["/captions/cats/KEY", "/trigger/cats"])
def test_saving_without_a_revision_or_a_text_is_refused(editor, dataset, address):
    client, caption = editor
    address = address.replace("KEY", caption.rpartition("/")[2])
    assert client.put(address, json={"text": "x"}).status_code == 428
    tag = {"if-match": '"x"'}
    assert client.put(address, content='{"text": "x"}', headers=tag).status_code == 415
    form = tag | {"content-type": "application/x-www-form-urlencoded"}
    assert client.put(address, content="text=x", headers=form).status_code == 415
    for content in ("", "no json", "[]", '{"text": 7}', '{"x": "y"}', "[" * 100_000):
        sent = client.put(address, content=content, headers=tag | {"content-type": JSON})
        assert sent.status_code == 400, content[:20]
    large = b'{"text": "' + b"x" * captions_routes.MAX_BODY_BYTES + b'"}'
    for body in (large, iter([large[:1000], large[1000:]])):
        sent = client.put(address, content=body, headers=tag | {"content-type": JSON})
        assert sent.status_code == 413
    for method in ("POST", "DELETE", "PATCH"):
        assert client.request(method, address, json={"text": "x"}).status_code == 405
    assert (dataset / "image-0.txt").read_text() == "a red cat"


@pytest.mark.parametrize(
    "name", ["gone", "..", "%2e%2e", "image-0.png", "..%2fcats", "%00", "a" * 5000, "cats%2f.."]
)
def test_bad_names_are_not_found(editor, workspace, name):
    client, address = editor
    (workspace.root / "secret.txt").write_text("secret")
    key = address.rpartition("/")[2]
    for place in (f"/captions/cats/{name}", f"/captions/{name}/{key}", f"/trigger/{name}"):
        assert client.get(place).status_code == 404
        assert put(client, place, "x").status_code == 404
    assert [path.name for path in workspace.root.glob("*.json")] in ([], ["workspace.json"])


def test_text_with_odd_letters_is_one_line_of_utf8(editor, dataset):
    client, address = editor
    revision = client.get(address).json()["revision"]
    body = r'{"text": "a\u0000 \ud800 cat\n<b>\u202e"}'
    headers = {"if-match": f'"{revision}"', "content-type": JSON}
    assert client.put(address, content=body, headers=headers).status_code == 200
    assert (dataset / "image-0.txt").read_text("utf-8") == "a cat <b>\u202e"


def test_captions_too_are_behind_the_password(workspace, dataset):
    app = Starlette(routes=captions_routes.make_routes(workspace))
    client = TestClient(PasswordGuard(app, "open sesame"), base_url=HERE)
    key = view_tiles(dataset)[0].key
    for address in (f"/captions/cats/{key}", "/trigger/cats"):
        assert client.get(address).status_code == 401
        assert put(client, address, "x").status_code == 401
