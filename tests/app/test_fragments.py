"""Fragments: the routes and their ETags, and what the page's script makes of them in a browser."""

import json
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

import app.ui
from app.core.workspace import WorkspaceError
from app.ui.fragments import View, fill_fragment
from app.ui.markup import element
from app.web.proxy import ADDRESS_SCRIPT
from app.web.routes import FirstScripts, make_routes

SCRIPTS = Path(app.ui.__file__).parent / "js"


class Shown:
    """What a view shows in these tests, and how often it was asked."""

    def __init__(self):
        self.text, self.renders = "one", 0

    def render(self, _workspace, params):
        self.renders += 1
        if params.get("run") == "gone":
            raise WorkspaceError("There is no such run.")
        return element("p", f"{params.get('run', '')} {self.text}")

    def version(self, _workspace, params):
        return (self.text, params.get("run"))


@pytest.fixture
def shown():
    return Shown()


@pytest.fixture
def client(workspace, shown):
    views = {"line": View(shown.render, shown.version), "plain": View(shown.render)}
    return TestClient(Starlette(routes=make_routes(workspace, views)))


def test_fragment_has_a_version_and_is_not_rendered_again_while_it_holds(client, shown):
    first = client.get("/view/line/tabby", params={"first": "run"})
    assert (first.status_code, first.text) == (200, "<p>tabby one</p>")
    again = {"if-none-match": first.headers["etag"]}
    assert client.get("/view/line/tabby", params={"first": "run"}, headers=again).status_code == 304
    assert shown.renders == 1
    shown.text = "two"
    changed = client.get("/view/line/tabby", params={"first": "run"}, headers=again)
    assert (changed.status_code, changed.text) == (200, "<p>tabby two</p>")


def test_view_without_a_cheap_version_compares_what_it_shows(client, shown):
    tag = client.get("/view/plain/-").headers["etag"]
    assert client.get("/view/plain/-", headers={"if-none-match": tag}).status_code == 304
    shown.text = "two"
    assert client.get("/view/plain/-", headers={"if-none-match": tag}).status_code == 200


def test_what_changed_of_several_fragments_is_told_in_one_answer(client, shown):
    addresses = ["/view/line/tabby?first=run", "/view/line/-", "/view/unknown/-", "nonsense"]

    def ask(*versions):
        headers = {"if-none-match": ".".join(versions)}
        return client.get("/changes", params={"of": addresses}, headers=headers)

    tags = [client.get(one).headers["etag"] for one in addresses[:2]]
    told = ask("", "").json()
    assert [one["version"] for one in told] == [*tags, "gone", "gone"]
    assert [one["html"] for one in told] == ["<p>tabby one</p>", "<p> one</p>", None, None]
    assert ask().json() == told == client.get("/changes", params={"of": addresses}).json()
    same = ask(*tags, "gone", "gone")
    assert (same.status_code, same.content) == (304, b"")
    renders = shown.renders
    # A version counts at its own place alone.
    assert ask(tags[1], tags[1], "gone", "gone").json() == [told[0], None, None, None]
    assert shown.renders == renders + 1
    shown.text = "two"
    first, second, *others = ask(*tags, "gone", "gone").json()
    assert (first["html"], second["html"], others) == (
        "<p>tabby two</p>",
        "<p> two</p>",
        [None] * 2,
    )


def test_what_is_gone_or_unknown_is_not_found(client):
    assert client.get("/view/line/gone", params={"first": "run"}).status_code == 404
    assert client.get("/view/unknown/-").status_code == 404
    assert client.post("/changes").status_code == 405
    (gone,) = client.get("/changes", params={"of": ["/view/line/gone?first=run"]}).json()
    assert gone == {"version": "gone", "html": None}


def test_names_with_signs_reach_the_view_whole(client):
    name = "a/b ?&#%ü"
    answer = client.get(f"/view/line/{quote(name, safe='')}?first=run")
    assert answer.text == "<p>a/b ?&amp;#%ü one</p>"
    (told,) = client.get(
        "/changes", params={"of": [f"/view/line/{quote(name, safe='')}?first=run"]}
    ).json()
    assert told["html"] == answer.text


