"""The rules refuse what Windows refuses, and nothing else."""

import subprocess
import sys

import pytest

from tests.windows.environment import make_environment, needs_linux

pytestmark = needs_linux

PRELUDE = """
import contextlib, mmap, os, pathlib, shutil, sys, tempfile
here = pathlib.Path(sys.argv[1])
(here / "folder").mkdir()
for name in ("a", "b", "folder/c"):
    (here / name).write_bytes(b"content")
a, b, c, folder = here / "a", here / "b", here / "folder/c", here / "folder"
"""


def run(tmp_path, code, folder=None, **variables):
    """Runs a program under the rules; returns the last line of its errors, "" where it ended."""
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, str(place)],
        env=make_environment(folder or tmp_path, **variables),
        capture_output=True,
        text=True,
    )
    return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


REFUSED = {
    "replacing an open file": ("held = open(b); a.replace(b)", "WinError 32"),
    "replacing with an open file": ("held = open(a); os.replace(a, b)", "WinError 32"),
    "renaming an open file": ("held = open(a); a.rename(here / 'new')", "WinError 32"),
    "removing an open file": ("held = open(a); a.unlink()", "WinError 32"),
    "removing one by its old name": ("held = open(a); os.remove(a)", "WinError 32"),
    "removing one by a relative path": (
        "held = open(a); os.chdir(folder); os.remove('../a')", "WinError 32",
    ),
    "removing a mapped file": (
        "with open(a, 'rb') as f: held = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\na.unlink()",
        "WinError 32",
    ),
    "renaming a folder with an open file": ("held = open(c); folder.rename(b)", "WinError 5"),
    "removing a folder with an open file": ("held = open(c); shutil.rmtree(folder)", "WinError 32"),
    "renaming a folder in use": ("os.chdir(folder); folder.rename(here / 'x')", "WinError 5"),
    "opening a folder": ("os.open(folder, os.O_RDONLY)", "Permission denied"),
    "a file with a colon": ("open(here / 'a:b', 'w')", "WinError 123"),
    "a file that ends in a dot": ("(here / 'a.').touch()", "WinError 123"),
    "a folder of a device's name": ("(here / 'Con.x').mkdir()", "WinError 123"),
    "renaming to a bad name": ("a.rename(here / 'what?')", "WinError 123"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "error"), REFUSED.values(), ids=REFUSED)
def test_windows_would_refuse(tmp_path, code, error):
    assert error in run(tmp_path, code)


ALLOWED = {
    "closed files": "with open(a) as f: f.read()\na.replace(b); b.rename(a); a.unlink()",
    "a closed folder": "folder.rename(here / 'new'); shutil.rmtree(here / 'new')",
    "reading and appending to an open file": "x = open(a, 'ab'); y = open(a); y.read()",
    "listing a folder": "assert len(list(here.iterdir())) == 3",
    "a temporary folder": "with tempfile.TemporaryDirectory(dir=here) as d: open(d + '/x', 'w')",
    "a file without a name": "with tempfile.TemporaryFile(dir=here) as f: f.write(b'x')",
    "names that only begin like a device": "(here / 'console').mkdir(); (here / 'com').touch()",
}


@pytest.mark.parametrize("code", ALLOWED.values(), ids=ALLOWED)
def test_windows_would_allow(tmp_path, code):
    assert run(tmp_path, code) == ""


def test_a_file_that_another_process_holds_is_refused(tmp_path):
    code = (
        "import subprocess\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import sys; f = open(sys.argv[1]); '\n"
        "    'print(1, flush=True); input()', str(a)], stdin=-1, stdout=-1)\n"
        "other.stdout.readline()\n"
        "with contextlib.ExitStack() as stack:\n"
        "    stack.callback(other.communicate)\n"
        "    a.unlink()\n"
    )
    assert "WinError 32" in run(tmp_path, code)


def test_nothing_is_refused_elsewhere(tmp_path):
    assert run(tmp_path, "held = open(a); a.unlink()", tmp_path / "elsewhere") == ""


def test_each_version_of_a_file_is_scanned_at_the_first_attempt(tmp_path):
    code = (
        "import time\n"
        "def act(number):\n"
        "    try:\n"
        "        a.replace(b)\n"
        "    except PermissionError as error:\n"
        "        assert 'WinError 32' in str(error)\n"
        "    else:\n"
        "        raise SystemExit(f'not scanned {number}')\n"
        "    time.sleep(0.11)\n"  # the source is scanned, then the target
        "    with contextlib.suppress(PermissionError):\n"
        "        a.replace(b)\n"
        "    time.sleep(0.11)\n"
        "    a.replace(b)\n"
        "act(1)\n"
        "a.write_bytes(b'new')\n"
        "act(2)\n"
    )
    seconds = {"LORASMITH_WINDOWS_SCAN_SECONDS": "0.1"}
    assert run(tmp_path, code, **seconds) == ""


def test_a_refusal_is_noted_with_the_line_that_led_to_it(tmp_path):
    place, log = tmp_path / "place", tmp_path / "log.txt"
    place.mkdir()
    (place / "act.py").write_text("import sys\nheld = open(sys.argv[1])\n", "utf-8")
    (place / "a").touch()
    with (place / "act.py").open("a") as file:
        file.write("import os\nos.remove(sys.argv[1])\n")
    environment = make_environment(place, LORASMITH_WINDOWS_LOG=str(log))
    subprocess.run(
        [sys.executable, str(place / "act.py"), str(place / "a")],
        env=environment,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"held\t{place}/a\t")
    assert f"{place}/act.py:4" in line
