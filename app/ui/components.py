"""Pieces of HTML that several tabs show: images, findings, headers of files, facts, links."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from app.core.generation import Generation, preview_url
from app.core.jobs import Job
from app.ui import text
from app.ui.markup import Attribute, Markup, element, join, make_log, note

_TAG_COUNTS = "ss_tag_frequency"
_LONGEST = 160
_TAGS_SHOWN = 8


def describe_generation(generation: Generation | None) -> tuple[str, str]:
    """Returns the status line and its kind (info, good, warning or error)."""
    if generation is None:
        return "", "info"
    result = generation.result
    if result.state == "done":
        return text.generated(result.seconds, result.base_loads), "good"
    if result.state == "failed":
        return f"{text.GENERATION_FAILED} {result.message}", "error"
    if result.state == "cancelled":
        return text.CANCELLED, "info"
    if not generation.worker:
        return text.WORKER_GONE, "error"
    if generation.progress is not None:
        far = generation.progress
        return text.generating_step(far.step, far.steps, far.image, far.images), "info"
    return text.GENERATING, "info"


def make_status(generation: Generation | None, *, training: bool) -> Markup:
    """Returns the status line, with the log of a worker that died."""
    message, kind = describe_generation(generation)
    if generation is None:
        return Markup("")
    state = "gone" if message == text.WORKER_GONE else generation.result.state
    parts = [note(message, kind)]
    if training and generation.result.state == "waiting":
        parts.append(element("p", text.TRAINING_MEANWHILE, class_="quiet"))
    if kind == "error" and generation.log:
        parts.append(make_log(generation.log))
    return element("div", *parts, data_state=state, data_request=generation.id)


def make_intermediate(generation: Generation | None) -> Markup:
    """Returns the image that is being generated, and the button that cancels it."""
    if generation is None or generation.result.state != "waiting" or not generation.worker:
        return Markup("")
    parts = []
    if (far := generation.progress) is not None:
        # The step makes each its own address, so that a browser does not show an older one.
        address = f"{preview_url(generation.id, 'progress')}?at={far.image}-{far.step}"
        parts.append(element("img", src=address, alt=text.IN_PROGRESS, class_="intermediate"))
    cancel = make_button(text.CANCEL, key=generation.id, element_id="preview-cancel")
    return element("div", *parts, element("p", cancel))


def make_images(generation: Generation | None, names: Mapping[str, str]) -> Markup:
    """Returns the images without and with the adapters, side by side.

    Args:
        generation: What was generated.
        names: What the adapters are called, by path.
    """
    if generation is None or generation.result.state != "done":
        return Markup("")
    request = generation.request
    adapters = request.adapters if request else ()
    weights = [(names.get(one.path, Path(one.path).stem), one.weight) for one in adapters]
    with_adapters = text.with_weights(weights) if weights else text.WITH
    captions = {"without": text.WITHOUT, "with": with_adapters}
    for number in range(2, generation.result.images + 1):
        captions[f"with-{number}"] = f"{with_adapters} ({number})"
    figures = []
    for side, caption in captions.items():
        image = element("img", src=preview_url(generation.id, side), alt=caption)
        figures.append(element("figure", image, element("figcaption", caption)))
    line = text.request_line(request.prompt, request.seed) if request else ""
    return join(
        element("p", line, class_="quiet"),
        element("div", *figures, class_="images", data_request=generation.id),
    )


def make_progress(line: str) -> Markup:
    """Returns a line about a job that is running."""
    return element("p", line, class_="quiet", role="status", data_state="running")


def make_failure(message: str, kind: str = "error") -> Markup:
    """Returns why a job failed."""
    return element("div", note(message, kind), data_state="failed")


def make_findings(findings: Iterable[tuple[str, str]]) -> Markup:
    """Returns severities ("error", "warning", "note") with messages as a list."""
    items = [
        element("li", element("b", f"{text.SEVERITIES[name]}:"), message, data_severity=name)
        for name, message in findings
    ]
    return element("ul", *items, class_="findings")


def make_facts_list(facts: Iterable[tuple[str, str]]) -> Markup:
    """Returns names and values as a list of two columns."""
    pairs = [part for name, value in facts for part in (element("dt", name), element("dd", value))]
    return element("dl", *pairs, class_="facts")


def make_link(line: str, url: str, name: str) -> Markup:
    """Returns a link that downloads."""
    return element("a", line, href=url, download=name, class_="download")


def make_copied(label: str, value: str, element_id: str, info: str = "") -> Markup:
    """Returns a line that a person copies, with a button that does; nothing where it is empty."""
    if not value:
        return Markup("")
    box = element("input", type="text", value=value, readonly=True, aria_label=label)
    button = element("button", text.COPY, type="button", class_="copy button")
    return element(
        "div",
        element("span", label, class_="copied-label"),
        element("span", info, class_="quiet") if info else "",
        element("div", box, button, class_="copied-row"),
        id=element_id,
        class_="copied",
    )


def make_button(
    *content: str,
    key: str,
    element_id: str | None = None,
    class_: str = "button button-small",
    **attributes: Attribute,
) -> Markup:
    """Returns a button that raises its fragment's `select`, with its key and other data."""
    about: dict[str, Attribute] = {"type": "button", "class_": class_, "id": element_id}
    return element("button", *content, **about, data_key=key, **attributes)


