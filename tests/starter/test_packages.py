"""What may be trained on: licences, versions, and which drawings stay unseen."""

import json
import random
import tarfile

import pytest
from recipe.errors import RecipeError
from recipe.icons import arrange_concepts, choose_captioned, read_icons
from recipe.packages import SETS, TRAINABLE, load_package
from recipe.words import FIRST_CONCEPTS, ILLUSTRATED

from tests.starter.conftest import LICENCES, NAMES, ROOT, make_icons, write_package


@pytest.mark.parametrize("licence", ["CC-BY-SA-4.0", "CC-BY-NC-4.0", "GPL-3.0", ""])
def test_set_of_another_licence_is_not_trained_on(tmp_path, licence):
    write_package(tmp_path, "noto", licence=licence or "none")
    with pytest.raises(RecipeError, match="cannot be trained on"):
        load_package("noto", tmp_path, tmp_path, training=True)


def test_share_alike_set_may_be_measured_on_but_a_non_commercial_one_may_not(tmp_path):
    write_package(tmp_path, "openmoji", licence="CC-BY-SA-4.0")
    assert load_package("openmoji", tmp_path, tmp_path, training=False).licence == "CC-BY-SA-4.0"
    write_package(tmp_path, "openmoji", licence="CC-BY-NC-4.0")
    with pytest.raises(RecipeError, match="cannot be measured on"):
        load_package("openmoji", tmp_path, tmp_path, training=False)


@pytest.mark.parametrize("licence", sorted(TRAINABLE))
def test_open_licences_are_accepted(tmp_path, licence):
    write_package(tmp_path, "noto", licence=licence)
    assert load_package("noto", tmp_path, tmp_path, training=True).licence == licence


def test_refused_licence_ends_the_command_before_anything_is_made(
    packages, tmp_path, run_build, capsys
):
    write_package(packages, "twemoji", licence="CC-BY-SA-4.0")
    work = tmp_path / "work"
    arguments = ("--preset", "smoke", "--packages", packages, "--work", work)
    assert run_build(*arguments) == 1
    assert "twemoji is under CC-BY-SA-4.0" in capsys.readouterr().err
    assert not work.exists()


def test_another_version_is_refused(tmp_path):
    write_package(tmp_path, "noto", version="9.9.9")
    with pytest.raises(RecipeError, match=r"in version 9\.9\.9"):
        load_package("noto", tmp_path, tmp_path, training=True)


def test_packed_and_unpacked_package_are_the_same(tmp_path):
    unpacked = write_package(tmp_path / "unpacked", "noto")
    (tmp_path / "packed").mkdir()
    archive = tmp_path / "packed" / f"iconify-json-noto-{SETS['noto'].version}.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(unpacked, "package")
    loaded = [load_package("noto", path, path, True) for path in (archive.parent, unpacked.parent)]
    assert loaded[0] == loaded[1]


def test_cut_off_archive_is_reported_by_name(tmp_path):
    archive = tmp_path / f"iconify-json-noto-{SETS['noto'].version}.tgz"
    archive.write_bytes(b"\x1f\x8b\x08\x00 cut off")
    with pytest.raises(RecipeError, match=archive.name):
        load_package("noto", tmp_path, tmp_path, training=True)


def test_missing_package_is_reported_with_the_command_that_fetches_it(tmp_path):
    with pytest.raises(RecipeError, match="npm pack @iconify-json/noto@"):
        load_package("noto", tmp_path, tmp_path, training=True)


def test_hidden_icons_and_skin_tones_are_left_out_and_mirrored_aliases_are_no_synonyms(icons):
    names = {icon.name for icon in icons}
    assert names == set(NAMES)
    assert not any("bus-mirrored" in icon.synonyms for icon in icons)
    assert all("tool" in icon.synonyms for icon in icons if icon.name == "hammer")


def read_all(folder):
    packages = [load_package(key, folder, folder, key != "openmoji") for key in LICENCES]
    return [icon for package in packages for icon in read_icons(package)]


def test_what_is_held_out_under_one_name_is_trained_under_no_other(tmp_path):
    # One set calls a thing by the alias of another set's name, and by a name with "face".
    write_package(tmp_path, "noto", icons=make_icons(0, NAMES))
    write_package(tmp_path, "twemoji", icons=make_icons(1, ("tool", "pencil-face", "owl")))
    write_package(tmp_path, "openmoji")
    raw = read_all(tmp_path)
    split = set()
    for seed in range(30):
        arranged = arrange_concepts(raw, share=0.5, seed=seed)
        for connected in ({"hammer", "tool"}, {"pencil", "pencil-face"}):
            states = {icon.held_out for icon in arranged if icon.name in connected}
            assert len(states) == 1
            split |= states
    assert split == {True, False}


def test_choice_of_a_concept_does_not_depend_on_the_order_or_number_of_others(icons):
    shuffled = random.Random(3).sample(icons, len(icons))
    again = arrange_concepts(shuffled, share=0.2, seed=0)
    fewer = arrange_concepts([i for i in icons if i.name != "kite"], share=0.2, seed=0)
    wanted = {icon.name: icon.held_out for icon in icons}
    assert {icon.name: icon.held_out for icon in again} == wanted
    assert {icon.name: icon.held_out for icon in fewer}.items() <= wanted.items()
    assert set(wanted.values()) == {True, False}


def test_what_the_benchmarks_prompt_for_is_never_held_out(icons):
    arranged = arrange_concepts(icons, share=1.0, seed=0)
    kept = {icon.name for icon in arranged if not icon.held_out}
    assert kept == {
        *("cat-face", "dog-face", "owl", "red-apple", "robot", "bus", "bell", "bear-face")
    }
    prompts = json.loads((ROOT / "benchmarks/data/prompts.json").read_text())["prompts"]
    subjects = {row["prompt"].split(" ", 1)[1].replace(" ", "-") for row in prompts}
    captions = (ROOT / "examples/openmoji-style/images").glob("*.txt")
    subjects |= {path.read_text().split(" ", 1)[1].strip().replace(" ", "-") for path in captions}
    assert subjects - set(FIRST_CONCEPTS.split()) == set()


def test_taught_names_are_the_same_in_all_sets_and_those_prompted_for_come_first(icons):
    arranged = arrange_concepts(icons, share=0.2, seed=0)
    unseen = {icon.name for icon in arranged if icon.held_out}
    captioned = {name: set() for name in LICENCES}
    for icon in choose_captioned(arranged, 10):
        if icon.captioned:
            captioned[icon.style].add(icon.name)
    assert len({frozenset(names) for names in captioned.values()}) == 1
    # Eight are prompted for, hammer and glasses are pictured, a kite is neither.
    prompted = ("cat-face", "dog-face", "owl", "red-apple", "robot", "bus", "bell", "bear-face")
    assert captioned["noto"] == ({*prompted, "hammer", "glasses"} - unseen)
    assert {icon.name for icon in choose_captioned(arranged, 0) if not icon.captioned} == unseen


def test_every_listed_name_is_that_of_one_drawing_at_most():
    for words in (FIRST_CONCEPTS.split(), ILLUSTRATED.split()):
        assert len(set(words)) == len(words)
    assert not set(ILLUSTRATED.split()) & set(FIRST_CONCEPTS.split())
