"""The notebook, run from top to bottom on the starter model: on Colab, and continued elsewhere."""

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from tests.ports import hold_port
from trainer.runs import RunFolder, read_events, read_status

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook" / "lorasmith.ipynb"
STYLE = ROOT / "examples" / "openmoji-style" / "images"
STUBS = Path(__file__).resolve().parent / "colab"


def read_notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def run_notebook(folder, add="", **parameters):
    """Runs the notebook with other parameters, in a kernel of this Python; returns its text."""
    notebook = read_notebook()
    (place,) = (
        number for number, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    )  # fmt: skip
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    if add:
        notebook.cells.append(nbformat.v4.new_code_cell(add))
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs), outputs


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """This Python as the kernel `python3`, away from a person's own settings."""
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    text = f'{{"argv": {command}, "display_name": "Python 3", "language": "python"}}'
    (kernels / "kernel.json").write_text(text)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")  # else the file has the time of its run
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


def test_notebook_is_stored_without_outputs_and_its_parameters_are_tagged():
    notebook = read_notebook()
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in codes if cell.outputs or cell.execution_count] == []
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in codes) == 1


@pytest.fixture
def colab(kernel, monkeypatch):
    """Colab's module beside ours, with twelve images to upload; returns the file of its calls."""
    uploads = kernel / "uploads"
    uploads.mkdir()
    for path in sorted(STYLE.glob("*.png"))[:12]:
        shutil.copy(path, uploads)
    monkeypatch.setenv("PYTHONPATH", f"{STUBS}:{ROOT}")
    monkeypatch.setenv("COLAB_CALLS", str(kernel / "calls.txt"))
    monkeypatch.setenv("COLAB_UPLOADS", str(uploads))
    monkeypatch.setenv("COLAB_ADDRESS", "https://x-7860.colab.example/")
    return kernel / "calls.txt"


ASK_APP = """
import time, urllib.error, urllib.request
for _ in range(600):
    try:
        asked = urllib.request.Request(f"http://127.0.0.1:{PORT}", headers={"host": HOST})
        urllib.request.urlopen(asked, timeout=5)
    except urllib.error.HTTPError as error:
        print(f"the app answered {error.status}")
        break
    except OSError:
        time.sleep(0.5)
app.terminate()
print("ended", app.wait(60) is not None)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_notebook_on_colab_from_upload_to_download_and_app(kernel, colab):
    workspace = kernel / "drive" / "lorasmith"
    with hold_port() as port:
        notebook = {"NAME": "mine", "STEPS": 6, "PROMPTS": ["a panda"], "OPEN_APP": True}
        text, outputs = run_notebook(
            kernel,
            f"HOST = 'x-7860.colab.example'\n{ASK_APP}",
            **notebook, WORKSPACE=str(workspace), PORT=port,
        )  # fmt: skip
    (run,) = (workspace / "runs").iterdir()
    assert read_status(run).state == "finished"
    assert read_status(run).step == 6
    (file,) = RunFolder(run).list_exports()
    with Image.open(run / "grid.png") as grid:
        assert grid.width > grid.height
    captions = list((workspace / "datasets" / "mine").glob("*.txt"))
    assert len(list((workspace / "datasets" / "mine").glob("*.png"))) == 12
    assert len(captions) >= 6
    calls = colab.read_text().splitlines()
    assert calls[0] == "upload"
    assert f"download {file}" in calls
    assert any(line.startswith("eval_js google.colab.kernel.proxyPort") for line in calls)
    assert "Open https://x-7860.colab.example/" in text
    assert "the app answered 401" in text
    assert any("finished 6/6" in str(output.get("data", "")) for output in outputs)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_notebook_goes_on_with_a_run_that_a_disconnect_has_ended(kernel):
    """The second time the folder of the first is there, and its run looks killed in its middle."""
    workspace = kernel / "workspace"
    notebook = {"NAME": "mine", "STEPS": 4, "PROMPTS": ["a panda"], "WORKSPACE": str(workspace)}
    run_notebook(kernel, **notebook)
    (run,) = (workspace / "runs").iterdir()
    whole = RunFolder(run).list_exports()[0].read_bytes()
    forget_the_end(run)
    assert read_status(run).can_start
    run_notebook(kernel, **notebook)
    assert [one.name for one in (workspace / "runs").iterdir()] == [run.name]
    assert read_status(run).state == "finished"
    assert RunFolder(run).list_exports()[0].read_bytes() == whole


def forget_the_end(run):
    """Takes away what a run wrote at its end, as if its process had been killed before."""
    folder = RunFolder(run)
    events = [one for one in read_events(folder.events_path) if one["event"] != "ended"]
    lines = folder.events_path.read_text().splitlines(keepends=True)
    remaining = [line for line in lines if '"ended"' not in line and '"exported"' not in line]
    assert len(remaining) < len(lines)
    folder.events_path.write_text("".join(remaining))
    for path in folder.list_exports():
        path.unlink()
    assert events