def make_press(label: str, **attributes: Attribute) -> Markup:
    """Returns a small button that the page's scripts listen to by its data."""
    return element("button", label, type="button", class_="press press-second", **attributes)


def make_chips(label: str, chips: Iterable[Markup | str], more: str = "") -> Markup:
    """Returns small buttons in a row; `more` is a line behind them."""
    items = [element("li", chip) for chip in chips]
    if more:
        items.append(element("li", more, class_="quiet"))
    return element("ul", *items, class_="chips", aria_label=label)


def describe_header(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns name and value of each entry, long ones cut."""
    return [(name, _show_value(name, value)) for name, value in sorted(metadata.items())]


def make_header_table(heading: str, metadata: Mapping[str, str], *, folded: bool = False) -> Markup:
    """Returns the entries of a header, one a row; `folded` shows them when it is opened."""
    pairs = describe_header(metadata)
    if not pairs:
        return element("p", text.NO_HEADER, class_="quiet")
    titles = (text.HEADER_NAME, text.HEADER_VALUE)
    head = element("tr", *(element("th", title, scope="col") for title in titles))
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value))
        for name, value in pairs
    ]
    table = element("table", head, *rows, class_="plain header")
    box = element("div", table, class_="scroll tall", tabindex=0, role="region", aria_label=heading)
    if folded:
        summary = element("summary", f"{heading} ({len(pairs)} entries)")
        return element("details", summary, box)
    return join(element("h4", heading), box)


def make_future_header(job: Job) -> Markup:
    """Returns the header as it would be written, or how far it is."""
    if job.state == "none":
        return Markup("")
    if job.state == "running":
        return make_progress(text.HEADER_LOOKING)
    if job.state == "failed" or not isinstance(job.answer, dict):
        return make_failure(f"{text.HEADER_FAILED} {job.message}")
    entries = {str(name): str(value) for name, value in job.answer.items()}
    return element("div", make_header_table(text.HEADER_PREVIEW, entries), data_state="done")


def _show_value(name: str, value: str) -> str:
    if value.startswith("data:image/"):
        return text.header_image(len(value) * 3 // 4)
    tags = _read_tags(value) if name == _TAG_COUNTS else []
    if tags:
        value = ", ".join(f"{tag} ({count})" for tag, count in tags)
    return value if len(value) <= _LONGEST else value[:_LONGEST] + text.header_rest(len(value))


def _read_tags(value: str) -> list[tuple[str, int]]:
    """Returns the most frequent tags of all folders; none where the table has another form."""
    try:
        folders: Any = json.loads(value)
    except (ValueError, RecursionError):
        return []
    counted: dict[str, int] = {}
    for tags in folders.values() if isinstance(folders, dict) else ():
        if not isinstance(tags, dict) or not all(type(count) is int for count in tags.values()):
            return []
        for tag, count in tags.items():
            counted[str(tag).strip()] = counted.get(str(tag).strip(), 0) + count
    return sorted(counted.items(), key=lambda pair: -pair[1])[:_TAGS_SHOWN]
