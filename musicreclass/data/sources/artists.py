"""The artist of each recording of a library: from its tags, from names such as `Artist - Title`, or from its folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from musicreclass.data.audio.content import ffmpeg_format
from musicreclass.data.audio.tags import read_artist
from musicreclass.data.names import artist_key, folded, without_blanks
from musicreclass.plurals import counted

SOURCES = ("tag", "name", "folder")  # in the order of `data.group_by=auto`
SEPARATOR = re.compile(r"\s+[-\u2010-\u2015\u2212]\s+")  # any dash between blanks: `Jay-Z` has none
NUMBER = re.compile(r"[#(\[]?\d{1,4}[)\].]?")
TRACK_NUMBER = re.compile(r"(?:[(\[]\d{1,3}[)\]]|\d{1,3}[.)](?!\d)|\d{1,2}-\d{2,3}(?=\s)|0\d{1,2}(?=\s))\s*")
BARE_NUMBER = re.compile(r"(\d{2,3})\s+(?=\S)")  # `12 Nirvana - Lithium`, but also `50 Cent - In Da Club`
YEAR = r"[(\[]?(?:19|20)\d\d[)\]]?"
ALBUM = re.compile(
    rf"(?P<artist>.+?)\s+[-\u2010-\u2015\u2212]\s+(?:{YEAR}(?:\s+[-\u2010-\u2015\u2212]\s+.+)?|.+\s[(\[](?:19|20)\d\d[)\]])"
)
VERSION = re.compile(
    r"(?:live(?: (?:at|from) .+)?|demo|bonus(?: track)?|instrumental|acoustic|remix|remastered|single|intro|outro|"
    r"(?:\w+ )?(?:mix|edit|version|remaster)(?: \d{4})?|part \w+)"
)  # what follows a dash after the title, in folded form
COLLECTIONS = frozenset(
    ("compilation", "compilations", "soundtrack", "soundtracks", "ost", "singles", "misc", "miscellaneous", "other", "unsorted",
     "downloads", "mixed", "verschiedene", "varios artistas", "artistes divers", "群星", "华语群星", "華語群星", "合集", "オムニバス")
)  # fmt: skip
DISC = re.compile(r"(?:cd|dis[ck])[ ._-]*\d+")


@dataclass
class Artists:
    """The artists of recordings.

    Attributes:
        names: of each recording, in lower case; None if unknown.
        counts: number of recordings by the source of their artist.
        unread: number of files by suffix whose tags cannot be read.
    """

    names: list[str | None]
    counts: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    def note(self) -> str:
        """How many artists each source gave."""
        parts = [f"{self.counts[source]} by {source}" for source in SOURCES if self.counts[source]]
        n_unknown = len(self.names) - sum(self.counts.values())
        return f"artists of {counted(len(self.names), 'recording')}: {', '.join([*parts, f'{n_unknown} unknown'])}"


def find_artists(
    files: Sequence[Path],
    genres: Sequence[Path],
    sources: Sequence[str],
    numbered: frozenset[Path] = frozenset(),
    in_sheets: Mapping[Path, str] | None = None,
) -> Artists:
    """The artist of each recording, from the first source that has one.

    Args:
        files: the recordings.
        genres: the genre folder of each.
        sources: `tag`, `name`, `folder`, in the order of preference.
        numbered: folders below the genres that are numbers, not artists.
        in_sheets: the artists that CUE sheets state; of a part of a file, it is its tag, of a file, it replaces a missing one.
    """
    result = Artists([])
    in_names = artists_in_names(files, genres) if "name" in sources else {}
    readers: dict[str, Callable[[Path, Path], str | None]] = {
        "tag": lambda file, genre: tag_of(file, result.unread) or (in_sheets or {}).get(file),
        "name": lambda file, genre: in_names.get(file) or artist_of_album(file.relative_to(genre).parts[:-1]),
        "folder": lambda file, genre: artist_folder(file, genre, numbered),
    }
    for file, genre in zip(files, genres, strict=True):
        placeholder = None
        for source in sources:
            name = readers[source](file, genre)
            if name and is_artist(name):
                result.names.append(name.casefold())
                result.counts[source] += 1
                break
            placeholder = placeholder or name
        else:
            result.names.append(placeholder.casefold() if placeholder else None)
    return result


def is_artist(name: str) -> bool:
    """Whether a name is not a placeholder, nor that of a collection."""
    return artist_key(name) is not None and folded(name) not in COLLECTIONS


def tag_of(file: Path, unread: Counter[str]) -> str | None:
    """The artist tag of a file; None if there is none.

    Args:
        file: the recording.
        unread: counts files whose tags cannot be read, by suffix.
    """
    if not file.is_file():  # opening a pipe would block; a part of a file is none
        return None
    try:
        return read_artist(file) or None
    except (soundfile.LibsndfileError, OSError, ValueError):
        with suppress(OSError):  # a bad file is reported when it is examined
            unread[file.suffix.lower()] += ffmpeg_format(file) not in ("", "AAC")  # which has ID3 tags only
        return None


def artists_in_names(files: Sequence[Path], genres: Sequence[Path]) -> dict[Path, str]:
    """The artists that the names of files begin with.

    In a folder of which at least half of the files are not named `Artist - Title`, a dash may separate anything: there, only
    the artist that a folder above has too is taken.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    genre_of = dict(zip(files, genres, strict=True))
    for file in files:
        folders[file.parent].append(file)
    artists: dict[Path, str] = {}
    for folder, members in folders.items():
        stems = [file.stem for file in members]
        numbered = has_track_numbers(stems)
        parts = {file: parts_of_name(file.stem, numbered) for file in members}
        parts = {file: names for file, names in parts.items() if names}
        last = {names[-1] for names in parts.values()}
        differs = len(parts) < 3 or len(last) > 1 or len({names[0] for names in parts.values()}) == 1
        trusted = 2 * len(parts) > len(members) and differs
        above = folder_keys(folder.relative_to(genre_of[members[0]]).parts)
        artists |= {file: name for file, names in parts.items() if (name := chosen_part(names, above, trusted))}
    return artists


