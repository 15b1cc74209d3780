"""Synthesises the demo's six genres, deterministically.

Every artist has an individual key, tempo and timbre, which makes a grouped split meaningful, and mixes in another genre, which
keeps the task from being trivial.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RATE = 22050
SECONDS = 3
ARTISTS = 16
VERSION = 1  # part of the store's key: increase it when the synthesis changes

Genre = Callable[[np.random.Generator, float, float], np.ndarray]  # (random generator, key in Hz, beats per second)


def synthesise_clip(genre: str, artist: int, take: int) -> np.ndarray:
    """One clip; equal arguments give equal clips.

    Args:
        genre: one of `GENRES`.
        artist: number of the artist within the genre.
        take: number of the clip among the artist's clips.

    Returns:
        mono samples in [-1, 1], shape (SECONDS * RATE,).
    """
    names = list(GENRES)
    style = np.random.default_rng([names.index(genre), artist])
    key = 55.0 * 2 ** (style.integers(0, 12) / 12)
    tempo, bleed, hiss = style.uniform(1.6, 2.6), style.uniform(0.0, 0.9), 10 ** style.uniform(-3.5, -1.5)
    random = np.random.default_rng([names.index(genre), artist, take])
    tempo *= random.uniform(0.95, 1.05)
    neighbour = str(style.choice([name for name in names if name != genre]))
    audio = normalise(GENRES[genre](random, key, tempo))
    audio = audio + bleed * normalise(GENRES[neighbour](random, key, tempo))
    audio = audio + hiss * random.standard_normal(len(audio))
    return np.asarray(0.7 * audio / np.abs(audio).max() * 10 ** random.uniform(-0.5, 0))


def normalise(audio: np.ndarray) -> np.ndarray:
    """Scale audio to unit power."""
    return np.asarray(audio / np.sqrt(np.mean(audio**2) + 1e-12))


def time_axis() -> np.ndarray:
    """The time of each sample of a clip, in seconds."""
    return np.arange(SECONDS * RATE) / RATE


def tone(frequency: float, length: float, harmonics: list[float]) -> np.ndarray:
    """A note with the given amplitudes of its harmonics."""
    t = np.arange(int(length * RATE)) / RATE
    parts = [
        a * np.sin(2 * np.pi * frequency * (i + 1) * t)
        for i, a in enumerate(harmonics)
        if frequency * (i + 1) < RATE / 2
    ]
    return np.asarray(np.sum(parts, axis=0))


def mix(events: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """A clip with each sound added at its start time in seconds."""
    audio = np.zeros(SECONDS * RATE)
    for at, samples in events:
        start = int(at * RATE)
        piece = samples[: max(0, len(audio) - start)]
        audio[start : start + len(piece)] += piece
    return audio


def fade(samples: np.ndarray, decay: float) -> np.ndarray:
    """An exponentially decaying sound, with time constant `decay` in seconds."""
    return np.asarray(samples * np.exp(-np.arange(len(samples)) / (decay * RATE)))


def scale(random: np.random.Generator, key: float, steps: list[int], n: int) -> np.ndarray:
    """n random notes of a scale, in Hz (n,)."""
    return np.asarray(key * 2 ** (random.choice(steps, n) / 12))


def kick(random: np.random.Generator) -> np.ndarray:
    """A drum with falling pitch."""
    t = np.arange(int(0.25 * RATE)) / RATE
    return fade(np.sin(2 * np.pi * (45 * t + 8 * (1 - np.exp(-t * 30)))), 0.08)


def hat(random: np.random.Generator, decay: float = 0.02) -> np.ndarray:
    """A short burst of high noise."""
    return fade(np.diff(random.standard_normal(int(0.12 * RATE))), decay)


def ambient(random: np.random.Generator, key: float, tempo: float) -> np.ndarray:
    """Slowly swelling chords."""
    t = time_axis()
    notes = scale(random, key * 2, [0, 4, 7, 11, 14], 5)
    swell = [0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(0.1, 0.4) * t + random.uniform(0, 6)) for _ in notes]
    return np.asarray(sum(s * tone(f, SECONDS, [1, 0.3, 0.1]) for f, s in zip(notes, swell, strict=True)))


def chiptune(random: np.random.Generator, key: float, tempo: float) -> np.ndarray:
    """Square-wave arpeggios, eight notes to a beat pair."""
    step = 1 / (tempo * 4)
    notes = scale(random, key * 4, [0, 3, 7, 12, 15, 19], int(SECONDS / step) + 1)
    return mix([(i * step, np.sign(tone(f, step * 0.9, [1]))) for i, f in enumerate(notes)])


def drums(random: np.random.Generator, key: float, tempo: float) -> np.ndarray:
    """Broken beats, no pitch."""
    step = 1 / (tempo * 4)
    hits: list[tuple[float, np.ndarray]] = []
    for i in range(int(SECONDS / step)):
        draw = random.random()
        if i % 4 == 0 and draw < 0.8:
            hits.append((i * step, 1.5 * kick(random)))
        elif draw < 0.35:
            hits.append((i * step, fade(random.standard_normal(int(0.2 * RATE)), 0.06)))
        else:
            hits.append((i * step, 0.5 * hat(random)))
    return mix(hits)


def metal(random: np.random.Generator, key: float, tempo: float) -> np.ndarray:
    """Distorted fifths, palm-muted."""
    step = 1 / (tempo * 2)
    roots = scale(random, key, [0, 1, 3, 5, 6], int(SECONDS / step) + 1)
    riff = mix([
        (i * step, fade(tone(f, step, [1, 0.5, 0.3]) + tone(1.5 * f, step, [1, 0.5]), random.choice([0.1, 0.6])))
        for i, f in enumerate(roots)
    ])  # fmt: skip
    return np.tanh(8 * riff)


def techno(random: np.random.Generator, key: float, tempo: float) -> np.ndarray:
    """Four on the floor, off-beat hats, a bass line."""
    beat = 1 / tempo
    events: list[tuple[float, np.ndarray]] = []
    for i in range(int(SECONDS / beat) + 1):
        events += [(i * beat, 2 * kick(random)), ((i + 0.5) * beat, 0.7 * hat(random, 0.04))]
        for j, f in enumerate(scale(random, key, [0, 0, 3, 7, 10], 4)):
            events.append(((i + j / 4) * beat, 0.5 * fade(tone(f, beat / 4, [1, 0.6, 0.4, 0.3]), 0.1)))
    return mix(events)


def waltz(random: np.random.Generator, key: float, tempo: float) -> np.ndarray:
    """Three to the bar, plucked: a low note, two chords, a tune above."""
    beat = 1 / (tempo * 1.2)
    events: list[tuple[float, np.ndarray]] = []
    for i in range(int(SECONDS / beat) + 1):
        chord = [1.0] if i % 3 == 0 else [2.0, 2.52, 3.0]
        events += [(i * beat, fade(tone(key * 2 * c, 0.8, [1, 0.5, 0.25, 0.12]), 0.2)) for c in chord]
        tune = scale(random, key * 8, [0, 2, 4, 5, 7, 9, 11], 1)[0]
        events.append((i * beat, 0.7 * fade(tone(tune, 0.8, [1, 0.4, 0.1]), 0.3)))
    return mix(events)


GENRES: dict[str, Genre] = {f.__name__: f for f in (ambient, chiptune, drums, metal, techno, waltz)}
