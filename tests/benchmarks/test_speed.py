"""The speed benchmark runs against the trainer as it is; its loop reaches into a session."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_both_loops_run_and_train_the_same_weights(tmp_path: Path) -> None:
    """One step each: the ratio is of the two times, and the weights were compared on the way."""
    results = tmp_path / "speed.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), f"--results={results}"]
    done = subprocess.run(
        [*command, "--steps=1", "--rounds=1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text(encoding="utf-8"))
    times = found["seconds_per_step"]
    assert found["steps_per_round"] == 1
    assert found["peft_over_ours"]["median"] == times["peft"] / times["ours"] > 0