def chosen_part(names: list[str], above: set[str | None], trusted: bool) -> str | None:
    """The artist among the parts of a name: the one that is also a folder above it, else the first one if it can be trusted."""
    for name in (names[0], names[-1]):
        if artist_key(name) in above:
            return name
    return names[0] if trusted else None


def has_track_numbers(stems: Sequence[str]) -> bool:
    """Whether most names of a folder begin with a number, and mostly with different ones."""
    numbers = [match[1] for stem in stems if (match := BARE_NUMBER.match(stem))]
    return len(numbers) > 1 and 2 * len(numbers) > len(stems) and 2 * len(set(numbers)) > len(numbers)


def parts_of_name(stem: str, numbered: bool = False) -> list[str]:
    """The parts of a name like `01 - Artist - Title`, from the artist to the title; empty if it has no such form.

    Args:
        stem: of a file.
        numbered: whether a number that only a blank separates is the track's.
    """
    text = without_blanks(stem if " " in stem else stem.replace("_", " "))
    text = TRACK_NUMBER.sub("", text, count=1) if TRACK_NUMBER.match(text) else text
    text = BARE_NUMBER.sub("", text, count=1) if numbered and BARE_NUMBER.match(text) else text
    parts = [part.strip() for part in SEPARATOR.split(text.strip(" -"))]
    while parts and NUMBER.fullmatch(parts[0]):
        parts = parts[1:]
    if len(parts) < 2 or not all(parts) or not is_artist(parts[0]):
        return []
    if len(parts) == 2 and (NUMBER.fullmatch(parts[1]) or VERSION.fullmatch(folded(parts[1]))):
        return []
    return parts


def artist_of_album(folders: Sequence[str]) -> str | None:
    """The artist of the last folder that is named `Artist - Year - Album`."""
    for name in reversed(folders):
        match = ALBUM.fullmatch(without_blanks(name))
        if match and not NUMBER.fullmatch(match["artist"]) and is_artist(match["artist"]):
            return match["artist"]
    return None


def folder_keys(folders: Sequence[str]) -> set[str | None]:
    """The normal forms of the artists that folders may be named by."""
    names = [part for name in folders for part in (name, SEPARATOR.split(without_blanks(name))[0])]
    return {artist_key(name) for name in names} - {None}


def artist_folder(file: Path, genre: Path, numbered: frozenset[Path]) -> str | None:
    """The artist that the folder below the genre is named by; of `Artist - Album`, the artist."""
    parts = file.relative_to(genre).parts
    if len(parts) == 1 or genre / parts[0] in numbered:
        return None
    name = without_blanks(parts[0])
    if DISC.fullmatch(folded(name)) or re.fullmatch(YEAR, name):
        return None
    first = SEPARATOR.split(name)[0]
    if first == name:
        return parts[0]
    return None if NUMBER.fullmatch(first) or re.fullmatch(YEAR, first) else first


def sources_of(group_by: str | Sequence[str]) -> tuple[str, ...]:
    """The sources that `data.group_by` names, in order, each once."""
    if isinstance(group_by, str):
        return {"auto": SOURCES, "none": ()}.get(group_by, (group_by,))
    return tuple(dict.fromkeys(group_by))
