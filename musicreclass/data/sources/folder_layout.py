"""Which folders of a library are genres: recognises folders of splits, of numbers, and of artists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import soundfile

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.audio.tags import read_artist
from musicreclass.data.splits import SPELLINGS
from musicreclass.data.tracks import some
from musicreclass.errors import DataError
from musicreclass.plurals import counted
from musicreclass.storage.file_parts import file_of

FMA_FOLDER = re.compile(r"\d{3}")  # 000/000002.mp3: the folder has the first digits of its tracks' numbers
COMMON_GENRE = re.compile(
    "alternative|ambient|blues|bossanova|breakbeat|chiptune|classical|country|dance|deephouse|disco|drumandbass|dub|"
    "dubstep|easylistening|electronic|electronica|experimental|folk|funk|garage|gospel|grunge|hardcore|hardrock|"
    "heavymetal|hiphop|house|idm|indie|industrial|instrumental|international|jazz|jungle|latin|lofi|metal|newage|"
    "noise|oldtimehistoric|opera|pop|postrock|psychedelic|punk|rap|reggae|reggaeton|rnb|rock|rockandroll|salsa|"
    "samba|schlager|singersongwriter|ska|soul|soulrnb|soundtrack|spoken|swing|synthpop|techno|trance|trap|triphop|"
    "world"
)
TAGS_PER_FOLDER = 3  # files of each genre folder, the artist tags of which are read to recognise folders of artists
MIN_FOLDERS = 3


class GenreFolder(NamedTuple):
    """A genre folder.

    Attributes:
        path: the folder.
        split: `train`, `valid` or `test`, if the folder above it is named so; else None.
    """

    path: Path
    split: str | None = None


def genre_folders(root: Path) -> list[GenreFolder]:
    """The genre folders of a library: `<root>/<genre>`, or `<root>/<split>/<genre>`.

    Raises:
        DataError: if the folders are FMA's numbers, or only some of them are splits.
    """
    top = subfolders(root)
    splits = {folder: split for folder in top if (split := split_of(folder.name)) is not None}
    if len(splits) < len(top) and splits:
        named, others = (some([f.name for f in folders]) for folders in (splits, [f for f in top if f not in splits]))
        raise DataError(
            f"{root}: {named} are named as splits, but {others} are not; move either out of the folder, or set data.root to "
            "the folder that contains the genres",
            kind="mixed_folders",
            key="data.root",
            value=str(root),
        )
    genres = [GenreFolder(folder) for folder in top]
    if len(splits) > 1:
        genres = [GenreFolder(genre, split) for folder, split in splits.items() for genre in subfolders(folder)]
    folders = [genre.path for genre in genres]
    if folders and all(FMA_FOLDER.fullmatch(folder.name) for folder in folders):
        raise DataError(
            f"{root}: the folders {some([folder.name for folder in folders])} are no genres but numbers, as in FMA's archives; "
            "for FMA use data=fma_audio with data.root=DIR, which has the genres in fma_metadata/; else name each folder by "
            "its genre",
            kind="numbered_folders",
            key="data.root",
            value=str(root),
        )
    return genres


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones; none if it may not be read."""
    try:
        return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    except PermissionError:
        return []


def split_of(name: str) -> str | None:
    """The split that a folder is named as."""
    lowered = name.strip().casefold()
    return lowered if lowered in SPLITS else SPELLINGS.get(lowered)


def is_fma_folder(folder: Path) -> bool:
    """Whether a folder is one of FMA's: it has three digits as its name, with which the names of its tracks begin."""
    if not FMA_FOLDER.fullmatch(folder.name):
        return False
    try:
        stems = [f.stem for f in folder.iterdir() if not f.name.startswith(".")]
    except OSError:
        return False
    return bool(stems) and all(stem.isdecimal() and len(stem) == 6 and stem.startswith(folder.name) for stem in stems)


def doubts(root: Path, files: Mapping[str, Sequence[Path]], below: Iterable[str]) -> str | None:
    """Why the folders that were taken as genres may be something else; None if nothing suggests it.

    Args:
        root: the folder of the library.
        files: the recordings of each genre, by its name.
        below: the names of the folders in the genre folders.
    """
    genres = list(files)
    common = [name for name in genres if is_genre(name)]
    if all(name.isdecimal() for name in genres):
        return f"the genres are numbers ({some(genres)}): name the folders by their genres"
    genres_below = sorted({name for name in below if is_genre(name)})
    if len(genres_below) > 1 and not common:
        return (
            f"the folders below {some(genres)} have the names of genres ({some(genres_below)}): if they are the genres, set "
            "data.root to the folder that contains them"
        )
    if is_genre(root.absolute().name) and not common and len(genres) >= MIN_FOLDERS:
        return (
            f"{root.absolute().name} is the name of a genre, {some(genres)} are not: if they are artists, set "
            f"data.root={root.absolute().parent}"
        )
    artists = {name: {artist_tag(file) for file in files[name][:TAGS_PER_FOLDER]} for name in genres}
    single = [name for name, tags in artists.items() if None not in tags and len(tags) == 1 and len(files[name]) > 1]
    if len(genres) >= MIN_FOLDERS and len(single) >= 0.8 * len(genres):
        distinct = len({next(iter(artists[name])) for name in single})
        if distinct == len(single):
            return (
                f"each of {len(single)} of the {counted(len(genres), 'genre folder')} has recordings of a single artist ({some(single)}): "
                f"if they are artists, set data.root={root.absolute().parent}"
            )
    return None


def is_genre(name: str) -> bool:
    """Whether a folder has the name of a common genre."""
    return COMMON_GENRE.fullmatch(re.sub(r"[\W_]", "", name.casefold())) is not None


def artist_tag(file: Path) -> str | None:
    """The artist tag of a file, in lower case; None if there is none."""
    file = file_of(file)
    if not file.is_file():  # opening a pipe would block
        return None
    try:
        return read_artist(file).casefold() or None
    except (soundfile.LibsndfileError, OSError, ValueError):
        return None  # examining the file will report the reason
