"""Several datasets as one: data=[a,b]."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicreclass.config.check import train_settings
from musicreclass.data.combined import CombinedTable
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.table_file import TableFile
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import DataError
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.runs.folder import Run
from musicreclass.tasks.open_data import open_data
from tests.conftest import make_frame, only_run
from tests.library import SMALL, batches, write_tone

FAST = ["hardware=cpu", "logger=none"]
GENRES = {"blues": 300, "rock": 2000}
THEIRS = {"Blues": 320, "Loud": 2100}
NAMES = ("adams", "brown", "clark", "davis")
SOURCE = """
from pathlib import Path

from musicreclass.data.sources.folder import GenreFolders


class Shelf(GenreFolders):
    pass


class Numbered(GenreFolders):
    def find(self):
        from dataclasses import replace

        recordings = super().find()
        names = [Path(path).parent.name for path in recordings.paths]
        numbers = [str(sorted(set(names)).index(name)) for name in names]
        return replace(recordings, metadata={"group": numbers}, artist_names=names if self.named else None)

    named = True


class Nameless(Numbered):
    named = False
"""


def write_shelf(root: Path, genres: dict[str, int], artists: str, seed: int) -> None:
    for k, (genre, tone) in enumerate(genres.items()):
        for a in range(4):
            for take in range(2):
                path = root / genre / f"{artists} {genre.lower()} {NAMES[a]}" / f"song {take}.wav"
                write_tone(path, tone, seed + 100 * k + 10 * a + take)


@pytest.fixture
def shelves(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two libraries in folders, lib and shelf, of which the second has other names for its genres and a map of them."""
    write_shelf(here / "ours", GENRES, "ann", 0)
    write_shelf(here / "theirs", THEIRS, "bob", 5000)
    (here / "shelf_source.py").write_text(SOURCE)
    (here / "mine" / "data").mkdir(parents=True)
    for name in ("Shelf", "Numbered", "Nameless"):
        (here / "mine" / "data" / f"{name.lower()}.yaml").write_text(
            "defaults:\n  - _audio\n  - split: auto\n  - _self_\n"
            f"_target_: shelf_source.{name}\nprovides: [waveform]\nroot: theirs\n"
        )
    (here / "map.yaml").write_text("Blues: blues\nLoud: rock\n")
    return with_second("shelf")


def with_second(name: str) -> list[str]:
    return [f"data=[folder,{name}]", "data.parts.folder.root=ours", f"data.parts.{name}.class_map=map.yaml"]


def opened(*overrides: str, features: bool = False) -> TrackData:
    settings = train_settings([*overrides, *([] if features else SMALL)], "mine" if Path("mine").is_dir() else None)
    return open_data(settings, resolve_profile(settings.hardware))


def test_each_part_keeps_its_split_settings_and_samples(shelves):
    both = opened(*shelves)
    assert isinstance(both, AudioData)
    alone = {
        "folder": opened("data=folder", "data.root=ours"),
        "shelf": opened("data=shelf", "data.class_map=map.yaml"),
    }
    assert both.classes == ["blues", "rock"]
    for name, part in alone.items():
        assert isinstance(part, AudioData)
        rows = both.tracks[both.tracks.dataset == name].reset_index()
        assert rows.track_id.tolist() == [f"{name}/{track_id}" for track_id in part.tracks.track_id]
        assert rows.split.tolist() == part.tracks.split.tolist()
        assert rows.target.tolist() == part.tracks.target.tolist()
        for row in (0, len(rows) - 1):
            together, single = both.recording[rows["index"][row]], part.recording[row]
            n = int(part.waveforms.lengths[single])
            np.testing.assert_array_equal(both.waveforms.crop(together, 0, n), part.waveforms.crop(single, 0, n))
    assert both.protocol.leaky == "no"
    assert both.protocol.split == "folder grouped + shelf grouped"
    assert sum(len(batch[1]) for batch in batches(both, "train")) == both.size("train")


def test_classes_must_agree(shelves):
    without_map = [text for text in shelves if "class_map" not in text]
    with pytest.raises(DataError) as caught:
        opened(*without_map)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.value) == ("different_classes", "data.parts.folder.class_map", ["rock"])
    Path("both.yaml").write_text("blues: soft\nrock: hard\nLoud: hard\n")  # one map of the combination
    assert opened(*without_map, "data.class_map=both.yaml").classes == ["hard", "soft"]


