"""Stand-ins for the commands that answer the app in JSON; what they say depends on the names.

They take no time. Where a test closes a gate they wait: in the middle of a download at `download`,
before the picture N is captioned at `caption-N`.
"""

import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path

from app.commands.downloads import save_measured
from datasets_tools.captioning import caption_folder
from tests.gates import wait_at
from trainer.config import read_config

STEP_BYTES = 10 * 1024**3


def models(args):
    path = Path(args[0])
    found = {"name": path.name, "path": str(path), "bytes": 2 * 1024**3, "message": ""}
    found |= {"layout": "file" if path.is_file() else "folder", "zero_snr": "noob" in path.name}
    found |= {"family": "sd15", "prediction": "epsilon", "public": path.is_file()}
    if "xl" in path.name:
        found |= {"family": "sdxl"}
    if "v-pred" in path.name:
        question = f"{path.name} does not say what it predicts: v (likely) or the noise?"
        found |= {"prediction": "v_prediction", "message": question}
    if "flux" in path.name:
        found |= {"family": "", "prediction": "", "message": f"{path.name} is a Flux model."}
    say([found])


def download(args):
    hub_id = args[0]
    if hub_id.startswith("nobody/"):
        sys.exit(f"lorasmith: There is no {hub_id} on the hub. Check the spelling.")
    for tenth in range(10):
        print(json.dumps({"event": "download", "done": tenth * 10**8, "total": 10**9}), flush=True)
        if tenth == 5:
            wait_at("download")
    folder = find_option(args, "workspace") / "models" / hub_id.replace("/", "--")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text("{}")
    print(json.dumps({"event": "done", "path": str(folder)}))


