"""Commands and changes by the user in any order: no content is lost, and what an undo leaves is named."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.errors import DataError, UserError
from musicreclass.library.journal_rules import NAME
from musicreclass.prediction.formats import write_csv
from musicreclass.tasks.organize import undo_organize
from tests.organizing.tree import contents, row, snapshot, sort_into, write_table

FOLDERS = st.sampled_from(["B", "B", "music", "A", "music/in", "A/Rock"])
MODES = st.sampled_from(["link", "copy", "copy", "move", "move"])
ORGANIZE = st.tuples(st.just("organize"), st.sampled_from(["old", "new"]), MODES, FOLDERS, st.integers(0, 5))
UNDO = st.tuples(st.just("undo"), FOLDERS)
USER = st.one_of(
    st.tuples(st.just("rename"), st.integers(0, 20), st.sampled_from(["x.wav", "A/Rock/y.wav", "music/z.wav"])),
    st.tuples(st.just("edit"), st.integers(0, 20)),
    st.tuples(st.just("link"), st.integers(0, 20)),
    st.tuples(st.just("folder"), FOLDERS, st.sampled_from(["C", "music/D"])),
)
COMMANDS = st.one_of(ORGANIZE, UNDO, USER)


def audio_files(base: Path) -> list[Path]:
    """All files and links but tables and journals."""
    paths = sorted(path for path in base.rglob("*.*") if not path.name.startswith(".") and path.suffix != ".csv")
    return [path for path in paths if path.is_symlink() or path.is_file()]


def labels(base: Path, shift: int) -> Path:
    """A new table of all recordings."""
    rows = [row(path, ["Rock", "Jazz"][(shift + i) % 2]) for i, path in enumerate(audio_files(base))]
    write_csv(base / "new.csv", rows)
    return base / "new.csv"


def carry_out(base: Path, command: tuple) -> set[str]:
    """Carry out a command; returns contents that the user has replaced."""
    files = audio_files(base)
    match command:
        case ("organize", which, mode, folder, shift):
            sort_into(labels(base, shift) if which == "new" else base / "old.csv", mode, base / folder)
        case ("undo", folder):
            undo_organize(root=base / folder)
        case ("rename", i, name) if files and not os.path.lexists(base / name) and (base / name).parent.is_dir():
            files[i % len(files)].rename(base / name)
        case ("edit", i) if files and files[i % len(files)].is_file():
            before = contents(base)
            files[i % len(files)].resolve().write_bytes(b"edited %d" % i)
            return set(before - contents(base))
        case ("link", i) if files and not (file := files[i % len(files)]).is_symlink():
            twins = [f for f in files if f != file and not f.is_symlink() and f.read_bytes() == file.read_bytes()]
            if twins:  # a user who saves space
                file.unlink()
                file.symlink_to(twins[0])
        case ("folder", folder, name) if (base / folder).is_dir() and not os.path.lexists(base / name):
            if (base / name).parent.is_dir() and not (base / name).is_relative_to(base / folder):
                (base / folder).rename(base / name)
                (base / folder).parent.mkdir(exist_ok=True)
                (base / folder).symlink_to(base / name)
    return set()


@settings(max_examples=15)
@given(commands=st.lists(COMMANDS, max_size=10))
def test_no_order_of_commands_loses_a_file(commands):
    check_order(commands)


@pytest.mark.slow
@settings(max_examples=600)
@given(commands=st.lists(COMMANDS, min_size=4, max_size=16))
def test_no_long_order_of_commands_loses_a_file(commands):
    check_order(commands)


def check_order(commands: list[tuple]) -> None:
    """Carry out commands; all contents but those that the user has replaced must be there after each."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        for i, path in enumerate(["music/a.wav", "music/in/a.wav", "music/b.flac", "music/in/a.lrc", "A/Rock/a.wav"]):
            (base / path).parent.mkdir(parents=True, exist_ok=True)
            (base / path).write_bytes(b"%d" % i * 9)
        write_table(base / "old.csv", dict.fromkeys(audio_files(base), "Rock"))
        expected = set(contents(base / "music", base / "A"))
        for command in commands:
            replaced: set[str] = set()
            with suppress(UserError):
                replaced = carry_out(base, command)
            present = set(contents(base))
            assert expected - replaced <= present, command
            expected = (expected - replaced) & present


def test_a_copy_to_which_its_source_leads_is_kept(tmp_path):
    """A user replaced the recordings by links to the copies: then these are the only ones."""
    (tmp_path / "music").mkdir()
    songs = [tmp_path / "music" / name for name in ("linked.wav", "hard.wav", "folder.wav", "kept.wav")]
    for song in songs:
        song.write_bytes(song.name.encode())
    expected = set(contents(tmp_path))
    sort_into(write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock")), "copy", tmp_path / "out")
    for song in songs[:2]:
        song.unlink()
    songs[0].symlink_to(tmp_path / "out/Rock/linked.wav")
    os.link(tmp_path / "out/Rock/hard.wav", songs[1])
    songs[2].unlink()
    (tmp_path / "music").rename(tmp_path / "old")
    (tmp_path / "music").mkdir()
    for name in ("linked.wav", "hard.wav", "kept.wav"):
        (tmp_path / "old" / name).rename(tmp_path / "music" / name)
    assert {path.name for path, _ in undo_organize(root=tmp_path / "out").left} == {"linked.wav", "folder.wav"}
    assert expected <= set(contents(tmp_path))


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_a_folder_that_was_renamed_is_not_undone(tmp_path, mode):
    """Its journal names other paths. It must not be taken for undone."""
    song = tmp_path / "song.wav"
    song.write_bytes(b"x")
    before = snapshot(tmp_path)
    table = write_table(tmp_path / "g.csv", {song: "Rock"})
    sort_into(table, mode, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "renamed")
    tree = snapshot(tmp_path / "renamed")
    for work in (
        lambda: undo_organize(root=tmp_path / "renamed"),
        lambda: sort_into(table, mode, tmp_path / "renamed"),
    ):
        with pytest.raises(DataError) as caught:
            work()
        assert (caught.value.kind, caught.value.key) == ("foreign_journal", str(tmp_path / "renamed" / NAME))
        assert snapshot(tmp_path / "renamed") == tree
    (tmp_path / "renamed").rename(tmp_path / "out")
    assert undo_organize(root=tmp_path / "out").left == []
    table.unlink()
    assert snapshot(tmp_path) == before


def test_folders_of_files_that_were_left_are_removed_later(tmp_path):
    song = tmp_path / "song.wav"
    song.write_bytes(b"x")
    before = snapshot(tmp_path)
    first = write_table(tmp_path / "g.csv", {song: "Rock"})
    sort_into(first, "move", tmp_path / "A")
    second = write_table(tmp_path / "h.csv", {tmp_path / "A/Rock/song.wav": "Jazz"})
    sort_into(second, "move", tmp_path / "B")
    assert [path.name for path, _ in undo_organize(root=tmp_path / "A").left] == ["song.wav"]
    assert undo_organize(root=tmp_path / "B").left == []
    assert undo_organize(root=tmp_path / "A").left == []
    first.unlink()
    second.unlink()
    assert snapshot(tmp_path) == before
