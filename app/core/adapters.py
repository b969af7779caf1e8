"""Adapter files that images can be generated with."""

from dataclasses import dataclass
from pathlib import Path

from app.core import text
from app.core.examples import list_examples
from app.core.run_contents import read_run_config
from app.core.workspace import Workspace, WorkspaceError
from trainer.config import RunConfig
from trainer.runs import list_runs

LORA_MARK = "file:"
MAX_ADAPTERS = 4


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter file that images can be generated with.

    `id` is the run and the file, or `LORA_MARK` and the file, never a path; `run_id` is "" for a
    file that a person brought. `label` stands in lists, `name` under images.
    """

    id: str
    label: str
    run_id: str
    path: Path
    name: str


def list_adapters(workspace: Workspace) -> list[AdapterEntry]:
    """Returns what runs exported, newest run first, each with its checkpoints; then other files."""
    entries = []
    for run in list_runs(workspace.runs_path):
        for path in run.list_exports():
            label = f"{path.stem} ({run.id})"
            entries.append(AdapterEntry(f"{run.id}/{path.name}", label, run.id, path, path.stem))
        for checkpoint in reversed(run.list_checkpoints()):
            path = checkpoint.path / "adapter.safetensors"
            if path.is_file():
                label = text.checkpoint_label(run.id, checkpoint.step)
                entry_id = f"{run.id}/step-{checkpoint.step}"
                name = text.checkpoint_name(checkpoint.step)
                entries.append(AdapterEntry(entry_id, label, run.id, path, name))
    entries += [
        AdapterEntry(f"{LORA_MARK}{path.name}", text.lora_label(path.stem), "", path, path.stem)
        for path in workspace.list_loras()
    ]
    return entries


def find_adapter(workspace: Workspace, adapter_id: object) -> AdapterEntry:
    """Returns the adapter of that id; the newest for None, which a list not painted yet sends.

    Raises:
        WorkspaceError: there is none.
    """
    for entry in list_adapters(workspace):
        if adapter_id is None or entry.id == adapter_id:
            return entry
    raise WorkspaceError(text.NO_ADAPTER)


def read_adapter_config(workspace: Workspace, adapter_id: object) -> RunConfig | None:
    """Returns the config of the run that an adapter comes from; None for a file from elsewhere."""
    try:
        entry = find_adapter(workspace, adapter_id)
        return read_run_config(workspace.find_run(entry.run_id)) if entry.run_id else None
    except WorkspaceError:
        return None


def suggest_prompt(config: RunConfig) -> str:
    """Returns a first prompt: the run's own, else the first caption as its samples have it.

    The trigger is put first where it is missing, and is all there is without captions.
    """
    trigger = config.dataset.trigger
    prompt = next(iter(config.samples.prompts), "")
    if not prompt:
        examples = list_examples(Path(config.dataset.path))
        prompt = next((one.caption for one in examples if one.caption), "")
    if not trigger or trigger in prompt:
        return prompt
    return f"{trigger}, {prompt}" if prompt else trigger
