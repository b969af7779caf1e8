"""What does combining full-size SDXL files take, in time and in memory?

    OMP_NUM_THREADS=2 python benchmarks/merge.py [--only ROW ...] [--rank N] [--layers N]
                                                 [--results FILE]

Two LoRA files with random numbers on all layers of SDXL that Lorasmith trains are merged with every
method, resized, scaled and inspected: through the command line, each in a process of its own. Time,
processor time and peak memory are what the system books for that process, its start and its imports
included. Random numbers are the hard case: all singular values of a layer are about equal, so
that the largest few of them are hard to separate from the others.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.merge_page import write_page  # noqa: E402 - needs the path set above
from trainer.config import MergeOptions  # noqa: E402 - needs the path set above

RESULTS = ROOT / "benchmarks" / "results" / "merge-cpu.json"
RANK = 32
FILES = ("a.safetensors", "b.safetensors")
# What every command that combines files loads before it looks at one.
METHODS = get_args(MergeOptions.model_fields["method"].annotation)
IMPORTS = "from trainer.commands.libraries import quiet_libraries; quiet_libraries()"
LORASMITH = (sys.executable, "-m", "app.cli")
# Row of the table to what is typed, of which OUT becomes the file to write.
ROWS: dict[str, tuple[str, ...]] = {
    **{method: ("merge", *FILES, "--method", method, "--to", "OUT") for method in METHODS},
    "svd, with --signs": ("merge", *FILES, "--signs", "--to", "OUT"),
    "resize --rank 16": ("resize", FILES[0], "--rank", "16", "--to", "OUT"),
    "scale": ("scale", FILES[0], "unet.up_blocks.*=0.6", "--to", "OUT"),
    "inspect": ("inspect", FILES[0]),
    "inspect --singular-values": ("inspect", FILES[0], "--singular-values"),
}


def main() -> None:
    """Measures the rows one after the other, prints them and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ROWS, help="rows to measure")
    parser.add_argument("--rank", type=int, default=RANK, help="of the random files")
    parser.add_argument("--layers", type=int, default=0, help="only so many layers; 0 takes all")
    parser.add_argument(
        "--results", type=Path, help="where to write; rows of the same work in it stay"
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        from benchmarks.merge_files import write_files

        layers = write_files([args.inside / name for name in FILES], args.rank, args.layers)
        print(json.dumps(layers))
        return
    results = measure(args.only or list(ROWS), args.rank, args.layers)
    whole = not (args.only or args.layers or args.rank != RANK)
    path = args.results or (RESULTS if whole else None)
    if path is not None:
        results = keep_rows(path, results)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if path is not None and path.resolve() == RESULTS:
        write_page(results)


def keep_rows(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Returns the results with the rows that a file holds of the same work on the same machine."""
    if not path.exists():
        return results
    before = json.loads(path.read_text(encoding="utf-8"))
    if any(before[key] != results[key] for key in ("machine", "work")):
        return results
    rows = before["rows"] | results["rows"]
    return results | {"rows": {name: rows[name] for name in ROWS if name in rows}}


def measure(rows: Sequence[str], rank: int, layers: int) -> dict[str, Any]:
    """Returns the measurements of some rows, with what they were made on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A process of its own: a child's peak counts what its parent held when it was started.
        size = (f"--rank={rank}", f"--layers={layers}", f"--inside={folder}")
        made = subprocess.run(
            [sys.executable, __file__, *size], check=True, stdout=subprocess.PIPE, text=True
        )
        results = describe_setting(rank, json.loads(made.stdout), folder)
        print(f"{'':24} {'seconds':>8} {'processor':>10} {'memory':>9}")
        results["imports"] = run_apart((sys.executable, "-c", IMPORTS), folder)
        print_row("imports alone", results["imports"])
        results["rows"] = {}
        for row in rows:
            # A few layers are a file that programs stumble over, which takes --force to write.
            force = ("--force",) if layers and "--to" in ROWS[row] else ()
            results["rows"][row] = measure_row((*ROWS[row], "--json", *force), folder)
            print_row(row, results["rows"][row])
    return results


def measure_row(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """Returns the cost of a command of `lorasmith`, and its report about the result."""
    output = folder / "result.safetensors"
    places = {"OUT": str(output), **{name: str(folder / name) for name in FILES}}
    row = run_apart((*LORASMITH, *(places.get(word, word) for word in arguments)), folder)
    report = json.loads((folder / "printed").read_text(encoding="utf-8"))
    row["load_before"] = row.pop("load_before")
    if output.exists():
        row["file_bytes"] = output.stat().st_size
        output.unlink()
    return row | {key: report[key] for key in ("lost", "cut") if key in report}


def run_apart(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """Runs a command; returns its seconds and its peak, and leaves what it printed in a file."""
    load = os.getloadavg()[0]
    with (folder / "printed").open("w", encoding="utf-8") as printed:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * unit,
        "load_before": load,
    }


def describe_setting(rank: int, layers: int, folder: Path) -> dict[str, Any]:
    """Returns what was measured, and on which machine."""
    return {
        "command": "OMP_NUM_THREADS=2 python benchmarks/merge.py",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
            "versions": {name: version(name) for name in ("torch", "numpy", "safetensors")},
        },
        "work": {
            "files": len(FILES),
            "layers": layers,
            "rank": rank,
            "file_bytes": (folder / FILES[0]).stat().st_size,
        },
    }


def print_row(name: str, row: dict[str, Any]) -> None:
    """Prints a line of the table."""
    print(
        f"{name:24} {row['seconds']:8.1f} {row['processor_seconds']:10.1f} "
        f"{row['peak_bytes'] / 1e6:6.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
