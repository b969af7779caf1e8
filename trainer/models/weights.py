"""The tensors of a base model's files: which is which, is every one there, and reading them."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader

import torch
from torch import Tensor, nn

from trainer.dtypes import STORED_DTYPES
from trainer.formats.families import FAMILIES
from trainer.formats.header import TensorEntry, TensorFile
from trainer.models.check import BaseModelInfo
from trainer.models.errors import ModelError
from trainer.models.layouts import NAMINGS, Shape, Source
from trainer.models.parts import Part

# What checkpoints carry besides the models: schedules, averages, losses, markers, leftovers.
_HARMLESS = re.compile(
    r"model_ema\..*|(.*\.)?position_ids|(.*\.)?logit_scale|(.*\.)?attn_mask"
    r"|first_stage_model\.(loss|model_ema)\..*|loss\..*"
    r"|cond_stage_model\.model\.text_projection"
    r"|(.*transformer\.)?text_projection\.weight"
    r"|(alphas_cumprod|sqrt_|log_one_minus_|posterior_).*"
    r"|betas|lvlb_weights|logvar|scale_factor|denoiser\.sigmas|global_step|v_pred|ztsnr"
)


@dataclass(frozen=True)
class Stored:
    """A tensor of a model, and where it is stored.

    Attributes:
        file: The file that holds it.
        name: Its name there.
        source: In which form.
        shape: Its shape in the model.
    """

    file: TensorFile
    name: str
    source: Source
    shape: Shape

    @property
    def entry(self) -> TensorEntry:
        """Where in the file it lies."""
        return self.file.tensors[self.name]


def locate_tensors(
    part: Part, shapes: Mapping[str, Shape], info: BaseModelInfo
) -> dict[str, Stored]:
    """Returns where each tensor of a model is stored.

    Args:
        part: Where the model is found.
        shapes: The shapes of its tensors, by name.
        info: The base model, for messages.

    Raises:
        ModelError: tensors are missing or have another shape or number format.
    """
    holders = {name: file for file in part.files for name in file.tensors}
    sources = NAMINGS[part.naming](shapes, part.config)
    located, missing = {}, []
    for target, source in sources.items():
        names = [part.prefix + name for name in source.names]
        name = next((name for name in names if name in holders), None)
        if name is None:
            missing.append(names[0])
            continue
        located[target] = Stored(holders[name], name, source, shapes[target])
        _check_stored(located[target], part, info)
    if missing:
        msg = (
            f"{_name_files(part, info)} lacks {_count(missing)} of {_kind(info)}, the first is "
            f"{min(missing)}. {_find_remedy(part, info)}"
        )
        raise ModelError(msg)
    return located


def refuse_extras(info: BaseModelInfo, plans: Mapping[str, Mapping[str, Stored]]) -> None:
    """Refuses files that hold tensors which belong to no model.

    Args:
        info: The base model.
        plans: Where each part's tensors are stored, by the part's name.
    """
    used = {(stored.file.path, stored.name) for plan in plans.values() for stored in plan.values()}
    idle = _list_idle_prefixes(info)
    for part in info.parts.values():
        for file in part.files:
            # Of a file that was named for its VAE only the VAE matters.
            prefix = "" if file.path == info.path else part.prefix
            extra = [
                name
                for name in file.tensors
                if (file.path, name) not in used
                and name.startswith(prefix)
                and not name.startswith(idle)
                and not _HARMLESS.fullmatch(name)
            ]
            if extra:
                in_vae = all(name.startswith("first_stage_model.") for name in extra)
                remedy = (
                    _find_remedy(info.parts["vae"], info)
                    if in_vae
                    else "Choose an ordinary model of that family."
                )
                msg = (
                    f"{_name_files(part, info)} holds {_count(extra)} that "
                    f"{'does' if len(extra) == 1 else 'do'} not belong to "
                    f"{_kind(info)}, the first is {min(extra)}. {remedy}"
                )
                raise ModelError(msg)


def read_tensors(plan: Mapping[str, Stored]) -> Iterator[tuple[str, Tensor]]:
    """Yields a model's tensors by name, in the order of the files and in their number format."""
    paths = {stored.file.path: stored.file for stored in plan.values()}
    for path, file in paths.items():
        targets = [target for target, stored in plan.items() if stored.file.path == path]
        targets.sort(key=lambda target: plan[target].entry.start)
        with path.open("rb") as handle:
            for target in targets:
                yield target, _read_tensor(handle, file.body_start, plan[target])