def estimate(args):
    config = read_config(Path(args[args.index("--config") + 1]))
    size = STEP_BYTES if config.train.batch_size > 1 else STEP_BYTES // 4
    saved = {"train.batch_size": 1, "train.accumulate": 8}
    less = {"adapter.text_rank": 0}
    suggestions = [
        {"settings": saved, "cost": "Slower.", "peak_bytes": size // 2, "needed_bytes": size // 2,
         "fits": False},
        {"settings": less, "cost": "The text encoder is not trained.", "peak_bytes": size // 4,
         "needed_bytes": size // 4, "fits": True},
    ]  # fmt: skip
    free = STEP_BYTES // 3
    phases = [{"name": "encoding images", "peak_bytes": size // 5},
              {"name": "training step", "peak_bytes": size}]  # fmt: skip
    fits = size <= free
    say({"device": "cuda in bf16", "phases": phases, "peak_bytes": size, "needed_bytes": size,
         "free_bytes": free, "fits": fits, "suggestions": [] if fits else suggestions})  # fmt: skip


def header(args):
    config = read_config(Path(args[args.index("--config") + 1]))
    told = {"modelspec.title": config.name, "modelspec.thumbnail": "data:image/jpeg;base64,AAAA"}
    if config.output.header == "full":
        told |= {"ss_steps": str(config.train.steps), "ss_note": "${alert(1)}<img src=x>"}
    say(told)


def inspect(args):
    path = Path(args[0])
    if "--measure" in args:
        measure(path, args)
        return
    if "broken" in path.name:
        sys.exit(f"lorasmith: {path.name} contains no adapter. Choose a LoRA file.")
    if "--spectrum" in args:
        based = any(arg.startswith("--base-model=") for arg in args)
        layers = [{"layer": f"unet.mid_block.resnets.{place}.conv1", "kind": "lora", "rank": 8,
                   "norm": 2.0 - place, "relative_norm": 0.25 * based, "effective_rank": 3.5,
                   "energy": {"1": 0.5, "2": 0.8, "4": 0.995, "8": 1.0}, "values": []}
                  for place in range(2)]  # fmt: skip
        say({"name": path.name, "family": "sdxl", "layers": layers})
        return
    part = {"name": "UNet", "modules": 192, "of": 0, "kinds": {"LoRA": 192}}
    programs = [
        {"program": "ComfyUI", "loads": "yes", "reasons": []},
        {"program": "A1111", "loads": "no", "reasons": ["It refuses the file: <b>names</b>."]},
    ]
    say({"name": path.name, "bytes": path.stat().st_size, "family": "SDXL", "certain": True,
         "kinds": ["LoRA"], "naming": "kohya", "precision": "fp16", "trigger": "tabbycat",
         "components": [part | {"ranks": {"16": 192}, "alphas": {"8.0": 192}}], "tags": ["a cat"],
         "prediction": "epsilon", "base_model": "dreamy", "training": {"steps": "30"},
         "digest": "12ab", "stated_digest": "34cd", "programs": programs,
         "findings": ["warning: The header tells another hash. A1111: shows it."]})  # fmt: skip


def measure(path, args):
    """Measures a flow, on images where a dataset is named; a name with "odd" fits no kind."""
    if "broken" in path.name:
        sys.exit(f"lorasmith: {path.name} is damaged. Download it again.")
    for done in range(1, 25):
        say_event(event="measure", done=done, total=24)
        if done == 6:
            wait_at("measure")
    images = [arg.partition("=")[2] for arg in args if arg.startswith("--images=")]
    shown = f"8 images of {Path(images[0]).name}" if images else "8 images of plain shapes"
    kind = "" if "odd" in path.name else "flow"
    message = f"{path.name} predicts a flow, by measurement (on {shown})."
    if not kind:
        message = f"What {path.name} predicts could not be measured."
    evidence = [
        {"timestep": step, "noise": 0.9, "image": -0.9 * ratio, "ratio": ratio, "explained": 0.9}
        for step, ratio in ((60, 1.05), (250, 0.84), (750, 0.69))
    ]
    save_measured(find_option(args, "workspace"), path, kind, message)
    say_event(event="done", measured={
        "prediction": kind, "margin": 0.42, "message": message, "evidence": evidence,
        "distances": {"flow": 0.12, "v_prediction": 0.54, "epsilon": 0.72}})  # fmt: skip


def bundle(args):
    for option in ("--civitai", "--hub"):
        if option not in args:
            continue
        to = Path(args[args.index(option) + 1])
        if option == "--hub":
            to.mkdir()
            to = to / "README.md"
        to.write_bytes(b"packed")
    say({"done": True})


def convert(args):
    find_option(args, "output").write_bytes(b"converted")
    say({"layers": 192, "embeddings": []})


def caption(args):
    """Captions for real, with made-up words: the first picture is red, the next one is blue …"""
    folder = Path(args[0])
    if "dies" in folder.name:
        sys.exit("lorasmith: The captioner is damaged. Download it again.")
    place = find_option(args, "workspace") / "captioners" / str(find_option(args, "captioner"))
    if not place.exists():
        for tenth in range(1, 11):
            say_event(event="download", done=tenth * 10**8, total=10**9)
        place.mkdir(parents=True)
    say_event(event="load")
    colours = itertools.cycle(("red", "blue", "green"))
    numbers = itertools.count(1)

    def describe(image):
        wait_at(f"caption-{next(numbers)}")
        colour, (low, high) = next(colours), image.convert("L").getextrema()
        return f"a {colour} cat" if low < high else ""

    existing = str(find_option(args, "existing"))
    tally = caption_folder(
        folder, describe, existing, lambda one: say_event(event="caption", **asdict(one)),
        f"Suggested by {place.name}",
    )  # fmt: skip
    say_event(event="done", **tally)


def say_event(**event):
    print(json.dumps(event), flush=True)


def find_option(args, name):
    return next(Path(arg.partition("=")[2]) for arg in args if arg.startswith(f"--{name}="))


def say(answer):
    print(json.dumps(answer, ensure_ascii=False, indent=1))


JOBS = {"models": models, "download": download, "estimate": estimate, "header": header,
           "inspect": inspect, "bundle": bundle, "convert": convert,
        "caption": caption}  # fmt: skip
