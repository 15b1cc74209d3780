"""Folders of recordings: artists, unusual names, bad files, and files that change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from musicreclass.data.audio import decoding
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.gtzan import load_index
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.runs.folder import Run
from tests.conftest import only_run, powerless
from tests.library import RATE, SMALL, TONES, batches, opened, write_tone


def bad_files(data: AudioData) -> dict[str, int]:
    """How many files were left out as bad, by reason."""
    return {text.rpartition(": ")[2]: n for text, n in data.dropped.items() if ": " in text and n}


def test_artists_come_from_folders_or_tags(library, here):
    assert set(opened(library).tracks.group) == {f"{genre} artist {i}" for genre in TONES for i in range(6)}
    assert opened(library, "data.group_by=none", "data/split=random").tracks.group.isna().all()
    for genre in TONES:
        for i in range(4):
            file = here / "flat" / genre / f"{i}.flac"
            file.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(file, "w", RATE, 1) as writer:
                writer.artist = f"Tagged {i % 2}"
                writer.write(np.random.default_rng(i).normal(size=2 * RATE) * 0.1)
    data = opened(here / "flat", "data.group_by=tag", "data/split=random")
    assert set(data.tracks.group) == {"tagged 0", "tagged 1"}


def add_bad_files(library: Path) -> dict[str, Path]:
    bad = {
        "empty file": library / "jazz" / "zero.wav",
        "not audio": library / "jazz" / "text.mp3",
        "too short": library / "jazz" / "short.wav",
        "truncated": library / "rock" / "truncated.mp3",
    }
    bad["empty file"].write_bytes(b"")
    bad["not audio"].write_text("plain text without any audio " * 50)
    write_tone(bad["too short"], 900, 3, seconds=0.2)
    write_tone(bad["truncated"], 2000, 4, seconds=20, rate=22050)
    content = bad["truncated"].read_bytes()
    bad["truncated"].write_bytes(content[: len(content) // 3])
    return bad


def test_bad_files_are_counted_and_left_out(run, library, here):
    bad = add_bad_files(library)
    data = opened(library, "data.max_bad_fraction=0.5")
    assert bad_files(data) == dict.fromkeys(bad, 1)
    assert not set(data.tracks.path) & {str(p) for p in bad.values()}
    (note,) = (note for note in data.notes if note.startswith("bad files: "))
    assert sum(f"{path}: {reason}" in note for reason, path in bad.items()) == 3  # the first ones are named
    result = run("train", "data=folder", f"data.root={library}", *SMALL, "data.max_bad_fraction=0.5")
    assert result.code == 0
    assert "empty file" in " ".join(result.out.split())
    listed = pd.read_csv(only_run(here) / "bad_files.csv").set_index("path").reason
    assert listed.to_dict() == {str(path): reason for reason, path in bad.items()}
    text = (only_run(here) / "run.log").read_text()
    assert all(f"{path}: {reason}" in text for reason, path in bad.items())
    rejected = run("train", "data=folder", f"data.root={library}", *SMALL)
    assert rejected.code == 2
    assert "10.0 %" in rejected.lines[-1]
    assert "data.max_bad_fraction" in rejected.lines[-1]
    rejected = run("train", "data=folder", f"data.root={library}", *SMALL, "data.on_bad_file=error")
    assert (rejected.code, "data.on_bad_file=error" in rejected.lines[-1]) == (2, True)


def test_unusual_libraries(library, here):
    for name, rate, channels in (("stereo", 44100, 2), ("phone", 8000, 1), ("песня-é-音", 22050, 1)):
        samples = np.random.default_rng(0).normal(size=(rate, channels)) * 0.1
        soundfile.write(library / "jazz" / f"{name}.wav", samples, rate)
    (library / "jazz" / "loop").symlink_to(library / "jazz")
    (library / "metal").mkdir()
    (library / ".hidden").mkdir()
    (library / "jazz" / "._resource.wav").write_bytes(b"junk")
    (library / "jazz" / "cover.jpg").write_bytes(b"junk")
    data = opened(library)
    assert len(data.tracks) == 36 + 3
    assert any("metal" in note for note in data.notes)
    assert {"jazz/песня-é-音.wav", "jazz/stereo.wav"} <= set(data.tracks.track_id)
    (here / "bare" / "jazz").mkdir(parents=True)
    for root, kind, key in (("nowhere", "missing_root", "data.root"), ("bare", "no_recordings", str(here / "bare"))):
        with pytest.raises(DatasetNotFoundError) as missing:
            opened(here / root)
        assert (missing.value.kind, missing.value.key) == (kind, key)
    shutil.rmtree(library / "jazz")
    shutil.rmtree(library / "blues")
    with pytest.raises(DataError) as caught:
        opened(library)
    assert (caught.value.kind, caught.value.problems[0].value) == ("one_class", "rock")


def test_an_unreadable_file(library):
    next(library.rglob("*.wav")).chmod(0)
    assert bad_files(powerless(lambda: opened(library))) == {"cannot be read": 1}


def test_names_that_are_not_utf8_pipes_and_loops(library):
    (library / "jazz" / "self.wav").symlink_to(library / "jazz" / "self.wav")
    os.mkfifo(library / "jazz" / "pipe.wav")
    (library / "jazz" / "link.wav").symlink_to(library / "jazz" / "pipe.wav")
    (library / "rock ").mkdir()
    write_tone(library / "rock " / "one.wav", 2000, 77)
    with open(os.fsencode(library / "jazz") + b"/t\xff\xfe.wav", "wb") as file:
        file.write(next((library / "jazz").rglob("song*.wav")).read_bytes())
    data = opened(library, "data.max_bad_fraction=0.5")
    assert data.dropped["with a name that is not UTF-8"] == 1
    assert data.classes == ["blues", "jazz", "rock"]
    assert any(note.endswith("one genre: rock") for note in data.notes)
    assert len(data.tracks) == 37
    assert bad_files(data) == {"cannot be read": 1, "not a file": 2}


def test_folders_that_may_not_be_read_are_skipped(library):
    (library / "lost+found").mkdir(mode=0)
    (library / "jazz" / "private").mkdir()
    write_tone(library / "jazz" / "private" / "one.wav", 2000, 5)
    (library / "jazz" / "private").chmod(0o400)  # its names can be listed, but no file opened
    data = powerless(lambda: opened(library))
    assert len(data.tracks) == 36
    for name in ("lost+found", "private"):
        assert any(note.endswith(f"/{name} may not be read and was skipped") for note in data.notes)
    assert data.files() == []  # so that the folders are read again
    (library / "jazz" / "private").chmod(0o700)
    assert len(powerless(lambda: opened(library)).tracks) == 37


def test_a_temporarily_unavailable_file_is_not_stored_as_bad(library, here, monkeypatch):
    examine, moved = decoding.examine, []

    def unplug_and_examine(path, *arguments):
        if not moved:
            moved.append(library.rename(here / "unplugged"))
        return examine(path, *arguments)

    with monkeypatch.context() as unplugged:
        unplugged.setattr(decoding, "examine", unplug_and_examine)
        with pytest.raises(DataError) as caught:
            opened(library, "data.cache=none", "data.workers=1")
    assert caught.value.kind == "file_unavailable"
    moved[0].rename(library)
    assert len(opened(library, "data.cache=none").tracks) == 36


def test_a_file_that_changes_during_a_run_is_an_error(library):
    data = opened(library, "data.cache=none")
    for file in library.rglob("*.wav"):
        write_tone(file, 400, 1, seconds=0.9)
    with pytest.raises(DataError) as caught:
        batches(data, "train")
    assert (caught.value.kind, caught.value.key in set(data.tracks.path)) == ("file_changed", True)


def test_copies_of_a_recording_in_different_splits_are_a_leak(run, here):
    genres = here / "GTZAN" / "genres"
    names = [f"{genre}.{i:05d}" for genre in TONES for i in range(30)]
    for i, name in enumerate(names):
        write_tone(genres / name[:-6] / f"{name}.wav", TONES[name[:-6]], i)
    splits = load_index().fault_filtered.reindex(names)
    train, valid = (splits[splits == split].index[0] for split in ("train", "valid"))
    shutil.copy(genres / train[:-6] / f"{train}.wav", genres / valid[:-6] / f"{valid}.wav")
    assert run("train", "data=gtzan", f"data.root={here / 'GTZAN'}", *SMALL, "trainer.max_epochs=1").code == 0
    protocol = Run.open(only_run(here)).metrics["protocol"]
    assert protocol["leaky"] == "yes"
    assert any("recording" in line for line in protocol["why"])
