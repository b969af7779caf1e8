"""How long the dataset check takes for 1,000 photographs of 2 megapixels, and when it is reopened.

    python benchmarks/check_speed.py --photographs FOLDER [--count 1000]

FOLDER is that of `check_up.py`. Prints wall and CPU seconds and the largest memory, with small
copies for the page made on the way; reopening is a new process that has only the cache.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from check_up_images import PHOTOGRAPHS  # noqa: E402
from PIL import Image  # noqa: E402

from datasets_tools.checks.cache import MeasureCache  # noqa: E402
from datasets_tools.checks.report import check_dataset  # noqa: E402
from datasets_tools.checks.scan import measure_folder  # noqa: E402

SIZE = (1632, 1224)


def make_dataset(folder: Path, photographs: Path, count: int) -> None:
    """Writes JPEGs, parts of photographs enlarged to 2 megapixels, each another part."""
    rng = random.Random(0)
    sources = [Image.open(photographs / name).convert("RGB") for name in PHOTOGRAPHS]
    for number in range(count):
        source = sources[number % len(sources)]
        width = rng.uniform(0.4, 0.7) * min(source.width, source.height * 4 / 3)
        left = rng.uniform(0, source.width - width)
        top = rng.uniform(0, source.height - width * 3 / 4)
        box = (left, top, left + width, top + width * 3 / 4)
        image = source.resize(SIZE, Image.Resampling.BICUBIC, box=box)
        image.save(folder / f"{number:04d}.jpg", quality=90)
        (folder / f"{number:04d}.txt").write_text(f"image {number}", encoding="utf-8")


def run(folder: Path, cache_path: Path, small: Path) -> dict[str, float]:
    """Returns the seconds of measuring and of checking, and the largest memory."""
    started, cache = time.perf_counter(), MeasureCache(cache_path)
    measure_folder(folder, cache, None, lambda content: small / f"{content[:32]}.webp")
    measured = time.perf_counter()
    report = check_dataset(folder, cache=cache)
    ended = time.perf_counter()
    return {
        "images": len(report.examples),
        "findings": len(report.findings),
        "measuring_seconds": round(measured - started, 2),
        "checking_seconds": round(ended - measured, 2),
        "cpu_seconds": round(time.process_time(), 2),
        "largest_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Runs the benchmark; with --run only one part of it, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--run", nargs=3, type=Path)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(*args.run)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder, small = Path(place, "set"), Path(place, "small")
        folder.mkdir()
        small.mkdir()
        make_dataset(folder, args.photographs, args.count)
        for name in ("first", "reopened"):
            command = [sys.executable, __file__, "--run", folder, Path(place, "c.npz"), small]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(name, done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
