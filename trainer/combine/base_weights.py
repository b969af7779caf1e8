"""A base model's weights by layer name, read one at a time from its files."""

from pathlib import Path

from torch import Tensor, nn

from trainer.formats.families import FAMILIES
from trainer.models import BaseModelInfo, check_base_model
from trainer.models.layers import list_adaptable_layers, list_all_layers, name_layer
from trainer.models.loading import build_model
from trainer.models.weights import Stored, locate_tensors, read_tensors


class BaseWeights:
    """The UNet and the text encoders of a base model, without any weight in memory.

    Args:
        path: A file in the original layout or a folder in the diffusers layout.

    Attributes:
        info: What it is.
        stored: Where each tensor is stored, by name: a layer's name and `.weight` or `.bias`, or
            the like of a norm.
        shapes: Of the weights of all linear and convolution layers, by layer name.
        targets: Names of those layers that LoRA files change.

    Raises:
        ModelError: it is missing, damaged or not a known kind.
    """

    def __init__(self, path: Path) -> None:
        self.info: BaseModelInfo = check_base_model(path)
        self.stored: dict[str, Stored] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.targets: set[str] = set()
        for name, part in self.info.parts.items():
            if name != "vae":
                self._add(name, build_model(name, part.config))

    @property
    def path(self) -> Path:
        """Its file or folder."""
        return self.info.path

    def _add(self, part: str, model: nn.Module) -> None:
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        for key, stored in locate_tensors(self.info.parts[part], shapes, self.info).items():
            self.stored[name_layer(f"{part}.{key}")] = stored
        blocks = FAMILIES[self.info.family].adaptable_blocks
        for each in list_all_layers({part: model}, blocks):
            self.shapes[each.name] = tuple(each.layer.weight.shape)
        self.targets |= {each.name for each in list_adaptable_layers({part: model}, blocks)}

    def read(self, layer: str) -> Tensor:
        """Returns a layer's weight in fp32, in the shape that it has in the model."""
        return self.read_tensor(f"{layer}.weight")

    def read_tensor(self, name: str) -> Tensor:
        """Returns one tensor in fp32, by its name in `stored`."""
        return dict(read_tensors({name: self.stored[name]}))[name].float()
