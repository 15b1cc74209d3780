"""Digests of the sound in a file: the same for other tags and containers, another for other samples."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from musicreclass.data.audio.sound_digest import content_digest
from musicreclass.data.leaks import find_leaks
from musicreclass.data.tracks import make_tracks, unify_copies
from tests.library import opened, write_tone

SAMPLES = np.random.default_rng(0).integers(-(2**15), 2**15, (4000, 2)).astype(np.int16)


def written(path: Path, samples: np.ndarray = SAMPLES, tag: str = "", **options) -> Path:
    with soundfile.SoundFile(path, "w", 22050, 2, **options) as file:
        if tag:
            file.title = tag
        file.write(samples)
    return path


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_containers_of_the_same_samples(tmp_path, subtype):
    files = [written(tmp_path / f"a.{ending}", subtype=subtype) for ending in ("wav", "flac", "aiff", "au")]
    files += [
        written(tmp_path / f"tagged.{ending}", tag="Other", subtype=subtype) for ending in ("wav", "flac", "aiff")
    ]
    files.append(written(tmp_path / "b.wav", subtype=subtype, format="WAVEX"))
    (digest,) = {content_digest(file) for file in files}
    assert digest is not None
    assert content_digest(written(tmp_path / "c.wav", SAMPLES[:-1], subtype=subtype)) != digest
    assert content_digest(written(tmp_path / "d.wav", SAMPLES, subtype="FLOAT")) not in (None, digest)


def test_eight_bits(tmp_path):
    wav, au = (written(tmp_path / name, subtype=s) for name, s in (("a.wav", "PCM_U8"), ("a.au", "PCM_S8")))
    assert content_digest(wav) == content_digest(au)


@pytest.mark.parametrize("ending", ["mp3", "ogg", "opus", "m4a"])
def test_tags_do_not_count_but_samples_do(tmp_path, ending):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    source, cut = (
        written(tmp_path / "a.wav", np.tile(SAMPLES, (20, 1))),
        written(tmp_path / "b.wav", np.tile(SAMPLES, (19, 1))),
    )

    def ffmpeg(read: Path, name: str, *options: str) -> Path:
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(read), *options, str(tmp_path / f"{name}.{ending}")]
        subprocess.run(command, check=True)
        return tmp_path / f"{name}.{ending}"

    original = ffmpeg(source, "original")
    tagged = ffmpeg(
        original, "tagged", "-c", "copy", "-metadata", "artist=Somebody", "-metadata", "comment=" + 500 * "x"
    )
    digest = content_digest(original)
    assert digest is not None
    assert original.read_bytes() != tagged.read_bytes()
    assert content_digest(tagged) == digest
    assert content_digest(ffmpeg(cut, "cut")) != digest
    if ending == "mp3":
        ape = b"APETAGEX" + (2000).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(16)
        tagged.write_bytes(original.read_bytes() + ape + b"TAG" + bytes(125))
        assert content_digest(tagged) == digest


def test_damaged_files_have_no_digest(tmp_path):
    random = np.random.default_rng(0)
    for ending in ("wav", "flac", "aiff", "au"):
        content = written(tmp_path / f"a.{ending}").read_bytes()
        for _ in range(60):
            changed = bytearray(content[: random.integers(0, 200)])
            for _ in range(random.integers(0, 4)):
                changed[random.integers(0, max(1, len(changed)))] = random.integers(0, 256) if changed else 0
            (tmp_path / "b").write_bytes(bytes(changed))
            content_digest(tmp_path / "b")  # raises nothing
    (tmp_path / "text.mp3").write_text("no sound " * 1000)
    assert content_digest(tmp_path / "text.mp3") is None


@pytest.mark.parametrize("cache", ["waveform", "none"])
def test_copies_with_other_tags_are_kept_together(here, cache):
    for genre, frequency in (("pop", 300), ("rock", 900)):
        for i in range(12):
            write_tone(here / "lib" / genre / f"{i}.wav", frequency, frequency + i)
            if i % 2:
                samples, rate = soundfile.read(here / "lib" / genre / f"{i}.wav", dtype="int16")
                with soundfile.SoundFile(here / "lib" / genre / f"best {i}.flac", "w", rate, 1) as file:
                    file.title = "Best of"
                    file.write(samples)
    shutil.copy(here / "lib" / "pop" / "1.wav", here / "lib" / "rock" / "also.wav")
    data = opened(here / "lib", f"data.cache={cache}")
    copies = data.tracks[data.tracks.checksum.duplicated(keep=False)]
    assert len(copies) == 12 * 2 + 1
    assert (copies.groupby("checksum").split.nunique() == 1).all()
    assert any("pop/1.wav" in note and "rock/also.wav" in note for note in data.notes)
    assert data.protocol.leaky == "unknown"


def test_files_of_one_name_are_noted(here):
    for genre, frequency in (("pop", 300), ("rock", 900)):
        for i in range(12):
            write_tone(here / "lib" / genre / f"{i}.wav", frequency, i)
            write_tone(here / "lib" / genre / f"{i}.flac", frequency, i + 50)
    cautions = opened(here / "lib").protocol.cautions
    assert ["24 names" in text for text in cautions.values()] == [True]


def test_copies_in_other_data_are_found_by_their_sound():
    trained = make_tracks(
        ["a", "b"], ["pop", "rock"], checksum=["1", "2"], content=["x", None], split=["train", "train"]
    )
    scored = make_tracks(["c", "d"], ["pop", "rock"], checksum=["3", "2"], content=["x", None], split=["test", "test"])
    both = unify_copies(pd.concat([trained, scored], ignore_index=True))
    assert both.checksum.tolist() == ["1", "2", "1", "2"]
    assert find_leaks(both, "random").leaky == "yes"
    older = trained.drop(columns="content")
    assert unify_copies(older) is older
    assert unify_copies(pd.concat([older, scored], ignore_index=True)).checksum.tolist() == ["1", "2", "3", "2"]
