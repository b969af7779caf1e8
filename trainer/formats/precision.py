"""The number formats of tensors: what settings, PyTorch and safetensors files call each of them.

The only such table: every name, size and code is read from here, and `trainer.dtypes`
gives PyTorch's dtypes for it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

PrecisionName = Literal["fp16", "bf16", "fp32"]
PRECISIONS: tuple[str, ...] = get_args(PrecisionName)


@dataclass(frozen=True)
class NumberFormat:
    """One number format.

    Attributes:
        code: In the header of a safetensors file.
        bytes: Of one number.
        dtype: Name of PyTorch's dtype; "" where no model is stored in it.
        precision: Name in settings; "" where none may ask for it.
        tolerance: Relative error of a change whose two factors were rounded to it, with a margin.
    """

    code: str
    bytes: int
    dtype: str = ""
    precision: str = ""
    tolerance: float = 0.0


NUMBER_FORMATS = (
    # Rounding to fp16 keeps 11 bits, to bf16 8.
    NumberFormat("F16", 2, "float16", "fp16", tolerance=2e-3),
    NumberFormat("BF16", 2, "bfloat16", "bf16", tolerance=2e-2),
    NumberFormat("F32", 4, "float32", "fp32", tolerance=1e-6),
    NumberFormat("F64", 8, "float64"),
    NumberFormat("F8_E4M3", 1, "float8_e4m3fn"),
    NumberFormat("F8_E5M2", 1, "float8_e5m2"),
    NumberFormat("F8_E8M0", 1),
    NumberFormat("F8_E4M3FNUZ", 1),
    NumberFormat("F8_E5M2FNUZ", 1),
    NumberFormat("C64", 8),
    NumberFormat("BOOL", 1),
    NumberFormat("U8", 1),
    NumberFormat("I8", 1),
    NumberFormat("U16", 2),
    NumberFormat("I16", 2),
    NumberFormat("U32", 4),
    NumberFormat("I32", 4),
    NumberFormat("U64", 8),
    NumberFormat("I64", 8),
)
BY_CODE = {each.code: each for each in NUMBER_FORMATS}
BY_PRECISION = {each.precision: each for each in NUMBER_FORMATS if each.precision}


def name_precision(code: str) -> str:
    """Returns the setting for a code of a safetensors file, or the code where there is none."""
    known = BY_CODE.get(code)
    return known.precision or code if known else code
