"""Malformed recordings beside good ones: each bad file is named with its reason, and the good ones are used."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from musicreclass.data.audio.header import REMEDIES
from tests.hostile import recordings
from tests.hostile.command import run_process, tree
from tests.library import SMALL, TONES, opened, write_tone

REASONS = {"no such file", "not a file", "cannot be read", "empty file", "not audio", "not supported", "truncated", "damaged",
           "too short", *REMEDIES}  # fmt: skip


def good(root: Path, per_genre: int = 8) -> set[str]:
    """Write a small library; returns its paths."""
    for k, (genre, tone) in enumerate(TONES.items()):
        for i in range(per_genre):
            write_tone(root / genre / f"good {i}.wav", tone, 100 * k + i)
    return {str(path) for path in root.rglob("*.wav")}


def hostile_library(root: Path) -> tuple[set[str], dict[str, str | None]]:
    """A library with malformed files; returns the good paths, and the required reason of each bad one, if it is certain."""
    paths = good(root)
    originals = recordings.originals(root.parent / "originals")
    cases = {
        **recordings.damaged(originals),
        **recordings.no_recordings(),
        **recordings.id3_before_mp3(originals["vbr.mp3"]),
    }
    (root / "jazz" / "artist").mkdir()
    expected: dict[str, str | None] = {}
    for i, (name, data) in enumerate(cases.items()):
        path = root / list(TONES)[i % 3] / name
        path.write_bytes(data)
        expected[str(path)] = certain_reason(name)
    for name, reason in recordings.special(root / "jazz").items():
        expected[str(root / "jazz" / name)] = reason
    return paths, expected


def certain_reason(name: str) -> str | None:
    """The reason for which a file must be left out; None if a reader may accept it."""
    kind, _, suffix = name.partition(".")
    if kind == "empty":
        return "empty file"
    if kind == "html":
        return "web page"
    if kind == "pointer":
        return "git lfs pointer"
    if kind == "joined" and suffix in ("wav", "flac", "aiff", "au"):
        return "joined files"
    return "truncated" if name in ("cut 0.5.wav", "cut 0.5.rf64.wav", "cut 0.5.w64", "cut 0.5.au") else None


@pytest.mark.slow
def test_a_library_of_malformed_recordings(tmp_path):
    root = tmp_path / "lib"
    paths, expected = hostile_library(root)
    assert len(expected) >= 150
    before = tree(tmp_path)
    prepared = run_process(tmp_path, "prepare", "data=folder", "data.root=lib", "data.max_bad_fraction=1", *(s for s in SMALL if s.startswith("data.")),
                   seconds=60 + 10 * len(expected))  # fmt: skip
    assert prepared.code == 0, prepared.text
    trained = run_process(
        tmp_path, "train", "data=folder", "data.root=lib", "data.max_bad_fraction=1", *SMALL, "run_dir=outputs/run"
    )
    assert trained.code == 0, trained.text
    assert tree(tmp_path) == before
    table = pd.read_csv(tmp_path / "outputs" / "run" / "bad_files.csv")
    bad = {str(tmp_path / path): reason for path, reason in zip(table.path, table.reason, strict=True)}
    assert set(bad.values()) <= REASONS
    assert not set(bad) & paths
    assert {path: bad.get(path) for path, reason in expected.items() if reason} == {
        p: r for p, r in expected.items() if r
    }
    assert not [
        path
        for path in expected
        if "cut 0.5" in path and path not in bad and not path.endswith((".ogg", ".opus", ".mp3"))
    ]


@pytest.mark.slow
def test_names_of_files(tmp_path):
    root = tmp_path / "lib"
    good(root)
    data = (root / "jazz" / "good 0.wav").read_bytes()
    for i, name in enumerate(recordings.names()):
        for genre, content in (("rock", b"no audio"), ("blues", data + bytes([i]))):
            Path(os.fsdecode(os.fsencode(root / genre) + b"/" + name)).write_bytes(content)
    (root / recordings.ESCAPE).mkdir()
    write_tone(root / recordings.ESCAPE / "x.wav", 500, 7)
    (root / "empty\x1b[2J").mkdir()
    for command in ("prepare", "train"):
        options = SMALL if command == "train" else [s for s in SMALL if s.startswith("data.")]
        result = run_process(tmp_path, command, "data=folder", "data.root=lib", "data.max_bad_fraction=1", *options)
        assert result.code == 0, result.text
    rejected = run_process(tmp_path, "train", "data=folder", "data.root=lib", "data.on_bad_file=error", *SMALL)
    assert rejected.code == 2, rejected.text


def test_kinds_of_bad_files(tmp_path):
    """A fast subset."""
    root = tmp_path / "lib"
    good(root, 6)
    originals = recordings.originals(tmp_path / "originals")
    cases = recordings.no_recordings()
    joined = {f"joined.{suffix}": 2 * originals[suffix] for suffix in ("wav", "flac", "aiff", "au")}
    for name, data in {"html.mp3": cases["html.mp3"], "pointer.wav": cases["pointer.wav"], **joined}.items():
        (root / "jazz" / name).write_bytes(data)
    special = recordings.special(root / "rock")
    data = opened(root, "data.max_bad_fraction=1")
    bad = {Path(path).name: reason for path, reason in data.bad_files.items()}
    assert bad == {
        "html.mp3": "web page",
        "pointer.wav": "git lfs pointer",
        **dict.fromkeys(joined, "joined files"),
        **special,
    }
