"""Every kind of adapter against the two libraries that defined them: LyCORIS and PEFT."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trainer.adapters import (
    AdaLoRA,
    BudgetPlan,
    DoRA,
    LoHa,
    LoKr,
    LoRA,
    RankAllocator,
    VeRA,
    inject,
    restore_adapter,
)
from trainer.adapters.targets import Target

LAYERS = {
    "linear": (lambda: nn.Linear(24, 20), (3, 5, 24)),
    "conv1x1": (lambda: nn.Conv2d(24, 20, 1), (2, 24, 5, 5)),
    "conv3x3": (lambda: nn.Conv2d(24, 20, 3, padding=1), (2, 24, 7, 5)),
    "strided": (lambda: nn.Conv2d(24, 20, 3, stride=2, padding=1), (2, 24, 8, 8)),
}
EVERY_LAYER = pytest.mark.parametrize("layer", LAYERS)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def make_layer(layer):
    torch.manual_seed(0)
    build, shape = LAYERS[layer]
    return build().requires_grad_(False), torch.randn(shape)


def randomise(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))


def compare(ours, theirs, x, pairs):
    """Compares outputs and the gradients of the input and of each pair of weights."""
    outputs, inputs = [], []
    for compute in (ours, theirs):
        given = x.clone().requires_grad_()
        outputs.append(compute(given))
        outputs[-1].sin().sum().backward()
        inputs.append(given.grad)
    torch.testing.assert_close(*outputs, **CLOSE)
    torch.testing.assert_close(*inputs, **CLOSE)
    for own, other in pairs:
        torch.testing.assert_close(own.grad, other.grad.view(own.shape), rtol=1e-4, atol=2e-5)


def attach(base, adapter):
    inject([Target("unet.layer", base, "unet")], lambda _: adapter)
    return base


LYCORIS = {
    "locon": ("LoConModule", {}),
    "loha": ("LohaModule", {}),
    "lokr": ("LokrModule", {}),
    "lokr whole": ("LokrModule", {"full_matrix": True}),
    "dora per input": ("LoConModule", {"weight_decompose": True, "wd_on_out": False}),
    "dora per output": ("LoConModule", {"weight_decompose": True, "wd_on_out": True}),
    "doha per input": ("LohaModule", {"weight_decompose": True, "wd_on_out": False}),
    "dokr per output": ("LokrModule", {"weight_decompose": True, "wd_on_out": True}),
}
# Where a name of LyCORIS is not ours with `hada_` or `lokr_` in front.
OUR_NAMES = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "dora_scale": "magnitude",
}


def make_lycoris(name, base, **more):
    import lycoris.modules.locon
    import lycoris.modules.loha
    import lycoris.modules.lokr

    kind, options = LYCORIS[name]
    home = {"LoConModule": "locon", "LohaModule": "loha", "LokrModule": "lokr"}[kind]
    build = getattr(getattr(lycoris.modules, home), kind)
    return build("name", base, lora_dim=2, alpha=3.0, **options, **more)


@pytest.mark.parametrize("name", LYCORIS)
@EVERY_LAYER
def test_every_kind_equals_lycoris_in_output_and_gradients(name, layer):
    pytest.importorskip("lycoris")
    base, x = make_layer(layer)
    theirs = make_lycoris(name, base)
    randomise(theirs)
    parts = {key: value.detach().clone() for key, value in theirs.custom_state_dict().items()}
    ours = restore_adapter(make_layer(layer)[0], parts, float(parts["alpha"]))
    if isinstance(ours, DoRA):
        ours.exact_gradient = True  # LyCORIS lets gradients through the norm
    own_base = make_layer(layer)[0]
    if isinstance(ours, DoRA):
        ours._layer = [own_base]
    attach(own_base, ours)
    parameters = {key.rpartition(".")[2]: value for key, value in ours.named_parameters()}
    pairs = [
        (parameters[OUR_NAMES.get(key, key.removeprefix("hada_").removeprefix("lokr_"))], value)
        for key, value in theirs.named_parameters()
        if not key.startswith("org_module")
    ]
    assert len(pairs) == len(parameters)
    compare(own_base, theirs, x, pairs)
    assert set(ours.tensors()) == set(parts)


def make_peft(base, config):
    from peft import inject_adapter_in_model

    model = inject_adapter_in_model(config, nn.Sequential(base))
    randomise(model)
    return model, model[0]


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@EVERY_LAYER
def test_lora_and_dora_of_the_paper_equal_peft_in_output_and_gradients(dora, layer):
    from peft import LoraConfig

    base, x = make_layer(layer)
    own_base = make_layer(layer)[0]
    config = LoraConfig(r=3, lora_alpha=2, target_modules=["0"], use_dora=dora)
    model, theirs = make_peft(base, config)
    own_base.load_state_dict(theirs.base_layer.state_dict())
    for parameter in theirs.base_layer.parameters():
        parameter.requires_grad_(requires_grad=False)
    down, up = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    lora = LoRA.from_tensors(own_base, {"lora_down.weight": down, "lora_up.weight": up}, 2.0)
    pairs = [(lora.down, down), (lora.up, up)]
    ours = lora
    if dora:
        ours = DoRA(own_base, lora, "output")
        length = theirs.lora_magnitude_vector["default"].weight
        with torch.no_grad():
            ours.magnitude.copy_(length.view(ours.magnitude.shape))
        pairs.append((ours.magnitude, length))
    attach(own_base, ours)
    compare(own_base, model, x, pairs)


@EVERY_LAYER
def test_loha_equals_peft_in_output_and_gradients(layer):
    from peft import LoHaConfig

    base, x = make_layer(layer)
    model, theirs = make_peft(base, LoHaConfig(r=3, alpha=2, target_modules=["0"]))
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    parts = {name: getattr(theirs, name)["default"] for name in names}
    own_base = make_layer(layer)[0]
    own_base.load_state_dict(theirs.base_layer.state_dict())
    ours = LoHa.from_tensors(own_base, parts, 2.0)
    attach(own_base, ours)
    pairs = [(getattr(ours, name.removeprefix("hada_")), parts[name]) for name in names]
    compare(own_base, model, x, pairs)


@EVERY_LAYER
@pytest.mark.parametrize("rank", [2, 16], ids=["low rank", "whole"])
def test_lokr_equals_peft_in_output_and_gradients(layer, rank):
    from peft import LoKrConfig

    base, x = make_layer(layer)
    # PEFT scales a whole w2 too, which LyCORIS and every reader leave at 1: alpha = rank agrees.
    config = LoKrConfig(r=rank, alpha=rank, target_modules=["0"])
    model, theirs = make_peft(base, config)
    names = ("lokr_w1", "lokr_w2") if rank == 16 else ("lokr_w1", "lokr_w2_a", "lokr_w2_b")
    parts = {name: getattr(theirs, name)["default"] for name in names}
    own_base = make_layer(layer)[0]
    own_base.load_state_dict(theirs.base_layer.state_dict())
    ours = LoKr.from_tensors(own_base, parts, float(rank))
    attach(own_base, ours)
    pairs = [(getattr(ours, name.removeprefix("lokr_")), parts[name]) for name in names]
    compare(own_base, model, x, pairs)


@EVERY_LAYER
def test_rslora_equals_peft_in_output_and_gradients(layer):
    from peft import LoraConfig

    base, x = make_layer(layer)
    model, theirs = make_peft(
        base, LoraConfig(r=3, lora_alpha=2, target_modules=["0"], use_rslora=True)
    )
    down, up = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    own_base = make_layer(layer)[0]
    own_base.load_state_dict(theirs.base_layer.state_dict())
    parts = {"lora_down.weight": down, "lora_up.weight": up}
    ours = LoRA.from_tensors(own_base, parts, 2.0 * math.sqrt(3))  # as the layer plan folds it
    compare(attach(own_base, ours), model, x, [(ours.down, down), (ours.up, up)])


def test_vera_equals_peft_in_output_and_gradients():
    from peft import VeraConfig, get_peft_model

    base, x = make_layer("linear")
    model = get_peft_model(nn.Sequential(base), VeraConfig(r=7, target_modules=["0"]))
    theirs = model.base_model.model[0]
    with torch.no_grad():
        for parameter in (theirs.vera_lambda_d["default"], theirs.vera_lambda_b["default"]):
            parameter.add_(0.2 * torch.randn(parameter.shape))
    own_base = make_layer("linear")[0]
    own_base.load_state_dict(theirs.base_layer.state_dict())
    ours = VeRA(own_base, 7, 1.0)
    d, b = theirs.vera_lambda_d["default"], theirs.vera_lambda_b["default"]
    # Theirs are drawn as large as Kaiming's rule says, ours in ±1 and scaled by it in each layer.
    first, second = theirs.vera_A["default"] / math.sqrt(6 / 24), theirs.vera_B["default"]
    ours.projections._made = {(x.device, x.dtype): (first, second / math.sqrt(6 / 7))}
    assert max(first.abs().max(), (second / math.sqrt(6 / 7)).abs().max()) <= 1
    with torch.no_grad():
        ours.d.copy_(d)
        ours.b.copy_(b)
    compare(attach(own_base, ours), model, x, [(ours.d, d), (ours.b, b)])


class Scored(nn.Module):
    """Three layers with a loss, as PEFT wants it for AdaLoRA."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 8)
        self.last = nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, x, wanted):
        hidden = self.second(self.first(x).relu()).relu()  # [B, 2, 2, 8]
        found = self.last(hidden.movedim(-1, 1))
        return SimpleNamespace(loss=(found - wanted).square().mean())


