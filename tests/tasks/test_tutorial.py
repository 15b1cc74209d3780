"""The commands of docs/tutorial_library.md, one after the other, on a small library."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from tests.library import TONES, write_tone
from tests.models.conftest import members, seeded  # noqa: F401  (fixtures)
from tests.sounds import music, write

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial_library.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The arguments of every command of the page, in order."""
    return [line.split()[1:] for line in PAGE.splitlines() if line.startswith("musicreclass ")]


@pytest.fixture
def songs(here) -> dict[str, str]:
    """A flat library of `Artist - Title.wav`, and the genre of each path."""
    pytest.importorskip("mutagen", reason="pip install mutagen")
    (here / "Music").mkdir()
    genres = {}
    for k, (genre, tone) in enumerate(TONES.items()):
        for artist in range(7):
            for take in range(2):
                path = here / "Music" / f"{genre} artist {artist} - Song {take}.wav"
                write_tone(path, tone, 100 * k + 10 * artist + take, seconds=4, rate=22050)
                genres[str(path)] = genre
    write(here / "Music" / "notes.wav", music(4, 22050), 22050)
    return genres


def check_by_ear(here: Path, genres: dict[str, str]) -> None:
    """Write what the review page exports after a person has gone through its files."""
    with (here / "genres-corrections.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "genre"])
        writer.writerows(genres.items())


@pytest.mark.slow
def test_every_command_of_the_tutorial(run, here, songs, seeded, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MUSICRECLASS_MODELS", str(seeded.parent))
    samples = {path: soundfile.read(path)[0].tobytes() for path in songs}
    for command in commands():
        result = run(*command)
        assert result.code == 0, (command, result.err)
        if "--select" in command:
            assert "Song 1" in (here / "first.html").read_text(encoding="utf-8")
            check_by_ear(here, songs)
        if command[:2] == ["predict", "outputs/mine"]:
            labels = pd.read_csv(here / "genres.csv").set_index("path")
            assert (labels.genre.reindex(songs) == pd.Series(songs)).all()
        if "link" in command:
            assert {path.parent.name for path in (here / "ByGenre").rglob("*.wav")} >= set(TONES)
        if "--playlists" in command:
            assert {path.stem for path in (here / "Playlists").glob("*.m3u8")} >= set(TONES)
        if "--tags" in command:
            assert {path: soundfile.read(path)[0].tobytes() for path in songs} == samples
    assert not (here / "ByGenre").exists()
