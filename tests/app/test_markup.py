"""Text from strangers stays text."""

import pytest

from app.core.examples import Tile
from app.core.run_contents import Sample, SampleGrid
from app.core.run_views import RunView
from app.dataset.html import make_grid
from app.train.form_html import make_problems
from app.train.html import make_run_bar, make_samples
from app.ui.markup import Markup, element, join, note

HOSTILE = "<img src=x onerror=alert(1)>\"' onload='alert(2)"


def test_text_is_escaped_and_markup_is_not():
    assert element("p", "<b>", element("i", "x")) == "<p>&lt;b&gt;<i>x</i></p>"
    assert join("<", Markup("<br>")) == "&lt;<br>"


def test_attributes_are_escaped_and_named_as_in_html():
    made = element("img", class_="a", data_key='"><script>', alt=None, hidden=False)
    assert made == '<img class="a" data-key="&quot;&gt;&lt;script&gt;">'


@pytest.mark.parametrize(
    "make",
    [
        lambda text: note(text, "error"),
        lambda text: make_problems([text]),
        lambda text: make_run_bar(RunView("id", text, "running", 1, 2, phase=text)),
        lambda text: make_grid(text, [Tile(text, text, text, 1, 1, text)], {text: [text]}),
        lambda text: make_samples(text, SampleGrid((text,), ((1, (Sample(1, 0, text, 1, 1),)),))),
    ],
    ids=["note", "problems", "run bar", "grid", "samples"],
)
def test_hostile_text_opens_no_element_in(make):
    made = make(HOSTILE)
    assert "<img src=x" not in made
    assert "onload='" not in made
    assert "alert(1)" in made or "alert%281%29" in made
