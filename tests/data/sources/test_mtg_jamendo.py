"""MTG-Jamendo: planted lists and recordings in the published forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicreclass.data.sources.mtg_jamendo import MTGJamendo
from musicreclass.errors import DataError, DatasetNotFoundError
from tests.library import write_tone

HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def row(number: int, *tags: str) -> str:
    path = f"{number % 100:02d}/{number}.mp3"
    return "\t".join(
        [f"track_{number:07d}", f"artist_{number // 3:06d}", f"album_{number // 2:06d}", path, "1.0", *tags]
    )


def write_lists(root: Path) -> None:
    """The genre subset and its first split, with rows of every kind."""
    folder = root / "data" / "splits" / "split-0"
    folder.mkdir(parents=True)
    parts: dict[str, list[str]] = {name: [] for name in SPLITS}
    for number in range(120, 150):
        tags = [f"genre---{('rock', 'jazz')[number % 2]}", *(["genre---pop"] if number % 3 == 0 else [])]
        parts[("train", "train", "valid", "test")[number // 3 % 4]].append(row(number, *tags))
    parts["train"] += ["", row(990), row(991, "genre---rock", "genre---rock", "")]
    for name, published in SPLITS.items():
        (folder / f"autotagging_genre-{published}.tsv").write_text("\n".join([HEADER, *parts[name]]) + "\n")
    rows = [text for part in parts.values() for text in part]
    (root / "data" / "autotagging_genre.tsv").write_text("\n".join([HEADER, *rows, row(992, "genre---rare")]) + "\n")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "MTG-Jamendo"
    write_lists(root)
    for number in range(120, 149):
        ending = "mp3" if number % 2 else "low.mp3"
        write_tone(root / "audio" / f"{number % 100:02d}" / f"{number}.{ending}", 500 + number, number, 1, 16000)
    write_tone(root / "audio" / "21" / "121.low.mp3", 500, 1, 1, 16000)
    (root / "audio" / "21" / "._119.mp3").write_bytes(b"Mac OS X")
    return root


def opened(root: Path, cache: Path, protocol: str = "official", **settings) -> MTGJamendo:
    data = MTGJamendo(
        str(root), {"protocol": protocol}, store=str(cache), **{"min_seconds": 0.5, "subset": "genre", **settings}
    )
    data.setup()
    return data


def test_tracks_have_the_tags_and_splits_of_the_lists(dataset, here):
    data = opened(dataset.parent, here / "c")
    tracks = data.tracks.set_index("track_id")
    assert data.is_multi
    assert data.classes == ["genre---jazz", "genre---pop", "genre---rock"]
    assert tracks.target["track_0000123"] == ("genre---jazz", "genre---pop")
    assert tracks.path["track_0000121"].endswith("/21/121.mp3")  # in place of the low-bitrate copy
    assert (tracks.group["track_0000121"], tracks.album["track_0000121"]) == ("artist_000040", "album_000060")
    assert tracks.split.value_counts().to_dict() == {"train": 17, "valid": 6, "test": 6}
    assert data.dropped == {"without a tag": 1, "without a recording": 2}
    assert data.incomplete == "2 of 32 tracks of autotagging_genre have no recording"
    assert data.protocol.leaky == "no"


def test_other_splits_read_the_list_of_all_tracks(dataset, here):
    data = opened(dataset, here / "c", "grouped")
    assert data.protocol.leaky == "no"
    assert data.dropped["without a recording"] == 3
    assert any(note == "autotagging_genre: 33 tracks" for note in data.notes)


@pytest.mark.parametrize(("settings", "kind"), [({"fold": 5}, "invalid_fold"), ({"fold": 1}, "missing_metadata"),
                                                ({"subset": "instrument"}, "missing_metadata")])  # fmt: skip
def test_lists_that_do_not_exist(dataset, here, settings, kind):
    with pytest.raises(DataError) as caught:
        opened(dataset, here / "c", **settings)
    assert caught.value.kind == kind


@pytest.mark.parametrize(("text", "kind"), [
    ("", "invalid_header"), ("TRACK_ID,ARTIST_ID\n", "invalid_header"), (HEADER + "\n", "no_rows"),
    (HEADER + "\ntrack_1\tartist_1\n", "unreadable"), ("\n".join([HEADER, row(1, "genre---a"), row(1, "genre---a")]), "duplicate_track"),
])  # fmt: skip
def test_lists_that_cannot_be_used(here, text, kind):
    write_lists(here)
    (here / "data" / "splits" / "split-0" / "autotagging_genre-validation.tsv").write_text(text)
    with pytest.raises(DataError) as caught:
        opened(here, here / "c")
    assert caught.value.kind == kind


def test_missing_recordings_are_named(here):
    write_lists(here)
    with pytest.raises(DatasetNotFoundError) as caught:
        opened(here, here / "c")
    assert (caught.value.kind, caught.value.key) == ("missing_audio", str(here))
