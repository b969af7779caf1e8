"""The command line as a person types it."""

import json
import subprocess
import sys

import pytest

from app.cli import main
from tests.trainer.conftest import ROOT, STARTER, build_pico, write_images


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    return build_pico(tmp_path_factory.mktemp("cli") / "model")


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", [(32, 32)] * 6)


def create(tmp_path, pico, images, *more):
    return [
        "train",
        f"--workspace={tmp_path}",
        f"--dataset={images}",
        f"--base-model={pico}",
        "--name=cli",
        "--trigger=zorp",
        "--set=dataset.resolution=32",
        "--set=dataset.bucket_step=4",
        "--set=train.steps=2",
        "--set=train.batch_size=2",
        "--set=samples.every_steps=0",
        *more,
    ]


def run_id_of(text):
    return text.splitlines()[0].rpartition("/")[2]


def test_a_run_is_created_trained_listed_and_drawn(tmp_path, pico, images, capsys):
    assert main(create(tmp_path, pico, images)) == 0
    printed = capsys.readouterr().out
    run = run_id_of(printed)
    assert f"finished: {tmp_path}" in printed
    assert main(["status", f"--workspace={tmp_path}"]) == 0
    assert f"{run}  finished  2/2" in capsys.readouterr().out
    file = tmp_path / "runs" / run / "cli.safetensors"
    grid = tmp_path / "grid.png"
    options = ["--steps=2", "--width=32", "--height=32", f"--to={grid}"]
    assert (
        main(["grid", str(file), f"--base-model={pico}", "--prompt=a", "--prompt=b", *options]) == 0
    )
    assert grid.stat().st_size > 0


def test_a_queued_run_starts_by_its_id(tmp_path, pico, images, capsys):
    assert main(create(tmp_path, pico, images, "--create-only")) == 0
    run = run_id_of(capsys.readouterr().out)
    assert main(["train", run, f"--workspace={tmp_path}"]) == 0
    assert main(["export", run, "--step=2", f"--workspace={tmp_path}"]) == 0
    assert "cli-000002.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "nowhere"], "is not a run"),
        (["train", "--dataset=nowhere"], "nowhere"),
        (["train", "--name=../x"], "letters, digits"),
        (["train", "--set=train.stepz=1", "--set=adapter.rank=0"], "2 settings are wrong"),
        (["train", "--config=missing.toml"], "no such config file"),
        (["ask", "nowhere", "stop"], "is not a run"),
        (["grid", "gone.safetensors", f"--base-model={STARTER}", "--prompt=x"], "no LoRA file"),
    ],
)
def test_what_goes_wrong_is_one_message_and_exit_code_2(tmp_path, capsys, arguments, says):
    assert main([*arguments, f"--workspace={tmp_path}"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lorasmith: ")
    assert says in errors
    assert "Traceback" not in errors


def test_asking_a_run_that_nobody_works_on_is_refused(tmp_path, pico, images, capsys):
    main(create(tmp_path, pico, images, "--create-only"))
    run = run_id_of(capsys.readouterr().out)
    assert main(["ask", run, "stop", f"--workspace={tmp_path}"]) == 2
    assert "is queued" in capsys.readouterr().err


def test_check_says_what_is_wrong_and_exits_with_1(images, tmp_path, capsys):
    assert main(["check", str(images), "--resolution=32", "--trigger=zorp"]) == 0
    assert "6 images can be read" in capsys.readouterr().out
    (images / "07.png").write_text("no image")
    assert main(["check", str(images), "--json", "--resolution=32"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert any("07.png" in finding["message"] for finding in report["findings"])
    assert main(["check", str(tmp_path / "nowhere")]) == 1


def test_presets_are_listed_with_what_they_are_for(capsys):
    assert main(["presets"]) == 0
    assert "starter-style: A style on the starter model" in capsys.readouterr().out


def test_help_is_quick_and_needs_no_torch():
    code = "import sys; from app.cli import build_parser; build_parser().format_help(); "
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'gradio', 'diffusers')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(("screen", "opens"), [({"DISPLAY": ":0"}, True), ({}, False)])
def test_without_a_command_the_app_starts_and_opens_a_browser_where_there_is_a_screen(
    tmp_path, monkeypatch, screen, opens
):
    started = []
    launch = "app.web.server.launch"
    monkeypatch.setattr(launch, lambda workspace, **given: started.append((workspace, given)))
    monkeypatch.setenv("LORASMITH_WORKSPACE", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in screen.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    ((workspace, given),) = started
    assert (workspace.root, given["open_browser"]) == (tmp_path, opens)
    assert workspace.base_models == (STARTER.resolve(),)


def test_help_names_the_commands_and_what_comes_without_one(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Without a command the app opens in the browser" in printed


def test_pages_of_documentation_are_listed_and_printed(capsys):
    assert main(["docs"]) == 0
    assert "memory: " in capsys.readouterr().out
    assert main(["docs", "docs/memory.md"]) == 0
    assert capsys.readouterr().out.startswith("# Memory")
    assert main(["docs", "../README"]) == 0  # the index of docs, whatever stands before
    assert main(["docs", "nonsense"]) == 2
    assert "`lorasmith docs` lists them" in capsys.readouterr().err
