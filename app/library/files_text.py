"""What the Library tab says about one LoRA file."""

import shlex
from pathlib import Path

FILE = "File"
ABOUT = "What is in this file?"
LOOKING = "Looking into the file. This takes some seconds…"
PROGRAMS = "Which programs load it"
LOADS = {"yes": "loads it", "partly": "loads a part of it", "no": "does not load it"}
FINDINGS = "Check"
NO_FINDINGS = "Nothing to complain of: names, shapes, hashes and header are as programs expect."
SEVERITIES = {"error": "Wrong", "warning": "Worth a look", "note": "Good to know"}
SHARE = "Share it: Civitai and Hugging Face"
SHARE_INFO = (
    "Nothing is uploaded from this page. Both packs hold the file, samples and texts; the upload "
    "to the hub is a command, which takes the token from HF_TOKEN or the keyring."
)
PACK_CIVITAI = "Make a zip for Civitai"
PACK_HUB = "Make a folder for Hugging Face"
PACKING = "Packing. This takes some seconds…"
UPLOAD = "Upload to the hub, in a terminal"
UPLOAD_INFO = "Put your own OWNER/NAME in. Leave --private out to show it to everybody."
CONTINUE = "Train further from this file"
SETTINGS = "Open its settings"
FILE_GONE = "This file is not there any more. Choose another one."
FACT_SIZE = "Size"
FACT_FAMILY = "For"
FACT_KIND = "Kind"
FACT_TRIGGER = "Trigger word"
FACT_TAGS = "Commonest tags"
FACT_PREDICTION = "Prediction"
FACT_BASE = "Trained on"
FACT_FILE = "File"
FACT_TRAINING = "Training"
FACT_HASH = "Hash"
BY_ITS_HEADER = " (by what its header says)"


def component(modules: int, of: int, kinds: str, ranks: str, alphas: str) -> str:
    """What a file changes in one model."""
    share = f"{modules} of {of} layers" if of else f"{modules} layers"
    strength = f"alpha {alphas}" if alphas else "no alpha"
    return f"{share}, {kinds}, rank {ranks}, {strength}"


def file_fact(size: str, precision: object, naming: object) -> str:
    """What a file is on the disk."""
    return ", ".join(part for part in (size, str(precision or ""), f"{naming} names") if part)


def other_hash(digest: str, stated: str) -> str:
    """A header that tells another hash than the weights have."""
    return f"{digest}, but the header says {stated}"


def inspect_failed(message: str) -> str:
    """A file that cannot be looked into."""
    return f"The file could not be looked into: {message}"


def pack_failed(message: str) -> str:
    """A pack that was not made."""
    return f"Nothing was packed: {message}"


def download_pack(name: str) -> str:
    """The link to a pack."""
    return f"Download {name}"


def upload_command(path: Path) -> str:
    """What is typed to bring a file to the hub."""
    file, folder = shlex.quote(str(path)), shlex.quote(f"{path.stem}-hub")
    pack = f"lorasmith bundle {file} --hub {folder}"
    return f"{pack} && lorasmith upload {folder} OWNER/NAME --private"
