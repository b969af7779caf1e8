"""Single files: they load to what diffusers' own conversion makes of them, tensor by tensor."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.full_size import write_configs, write_random_checkpoint, write_small_configs
from trainer.models import ModelError, check_base_model, shipped
from trainer.models.layouts import NAMINGS, join_tensors
from trainer.models.loading import load_parts

CPU = torch.device("cpu")
FAMILIES = ("sd15", "sd2", "sdxl")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Checkpoints of miniatures, while the package's configs are theirs."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        configs = write_small_configs(folder / "configs")
        patch.setattr(shipped, "CONFIG_FOLDER", configs)
        for family in FAMILIES:
            write_random_checkpoint(folder / f"{family}.safetensors", family, torch.float32)
        yield folder


@pytest.fixture(scope="module")
def converted(small, tmp_path_factory):
    """Returns a function from a family to the pipeline that diffusers makes of its single file."""
    made = {}

    def convert(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family) / "config"
            cls = write_configs(family, folder)
            made[family] = cls.from_single_file(
                small / f"{family}.safetensors", config=str(folder), local_files_only=True
            )
        return made[family]

    return convert


@pytest.fixture
def change(small, tmp_path):
    """Returns a function that writes a changed copy of a checkpoint."""

    def write(family, *, drop=(), add=None, metadata=None, rename=None, name="model"):
        tensors = load_file(small / f"{family}.safetensors")
        kept = {
            rename(key) if rename else key: value
            for key, value in tensors.items()
            if not key.startswith(tuple(drop))
        }
        save_file(kept | (add or {}), tmp_path / f"{name}.safetensors", metadata=metadata)
        return tmp_path / f"{name}.safetensors"

    return write


def load(path, dtype=torch.float32, **settings):
    return load_parts(check_base_model(path, **settings), CPU, dtype)


def assert_same(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_loads_to_what_diffusers_conversion_makes_of_it(small, converted, family):
    theirs = converted(family)
    ours = load(small / f"{family}.safetensors")
    assert_same(ours.unet, theirs.unet)
    assert_same(ours.vae, theirs.vae)
    assert_same(ours.text_encoders[0], theirs.text_encoder)
    if family == "sdxl":
        assert_same(ours.text_encoders[1], theirs.text_encoder_2)
    tokens = torch.tensor([[49406, 320, 1125, 49407, 0]])
    for mine, other in zip(
        ours.text_encoders,
        [theirs.text_encoder, getattr(theirs, "text_encoder_2", None)],
        strict=False,
    ):
        assert torch.equal(mine(tokens)[0], other(tokens)[0])


@pytest.mark.parametrize("family", ["sd15", pytest.param("sd2", marks=pytest.mark.slow), "sdxl"])
def test_a_folder_loads_to_the_same_as_its_file(small, converted, tmp_path, family):
    converted(family).save_pretrained(tmp_path / "folder", max_shard_size="200KB")
    assert len(list((tmp_path / "folder" / "unet").glob("*.safetensors"))) > 1
    from_folder, from_file = load(tmp_path / "folder"), load(small / f"{family}.safetensors")
    assert_same(from_folder.unet, from_file.unet)
    assert_same(from_folder.vae, from_file.vae)
    for ours, theirs in zip(from_folder.text_encoders, from_file.text_encoders, strict=True):
        assert_same(ours, theirs)
    for ours, theirs in zip(from_folder.tokenizers, from_file.tokenizers, strict=True):
        assert ours("a cat", padding="max_length") == theirs("a cat", padding="max_length")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_table_writes_the_file_back(small, family):
    path = small / f"{family}.safetensors"
    info = check_base_model(path)
    parts = load(path)
    models = [parts.unet, parts.vae, *parts.text_encoders]
    written = {}
    for model, part in zip(models, info.parts.values(), strict=True):
        tensors = model.state_dict()
        sources = NAMINGS[part.naming](tensors, part.config)
        for name, tensor in join_tensors(sources, tensors):
            written[part.prefix + name] = tensor
    stored = {
        name: tensor
        for name, tensor in load_file(path).items()
        if "resblocks.23." not in name
        and not (family == "sd2" and name.endswith(".text_projection"))
    }
    assert written.keys() == stored.keys()
    assert all(torch.equal(written[name], stored[name]) for name in stored)


def test_weights_take_the_dtype_that_is_asked_for_and_the_vae_stays_fp32(small):
    parts = load(small / "sdxl.safetensors", torch.bfloat16)
    for model in (parts.unet, *parts.text_encoders):
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        assert not any(weight.requires_grad for weight in model.parameters())
        assert not model.training
    assert {weight.dtype for weight in parts.vae.parameters()} == {torch.float32}
    stored = load_file(small / "sdxl.safetensors")
    name = "middle_block.0.in_layers.2.weight"
    value = parts.unet.mid_block.resnets[0].conv1.weight
    assert torch.equal(value, stored[f"model.diffusion_model.{name}"].bfloat16())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_checkpoints_carry_besides_does_not_matter(small, change, family):
    leftovers = {
        "alphas_cumprod": torch.zeros(1),
        "betas": torch.zeros(1),
        "log_one_minus_alphas_cumprod": torch.zeros(1),
        "sqrt_recipm1_alphas_cumprod": torch.zeros(1),
        "posterior_log_variance_clipped": torch.zeros(1),
        "logvar": torch.zeros(1),
        "denoiser.sigmas": torch.zeros(1),
        "model_ema.decay": torch.zeros(1),
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(1),
        "first_stage_model.loss.discriminator.main.0.weight": torch.zeros(1),
        "v_pred": torch.tensor([]),
        "ztsnr": torch.tensor([]),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.zeros(1),
        "conditioner.embedders.1.model.transformer.text_model.embeddings.position_ids": torch.zeros(
            1
        ),
        "conditioner.embedders.1.model.logit_scale": torch.zeros(1),
        "conditioner.embedders.0.transformer.text_projection.weight": torch.zeros(1),
    }
    assert_same(
        load(change(family, add=leftovers)).unet, load(small / f"{family}.safetensors").unet
    )


def test_a_text_encoder_without_its_first_level_is_read(small, change):
    path = change("sd15", rename=lambda key: key.replace("transformer.text_model.", "transformer."))
    assert "text_model" not in "".join(load_file(path))
    original = load(small / "sd15.safetensors")
    assert_same(load(path).text_encoders[0], original.text_encoders[0])


def test_both_spellings_of_the_vaes_attention_are_read(small, change, tmp_path):
    original = load(small / "sd15.safetensors")
    name = "first_stage_model.decoder.mid.attn_1.q.weight"
    stored = load_file(small / "sd15.safetensors")[name]
    assert stored.ndim == 4
    assert_same(load(change("sd15", add={name: stored[:, :, 0, 0].clone()})).vae, original.vae)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = original.vae.state_dict()
    for ours, older in old.items():
        tensors = {
            key.replace(f"0.{ours}.", f"0.{older}."): value for key, value in tensors.items()
        }
    save_file(tensors, tmp_path / "vae.safetensors")
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in tensors
    assert_same(
        load(small / "sd15.safetensors", vae=tmp_path / "vae.safetensors").vae, original.vae
    )


@pytest.mark.slow
def test_another_vae_can_be_named_as_file_or_folder_or_whole_checkpoint(small, change, tmp_path):
    other = write_random_checkpoint(tmp_path / "other.safetensors", "sd15", torch.float32, seed=9)
    theirs = load(other).vae
    tensors = load_file(other)
    prefix = "first_stage_model."
    prefixed = {key: value for key, value in tensors.items() if key.startswith(prefix)}
    save_file(prefixed, tmp_path / "prefixed.safetensors")
    bare = {key.removeprefix(prefix): value for key, value in prefixed.items()}
    save_file(bare, tmp_path / "bare.safetensors")
    save_file(theirs.state_dict(), tmp_path / "diffusers.safetensors")
    theirs.save_pretrained(tmp_path / "folder")
    theirs.save_pretrained(tmp_path / "model" / "vae")
    bases = [small / "sd15.safetensors", change("sd15", drop=[prefix])]
    names = ("other", "prefixed", "bare", "diffusers")
    for vae in (*(f"{name}.safetensors" for name in names), "folder", "model"):
        assert_same(load(bases[0], vae=tmp_path / vae).vae, theirs)
    assert_same(load(bases[1], vae=tmp_path / "folder").vae, theirs)
    assert not torch.equal(load(bases[0]).vae.decoder.conv_in.weight, theirs.decoder.conv_in.weight)


def test_a_file_without_a_vae_asks_for_one(change):
    with pytest.raises(
        ModelError, match=r"model\.safetensors contains no VAE\. Give one as base_mod"
    ):
        check_base_model(change("sdxl", drop=["first_stage_model."]))


def test_a_vae_of_another_kind_is_refused(small, tmp_path):
    base = small / "sd15.safetensors"
    with pytest.raises(ModelError, match="There is no VAE at"):
        check_base_model(base, vae=tmp_path / "none")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"a\.safetensors contains no VAE"):
        check_base_model(base, vae=tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"contains no VAE: it lacks config\.json"):
        check_base_model(base, vae=tmp_path)
    load(small / "sdxl.safetensors").vae.save_pretrained(tmp_path / "xl")
    with pytest.raises(ModelError, match="belongs to another family: it scales latents by 0"):
        check_base_model(base, vae=tmp_path / "xl")
    (tmp_path / "xl" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks diffusion_pytorch_model"):
        check_base_model(small / "sdxl.safetensors", vae=tmp_path / "xl")
    wide = load_file(base)
    wide = {key: value for key, value in wide.items() if key.startswith("first_stage_model.")}
    wide["first_stage_model.post_quant_conv.weight"] = torch.zeros(16, 16, 1, 1)
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(ModelError, match=r"post_quant_conv.weight in wide.* \[16, 16, 1, 1\]"):
        load(base, vae=tmp_path / "wide.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_tensors_are_counted_and_the_first_is_named(change, family):
    path = change(family, drop=["model.diffusion_model.out."])
    with pytest.raises(
        ModelError,
        match=r"model\.safetensors lacks 4 tensors .*model\.diffusion_model\.out\.0\.bias",
    ):
        load(path)


def test_a_missing_text_encoder_layer_is_named(change):
    with pytest.raises(
        ModelError, match=r"lacks 16 tensors of an SDXL.*0\.transformer\.text_model"
    ):
        load(
            change(
                "sdxl", drop=["conditioner.embedders.0.transformer.text_model.encoder.layers.1."]
            )
        )


def test_extra_tensors_are_counted_and_the_first_is_named(change):
    extra = {f"model.diffusion_model.extra.{n}": torch.zeros(1) for n in range(3)}
    with pytest.raises(ModelError, match=r"3 tensors that do not belong .*model\.extra\.0\."):
        load(change("sd15", add=extra))


def test_a_tensor_of_another_shape_or_format_is_named(change):
    name = "model.diffusion_model.out.2.bias"
    with pytest.raises(ModelError, match=r"out\.2\.bias .* shape \[5\], and \[4\] in an SD 1\.x"):
        load(change("sd15", add={name: torch.zeros(5)}))
    with pytest.raises(ModelError, match="stored as U8"):
        load(change("sd15", add={name: torch.zeros(4, dtype=torch.uint8)}))


def test_a_file_that_shrinks_while_it_is_read_is_told(change):
    path = change("sd15")
    info = check_base_model(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="became shorter while it was read"):
        load_parts(info, CPU, torch.float32)


def test_fp16_files_of_a_folder_are_read_where_there_are_no_plain_ones(converted, tmp_path):
    converted("sd15").save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert load(tmp_path / "model").unet.conv_in.weight.dtype == torch.float32
    weights.with_suffix(".fp16.safetensors").rename(weights.with_suffix(".non_ema.safetensors"))
    with pytest.raises(ModelError, match=r"lacks unet/diffusion_pytorch_model\.safetensors"):
        check_base_model(tmp_path / "model")


def test_shards_that_are_missing_or_lie_elsewhere_are_told(converted, tmp_path):
    converted("sd15").save_pretrained(tmp_path / "model")
    unet = tmp_path / "model" / "unet"
    load(tmp_path / "model").unet.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    shutil.copy(unet / "config.json", tmp_path / "shards")
    shutil.rmtree(unet)
    (tmp_path / "shards").rename(unet)
    load(tmp_path / "model")
    index = unet / "diffusion_pytorch_model.safetensors.index.json"
    text = index.read_text()
    for broken in ("{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../b.safetensors"}}'):
        index.write_text(broken)
        with pytest.raises(ModelError, match=r"index\.json is damaged"):
            check_base_model(tmp_path / "model")
    index.write_text(text)
    next(unet.glob("*-00001-of-*.safetensors")).unlink()
    with pytest.raises(ModelError, match="cannot be loaded: unet/"):
        check_base_model(tmp_path / "model")


def test_a_folder_with_a_tensor_too_many_is_told(converted, tmp_path):
    converted("sd15").save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(weights) | {"extra.weight": torch.zeros(1)}, weights)
    with pytest.raises(
        ModelError, match=r"unet/diffusion_pytorch_model\.safetensors in .*1 tensor "
    ):
        load(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "unet" / "config.json").read_text())
    config["block_out_channels"] = "many"
    (tmp_path / "model" / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="the config of its unet is not usable"):
        load(tmp_path / "model")


def test_loading_touches_no_network_and_ids_are_the_well_known_ones(small, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    parts = load(small / "sdxl.safetensors")
    known = [320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496]
    for tokenizer, pad in zip(parts.tokenizers, (49407, 0), strict=True):
        ids = tokenizer(
            "a photo of an astronaut riding a horse on mars", padding="max_length", truncation=True
        ).input_ids
        assert ids == [49406, *known, 49407, *[pad] * 65]
        assert len(tokenizer) == 49408