# The page asks every 50 ms instead of every second.
SOONER = """
const every = window.setInterval;
window.setInterval = (look, milliseconds) => every(look, milliseconds / 20);
"""


class Site:
    """A page with fragments, whose answers the test makes; nothing is served."""

    def __init__(self, page):
        self.page, self.answers, self.asked, self.held = page, {}, [], []
        self.hold = ()
        page.add_init_script(SOONER)
        page.route("http://page.test/**", self.answer)
        page.goto("http://page.test/")
        page.evaluate(
            """async () => {
              window.it = await import('/ui/js/page.js');
              window.state = await import('/ui/js/state.js');
              window.events = [];
            }"""
        )

    def answer(self, route):
        path = route.request.url.removeprefix("http://page.test")
        if path.startswith("/ui/js/"):
            text = (SCRIPTS / path.rpartition("/")[2]).read_text("utf-8")
            route.fulfill(body=text, content_type="text/javascript")
        elif path == "/":
            route.fulfill(body="<!doctype html><body></body>", content_type="text/html")
        elif path.startswith("/changes"):
            self.asked.append("changes")
            of = parse_qs(urlsplit(path).query)["of"]
            known = route.request.headers["if-none-match"].split(".")
            told = [
                None if version == had else {"version": version, "html": html}
                for had, (version, html) in zip(known, map(self.answers.get, of), strict=True)
            ]
            if any(told):
                route.fulfill(body=json.dumps(told))
            else:
                route.fulfill(status=304)
        elif path in self.hold:
            self.held.append(route)
        else:
            self.asked.append(path)
            if path in self.answers:
                version, text = self.answers[path]
                route.fulfill(body=text, headers={"etag": version}, content_type="text/html")
            else:
                route.fulfill(status=404)

    def add(self, name, html):
        self.page.evaluate(
            """([name, html]) => {
              const block = document.createElement('div');
              block.id = name;
              block.innerHTML = `<div class="html-container">${html}</div>`;
              document.body.append(block);
              const trigger = (event, data) => window.events.push([name, event, data]);
              window.it.mount(block.firstChild, trigger);
            }""",
            [name, html],
        )

    def wait_for(self, look):
        while not look():  # the test's own limit ends it
            self.page.wait_for_timeout(20)

    def set(self, **values):
        self.page.evaluate("(values) => window.state.set(values)", values)

    def events(self, kind):
        told = self.page.evaluate("window.events")
        return [(name, data) for name, event, data in told if event == kind]


@pytest.fixture
def site(browser):
    context = browser.new_context()
    yield Site(context.new_page())
    context.close()


CARD = '<div class="fragment" data-view="card" data-names="run"></div>'


@pytest.mark.browser
def test_script_fetches_what_changed_and_keeps_the_rest_of_the_page(site):
    site.answers["/view/card/-?first=run"] = ("1", "<p>none</p>")
    site.add("card", CARD)
    line = site.page.locator("#card p")
    expect(line).to_have_text("none")
    site.answers["/view/card/a?first=run"] = ("2", "<p>a</p><img alt='x'>")
    site.set(run="a")
    expect(line).to_have_text("a")
    site.page.evaluate("document.querySelector('#card img').mine = true")
    site.answers["/view/card/a?first=run"] = ("3", "<p>b</p><img alt='x'>")
    expect(line).to_have_text("b")
    assert site.page.evaluate("document.querySelector('#card img').mine")
    fetched = [one for one in site.asked if one != "changes"]
    assert fetched == ["/view/card/-?first=run", "/view/card/a?first=run"]
    before = len(site.asked)
    site.wait_for(lambda: len(site.asked) >= before + 2)
    # Both change and the lack of one came with the one request a second.
    assert set(site.asked[before:]) == {"changes"}


@pytest.mark.browser
def test_answer_that_comes_after_another_choice_is_not_shown(site):
    site.answers["/view/card/a?first=run"] = ("1", "<p>a</p>")
    site.answers["/view/card/b?first=run"] = ("2", "<p>b</p>")
    site.hold = ("/view/card/a?first=run",)
    site.set(run="a")
    site.add("card", CARD)
    site.wait_for(lambda: site.held)
    (late,) = site.held
    site.set(run="b")
    late.fulfill(body="<p>a</p>", headers={"etag": "1"})
    expect(site.page.locator("#card p")).to_have_text("b")
    site.page.wait_for_timeout(300)
    expect(site.page.locator("#card p")).to_have_text("b")


