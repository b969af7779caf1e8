"""How strong a file's layers are and what smaller ranks would keep, as charts in the Library."""

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from app.core.jobs import Job
from app.core.lora_files import INSPECT, FileView, find_file, read_file_job
from app.library.about import VIEWS, make_about
from app.library.events import look_into_file
from app.library.singular_values import MEASURE, MOST_BARS, view_singular_values
from app.library.singular_values_html import make_singular_values, plot_bars, plot_energy
from tests.app.conftest import wait_for
from trainer.formats.architectures import list_layers

FILE = FileView("file:my style.safetensors", Path("my style.safetensors"), 8)


def make_layer(name, norm=1.0, rank=8, used=4.0, energy=None, relative=0.0):
    energy = energy or {"1": 0.4, "2": 0.7, "4": 0.9, "8": 1.0}
    return {"layer": name, "kind": "lora", "rank": rank, "norm": norm, "relative_norm": relative,
            "effective_rank": used, "energy": energy, "values": []}  # fmt: skip


def answer(layers):
    return Job("inspect-0", "done", {"name": "x", "family": "sdxl", "layers": layers})


def find(layers):
    return view_singular_values(answer(layers))


def tell_bars(found):
    """The title of each bar, from the picture."""
    picture = ElementTree.fromstring(plot_bars(found))
    return [group.find("title").text for group in picture.iter("g")]


NETWORK = [
    "text_encoder.text_model.encoder.layers.2.self_attn.q_proj",
    "text_encoder.text_model.encoder.layers.2.mlp.fc1",
    "text_encoder.text_model.encoder.layers.11.self_attn.q_proj",
    "text_encoder_2.text_model.encoder.layers.0.mlp.fc2",
    "unet.conv_in",
    "unet.down_blocks.1.resnets.0.conv1",
    "unet.down_blocks.1.resnets.0.conv2",
    "unet.down_blocks.1.attentions.0.proj_in",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2",
    "unet.down_blocks.1.attentions.0.transformer_blocks.10.attn1.to_q",
    "unet.down_blocks.1.attentions.0.proj_out",
    "unet.down_blocks.1.resnets.1.conv1",
    "unet.down_blocks.1.attentions.1.proj_in",
    "unet.down_blocks.1.downsamplers.0.conv",
    "unet.mid_block.resnets.0.conv1",
    "unet.mid_block.attentions.0.proj_in",
    "unet.mid_block.resnets.1.conv1",
    "unet.up_blocks.0.resnets.2.conv1",
    "unet.up_blocks.0.upsamplers.0.conv",
    "unet.up_blocks.1.resnets.0.conv1",
    "unet.conv_out",
    "something.else",
]


def test_bars_stand_in_the_order_of_the_network():
    found = find([make_layer(name) for name in sorted(NETWORK)])
    assert [bar.name for bar in found.bars] == NETWORK
    sections = [bar.section for bar in found.bars]
    assert sections == ["text"] * 4 + ["down"] * 12 + ["mid"] * 3 + ["up"] * 4 + [""]


def test_every_bar_names_its_layer_and_its_numbers():
    names = NETWORK[:3]
    layers = [make_layer(name, norm=n + 1.0, used=2.5) for n, name in enumerate(names)]
    told = tell_bars(find(layers))
    assert told == [
        f"{name}: norm {n + 1}; effective rank 2.5 of 8" for n, name in enumerate(names)
    ]
    layers = [make_layer(name, relative=0.125) for name in names]
    assert tell_bars(find(layers))[0].endswith(
        "norm 1, 12.50 % of the weight's; effective rank 4.0 of 8"
    )


def test_bars_are_as_high_as_the_norms_and_as_the_ranks():
    layers = [make_layer("unet.conv_in", norm=4.0, used=2.0), make_layer("unet.conv_out", norm=1.0)]
    picture = ElementTree.fromstring(plot_bars(find(layers)))
    heights = [[float(r.get("height")) for r in group.iter("rect")] for group in picture.iter("g")]
    (_, strong, rank, used), (_, weak, *_) = heights
    assert strong == pytest.approx(4 * weak, rel=0.02)
    assert rank == pytest.approx(4 * used, rel=0.02)


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_bars_of_a_large_file_are_means_of_blocks_and_leave_no_layer_out(family):
    names = list_layers(family)
    found = find([make_layer(name, norm=1 + index % 2) for index, name in enumerate(names)])
    assert 50 < len(found.bars) <= MOST_BARS
    assert found.layers == len(names) == sum(bar.layers for bar in found.bars)
    assert {bar.section for bar in found.bars} == {"text", "down", "mid", "up"}
    assert all(1 <= bar.norm <= 2 for bar in found.bars)
    assert "mean of 6 layers" in tell_bars(found)[0]
    shown = make_singular_values(FILE, answer([make_layer(name) for name in names]))
    assert "One bar is the mean over the layers of one block" in shown
    assert len(shown) < 200_000


