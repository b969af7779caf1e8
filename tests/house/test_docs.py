"""The reference pages are what the code says now, and the code says something everywhere."""

import argparse
import importlib
import re
import subprocess
import sys
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field


def test_generated_pages_are_up_to_date(root):
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def list_settings_without_help(model, prefix=""):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_settings_without_help(field.annotation, f"{prefix}{name}.")
        elif not field.description:
            yield f"{prefix}{name}"


def test_every_setting_has_help():
    from trainer.config import RunConfig

    assert list(list_settings_without_help(RunConfig)) == []


def list_options_without_help(parser):
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            if not action.help:
                yield f"{parser.prog}: {action.dest}"
        else:
            described = {choice.dest for choice in action._choices_actions if choice.help}
            for name, child in action.choices.items():
                if name not in described:
                    yield f"{parser.prog} {name}"
                yield from list_options_without_help(child)


def test_every_command_and_option_has_help():
    from app.cli import build_parser

    assert list(list_options_without_help(build_parser())) == []


@pytest.fixture
def pages(root, monkeypatch):
    """Imports a module of docs/, which is no package."""
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.syspath_prepend(str(root / "docs"))
    return importlib.import_module


class Plain(BaseModel):
    """No extras."""

    kind: Literal["plain"] = "plain"
    rate: float = Field(default=0.1, gt=0, le=1, description="How fast | how slow.")


class Fancy(BaseModel):
    """Extras."""

    kind: Literal["fancy"] = "fancy"
    level: int = Field(description="How fancy.")


class Whole(BaseModel):
    choice: Annotated[Plain | Fancy, Field(discriminator="kind")] = Plain(rate=0.5)


def test_config_page_shows_each_variant_with_its_own_settings(pages):
    lines = pages("config_page")._render_section(Whole, prefix="", values=Whole(), level=2)
    assert "### choice, kind = `plain` (default)" in lines
    assert "| `choice.rate` | number | `0.5` | > 0, ≤ 1 | How fast \\| how slow. |" in lines
    assert "### choice, kind = `fancy`" in lines
    assert "| `choice.level` | whole number | required |  | How fancy. |" in lines


def test_commands_page_shows_arguments_options_and_defaults(pages):
    parser = argparse.ArgumentParser(prog="tool")
    commands = parser.add_subparsers()
    train = commands.add_parser("train", help="Trains.")
    train.add_argument("run", nargs="?", help="The run.")
    train.add_argument("-s", "--steps", type=int, default=7, help="Steps (%(default)s).")
    train.add_argument("--mode", choices=["fast", "good"], help="How.")
    train.add_argument("--hidden", help=argparse.SUPPRESS)
    page = pages("cli_page")
    lines = [
        line
        for found, summary in page._walk_parsers(parser, "")
        for line in page._render_command(found, summary)
    ]
    wanted = ["## tool train", "tool train [options] [RUN]", "Trains.", "- `[RUN]`: The run."]
    wanted += ["- `-s, --steps STEPS`: Steps (7).", "- `--mode {fast,good}`: How."]
    assert [line for line in wanted if line not in lines] == []
    assert not any("hidden" in line for line in lines)


def list_links(root, page):
    """Returns the files that a page links to, by path from the root."""
    text = (root / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"(?ms)^```.*?^```", "", text))
    places = [(root / page).parent / target for target in targets if "://" not in target]
    return [place.resolve().relative_to(root).as_posix() for place in places]


def list_pages(root):
    return [path.relative_to(root).as_posix() for path in sorted((root / "docs").glob("*.md"))]


def test_the_index_links_every_page(root):
    assert set(list_pages(root)) - set(list_links(root, "docs/README.md")) == {"docs/README.md"}
    assert "docs/README.md" in list_links(root, "README.md")


def test_every_link_of_a_page_leads_to_a_file(root):
    pages = ["README.md", "CONTRIBUTING.md", *list_pages(root)]
    broken = [
        (page, target)
        for page in pages
        for target in list_links(root, page)
        if not (root / target).exists()
    ]
    assert broken == []