def test_a_dataset_may_have_fewer_classes_with_a_caution(shelves, here):
    shutil.rmtree(here / "theirs" / "Loud")
    data = opened(*shelves)
    assert "rock (folder)" in data.protocol.cautions["classes of one dataset"]
    assert "blues" not in data.protocol.cautions["classes of one dataset"]


def test_one_split_over_all_keeps_artists_of_several_datasets_together(shelves, here):
    shared = here / "theirs" / "Blues" / "ann blues adams"
    write_tone(shared / "song 9.wav", 310, 77)
    data = opened(*shelves, "data/split=grouped")
    rows = data.tracks[data.tracks.group == "ann blues adams"]
    assert sorted(rows.dataset.unique()) == ["folder", "shelf"]
    assert rows.split.nunique() == 1
    assert (data.protocol.split, data.protocol.leaky) == ("grouped", "no")


def across(shelves: list[str], artist: str) -> TrackData:
    """The data after an artist of ours, who is not in train there, was added to the others' training tracks."""
    for n in range(8):  # a large artist of a drawn split is in train
        write_tone(Path("theirs") / "Blues" / artist / f"song {n}.wav", 310, 70 + n)
    return opened(*shelves)


def test_an_artist_in_other_splits_of_another_dataset_is_a_leak(shelves):
    ours = opened(*shelves).tracks
    artist = ours[(ours.dataset == "folder") & (ours.split == "test")].group.iloc[0]
    data = across(shelves, artist)
    assert data.protocol.leaky == "yes"
    splits = data.tracks[data.tracks.group == artist].groupby("dataset").split.first()
    assert splits.folder == "test"
    assert splits.shelf == "train"


def test_a_copy_in_other_splits_of_another_dataset_is_a_leak(shelves, here):
    tracks = opened(*shelves).tracks
    scored = tracks[(tracks.dataset == "folder") & (tracks.split == "test") & (tracks.target == "blues")].path.iloc[0]
    trained = tracks[(tracks.dataset == "shelf") & (tracks.split == "train") & (tracks.target == "blues")].path.iloc[0]
    shutil.copy(scored, trained)
    data = opened(*shelves)
    assert data.protocol.leaky == "yes"
    assert any("folder/" in line for line in data.protocol.why)


@pytest.mark.parametrize(("second", "leaky"), [("numbered", "yes"), ("nameless", "unknown")])
def test_numbers_of_artists_are_compared_by_their_names_only(shelves, second, leaky):
    ours = opened(*with_second(second)).tracks
    artist = ours[(ours.dataset == "folder") & (ours.split == "test")].group.iloc[0]
    data = across(with_second(second), artist)
    assert data.protocol.leaky == leaky
    numbered = data.tracks[data.tracks.dataset == second].group
    assert (artist in set(numbered)) == (second == "numbered")
    assert numbered[numbered != artist].str.startswith(f"{second}:").all()


def test_numbers_of_two_datasets_are_never_the_same_artist(shelves):
    data = opened(
        "data=[numbered,nameless]", "data.parts.numbered.root=theirs", "data.parts.nameless.root=ours",
        "data.parts.numbered.class_map=map.yaml",
    )  # fmt: skip
    per_artist = data.tracks.groupby("group").dataset.nunique()
    assert (per_artist == 1).all()
    assert data.protocol.leaky == "unknown"


def test_a_run_records_its_datasets_and_is_found_again(run, here, shelves):
    overrides = ["--config-dir", "mine", *shelves, *SMALL, "run_dir=run"]
    result = run("train", *overrides, "evaluate=[valid,test]")
    assert result.code == 0, result.err
    trained = Run.open(here / "run")
    scores = trained.metrics["test"]
    assert sum(part["n"] for part in scores["by_dataset"].values()) == scores["n"]
    mean = sum(part["n"] * part["accuracy"] for part in scores["by_dataset"].values()) / scores["n"]
    assert mean == pytest.approx(scores["accuracy"])
    assert sorted(scores["by_dataset"]) == ["folder", "shelf"]
    assert set(pd.read_parquet(here / "run" / "tracks.parquet").dataset) == {"folder", "shelf"}
    before = (here / "run" / "metrics.json").stat().st_mtime_ns
    assert run("train", *overrides, "evaluate=[valid,test]").code == 0
    assert (here / "run" / "metrics.json").stat().st_mtime_ns == before
    # evaluate executes the user's class only if it is trusted, also as a part
    result = run("evaluate", "run", "--split", "train")
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (
        2,
        "untrusted_module",
        "data.parts.shelf._target_",
    )
    assert run("evaluate", "run", "--split", "train", "--trust", "shelf_source").code == 0


