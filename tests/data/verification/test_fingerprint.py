"""The fingerprint does not depend on gain, encoding or start, and tells songs apart."""

from __future__ import annotations

import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import irfft, rfft

from musicreclass.data.verification.examined import examine
from musicreclass.data.verification.fingerprint import FRAMES_PER_SECOND, RATE, SILENT, fingerprint
from musicreclass.data.verification.index import MAX_DIFFERENCE, MIN_OVERLAP, difference, groups, near_matches
from tests.sounds import song, write

SONGS = [song(8, int(RATE), seed) for seed in range(6)]


def of(samples: np.ndarray) -> np.ndarray:
    return fingerprint([samples.astype(np.float32)])


def of_file(path: Path) -> np.ndarray:
    return examine(path).fingerprint


PRINTS = [of(samples) for samples in SONGS]


@settings(max_examples=25)
@given(seed=st.integers(0, 5), decibels=st.floats(-6, 6), start=st.floats(0, 0.6), seconds=st.floats(2.5, 7))
def test_gain_shift_and_excerpt_do_not_matter(seed, decibels, start, seconds):
    first = round(start * RATE)
    copy = SONGS[seed][first : first + round(seconds * RATE)] * 10 ** (decibels / 20)
    (match,) = near_matches([*PRINTS, of(copy)])
    assert (match.first, match.second) == (seed, 6)
    assert match.shift == pytest.approx(start, abs=2 / FRAMES_PER_SECOND)
    assert match.difference < 0.15


@settings(max_examples=25)
@given(decibels=st.floats(-20, 6))
def test_a_gain_changes_few_bits(decibels):
    assert difference(PRINTS[0], of(SONGS[0] * 10 ** (decibels / 20)), 0)[1] < 0.05


def test_different_songs_do_not_match():
    assert near_matches(PRINTS) == []
    assert (
        min(difference(a, b, shift)[1] for a, b in combinations(PRINTS, 2) for shift in (-40, 0, 40)) > MAX_DIFFERENCE
    )


def test_silence_is_not_compared():
    quiet = np.zeros(5 * int(RATE))
    assert (of(quiet) == SILENT).all()
    assert difference(of(quiet), of(quiet), 0) == (0, 1.0)
    padded = np.concatenate([quiet, SONGS[0], quiet])
    (match,) = near_matches([PRINTS[0], of(padded)])
    assert match.shift == pytest.approx(-5, abs=2 / FRAMES_PER_SECOND)
    assert near_matches([of(quiet), of(quiet)]) == []


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 2047])
def test_short_signals_have_no_fingerprint(n):
    assert len(fingerprint([np.ones(n, np.float32)])) == 0


def test_blocks_do_not_matter():
    long = song(20, int(RATE), 9)
    prints = of(long)
    start = 300
    assert np.array_equal(of(long[start * 128 :]), prints[start:])
    pieces = np.split(long.astype(np.float32), [0, 1, 3000, 3001, 60_000, 60_500])
    assert np.array_equal(fingerprint(pieces), prints)


def test_groups_connect_copies_of_copies():
    first, second = SONGS[0][: 4 * int(RATE)], SONGS[0][3 * int(RATE) :]
    matches = near_matches([of(first), PRINTS[1], of(second), PRINTS[0]])
    assert {(m.first, m.second) for m in matches} == {(0, 3), (2, 3)}
    group = groups(matches, 4)
    assert group[0] == group[2] == group[3] != group[1]


@pytest.mark.parametrize(("ending", "options"), [
    ("mp3", {"bitrate_mode": "CONSTANT", "compression_level": 0.9}), ("ogg", {}), ("flac", {}),
])  # fmt: skip
def test_encodings_do_not_matter(tmp_path, ending, options):
    samples = song(8, 22050, 3)
    original = write(tmp_path / "a.wav", samples, 22050)
    copy = write(tmp_path / f"b.{ending}", samples[7000:], 22050, **options)
    (match,) = near_matches([of_file(path) for path in (original, copy)])
    assert match.difference < 0.2


