"""Folders that are not genres: splits, numbers, artists, and a level too deep or too high."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicreclass.data.sources.folder_layout import doubts
from musicreclass.errors import DataError
from tests.library import RATE, opened, write_tone


def fill(root: Path, layout: dict[str, int]) -> Path:
    """A library with so many recordings in each folder."""
    for folder, count in layout.items():
        for i in range(count):
            write_tone(root / folder / f"{folder.replace('/', '-')}-{i}.wav", 500, hash((folder, i)) % 2**31)
    return root


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "Testing"), ("train", "dev")])
def test_splits_on_top_are_splits(here, names):
    sizes = dict(zip(names, (4, 2, 2), strict=False))
    root = fill(here / "lib", {f"{name}/{genre}": n for name, n in sizes.items() for genre in ("blues", "rock")})
    data = opened(root)
    assert data.classes == ["blues", "rock"]
    assert data.protocol.split == "folders"
    sides = dict(zip(("train", "valid", "test"), (8, 4, 4)[: len(names)], strict=False))
    assert data.tracks.split.value_counts().to_dict() == sides
    assert data.tracks.group.isna().all()
    assert any(all(name in note for name in names) for note in data.notes)
    assert opened(root, "data/split=random").protocol.split == "random"
    assert opened(root, "data/split=folders").protocol == data.protocol


def test_artists_in_folders_of_splits(here):
    root = fill(
        here / "lib", {f"{s}/{g}/{a}": 2 for s in ("train", "valid") for g in ("blues", "rock") for a in ("x", "y")}
    )
    data = opened(root)
    assert set(data.tracks.group) == {"x", "y"}
    assert data.protocol.leaky == "yes"


def test_a_folder_of_a_split_among_genres_is_refused(here):
    root = fill(here / "lib", {"blues": 3, "rock": 3, "test": 3})
    with pytest.raises(DataError) as caught:
        opened(root)
    assert (caught.value.kind, caught.value.key) == ("mixed_folders", "data.root")


def test_numbers_of_fma_are_no_genres_and_no_artists(here):
    for genre in ("blues", "rock"):
        for folder in ("000", "001"):
            for i in range(4):
                write_tone(here / "lib" / genre / folder / f"{folder}{i}{len(genre)}0.wav", 500, i + 10 * int(folder))
    data = opened(here / "lib", "data/split=random")
    assert data.tracks.group.isna().all()
    assert any("000" in note for note in data.notes)
    shutil.move(here / "lib" / "rock", here / "archive")
    with pytest.raises(DataError) as caught:
        opened(here / "archive")
    assert (caught.value.kind, caught.value.key) == ("numbered_folders", "data.root")
    bands = fill(here / "bands", {"blues/311": 8, "blues/808": 8, "rock/the": 8, "rock/who": 8})
    assert set(opened(bands).tracks.group) == {"311", "808", "the", "who"}  # artists


def test_a_level_too_high_names_the_folder_below(here):
    root = fill(here / "dataset", {"genres/blues": 3, "genres/rock": 3})
    with pytest.raises(DataError) as caught:
        opened(root)
    assert caught.value.kind == "one_class"
    assert str(root / "genres") in str(caught.value)


def test_suspected_artists_and_numbers_are_a_caution(here):
    artists = fill(here / "Rock", {"Nirvana/Nevermind": 4, "Oasis/Live": 4, "Pulp": 4})
    assert len(opened(artists, "data/split=random").protocol.cautions) == 1
    wrapped = fill(here / "disks", {f"{disk}/{genre}": 4 for disk in ("a", "b") for genre in ("rock", "jazz")})
    assert len(opened(wrapped, "data/split=random").protocol.cautions) == 1
    numbers = fill(here / "numbers", {"1": 8, "2": 8})
    assert len(opened(numbers).protocol.cautions) == 1
    genres = fill(here / "genres", {"rock/nirvana": 4, "jazz/monk": 4, "zeuhl/magma": 4})
    assert opened(genres, "data/split=random").protocol.cautions == {}


def test_folders_of_one_tagged_artist_each_are_suspected(here):
    files: dict[str, list[Path]] = {}
    for name in ("ann", "bob", "cy"):
        for i in range(2):
            file = here / "music" / name / f"{i}.flac"
            file.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(file, "w", RATE, 1) as writer:
                writer.artist = name
                writer.write(np.zeros(RATE))
            files.setdefault(name, []).append(file)
    assert "ann" in str(doubts(here / "music", files, []))
    assert doubts(here / "music", {"pop": files["ann"] + files["bob"], "rock": files["cy"]}, []) is None