def test_kept_share_counts_strong_layers_more_and_tells_the_worst_one():
    strong = make_layer("unet.conv_in", norm=3.0, energy={"1": 0.9, "2": 1.0}, rank=2)
    weak = make_layer("unet.conv_out", norm=1.0, energy={"1": 0.4, "2": 0.6, "4": 0.8}, rank=6)
    found = find([strong, weak])
    assert found.shares == (
        (1, pytest.approx((9 * 0.9 + 0.4) / 10), 0.4),
        (2, pytest.approx((9 + 0.6) / 10), 0.6),
        (4, pytest.approx((9 + 0.8) / 10), 0.8),
        (6, 1.0, 1.0),
    )
    assert found.enough is None
    assert "rank 4 keeps 98.0 %" in make_singular_values(FILE, answer([strong, weak]))


def test_smallest_rank_that_keeps_nearly_all_is_advised_with_its_command():
    energy = {"1": 0.5, "2": 0.991, "4": 0.999, "8": 1.0}
    shown = make_singular_values(FILE, answer([make_layer("unet.conv_in", energy=energy)]))
    assert "Rank 2 keeps 99.1 % of the change" in shown
    command = "lorasmith resize &#x27;my style.safetensors&#x27; --rank 2"
    assert f"<code>{command} --to &#x27;my style-2.safetensors&#x27;</code>" in shown


def test_energy_curve_has_axes_title_and_both_lines():
    picture = ElementTree.fromstring(plot_energy(find([make_layer("unet.conv_in")])))
    assert "rank 2 keeps 70.0 %" in picture.find("title").text
    assert {"1", "2", "4", "8", "rank", "0 %", "100 %"} <= {t.text for t in picture.iter("text")}
    assert len(list(picture.iter("polyline"))) == 2


@pytest.mark.parametrize(
    "layer",
    [
        make_layer("unet.conv_in", norm=0.0, used=0.0, energy={"1": 1.0}),
        make_layer("unet.conv_in", rank=1, used=1.0, energy={"1": 1.0}),
        make_layer("unet.conv_in", rank=3, used=90.0, energy={"1": 0.1, "64": 0.9}),
        make_layer("<b>${alert(1)}</b>", rank=1000),
    ],
)
def test_odd_files_are_drawn_and_names_are_text(layer):
    shown = make_singular_values(FILE, answer([layer]))
    ElementTree.fromstring(f"<div>{shown}</div>")
    assert "<svg" in shown
    assert "<b>$" not in shown


def test_measuring_that_runs_or_failed_says_so():
    assert make_singular_values(FILE, Job()) == ""
    assert 'data-state="running"' in make_singular_values(FILE, Job("inspect-0", "running"))
    failed = Job("inspect-0", "failed", message="x holds y as DoRA. Name the base model.")
    assert "There is no chart of the layers: x holds y as DoRA." in make_singular_values(
        FILE, failed
    )
    assert "<svg" not in make_singular_values(FILE, answer([]))


def test_opened_accordion_measures_a_runs_file_against_its_base_model(workspace, run):
    (run.path / "tabby.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (workspace.loras_path / "mine.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    for opened, relative in ((run.id, 0.25), ("file:mine.safetensors", 0.0)):
        file = find_file(workspace, opened, None)
        look_into_file(workspace, file)
        for kind in (MEASURE, INSPECT):
            job = partial(read_file_job, workspace, kind, file.path)
            wait_for(lambda job=job: job().state == "done")
        found = view_singular_values(read_file_job(workspace, MEASURE, file.path))
        assert [bar.relative for bar in found.bars] == [relative, relative]
        about = VIEWS["library-about"].render(workspace, {"open": opened})
        assert "Which programs load it" in about
        assert "Rank 4 keeps 99.5 % of the change" in about


def test_file_that_is_no_adapter_has_no_second_complaint():
    failed = Job("inspect-0", "failed", message="x contains no adapter.")
    assert make_about(FILE, failed, failed).count("contains no adapter") == 1
