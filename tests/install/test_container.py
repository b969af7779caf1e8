"""The container files: linted, and the Dockerfile's steps carried out in a fresh Debian."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.install.conftest import ROOT
from tests.install.dockerfile import Image, fresh_debian, list_context, read_steps
from tests.install.installing import read_index
from tests.ports import hold_port

DOCKERFILE = ROOT / "Dockerfile"
PASSWORD = {"LORASMITH_PASSWORD": "open sesame"}


def find_tool(name):
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize(
    ("tool", "command"),
    [("hadolint", ["--failure-threshold=info", "Dockerfile"]),
     ("check-jsonschema", ["--builtin-schema", "vendor.compose-spec", "compose.yaml"])],
)  # fmt: skip
def test_container_files_pass_a_linter(tool, command):
    done = subprocess.run(
        [find_tool(tool), *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_linter_finds_a_bad_dockerfile(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN apt-get install python3\n")
    done = subprocess.run([find_tool("hadolint"), bad], capture_output=True, check=False)
    assert done.returncode != 0


def test_image_is_given_what_the_wheel_is_made_of_and_nothing_personal(tmp_path):
    places = ["app/cli.py", "examples/starter-model/model_index.json", "docs/guide.md", "setup.py",
              "examples/starter-model/recipe/x.py", "docs/images/x.png", "workspace/mine.png",
              ".git/config", ".venv/x", "tests/x.py", "app/__pycache__/x.pyc", ".env"]  # fmt: skip
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    names = list_context(tmp_path, (ROOT / ".dockerignore").read_text())
    assert sorted(names) == sorted(places[:4])


def test_steps_are_read_with_continued_lines():
    steps = read_steps("# x\nARG A=1\nRUN one \\\n    && two\n# y\nUSER 1:1\n")
    assert steps == [("ARG", "A=1"), ("RUN", "one && two"), ("USER", "1:1")]


def test_image_runs_as_a_user_with_a_volume_a_health_check_and_a_password():
    steps = dict(read_steps(DOCKERFILE.read_text()))
    assert steps["USER"] == "1000:1000"
    assert steps["VOLUME"] == "/workspace"
    assert "HEALTHCHECK" in steps
    assert '"--host=0.0.0.0"' in steps["CMD"]  # which the app refuses without a password


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The Dockerfile's steps in a fresh Debian, as a container engine carries them out."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("making a Debian takes Linux, root and mmdebstrap")
    folder = tmp_path_factory.mktemp("container")
    index = read_index(folder)
    shared = list_shared(index)
    suite = dict(read_steps(DOCKERFILE.read_text())[:1])["ARG"].partition("=")[2]
    with fresh_debian(folder / "root", suite.removesuffix("-slim"), shared) as root:
        hosts = {**index, **allow_downloads(root, index)}
        made = Image(root, ROOT, {"TORCH_BACKEND": ""}, hosts)
        made.build(DOCKERFILE.read_text())
        yield made


def list_shared(index):
    """Returns the folders of this computer from which its package index is served, if any."""
    text = " ".join(index.get(key, "") for key in ("UV_FIND_LINKS", "UV_EXTRA_INDEX_URL"))
    places = [one.removeprefix("file://") for one in text.replace(",", " ").split()]
    local = [Path(one) for one in places if one.startswith("/")]
    # The files of an index lie beside the folder of its pages.
    return [path.parent if path.name == "simple" else path for path in local]


def allow_downloads(root, index):
    """Lets the build use this computer's certificates; returns the variables for it."""
    certificates = index.get("SSL_CERT_FILE")
    if not certificates:
        return {}
    shutil.copyfile(certificates, root / "tmp" / "certificates.pem")
    return dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), "/tmp/certificates.pem")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_container_needs_a_password_answers_its_health_check_and_trains(image):
    (start, check), workspace = image.start_command(), image.root / "workspace"
    refused = subprocess.run(image.command(start), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "password is needed" in refused.stderr
    with hold_port() as port:
        check = [part.replace("7860", str(port)) for part in check]
        assert subprocess.run(image.command(check), capture_output=True, check=False).returncode
        command = image.command([*start, f"--port={port}"], PASSWORD)
        process = subprocess.Popen(command, start_new_session=True)
        try:
            deadline = time.monotonic() + 300
            while subprocess.run(image.command(check), capture_output=True, check=False).returncode:
                assert process.poll() is None, "the app ended"
                assert time.monotonic() < deadline, "the health check does not succeed"
                time.sleep(1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
    settings = ["--set=train.steps=2", "--set=samples.every_steps=0"]
    printed = image.run(["lorasmith", "demo", *settings]).stdout
    (file,) = workspace.glob("runs/*/*.safetensors")
    assert str(file.relative_to(image.root)) in printed
    assert {path.stat().st_uid for path in (file, workspace / "datasets")} == {1000}
