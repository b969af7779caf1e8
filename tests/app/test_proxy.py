"""What the app believes of a proxy, and by which names and paths it lets browsers in."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from app.web.login import LOGIN_PATH, PasswordGuard
from app.web.proxy import ProxyHeaders, read_prefix
from app.web.security import LOOPBACK, Guard
from app.web.server import ServerError, launch

NAME = "gpu.example.org"
LOCAL = {"host": "127.0.0.1:7860"}


def tell(request):
    """Answers with what the app sees of a request."""
    headers = {
        k: v for k, v in request.headers.items() if k.startswith("x-forwarded") or k == "host"
    }
    path = request.scope["raw_path"].decode()
    return JSONResponse({"path": path, "scheme": request.url.scheme, **headers})


def make_client(tmp_path, names=(NAME,), root_path="", password=""):
    guards = [
        Middleware(ProxyHeaders, host_names=names, root_path=root_path),
        Middleware(Guard, hosts=LOOPBACK, uploads=tmp_path, host_names=names),
    ]
    if password:
        guards.append(Middleware(PasswordGuard, password=password))
    site = Starlette(
        routes=[Route("/{path:path}", tell, methods=["GET", "PUT"])], middleware=guards
    )
    return TestClient(site, base_url="http://127.0.0.1:7860", follow_redirects=False)


@pytest.mark.parametrize(
    ("host", "status"),
    [(NAME, 200), (f"{NAME}:443", 200), (NAME.upper(), 200), ("127.0.0.1:7860", 200),
     (f"{NAME}.evil.example", 400), ("evil.example", 400), (f"evil.example@{NAME}x", 400)],
)  # fmt: skip
def test_named_host_is_answered_and_no_other(tmp_path, host, status):
    client = make_client(tmp_path)
    assert client.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [(f"https://{NAME}", 200), (f"https://{NAME}:443", 200), (f"https://{NAME}:8443", 403),
     (f"https://sub.{NAME}", 403), ("https://evil.example", 403), ("null", 403)],
)  # fmt: skip
def test_page_behind_a_proxy_may_save_whatever_host_the_app_is_given(tmp_path, origin, status):
    client = make_client(tmp_path)
    for host in ("localhost:7860", NAME):
        answer = client.put("/captions/a/b", headers={"host": host, "origin": origin})
        assert answer.status_code == status, host


def test_name_with_a_port_means_that_port(tmp_path):
    client = make_client(tmp_path, names=(f"{NAME}:8443",))
    for port, status in (("8443", 200), ("9", 403)):
        headers = {**LOCAL, "origin": f"https://{NAME}:{port}"}
        assert client.put("/x", headers=headers).status_code == status


FORWARDED = {"x-forwarded-host": NAME, "x-forwarded-proto": "https", "x-forwarded-prefix": "/lora"}


def test_what_a_proxy_says_counts_for_a_named_host(tmp_path):
    client = make_client(tmp_path)
    seen = client.get("/lora/view/a%2Fb", headers={**LOCAL, **FORWARDED}).json()
    assert seen == {
        "path": "/view/a%2Fb",
        "scheme": "https",
        "host": NAME,
        "x-forwarded-host": f"{NAME}/lora",
        "x-forwarded-proto": "https",
    }
    cut = client.get("/view/a%2Fb", headers={**LOCAL, **FORWARDED}).json()
    assert cut["path"] == "/view/a%2Fb"  # this proxy cuts the path itself


def test_what_anybody_else_says_does_not_count(tmp_path):
    headers = {**LOCAL, **FORWARDED, "x-forwarded-host": "evil.example", "x-gradio-server": "x"}
    seen = make_client(tmp_path).get("/lora/view", headers=headers).json()
    assert seen == {"path": "/lora/view", "scheme": "http", "host": "127.0.0.1:7860"}
    headers["x-forwarded-host"] = NAME
    unnamed = make_client(tmp_path, names=()).get("/lora/view", headers=headers).json()
    assert unnamed == seen


def test_root_path_is_cut_whoever_asks(tmp_path):
    client = make_client(tmp_path, root_path="/user/me")
    for path, seen in (("/user/me/changes", "/changes"), ("/user/me", "/"), ("/user/me/", "/"),
                       ("/user/mean", "/user/mean"), ("/changes", "/changes")):  # fmt: skip
        assert client.get(path, headers=LOCAL).json()["path"] == seen


@pytest.mark.parametrize(
    ("path", "prefix"),
    [("/a/b/", "/a/b"), ("/", ""), ("", ""), ("a", ""), ("//evil.example", ""), ("/a?b", ""),
     ('/"><script>', ""), ("/a/../b", "/a/../b"), ("https://evil.example", "")],
)  # fmt: skip
def test_prefix_is_a_plain_path(path, prefix):
    assert read_prefix(path) == prefix


@pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False)])
def test_session_is_secure_where_the_browser_speaks_https(tmp_path, scheme, secure):
    client = make_client(tmp_path, password="open sesame")
    headers = {**LOCAL, **FORWARDED, "x-forwarded-proto": scheme, "origin": f"{scheme}://{NAME}"}
    answer = client.post(f"/lora{LOGIN_PATH}", data={"password": "open sesame"}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"].lower()
    assert ("; secure" in cookie) == secure
    assert "path=" not in cookie  # the folder of the address, which the browser knows


def test_https_that_only_an_unnamed_host_claims_makes_no_secure_cookie(tmp_path):
    client = make_client(tmp_path, names=(), password="open sesame")
    headers = {**LOCAL, "x-forwarded-proto": "https"}
    answer = client.post(LOGIN_PATH, data={"password": "open sesame"}, headers=headers)
    assert answer.status_code == 303
    assert "secure" not in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("path", "action"),
    [("/", "lorasmith-login"), ("/theme.css", "lorasmith-login"),
     ("/media/image/x", "../../lorasmith-login")],
)  # fmt: skip
def test_login_form_leads_to_the_same_place_from_each_address(tmp_path, path, action):
    client = make_client(tmp_path, password="open sesame")
    page = client.get(path, headers={**LOCAL, "accept": "text/html"})
    assert page.status_code == 401
    assert f'action="{action}"' in page.text


def test_proxy_is_asked_not_to_collect_events_and_nothing_else(tmp_path):
    async def stream(request):
        return Response("data: x\n\n", media_type=request.query_params["kind"])

    guard = Middleware(Guard, hosts=LOOPBACK, uploads=tmp_path)
    client = TestClient(Starlette(routes=[Route("/", stream)], middleware=[guard]))
    for kind, value in (("text/event-stream", "no"), ("text/html", None)):
        answer = client.get("/", params={"kind": kind}, headers=LOCAL)
        assert answer.headers.get("x-accel-buffering") == value


@pytest.mark.parametrize(
    ("options", "says"),
    [({"host_names": [NAME]}, "password is needed"),
     ({"host_names": ["https://x/y"], "password": "x"}, "no host name"),
     ({"host_names": ["*.example.org"], "password": "x"}, "no host name"),
     ({"root_path": "lora", "password": "x"}, "no path")],
)  # fmt: skip
def test_launch_refuses_what_would_let_the_wrong_ones_in(workspace, options, says):
    with pytest.raises(ServerError, match=says):
        launch(workspace, **options)
