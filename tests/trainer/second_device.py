"""A device beside the CPU, in Python: real numbers, and an error where two devices are mixed.

    python -m tests.trainer.second_device REQUEST.json REPORT.json

trains runs on it, in a process of its own because PyTorch knows one such device per process. It
stands for a GPU as far as places go: an operation on tensors of both devices fails at its line, as
it does on CUDA, also in the backward pass, the optimiser and the samples; copies between the two
and numbers that Python reads from the device, for which a GPU would have to be waited for, are
counted. It computes on the CPU, so that results can be compared. What it cannot show: CUDA's own
kernels, autocast and its casts, streams, pinned memory, and what only CUDA refuses.
"""

import contextlib
import json
import sys
import traceback
from collections import Counter
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "second"
ROOT = Path(__file__).resolve().parents[2]
_aten = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
# CUDA takes these from the main memory, too.
_TAKE_INDICES = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default}
_FROM_LISTS = {torch.tensor, torch.as_tensor}
_REAL_GENERATOR = torch.Generator


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]


backend_registration._setup_privateuseone_for_python_backend(NAME, _Backend())
DEVICE = torch.device(NAME, 0)


class DeviceTensor(torch.Tensor):
    """A tensor on the device; `host` has its numbers."""

    @staticmethod
    def __new__(cls, host):
        return torch.Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(),
            dtype=host.dtype, device=DEVICE,
        )  # fmt: skip

    def __init__(self, host):
        self.host = host

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self):
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class DeviceGenerator(_REAL_GENERATOR):
    """A generator of the device, with the numbers of the CPU's."""

    @property
    def device(self):
        return DEVICE


def _make_generator(device="cpu"):
    is_there = torch.device(device).type == NAME
    return DeviceGenerator() if is_there else _REAL_GENERATOR(device)


class Traffic:
    """Counts copies and reads, and the lines of the project at which they happen."""

    def __init__(self):
        self.lines = Counter()

    def note(self, kind):
        own = [
            f"{Path(frame.filename).relative_to(ROOT).as_posix()}: {frame.name}"
            for frame in traceback.extract_stack()
            if frame.filename.startswith((f"{ROOT}/trainer", f"{ROOT}/datasets_tools"))
        ]
        self.lines[kind, own[-1] if own else "?"] += 1


TRAFFIC = Traffic()


def _run(func, args, kwargs):
    """Runs an operation on the numbers; returns its result on the device it belongs to."""
    tensors = []
    args, kwargs_below = _lower(args, tensors), _lower(kwargs, tensors)
    on_device = [each for each in tensors if isinstance(each, DeviceTensor)]
    named = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if func in _COPIES:
        is_new = func is _aten._to_copy.default
        target = (named or tensors[0].device) if is_new else tensors[0].device
        lands = target.type == NAME
        if lands != isinstance(tensors[-1], DeviceTensor):
            TRAFFIC.note("to the device" if lands else "from the device")
    else:
        _refuse_mixture(func, tensors, on_device)
        lands = named.type == NAME if named else bool(on_device)
    known = {id(each.host): each for each in on_device}
    result = func(*args, **kwargs_below)
    return _lift(result, known) if lands else result


def _refuse_mixture(func, tensors, on_device):
    if func is _aten._local_scalar_dense.default:
        if on_device:
            TRAFFIC.note("read")
        return
    if func in _TAKE_INDICES:
        if any(not isinstance(each, DeviceTensor) for each in tensors) and on_device:
            TRAFFIC.note("to the device")
        return
    # A number in a tensor without axes may come from the main memory.
    others = [each for each in tensors if not isinstance(each, DeviceTensor) and each.dim()]
    if on_device and others:
        places = [(str(each.device), tuple(each.shape)) for each in tensors]
        msg = f"{func} mixes two devices: {places}"
        raise RuntimeError(msg)


