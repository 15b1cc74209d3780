"""Whether the technical format of recordings tells their genre: a model may then learn the format instead of the music."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from musicreclass.data.audio.c_stderr import muted_c_stderr
from musicreclass.data.audio.opening import open_file
from musicreclass.data.column_checks import accuracies_alone, two_folds
from musicreclass.data.waveforms import Cached, Waveforms
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.store import Store, file_digests

MARK = "format tells the genre"  # the caution
MAX_TRACKS = 2000  # training tracks that are compared
MIN_TRACKS = 20
MIN_EFFECT = 0.25  # of the way from chance to 100 % balanced accuracy
PERMUTATIONS = 500  # an accuracy must exceed that of all of these
START, MIDDLE = 1.0, 5.0  # seconds in which silence and the offset are measured
BLOCKS = 10  # of the middle; an offset is constant over all, low notes are not
OFFSET_STEP = 16  # int16 values; smaller differences are those of instruments and rounding
SILENT = 1  # the largest absolute int16 value of silence; resampling and lossy codecs leave less
CODEC = ("sample rate", "channels", "codec")


def format_of(path: Path) -> str | None:
    """Sample rate, channels and codec of a file, as its header states them; the ending for a format that needs ffmpeg."""
    try:
        with muted_c_stderr(), open_file(path) as file:
            return f"{file.samplerate}\0{file.channels}\0{file.format} {file.subtype}"
    except soundfile.LibsndfileError:
        return f"\0\0{path.suffix.lower()}"


@dataclass(frozen=True)
class FormatScores:
    """How well single properties of the format tell the genre of training tracks.

    Attributes:
        properties: the values of each property as numbers, one row per track that was compared.
        codes: the class number of each of these tracks.
        accuracy: balanced accuracy of each property that varies, cross-validated over two folds that do not divide artists.
        guess_rate: balanced accuracy of a constant guess.
        chance: the best property's mean accuracy with the genres of artists permuted; None if it was not needed, or if a
            permutation reaches the accuracy.
    """

    properties: pd.DataFrame
    codes: np.ndarray
    accuracy: dict[str, float]
    guess_rate: float
    chance: float | None = None

    @property
    def best(self) -> str:
        """The property that tells the most; empty if none varies."""
        return max(self.accuracy, key=lambda name: self.accuracy[name], default="")

    @property
    def tells_genre(self) -> bool:
        """Whether the best property is much better than chance."""
        return self.chance is not None and _effect(self.accuracy[self.best], self.chance) >= MIN_EFFECT


def score_formats(
    paths: Sequence[Path],
    target: np.ndarray,
    group: np.ndarray,
    waveforms: Waveforms,
    recording: np.ndarray,
    clip_samples: int,
    store: Store,
) -> FormatScores | None:
    """How well a property of the format alone tells the genre of training tracks; None if there are too few of them.

    Args:
        paths: of the training tracks.
        target: their classes.
        group: their artists; None if unknown.
        waveforms: the samples; silence and offset are measured only if they are decoded already.
        recording: the index of each track in `waveforms`.
        clip_samples: length of a clip; a model cannot see how much longer a recording is.
        store: remembers the formats.
    """
    if len(paths) < MIN_TRACKS or len(set(target)) < 2:
        return None
    fold, chosen = two_folds(group, len(paths), MAX_TRACKS)
    codes, classes = pd.factorize(target)
    files = [file_of(paths[i]) for i in chosen]
    table = _properties(files, waveforms, recording[chosen], clip_samples, store)
    fold, codes, artists = fold[chosen], codes[chosen], group[chosen]
    table = table.loc[:, table.nunique() > 1]
    accuracies = accuracies_alone(table.to_numpy(float), codes, fold).tolist()
    accuracy = dict(zip(map(str, table), accuracies, strict=True))
    scores = FormatScores(table, codes, accuracy, 1 / len(classes))
    if not scores.best or _effect(accuracy[scores.best], scores.guess_rate) < MIN_EFFECT:
        return scores
    return replace(scores, chance=_permuted(table, codes, artists, fold, accuracy[scores.best]))


def format_caution(scores: FormatScores | None) -> str | None:
    """The caution if a property of the format alone tells the genre; None if not much better than chance."""
    if scores is None or scores.chance is None or not scores.tells_genre:
        return None
    best = scores.best
    return (
        f"the {best} alone tells {100 * scores.accuracy[best]:.0f} % of the training tracks' genres (balanced over genres and "
        f"cross-validated; chance {100 * scores.chance:.0f} %): a model may learn the format instead of the music"
    )


def _effect(accuracy: float, chance: float) -> float:
    return (accuracy - chance) / (1 - chance) if chance < 1 else 0.0


def _permuted(
    table: pd.DataFrame, codes: np.ndarray, artists: np.ndarray, fold: np.ndarray, accuracy: float
) -> float | None:
    """The mean over permutations of the best property's accuracy; None if one reaches the given accuracy."""
    rng = np.random.default_rng(0)
    artist = pd.factorize(pd.Series(artists, dtype=object))[0].astype(np.int64)
    artist = np.where(artist < 0, artist.max(initial=-1) + 1 + np.arange(len(artist)), artist)
    _, first, unit = np.unique(artist, return_index=True, return_inverse=True)
    scores = []
    for _ in range(PERMUTATIONS):
        permuted = codes[first][rng.permutation(len(first))][unit]
        scores.append(float(accuracies_alone(table.to_numpy(float), permuted, fold).max()))
        if scores[-1] >= accuracy:
            return None
    return float(np.mean(scores))


def _properties(
    paths: list[Path], waveforms: Waveforms, recording: np.ndarray, clip_samples: int, store: Store
) -> pd.DataFrame:
    """The properties of the format as numbers, one row per file."""
    formats = pd.DataFrame(
        [(text or "\0\0").split("\0") for text in file_digests(paths, store, format_of, "formats")], columns=list(CODEC)
    )
    table = pd.DataFrame({name: pd.factorize(formats[name])[0] for name in CODEC})
    if int((table.nunique() > 1).sum()) > 1:
        table["sample rate, channels and codec"] = pd.factorize(formats.agg(" ".join, axis=1))[0]
    lengths = np.minimum(waveforms.lengths[recording], clip_samples)
    table["length of less than a clip"] = lengths // max(1, waveforms.sample_rate // 100)
    if isinstance(waveforms, Cached):
        measured = [_silence_and_offset(waveforms, int(i)) for i in recording]
        table["silence at the start"], table["constant offset"] = zip(*measured, strict=True)
    return table


def _silence_and_offset(waveforms: Waveforms, i: int) -> tuple[float, float]:
    """The silence at the start of a recording in hundredths of a second, and its constant offset in steps."""
    n, rate = int(waveforms.lengths[i]), waveforms.sample_rate
    start = np.abs(waveforms.crop(i, 0, min(n, int(START * rate))).astype(np.int32)) > SILENT
    silence = int(start.argmax()) if start.any() else len(start)
    size = min(n, int(MIDDLE * rate))
    blocks = np.array_split(waveforms.crop(i, (n - size) // 2, size), BLOCKS) if size >= BLOCKS else [np.zeros(1)]
    means = np.array([block.mean() for block in blocks])
    offset = np.sign(means[0]) * np.abs(means).min() if abs(np.sign(means).sum()) == len(means) else 0.0
    return float(silence // max(1, rate // 100)), float(np.rint(offset / OFFSET_STEP))
