"""Splits keep what belongs together on one side, and leaks are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.data.leaks import find_leaks
from musicreclass.data.splits import Split, assign_splits
from musicreclass.data.tracks import make_tracks

TRACKS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, *"pqrstuvw"]), st.sampled_from([None, None, *"123"])),
    min_size=1,
    max_size=60,
)


def tracks_of(rows: list[tuple], split=None) -> pd.DataFrame:
    target, group, checksum = zip(*rows, strict=True)
    return make_tracks([f"t{i}" for i in range(len(rows))], target, group=group, checksum=checksum, split=split)


@given(rows=TRACKS, seed=st.integers(0, 5), protocol=st.sampled_from(["random", "grouped"]))
@settings(max_examples=150, deadline=None)
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


@given(
    counts=st.lists(st.integers(1, 80), min_size=2, max_size=6),
    valid=st.sampled_from([0.1, 0.15, 0.25]),
    seed=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_random_splits_are_stratified_to_within_a_track(counts, valid, seed):
    rows = [(f"c{k}", None, None) for k, n in enumerate(counts) for _ in range(n)]
    tracks = tracks_of(rows)
    split = assign_splits(tracks, Split("random", valid=valid, test=valid, seed=seed))[1]
    for k, n in enumerate(counts):
        here = split[tracks.target == f"c{k}"]
        assert abs((here == "valid").sum() - valid * n) < 1
        assert abs((here == "test").sum() - valid * n) < 1


def test_a_grouped_split_keeps_the_shares():
    rows = [(f"c{i % 5}", f"g{i % 5}-{i // 25}", None) for i in range(1000)]
    split = assign_splits(tracks_of(rows), Split("grouped", 0.2, 0.2))[1]
    shares = split.value_counts(normalize=True)
    assert abs(shares["valid"] - 0.2) < 0.02
    assert abs(shares["test"] - 0.2) < 0.02


def test_a_class_with_few_large_groups_is_validated_and_tested_all_the_same():
    rows = [(f"c{i % 2}", f"g{i % 2}-{i % 6}", None) for i in range(60)]
    tracks = tracks_of(rows)
    split = assign_splits(tracks, Split("grouped"))[1]
    assert (pd.crosstab(tracks.target, split) > 0).all().all()


def test_seeds_draw_different_splits():
    rows = [("ab"[i % 2], None, None) for i in range(100)]
    one, two = (assign_splits(tracks_of(rows), Split("random", seed=s))[1] for s in (0, 1))
    assert not one.equals(two)


def test_auto_takes_the_column_then_groups_then_chance():
    rows = [("ab"[i % 2], f"g{i % 10}", None) for i in range(40)]
    column = np.where(np.arange(40) < 30, "Training", "validation")
    assert assign_splits(tracks_of(rows, split=column), Split("auto"))[0] == "column"
    assert set(assign_splits(tracks_of(rows, split=column), Split("auto"))[1]) == {"train", "valid"}
    assert assign_splits(tracks_of(rows), Split("auto"))[0] == "grouped"
    assert assign_splits(tracks_of([(t, None, None) for t, _, _ in rows]), Split("auto"))[0] == "random"


def leaks(rows, split):
    return find_leaks(tracks_of(rows, split=split), "given")


def test_leaks_are_counted():
    split = ["train"] * 4 + ["valid"] * 3
    found = leaks([("a", g, None) for g in ("x", "x", "y", None, "x", "z", "y")], split)
    assert found.leaky == "yes"
    assert found.why == [
        "2 of the 3 artists in valid are in train too (2 of 3 valid tracks)",
        "the artist is unknown for 1 of 7 tracks",
    ]
    found = leaks([("a", g, None) for g in ("x", "x", "y", "y", "u", "v", "w")], split)
    assert (found.leaky, found.why) == ("no", ["all 5 artists lie on one side each"])
    found = leaks([("a", None, None)] * 7, split)
    assert (found.leaky, found.why) == ("unknown", ["the artist is unknown for all of 7 tracks"])
    found = leaks([("a", None, c) for c in ("1", "2", "3", None, "2", "4", None)], split)
    assert found.leaky == "yes"
    assert found.why[0] == "1 recordings of identical content are in train and in valid (t4)"


def test_an_album_stands_in_for_an_unknown_artist():
    tracks = make_tracks(list("abcd"), list("xyxy"), album=["1", "1", "2", "3"], group=[None, None, "p", "q"],
                         split=["train", "valid", "train", "valid"])  # fmt: skip
    assert find_leaks(tracks, "given").leaky == "yes"
    tracks = make_tracks(list("abcd"), list("xyxy"), album=["1", "1", "2", "3"], group=["r", "s", "p", "q"],
                         split=["train", "valid", "train", "valid"])  # fmt: skip
    assert find_leaks(tracks, "given").leaky == "no"
