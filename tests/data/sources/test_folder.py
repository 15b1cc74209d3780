"""Folders of recordings as they come: layouts, artists, odd names, files that are bad."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.runs.folder import Run
from tests.conftest import only_run, powerless
from tests.library import RATE, SMALL, TONES, batches, opened, write_tone


def test_artists_come_from_folders_or_tags(library, here):
    assert set(opened(library).tracks.group) == {f"{genre} artist {i}" for genre in TONES for i in range(6)}
    assert opened(library, "data.group_by=none", "data/split=random").tracks.group.isna().all()
    for genre in TONES:
        for i in range(4):
            file = here / "flat" / genre / f"{i}.flac"
            file.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(file, "w", RATE, 1) as sound:
                sound.artist = f"Tagged {i % 2}"
                sound.write(np.random.default_rng(i).normal(size=2 * RATE) * 0.1)
    data = opened(here / "flat", "data.group_by=tag", "data/split=random")
    assert set(data.tracks.group) == {"tagged 0", "tagged 1"}


def spoil(library: Path) -> dict[str, Path]:
    bad = {
        "empty file": library / "jazz" / "zero.wav",
        "not audio": library / "jazz" / "text.mp3",
        "too short": library / "jazz" / "short.wav",
        "cut short": library / "rock" / "truncated.mp3",
    }
    bad["empty file"].write_bytes(b"")
    bad["not audio"].write_text("no music at all, only words " * 50)
    write_tone(bad["too short"], 900, 3, seconds=0.2)
    write_tone(bad["cut short"], 2000, 4, seconds=20, rate=22050)
    content = bad["cut short"].read_bytes()
    bad["cut short"].write_bytes(content[: len(content) // 3])
    return bad


def test_bad_files_are_named_counted_and_left_out(run, library, here):
    bad = spoil(library)
    data = opened(library, "data.max_bad_fraction=0.5")
    reasons = {reason: n for reason, n in data.dropped.items() if n}
    assert reasons == {f"whose file is bad: {reason}": 1 for reason in bad}
    assert not set(data.tracks.path) & {str(p) for p in bad.values()}
    assert "4 files cannot be used" in " ".join(data.notes)
    result = run("train", "data=folder", f"data.root={library}", *SMALL, "data.max_bad_fraction=0.5")
    assert result.code == 0
    assert "1 whose file is bad: empty file" in " ".join(result.out.split())
    refused = run("train", "data=folder", f"data.root={library}", *SMALL)
    assert refused.code == 2
    assert "10.0 % of the data files cannot be used" in refused.lines[-1]
    refused = run("train", "data=folder", f"data.root={library}", *SMALL, "data.on_bad_file=error")
    assert (refused.code, "and data.on_bad_file=error; skip leaves them out" in refused.lines[-1]) == (2, True)


def test_odd_libraries(library, here):
    for name, rate, channels in (("stereo", 44100, 2), ("phone", 8000, 1), ("песня-é-音", 22050, 1)):
        sound = np.random.default_rng(0).normal(size=(rate, channels)) * 0.1
        soundfile.write(library / "jazz" / f"{name}.wav", sound, rate)
    (library / "jazz" / "loop").symlink_to(library / "jazz")
    (library / "metal").mkdir()
    (library / ".hidden").mkdir()
    (library / "jazz" / "._resource.wav").write_bytes(b"junk")
    (library / "jazz" / "cover.jpg").write_bytes(b"junk")
    data = opened(library)
    assert len(data.tracks) == 36 + 3
    assert "the folder metal holds no recording" in data.notes
    assert {"jazz/песня-é-音.wav", "jazz/stereo.wav"} <= set(data.tracks.track_id)
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        opened(here / "nowhere")
    (here / "bare" / "jazz").mkdir(parents=True)
    with pytest.raises(DatasetNotFoundError, match=r"no recordings; it must hold a folder for each genre"):
        opened(here / "bare")
    shutil.rmtree(library / "jazz")
    shutil.rmtree(library / "blues")
    with pytest.raises(DataError, match="every track is of one class"):
        opened(library)


def test_an_unreadable_file(library):
    next(library.rglob("*.wav")).chmod(0)
    assert powerless(lambda: opened(library)).dropped == {"whose file is bad: cannot be read": 1}


def test_names_that_are_no_text_pipes_and_loops(library):
    (library / "jazz" / "self.wav").symlink_to(library / "jazz" / "self.wav")
    os.mkfifo(library / "jazz" / "pipe.wav")
    (library / "rock ").mkdir()
    write_tone(library / "rock " / "one.wav", 2000, 77)
    with open(os.fsencode(library / "jazz") + b"/t\xff\xfe.wav", "wb") as file:
        file.write(next((library / "jazz").rglob("song*.wav")).read_bytes())
    data = opened(library, "data.max_bad_fraction=0.5")
    assert data.dropped["whose name is not UTF-8"] == 1
    assert data.classes == ["blues", "jazz", "rock"]
    assert "folders that differ by blanks alone are one genre: rock" in data.notes
    assert len(data.tracks) == 37
    assert {reason: n for reason, n in data.dropped.items() if "bad" in reason} == {
        "whose file is bad: cannot be read": 1
    }


def test_what_drops_out_for_a_moment_is_not_remembered_as_bad(library, here, monkeypatch):
    from musicreclass.data.audio import decoding as audio

    real, away = audio.examine, []

    def examine(path, *rest):
        if not away:
            away.append(library.rename(here / "away"))
        return real(path, *rest)

    with monkeypatch.context() as unplugged:
        unplugged.setattr(audio, "examine", examine)
        with pytest.raises(DataError, match="it was there a moment ago"):
            opened(library, "data.cache=none", "data.workers=1")
    away[0].rename(library)
    assert len(opened(library, "data.cache=none").tracks) == 36


def test_a_file_that_changes_while_it_is_used_is_an_error(library):
    data = opened(library, "data.cache=none")
    for file in library.rglob("*.wav"):
        write_tone(file, 400, 1, seconds=0.9)
    with pytest.raises(DataError, match="has changed since this run looked at it"):
        batches(data, "train")


def test_copies_of_a_recording_in_different_splits_are_a_leak(run, here):
    names = [f"{genre}.{i:05d}" for genre in ("blues", "jazz", "rock") for i in range(30)]
    lists = [n for n in names if n]
    for i, name in enumerate(lists):
        write_tone(here / "GTZAN" / "genres" / name[:-6] / f"{name}.wav", TONES[name[:-6]], i)
    root = f"data.root={here / 'GTZAN'}"
    from musicreclass.data.sources.gtzan import index

    placed = index().fault_filtered.reindex(lists)
    train, valid = (placed[placed == split].index[0] for split in ("train", "valid"))
    shutil.copy(
        here / "GTZAN" / "genres" / train[:-6] / f"{train}.wav", here / "GTZAN" / "genres" / valid[:-6] / f"{valid}.wav"
    )
    assert run("train", "data=gtzan", root, *SMALL, "trainer.max_epochs=1").code == 0
    protocol = Run.open(only_run(here)).metrics["protocol"]
    assert protocol["leaky"] == "yes"
    assert any("recording" in line for line in protocol["why"])


@pytest.mark.parametrize("layout", ["Data/genres_original", "genres", "genres_original", "GTZAN/genres", "."])
def test_gtzan_in_the_layouts_of_the_wild(layout, here):
    from musicreclass.data.sources.gtzan import GTZAN

    for genre in ("blues", "jazz"):
        for i in range(4):
            write_tone(here / "g" / layout / genre / f"{genre}.{i:05d}.au", TONES[genre], i)
    (here / "g" / layout / "pop").mkdir()
    data = GTZAN(
        str(here / "g"), {"protocol": "random", "valid": 0.25, "test": 0.25}, store=str(here / "c"), sample_rate=RATE
    )
    data.setup()
    assert len(data.tracks) == 8
    assert "the folder pop is empty" in data.notes
    assert "there is no folder metal" in data.notes


def test_gtzan_not_found(here):
    from musicreclass.data.sources.gtzan import find_audio

    with pytest.raises(DatasetNotFoundError, match=r"no folders blues, classical, \.\.\. under "):
        find_audio(str(here))
    with pytest.raises(DatasetNotFoundError, match=r"data\.root=DIR"):
        find_audio(None)
