"""Several recordings at one path, one after the other: each row acts on the recording that it labels, and none is lost."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from musicreclass.errors import UserError
from musicreclass.library.journal_rules import NAME
from musicreclass.prediction.formats import write_csv
from musicreclass.tasks.organize import undo_organize
from tests.organizing.tree import names, row, sort_into, write_table

GENRES = ["Rock", "Jazz", "Folk"]
COMMANDS = st.one_of(
    st.tuples(st.just("label"), st.integers(0, 9), st.sampled_from(GENRES)),
    st.tuples(st.just("relabel"), st.integers(0, 9), st.sampled_from(GENRES)),
    st.tuples(st.just("replace"), st.integers(0, 9)),
    st.tuples(st.just("restore"), st.integers(0, 9)),
    st.tuples(st.just("remove rows"), st.integers(0, 9)),
    st.tuples(st.just("organize")),
    st.tuples(st.just("organize")),
    st.tuples(st.just("undo")),
)


LINK_TO_A_LINK = [("label", 0, "Jazz"), ("organize",), ("label", 2, "Jazz"), ("relabel", 0, "Folk"), ("organize",),
                  ("relabel", 2, "Folk"), ("replace", 1)]  # fmt: skip

BACK_AND_REPLACED = [("organize",), ("replace", 0), ("organize",), ("label", 0, "Jazz"), ("replace", 1), ("organize",),
                     ("label", 0, "Jazz"), ("label", 1, "Rock"), ("remove rows", 1), ("organize",), ("undo",),
                     ("organize",)]  # fmt: skip


class Library:
    """A library with a target folder, a table, and what was labelled.

    Args:
        base: an empty folder.
        mode: of all runs.
    """

    def __init__(self, base: Path, mode: str) -> None:
        self.base, self.mode, self.count = base, mode, 0
        self.rows: list[tuple[dict[str, Any], bytes]] = []  # with the content of the recording
        self.paths = [base / "music/a/song.wav", base / "music/b/song.wav"]
        for folder in ("music/a", "music/b", "aside"):
            (base / folder).mkdir(parents=True)
        for path in self.paths:
            self.new(path)

    def new(self, path: Path) -> None:
        """Write another recording; all have the same size."""
        path.write_bytes(b"%09d" % self.count)
        self.count += 1
        os.utime(path, ns=(10**18, 1_700_000_000_123_456_789 + self.count * 7_000_000_000))

    def files(self) -> list[Path]:
        return sorted(path for path in self.base.rglob("*.wav") if "aside" not in path.parts and path.is_file())

    def by_folder(self) -> Counter[tuple[str, bytes]]:
        """How often each recording is in a genre folder."""
        files = (self.base / "out").glob("*/*.wav")
        return Counter((file.parent.name, file.read_bytes()) for file in files if file.is_file())

    def carry_out(self, command: tuple) -> None:
        """Carry out a command; an organize is checked."""
        files = self.files()
        match command:
            case ("label", i, genre) if files:
                path = files[i % len(files)]
                entry = row(path, genre)
                self.rows = [(r, c) for r, c in self.rows if r["path"] != str(path)] + [(entry, path.read_bytes())]
            case ("relabel", i, genre) if self.rows:
                self.rows[i % len(self.rows)][0]["genre"] = genre
            case ("remove rows", i):
                self.rows = self.rows[i:]
            case ("replace", i):
                path = [*self.paths, *files][i % (2 + len(files))]
                if os.path.lexists(path):
                    path.rename(self.base / "aside" / f"{self.count}.wav")
                if path.parent.is_dir():
                    self.new(path)
            case ("restore", i):
                path, copies = self.paths[i % 2], sorted(self.base.rglob("*.wav"))
                if not os.path.lexists(path) and copies:
                    copy = copies[i % len(copies)]
                    path.write_bytes(copy.read_bytes())
                    os.utime(path, ns=(10**18, copy.stat().st_mtime_ns))
            case ("organize",):
                self.organize()
            case ("undo",):
                with suppress(UserError):
                    undo_organize(root=self.base / "out")

    def organize(self) -> None:
        """Whatever comes into a folder is labelled so, and whatever is labelled comes into its folder."""
        before = self.by_folder()
        stays = [self.is_current(entry, content) for entry, content in self.rows]
        write_csv(self.base / "g.csv", [entry for entry, _ in self.rows])
        with suppress(UserError):
            sort_into(self.base / "g.csv", self.mode, self.base / "out")
        after = self.by_folder()
        labelled = {(entry["genre"], content) for entry, content in self.rows}
        assert set(after - before) <= labelled
        rows_of = Counter(content for _, content in self.rows)
        for (entry, content), is_current in zip(self.rows, stays, strict=True):
            if is_current and rows_of[content] == 1:
                assert (entry["genre"], content) in after, (entry, content)

    def is_current(self, entry: dict[str, Any], content: bytes) -> bool:
        """Whether a row labels the file that is at its path."""
        path = Path(entry["path"])
        with suppress(OSError):
            now = row(path, "")
            return path.read_bytes() == content and (now["size"], now["modified"]) == (entry["size"], entry["modified"])
        return False


def check(mode: str, commands: list[tuple]) -> None:
    """No content may vanish."""
    with tempfile.TemporaryDirectory() as name:
        library = Library(Path(name).resolve(), mode)
        library.rows = [(row(path, "Rock"), path.read_bytes()) for path in library.paths]
        for command in [*commands, ("organize",)]:
            before = {path.read_bytes() for path in library.base.rglob("*.wav") if path.is_file()}
            library.carry_out(command)
            assert before <= {path.read_bytes() for path in library.base.rglob("*.wav") if path.is_file()}, command


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
@settings(max_examples=40)
@given(commands=st.lists(COMMANDS, max_size=12))
@example(commands=LINK_TO_A_LINK)
@example(commands=BACK_AND_REPLACED)
def test_each_row_acts_on_its_recording(mode, commands):
    check(mode, commands)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["link", "copy", "move"])
@settings(max_examples=1000)
@given(commands=st.lists(COMMANDS, min_size=5, max_size=20))
def test_each_row_of_many_acts_on_its_recording(mode, commands):
    check(mode, commands)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("mode", ["copy", "move"])
def test_another_song_at_the_same_path(tmp_path, mode, is_old):
    """The first song stays as it was labelled. A journal of an earlier version does not have the size and time of the song."""
    library = Library(tmp_path, mode)
    song = library.paths[0]
    sort_into(write_table(tmp_path / "g.csv", {song: "Rock"}), mode, tmp_path / "out")
    old, first = (tmp_path / "g.csv").read_bytes(), (tmp_path / "out/Rock/song.wav").read_bytes()
    if is_old:
        forget_labels(tmp_path / "out" / NAME)
    song.unlink(missing_ok=True)
    library.new(song)
    second = song.read_bytes()
    result = sort_into(write_table(tmp_path / "g.csv", {song: "Jazz"}), mode, tmp_path / "out")
    assert (result.changed, song.exists()) == (1, mode == "copy")
    assert library.by_folder() == {("Rock", first): 1, ("Jazz", second): 1}
    (tmp_path / "g.csv").write_bytes(old.replace(b"Rock", b"Folk"))
    sort_into(tmp_path / "g.csv", mode, tmp_path / "out")
    is_followed = mode == "move" or not is_old
    assert library.by_folder() == {("Folk" if is_followed else "Rock", first): 1, ("Jazz", second): 1}
    undo_organize(root=tmp_path / "out")
    assert {first, second} <= {path.read_bytes() for path in tmp_path.rglob("*.wav")}


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_a_journal_of_an_earlier_version_is_continued(tmp_path, mode):
    library = Library(tmp_path, mode)
    table = write_table(tmp_path / "g.csv", dict.fromkeys(library.paths, "Rock"))
    sort_into(table, mode, tmp_path / "out")
    forget_labels(tmp_path / "out" / NAME)
    assert sort_into(table, mode, tmp_path / "out").plan.present == 2
    table.write_bytes(table.read_bytes().replace(b"Rock", b"Jazz"))
    assert sort_into(table, mode, tmp_path / "out").changed == 2
    assert names(tmp_path / "out") == ["Jazz/song (2).wav", "Jazz/song.wav"]
    assert undo_organize(root=tmp_path / "out").left == []
    assert all(path.exists() for path in library.paths)


def test_companions_of_another_song_stay_with_it(tmp_path):
    library = Library(tmp_path, "move")
    song = library.paths[0]
    song.with_suffix(".lrc").write_text("first")
    first = write_table(tmp_path / "g.csv", {song: "Rock"})
    sort_into(first, "move", tmp_path / "out")
    library.new(song)
    song.with_suffix(".lrc").write_text("second")
    first.write_bytes(first.read_bytes().replace(b"Rock", b"Folk"))
    sort_into(first, "move", tmp_path / "out")
    assert names(tmp_path / "out") == ["Folk/song.lrc", "Folk/song.wav"]
    assert song.with_suffix(".lrc").read_text() == "second"
    sort_into(write_table(tmp_path / "h.csv", {song: "Folk"}), "move", tmp_path / "out")
    assert (tmp_path / "out/Folk/song (2).lrc").read_text() == "second"
    assert (tmp_path / "out/Folk/song.lrc").read_text() == "first"


def test_a_table_with_rounded_times_follows_moved_recordings(tmp_path):
    """A spreadsheet writes 1.70000E+12, and the file is no longer there to tell its time."""
    library = Library(tmp_path, "move")
    song = library.paths[0]
    table = write_table(tmp_path / "g.csv", {song: "Rock"})
    sort_into(table, "move", tmp_path / "out")
    modified = str((tmp_path / "out/Rock/song.wav").stat().st_mtime_ns // 1_000_000)
    rounded = f"{float(modified):.5E}"
    table.write_bytes(table.read_bytes().replace(modified.encode(), rounded.encode()).replace(b"Rock", b"Jazz"))
    sort_into(table, "move", tmp_path / "out")
    assert names(tmp_path / "out") == ["Jazz/song.wav"]


def test_a_link_that_a_user_leaves_for_a_moved_song(tmp_path):
    library = Library(tmp_path, "move")
    song = library.paths[0]
    table = write_table(tmp_path / "g.csv", {song: "Rock"})
    sort_into(table, "move", tmp_path / "out")
    song.symlink_to(tmp_path / "out/Rock/song.wav")
    assert sort_into(table, "move", tmp_path / "out").plan.present == 1


def forget_labels(journal: Path) -> None:
    """Make a journal as version 0.2.0 wrote it."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        for name in ("size", "labelled", *(["mtime_ns"] if line.get("action") != "tag" else [])):
            line.get("details", {}).pop(name, None)
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
