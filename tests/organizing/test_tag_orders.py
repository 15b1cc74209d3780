"""Tags in place before and after a copy or a move: each order is undone, or refused before anything changes. Needs the extra `tags`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import soundfile

from musicreclass.errors import DataError
from musicreclass.library.tags import Tags
from musicreclass.tasks.organize import Options, Organized, journal_beside, organize, undo_organize
from tests.organizing.tree import contents, names, snapshot, sort_into, write_table
from tests.sounds import music

pytest.importorskip("mutagen", reason="mutagen is not installed; run pip install 'musicreclass[tags]'")


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    """Two recordings in `music`."""
    (tmp_path / "music").mkdir()
    for i in range(2):
        soundfile.write(tmp_path / "music" / f"{i}.flac", music(0.2 + 0.1 * i, 8000), 8000)
    return sorted((tmp_path / "music").iterdir())


def tag(table: Path) -> Organized:
    return organize(table, Options(tags=True, confirmed=True))


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_tags_before(tmp_path, songs, mode):
    table, root = write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock")), tmp_path / "out"
    before = snapshot(tmp_path / "music")
    assert tag(table).tagged == 2
    tagged = snapshot(tmp_path / "music")
    for _ in range(2):
        assert sort_into(table, mode, root).changed == 2
        everything = contents(tmp_path)
        with pytest.raises(DataError) as caught:
            undo_organize(table)
        assert (caught.value.kind, caught.value.key) == ("undo_first", str(root))
        assert contents(tmp_path) == everything
        assert undo_organize(root=root).left == []
        assert snapshot(tmp_path / "music") == tagged
    assert undo_organize(table).left == []
    table.unlink()
    assert {name: value for name, value in snapshot(tmp_path).items() if name != "music"} == {
        f"music/{name}": value for name, value in before.items()
    }


def test_tags_before_and_a_file_that_cannot_come_back(tmp_path, songs):
    """After an undo of the folder that left a file, the tags of the others can be undone."""
    table, root = write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock")), tmp_path / "out"
    tag(table)
    sort_into(table, "move", root)
    Tags(root / "Rock/0.flac").write_genre(["Mine"])
    os.utime(root / "Rock/0.flac", (1e9, 1e9))
    assert [path.name for path, _ in undo_organize(root=root).left] == ["0.flac"]
    assert [path.name for path, _ in undo_organize(table).left] == ["0.flac"]
    assert Tags(songs[1]).genre() == []
    assert Tags(root / "Rock/0.flac").genre() == ["Mine"]


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_tags_after(tmp_path, songs, mode):
    """A tag that is written to an organized file belongs into the journal of its folder."""
    table, root = write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock")), tmp_path / "out"
    before = snapshot(tmp_path / "music")
    sort_into(table, mode, root)
    organized = snapshot(root)
    files = sorted((root / "Rock").iterdir())
    again = write_table(tmp_path / "h.csv", dict.fromkeys(files, "Rock"))
    result = tag(again)
    assert (result.tagged, [path for path, _ in result.plan.skipped]) == (0, files)
    assert str(root) in result.plan.skipped[0][1]
    assert snapshot(root) == organized
    assert sort_into(again, mode, root, tags=True).tagged == 2
    assert {Tags(path).genre()[0] for path in files} == {"Rock"}
    assert undo_organize(root=root).left == []
    assert snapshot(tmp_path / "music") == before
    assert not root.exists()


def test_tags_after_a_move_with_the_same_table(tmp_path, songs):
    """The recordings are no longer at the paths in the table."""
    table, root = write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock")), tmp_path / "out"
    sort_into(table, "move", root)
    with pytest.raises(DataError) as caught:
        tag(table)
    assert caught.value.kind == "no_recordings"
    assert sort_into(table, "move", root, tags=True).tagged == 2


def test_links_and_tags_are_independent(tmp_path, songs):
    table, root = write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock")), tmp_path / "out"
    before = snapshot(tmp_path / "music")
    tag(table)
    sort_into(table, "link", root)
    assert undo_organize(table).left == []
    assert undo_organize(root=root).left == []
    assert snapshot(tmp_path / "music") == before


def test_copies_are_not_repeated_after_their_sources_were_tagged(tmp_path, songs):
    """Neither by the table from before, nor by one from after; both move the copies to another genre."""
    table, root = write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock")), tmp_path / "out"
    sort_into(table, "copy", root)
    assert tag(table).tagged == 2
    before = table.read_bytes()
    after = write_table(table, dict.fromkeys(songs, "Rock")).read_bytes()
    for content in (before, after):
        table.write_bytes(content)
        assert sort_into(table, "copy", root).plan.present == 2
    for content, genre in ((before, b"Jazz"), (after, b"Folk")):
        table.write_bytes(content.replace(b"Rock", genre))
        assert sort_into(table, "copy", root).changed == 2
        assert names(root) == [f"{genre.decode()}/0.flac", f"{genre.decode()}/1.flac"]


def test_a_table_and_a_link_to_it_have_one_journal(tmp_path, songs):
    """But an undo through a link finds a journal that version 0.2.0 wrote next to the link."""
    (tmp_path / "tables").mkdir()
    table, link = write_table(tmp_path / "tables/g.csv", dict.fromkeys(songs, "Rock")), tmp_path / "link.csv"
    link.symlink_to(table)
    before = snapshot(tmp_path / "music")
    assert tag(link).tagged == 2
    assert journal_beside(link) == journal_beside(table)
    assert undo_organize(table).left == []
    assert snapshot(tmp_path / "music") == before
    assert tag(table).tagged == 2
    journal_beside(table).rename(tmp_path / ".link.csv.organize.jsonl")
    assert undo_organize(link).left == []
    assert snapshot(tmp_path / "music") == before


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_another_song_in_place_of_a_tagged_one(tmp_path, songs, mode):
    """The row of the first one does not apply to it, also if both were tagged."""
    table = write_table(tmp_path / "g.csv", {songs[0]: "Rock"})
    tag(table)
    songs[1].replace(songs[0])
    other = write_table(tmp_path / "other.csv", {songs[0]: "Jazz"})
    before = snapshot(tmp_path / "music")
    assert sort_into(table, mode, tmp_path / "out").changed == 0
    assert tag(table).tagged == 0
    assert snapshot(tmp_path / "music") == before
    table.write_bytes(other.read_bytes())
    assert tag(table).tagged == 1
    table.write_bytes(write_table(tmp_path / "g2.csv", {songs[0]: "Jazz"}).read_bytes())
    sort_into(table, mode, tmp_path / "out")
    assert names(tmp_path / "out") == ["Jazz/0.flac"]
