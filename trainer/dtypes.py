"""PyTorch's side of the number formats in `trainer.formats.precision`, which knows no PyTorch."""

import torch

from trainer.formats.precision import BY_PRECISION, NUMBER_FORMATS

# By the name of a setting, and by the code of a safetensors file.
DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, each.dtype) for name, each in BY_PRECISION.items()
}
STORED_DTYPES: dict[str, torch.dtype] = {
    each.code: getattr(torch, each.dtype) for each in NUMBER_FORMATS if each.dtype
}
CODES: dict[torch.dtype, str] = {dtype: code for code, dtype in STORED_DTYPES.items()}