def start_adalora():
    """Returns PEFT's model and ours with the same weights, and our allocator."""
    from peft import AdaLoraConfig, get_peft_model

    names = ["first", "second", "last"]
    settings = {"tinit": 3, "tfinal": 6, "deltaT": 2, "total_step": 24, "orth_reg_weight": 0.3}
    config = AdaLoraConfig(init_r=4, target_r=2, lora_alpha=8, target_modules=names, **settings)
    theirs = get_peft_model(Scored(), config)
    ours = Scored().requires_grad_(False)
    # PEFT divides by the rank plus 1e-5.
    adapters = {n: AdaLoRA(getattr(ours, n), 4, 8 * 4 / (4 + 1e-5)) for n in names}
    for name, adapter in adapters.items():
        layer = getattr(theirs.base_model.model, name)
        pairs = [(adapter.right, layer.lora_A), (adapter.values, layer.lora_E)]
        with torch.no_grad():
            for own, other in [*pairs, (adapter.left, layer.lora_B)]:
                own.copy_(other["default"].view(own.shape))
    targets = [Target(name, getattr(ours, name), "unet") for name in names]
    inject(targets, lambda target: adapters[target.name])
    plan = BudgetPlan(24, 3, 6, every_steps=2, kept_share=0.5, orthogonality=0.3)
    return theirs, ours, RankAllocator(adapters, plan), adapters


