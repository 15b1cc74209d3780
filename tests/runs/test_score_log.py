"""The score log: which models were scored on which tracks."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from musicreclass.errors import notices
from musicreclass.runs.score_log import FILE, ScoreLog, Scoring, TrackSet, append


def tracks(ids, target="rock", contents=True) -> TrackSet:
    ids = [str(i) for i in ids]
    return TrackSet.of(ids, [target] * len(ids), [f"content {i}" if contents else None for i in ids])


def scoring(of: TrackSet, configuration="c", signature="s", predictions="p", split="test") -> Scoring:
    return Scoring(of.fingerprint, split, signature, configuration, predictions, "run")


def use(folder: Path, of: TrackSet) -> tuple[int, int, list[float]]:
    used = ScoreLog.read(folder).use_of(of)
    return used.configurations, used.models, used.shares


def test_scorings_are_counted_by_tracks_whatever_the_split_is_called(tmp_path):
    test = tracks(range(10))
    for i, split in enumerate(("test", "all@1234abcd", "valid")):
        append(tmp_path, scoring(test, f"c{i}", f"s{i}", split=split), test)
    append(tmp_path, scoring(test, "c0", "another seed"), test)
    assert use(tmp_path, test) == (3, 4, [])
    assert use(tmp_path, tracks(range(10, 20))) == (0, 0, [])


def test_a_repetition_is_not_counted(tmp_path):
    test = tracks(range(10))
    for _ in range(2):
        append(tmp_path, scoring(test), test)
    assert len((tmp_path / FILE).read_text().splitlines()) == 2  # the set and its scoring
    append(tmp_path, scoring(test, "other code", predictions="q"), test)
    assert use(tmp_path, test)[0] == 2


def test_overlapping_sets_count_with_their_share(tmp_path):
    sets = [tracks(range(start, start + 10)) for start in (0, 5, 8, 10)]
    for i, each in enumerate(sets):
        append(tmp_path, scoring(each, f"c{i}", f"s{i}"), each)
    assert use(tmp_path, sets[0]) == (1, 1, [0.2, 0.5])
    assert use(tmp_path, tracks(range(10, 20))) == (1, 1, [0.5, 0.8])


def test_parts_of_a_configuration_add_up(tmp_path):
    for i, fold in enumerate((tracks(range(5)), tracks(range(5, 10)))):
        append(tmp_path, scoring(fold, "c", f"s{i}"), fold)
    assert use(tmp_path, tracks(range(10))) == (1, 2, [])


@pytest.mark.parametrize(("other", "shared"), [
    (tracks(range(10), contents=False), 10),  # the same ids and targets
    (TrackSet.of([f"copy {i}" for i in range(10)], ["pop"] * 10, [f"content {i}" for i in range(10)]), 10),
    (TrackSet.of(map(str, range(10)), ["rock", *["pop"] * 9], [None] * 10), 0),  # numbers of the rows of another table
])  # fmt: skip
def test_tracks_are_the_same_by_content_or_by_id_and_target(other, shared):
    assert tracks(range(10)).shared_with(other).sum() == shared


@pytest.mark.parametrize("damage", [b'{"time": "20', b"\xff\xfe", b"[]", b'{"set": "a", "tracks": "%"}', b"{}"])
def test_a_torn_or_damaged_line_is_left_out(tmp_path, damage):
    first, second = tracks(range(10)), tracks(range(20, 30))
    append(tmp_path, scoring(first), first)
    with (tmp_path / FILE).open("ab") as file:
        file.write(damage)
    assert use(tmp_path, first)[0] == 1
    append(tmp_path, scoring(second), second)
    assert use(tmp_path, first)[0] == use(tmp_path, second)[0] == 1


def test_concurrent_scorings_are_all_logged(tmp_path):
    test = tracks(range(10))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: append(tmp_path, scoring(test, f"c{i}", f"s{i}"), test), range(12)))
    assert use(tmp_path, test) == (12, 12, [])
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert sum("set" in line for line in lines) == 1


@pytest.mark.parametrize("obstacle", ["link", "folder", "pipe"])
def test_a_log_that_cannot_be_written_is_warned_of(tmp_path, obstacle, monkeypatch):
    warnings = []
    monkeypatch.setattr(notices, "warning", lambda *arguments: warnings.append(arguments))
    target, file = tmp_path / "target", tmp_path / FILE
    target.write_text("")
    {"link": lambda: file.symlink_to(target), "folder": file.mkdir, "pipe": lambda: os.mkfifo(file)}[obstacle]()
    test = tracks(range(10))
    append(tmp_path, scoring(test), test)
    assert [arguments[1] for arguments in warnings] == [file]
    assert target.read_text() == ""
    assert use(tmp_path, test)[0] == 0
