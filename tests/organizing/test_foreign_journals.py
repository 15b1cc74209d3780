"""Journals that somebody else made, or that are damaged: nothing outside the target folder changes, and no content is lost."""

from __future__ import annotations

import base64
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicreclass.errors import DataError
from musicreclass.library.journal_rules import NAME
from musicreclass.tasks.organize import Options, journal_beside, organize, undo_organize
from tests.organizing.tree import contents, kind_of_error, names, snapshot, sort_into, write_table
from tests.sounds import music

soundfile = pytest.importorskip("soundfile")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder, with a file of known content, and `out`, which somebody else made."""
    for name in ("home/.bashrc", "home/song.wav", "out/Rock/song.wav", "out/Rock/evil.desktop", "out/Rock/x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"known" if "song" in name or "bashrc" in name else name.encode())
    (tmp_path / "home/empty").mkdir()
    (tmp_path / "home/music").symlink_to(tmp_path / "out/Rock")
    (tmp_path / "out/linked").symlink_to(tmp_path / "home")
    return tmp_path


def version(path: Path) -> dict[str, Any]:
    status = path.lstat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256(path.read_bytes()).hexdigest()}


def write_journal(path: Path, *steps: tuple[str, Path | str, Path | str, str, dict[str, Any]]) -> None:
    """Write a journal: action, source, target, state and details of each step, with the true version of each target."""
    lines = []
    for number, (action, source, target, state, details) in enumerate(steps):
        entry = {"step": number, "action": action, "source": str(source), "target": str(target), "details": details}
        is_file = os.path.isfile(target) and not os.path.islink(target)
        versions = {str(target): version(Path(target))} if is_file else {}
        lines += [entry, {"step": number, "state": state, "details": {}, "versions": versions}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def crafted(home: Path) -> dict[str, tuple]:
    """Steps by which an undo or a run would change files outside `out`, or remove the only copy of a file."""
    out, user = home / "out", home / "home"
    sha = {"sha256": sha256(b"known").hexdigest()}
    insert = [[base64.b64encode(b"evil").decode()]]
    tag = {"genre": "x", "old": [], "mtime_ns": 1, "parts": insert, "sha256": sha256(b"evil").hexdigest()}
    return {
        "removes a file elsewhere": ("copy", out / "Rock/song.wav", user / "song.wav", "done", sha),
        "removes a file through dots": ("copy", out / "Rock/song.wav", f"{out}/Rock/../../home/song.wav", "done", sha),
        "removes a file through a link": ("copy", out / "Rock/song.wav", out / "linked/song.wav", "done", sha),
        "removes a file that is its own copy": ("copy", out / "Rock/song.wav", out / "Rock/song.wav", "done", sha),
        "removes the only copy": ("copy", user / "music/x.wav", out / "Rock/x.wav", "done", {}),
        "creates a file that is run": ("move", user / "evil.desktop", out / "Rock/evil.desktop", "done", {}),
        "creates a file without a suffix": ("move", user / ".profile", out / "Rock/x.wav", "done", {}),
        "overwrites a file": ("move", user / "song.wav", out / "Rock/x.wav", "done", {}),
        "takes a file": ("move", out / "Rock/new.wav", user / "song.wav", "done", {}),
        "completes a move": ("move", user / "song.wav", out / "Rock/song.wav", "begun", {}),
        "completes a move onto itself": ("move", out / "Rock/x.wav", out / "Rock/x.wav", "begun", {}),
        "completes a move through a link": ("move", user / "music/x.wav", out / "Rock/x.wav", "begun", {}),
        "completes an undo": ("move", user / "music/x.wav", out / "Rock/x.wav", "begun", {"undoing": True}),
        "replaces a file": ("tag", "", user / ".bashrc", "done", tag),
        "replaces a recording": ("tag", "", out / "linked/song.wav", "done", tag),
        "removes a playlist of others": ("playlist", "", user / "song.wav", "done", {"new_sha256": sha["sha256"]}),
        "removes a text": ("playlist", "", user / "a.m3u8", "done", {"new_sha256": sha["sha256"]}),
        "writes into the journal's keys": ("move", user / "x.wav", out / "Rock" / NAME, "done", {}),
        "removes a cut": ("cut", f"{out}/Rock/x.wav#t=0.000000,1.000000", user / "song.wav", "done", {}),
    }


@pytest.mark.parametrize("name", list(crafted(Path("/tmp"))))
def test_an_untrusted_journal_changes_nothing_else(home, name):
    (home / "home/a.m3u8").write_bytes(b"known")
    table = write_table(home / "home/g.csv", {home / "home/song.wav": "Rock"})
    write_journal(home / "out" / NAME, crafted(home)[name])
    before, everything = snapshot(home / "home"), contents(home)
    for work in (lambda: undo_organize(root=home / "out"), lambda: sort_into(table, "copy", home / "out"),
                 lambda: undo_organize(root=home / "out")):  # fmt: skip
        assert kind_of_error(work) in ("", "foreign_journal", "damaged_file", "nothing_to_undo", "other_mode")
        assert snapshot(home / "home") == before
        assert contents(home).keys() == everything.keys()


def test_recordings_move_back_to_free_paths_only(home):
    """What a journal of others can do at most: put its own recordings onto free paths of recordings."""
    out, user = home / "out", home / "home"
    write_journal(out / NAME, ("move", user / "new.wav", out / "Rock/x.wav", "done", {}))
    before = snapshot(user)
    assert undo_organize(root=out).counts == {"move": 1}
    after = snapshot(user)
    assert after.pop("new.wav")[0] == sha256(b"out/Rock/x.wav").hexdigest()
    assert after == before


def test_a_journal_next_to_a_table_cannot_replace_a_recording(tmp_path):
    """The samples must stay the same."""
    for i, name in enumerate(("song.wav", "other.wav")):
        soundfile.write(tmp_path / name, music(0.2 + 0.1 * i, 8000), 8000)
    (tmp_path / ".bashrc").write_text("known")
    other = (tmp_path / "other.wav").read_bytes()
    table = write_table(tmp_path / "g.csv", {tmp_path / "song.wav": "Rock"})
    before = snapshot(tmp_path)
    for target, content in ((".bashrc", b"evil"), ("song.wav", other)):
        details = {"genre": "x", "old": [], "mtime_ns": 1, "parts": [[base64.b64encode(content).decode()]],
                   "sha256": sha256(content).hexdigest()}  # fmt: skip
        write_journal(journal_beside(table), ("tag", "", tmp_path / target, "done", details))
        assert [path.name for path, _ in undo_organize(table).left] == [target]
        journal_beside(table).unlink()
        assert snapshot(tmp_path) == before
    for action in ("copy", "move", "folder", "playlist"):
        write_journal(journal_beside(table), (action, tmp_path / "x.wav", tmp_path / "song.wav", "done", {}))
        with pytest.raises(DataError) as caught:
            undo_organize(table)
        assert caught.value.kind == "damaged_file"


WRONG = [5, None, [], {}, "x", "\0", -1, 1 << 70, True, "/", "..", {"size": 5}, [[1, 2, 3]], [["?"]], {"link": 5}]


def test_wrong_types_are_damage(home):
    """Any value of another type in any keys of a journal is an error in one line, or has no effect."""
    out = home / "out"
    table = write_table(home / "home/g.csv", {home / "home/song.wav": "Rock"})
    sort_into(table, "copy", out, playlists=out / "Lists")
    tree, lines = snapshot(home), [json.loads(line) for line in (out / NAME).read_text().splitlines()]

    def places(value: Any, path: tuple = ()) -> list[tuple]:
        inner = value.items() if isinstance(value, dict) else ()
        return [path, *(keys for key, child in inner for keys in places(child, (*path, key)))]

    for number, line in enumerate(lines):
        for keys in places(line):
            for wrong in WRONG[(number + len(keys)) % 3 :: 3]:
                changed = json.loads(json.dumps(lines))
                parent: Any = changed
                for key in (number, *keys)[:-1]:
                    parent = parent[key]
                parent[(number, *keys)[-1]] = wrong
                (out / NAME).write_text("".join(json.dumps(line) + "\n" for line in changed))
                kind = kind_of_error(lambda: sort_into(table, "copy", out))
                assert kind in ("", "damaged_file", "foreign_journal", "other_mode"), (number, keys, wrong)
                assert snapshot(home / "home") == {k[5:]: v for k, v in tree.items() if k.startswith("home/")}
    for text in ("[" * 100_000, '{"step": 0' + "}" * 9, "\udcff"):
        (out / NAME).write_bytes(os.fsencode(text) + b"\n")
        with pytest.raises(DataError) as caught:
            undo_organize(root=out)
        assert caught.value.kind == "damaged_file"


@pytest.mark.parametrize("mode", ["copy", pytest.param("link", marks=pytest.mark.slow), "move"])
@pytest.mark.parametrize("stride", [97, pytest.param(5, marks=pytest.mark.slow)])
def test_a_journal_cut_short_or_changed_at_any_byte(tmp_path, mode, stride):
    base = tmp_path / "base"
    random = np.random.default_rng(0)
    (base / "music").mkdir(parents=True)
    songs = [base / "music" / f"{i}.wav" for i in range(2)]
    for song in songs:
        song.write_bytes(song.name.encode())
    table = write_table(base / "g.csv", dict.fromkeys(songs, "Rock"))
    sort_into(table, mode, base / "out")
    journal, expected = base / "out" / NAME, set(contents(base))
    content = journal.read_bytes()
    for at in range(0, len(content), stride):
        flipped = content[:at] + bytes([random.integers(256)]) + content[at + 1 :]
        for damaged in (content[:at], flipped):
            if damaged is flipped and flipped.count(b"%b/" % bytes(base)) < content.count(b"%b/" % bytes(base)):
                continue  # files would move back to another folder
            journal.write_bytes(damaged)
            for work in (lambda: undo_organize(root=base / "out"), lambda: sort_into(table, mode, base / "out")):
                kind_of_error(work)
                assert expected <= set(contents(base)), at
            if set(names(base / "out")) != {"Rock/0.wav", "Rock/1.wav"}:
                restore(base, songs, mode)


def restore(base: Path, songs: list[Path], mode: str) -> None:
    """Bring the files to where they were."""
    (base / "out/Rock").mkdir(parents=True, exist_ok=True)
    for song in songs:
        target = base / "out/Rock" / song.name
        if not song.exists() and not target.exists():
            next(path for path in base.rglob("*.wav") if path.read_bytes() == song.name.encode()).rename(song)
        if not os.path.lexists(target):
            organize(write_table(base / "h.csv", {song: "Rock"}), Options(mode, base / "out", confirmed=True))