def _lower(value, tensors):
    """Returns a value as the CPU takes it, and adds all tensors in it to a list."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return value.host if isinstance(value, DeviceTensor) else value
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == NAME else value
    if isinstance(value, list | tuple):
        return type(value)([_lower(each, tensors) for each in value])
    if isinstance(value, dict):
        return {key: _lower(each, tensors) for key, each in value.items()}
    return value


def _lift(value, known):
    """Returns a result on the device; what was changed in place is the tensor that it was."""
    if isinstance(value, torch.Tensor) and not isinstance(value, DeviceTensor):
        return known[id(value)] if id(value) in known else DeviceTensor(value)
    if isinstance(value, list | tuple):
        return type(value)([_lift(each, known) for each in value])
    return value


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        place = kwargs.get("device")
        place = torch.device(place) if place is not None else None
        if (generator := kwargs.get("generator")) is not None:
            like = args[0].device if args and isinstance(args[0], torch.Tensor) else None
            target = place or like or torch.device("cpu")
            if isinstance(generator, DeviceGenerator) != (target.type == NAME):
                msg = f"{func} gets a generator of {generator.device} for {target}"
                raise RuntimeError(msg)
        if func is torch.Tensor.tolist and isinstance(args[0], DeviceTensor):
            TRAFFIC.note("read")  # which subclasses of tensors do not have
            return args[0].host.tolist()
        if func in _FROM_LISTS and place is not None and place.type == NAME:
            del kwargs["device"]
            return func(*args, **kwargs).to(place)
        return func(*args, **kwargs)


@contextlib.contextmanager
def second_device():
    """Has whatever asks for a device context get this one while the block runs."""
    from dataclasses import replace

    from trainer import device as device_module
    from trainer.device_kinds import DEVICE_KINDS
    from trainer.optim import optimizers

    real = device_module.open_device_context

    def open_second(_device="auto", precision="auto", process=0):
        return replace(real("cpu", precision, process), device=DEVICE)

    users = [
        module
        for module in list(sys.modules.values())
        if getattr(module, "open_device_context", None) is real
    ]
    DEVICE_KINDS[NAME] = replace(DEVICE_KINDS["cpu"], shares_memory=False)
    for module in users:
        module.open_device_context = open_second
    torch.Generator, fused = _make_generator, optimizers.FUSED
    optimizers.FUSED = fused | {NAME}
    try:
        with _Operations(), _Functions():
            yield
    finally:
        torch.Generator, optimizers.FUSED = _REAL_GENERATOR, fused
        for module in users:
            module.open_device_context = real
        del DEVICE_KINDS[NAME]


def _train(folder, base_model, images, settings, where):
    """Trains a run; returns its exported weights and the traffic of its last step."""
    from safetensors.torch import load_file

    from trainer.commands import train
    from trainer.config import layer_config
    from trainer.runs import create_run
    from trainer.training import loop

    tree = {
        "name": "pico",
        "base_model": {"path": str(base_model), "precision": "fp32"},
        "dataset": {"path": str(images), "trigger": "zorp", "resolution": 32, "bucket_step": 4},
        "adapter": {"rank": 4, "alpha": 2.0, "conv_rank": 2, "conv_alpha": 3.0, "text_rank": 2},
        "train": {"steps": 4, "batch_size": 2, "device": "cpu", "log_every_steps": 4},
        "samples": {"every_steps": 0, "inference_steps": 2},
        "output": {"checkpoint_every_steps": 2, "precision": "fp32"},
    }
    run = create_run(folder / where, layer_config(settings=tree, assignments=settings))
    real, traffic = loop.take_step, []

    def take_step(session, batches):
        TRAFFIC.lines.clear()
        loss = real(session, batches)
        traffic.append(dict(TRAFFIC.lines))
        return loss

    loop.take_step = take_step
    try:
        with second_device() if where == NAME else contextlib.nullcontext():
            train(run, folder / f"cache-{where}")
    finally:
        loop.take_step = real
    weights = {name: load_file(path) for path in run.list_exports() for name in [path.name]}
    return weights, traffic[-1]


def compare(folder, request):
    """Returns for each set of settings how far the files are apart, or what went wrong."""
    report, paths = {}, (request["base_model"], request["images"])
    for number, (name, settings) in enumerate(request["settings"].items()):
        place = folder / f"run-{number}"
        settings = [each.replace("{folder}", str(folder)) for each in settings]
        try:
            ours, _ = _train(place, *paths, settings, "cpu")
            theirs, traffic = _train(
                place, request["base_model"], request["images"], settings, NAME
            )
            report[name] = {
                "distance": _measure_distance(ours, theirs),
                "traffic": {f"{kind}, {line}": n for (kind, line), n in traffic.items()},
            }
        except Exception as error:  # noqa: BLE001 - reported, and the others go on
            report[name] = {"error": str(error).partition("\n")[0], "trace": traceback.format_exc()}
    return report


def _measure_distance(ours, theirs):
    """Returns the largest difference over the largest weight, over all tensors of all files."""
    assert ours.keys() == theirs.keys()
    largest = 0.0
    for name, tensors in ours.items():
        assert tensors.keys() == theirs[name].keys()
        for key, value in tensors.items():
            size = max(value.float().abs().max().item(), 1e-12)
            apart = (value.float() - theirs[name][key].float()).abs().max().item()
            largest = max(largest, apart / size)
    return largest


def main(request, report):
    asked = json.loads(Path(request).read_text())
    found = compare(Path(request).parent, asked)
    Path(report).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
