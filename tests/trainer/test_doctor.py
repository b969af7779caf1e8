"""What the doctor reports about simulated computers, and how it looks at a real one."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.cli import main
from app.commands.application import STARTER_MODEL
from tests.trainer.conftest import ROOT
from trainer.doctor import (
    Device,
    Facts,
    Gpu,
    Host,
    TorchBuild,
    Trial,
    WorkspaceFormat,
    check_computer,
    check_quickly,
    list_findings,
    remove_paths,
)
from trainer.doctor.host import Answer
from trainer.doctor.probes import REQUIRED, read_deep_facts, read_facts, read_tested, read_torch
from trainer.doctor.remedies import name_python
from trainer.doctor.torch_device import read_device
from trainer.runs.workspace import FORMAT, FORMAT_FILE

GB = 10**9
TESTED = read_tested()
CUDA_TORCH = TorchBuild("2.13.0+cu130", cuda="13.0")
CPU_TORCH = TorchBuild("2.13.0+cpu")
RTX = Gpu("nvidia", "NVIDIA GeForce RTX 4090", 24 * GB, "581.29")
CARD = Device("cuda", "NVIDIA GeForce RTX 4090", 24 * GB, bf16=True)

# A computer on which nothing is wrong; each row below changes something.
GOOD = Facts(
    lorasmith="0.1.0",
    system="linux",
    system_version="Linux",
    processor="x86_64",
    python=(3, 12, 4),
    packages={name: TESTED[name] for name in REQUIRED},
    tested=TESTED,
    torch=CUDA_TORCH,
    gpus=(RTX,),
    memory_bytes=32 * GB,
    free_memory_bytes=24 * GB,
    free_disk_bytes=200 * GB,
    workspace=WorkspaceFormat(3, 3),
    optional={"xformers": "missing", "bitsandbytes": "works"},
    device=CARD,
    trial=Trial("passed", 12.3),
)
NO_GPU = {"gpus": (), "torch": CPU_TORCH, "device": Device("cpu")}
CPU_BUILD = {"torch": CPU_TORCH, "device": Device("cpu")}
WINDOWS = {"system": "win32"}
MAC = {
    "system": "darwin",
    "processor": "arm64",
    "macos": (14, 5),
    "torch": TorchBuild("2.13.0"),
    "gpus": (Gpu("apple", "Apple GPU", 16 * GB),),
    "device": Device("mps", "Apple GPU", 11 * GB, bf16=True),
}
AMD = (Gpu("amd", "AMD Radeon RX 7900 XTX", 24 * GB),)
ROCM_TORCH = TorchBuild("2.13.0+rocm6.4", rocm="6.4")
PIP_CUDA = (
    "python -m pip install torch=={0}+{1} --index-url https://download.pytorch.org/whl/{1}"
).format
UV = (
    "uv pip install --python python --torch-backend=auto --reinstall-package torch "
    f"torch=={TESTED['torch']}"
)
TORCH = TESTED["torch"]

# Computer, severity, code, a part of the message, the line to type.
TABLE = {
    "good": ({}, "good", "gpu", "RTX 4090 (24.0 GB) in bf16", ""),
    "passed": ({}, "good", "trial", "passed in 12 s", ""),
    "no GPU": (NO_GPU, "warning", "cpu", "training runs on the CPU", ""),
    "NVIDIA and CPU torch, pip": (
        CPU_BUILD, "error", "nvidia-cpu-torch", "has NVIDIA GeForce RTX 4090",
        PIP_CUDA(TORCH, "cu130"),
    ),
    "NVIDIA and CPU torch, Windows": (
        {**CPU_BUILD, **WINDOWS, "torch": TorchBuild("2.13.0")}, "error", "nvidia-cpu-torch",
        "the installed PyTorch (2.13.0) cannot use it", PIP_CUDA(TORCH, "cu130"),
    ),
    "NVIDIA and CPU torch, uv": (
        {**CPU_BUILD, "has_uv": True}, "error", "nvidia-cpu-torch", "many times slower", UV,
    ),
    "NVIDIA with an older driver": (
        {**CPU_BUILD, "gpus": (replace(RTX, driver="551.23"),)}, "error", "nvidia-cpu-torch", "",
        PIP_CUDA(TORCH, "cu126"),
    ),
    "NVIDIA with an unknown driver": (
        {**CPU_BUILD, "gpus": (Gpu("nvidia"),)}, "error", "nvidia-cpu-torch", "has an NVIDIA card",
        PIP_CUDA(TORCH, "cu126"),
    ),
    "NVIDIA without torch": ({"torch": None, "device": None}, "error", "torch", "not installed",
                             PIP_CUDA(TORCH, "cu130")),
    "driver too old": (
        {"device": Device("cpu", error="The NVIDIA driver on your system is too old")}, "error",
        "driver", "too old. Update the card's driver", "",
    ),
    "card too new": (
        {"device": replace(CARD, error="no kernel image is available")}, "error", "device",
        "no kernel image", "",
    ),
    "small card": ({"device": replace(CARD, memory_bytes=4 * GB)}, "warning", "gpu-memory",
                   "4.0 GB of GPU memory", ""),
    "card without bf16": ({"device": replace(CARD, bf16=False)}, "good", "gpu", "in fp16", ""),
    "AMD and CPU torch": (
        {**CPU_BUILD, "gpus": AMD}, "warning", "amd-cpu-torch", "not built for ROCm",
        PIP_CUDA(TORCH, "rocm6.4"),
    ),
    "AMD on Windows": ({**CPU_BUILD, **WINDOWS, "gpus": AMD}, "warning", "amd-cpu-torch",
                       "only supported on Linux", ""),
    "ROCm": (
        {"gpus": AMD, "torch": ROCM_TORCH, "device": replace(CARD, name="AMD Radeon RX 7900 XTX")},
        "note", "rocm", "through ROCm 6.4", "",
    ),
    "ROCm without the card": (
        {"gpus": AMD, "torch": ROCM_TORCH, "device": Device("cpu", error="No HIP GPUs")}, "error",
        "driver", "No HIP GPUs", "",
    ),
    "MPS": (MAC, "note", "mps", "may take 11.0 GB of the main memory", ""),
    "bitsandbytes on a Mac": (MAC, "note", "optional-mps", "bitsandbytes cannot be used", ""),
    "Mac with Intel": ({**MAC, "processor": "x86_64", "gpus": (), "device": Device("cpu")}, "error",
                       "torch", "Intel", ""),
    "too little memory": ({"memory_bytes": 3 * GB}, "error", "memory", "3.0 GB of main memory", ""),
    "little memory": ({"memory_bytes": 8 * GB}, "warning", "memory", "little for SDXL", ""),
    "memory in use": ({"free_memory_bytes": GB}, "warning", "free-memory", "Only 1.0 GB", ""),
    "full disk": ({"free_disk_bytes": GB}, "error", "disk", "Only 1.0 GB", ""),
    "little disk": ({"free_disk_bytes": 9 * GB}, "warning", "disk", "9.0 GB are free", ""),
    "broken xformers": (
        {"optional": {"xformers": "ImportError: DLL load failed"}}, "warning", "xformers",
        "DLL load failed", "python -m pip uninstall xformers",
    ),
    "broken xformers, uv": (
        {"optional": {"xformers": "undefined symbol"}, "has_uv": True}, "warning", "xformers",
        "undefined symbol", "uv pip uninstall --python python xformers",
    ),
    "Python too old": ({"python": (3, 10, 1)}, "error", "python", "3.10.1 is too old", ""),
    "Python too new": ({"python": (3, 15, 0)}, "warning", "python", "newer than any", ""),
    "32-bit Python": ({"is_64_bit": False}, "error", "python", "32-bit", ""),
    "torch that does not import": (
        {"device": Device("", error="OSError: [WinError 126]")}, "error", "torch", "WinError 126",
        f"python -m pip install torch=={TORCH}",
    ),
    "missing package": (
        {"packages": GOOD.packages | {"safetensors": ""}}, "error", "packages", "safetensors",
        f"python -m pip install safetensors=={TESTED['safetensors']}",
    ),
    "another version": (
        {"packages": GOOD.packages | {"accelerate": "1.1.0"}}, "note", "versions",
        f"accelerate 1.1.0 (tested: {TESTED['accelerate']})",
        f"python -m pip install accelerate=={TESTED['accelerate']}",
    ),
    "another major version": ({"packages": GOOD.packages | {"transformers": "4.57.1"}}, "warning",
                              "versions", "transformers 4.57.1", None),
    "training fails": ({"trial": Trial("failed", message="boom.")}, "error", "trial", "boom", ""),
    "workspace of this version": ({}, "good", "workspace", "the format of this version (3)", ""),
    "no workspace": ({"workspace": WorkspaceFormat(None, 3)}, "note", "workspace",
                     "no workspace yet; a new one gets format 3", ""),
    "older workspace": ({"workspace": WorkspaceFormat(1, 3)}, "note", "workspace",
                        "has format 1: the next command that uses it brings it up to date", ""),
    "newer workspace": ({"workspace": WorkspaceFormat(4, 3)}, "error", "workspace",
                        "format is 4, and this version knows 3): this version refuses it. Update",
                        ""),
    "damaged workspace": ({"workspace": WorkspaceFormat(None, 3, "it is damaged. Restore it.")},
                          "error", "workspace", "cannot be read: it is damaged. Restore it.", ""),
    "no starter model": ({"trial": Trial("skipped", message="the starter model is not here.")},
                         "note", "trial", "starter model is not here", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_simulated_computer_gets_its_answer(name):
    changes, severity, code, part, remedy = TABLE[name]
    findings = {finding.code: finding for finding in list_findings(replace(GOOD, **changes))}
    assert code in findings, findings
    finding = findings[code]
    assert finding.severity == severity
    assert part in finding.message
    if remedy is not None:
        assert finding.remedy == remedy


def test_nothing_is_wrong_with_a_good_computer():
    assert {finding.severity for finding in list_findings(GOOD)} == {"good"}


def test_the_worst_comes_first():
    findings = list_findings(replace(GOOD, **CPU_BUILD, free_disk_bytes=9 * GB))
    assert [finding.severity for finding in findings] == ["error", "warning", "good", "good"]


def test_another_build_of_the_tested_version_is_that_version():
    packages = GOOD.packages | {"torch": f"{TORCH}+cu130"}
    assert "versions" not in {one.code for one in list_findings(replace(GOOD, packages=packages))}


def test_the_tested_versions_are_those_of_constraints():
    assert (ROOT / "trainer/doctor/tested.txt").read_text() == (
        ROOT / "constraints.txt"
    ).read_text()
    assert set(REQUIRED) < set(TESTED)


# --- looking at a computer ------------------------------------------------------------------------


def simulate(tmp_path, *, answers=None, programs=(), files=None, **fields):
    """Returns a computer with these programs, their answers by a word of the command, and files."""
    for name, text in (files or {}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(command):
        return next((a for word, a in (answers or {}).items() if word in command), Answer(1))

    return Host(
        root=tmp_path,
        run=run,
        which=lambda name: f"/bin/{name}" if name in programs else None,
        environment={"SystemRoot": str(tmp_path / "Windows")},
        memory=lambda: (32 * GB, 24 * GB),
        free_disk=lambda _path: 200 * GB,
        **fields,
    )


SMI = "/bin/nvidia-smi"


def test_nvidia_smi_lists_cards_and_driver(tmp_path):
    output = "NVIDIA GeForce RTX 3060, 12288, 560.94\nTesla P4, [N/A], 560.94\n"
    host = simulate(tmp_path, programs=["nvidia-smi"], answers={SMI: Answer(0, output)})
    assert read_facts(host, tmp_path).gpus == (
        Gpu("nvidia", "NVIDIA GeForce RTX 3060", 12288 * 1024**2, "560.94"),
        Gpu("nvidia", "Tesla P4", 0, "560.94"),
    )


def test_nvidia_smi_without_a_card_is_no_card(tmp_path):
    answer = Answer(9, "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n")
    host = simulate(tmp_path, programs=["nvidia-smi"], answers={SMI: answer})
    assert read_facts(host, tmp_path).gpus == ()


@pytest.mark.parametrize(
    ("system", "file", "text", "expected"),
    [
        ("linux", "proc/driver/nvidia/gpus/0/information", "Model: \t NVIDIA A10\nIRQ: 1\n",
         Gpu("nvidia", "NVIDIA A10")),
        ("linux", "usr/lib/wsl/lib/libcuda.so.1", "", Gpu("nvidia")),
        ("win32", "Windows/System32/nvcuda.dll", "", Gpu("nvidia")),
        ("win32", "Windows/System32/amdhip64_6.dll", "", Gpu("amd")),
        ("linux", "sys/class/drm/card1/device/vendor", "0x1002\n", Gpu("amd")),
    ],
)  # fmt: skip
def test_a_card_is_seen_by_its_driver(tmp_path, system, file, text, expected):
    host = simulate(tmp_path, files={file: text, "dev/kfd": ""}, system=system)
    assert read_facts(host, tmp_path).gpus == (expected,)


def test_an_amd_card_without_the_driver_for_computing_does_not_count(tmp_path):
    host = simulate(tmp_path, files={"sys/class/drm/card0/device/vendor": "0x1002\n"})
    assert read_facts(host, tmp_path).gpus == ()


def test_a_mac_with_its_own_processor_has_a_gpu(tmp_path):
    host = simulate(tmp_path, system="darwin", processor="arm64", macos="14.5")
    facts = read_facts(host, tmp_path)
    assert facts.gpus == (Gpu("apple", "Apple GPU", 32 * GB),)
    assert facts.macos == (14, 5)


@pytest.mark.parametrize("build", [CPU_TORCH, CUDA_TORCH, ROCM_TORCH])
def test_the_build_of_torch_is_read_from_its_file(tmp_path, build):
    def write(value):
        return repr(value or None)

    text = (
        "from typing import Optional\n\n"
        f"__version__ = '{build.version}'\ndebug = False\n"
        f"cuda: Optional[str] = {write(build.cuda)}\ngit_version = 'abc'\n"
        f"hip: Optional[str] = {write(build.rocm)}\n"
    )
    host = simulate(tmp_path, files={"torch/version.py": text},
                    find_module=lambda _name: tmp_path / "torch" / "__init__.py")  # fmt: skip
    assert read_torch(host) == build


def test_a_missing_torch_is_none(tmp_path):
    assert read_torch(simulate(tmp_path, find_module=lambda _name: None)) is None


def test_this_torch_is_read_as_it_describes_itself():
    import torch

    build = read_torch(Host())
    assert build == TorchBuild(torch.__version__, torch.version.cuda or "", torch.version.hip or "")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(0), "works"),
        (Answer(1, errors="Traceback\nImportError: DLL failed\n"), "ImportError: DLL failed"),
        (Answer(-11), "exit code -11"),
        (Answer(0, errors="WARNING: xFormers can't load C++/CUDA extensions. built for 2.9\n"),
         "can't load C++/CUDA extensions. built for 2.9"),
    ],
)  # fmt: skip
def test_an_optional_part_is_imported_in_a_process(tmp_path, answer, state):
    host = simulate(tmp_path, answers={"xformers.ops": answer})
    facts = replace(GOOD, optional={"xformers": "installed", "keyring": "missing"})
    assert read_deep_facts(host, facts).optional == {"xformers": state, "keyring": "missing"}


def test_a_torch_that_ends_the_process_is_reported(tmp_path):
    host = simulate(
        tmp_path, answers={"trainer.doctor.torch_device": Answer(1, "", "x\nOSError: y\n")}
    )
    assert read_deep_facts(host, GOOD).device == Device("", error="OSError: y")


def fake_torch(*, cuda=False, mps=False, built="", macos=14, fails=""):
    """A module with what the doctor asks of PyTorch."""

    def multiply(*_sizes, device):
        if fails:
            raise RuntimeError(f"{fails}\nmore lines")
        return 1

    class Number(int):
        def __matmul__(self, other):
            return self

        def sum(self):
            return self

        def item(self):
            return 0

    def init():
        raise RuntimeError("driver too old")

    return SimpleNamespace(
        ones=lambda *sizes, device: Number(multiply(*sizes, device=device)),
        version=SimpleNamespace(cuda=built, hip=""),
        cuda=SimpleNamespace(
            is_available=lambda: cuda,
            is_bf16_supported=lambda: True,
            get_device_properties=lambda _i: SimpleNamespace(name="RTX", total_memory=8 * GB),
            init=init,
        ),
        mps=SimpleNamespace(recommended_max_memory=lambda: 11 * GB),
        backends=SimpleNamespace(mps=SimpleNamespace(
            is_available=lambda: mps, is_macos_or_newer=lambda major, minor: macos >= major
        )),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cuda": True, "built": "13.0"}, Device("cuda", "RTX", 8 * GB, bf16=True)),
        ({"cuda": True, "fails": "no kernel image"},
         Device("cuda", "RTX", 8 * GB, bf16=True, error="no kernel image")),
        ({"mps": True}, Device("mps", "Apple GPU", 11 * GB, bf16=True)),
        ({"mps": True, "macos": 13}, Device("mps", "Apple GPU", 11 * GB)),
        ({"built": "13.0"}, Device("cpu", bf16=True, error="driver too old")),
        ({}, Device("cpu", bf16=True)),
    ],
)  # fmt: skip
def test_the_device_is_the_one_that_computes(values, expected):
    assert read_device(fake_torch(**values)) == expected


# --- remedies and reports -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "executable", "expected"),
    [
        ("linux", "/opt/my env/bin/python", "'/opt/my env/bin/python'"),
        ("win32", "/opt/my env/python.exe", '& "/opt/my env/python.exe"'),
        ("win32", "/opt/env/python.exe", "/opt/env/python.exe"),
    ],
)
def test_python_is_called_as_the_terminal_takes_it(monkeypatch, system, executable, expected):
    monkeypatch.setattr(sys, "executable", executable)
    assert name_python(system) == expected


def test_python_of_this_folder_is_called_shortly(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert name_python("linux") == ".venv/bin/python"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{Path.home()}/secret plan/x.py failed", None),
        ("open '/data/jane doe/my pictures/a.png'", "open '.../a.png'"),
        (r'cannot load "C:\Users\Jane Doe\env\torch\lib\c10.dll"', 'cannot load ".../c10.dll"'),
        (r"cannot load C:\Users\Jane\env\c10.dll or /mnt/jane/x.so: no",
         "cannot load .../c10.dll or .../x.so: no"),
        ("https://download.pytorch.org/whl/cu130", "https://download.pytorch.org/whl/cu130"),
        ("fp16/bf16 and 3/4", "fp16/bf16 and 3/4"),
    ],
)  # fmt: skip
def test_a_bug_report_names_no_folder_of_the_person(text, expected):
    cleaned = remove_paths({"a": [text, 1, None]})["a"]
    assert cleaned[1:] == [1, None]
    if expected is None:
        assert str(Path.home()) not in cleaned[0]
        assert cleaned[0].endswith("failed")
    else:
        assert cleaned[0] == expected


def test_the_quick_check_reads_files_and_starts_no_process(tmp_path):
    host = simulate(tmp_path, files={"proc/driver/nvidia/gpus/0/information": "Model: RTX\n"},
                    find_module=lambda _name: tmp_path / "nothing" / "__init__.py")  # fmt: skip
    codes = {finding.code: finding for finding in check_quickly(tmp_path, host)}
    assert codes["nvidia-cpu-torch"].severity == "error"
    assert sys.executable.split("/")[-1] in codes["nvidia-cpu-torch"].remedy


def test_a_report_has_no_path_and_all_facts(tmp_path):
    workspace = tmp_path / "jane" / "lorasmith"
    error = f"FileNotFoundError: {workspace}/runs/x and {sys.prefix}/lib/torch/x.so"
    host = simulate(tmp_path, answers={"trainer.doctor.torch_device": Answer(1, "", error)})
    report = check_computer(workspace, ["false"], tmp_path, host=host)
    text = json.dumps(report.to_dict())
    for folder in (tmp_path, Path.home(), Path(sys.prefix), Path.cwd()):
        assert str(folder) not in text
    content = json.loads(text)
    assert content["passed"] is False
    assert content["facts"]["trial"]["state"] == "skipped"
    assert {"python", "torch", "gpus", "memory_bytes", "tested"} <= set(content["facts"])


def write_format(root, content):
    root.mkdir()
    (root / FORMAT_FILE).write_text(content, "utf-8")


@pytest.mark.parametrize(
    ("prepare", "severity", "number", "part", "code"),
    [
        (lambda root: None, "note", None, "There is no workspace yet", 0),
        (lambda root: (root / "pictures").mkdir(parents=True), "note", None, "no workspace yet", 0),
        (lambda root: (root / "runs").mkdir(parents=True), "note", 0, "brings it up to date", 0),
        (lambda root: write_format(root, f'{{"format": {FORMAT}}}'), "good", FORMAT, "", 0),
        (lambda root: write_format(root, '{"format": 99}'), "error", 99, "Update Lorasmith", 1),
        (lambda root: write_format(root, "{"), "error", None, "workspace.json is damaged", 1),
        (lambda root: (root / FORMAT_FILE).mkdir(parents=True), "error", None, "cannot be read", 1),
        (lambda root: root.touch(), "error", None, "it is a file. Choose a folder", 1),
    ],
    ids=["absent", "other folder", "older", "current", "newer", "damaged", "unreadable", "file"],
)
def test_the_format_of_the_workspace_is_read_and_left_as_it_is(
    tmp_path, capsys, monkeypatch, prepare, severity, number, part, code
):
    root = tmp_path / "jane" / "workspace"
    root.parent.mkdir()
    prepare(root)
    before = sorted(tmp_path.rglob("*"))
    host = simulate(tmp_path / "host")
    (row,) = [one for one in check_quickly(root, host) if one.code == "workspace"]
    assert (row.severity, part in row.message) == (severity, True)
    assert str(tmp_path) not in row.message  # the app shows it to people on other computers
    # The command looks at the simulated computer, too. Its other errors are not looked at: the
    # exit code is at least that.
    monkeypatch.setattr("trainer.doctor.check.Host", lambda: host)
    assert main(["doctor", "--quick", "--json", f"--workspace={root}"]) >= code
    printed = capsys.readouterr().out
    assert str(tmp_path) not in printed
    content = json.loads(printed)
    assert content["facts"]["workspace"]["number"] == number
    assert content["facts"]["workspace"]["current"] == FORMAT
    assert asdict(row) in content["findings"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("answer", "part"),
    [(Answer(2, "", "a\nlorasmith: no space.\n"), "no space."), (Answer(None), "exit code None")],
)
def test_a_training_that_fails_is_reported(tmp_path, answer, part):
    host = simulate(tmp_path, answers={"train": answer})
    report = check_computer(tmp_path, ["lorasmith"], STARTER_MODEL, host=host)
    trial = {finding.code: finding for finding in report.findings}["trial"]
    assert (trial.severity, part in trial.message) == ("error", True)
    assert not report.passed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_doctor_trains_one_step_on_this_computer(tmp_path, capsys):
    code = main(["doctor", "--json", "--workspace", str(tmp_path)])
    content = json.loads(capsys.readouterr().out)
    assert content["facts"]["trial"]["state"] == "passed", content["findings"]
    assert content["facts"]["device"]["kind"] in {"cpu", "cuda", "mps"}
    assert code == (0 if content["passed"] else 1)
    assert list(tmp_path.iterdir()) == []


def test_doctor_prints_lines_for_people(tmp_path, capsys, monkeypatch):
    host = simulate(tmp_path / "host")
    monkeypatch.setattr("trainer.doctor.check.Host", lambda: host)
    main(["doctor", "--quick", "--workspace", str(tmp_path / "workspace")])
    text = capsys.readouterr().out
    assert text.startswith("Lorasmith ")
    assert "PyTorch " in text
    assert "No training was tried: --quick leaves it out." in text
    assert "note: There is no workspace yet" in text
