"""What a single file does not hold and the package brings: configs and CLIP's vocabulary.

So a checkpoint on the disk needs no network. One JSON file per family; the numbers are those of
the public architectures.
"""

import gzip
import json
from pathlib import Path
from typing import Any

from datasets_tools.disk import temporary_folder

CONFIG_FOLDER = Path(__file__).parent / "configs"


def read_config(family: str) -> dict[str, Any]:
    """Returns a family's unet, vae, text_encoders, pad_tokens and scheduler.

    Where the UNet's sample_size depends on what it predicts, sample_sizes lists it.
    """
    text = (CONFIG_FOLDER / f"{family}.json").read_text(encoding="utf-8")
    config: dict[str, Any] = json.loads(text)
    return config


def build_tokenizer(pad_token: str) -> Any:
    """Returns CLIP's tokenizer, built from its merges.

    Args:
        pad_token: What fills a caption up to 77 tokens. It differs between text encoders.
    """
    from transformers import CLIPTokenizer

    with gzip.open(CONFIG_FOLDER / "clip_merges.txt.gz", "rt", encoding="utf-8") as file:
        merges = file.read().splitlines()
    # Versions of transformers disagree about the constructor, but all of them read this folder.
    with temporary_folder() as folder:
        vocabulary = json.dumps(_number_tokens(merges), ensure_ascii=False)
        (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
        (folder / "merges.txt").write_text(
            "\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8"
        )
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77, pad_token=pad_token)


def _number_tokens(merges: list[str]) -> dict[str, int]:
    """Returns the vocabulary: bytes, bytes that end a word, merged pairs, and the two marks."""
    letters = _list_byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}


def _list_byte_letters() -> list[str]:
    """Returns the letters that stand for the 256 bytes, in the order of their token numbers.

    Bytes that print stand for themselves and come first; the others follow, shifted up by 256.
    """
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    return [chr(code) for code in [*printing, *(256 + n for n in range(len(others)))]]
