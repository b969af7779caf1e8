"""The part of a page in docs/ that a benchmark writes, between two marks."""

from pathlib import Path


def write_between(page: Path, marks: tuple[str, str], text: str) -> None:
    """Puts a text between the marks of a page; the rest of the page stays.

    Raises:
        RuntimeError: the markers are missing, so the place of the text is unknown.
    """
    first, last = marks
    before, start, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        msg = f"{page.name} has lost the marks {first} and {last}; put them back."
        raise RuntimeError(msg)
    written = f"{before}{start}\n\n{text.strip()}\n\n{end}{after}"
    page.write_text(written, encoding="utf-8", newline="\n")