def test_adalora_allocates_as_peft_over_a_whole_schedule():
    theirs, ours, allocator, adapters = start_adalora()
    own = [p for adapter in adapters.values() for p in adapter.parameters()]
    other = [p for p in theirs.parameters() if p.requires_grad]
    optimizers = [torch.optim.AdamW(each, lr=0.02) for each in (own, other)]
    generator = torch.Generator().manual_seed(1)
    history = []
    for step in range(1, 25):
        x = torch.randn(5, 2, 2, 12, generator=generator)
        wanted = torch.randn(5, 6, 2, 2, generator=generator)
        loss = ours(x, wanted).loss + allocator.penalty()
        other_loss = theirs.base_model(x, wanted).loss  # which alone adds the penalty
        torch.testing.assert_close(loss, other_loss, **CLOSE)
        loss.backward()
        other_loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        allocator.after_step(step)
        theirs.base_model.update_and_allocate(step)
        for name, adapter in adapters.items():
            layer = getattr(theirs.base_model.model, name)
            values = (adapter.values * adapter.kept).detach()
            torch.testing.assert_close(values[:, None], layer.lora_E["default"].detach(), **CLOSE)
            delta = layer.get_delta_weight("default").detach()
            torch.testing.assert_close(adapter.delta().detach(), delta, **CLOSE)
        history.append(tuple(allocator.ranks().values()))
        for optimizer in optimizers:
            optimizer.zero_grad()
    assert sum(history[0]) == 12
    assert sum(history[-1]) == 6
    assert len(set(history[-1])) > 1  # ranks moved, they were not cut alike
    assert set(history[-7:]) == {history[-1]}


@EVERY_LAYER
@pytest.mark.parametrize("factor", [2, 4])
def test_the_factor_of_lokr_splits_as_lycoris_does(factor, layer):
    pytest.importorskip("lycoris")
    base, _ = make_layer(layer)
    theirs = make_lycoris("lokr", base, factor=factor).custom_state_dict()
    ours = LoKr(base, 2, 3.0, factor=factor).tensors()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@EVERY_LAYER
@pytest.mark.parametrize("kind", [LoHa, LoKr])
def test_new_adapters_have_the_shapes_of_lycoris(kind, layer):
    pytest.importorskip("lycoris")
    base, _ = make_layer(layer)
    theirs = make_lycoris(kind.kind, base).custom_state_dict()
    ours = kind(base, 2, 3.0).tensors()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@EVERY_LAYER
def test_the_usual_gradient_of_dora_differs_from_the_exact_one_only_in_direction_weights(layer):
    """The length is a constant for the inner weights; the magnitudes' gradient is exact."""
    grads = {}
    for exact in (False, True):
        base, x = make_layer(layer)
        adapter = DoRA(base, LoRA(base, 3, 2.0))
        torch.manual_seed(1)
        randomise(adapter)
        adapter.exact_gradient = exact
        attach(base, adapter)(x).sin().sum().backward()
        grads[exact] = {name: value.grad for name, value in adapter.named_parameters()}
    torch.testing.assert_close(grads[False]["magnitude"], grads[True]["magnitude"], **CLOSE)
    assert not torch.allclose(grads[False]["inner.up"], grads[True]["inner.up"], rtol=1e-3)
