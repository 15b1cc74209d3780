"""Random libraries: no content is lost, a second run does nothing, and undo restores the tree."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.library.journal_rules import NAME
from musicreclass.library.names import fold
from musicreclass.tasks.organize import undo_organize
from tests.organizing.tree import contents, kind_of_error, names, snapshot, sort_into, write_table

STEMS = st.sampled_from(
    ["a", "A", "é", "e\u0301", "É", "周杰伦 - 晴天", "ß", "ss", "x" * 240, "長" * 80, "a (2)", "con", " b ", "=1"]
)
GENRES = st.sampled_from(
    [
        "Rock",
        "rock",
        "../../x",
        "Hip/Hop",
        "Hip:Hop",
        "con",
        "é",
        "e\u0301",
        "/etc",
        "z" * 400,
        "a.",
        "unknown",
        "\n",
        ".",
    ]
)
KINDS = st.sampled_from(["file", "file", "file", "file", "link", "gone", "changed", "folder", "pipe", "lyrics"])
FILES = st.lists(
    st.tuples(st.sampled_from(["", "one", "two/deep"]), STEMS, st.sampled_from([".wav", ".flac"]), GENRES, KINDS,
              st.integers(0, 3)), max_size=14)  # fmt: skip


def make_library(folder: Path, files: list[tuple[str, str, str, str, str, int]]) -> dict[Path, tuple[str, str]]:
    """Write a random library; returns genre and kind of each file."""
    genres: dict[Path, tuple[str, str]] = {}
    for parent, stem, suffix, genre, kind, content in files:
        path = folder / parent / (stem + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            continue
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            other = path.with_name(f"of {len(genres)}.wav")
            other.write_bytes(b"linked %d" % content)
            path.symlink_to(other.name)
        else:
            path.write_bytes(b"content %d" % content * (1 + content))
            if kind == "lyrics":
                path.with_suffix(".lrc").write_text(f"{stem}")
        if kind != "pipe":
            os.utime(path, ns=(10**18, 10**18 + len(genres) * 1_234_567_891))
        genres[path] = (genre, kind)
    return genres


@settings(max_examples=60)
@given(files=FILES, mode=st.sampled_from(["link", "copy", "move"]), present=st.booleans())
def test_no_content_is_lost_and_undo_restores_the_tree(files, mode, present):
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        library, root = base / "music", base / "genres"
        library.mkdir()
        genres = make_library(library, [*files, ("", "present", ".wav", "Rock", "file", 9)])
        table = write_table(base / "genres.csv", {path: genre for path, (genre, _) in genres.items()})
        for path, (_, kind) in genres.items():
            if kind == "gone":
                path.unlink()
            elif kind == "changed":
                path.write_bytes(b"a longer content than before")
        if present:
            (root / "Rock").mkdir(parents=True)
            (root / "Rock" / "A.wav").write_bytes(b"of the user")
        before, tree, target = contents(library, root), snapshot(library), snapshot(root)
        result = sort_into(table, mode, root)
        after = contents(library, root)
        if mode == "copy":
            assert after >= before
            assert after.keys() == before.keys()
        else:
            assert after == before
        if mode != "move":
            assert snapshot(library) == tree
        check_names(root)
        assert sorted(path.name for path in base.iterdir()) == sorted({"music", "genres.csv", "genres"})
        organized = snapshot(root)
        again = sort_into(table, mode, root)
        assert again.changed == 0
        assert again.plan.present == len(again.plan.located) == len(result.plan.located)
        journal = {NAME}
        assert {k: v for k, v in snapshot(root).items() if k not in journal} == {
            k: v for k, v in organized.items() if k not in journal
        }
        if (root / NAME).exists():
            assert undo_organize(root=root).left == []
        assert snapshot(library) == tree
        assert snapshot(root) == target
        assert root.exists() == present


def check_names(root: Path) -> None:
    """Every file is in a genre folder, and no two names are the same on another file system."""
    for path in root.iterdir():
        assert path.is_dir() or path.name == NAME
        assert not path.is_symlink()
    for folder in [root, *(path for path in root.iterdir() if path.is_dir())]:
        entries = [fold(path.name) for path in folder.iterdir()]
        assert len(entries) == len(set(entries))
        assert all(len(os.fsencode(path.name)) <= 255 for path in folder.iterdir())


@settings(max_examples=25)
@given(files=FILES, mode=st.sampled_from(["link", "copy", "move"]))
def test_without_the_journal_a_second_run_recognises_what_is_there(files, mode):
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        genres = make_library(base, [*files, ("", "present", ".wav", "Rock", "file", 9)])
        table = write_table(base / "genres.csv", {path: genre for path, (genre, _) in genres.items()})
        sort_into(table, mode, base / "out")
        (base / "out" / NAME).unlink(missing_ok=True)
        tree = snapshot(base / "out")
        if mode == "move" and not any(os.path.lexists(path) for path in genres):
            assert kind_of_error(lambda: sort_into(table, mode, base / "out")) == "no_recordings"
        else:
            assert sort_into(table, mode, base / "out").changed == 0
        assert {k: v for k, v in snapshot(base / "out").items() if k != NAME} == tree


def test_relabelled_recordings_move_to_their_new_folder_and_back(tmp_path):
    (tmp_path / "music").mkdir()
    songs = [tmp_path / "music" / f"{i}.wav" for i in range(3)]
    for song in songs:
        song.write_bytes(song.name.encode())
    songs[0].with_suffix(".lrc").write_text("words")
    before = snapshot(tmp_path / "music")
    for mode in ("link", "copy", "move"):
        root = tmp_path / mode
        table = write_table(tmp_path / "g.csv", dict.fromkeys(songs, "Rock"))
        text = table.read_text()
        assert sort_into(table, mode, root).changed == 4
        table.write_text(text.replace("Rock", "Jazz", 1))
        result = sort_into(table, mode, root)
        assert result.changed == 2
        assert names(root) == ["Jazz/0.lrc", "Jazz/0.wav", "Rock/1.wav", "Rock/2.wav"]
        assert (root / "Jazz/0.wav").read_bytes() == b"0.wav"
        assert undo_organize(root=root).left == []
        assert snapshot(tmp_path / "music") == before
        assert not root.exists()


def test_files_changed_since_are_left_and_named(tmp_path):
    songs = {tmp_path / f"{i}.wav": "Rock" for i in range(4)}
    for song in songs:
        song.write_bytes(b"x" * 10)
    for mode in ("copy", "move"):
        root = tmp_path / mode
        sort_into(write_table(tmp_path / "g.csv", songs), mode, root)
        (root / "Rock/0.wav").write_bytes(b"y" * 11)
        (root / "Rock/1.wav").unlink()
        if mode == "move":
            (tmp_path / "2.wav").write_bytes(b"new")
        result = undo_organize(root=root)
        left = {path.name for path, _ in result.left}
        assert left == ({"0.wav"} if mode == "copy" else {"0.wav", "1.wav", "2.wav"})
        assert (root / "Rock/0.wav").read_bytes() == b"y" * 11
        assert (root / NAME).exists()
        shutil.rmtree(root)


def test_a_copy_is_not_removed_if_its_source_is_gone(tmp_path):
    song = tmp_path / "song.wav"
    song.write_bytes(b"x" * 10)
    sort_into(write_table(tmp_path / "g.csv", {song: "Rock"}), "copy", tmp_path / "out")
    song.unlink()
    assert [path.name for path, _ in undo_organize(root=tmp_path / "out").left] == ["song.wav"]
    assert (tmp_path / "out/Rock/song.wav").read_bytes() == b"x" * 10


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_permissions_and_times_are_kept(tmp_path, mode):
    song = tmp_path / "song.wav"
    song.write_bytes(b"x" * 10)
    song.chmod(0o440)
    os.utime(song, ns=(10**18, 10**18 + 123456789))
    sort_into(write_table(tmp_path / "g.csv", {song: "Rock"}), mode, tmp_path / "out")
    status = (tmp_path / "out/Rock/song.wav").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o440, 10**18 + 123456789)
