"""Class maps: the shipped ones, files of users, and what they do to targets, probabilities and runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.config.class_maps import class_map_names, find_class_map, read_mapping
from musicreclass.config.locations import CONF
from musicreclass.config.tree import Tree
from musicreclass.data.class_map import ClassMap, fitting_class_map, read_class_map
from musicreclass.data.sources.gtzan import GENRES
from musicreclass.data.sources.magnatagatune_clips import TOP_50
from musicreclass.errors import ConfigError, DataError
from musicreclass.runs.folder import Run
from tests.conftest import only_run, table_overrides
from tests.library import TONES, write_tone

FMA = ("Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International",
       "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken")  # fmt: skip
TAGTRAUM = ("Blues", "Country", "Electronic", "Folk", "International", "Jazz", "Latin", "New Age", "Pop_Rock", "Rap", "Reggae", "RnB",
            "Vocal")  # fmt: skip
MTT = (*TOP_50, "vocals", "irish", "women", "no singer", "clasical")  # and 135 more tags
MERGED = ("beat", "choir", "classical", "electro", "female", "male", "no singer", "strange", "vocal")  # and 125 more
VOCABULARIES = {"fma": FMA, "gtzan": GENRES, "tagtraum": TAGTRAUM}
MAPS = class_map_names()
FAST = ["model=logreg", "hardware=cpu", "logger=none"]


def write_map(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", MAPS)
def test_a_shipped_map_names_every_class_of_its_source_and_only_classes_of_its_target(name):
    source, target = name.split("_to_")
    mapping = read_mapping(CONF / "class_map" / f"{name}.yaml")
    if source == "mtt":
        assert len(mapping) == 188
        assert set(mapping) >= {*MTT, *mapping.values()}
        assert len({*mapping.values()}) == 134
        assert {*mapping.values()} >= set(MERGED)
        assert all(mapping[target] == target for target in mapping.values())
        return
    assert sorted(mapping) == sorted(VOCABULARIES[source])
    assert {value for value in mapping.values() if value is not None} <= set(VOCABULARIES[target])


def test_the_shipped_maps_are_no_group_of_options():
    assert "class_map" not in Tree().groups
    assert MAPS == [
        "fma_to_gtzan",
        "fma_to_tagtraum",
        "gtzan_to_fma",
        "gtzan_to_tagtraum",
        "mtt_to_merged",
        "tagtraum_to_gtzan",
    ]


def test_tagtraums_genres_are_those_of_its_file(real_data):
    lines = (real_data / "MSD" / "msd_tagtraum_cd1.cls").read_text().splitlines()
    labels = {label for line in lines if not line.startswith("#") for label in line.split("\t")[1:]}
    assert labels == set(TAGTRAUM)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("- rock\n", None),
        ("rock: [a, b]\n", "a list or mapping"),
        ("rock: {a: b}\n", "a list or mapping"),
        ("no: pop\n", "no"),
        ("rock: 90\n", "90"),
        ("rock: ' '\n", " "),
        ("rock: a\nrock: b\n", "rock"),
        ("null: a\n", None),
        ("rock: &a pop\njazz: *a\n", None),
        ("rock: pop\n  jazz: pop\n", None),
        ("rock: a\n---\nrock: b\n", None),
        ("!!python/object/apply:os.getcwd []: a\n", "a list or mapping"),
    ],
)
def test_a_file_that_is_no_map_of_names_is_refused(tmp_path, text, value):
    path = write_map(tmp_path / "map.yaml", text)
    with pytest.raises(ConfigError) as caught:
        read_class_map(path)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.value) == ("invalid_class_map", path, value)


@pytest.mark.parametrize("text", ["None: a\n", "a: '-'\n", "Hip-Hop: a\nhip-hop: b\n"])
def test_names_that_mean_no_label_or_the_same_class_are_refused(tmp_path, text):
    with pytest.raises(DataError) as caught:
        read_class_map(write_map(tmp_path / "map.yaml", text))
    assert caught.value.kind == "invalid_class_map"


@pytest.mark.parametrize("content", [b"rock: \xff\n", b"a" * (1 << 19), b"[" * 3_000, b"a: \x00\n"])
def test_a_file_that_is_no_text_or_too_large_is_unreadable(tmp_path, content):
    path = tmp_path / "map.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_class_map(str(path))
    assert caught.value.kind in ("unreadable", "invalid_class_map")
    assert str(path) in str(caught.value)


def test_a_name_that_does_not_exist_has_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        find_class_map("fma_to_gtzen")
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.suggestion) == ("unknown_option", "data.class_map", "fma_to_gtzan")


def test_targets_are_compared_without_case_and_every_unnamed_class_is_listed():
    class_map = ClassMap("m", {"Hip-Hop": "rap", "Rock": "rock", "Spoken": None})
    mapped = class_map.map_targets(pd.Series(["hip-hop", "Rock", "Spoken", None, "n/a"]))
    assert mapped.tolist() == ["rap", "rock", None, None, None]
    with pytest.raises(DataError) as caught:
        class_map.map_targets(pd.Series(["Rock", "Polka", "Zydeco"]))
    assert caught.value.kind == "unmapped_classes"
    assert caught.value.problems[0].value == ["Polka", "Zydeco"]


@st.composite
def mapped_probabilities(draw: st.DrawFn) -> tuple[ClassMap, list[str], np.ndarray]:
    classes = [f"c{i}" for i in range(draw(st.integers(1, 12)))]
    targets = draw(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=len(classes), max_size=len(classes)))
    rows = draw(st.integers(0, 5))
    values = draw(st.lists(st.floats(1e-6, 1), min_size=rows * len(classes), max_size=rows * len(classes)))
    weights = np.array(values).reshape(rows, len(classes))
    return ClassMap("m", dict(zip(classes, targets, strict=True))), classes, weights / weights.sum(1, keepdims=True)


@given(mapped_probabilities())
def test_probabilities_keep_their_sum_class_by_class(example):
    class_map, classes, probability = example
    mapped, names, left_out = class_map.map_probabilities(probability, classes)
    assert mapped.shape == (len(probability), len(names))
    assert names == sorted({target for target in class_map.classes.values() if target is not None})
    np.testing.assert_allclose(mapped.sum(1) + left_out, 1, atol=1e-12)
    for j, name in enumerate(names):
        sources = [i for i, source in enumerate(classes) if class_map.classes[source] == name]
        np.testing.assert_allclose(mapped[:, j], probability[:, sources].sum(1), atol=1e-12)


@given(mapped_probabilities())
def test_a_class_with_more_than_half_of_the_probability_stays_the_likeliest(example):
    class_map, classes, probability = example
    mapped, names, left_out = class_map.map_probabilities(probability, classes)
    for row, sure in enumerate(probability.max(1) > 0.5):
        target = class_map.classes[classes[int(probability[row].argmax())]]
        if sure:
            assert left_out[row] > 0.5 if target is None else names[int(mapped[row].argmax())] == target


@given(st.permutations(GENRES), st.integers(1, 4))
def test_a_renaming_changes_no_prediction(order, rows):
    class_map = ClassMap("renamed", {genre: genre.upper() for genre in GENRES})
    probability = np.random.default_rng(rows).dirichlet(np.ones(len(order)), rows)
    mapped, names, left_out = class_map.map_probabilities(probability, order)
    assert [names[i] for i in mapped.argmax(1)] == [order[i].upper() for i in probability.argmax(1)]
    assert not left_out.any()


def test_the_map_that_fits_two_vocabularies_is_found():
    assert fitting_class_map(["Rock", "Hip-Hop"], GENRES) == "fma_to_gtzan"
    assert fitting_class_map(GENRES, FMA) == "gtzan_to_fma"
    assert fitting_class_map(["lofi"], GENRES) == ""


def test_a_run_is_trained_on_the_classes_of_a_users_map(run, here, table):
    write_map(here / "map.yaml", "blues: slow\nrock: fast\njazz: null\n")
    overrides = [*table_overrides(table), *FAST, "data.class_map=map.yaml"]
    assert run("train", *overrides).code == 0
    trained = Run.open(only_run(here))
    assert trained.metrics["classes"] == ["fast", "slow"]
    dropped = trained.provenance["dropped"]
    assert [count for reason, count in dropped.items() if "jazz" in reason] == [30]
    assert run("evaluate", str(trained.folder), "--split", "test").code == 0
    assert trained.metrics["test"]["n"] == 12
    again = run("train", *overrides)
    assert "already finished" in again.err + again.out


@pytest.mark.slow
def test_the_content_of_a_map_identifies_the_run_and_its_path_does_not(run, here, table):
    text = "blues: slow\nrock: fast\njazz: fast\n"
    write_map(here / "one.yaml", text)
    write_map(here / "two.yaml", f"# the same\n{text}")
    for name in ("one", "two"):
        assert run("train", *table_overrides(table), *FAST, f"data.class_map={name}.yaml").code == 0
    first = only_run(here).name
    write_map(here / "two.yaml", text.replace("jazz: fast", "jazz: slow"))
    assert run("train", *table_overrides(table), *FAST, "data.class_map=two.yaml").code == 0
    names = {path.parent.name for path in (here / "outputs").glob("*/status.json")}
    assert first in names
    assert len(names) == 2
    assert len({Run.open(here / "outputs" / name).identity.fingerprint for name in names}) == 2


def test_a_map_of_the_users_configuration_folder_is_found_also_later(run, here, table):
    (here / "mine" / "class_map").mkdir(parents=True)
    write_map(here / "mine" / "class_map" / "tempo.yaml", "blues: slow\nrock: fast\njazz: fast\n")
    overrides = [*table_overrides(table), *FAST, "data.class_map=tempo"]
    assert run("train", "--config-dir", "mine", *overrides).code == 0
    assert run("evaluate", str(only_run(here)), "--split", "test").code == 0  # without --config-dir
    result = run("train", *overrides)
    assert (result.code, [p.kind for p in result.problems]) == (2, ["unknown_option"])


def test_a_map_that_lacks_classes_is_refused_before_training(run, here, table):
    write_map(here / "map.yaml", "blues: slow\n")
    result = run("train", *table_overrides(table), *FAST, "data.class_map=map.yaml")
    assert result.code == 2
    (problem,) = result.problems
    assert (problem.kind, sorted(problem.value)) == ("unmapped_classes", ["jazz", "rock"])
    assert not list((here / "outputs").glob("*/status.json"))


def test_a_map_that_leaves_out_everything_is_refused(run, here, table):
    write_map(here / "map.yaml", "blues: null\njazz: null\nrock: null\n")
    result = run("train", *table_overrides(table), *FAST, "data.class_map=map.yaml")
    assert (result.code, [p.kind for p in result.problems]) == (2, ["no_tracks"])


def test_problems_of_a_map_are_reported_with_all_others(run, here, table):
    result = run("train", *table_overrides(table), "data.class_map=fma_to_gtzen", "seed=-1")
    assert (result.code, sorted(p.key for p in result.problems)) == (2, ["data.class_map", "seed"])


def test_recordings_that_a_map_leaves_out_are_not_read(run, here):
    for genre, frequency in TONES.items():
        for i in range(4):
            write_tone(here / "lib" / genre / f"{i}.wav", frequency, i)
    left_out, *others = sorted(TONES)
    (here / "lib" / left_out / "0.wav").write_bytes(b"not audio")
    write_map(here / "map.yaml", "".join(f"{name}: {name.upper()}\n" for name in others) + f"{left_out}: null\n")
    result = run("prepare", "data=folder", "data.root=lib", "data.class_map=map.yaml", "data.cache=none")
    assert result.code == 0, result.err
    assert "bad file" not in result.out + result.err
    assert f"of the class {left_out}" in result.out + result.err


def test_evaluation_on_other_classes_suggests_the_map_that_fits(run, here):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 6)), columns=[f"f{i}" for i in range(6)])
    frame.insert(0, "track_id", [f"t{i}" for i in range(60)])
    frame["split"] = np.array(["train", "train", "valid", "test"])[np.arange(60) // 2 % 4]
    frame.assign(label=np.array(["rock", "hiphop"])[np.arange(60) % 2]).to_csv("ours.csv", index=False)
    theirs = frame.assign(label=np.array(["Rock", "Hip-Hop"])[np.arange(60) % 2])
    theirs.assign(track_id=[f"u{i}" for i in range(60)], f0=frame.f0 + 1).to_csv("theirs.csv", index=False)
    common = ["data=table", "data.split_column=split"]
    assert run("train", *common, "data.path=ours.csv", *FAST).code == 0
    folder = str(only_run(here))
    result = run("evaluate", folder, *common, "data.path=theirs.csv")
    assert (result.code, result.problems[0].kind) == (2, "unknown_classes")
    assert result.problems[0].suggestion == "data.class_map=fma_to_gtzan"
    result = run("evaluate", folder, *common, "data.path=theirs.csv", result.problems[0].suggestion)
    assert result.code == 0, result.err
    (record,) = Run.open(Path(folder)).metrics["elsewhere"].values()
    assert record["n"] == 14
