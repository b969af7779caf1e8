"""No library calls home, whatever a process of ours imports."""

import os
import shutil
import subprocess
import sys

import pytest

from datasets_tools.telemetry import SWITCHES
from tests.house import lonely_network
from tests.house.lonely_network import ROOT

# Each is a process of ours, as far as its libraries go.
PROCESSES = {
    "captioners": "import datasets_tools.captioners.tagger, onnxruntime, torch, transformers",
    "training": "import trainer.commands as c; c.quiet_model_libraries(); import peft, accelerate",
    "training by itself": "import trainer.training.loop, diffusers, transformers, onnxruntime",
    "hub": "import trainer.hub, huggingface_hub, datasets_tools",
    "app": "import app.web.server, gradio, gradio_client",
    "command line": "import app.cli, onnxruntime",
}


def run(code, home, **variables):
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["app", "trainer", "trainer.config", "datasets_tools"])
def test_each_package_sets_every_switch_whatever_the_environment_says(package, tmp_path):
    code = f"import {package}, os; print({{n: os.environ[n] for n in {list(SWITCHES)!r}}})"
    others = dict.fromkeys(SWITCHES, "True")
    assert run(code, tmp_path, **others).strip() == str(SWITCHES)


def test_onnxruntime_leaves_no_device_id(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "with").mkdir()
    run("import datasets_tools, onnxruntime", tmp_path / "with")
    assert list((tmp_path / "with").rglob("*")) == []


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="needs a network namespace of its own, so Linux and root",
)
def test_no_process_looks_up_a_name_or_sends_a_packet(tmp_path):
    pytest.importorskip("onnxruntime")
    report = lonely_network.watch(tmp_path, PROCESSES, seconds=30)
    assert {name: row["exit code"] for name, row in report["processes"].items()} == dict.fromkeys(
        PROCESSES, 0
    )
    assert report["names"] == []
    assert report["packets"] == 0
    # The watch itself sees what there is to see.
    seen = lonely_network.watch(
        tmp_path, {"control": "import urllib.request as r; r.urlopen('http://example.org')"}, 1
    )
    assert "example.org" in seen["names"]
    assert seen["packets"] > 0