def test_settings_of_recordings_are_common_and_others_are_the_parts(run, here, shelves):
    result = run("train", "--config-dir", "mine", *shelves, *SMALL, "data.parts.folder.clip_seconds=3")
    assert (result.code, result.problems[0].suggestion) == (2, "data.clip_seconds")
    result = run("train", "--config-dir", "mine", *shelves, *SMALL, "data.group_by=none")
    assert (result.code, result.problems[0].suggestion) == (2, "data.parts.folder.group_by")
    settings = train_settings([*shelves, *SMALL, "data.min_seconds=0.7"], "mine")
    assert {part.min_seconds for part in settings.data.sources().values()} == {0.7}


def test_bad_files_of_all_parts_are_counted(shelves, here):
    (here / "theirs" / "Blues" / "bob blues adams" / "song 0.wav").write_bytes(b"nothing")
    data = opened(*shelves, "data.max_bad_fraction=0.5")
    assert len(data.bad_files) == 1
    assert len(data.files()) > len(data.tracks)
    with pytest.raises(DataError) as caught:
        opened(*shelves, "data.on_bad_file=error")
    assert caught.value.kind == "bad_files"


# tables


def write_tables(here: Path) -> list[str]:
    """Two tables with the same columns in another order; a file of configuration for the second."""
    frame = make_frame(features=8, groups=5)
    frame["artist"] = frame.artist.str.translate(str.maketrans("01234", "abcde"))
    frame.to_csv("one.csv", index=False)
    other = make_frame(features=8, groups=5, seed=0)
    features = [f"f{i}" for i in range(8)]
    other[features] = other[features] + np.random.default_rng(3).normal(size=(len(other), 8))
    other["artist"] = "other " + frame.artist
    other = other[["track_id", "label", "artist", *reversed(features)]]
    other.to_csv("two.csv", index=False)
    (here / "mine" / "data").mkdir(parents=True)
    (here / "mine" / "data" / "second.yaml").write_text(
        "defaults:\n  - table\n  - _self_\npath: two.csv\ngroup_column: artist\n"
    )
    return ["data=[table,second]", "data.parts.table.path=one.csv", "data.parts.table.group_column=artist"]


def test_tables_are_combined_by_the_names_of_their_columns(run, here):
    overrides = write_tables(here)
    data = opened(*overrides, features=True)
    assert isinstance(data, TableData)
    alone = opened("data=second", features=True)
    assert isinstance(alone, TableData)
    rows = (data.tracks.dataset == "second").to_numpy()
    order = [alone.columns.index(name) for name in data.columns]
    np.testing.assert_array_equal(data.x[rows[data.row_track]], alone.x[:, order])
    assert data.tracks.split[rows].tolist() == alone.tracks.split.tolist()
    assert data.protocol.leaky == "no"
    result = run("train", "--config-dir", "mine", *overrides, "model=logreg", *FAST)
    assert result.code == 0, result.err
    trained = Run.open(only_run(here))
    assert sorted(trained.metrics["valid"]["by_dataset"]) == ["second", "table"]
    result = run("train", "--config-dir", "mine", *overrides, "model=logreg", *FAST)
    assert str(trained.folder.name) in result.err + result.out  # found again
    result = run("evaluate", str(trained.folder), "--split", "test")
    assert result.code == 0, result.err


def test_near_copies_in_another_table_are_a_leak(here):
    overrides = write_tables(here)
    one, two = pd.read_csv("one.csv"), pd.read_csv("two.csv")
    features = [f"f{i}" for i in range(8)]
    two[features] = one[features] * 1.0001
    two.to_csv("two.csv", index=False)
    data = opened(*overrides, "data.parts.second.split.seed=3", features=True)
    assert data.protocol.leaky == "yes"


