"""The whole check: facts, a training of one step, and what follows from them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets_tools.disk import temporary_folder
from datasets_tools.errors import LorasmithError
from trainer.config import layer_config
from trainer.doctor.facts import Facts, Trial
from trainer.doctor.findings import Finding, list_findings
from trainer.doctor.host import Host
from trainer.doctor.privacy import remove_paths
from trainer.doctor.probes import read_deep_facts, read_facts
from trainer.doctor.remedies import name_python
from trainer.runs import create_run

_SIDE = 128  # of the starter model's images
NO_STARTER = "the starter model is not here. It comes along with Lorasmith: install it again."
QUICK = "--quick leaves it out."


@dataclass(frozen=True)
class Report:
    """Facts and findings; `workspace` is where its disk was looked at."""

    facts: Facts
    findings: tuple[Finding, ...]
    workspace: Path

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it for JSON, without paths of the person's computer."""
        # The commands with the name of any Python, not with this one's path.
        findings = [asdict(finding) for finding in list_findings(self.facts)]
        content = {"passed": self.passed, "findings": findings, "facts": asdict(self.facts)}
        cleaned: dict[str, Any] = remove_paths(content, self.workspace)
        return cleaned

    def to_text(self) -> str:
        """Returns it as lines for a terminal."""
        return "\n".join([*_describe(self.facts), "", *_list(self.findings)])


def check_quickly(workspace: Path, host: Host | None = None, python: str = "") -> list[Finding]:
    """Returns what files show, for the app: no import of PyTorch and hardly a process.

    Args:
        workspace: Where datasets and runs lie.
        host: The computer; None is this one.
        python: How its Python is called in the lines to type; "" is its path.
    """
    host = host or Host()
    return list_findings(read_facts(host, workspace), python or name_python(host.system))


def check_computer(
    workspace: Path,
    command: Sequence[str],
    starter_model: Path,
    *,
    quick: bool = False,
    host: Host | None = None,
) -> Report:
    """Checks the whole computer.

    Args:
        workspace: Where datasets and runs will lie.
        command: What starts our command line, before the name of a command.
        starter_model: The base model of the training of one step.
        quick: Leaves that training out.
        host: The computer; None is this one.
    """
    host = host or Host()
    facts = read_deep_facts(host, read_facts(host, workspace))
    trial = Trial("skipped", message=QUICK) if quick else try_training(host, command, starter_model)
    facts = replace(facts, trial=trial)
    findings = list_findings(facts, name_python(host.system))
    return Report(facts, tuple(findings), workspace)


def try_training(host: Host, command: Sequence[str], starter_model: Path) -> Trial:
    """Trains one step on an image of noise, in a process and a folder that are gone afterwards."""
    if not (starter_model / "model_index.json").is_file():
        return Trial("skipped", message=NO_STARTER)
    start = time.monotonic()
    with temporary_folder(prefix="lorasmith-") as folder:
        try:
            run = create_run(folder / "runs", _make_config(folder / "images", starter_model))
        except (LorasmithError, OSError) as error:
            return Trial("failed", message=str(error))
        answer = host.run([*command, "train", str(run.path)])
        exported = bool(run.list_exports())
    if answer.code == 0 and exported:
        return Trial("passed", round(time.monotonic() - start, 1))
    lines = [line.strip() for line in answer.errors.splitlines() if line.strip()]
    return Trial("failed", message=lines[-1] if lines else f"exit code {answer.code}.")


def _make_config(folder: Path, starter_model: Path) -> Any:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    (folder / "noise.txt").write_text("noise", encoding="utf-8")
    settings = {
        "name": "doctor",
        "base_model": {"path": str(starter_model)},
        "dataset": {"path": str(folder)},
        "train": {"steps": 1, "batch_size": 1},
        "samples": {"every_steps": 0},
    }
    return layer_config("starter-style", settings=settings)


def _describe(facts: Facts) -> Iterator[str]:
    version = ".".join(map(str, facts.python))
    yield f"Lorasmith {facts.lorasmith} with Python {version} on {facts.system_version}"
    if facts.torch is not None:
        parts = [f"CUDA {facts.torch.cuda}" if facts.torch.cuda else ""]
        parts += [f"ROCm {facts.torch.rocm}" if facts.torch.rocm else ""]
        built = " and ".join(part for part in parts if part) or "no GPU of NVIDIA or AMD"
        yield f"PyTorch {facts.torch.version}, built for {built}"
    gpus = [" ".join(filter(None, (gpu.name or gpu.maker, gpu.driver))) for gpu in facts.gpus]
    yield f"GPU: {', '.join(gpus) or 'none'}"
    yield (
        f"Main memory: {facts.memory_bytes / 1e9:.1f} GB, {facts.free_memory_bytes / 1e9:.1f} GB "
        f"free; disk of the workspace: {facts.free_disk_bytes / 1e9:.1f} GB free"
    )
    states = [f"{name} {state}" for name, state in facts.optional.items()]
    yield f"Optional parts: {'; '.join(states)}"


def _list(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"{finding.severity}: {finding.message}"
        if finding.remedy:
            yield f"    {finding.remedy}"
    if not any(finding.severity in {"error", "warning"} for finding in findings):
        yield "Everything that was checked is in order."
