"""The repository stays small, and its front page and its build files tell the truth."""

import re
import subprocess
import tomllib

import pytest

MAX_FILE_BYTES = 16 * 1024**2
MAX_TOTAL_BYTES = 60 * 10**6
MAX_README_LINES = 150
TEXT_SUFFIXES = (".py", ".md", ".toml", ".txt", ".js", ".css", ".yaml")


@pytest.fixture(scope="module")
def tracked_bytes(root):
    """The size of each file that git tracks, by path."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout, so there are no tracked files to weigh")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    names = [name for name in done.stdout.decode().split("\0") if name]
    return {name: (root / name).stat().st_size for name in names if (root / name).is_file()}


def test_no_tracked_file_is_over_16_mib(tracked_bytes):
    assert {name: size for name, size in tracked_bytes.items() if size > MAX_FILE_BYTES} == {}


def test_all_tracked_files_together_are_under_60_mb(tracked_bytes):
    assert sum(tracked_bytes.values()) < MAX_TOTAL_BYTES


def has_merge_marker(content):
    return re.search(r"^(<{7}|>{7}) ", content, flags=re.MULTILINE) is not None


def test_no_text_holds_what_a_merge_could_not_decide(tracked_bytes, root):
    texts = [name for name in tracked_bytes if name.endswith(TEXT_SUFFIXES)]
    assert len(texts) > 500
    found = [name for name in texts if has_merge_marker((root / name).read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize("mark", ["<", ">"])
def test_a_merge_marker_is_found(mark):
    assert has_merge_marker(f"a\n{mark * 7} HEAD\nb\n")
    assert not has_merge_marker(f"a {mark * 7} b\n")


def find_make_targets(markdown):
    """Returns the targets of each `make ...` in code, inline or in a fenced block."""
    fenced = re.findall(r"^```.*?\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", markdown))
    lines = [line for block in fenced for line in block.splitlines()] + inline
    words = [
        word
        for line in lines
        if (match := re.match(r"\s*(?:\$ )?make\b([^#&|;]*)", line))
        for word in match.group(1).split()
    ]
    return {word for word in words if "=" not in word and not word.startswith("-")}


def test_readme_is_under_150_lines(root):
    assert len((root / "README.md").read_text(encoding="utf-8").splitlines()) < MAX_README_LINES


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_named_on_a_page_exist(page, root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, flags=re.MULTILINE))
    named = find_make_targets((root / page).read_text(encoding="utf-8"))
    assert named, f"{page} names no make target"
    assert named - targets == set()


def test_make_targets_are_found_in_code_only():
    block = "```\n$ make check app  # both\nmake demo PYTHON=python3\n```\n"
    text = f"make sure\n\n`make setup`\n\n{block}"
    assert find_make_targets(text) == {"setup", "check", "app", "demo"}


def test_constraints_pin_exactly_the_direct_dependencies(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[<>=!~\[; ]", text)[0].lower() for text in wanted}
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line)] == []
    assert sorted(line.split("==")[0] for line in pins) == sorted(names)