def test_tables_with_other_columns_are_refused(here):
    overrides = write_tables(here)
    pd.read_csv("two.csv").rename(columns={"f3": "g3"}).to_csv("two.csv", index=False)
    with pytest.raises(DataError) as caught:
        opened(*overrides, features=True)
    assert (caught.value.kind, caught.value.key) == ("different_columns", "data.parts.second.ignore_columns")
    both = opened(
        *overrides, "data.parts.table.ignore_columns=[f3]", "data.parts.second.ignore_columns=[g3]", features=True
    )
    assert isinstance(both, TableData)
    assert len(both.columns) == 7


def test_a_wrong_path_of_a_part_is_named(run, here):
    result = run("train", "--config-dir", "mine", *write_tables(here), *FAST, "data.parts.table.path=on.csv")
    assert (result.code, result.problems[0].key) == (2, "data.parts.table.path")


# real data


@pytest.fixture
def real(real_data: Path) -> list[str]:
    """The overrides that combine the excerpts of GTZAN with the few clips of FMA."""
    roots = [f"data.parts.gtzan.root={real_data}/GTZAN_excerpts", f"data.parts.fma_audio.root={real_data}/FMA"]
    return ["data=[gtzan,fma_audio]", *roots, "data.parts.fma_audio.class_map=fma_to_gtzan"]


def test_gtzan_and_fma_are_combined(run, real):
    data = opened(*real, "features=fma518", "features.sets=[mfcc]", features=True)
    assert data.tracks.dataset.value_counts().to_dict() == {"gtzan": 323, "fma_audio": 10}
    assert len(data.classes) == 10
    assert data.protocol.split == "gtzan fault_filtered + fma_audio official"
    assert data.protocol.leaky == "unknown"  # this copy of tracks.csv has no artists
    assert set(data.tracks.target[data.tracks.dataset == "fma_audio"]) == {"hiphop", "rock"}
    result = run("prepare", *[text for text in real if "class_map" not in text])
    assert (result.code, result.problems[0].suggestion) == (2, "data.parts.fma_audio.class_map=fma_to_gtzan")


@pytest.mark.slow
def test_a_run_on_gtzan_is_scored_on_fma(run, here, real_data):
    features = ["features=fma518", "features.sets=[mfcc]", "model=logreg", *FAST]
    result = run("train", "data=gtzan", f"data.root={real_data}/GTZAN_excerpts", *features, "run_dir=run")
    assert result.code == 0, result.err
    fma = ["--split", "all", "data=fma_audio", f"data.root={real_data}/FMA"]
    result = run("evaluate", "run", *fma)
    assert (result.code, result.problems[0].suggestion) == (2, "data.class_map=fma_to_gtzan")
    result = run("evaluate", "run", *fma, "data.class_map=fma_to_gtzan")
    assert result.code == 0, result.err
    (record,) = Run.open(here / "run").metrics["elsewhere"].values()
    support = {name: scores["support"] for name, scores in record["per_class"].items() if scores["support"]}
    assert support == {"hiphop": 3, "rock": 7}


def test_tags_of_several_tables(here):
    """Parts need a class map only for tags that none of the others has, not for other sets of the same tags."""
    parts = {}
    for name, sets in (("a", ["rock|slow", "slow"]), ("b", ["rock", "slow|rock"]), ("c", ["loud", "odd"])):
        frame = make_frame(n=60, groups=6, seed=ord(name)).assign(label=sets * 30)
        frame.to_csv(here / f"{name}.csv", index=False)
        path = str(here / f"{name}.csv")
        parts[name] = TableFile(path, {"protocol": "auto"}, label_separator="|", group_column="artist")
    both = CombinedTable({"protocol": "grouped"}, {name: parts[name] for name in "ab"})
    both.setup()
    assert (both.is_multi, both.classes, len(both.tracks)) == (True, ["rock", "slow"], 120)
    assert both.cautions == {}  # no set of tags counts as a class of one table
    with pytest.raises(DataError) as caught:
        CombinedTable({"protocol": "grouped"}, parts).setup()
    (problem,) = caught.value.problems
    assert (problem.kind, sorted(problem.value)) == ("different_classes", ["loud", "odd"])