@pytest.mark.browser
def test_hidden_fragment_is_not_asked_for(site):
    site.answers["/view/card/-?first=run"] = ("1", "<p>none</p>")
    site.page.evaluate("document.body.style.display = 'none'")
    site.add("card", CARD)
    site.page.wait_for_timeout(300)
    assert site.asked == []
    site.page.evaluate("document.body.style.display = ''")
    expect(site.page.locator("#card p")).to_have_text("none")


@pytest.mark.browser
def test_press_tells_the_key_and_what_was_shown(site):
    button = "<button data-key='stop' data-after='5'>Stop</button>"
    site.answers["/view/card/a?first=run"] = ("1", button)
    site.set(run="a")
    site.add("card", CARD)
    site.page.locator("#card button").click()
    told = {"key": "stop", "after": "5", "run": "a"}
    assert site.events("select") == [("card", told)]
    assert ("card", {}) in site.events("tick")
    # The page's functions, to which Gradio tells nothing of it, read it once.
    taken = site.page.evaluate("[state.takeEvent('card'), state.takeEvent('card')]")
    assert taken == [told, None]


@pytest.mark.browser
def test_answer_of_the_server_can_show_something_else_in_a_fragment(site):
    """Gradio empties the element then, also where it shows the same once more."""
    site.answers["/view/card/-"] = ("1", "<p>none</p>")
    site.answers["/view/card/a?first=job"] = ("2", "<p>a</p><button data-key='0'>Use</button>")
    site.add("card", '<div class="fragment" data-view="card"></div>')
    line = site.page.locator("#card p")
    expect(line).to_have_text("none")
    put = """(html) => { document.querySelector('#card .html-container').innerHTML = html; }"""
    for _ in range(2):
        site.page.evaluate(put, fill_fragment("card", job="a"))
        expect(line).to_have_text("a")
        site.page.evaluate(put, "<p>nothing to fetch</p>")
        expect(line).to_have_text("nothing to fetch")
    site.page.evaluate(put, fill_fragment("card", job="a"))
    site.page.locator("#card button").click()
    assert site.events("select") == [("card", {"key": "0", "job": "a"})]


@pytest.mark.browser
def test_fragment_that_only_its_values_change_is_not_polled(site):
    site.answers["/view/card/a?first=run"] = ("1", "<p>a</p>")
    site.answers["/view/card/b?first=run"] = ("2", "<p>b</p>")
    site.set(run="a")
    site.add("card", CARD.replace("data-names", 'data-still="true" data-names'))
    expect(site.page.locator("#card p")).to_have_text("a")
    site.page.wait_for_timeout(300)
    site.set(run="b")
    expect(site.page.locator("#card p")).to_have_text("b")
    assert site.asked == ["/view/card/a?first=run", "/view/card/b?first=run"]


@pytest.mark.browser
def test_values_in_groups_reach_a_function_as_objects_and_come_back_so(site):
    values = {"train.steps": 10, "adapter.rank": 4}
    names = [["values", path] for path in values]
    changes = site.page.evaluate(
        """([names, given]) => {
          it.functions.double = ({dataset, values}) => ({
            values: {'train.steps': 2 * values['train.steps']}, note: dataset,
          });
          return it.call(['double', ['dataset', ...names], [...names, 'note']], given);
        }""",
        [names, ["cats", *values.values()]],
    )
    assert changes == [20, None, "cats"]


GRID = '<div class="fragment" data-view="tiles" data-selects="image" data-grid="choose"></div>'


@pytest.mark.browser
def test_arrow_keys_choose_in_a_grid_without_asking_the_server(site):
    tiles = "".join(f"<button data-key='{key}'>{key}</button>" for key in "abc")
    site.answers["/view/tiles/-"] = ("1", tiles)
    site.add("tiles", GRID)
    site.page.locator("#tiles button").nth(0).click()
    pressed = site.page.locator("#tiles [aria-pressed=true]")
    expect(pressed).to_have_text("a")
    site.page.keyboard.press("ArrowRight")
    expect(pressed).to_have_text("b")
    site.page.keyboard.press("End")
    expect(pressed).to_have_text("c")
    site.answers["/view/tiles/-"] = ("2", tiles.replace(">c<", ">C<"))
    expect(pressed).to_have_text("C")  # what is pressed stays pressed
    assert site.page.evaluate("window.state.get('image')") == "c"
    assert site.events("select") == []