def test_excerpts_of_real_clips_match_their_clip_and_nothing_else(real_data):
    """The excerpts of GTZAN are cut from its clips; no two different clips match."""
    paths = sorted((real_data / "GTZAN_excerpts").rglob("*.wav")) + sorted((real_data / "GTZAN/Data").rglob("*.wav"))
    tracks = [".".join(path.name.split(".")[:2]) for path in paths]
    matches = near_matches([of_file(path) for path in paths])
    assert all(tracks[match.first] == tracks[match.second] for match in matches)
    assert len(matches) == len(tracks) - len(set(tracks)) > 30


@pytest.mark.slow
def test_no_two_real_songs_are_close_at_any_shift(real_data):
    """Every pair of different songs at every shift with the smallest overlap, by cross-correlation of the bits."""
    folders = ("GTZAN_excerpts", "GTZAN/Data", "FMA/Data")
    paths = [p for f in folders for p in sorted((real_data / f).rglob("*")) if p.suffix in (".wav", ".mp3")]
    tracks = [".".join(path.name.split(".")[:2]) for path in paths]
    prints = [of_file(path) for path in paths]
    closest = 1.0
    for size, pairs in pairs_by_size(prints).items():
        spectra = {i: spectrum(prints[i], size) for i in {i for pair in pairs for i in pair}}
        for i, j in pairs:
            if tracks[i] != tracks[j]:
                product = spectra[i].conj() * spectra[j]
                agreement, overlap = irfft(product[:-1].sum(0), size), irfft(product[-1], size)
                allowed = overlap > MIN_OVERLAP - 0.5
                if allowed.any():
                    closest = min(closest, float((0.5 - agreement[allowed] / (64 * overlap[allowed])).min()))
    assert closest > MAX_DIFFERENCE + 0.05


def pairs_by_size(prints: list[np.ndarray]) -> dict[int, list[tuple[int, int]]]:
    """All pairs, by the size of the transform that their lengths need."""
    pairs: dict[int, list[tuple[int, int]]] = {}
    for i, j in combinations(range(len(prints)), 2):
        size = 1 << int(len(prints[i]) + len(prints[j])).bit_length()
        pairs.setdefault(size, []).append((i, j))
    return pairs


def spectrum(values: np.ndarray, size: int) -> np.ndarray:
    """The transforms of the 32 bits as -1 and 1, 0 in silent frames, and of the mask of other frames: complex64 (33, n)."""
    bits = np.unpackbits(values.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    audible = (values != SILENT).astype(np.float32)
    rows = np.concatenate([(2.0 * bits.T - 1) * audible, audible[None]]).astype(np.float32)
    return rfft(rows, size, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "recall"), [
    (["-b:a", "64k", ".mp3"], 1), (["-b:a", "128k", ".mp3"], 1), (["-c:a", "libvorbis", "-q:a", "2", ".ogg"], 1),
    (["-ss", "0.3", ".wav"], 1), (["-af", "volume=6dB", ".wav"], 1), (["-af", "volume=-6dB", ".wav"], 1),
    (["-ss", "11.137", "-t", "10", ".wav"], 1), (["-ss", "11.137", "-t", "3", ".wav"], 1), (["-af", "asetrate=23361,aresample=22050", ".wav"], 0),
])  # fmt: skip
def test_recall_of_real_clips(real_data, tmp_path, options, recall):
    """All copies are recognised, except for those with another pitch."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    paths = sorted((real_data / "GTZAN/Data").rglob("*.wav"))
    recognised = [len(near_matches([of_file(p) for p in (path, convert(path, tmp_path, options))]))
                  for path in paths]  # fmt: skip
    assert np.mean(recognised) == recall


def convert(path: Path, folder: Path, options: list[str]) -> Path:
    copy = folder / f"{path.stem}{options[-1]}"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", path, *options[:-1], copy], check=True)
    return copy
