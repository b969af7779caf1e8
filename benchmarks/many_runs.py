"""What a poll of the page costs the server, by the number of runs in the workspace.

    python benchmarks/many_runs.py [--tree OTHER_CHECKOUT] [--runs 3 64 68 300] [--polls 30]

Makes workspaces with finished runs of 500 logged steps and one that is going on, and asks for the
versions of all that the Train tab shows, as the route of the page's polls does. The first poll
reads the folders; after a few seconds, in which a change may still be of the same moment, the
processor time of the others is the figure. Compare checkouts by the ratio to 3 runs, on one
computer, in turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_STEPS = 500
_RESTED_SECONDS = 5
_VIEWS = ("status", "progress", "run-buttons", "samples", "losses", "choices")


def main() -> None:
    """Measures and prints one line of JSON for each number of runs."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to measure")
    parser.add_argument("--runs", type=int, nargs="+", default=[3, 64, 68, 300])
    parser.add_argument("--polls", type=int, default=30)
    parser.add_argument("--inside", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), args.inside, args.polls)), flush=True)
        return
    for count in args.runs:
        command = [sys.executable, __file__, f"--inside={count}", f"--polls={args.polls}"]
        environment = {**os.environ, "PYTHONPATH": str(args.tree.resolve())}
        subprocess.run(command, env=environment, check=True, cwd=args.tree)


def measure(folder: Path, count: int, polls: int) -> dict[str, float]:
    """Returns the processor time of a poll in milliseconds, and that of the first."""
    from app.core.examples import look_once
    from app.core.workspace import Workspace
    from app.web.page import list_views
    from trainer.runs import append_event, own_folder

    workspace = Workspace(folder / "workspace")
    workspace.prepare()
    runs = [make_run(workspace.runs_path, index) for index in range(count)]
    views = list_views()

    def poll() -> float:
        start = time.process_time()
        with look_once():
            for name in _VIEWS:
                views[name].read_version(workspace, {})
        return time.process_time() - start

    with own_folder(runs[-1]):
        append_event(runs[-1] / "events.jsonl", "started", from_step=0, steps=10 * _STEPS)
        first, spent = poll(), 0.0
        time.sleep(_RESTED_SECONDS)
        poll()
        for step in range(1, polls + 1):
            append_event(runs[-1] / "events.jsonl", "step", step=step, steps=5000, loss=0.1)
            spent += poll()
    return {"runs": count, "first_ms": round(1e3 * first, 1), "ms": round(1e3 * spent / polls, 2)}


def make_run(runs: Path, index: int) -> Path:
    """Writes a finished run of some hundred events; returns its folder."""
    run = runs / f"2026-01-01_{index:06d}_cat"
    run.mkdir()
    (run / "config.toml").write_text(f'name = "cat-{index}"\n', encoding="utf-8")
    lines = [{"event": "queued", "time": 1.0, "name": "cat"}, {"event": "started", "time": 2.0}]
    lines += [
        {"event": "step", "time": 3.0, "step": step, "steps": _STEPS, "loss": 1 / step}
        for step in range(1, _STEPS + 1)
    ]
    lines.append({"event": "ended", "time": 4.0, "reason": "finished", "step": _STEPS})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run / "events.jsonl").write_text(text, encoding="utf-8")
    return run


if __name__ == "__main__":
    main()
