"""What may make scores too high is found: artists, recordings and their parts, near-copies of rows, albums."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.groups import group_of
from musicreclass.data.known_datasets import datasets_in
from musicreclass.data.leaks import SHARED_ALBUMS, find_leaks
from musicreclass.data.segments import segment_stems
from musicreclass.data.sources.table_file import TableFile
from musicreclass.data.splits import Split, assign_splits
from musicreclass.data.tracks import make_tracks
from musicreclass.errors import DataError

SPLITS = np.array(["train"] * 7 + ["valid"] * 2 + ["test"])


def tracks_of(groups, split=None, **metadata) -> pd.DataFrame:
    n = len(groups)
    ids = metadata.pop("ids", [f"t{i}" for i in range(n)])
    return make_tracks(ids, ["ab"[i % 2] for i in range(n)], group=groups, split=split, **metadata)


@pytest.mark.parametrize("side", ["train", "valid", "test"])
@pytest.mark.parametrize(("unknown", "leaky"), [(1, "no"), (2, "no"), (3, "unknown"), (20, "unknown")])
def test_each_split_is_judged_by_its_own_unknown_artists(side, unknown, leaky):
    split = np.repeat(["train", "valid", "test"], 100)
    groups = [f"g{i}" for i in range(300)]
    for i in np.flatnonzero(split == side)[:unknown]:
        groups[i] = None
    protocol = find_leaks(tracks_of(groups, split), "column")
    assert protocol.leaky == leaky
    counts = [re.findall(r"\d+", line) for line in protocol.why]
    assert counts[0] == [str(unknown), "300"]
    assert leaky == "no" or (counts[1][:2] == [str(unknown), "100"] and side in protocol.why[1])


def test_a_split_without_known_artists_is_never_free_of_leaks():
    """200 training tracks of known artists do not make up for 20 test tracks of unknown ones."""
    groups = [f"g{i}" for i in range(200)] + [None] * 20
    assert find_leaks(tracks_of(groups, ["train"] * 200 + ["test"] * 20), "column").leaky == "unknown"


@pytest.mark.parametrize("seed", [0, 1])
def test_tracks_of_unknown_artist_are_training_tracks_of_a_grouped_split(seed):
    groups = [None if i % 6 == 0 else f"g{i // 4}" for i in range(240)]
    tracks = tracks_of(groups)
    tracks["split"] = assign_splits(tracks, Split("grouped", seed=seed))[1]
    assert set(tracks.split[tracks.group.isna()]) == {"train"}
    assert set(tracks.split) == {"train", "valid", "test"}
    assert find_leaks(tracks, "grouped").leaky == "unknown"  # a training track may be by a test artist
    again = tracks.sample(frac=1, random_state=seed)
    assert assign_splits(again.assign(split=None), Split("grouped", seed=seed))[1].sort_index().equals(tracks.split)


def test_the_album_or_a_copy_replaces_an_unknown_artist():
    groups = [None if i % 6 == 0 else f"g{i // 4}" for i in range(240)]
    album = [f"album {i // 4}" if group is None else None for i, group in enumerate(groups)]
    split = assign_splits(tracks_of(groups, album=album), Split("grouped"))[1]
    assert len(set(split[[group is None for group in groups]])) > 1
    checksum = [str(i // 6) for i in range(240)]  # a copy of each names the artist
    split = assign_splits(tracks_of(groups, checksum=checksum), Split("grouped"))[1]
    assert len(set(split[[group is None for group in groups]])) > 1


def table(here, **columns) -> TableFile:
    n = len(next(iter(columns.values())))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"track_id": [f"t{i}" for i in range(n)], "label": ["ab"[i % 2] for i in range(n)]})
    features = pd.DataFrame(rng.standard_normal((n, 8)), columns=[f"f{i}" for i in range(8)])
    frame = pd.concat([frame, features], axis=1).assign(**columns)
    frame.to_csv(here / "t.csv", index=False)
    arguments = {"group_column": "artist"} if "artist" in columns else {}
    if "split" in columns:
        arguments["split_column"] = "split"
    data = TableFile(str(here / "t.csv"), {"protocol": "auto"}, **arguments)
    data.setup()
    return data


def test_too_few_known_artists_are_an_error(here):
    with pytest.raises(DataError) as caught:
        table(here, artist=["one", *[""] * 59])
    assert caught.value.kind == "too_few_artists"
    assert caught.value.key in ("valid", "test")


@pytest.mark.parametrize(
    "variant", [str.upper, lambda name: f"The  {name}", lambda name: f"{name}, The", "{} feat. Z".format]
)
def test_an_artist_written_in_two_ways_is_in_one_split(here, variant):
    data = table(here, artist=[f"artist {i // 4}" if i % 4 < 2 else variant(f"artist {i // 4}") for i in range(120)])
    assert (data.tracks.groupby(np.arange(120) // 4).split.nunique() == 1).all()
    assert data.protocol.leaky == "no"
    assert group_of(data.tracks).nunique() == 30
    assert any(note.startswith("30 artists") for note in data.notes)


@pytest.mark.parametrize("name", ["Various Artists", "-1", "nan", "N/A", "unknown"])
def test_placeholders_are_unknown_artists(here, name):
    data = table(here, artist=[name if i % 4 == 3 else f"a{i // 4}" for i in range(120)])
    assert data.protocol.leaky == "unknown"
    assert any(re.findall(r"\d+", line)[:2] == ["30", "120"] for line in data.protocol.why)
    assert any(note.startswith("30 tracks") and name in note for note in data.notes)


def test_classes_written_in_two_ways_are_one(here):
    data = table(here, label=["Rock", "rock", "Jazz", "Rock", "nan"] * 12)
    assert data.classes == ["Jazz", "Rock"]
    assert data.dropped["without a label"] == 12
    assert {note.split()[0] for note in data.notes} == {"1", "12"}


@pytest.mark.parametrize("name", ["{}.{}.wav", "{}_seg{}", "{}-{}", "{} part {}.mp3", "a/{}_{}"])
def test_segments_of_a_recording_in_several_splits_are_a_leak(name):
    ids = [name.format(f"blues.{i // 3:05d}", i % 3) for i in range(90)]
    split = ["train", "valid", "test"] * 30
    protocol = find_leaks(tracks_of([None] * 90, split, ids=ids), "random")
    assert protocol.leaky == "yes"
    (line,) = [line for line in protocol.why if "data.group_column" in line]
    assert re.findall(r"\b\d+\b", line)[:2] == ["90", "30"]
    protocol = find_leaks(tracks_of([None] * 90, np.repeat(["train", "valid", "test"], 30), ids=ids), "column")
    assert protocol.leaky == "unknown"


def test_ranges_of_seconds_are_segments():
    ids = [f"artist-title {i // 3}-{29 * (i % 3 + 1 + i // 3)}-{29 * (i % 3 + 2 + i // 3)}" for i in range(90)]
    assert segment_stems(tracks_of([None] * 90, ids=ids)).nunique() == 30


@pytest.mark.parametrize("ids", [
    [f"{'ab'[i % 2]}.{i // 2:05d}.wav" for i in range(90)],  # numbers within classes, as in GTZAN
    [f"track_{i}" for i in range(90)],
    [str(i) for i in range(90)],
    [f"{i:06d}.mp3" for i in range(90)],
    [f"{1970 + i // 3}-{i % 3 + 1}" for i in range(90)],  # places in charts
    [f"artist{i // 3}/{i % 3}.mp3" for i in range(90)],
    [f"id{i // 2}-{i * 7919 % 1000}" for i in range(90)],
])  # fmt: skip
def test_other_ids_are_not_segments(ids):
    assert segment_stems(tracks_of([None] * 90, ids=ids)).isna().all()


@pytest.mark.parametrize("copy", [
    lambda x, rng: x * (1 + 1e-6 * rng.standard_normal(x.shape)),
    lambda x, rng: x * (1 + 0.01 * rng.standard_normal(x.shape)),
    lambda x, rng: x + 1e-4,
    lambda x, rng: x.round(4),
])  # fmt: skip
def test_near_copies_of_rows_in_several_splits_are_a_leak(here, copy):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((90, 8))
    x = np.concatenate([x, copy(x[:20], rng)])
    split = ["train"] * 60 + ["valid"] * 30 + ["test"] * 20
    data = table(here, split=split, **{f"f{i}": x[:, i] for i in range(8)})
    assert data.protocol.leaky == "yes"
    assert re.findall(r"\b\d+\b", data.protocol.why[0])[:2] in (["20", "20"], ["19", "20"], ["18", "20"])
    assert "t90 ~ t0" in data.protocol.why[0]
    assert "data.group_column" in data.protocol.why[0]
    assert table(here, split=split).protocol.leaky == "unknown"


def test_an_album_of_two_known_artists_in_two_splits_is_a_caution():
    album = ["compilation" if i % 10 == 0 else f"album {i}" for i in range(60)]
    protocol = find_leaks(
        tracks_of([f"g{i}" for i in range(60)], np.repeat(["train", "test"], 30), album=album), "column"
    )
    assert protocol.leaky == "no"
    assert re.findall(r"\d+", protocol.cautions[SHARED_ALBUMS]) == ["1", "28", "3", "30"]
    apart = find_leaks(
        tracks_of([f"g{i}" for i in range(60)], np.repeat(["train", "test"], 30), album=range(60)), "column"
    )
    assert apart.cautions == {}


@pytest.mark.parametrize("unknown_side", ["train", "test"])
def test_an_album_of_which_one_side_is_of_unknown_artist_is_a_leak(unknown_side):
    split = np.repeat(["train", "test"], [30, 10])
    groups = [None if side == unknown_side else "x" for side in split]
    tracks = tracks_of([*groups, *"pqr"], [*split, "train", "valid", "test"], album=["a"] * 40 + list("pqr"))
    protocol = find_leaks(tracks, "column")
    assert protocol.leaky == "yes"
    assert re.findall(r"\d+", protocol.why[0]) == ["1", "1", "10", "11"]
    assert protocol.cautions == {}


def test_albums_do_not_make_up_for_unknown_artists():
    """Two albums in two splits may be by one artist."""
    split = np.repeat(["train", "test"], [40, 20])
    protocol = find_leaks(tracks_of([None] * 60, split, album=range(60)), "column")
    assert protocol.leaky == "unknown"
    assert [re.findall(r"\d+", line) for line in protocol.why] == [["60"]]
    groups = [f"g{i}" for i in range(58)] + [None, None]
    protocol = find_leaks(tracks_of(groups, split, album=range(60)), "column")
    assert (protocol.leaky, re.findall(r"\d+", protocol.why[0])) == ("unknown", ["2", "60"])


def test_gtzan_is_recognised_by_its_clips():
    ids = [f"{genre}/{genre}.{i:05d}.wav" for genre in ("blues", "hiphop") for i in range(10)]
    tracks = make_tracks(ids, ["Blues"] * 10 + ["Hip-Hop"] * 10, duration=[30.01] * 20)
    assert datasets_in(tracks) == ["gtzan"]
    assert datasets_in(tracks.assign(track_id=tracks.track_id.str.rpartition("/")[2])) == ["gtzan"]
    assert datasets_in(tracks.assign(duration=5.0)) == ["gtzan"]  # excerpts
    assert datasets_in(tracks.assign(duration=200.0)) == []
    assert datasets_in(tracks[:10]) == []  # of one genre
    assert datasets_in(tracks.assign(target="x")) == []
    assert datasets_in(tracks[:5]) == []
