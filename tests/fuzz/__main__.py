"""Fuzzing for as long as one likes: `make fuzz FUZZ_SECONDS=3600 SEED=1`.

Every case has a seed of its own, which is printed with a fault: `python -m tests.fuzz --case
"image 1/42"` makes and reads that one alone.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.cases import TARGETS, FaultError, run_case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--case", default="", help="a target and a seed, as a fault is reported")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.case:
            name = next(each for each in TARGETS if args.case.startswith(f"{each} "))
            print("read" if run_case(TARGETS[name], args.case[len(name) + 1 :], Path(folder))
                  else "refused")  # fmt: skip
            return 0
        return fuzz(args.targets, args.seed, args.seconds, Path(folder))


def fuzz(names: list[str], seed: str, seconds: float, folder: Path) -> int:
    """Gives each target its share of the time; prints each kind of fault once, and the counts."""
    found: Counter[str] = Counter()
    for name in names:
        counts: Counter[str] = Counter()
        end, number = time.monotonic() + seconds / len(names), 0
        while time.monotonic() < end:
            number += 1
            try:
                counts[
                    "read" if run_case(TARGETS[name], f"{seed}/{number}", folder) else "refused"
                ] += 1
            except FaultError as error:
                counts["faults"] += 1
                kind = f"{name}: {str(error).partition(': ')[2][:60]}"
                found[kind] += 1
                if found[kind] == 1:
                    print(f'\nFAULT  --case "{name} {seed}/{number}"', file=sys.stderr)
                    traceback.print_exception(error.__cause__ or error)
        print(f"{name:<12} {number:>8} cases: {dict(counts)}", flush=True)
    for kind, count in found.most_common():
        print(f"{count:>6} × {kind}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
