"""Settings, stages that are made once, and the command line."""

import json

import pytest
from recipe.errors import RecipeError
from recipe.settings import PRESETS, SMOKE, assign, list_names
from recipe.stages import _collect_sources, hash_code, run_stage


def test_settings_are_assigned_by_name_and_type():
    settings = assign(SMOKE, ["unet.steps=9", "vae.channels=8,16", "seed=4", "data.styles=noto"])
    assert settings.unet.steps == 9
    assert settings.vae.channels == (8, 16)
    assert settings.seed == 4
    assert settings.data.styles == ("noto",)
    assert assign(SMOKE, ["data.measured_styles="]).data.measured_styles == ()
    assert SMOKE.unet.steps != 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unet.step=9", "did you mean unet.steps"),
        ("unet=9", "no setting 'unet'"),
        ("unet.steps", "no setting 'unet.steps'|did you mean"),
        ("unet.steps=many", "it takes int"),
        ("vae.channels=a,b", "numbers with commas"),
        ("nothing.at.all=1", "no setting"),
        ("refine.weighting=snr", "no weighting 'snr'; known: none, min_snr"),
    ],
)
def test_wrong_assignment_is_explained(text, said):
    with pytest.raises(RecipeError, match=said):
        assign(SMOKE, [text])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_listed_setting_can_be_assigned_its_own_value(preset):
    settings = PRESETS[preset]
    for name in list_names(settings):
        value = settings
        for part in name.split("."):
            value = getattr(value, part)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else value
        assert assign(settings, [f"{name}={text}"]) == settings


def test_stage_is_made_once_per_content(tmp_path):
    made = []

    def produce(folder):
        made.append(folder)
        (folder / "result").write_text(str(len(made)))

    first = run_stage(tmp_path, "draw", {"seed": 1}, produce)
    again = run_stage(tmp_path, "draw", {"seed": 1}, produce)
    other = run_stage(tmp_path, "draw", {"seed": 2}, produce)
    assert first == again
    assert first.key != other.key
    assert len(made) == 2
    assert (first.folder / "result").read_text() == "1"
    assert json.loads((first.folder / "ingredients.json").read_text())["seed"] == 1


def test_interrupted_stage_keeps_its_work_and_is_not_taken_for_finished(tmp_path):
    def fail(folder):
        (folder / "half").write_text("half")
        raise RecipeError("no")

    with pytest.raises(RecipeError):
        run_stage(tmp_path, "draw", {}, fail)
    found = []
    result = run_stage(
        tmp_path, "draw", {}, lambda folder: found.append((folder / "half").exists())
    )
    assert found == [True]
    assert result.folder.is_dir()


def test_code_of_a_stage_holds_everything_that_it_imports_of_ours():
    sources = _collect_sources("recipe.train_unet")
    wanted = {"recipe.train_unet", "recipe.training", "recipe.networks", "trainer.diffusion.step"}
    assert wanted <= set(sources)
    assert "recipe.captions" not in _collect_sources("recipe.train_vae")
    assert hash_code("recipe.train_vae") != hash_code("recipe.train_unet")


def test_change_of_an_imported_module_changes_the_hash(monkeypatch, tmp_path):
    from recipe import stages

    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "outer.py").write_text("from recipe.inner import x\n")
    inner = tmp_path / "recipe" / "inner.py"
    inner.write_text("x = 1\n")
    monkeypatch.setitem(stages._ROOTS, "recipe", tmp_path)
    before = hash_code("recipe.outer")
    inner.write_text("x = 2\n")
    assert hash_code("recipe.outer") != before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "unet.stepz=1"), "did you mean unet.steps"),
        (("--packages", "/does/not/exist"), "is no folder"),
        (("--device", "warp"), "no device 'warp'"),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(
    arguments, said, run_build, tmp_path, capsys
):
    work = tmp_path / "work"
    assert run_build("--preset", "smoke", "--work", work, *arguments) == 1
    assert said in capsys.readouterr().err
    assert not work.exists()


def test_settings_are_listed(run_build, capsys):
    assert run_build("--list-settings") == 0
    assert "unet.steps" in capsys.readouterr().out.split()
