"""What the Library's script does with what was opened and pressed, driven in a browser."""

import pytest
from playwright.sync_api import expect

from app.ui.components import make_copied
from tests.app.test_fragments import Site

pytestmark = pytest.mark.browser

OPENED = '<div class="fragment" data-view="opened" data-names="open library_file"></div>'
ABOUT = '<div class="fragment" data-view="about" data-names="open library_file"></div>'
FILE = "run/tabby.safetensors"


def buttons(file):
    keys = ("continue", "settings", "resume")
    data = f'data-file="{file}"' if file else ""
    return "".join(f'<button data-key="{key}" {data}>{key}</button>' for key in keys)


class Shelf:
    """The Library with something opened."""

    def __init__(self, site):
        self.site = site
        site.answers["/view/about/run?first=open&library_file="] = ("1", "about")
        self.open("run", FILE)
        site.add("library-opened", OPENED)
        self.wait()

    def open(self, name, file, *chips):
        address = f"/view/opened/{name}?first=open&library_file="
        version = f"{name} {file}".replace(".", "-")  # dots are between versions
        self.site.answers[address] = (version, buttons(file) + "".join(chips))
        self.site.set(open=name, library_file="")

    def wait(self, count=3):
        expect(self.site.page.locator("#library-opened button")).to_have_count(count)

    def call(self, name):
        return self.site.page.evaluate("(name) => window.it.functions[name]({})", name)


@pytest.fixture
def shelf(browser):
    context = browser.new_context()
    yield Shelf(Site(context.new_page()))
    context.close()


def test_accordions_are_there_where_there_is_a_file_and_close_for_another(shelf):
    closed = {"__type__": "update", "visible": True, "open": False}
    assert shelf.call("showOpened") == {
        "message": "", "about": closed, "share": {"__type__": "update", "visible": True},
    }  # fmt: skip
    assert not any(shelf.call("showOpened").values())  # the same with other facts
    shelf.open("other", "")
    expect(shelf.site.page.locator("[data-file]")).to_have_count(0)
    changes = shelf.call("showOpened")
    assert changes["message"] == ""
    assert changes["about"]["visible"] is changes["share"]["visible"] is False


def test_message_about_a_run_stays_while_it_exports_a_file(shelf):
    shelf.call("showOpened")
    shelf.open("run", "run/newer.safetensors")
    shelf.site.page.locator('[data-file="run/newer.safetensors"]').first.wait_for()
    changes = shelf.call("showOpened")
    assert changes["about"]["open"] is False
    assert changes.get("message") is None


def test_opened_accordion_asks_about_the_file_that_is_shown(shelf):
    shelf.site.add("library-about", ABOUT)
    shelf.call("lookIntoFile")
    asked = [data for name, data in shelf.site.events("select") if name == "library-about"]
    assert asked == [{"open": "run", "library_file": FILE}]


def test_press_asks_the_train_tab_for_the_file_that_was_shown(shelf):
    shelf.site.answers["/view/about/-"] = ("1", "")
    shelf.site.add("train-start-box", '<div class="fragment" data-view="about"></div>')
    for key in ("continue", "settings"):
        shelf.site.page.locator(f"#library-opened [data-key={key}]").click()
        assert shelf.call("openOnTrain") == {"tabs": {"__type__": "update", "selected": "train"}}
    shelf.site.page.locator("#library-opened [data-key=resume]").click()
    assert shelf.call("openOnTrain") == {}  # that one is the server's
    asked = [data for name, data in shelf.site.events("select") if name == "train-start-box"]
    assert asked == [{"kind": "continue", "file": FILE}, {"kind": "settings", "file": FILE}]


def test_press_on_a_file_chooses_it_in_the_browser(shelf):
    chip = f'<button data-key="{FILE}" data-selects="library_file">tabby</button>'
    shelf.open("two", FILE, chip)
    shelf.wait(4)
    chosen = f"/view/opened/two?first=open&library_file={FILE.replace('/', '%2F')}"
    shelf.site.answers[chosen] = ("chosen", "<p>chosen</p>")
    shelf.site.page.locator("[data-selects]").click()
    expect(shelf.site.page.locator("#library-opened p")).to_have_text("chosen")
    assert [name for name, _ in shelf.site.events("select")] == []


@pytest.mark.parametrize("served_safely", [True, False])
def test_copied_line_is_copied_also_where_the_page_has_no_clipboard(shelf, served_safely):
    page = shelf.site.page
    line = make_copied("Syntax", "<lora:tabby:1>", "library-syntax")
    page.evaluate("(html) => { document.body.insertAdjacentHTML('beforeend', html); }", line)
    page.evaluate(
        """(safely) => {
          const value = safely ? {writeText: (text) => { window.copied = text; }} : undefined;
          Object.defineProperty(navigator, 'clipboard', {value});
          document.addEventListener('copy', () => { window.copied = String(getSelection()); });
        }""",
        served_safely,
    )
    page.locator(".copy").click()
    assert page.evaluate("window.copied") == "<lora:tabby:1>"