LISTS = {
    "dataset": {"choices": [["cats", "cats"], ["dogs", "dogs"]], "first": "cats"},
    "run": {"choices": [], "first": None},
}


@pytest.mark.browser
def test_lists_choose_only_where_nothing_is_chosen_or_it_is_gone(site):
    def apply(lists, **now):
        version = str(len(site.asked))
        site.answers["/view/choices/-"] = (version, json.dumps({"lists": lists, "tabs": ["train"]}))
        before = len([1 for name, _ in site.events("tick") if name == "choices"])
        site.page.wait_for_function(
            f"window.events.filter((one) => one[1] === 'tick').length > {before}"
        )
        names = list(now)
        arguments = [["applyChoices", names, [*names, "tabs"]], list(now.values())]
        changes = site.page.evaluate("([wire, given]) => window.it.call(wire, given)", arguments)
        return dict(zip([*names, "tabs"], changes, strict=True))

    site.answers["/view/choices/-"] = ("0", json.dumps({}))
    site.add("choices", '<div data-view="choices" data-json="true"></div>')
    site.page.wait_for_function("window.events.length > 0")
    first = apply(LISTS, dataset=None, run=None)
    assert (first["dataset"]["value"], first["dataset"]["choices"]) == (
        "cats", [["cats", "cats"], ["dogs", "dogs"]],
    )  # fmt: skip
    longer = {**LISTS, "run": {"choices": [["r", "r"]], "first": "r"}}
    second = apply(longer, dataset="dogs", run="")
    assert second["dataset"] is None  # neither the list nor the choice changes
    assert second["run"]["value"] == "r"
    shorter = {**longer, "dataset": {"choices": [["cats", "cats"]], "first": "cats"}}
    third = apply(shorter, dataset="dogs", run="r")
    assert third["dataset"]["value"] == "cats"  # the chosen one is gone
    fourth = apply({**shorter, "run": LISTS["run"]}, dataset="made just now", run="r")
    assert fourth["dataset"] is None  # newer than the list
    assert fourth["run"]["value"] is None


def test_first_scripts_come_before_all_others_in_the_page_and_nowhere_else():
    async def answer(scope, receive, send):
        body = b"<html><head><script>later</script></head></html>"
        headers = [(b"content-length", str(len(body)).encode()), (b"x-kind", b"page")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        await send({"type": "http.response.body", "body": body[10:]})

    client = TestClient(FirstScripts(answer, script="frames.js", module="page.js"))
    page = client.get("/")
    assert page.text == (
        f'<html><head>{ADDRESS_SCRIPT}<script src="./ui/js/frames.js"></script>'
        '<script type="module" src="./ui/js/page.js"></script>'
        '<link rel="icon" href="./favicon.ico"><script>later</script></head></html>'
    )
    assert int(page.headers["content-length"]) == len(page.content)
    assert page.headers["x-kind"] == "page"
    assert client.get("/else").text == "<html><head><script>later</script></head></html>"


@pytest.mark.browser
def test_endless_animation_is_slowed_down_until_somebody_does_something(browser):
    page = browser.new_page()
    page.set_content("<p>text</p>")
    page.add_script_tag(content=(SCRIPTS / "frames.js").read_text("utf-8"))
    ask = """(times) => {
      const loop = () => {};
      let last = 0;
      for (let time = 0; time < times; time += 1) last = requestAnimationFrame(loop);
      return last;
    }"""
    assert page.evaluate(ask, 299) > 0
    slowed = page.evaluate(ask, 1)
    assert slowed < 0  # a timer, and no frame
    page.evaluate("(id) => cancelAnimationFrame(id)", slowed)
    page.keyboard.press("a")
    assert page.evaluate(ask, 1) > 0
    page.evaluate("document.body.innerHTML = '<p data-testid=status-tracker>12 s</p>'")
    assert page.evaluate(ask, 400) > 0  # something is being waited for, and is seen
    page.close()
