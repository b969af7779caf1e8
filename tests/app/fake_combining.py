"""Stand-ins for the commands that combine and change files, beside the fake trainer's words.

What they do depends on names: a file called "sdxl" is of another family, "dies" ends the command
halfway. Where a test closes the gate `half` they wait with half of the file written. The LoRA that
comes out says in its header what was asked.
"""

import json
import sys
from pathlib import Path

import numpy
from safetensors.numpy import save

from tests.app.fake_trainer import serve_previews
from tests.gates import wait_at
from trainer.formats.header import FormatError, read_header
from trainer.runs import PreviewFolder


def find_option(args, name, default=""):
    return next((a.partition("=")[2] for a in args if a.startswith(f"--{name}=")), default)


def run(task, args):
    to = Path(find_option(args, "to"))
    files = [Path(a.rpartition(":")[0] or a) for a in args if ".safetensors" in a and a[0] == "/"]
    for path in files:
        try:
            read_header(path)
        except FormatError as error:
            sys.exit(f"lorasmith: {error}")
    names = [path.name for path in files]
    if any("sdxl" in name for name in names) and task != "extract":
        sys.exit(f"lorasmith: The files were made for different families: {' and '.join(names)}.")
    print("warning: 2 layers have a small alpha [A1111: file refused]", file=sys.stderr, flush=True)
    (to.parent / ".half.body.tmp").write_bytes(b"x" * 2048)
    wait_at("half")
    if any("dies" in name for name in names):
        raise MemoryError("no memory for this")
    (to.parent / ".half.body.tmp").unlink()
    told = {"args": json.dumps([task, *args]), "ss_output_name": to.stem, "modelspec.title": "x"}
    weights = {"x.lora_down.weight": numpy.ones((4, 8), "float16")}
    if task in {"bake", "subtract"} and not to.suffix:
        to.mkdir()
        (to / "model_index.json").write_text("{}")
    else:
        to.write_bytes(save(weights, told))
    print(json.dumps(REPORTS[task] | {"file": str(to)}, indent=1))


KEPT = [
    {"layer": "unet.a", "rank": 2, "before": 8, "energy": 0.9},
    {"layer": "unet.b", "rank": 4, "before": 8, "energy": 0.5},
]
LAYERS = [
    {"layer": f"unet.{name}", "files": [0, 1], "norms": [1, 1], "cosines": [cosine],
     "sign_conflicts": 0.25, "lost": lost, "rank": 4}
    for name, cosine, lost in (("a", 0.7, 0.1), ("b", 0.5, 0.4))
]  # fmt: skip
REPORTS = {
    "merge": {"cosines": [{"files": [0, 1], "cosine": 0.62}], "sign_conflicts": 0.25, "lost": 0.2,
              "cut": 0.15, "layers": LAYERS},
    "resize": {"layers": KEPT},
    "extract": {"layers": KEPT, "equal": 3, "left_out": ["unet.conv_in.weight"]},
    "scale": {"factors": {"unet.a": 1.0, "unet.b": 0.5, "unet.c": 0.0}},
    "bake": {"layers": 2, "rounded": []},
    "subtract": {"layers": 2, "rounded": []},
}  # fmt: skip

if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "preview-worker":
        serve_previews(PreviewFolder(Path(rest[0])))
    else:
        run(what, rest)
