"""Writes the reference pages of `docs/` from what they describe: settings, commands, presets.

`python docs/generate.py` writes them, `--check` compares and exits with 1 when one is out of date.
"""

import argparse
import difflib
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
# The pages describe this checkout, whatever version may be installed.
sys.path.insert(0, str(DOCS.parent))

from cli_page import render_commands  # noqa: E402 - needs the path set above
from config_page import render_config, render_options  # noqa: E402 - needs the path set above
from presets_page import render_presets  # noqa: E402 - needs the path set above

NOTE = "<!-- Written by docs/generate.py; `make docs` writes it again. -->"
PAGES: dict[str, Callable[[], str]] = {
    "config-reference.md": render_config,
    "options-reference.md": render_options,
    "cli-reference.md": render_commands,
    "presets.md": render_presets,
}


def render_page(name: str) -> str:
    """Returns the text of one page, with the note that it is generated under its heading."""
    heading, _, body = PAGES[name]().partition("\n")
    return f"{heading}\n\n{NOTE}\n{body}"


def compare_page(name: str) -> list[str]:
    """Returns the lines in which a page is not what would be written now."""
    path = DOCS / name
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    new = render_page(name)
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"docs/{name}", "generated", lineterm="", n=0
    )
    return list(lines)


def check_pages() -> int:
    """Prints what differs and returns the number of pages that are out of date."""
    outdated = 0
    for name in PAGES:
        lines = compare_page(name)
        if lines:
            outdated += 1
            print("\n".join(lines[:20]))
            print(f"docs/{name} is out of date ({len(lines)} lines differ): run `make docs`.")
    return outdated


def write_pages() -> None:
    """Writes every page."""
    for name in PAGES:
        (DOCS / name).write_text(render_page(name), encoding="utf-8", newline="\n")


def main() -> int:
    """Writes or checks the pages and returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    if parser.parse_args().check:
        return 1 if check_pages() else 0
    write_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main())
