"""Events wired by name: a handler takes keywords and returns, by name, only what changed.

Gradio moves values by position; with a hundred settings a value that is inserted in one list and
not in the other reaches the wrong widget. Here both sides are mappings, so there is no position.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import gradio as gr

# A name stands for one component, or for a group of them (the form: its components by path).
Components = Mapping[str, Any]
Handler = Callable[..., Mapping[str, Any] | None]

# What a component of HTML runs when it is put into the page (`app/ui/js/page.js`).
MOUNT = "lorasmith.mount(element, trigger)"


def wire(
    triggers: Any,
    handler: Handler,
    inputs: Components | None = None,
    outputs: Components | None = None,
    **options: Any,
) -> Any:
    """Has a handler run when something happens on the page.

    Args:
        triggers: An event of a component (`button.click`), or several in a list.
        handler: Takes the inputs as keywords, a group as one dict. A parameter called `event`
            gets the event's data as attributes: texts from a browser, which may all be missing;
            what is no text is left out.
            Returns a dict of the outputs that change, by name; a group as a dict again; None where
            nothing does.
        inputs: The components it reads, by name.
        outputs: The components it may change, by name.
        options: As for Gradio's events. By default an event needs no queue of its
            own, shows no spinner, and is no part of a public interface.

    Returns:
        Gradio's dependency; `.then` is a trigger, too.
    """
    sources, targets = dict(inputs or {}), dict(outputs or {})

    def run(values: dict[Any, Any]) -> dict[Any, Any]:
        return _match(targets, handler(**_collect(sources, values)))

    def run_with_event(values: dict[Any, Any], event: gr.EventData) -> dict[Any, Any]:
        data = event._data if isinstance(event._data, dict) else {}
        texts = {str(name): value for name, value in data.items() if isinstance(value, str)}
        return _match(targets, handler(event=SimpleNamespace(**texts), **_collect(sources, values)))

    takes_event = "event" in inspect.signature(handler).parameters
    settings = {
        "concurrency_limit": None,
        # Where no progress is shown, no component follows it: on a tab that is not built yet Gradio
        # would animate a spinner for ever that nobody sees, at each frame of the browser.
        "show_progress": "hidden",
        "show_progress_on": None if "show_progress" in options else [],
        "api_visibility": "private",
        "trigger_mode": _choose_trigger_mode(triggers, takes_event=takes_event),
        **options,
    }
    return _listen(
        triggers,
        run_with_event if takes_event else run,
        inputs=set(_flatten(sources)),
        outputs=_flatten(targets),
        **settings,
    )


def wire_in_browser(
    triggers: Any,
    function: str,
    inputs: Components | None = None,
    outputs: Components | None = None,
) -> Any:
    """Has a function of `app/ui/js` run in the browser, which asks the server nothing.

    Args:
        triggers: As for `wire`.
        function: Its name in the page's table of functions (`page.js`). It takes one object of the
            inputs' values by name, and returns one of those outputs that change. A group is an
            object of its own.
        inputs: The components it reads, by name.
        outputs: The components it may change, by name.
    """
    sources, targets = dict(inputs or {}), dict(outputs or {})
    names = json.dumps([function, _list_names(sources), _list_names(targets)])
    return _listen(
        triggers,
        None,
        inputs=_flatten(sources),
        outputs=_flatten(targets),
        js=f"(...given) => lorasmith.call({names}, given)",
    )


def _listen(triggers: Any, run: Any, **settings: Any) -> Any:
    if isinstance(triggers, Sequence):
        return gr.on(list(triggers), run, **settings)
    return triggers(run, **settings)


def _choose_trigger_mode(triggers: Any, *, takes_event: bool) -> str:
    """Returns what becomes of a trigger that comes while the event is under way."""
    if takes_event:  # two presses are about two things
        return "multiple"
    listed = triggers if isinstance(triggers, Sequence) else [triggers]
    names = {str(getattr(one, "event_name", "")) for one in listed}
    # A change must not be lost; a second click on a button is the first one once more.
    return "always_last" if names & {"change", "tick"} else "once"


def _flatten(components: Components) -> list[Any]:
    flat: list[Any] = []
    for one in components.values():
        flat += one.values() if isinstance(one, Mapping) else [one]
    return flat


def _list_names(components: Components) -> list[str | list[str]]:
    """Returns the names in the order of `_flatten`; one of a group comes with the group's name."""
    names: list[str | list[str]] = []
    for name, one in components.items():
        names += [[name, path] for path in one] if isinstance(one, Mapping) else [name]
    return names


def _collect(sources: Components, values: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        name: {path: values[inner] for path, inner in one.items()}
        if isinstance(one, Mapping)
        else values[one]
        for name, one in sources.items()
    }


def _match(targets: Components, changes: Mapping[str, Any] | None) -> dict[Any, Any]:
    answer: dict[Any, Any] = {}
    for name, value in (changes or {}).items():
        target = targets[name]
        if isinstance(target, Mapping):
            answer |= {target[path]: inner for path, inner in value.items()}
        else:
            answer[target] = value
    if not answer and targets:
        # An empty dict would be taken for the value of an only output.
        return {_flatten(targets)[0]: gr.skip()}
    return answer
