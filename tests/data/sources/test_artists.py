"""Artists from tags, names and folders."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.data.audio.tags import read_artist
from musicreclass.data.names import artist_key
from musicreclass.data.sources.artists import artist_of_album, artists_in_names, find_artists, parts_of_name
from musicreclass.errors import UserError
from tests.library import RATE, opened, write_tone

ARTISTS = st.text("abcdefgh äöüéñ周杰伦", min_size=2, max_size=12).map(str.strip).filter(lambda name: len(name) > 1)
TITLES = st.text("klmnop äöü晴天", min_size=2, max_size=12).map(str.strip).filter(lambda name: len(name) > 1)


@pytest.mark.parametrize(("stem", "artist"), [
    ("Nirvana - Lithium", "Nirvana"),
    ("01 - Nirvana - Lithium", "Nirvana"),
    ("01. Nirvana - Lithium", "Nirvana"),
    ("[07] Nirvana - Lithium", "Nirvana"),
    ("1-07 Nirvana - Lithium", "Nirvana"),
    ("07 Nirvana - Lithium", "Nirvana"),
    ("A-ha - Take On Me", "A-ha"),
    ("Jay-Z - 99 Problems", "Jay-Z"),
    ("Jay-Z \u2013 99 Problems", "Jay-Z"),
    ("50 Cent - In Da Club", "50 Cent"),
    ("周杰伦 - 晴天", "周杰伦"),
    ("Santana feat. Rob Thomas - Smooth", "Santana feat. Rob Thomas"),
    ("Nirvana_-_Lithium", "Nirvana"),
    ("Oasis - Live Forever", "Oasis"),
    ("Nirvana - Nevermind - 05 - Lithium", "Nirvana"),
    ("Smashing Pumpkins - 1979", None),
    ("01 - Lithium", None),
    ("311 - Down", None),
    ("Lithium", None),
    ("Lithium - Live", None),
    ("Lithium - Radio Edit", None),
    ("Jay-Z", None),
    ("blues.00001", None),
    ("Various Artists - Hits", None),
    ("VA - Hits", None),
    ("Unknown Artist - Track 3", None),
    ("群星 - 红豆", None),
    (" - ", None),
])  # fmt: skip
def test_artists_in_names(stem, artist):
    parts = parts_of_name(stem)
    assert (parts[0] if parts else None) == artist


@given(ARTISTS, TITLES, st.sampled_from(["", "01 - ", "12. ", "[3] ", "03 "]), st.sampled_from(" -\u2013\u2014"[1:]))
def test_a_name_is_parsed_into_its_parts(artist, title, number, dash):
    stem = unicodedata.normalize("NFD", f"{number}{artist} {dash} {title}")
    assert artist_key(parts_of_name(stem)[0]) == artist_key(artist)


@given(ARTISTS, ARTISTS)
def test_spellings_are_one_group_and_artists_are_not_merged(first, second):
    stems = [
        first,
        first.upper(),
        f"The {first}",
        f"{first}, The",
        f"{first}  feat. {second}",
        f"{first} (ft. {second})",
    ]
    files = [Path(f"/m/rock/{stem} - x{i}.mp3") for i, stem in enumerate(stems)]
    assert {artist_key(name) for name in find_artists(files, [Path("/m/rock")] * 6, ["name"]).names} == {
        artist_key(first)
    }
    if artist_key(first) != artist_key(second):
        files = [Path(f"/m/rock/{name} - {i}x.mp3") for i, name in enumerate((first, second))]
        names = find_artists(files, [Path("/m/rock")] * 2, ["name"]).names
        assert artist_key(names[0]) != artist_key(names[1])


def names_in(names: list[str], folder: str = "rock") -> list[str | None]:
    files = [Path("/m") / folder / f"{name}.mp3" for name in names]
    artists = artists_in_names(files, [Path("/m/rock")] * len(files))
    return [artists.get(file) for file in files]


def test_a_name_counts_only_where_the_folder_supports_it():
    assert names_in(["12 Nirvana - A", "13 Blur - B", "14 Oasis - C"]) == ["Nirvana", "Blur", "Oasis"]
    assert names_in(["50 Cent - A", "50 Cent - B", "50 Cent - C"]) == ["50 Cent"] * 3
    assert names_in(["Come - As You Are", "Lithium", "Polly", "Breed"], "rock/Nirvana") == [None] * 4
    assert names_in(["Nirvana - Polly", "Lithium", "Breed", "Intro"], "rock/Nirvana") == ["Nirvana", None, None, None]
    assert names_in(["Polly - Nirvana", "Breed - Nirvana"], "rock/Nirvana") == ["Nirvana"] * 2
    assert names_in(["Polly - Unplugged", "Breed - Unplugged", "Dumb - Unplugged"]) == [None] * 3


@pytest.mark.parametrize(("folder", "artist"), [
    ("Nirvana - 1991 - Nevermind", "Nirvana"),
    ("Nirvana - [1991] - Nevermind", "Nirvana"),
    ("Nirvana - Nevermind (1991)", "Nirvana"),
    ("a-ha \u2013 1985 \u2013 Hunting High", "a-ha"),
    ("1991 - Nevermind", None),
    ("Various Artists - 1999 - Hits", None),
    ("Nirvana", None),
])  # fmt: skip
def test_artists_of_album_folders(folder, artist):
    assert artist_of_album([folder]) == artist


def test_folders_that_are_no_artists():
    for name, group in {
        "CD1": None,
        "1999": None,
        "1999 - Hits": None,
        "VA": "va",
        "ABBA": "abba",
        "ABBA - Gold": "abba",
    }.items():
        assert find_artists([Path(f"/m/pop/{name}/01.mp3")], [Path("/m/pop")], ["folder"]).names == [group]


def tag(path: Path, artist: str) -> None:
    """Write an artist tag as ID3 inside WAV, which libsndfile does not read."""
    from mutagen.id3 import TPE1
    from mutagen.wave import WAVE

    audio = WAVE(path)
    audio.add_tags()
    audio.tags.add(TPE1(encoding=1, text=[artist]))
    audio.save()


@pytest.fixture
def excerpts(real_data: Path) -> list[Path]:
    """A few real clips of two genres."""
    root = real_data / "GTZAN_excerpts" / "Data" / "genres_original"
    return [*sorted(root.glob("rock/*.wav"))[:6], *sorted(root.glob("pop/*.wav"))[:6]]


def test_a_flat_library_gets_a_grouped_split(excerpts, here):
    for i, clip in enumerate(excerpts):
        genre, artist = clip.parent.name, ("The 周杰伦", "周杰伦 feat. X")[i % 2] if i < 2 else f"Artist {i % 4}"
        path = here / "music" / genre / f"{artist} - Song {i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())
    tagged = here / "music" / "rock" / "Artist 2 - Song 2.wav"
    tag(tagged, "Tagged")
    assert read_artist(tagged) == "Tagged"
    data = opened(here / "music", "data.min_seconds=0.1")
    assert data.protocol.split == "grouped"
    assert data.protocol.leaky == "no"
    assert data.tracks.set_index("track_id").group["rock/Artist 2 - Song 2.wav"] == "tagged"
    assert any("1 by tag, 11 by name, 0 unknown" in note for note in data.notes)
    splits = data.tracks[data.tracks.track_id.str.contains("周杰伦")].split
    assert splits.nunique() == 1
    only_tags = opened(here / "music", "data.min_seconds=0.1", "data.group_by=[tag]", "data/split=random")
    assert only_tags.tracks.group.notna().sum() == 1
    assert any("1 by tag, 11 unknown" in note for note in only_tags.notes)


def test_albums_of_an_artist_are_one_group(excerpts, here):
    layouts = (
        "X/X - 1991 - One/X - Song {}.wav",
        "X/X - 1993 - Two/0{} - Song.wav",
        "Y/Y - 2000 - Three/Y feat. X - {}x.wav",
    )
    for i, clip in enumerate(excerpts):
        path = here / "music" / clip.parent.name / layouts[i % 3].format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())
    data = opened(here / "music", "data.min_seconds=0.1", "data/split=random")
    groups = data.tracks.group.map(artist_key)
    assert set(groups) == {"x", "y"}
    assert (groups == "y").sum() == 4
    by_folder = opened(here / "music", "data.min_seconds=0.1", "data/split=random", "data.group_by=folder")
    assert by_folder.tracks.group.map(artist_key).tolist() == groups.tolist()


def test_the_order_of_sources(here):
    for i, (genre, frequency) in enumerate((("rock", 500), ("jazz", 900)) * 6):
        path = here / "music" / genre / "Folder" / f"Name {i} - Song {i}.flac"
        write_tone(path, frequency, i)
        samples, rate = soundfile.read(path)
        with soundfile.SoundFile(path, "w", rate, 1) as writer:
            writer.artist = f"Tag {i}"
            writer.write(samples)
    first = {"auto": "tag", "tag": "tag", "[name,tag]": "name", "[folder,name]": "folder", "folder": "folder"}
    assert rate == RATE
    for group_by, source in first.items():
        data = opened(here / "music", f"data.group_by={group_by}", "data/split=random")
        assert all(name.startswith(source) for name in data.tracks.group)
    for wrong in ("tags", "[tag,nome]"):
        with pytest.raises(UserError) as caught:
            opened(here / "music", f"data.group_by={wrong}")
        assert caught.value.problems[0].key.startswith("data.group_by")
