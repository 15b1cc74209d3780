"""Splits keep related tracks together, and leaks are counted."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import musicreclass as mrc
from musicreclass.data.leaks import SHARED_ALBUMS, find_leaks, shared_near_groups
from musicreclass.data.splits import Split, assign_splits
from musicreclass.data.tracks import make_tracks
from musicreclass.errors import DataError
from tests.conftest import make_frame

TRACKS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, *"pqrstuvw"]), st.sampled_from([None, None, *"123"])),
    min_size=1,
    max_size=60,
)


def tracks_of(rows: list[tuple], split=None) -> pd.DataFrame:
    target, group, checksum = zip(*rows, strict=True)
    return make_tracks([f"t{i}" for i in range(len(rows))], target, group=group, checksum=checksum, split=split)


@given(
    rows=TRACKS, seed=st.integers(0, 5), copies=st.lists(st.sampled_from([None, "x", "y"]), min_size=60, max_size=60)
)
@settings(max_examples=60)
def test_near_copies_are_never_divided(rows, seed, copies):
    tracks = tracks_of(rows)
    unchanged = assign_splits(tracks, Split("random", seed=seed))[1]
    none = tracks.assign(copy_group=pd.Series([None] * len(tracks), dtype=object))
    assert assign_splits(none, Split("random", seed=seed))[1].equals(unchanged)
    tracks["copy_group"] = pd.Series(copies[: len(tracks)], dtype=object)
    tracks["split"] = unchanged
    divided = tracks.groupby("copy_group").split.nunique()
    assert bool(shared_near_groups(tracks)) == bool((divided > 1).any())
    tracks["split"] = assign_splits(tracks.assign(split=None), Split("random", seed=seed))[1]
    assert shared_near_groups(tracks) == []


@given(rows=TRACKS, seed=st.integers(0, 5), protocol=st.sampled_from(["random", "grouped"]))
@settings(max_examples=60)
def test_units_are_never_divided(rows, seed, protocol):
    tracks = tracks_of(rows)
    if protocol == "grouped" and tracks.group.isna().all():
        return
    name, split = assign_splits(tracks, Split(protocol, seed=seed))
    assert name == protocol
    assert set(split) <= {"train", "valid", "test"}
    tracks["split"] = split
    assert (tracks.groupby("checksum").split.nunique() <= 1).all()
    if protocol == "grouped":
        assert (tracks.groupby("group").split.nunique() <= 1).all()
        assert find_leaks(tracks, name).leaky != "yes"
    shuffled = tracks.sample(frac=1, random_state=seed)
    again = assign_splits(shuffled.assign(split=None), Split(protocol, seed=seed))[1]
    assert again.sort_index().equals(split)


@given(rows=TRACKS, seed=st.integers(0, 5), folds=st.integers(3, 6))
@settings(max_examples=15)
def test_each_track_is_tested_in_one_fold_and_validated_in_another(rows, seed, folds):
    check_folds(rows, seed, folds)


@pytest.mark.slow
@given(rows=TRACKS, seed=st.integers(0, 5), folds=st.integers(3, 6))
@settings(max_examples=40)
def test_each_track_is_tested_in_one_fold_of_many_splits(rows, seed, folds):
    check_folds(rows, seed, folds)


def check_folds(rows: list[tuple], seed: int, folds: int) -> None:
    tracks = tracks_of(rows)
    splits = [assign_splits(tracks, Split("folds", folds=folds, fold=i, seed=seed))[1] for i in range(folds)]
    table = pd.concat(splits, axis=1)
    scored = ~(table == "train").all(axis=1)
    assert ((table == "test").sum(axis=1)[scored] == 1).all()
    assert ((table == "valid").sum(axis=1)[scored] == 1).all()
    assert scored.any() or tracks.group.notna().any()
    for split in splits:
        frame = tracks.assign(split=split)
        assert (frame.groupby("checksum").split.nunique() <= 1).all()
        if tracks.group.notna().any():
            assert (frame.groupby("group").split.nunique() <= 1).all()
            assert find_leaks(frame, "folds").leaky != "yes"


def test_a_fold_that_does_not_exist_is_rejected():
    with pytest.raises(DataError) as caught:
        assign_splits(tracks_of([("a", None, None)] * 9), Split("folds", folds=3, fold=3))
    assert (caught.value.kind, caught.value.key) == ("invalid_fold", "data.split.fold")


def test_folds_are_pooled_by_compare(run, here):
    make_frame(groups=5).to_csv("features.csv", index=False)
    data = [
        "data=table",
        "data.path=features.csv",
        "data.group_column=artist",
        "data/split=folds",
        "data.split.folds=3",
    ]
    result = run("train", "-m", *data, "data.split.fold=0,1,2", "model=logreg", "evaluate=[test]", "logger=none")
    assert result.code == 0, result.err
    (row,) = mrc.compare("outputs").to_dict("records")
    assert row["folds"] == "0 1 2"
    assert 90 in row.values()


@given(
    counts=st.lists(st.integers(1, 80), min_size=2, max_size=6),
    valid=st.sampled_from([0.1, 0.15, 0.25]),
    seed=st.integers(0, 3),
)
@settings(max_examples=80)
def test_random_splits_are_stratified_to_within_a_track(counts, valid, seed):
    rows = [(f"c{k}", None, None) for k, n in enumerate(counts) for _ in range(n)]
    tracks = tracks_of(rows)
    split = assign_splits(tracks, Split("random", valid=valid, test=valid, seed=seed))[1]
    for k, n in enumerate(counts):
        of_class = split[tracks.target == f"c{k}"]
        assert abs((of_class == "valid").sum() - valid * n) < 1
        assert abs((of_class == "test").sum() - valid * n) < 1


def test_a_grouped_split_keeps_the_fractions():
    rows = [(f"c{i % 5}", f"g{i % 5}-{i // 25}", None) for i in range(1000)]
    split = assign_splits(tracks_of(rows), Split("grouped", 0.2, 0.2))[1]
    fractions = split.value_counts(normalize=True)
    assert abs(fractions["valid"] - 0.2) < 0.02
    assert abs(fractions["test"] - 0.2) < 0.02


def test_a_class_with_few_large_groups_is_in_every_split():
    rows = [(f"c{i % 2}", f"g{i % 2}-{i % 6}", None) for i in range(60)]
    tracks = tracks_of(rows)
    split = assign_splits(tracks, Split("grouped"))[1]
    assert (pd.crosstab(tracks.target, split) > 0).all().all()


def test_different_seeds_give_different_splits():
    rows = [("ab"[i % 2], None, None) for i in range(100)]
    first, second = (assign_splits(tracks_of(rows), Split("random", seed=s))[1] for s in (0, 1))
    assert not first.equals(second)


def test_auto_uses_the_column_then_groups_then_a_random_split():
    rows = [("ab"[i % 2], f"g{i % 10}", None) for i in range(40)]
    column = np.where(np.arange(40) < 30, "Training", "validation")
    assert assign_splits(tracks_of(rows, split=column), Split("auto"))[0] == "column"
    assert set(assign_splits(tracks_of(rows, split=column), Split("auto"))[1]) == {"train", "valid"}
    assert assign_splits(tracks_of(rows), Split("auto"))[0] == "grouped"
    assert assign_splits(tracks_of([(t, None, None) for t, _, _ in rows]), Split("auto"))[0] == "random"


def leaks(rows, split) -> tuple[str, list[list[int]]]:
    """Whether the split leaks, and the counts in each line of the explanation."""
    protocol = find_leaks(tracks_of(rows, split=split), "column")
    return protocol.leaky, [[int(n) for n in re.findall(r"\b\d+\b", line)] for line in protocol.why]


def test_leaks_are_counted():
    split = ["train"] * 4 + ["valid"] * 3
    rows = [("a", g, None) for g in ("x", "x", "y", None, "x", "z", "y")]
    assert leaks(rows, split) == ("yes", [[2, 3, 2, 3], [1, 7]])  # shared artists, tracks of an unknown artist
    rows = [("a", g, None) for g in ("x", "x", "y", "y", "u", "v", "w")]
    assert leaks(rows, split) == ("no", [[5]])
    assert leaks([("a", None, None)] * 7, split) == ("unknown", [[7]])
    rows = [("a", None, c) for c in ("1", "2", "3", None, "2", "4", None)]
    assert leaks(rows, split) == ("yes", [[1], [7]])  # identical content
    assert "t4" in find_leaks(tracks_of(rows, split=split), "column").why[0]


ALBUMS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from([None, None, *"pqrstuvw"]), st.sampled_from([None, *"123456789"])
    ),
    min_size=1,
    max_size=60,
)


def tracks_of_albums(rows: list[tuple], split=None) -> pd.DataFrame:
    target, group, album = zip(*rows, strict=True)
    return make_tracks([f"t{i}" for i in range(len(rows))], target, group=group, album=album, split=split)


@given(rows=ALBUMS, split=st.lists(st.sampled_from(["train", "valid", "test"]), min_size=60, max_size=60))
@settings(max_examples=80)
def test_an_album_with_tracks_of_unknown_artist_in_two_splits_is_a_leak(rows, split):
    tracks = tracks_of_albums(rows, split[: len(rows)])
    protocol = find_leaks(tracks, "column")
    divided = [
        album
        for album, of_album in tracks.groupby("album")
        if of_album.split.nunique() > 1 and of_album.group.isna().any()
    ]
    if divided:
        assert protocol.leaky == "yes"
        assert SHARED_ALBUMS not in protocol.cautions or tracks[~tracks.album.isin(divided)].album.notna().any()
    if (tracks.groupby("group").split.nunique() <= 1).all():
        assert (protocol.leaky == "yes") == bool(divided)
    if tracks.group.isna().mean() > 0.02:
        assert protocol.leaky != "no"
    if tracks.group.notna().all():
        no_albums = find_leaks(tracks.assign(album=None), "column")
        assert (protocol.leaky, protocol.why) == (no_albums.leaky, no_albums.why)


@given(rows=ALBUMS, seed=st.integers(0, 5), protocol=st.sampled_from(["grouped", "folds"]))
@settings(max_examples=80)
def test_a_drawn_split_does_not_divide_an_album_with_tracks_of_unknown_artist(rows, seed, protocol):
    tracks = tracks_of_albums(rows)
    if tracks.group.isna().all() and tracks.album.isna().all():
        return
    tracks["split"] = assign_splits(tracks, Split(protocol, seed=seed))[1]
    assert (tracks.groupby("group").split.nunique() <= 1).all()
    for _, of_album in tracks.groupby("album"):
        assert of_album.split.nunique() == 1 or of_album.group.notna().all()
    assert find_leaks(tracks, protocol).leaky != "yes"
    if tracks.group.notna().all():
        without_albums = tracks.assign(album=None, split=None)
        assert assign_splits(without_albums, Split(protocol, seed=seed))[1].equals(tracks.split)


def test_the_drawn_split_of_known_artists_is_that_of_earlier_versions():
    rows = [("abc"[i % 3], f"g{i // 4}", f"album {i // 3}") for i in range(60)]
    split = assign_splits(tracks_of_albums(rows), Split("grouped", seed=1))[1]
    digest = hashlib.sha256(" ".join(split).encode()).hexdigest()[:16]
    assert digest == "99a75240ea566992"


def test_the_album_replaces_an_unknown_artist():
    tracks = make_tracks(list("abcd"), list("xyxy"), album=["1", "1", "2", "3"], group=[None, None, "p", "q"],
                         split=["train", "valid", "train", "valid"])  # fmt: skip
    assert find_leaks(tracks, "column").leaky == "yes"
    tracks = make_tracks(list("abcd"), list("xyxy"), album=["1", "1", "2", "3"], group=["r", "s", "p", "q"],
                         split=["train", "valid", "train", "valid"])  # fmt: skip
    assert find_leaks(tracks, "column").leaky == "no"
