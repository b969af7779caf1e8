"""What a trained run costs: its weights, its file, the time of a step and the memory of one.

    python benchmarks/quality_cost.py RUN_FOLDER

prints them as JSON. The memory is that of one more step of the finished run, with the optimiser's
optimizer state allocated, from PyTorch's allocator; so this runs in a process without other
tensors.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def measure_cost(run: Path) -> dict[str, Any]:
    """Returns the cost of a finished run, measured in a process of its own.

    Raises:
        RuntimeError: the run cannot be opened; its output is on the terminal.
    """
    command = [sys.executable, __file__, str(run)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        msg = f"The cost of {run.name} cannot be measured; what went wrong is above."
        raise RuntimeError(msg)
    cost: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return cost


def measure_here(folder: Path) -> dict[str, Any]:
    """Returns the cost of a finished run; nothing else may have been done in this process."""
    from trainer.commands import quiet_model_libraries
    from trainer.memory.measure import measure_peak
    from trainer.runs import RunFolder, read_events
    from trainer.training.loop import read_batches
    from trainer.training.session import open_session
    from trainer.training.step import take_step

    quiet_model_libraries()
    run = RunFolder(folder)
    events = read_events(run.events_path)
    with tempfile.TemporaryDirectory() as cache:
        session = open_session(run, Path(cache))
    session.state.start_learning()
    batches = read_batches(session)
    speeds = [e["steps_per_second"] for e in events if e["event"] == "step"]
    return {
        "parameters": next(e["parameters"] for e in events if e["event"] == "data"),
        "file_bytes": [e["bytes"] for e in events if e["event"] == "exported"][-1],
        "seconds_per_step": median(1 / speed for speed in speeds if speed),
        "step_peak_bytes": measure_peak(
            lambda: take_step(session, batches), session.context.device
        ),
    }


if __name__ == "__main__":
    print(json.dumps(measure_here(Path(sys.argv[1]))))
