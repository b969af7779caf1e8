"""The commands page: every command with its arguments and options.

Built from the parser rather than from argparse's printed help, whose layout changes between
Python versions.
"""

import argparse
from collections.abc import Iterator

from app.cli import build_parser


def render_commands() -> str:
    """Returns the reference of every command and option, from the argument parser."""
    lines = ["# Commands", ""]
    for parser, summary in _walk_parsers(build_parser(), ""):
        lines += _render_command(parser, summary)
    return "\n".join(lines).rstrip() + "\n"


def _walk_parsers(
    parser: argparse.ArgumentParser, summary: str
) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    yield parser, summary
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, child in action.choices.items():
                yield from _walk_parsers(child, helps.get(name) or "")


def _render_command(parser: argparse.ArgumentParser, summary: str) -> list[str]:
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    options = [a for a in actions if a.option_strings and not isinstance(a, argparse._HelpAction)]
    places = [action for action in actions if not action.option_strings]
    usage = [parser.prog, *(["[options]"] if options else []), *map(_format_place, places)]
    lines = [f"## {parser.prog}", "", "```", " ".join(usage), "```", ""]
    for text in (parser.description or summary, parser.epilog):
        lines += [_expand(text, parser), ""] if text else []
    for action in [*places, *options]:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                lines.append(f"- `{choice.dest}`: {_expand(choice.help, parser)}")
        else:
            lines.append(f"- `{_format_option(action)}`: {_expand(action.help, parser, action)}")
    return [*lines, ""]


def _get_value_name(action: argparse.Action) -> str:
    if action.metavar:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    if action.choices is not None:
        return "{" + ",".join(str(choice) for choice in action.choices) + "}"
    return action.dest.upper()


def _format_place(action: argparse.Action) -> str:
    if isinstance(action, argparse._SubParsersAction):
        return action.metavar if isinstance(action.metavar, str) else "COMMAND"
    name = _get_value_name(action)
    forms = {"?": "[{}]", "*": "[{} ...]", "+": "{} [...]" if action.required else "[{} ...]"}
    return forms.get(str(action.nargs), "{}").format(name)


def _format_option(action: argparse.Action) -> str:
    if not action.option_strings:
        return _format_place(action)
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {_format_place(action)}"


def _expand(
    text: str | None, parser: argparse.ArgumentParser, action: argparse.Action | None = None
) -> str:
    """Returns help with argparse's %(default)s and the like filled in."""
    values = {**(vars(action) if action else {}), "prog": parser.prog}
    return " ".join(((text or "") % values).split())
