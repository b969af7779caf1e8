"""Models in the layout of transformers: checked, read without running foreign code, and asked.

Only a folder on the disk is ever read, with the library off line; weights only from safetensors,
because a pickle can run code; and images are prepared by Pillow, so torchvision is not needed.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from datasets_tools.captioners.options import CaptionerOptions, Describe
from datasets_tools.captioners.wording import tidy_caption
from datasets_tools.errors import DatasetError, show_name

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What transformers raises on files that do not fit, and torch where memory is short.
_TROUBLE = (OSError, ValueError, LookupError, ImportError, RuntimeError, AttributeError, TypeError)
_LONGEST_QUOTE = 200
_OTHER_MODEL = "Check that it is the right kind of model, or download it again."
_OTHER_IMAGE = "Save the image in an ordinary size and shape, or caption it by hand."


class Pretrained:
    """A loaded model with what prepares images for it and reads its answers.

    Args:
        folder: The model's folder.
        model_class: Of transformers, by name.
        options: For the device and the length of captions.
        half: Takes two bytes per weight on a CPU, too; on other devices that is always so.

    Raises:
        DatasetError: it is no such model, or cannot be loaded; with what to do.
    """

    def __init__(
        self, folder: Path, model_class: str, options: CaptionerOptions, *, half: bool = False
    ) -> None:
        check_folder(folder)
        self._name, self._options = show_name(folder), options
        self.device = choose_device(options.device)
        with explain_trouble(f"The captioner in {self._name} cannot be loaded", _OTHER_MODEL):
            self.processor, self.model = _load(folder, model_class, self.device, half=half)

    def prepare(self, image: Image.Image, text: str | None) -> Any:
        """Returns what the model is given: a batch of one, on its device."""
        texts = None if text is None else [text]
        inputs = self.processor(images=[image], text=texts, return_tensors="pt")
        return inputs.to(self.device, self.model.dtype)

    def write(self, inputs: Any, max_tokens: int, beams: int = 1, skip: int = 0) -> str:
        """Returns what the model writes, always the same for the same inputs.

        Args:
            inputs: From `prepare`.
            max_tokens: It stops after so many.
            beams: So many ways to go on are followed.
            skip: So many tokens of the answer repeat what it was asked.
        """
        import torch

        # A model's own settings may ask for chance, and transformers warns of what is then unused.
        with torch.inference_mode():
            written = self.model.generate(
                **inputs,
                max_new_tokens=max_tokens,
                num_beams=beams,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
            )
        text: str = self.processor.batch_decode(written[:, skip:], skip_special_tokens=True)[0]
        return text

    def describe_with(self, caption_image: Callable[[Image.Image], str]) -> Describe:
        """Returns a captioner whose words are tidy and whose troubles are sentences."""

        def describe(image: Image.Image) -> str:
            with explain_trouble(f"{self._name} cannot describe this image", _OTHER_IMAGE):
                return tidy_caption(caption_image(image), self._options.max_words)

        return describe


def check_folder(folder: Path) -> None:
    """Looks at the names in a model's folder.

    Raises:
        DatasetError: it has no config, or its weights are missing or a pickle.
    """
    name = show_name(folder)
    if not (folder / "config.json").is_file():
        msg = f"{name} is not a captioner: it has no config.json. Choose the folder of a model."
        raise DatasetError(msg)
    if next(folder.glob("*.safetensors"), None) is not None:
        return
    if any(path.suffix in _PICKLES for path in folder.iterdir()):
        msg = (
            f"{name} has its weights only as a pickle, which can run code when it is read. Choose "
            "a model with .safetensors files."
        )
        raise DatasetError(msg)
    raise DatasetError(f"{name} has no weights: there is no .safetensors file. Download it again.")


def choose_device(name: str) -> Any:
    """Returns the torch device of that name; "auto" takes the fastest there is.

    Raises:
        DatasetError: this computer has no such device.
    """
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((each for each, there in has.items() if there), "cpu"))
    if not has.get(name, True):
        msg = f"--device is {name}, but PyTorch finds none here. Choose auto or cpu."
        raise DatasetError(msg)
    return torch.device(name)


@contextlib.contextmanager
def explain_trouble(what: str, remedy: str) -> Iterator[None]:
    """Turns an error of the libraries into a sentence that begins with `what`.

    Raises:
        DatasetError: with the library's own first line, and the remedy.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (*_TROUBLE, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        detail = next((line for line in lines if line), type(error).__name__)[:_LONGEST_QUOTE]
        if "out of memory" in str(error).lower():
            detail, remedy = "out of memory", "Choose a smaller model, or cpu for --device."
        if isinstance(error, ImportError):
            remedy = "Install what is missing, or choose another model."
        raise DatasetError(f"{what}: {detail.rstrip(' .:')}. {remedy}") from error


def _load(folder: Path, model_class: str, device: Any, *, half: bool) -> tuple[Any, Any]:
    import transformers

    _quiet_library()
    local = {"local_files_only": True, "trust_remote_code": False}
    config = transformers.AutoConfig.from_pretrained(folder, **local)
    kind = getattr(transformers, model_class)
    if not isinstance(config, getattr(kind, "config_class", type(config))):
        msg = f"its config.json describes a {config.model_type}"
        raise ValueError(msg)
    processor = _load_processor(folder, config, local)
    model, report = kind.from_pretrained(
        folder,
        config=config,
        dtype=_choose_dtype(device, half=half),
        use_safetensors=True,
        output_loading_info=True,
        **local,
    )
    # What a file lacks is filled with random numbers, of which the library only warns.
    made_up = set(report["missing_keys"])
    matrices = [n for n, weight in model.named_parameters() if n in made_up and weight.dim() > 1]
    if matrices:
        msg = f"it lacks {len(matrices)} of the weights, such as {matrices[0]}"
        raise ValueError(msg)
    return processor, model.to(device).eval()


def _load_processor(folder: Path, config: Any, local: dict[str, bool]) -> Any:
    from transformers import AutoImageProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    if type(config) not in PROCESSOR_MAPPING:
        msg = f"a {config.model_type} does not look at images"
        raise ValueError(msg)
    kind: Any = PROCESSOR_MAPPING[type(config)]
    settings, _ = kind.get_processor_dict(folder, local_files_only=True)
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, backend="pil", **local),
        "tokenizer": AutoTokenizer.from_pretrained(folder, **local),
    }
    images_only: Any = type(kind.__name__, (_ImagesOnly, kind), {})
    return images_only.from_args_and_dict(
        [parts.get(name) for name in kind.get_attributes()], settings
    )


class _ImagesOnly:
    """In front of a processor's class: parts for video and sound, which need more, may be None."""

    def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
        """Checks the parts that are there."""
        if part is None:
            return None
        return super().check_argument_for_proper_class(name, part)  # type: ignore[misc]


def _choose_dtype(device: Any, *, half: bool) -> Any:
    import torch

    if device.type == "cpu":
        return torch.bfloat16 if half else torch.float32
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if bf16 else torch.float16


def _quiet_library() -> None:
    """Keeps transformers off the network and its bars and hints off the terminal."""
    import huggingface_hub.constants
    import transformers

    huggingface_hub.constants.HF_HUB_OFFLINE = True
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