def _read_tensor(handle: BufferedReader, body_start: int, stored: Stored) -> Tensor:
    """Returns one tensor. Read, not mapped: a file that changes later changes nothing here."""
    entry, source = stored.entry, stored.source
    size = entry.end - entry.start
    start = body_start + entry.start
    shape = entry.shape
    if source.form == "third":
        size //= 3
        start += source.third * size
        shape = stored.shape
    elif _has_extra_tokens(stored):
        size = size // shape[0] * stored.shape[0]
        shape = stored.shape
    buffer = torch.empty(size, dtype=torch.uint8)
    handle.seek(start)
    if handle.readinto(buffer.numpy().data) != size:
        msg = f"{stored.file.path} became shorter while it was read. Download it again."
        raise ModelError(msg)
    tensor = buffer.view(STORED_DTYPES[entry.dtype]).reshape(shape)
    return tensor.T.contiguous() if source.form == "transposed" else tensor.reshape(stored.shape)


def _check_stored(stored: Stored, part: Part, info: BaseModelInfo) -> None:
    shapes = stored.source.stored_shapes(stored.shape)
    if stored.entry.shape not in shapes and not _has_extra_tokens(stored):
        expected = list(shapes[0])
        msg = (
            f"{stored.name} in {stored.file.path.name} has the shape {list(stored.entry.shape)}, "
            f"and {expected} in {_kind(info)}. {_find_remedy(part, info)}"
        )
        raise ModelError(msg)
    if stored.entry.dtype not in STORED_DTYPES:
        msg = (
            f"{stored.name} in {stored.file.path.name} is stored as {stored.entry.dtype} (a "
            "quantised model). Choose the base model in fp32, fp16 or bf16."
        )
        raise ModelError(msg)


def _has_extra_tokens(stored: Stored) -> bool:
    """Whether a table of tokens has more rows than CLIP's: they come last and are not read."""
    stored_shape, shape = stored.entry.shape, stored.shape
    return (
        stored.name.endswith("token_embedding.weight")
        and len(stored_shape) == 2
        and stored_shape[0] > shape[0]
        and stored_shape[1:] == shape[1:]
    )


def _find_remedy(part: Part, info: BaseModelInfo) -> str:
    if part is not info.parts.get("vae"):
        return "Download it again, or choose another base model."
    return f"Give a VAE made for {FAMILIES[info.family].title} as base_model.vae."


def _list_idle_prefixes(info: BaseModelInfo) -> tuple[str, ...]:
    """Returns prefixes of tensors that are not used: another VAE's, a layer that is never run."""
    idle = []
    if info.layout == "file":
        idle += [] if info.parts["vae"].files[0].path == info.path else ["first_stage_model."]
        for part in info.parts.values():
            if part.naming == "open_clip":
                # SD 2.x reads the last layer but one; files hold the last one all the same.
                layers = part.config["num_hidden_layers"]
                idle.append(f"{part.prefix}transformer.resblocks.{layers}.")
    return tuple(idle)


def _kind(info: BaseModelInfo) -> str:
    return f"an {FAMILIES[info.family].title} model"


def _count(names: list[str]) -> str:
    return f"{len(names)} tensor" + ("s" if len(names) > 1 else "")


def _name_files(part: Part, info: BaseModelInfo) -> str:
    path = part.files[0].path
    return path.name if info.layout == "file" else f"{path.parent.name}/{path.name} in {info.path}"


def hash_weights(model: nn.Module) -> str:
    """Names a model by its weights: see `hash_tensors`."""
    return hash_tensors(model.state_dict())


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Returns a SHA-256 over the names, types, shapes and bytes of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
