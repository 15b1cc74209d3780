"""`musicreclass organize`: the command line, names, playlists and hostile tables; tests/organizing has the changes themselves."""

from __future__ import annotations

import csv
import errno
import json
import os
import sys
from pathlib import Path

import pytest

import musicreclass as mrc
from musicreclass.errors import UserError
from musicreclass.library import carry_out
from musicreclass.library.journal_rules import NAME
from musicreclass.library.names import DEVICES, fold, numbered, safe_name
from musicreclass.library.playlist_text import MARK
from musicreclass.tasks.organize import undo_organize
from tests.organizing.tree import names, row, snapshot, sort_into, write_table


@pytest.fixture
def songs(here: Path) -> Path:
    """A table of three songs in two genres, one unknown and one bad file."""
    rows = []
    for name, genre in {"a/晴天.wav": "Rock", "b/晴天.wav": "Rock", "c.flac": "Hip-Hop", "d.mp3": "unknown"}.items():
        path = here / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
        rows.append(row(path, genre))
    rows.append(row(here / "music/none.wav", "", error="no such file"))
    from musicreclass.prediction.formats import write_csv

    write_csv(here / "genres.csv", rows)
    return here / "genres.csv"


def test_links_copies_and_their_undo(run, songs, here):
    before = snapshot(here / "music")
    for mode in ("link", "copy"):
        result = run("organize", songs, "--mode", mode, "--to", "out")
        assert result.code == 0, result.err
        assert names(here / "out") == ["Hip-Hop/c.flac", "Rock/晴天 (2).wav", "Rock/晴天.wav", "unknown/d.mp3"]
        assert "晴天 (2).wav" in result.out
        assert (here / "out/Rock/晴天.wav").read_bytes() == (here / "music/a/晴天.wav").read_bytes()
        if mode == "link":
            assert os.readlink(here / "out/Hip-Hop/c.flac") == "../../music/c.flac"
        assert run("organize", songs, "--mode", mode, "--to", "out").out.count("4 recordings were there") == 1
        other = "copy" if mode == "link" else "link"
        assert run("organize", songs, "--mode", other, "--to", "out").problems[0].kind == "other_mode"
        assert run("organize", "--undo", "--to", "out").code == 0
        assert not (here / "out").exists()
        assert snapshot(here / "music") == before


def test_a_move_is_only_shown_without_confirmation(run, songs, here):
    before = snapshot(here)
    result = run("organize", songs, "--mode", "move", "--to", "out")
    assert result.code == 0
    assert "4 files" in result.out
    assert snapshot(here) == before
    assert run("organize", songs, "--mode", "move", "--to", "out", "--yes", "--skip-unknown").code == 0
    assert names(here / "music") == ["d.mp3"]
    result = run("organize", songs, "--mode", "move", "--to", "out", "--yes", "--skip-unknown")
    assert "3 recordings were there" in result.out
    (here / "out/Hip-Hop/c.flac").write_bytes(b"changed")
    result = run("organize", "--undo", "--to", "out")
    assert result.code == 1
    assert "c.flac" in result.out
    assert names(here / "out") == ["Hip-Hop/c.flac"]


def test_a_change_that_fails_makes_the_exit_code_1(run, songs, here, monkeypatch):
    """A file that is left out on purpose does not."""
    (here / "music/d.mp3").unlink()
    assert run("organize", songs, "--mode", "copy", "--to", "out").code == 0

    def fail(source: Path, scratch: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))

    monkeypatch.setattr(carry_out, "copy_verified", fail)
    result = run("organize", songs, "--mode", "copy", "--to", "other")
    assert (result.code, names(here / "other")) == (1, [])
    assert "c.flac" in result.out


@pytest.mark.parametrize("version", [{"size": ""}, {"modified": ""}, {"size": 10**30}, {"size": 5.5}, {"size": True}])
@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_row_with_an_invalid_size_or_time_is_left_out(here, songs, mode, version):
    (here / "g.jsonl").write_text(json.dumps(row(here / "music/c.flac", "Rock") | version) + "\n")
    for _ in range(2):
        assert len(sort_into(here / "g.jsonl", mode, here / "out").plan.skipped) == 1
        sort_into(songs, mode, here / "out")


@pytest.mark.parametrize("path", ["\ud800.wav", "\0", "x" * 5000])
def test_a_path_that_no_file_can_have_is_named(run, songs, here, path):
    """Whatever a table has as a path, it is an error in one line, or one row is left out."""
    (here / "g.jsonl").write_text("".join(json.dumps(row(here / "music/c.flac", "Rock") | {"path": p}) + "\n"
                                          for p in (f"/{path}", str(here / "music/c.flac"))))  # fmt: skip
    for arguments in (
        ["organize", "g.jsonl", "--mode", "copy", "--to", "out"],
        ["review", "g.jsonl", "--output", "r.html"],
    ):
        result = run(*arguments)
        assert [problem.kind for problem in result.problems] == (["foreign_output"] if "wav" in path else [])
        assert result.code == (2 if "wav" in path else 0)
        assert len(result.err.splitlines()) <= 1 or result.code == 0


def test_invalid_arguments_are_one_line(run, songs, here):
    (here / "file").write_text("x")
    (here / "bad.csv").write_text("a,b\n1,2\n")
    (here / "linked").mkdir()
    (here / "linked/rock").symlink_to(here / "music")
    cases = {
        ("table", "missing_value"): [],
        ("mode", "missing_value"): [songs],
        ("to", "invalid_arguments"): [songs, "--mode", "copy"],
        ("mode", "invalid_arguments"): [songs, "--to", "out"],
        ("undo", "invalid_arguments"): [songs, "--undo", "--to", "out"],
        (str(here / "out" / NAME), "nothing_to_undo"): ["--undo", "--to", "out"],
        (str(here / "file"), "missing_folder"): [songs, "--mode", "copy", "--to", "file"],
        (str(here / "none/out"), "missing_folder"): [songs, "--mode", "copy", "--to", "none/out"],
        ("none.csv", "file_not_found"): ["none.csv", "--mode", "copy", "--to", "out"],
        ("file", "unsupported_format"): ["file", "--mode", "copy", "--to", "out"],
        ("bad.csv", "foreign_output"): ["bad.csv", "--mode", "copy", "--to", "out"],
        ("none/lists", "missing_folder"): [songs, "--playlists", "none/lists"],
        ("tags", "invalid_arguments"): [songs, "--mode", "link", "--to", "out", "--tags"],
        (str(here / "linked/rock"), "foreign_output"): [songs, "--mode", "copy", "--to", "linked"],
    }
    for (key, kind), arguments in cases.items():
        result = run("organize", *arguments)
        assert (result.code, [(p.key, p.kind) for p in result.problems]) == (2, [(key, kind)]), arguments
        assert len(result.err.splitlines()) == 1
        assert not (here / "out").exists()


def test_tags_without_mutagen_name_the_command_that_installs_it(run, songs, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "mutagen", None)
    before = snapshot(here)
    for arguments in (["--tags", "--yes"], ["--tags"], ["--mode", "copy", "--to", "out", "--tags"]):
        result = run("organize", songs, *arguments)
        assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "missing_package", "mutagen")
        assert "musicreclass[tags]" in result.err
    assert snapshot(here) == before


def test_playlists(run, songs, here):
    (here / "lists").mkdir()
    (here / "lists/hip-hop.m3u8").write_text("#EXTM3U\nmine.mp3\n")
    result = run("organize", songs, "--playlists", "lists")
    assert result.code == 0, result.err
    lines = (here / "lists/Rock.m3u8").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "#EXTM3U",
        lines[1],
        "#EXTINF:12,晴天",
        "../music/a/晴天.wav",
        "#EXTINF:12,晴天",
        "../music/b/晴天.wav",
    ]
    assert lines[1].startswith(f"{MARK} ")
    assert (here / "lists/hip-hop.m3u8").read_text() == "#EXTM3U\nmine.mp3\n"
    assert "hip-hop.m3u8" in result.out
    written = (here / "lists/Rock.m3u8").stat().st_mtime_ns
    assert run("organize", songs, "--playlists", "lists", "--skip-unknown").code == 0
    assert (here / "lists/Rock.m3u8").stat().st_mtime_ns == written


@pytest.mark.parametrize("to", [[], ["--mode", "copy", "--to", "out"]])
def test_an_edited_playlist_is_not_replaced(run, songs, here, to):
    """Neither one of version 0.2.0, unless the journal or the same labels show that nobody has edited it."""
    arguments, rock = ["organize", songs, "--playlists", "lists", *to], here / "lists/Rock.m3u8"
    assert run(*arguments).code == 0
    written = rock.read_bytes()
    lines = written.splitlines(keepends=True)
    old = b"".join([lines[0], MARK.encode() + b"\n", *lines[2:]])
    for edited in (
        written.replace(b"12", b"13"),
        b"".join(lines[:-2]),
        written + b"mine.mp3\n",
        old + b"mine.mp3\n",
        old[:-1],
    ):
        rock.write_bytes(edited)
        result = run(*arguments)
        assert (result.code, rock.read_bytes()) == (0, edited)
        assert str(rock) in result.out
    rock.write_bytes(old)
    assert run(*arguments).code == 0
    assert rock.read_bytes() == written
    songs.write_bytes(songs.read_bytes().replace(b"Hip-Hop", b"Rock"))
    assert run(*arguments).code == 0
    assert len(rock.read_bytes().splitlines()) == 2 + 2 * 3
    if to:
        rock.write_bytes(edited)
        run("organize", "--undo", "--to", "out")
        assert rock.read_bytes() == edited


def test_playlists_of_organized_files_are_undone(run, songs, here):
    before = snapshot(here)
    assert run("organize", songs, "--mode", "move", "--to", "out", "--yes", "--playlists", "out/Playlists").code == 0
    text = (here / "out/Playlists/Rock.m3u8").read_text(encoding="utf-8")
    assert "\n../Rock/晴天 (2).wav\n" in text
    assert (here / "out/Playlists" / "../Rock/晴天 (2).wav").exists()
    assert run("organize", "--undo", "--to", "out").code == 0
    assert snapshot(here) == before


def test_playlists_in_a_folder_that_is_a_link(run, songs, here):
    (here / "lists").mkdir()
    (here / "linked").symlink_to(here / "lists")
    before = snapshot(here)
    assert run("organize", songs, "--mode", "copy", "--to", here / "out", "--playlists", "linked/new").code == 0
    assert (here / "lists/new" / "../../out/Rock/晴天.wav").exists()
    assert "../../out/Rock/晴天.wav" in (here / "lists/new/Rock.m3u8").read_text(encoding="utf-8").splitlines()
    assert run("organize", "--undo", "--to", "out").code == 0
    assert snapshot(here) == before


def test_names_that_a_playlist_cannot_hold_are_left_out(here):
    paths = [here / "new\nline.wav", here / os.fsdecode(b"\xff\xfe.wav"), here / "#hash.wav"]
    for path in paths:
        path.write_bytes(b"x")
    from musicreclass.library.playlists import write_playlists

    count, skipped = write_playlists(here / "lists", [(path, row(path, "Rock")) for path in paths], None)
    assert (count, [path for path, _ in skipped]) == (1, paths[:2])
    assert (here / "lists/Rock.m3u8").read_text(encoding="utf-8").splitlines()[-1] == "../#hash.wav"


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_a_hostile_table_writes_nowhere_else(here, mode):
    (here / "music").mkdir()
    (here / "outside.txt").write_text("x")
    genres = ["../../x", "/etc", "..", ".", "", "a/../../b", "\\\\server\\x", "C:\\x", "\x1b[2J", "CON", "nul.txt", "a\0b", "‮abc",
              "~", "$(x)", " ", "...", ".musicreclass-organize.jsonl", "x" * 5000]  # fmt: skip
    songs = {}
    for i, genre in enumerate(genres):
        path = here / "music" / f"{i}.wav"
        path.write_bytes(b"%d" % i)
        songs[path] = genre
    table = write_table(here / "g.csv", songs)
    paths = [
        "music/0.wav",
        f"{here}/music/../outside.txt",
        f"{here}/music",
        "",
        f"{here}/out/{NAME}",
        "\0",
        f"{here}/none",
    ]
    lines = [{**row(here / "outside.txt", "Rock"), "path": path} for path in paths]
    lines += [row(here / "outside.txt", "Rock", size=None), row(here / "outside.txt", "Rock", size=5)]
    with table.open("a", newline="", encoding="utf-8") as file:
        header = next(csv.reader(table.open(encoding="utf-8", newline="")))
        csv.DictWriter(file, header).writerows(lines)
    sort_into(table, mode, here / "out")
    assert {path.name for path in here.iterdir()} == {"music", "outside.txt", "g.csv", "out"}
    assert (here / "outside.txt").read_text() == "x"
    folders = [path for path in (here / "out").iterdir() if path.name != NAME]
    assert all(path.is_dir() and not path.name.startswith(".") and path.name.isprintable() for path in folders)
    assert len(names(here / "out")) == len([genre for genre in genres if genre])
    assert undo_organize(root=here / "out").left == []


def test_genre_names_become_safe_and_stay_readable():
    for name in ("Hip-Hop", "R&B", "流行", "Électro", "Rock 'n' Roll"):
        assert safe_name(name) == name
    cases = {"Old-Time / Historic": "Old-Time _ Historic", "a.": "a", "CON": "CON_", "nul.txt": "nul_.txt", "COM1": "COM1_",
             "..": "_", "": "_", ".x": "_x", "a\nb": "a_b", "e\u0301": "é", "a ": "a", "x:y?": "x_y_", "a\u3000b": "a b"}  # fmt: skip
    assert {name: safe_name(name) for name in cases} == cases
    long = [safe_name("長" * 300), safe_name("長" * 301)]
    assert len(set(long)) == 2
    assert all(len(name.encode()) <= 200 for name in long)
    assert all(safe_name(name).casefold() not in DEVICES for name in DEVICES)
    assert fold("É") == fold("e\u0301")
    assert len(os.fsencode(numbered("長" * 84, ".wav", 12))) <= 255


def test_companions_go_along_and_clashes_are_resolved_together(here):
    for folder in "ab":
        (here / folder).mkdir()
        for suffix in ("wav", "lrc", "CUE", "txt"):
            (here / folder / f"song.{suffix}").write_text(folder + suffix)
    table = write_table(here / "g.csv", {here / folder / "song.wav": "Rock" for folder in "ab"})
    sort_into(table, "move", here / "out")
    assert names(here / "out/Rock") == [
        "song (2).CUE",
        "song (2).lrc",
        "song (2).wav",
        "song.CUE",
        "song.lrc",
        "song.wav",
    ]
    assert (here / "out/Rock/song (2).lrc").read_text() == "blrc"
    assert names(here / "a") == ["song.txt"]


def test_two_recordings_may_share_a_companion(here):
    for suffix in ("wav", "flac", "lrc"):
        (here / f"song.{suffix}").write_text(suffix)
    for mode in ("link", "copy", "move"):
        table = write_table(here / "g.csv", {here / "song.wav": "Rock", here / "song.flac": "Rock"})
        sort_into(table, mode, here / mode)
        assert names(here / mode) == ["Rock/song.flac", "Rock/song.lrc", "Rock/song.wav"]
        assert undo_organize(root=here / mode).left == []


def test_recordings_that_are_in_their_folder_stay(here):
    (here / "Rock").mkdir()
    (here / "Rock/a.wav").write_bytes(b"a")
    (here / "b.wav").write_bytes(b"b")
    before = snapshot(here)
    table = write_table(here / "g.csv", {here / "Rock/a.wav": "rock", here / "b.wav": "Rock"})
    result = sort_into(table, "move", here)
    assert (result.changed, result.plan.present) == (1, 1)
    assert names(here / "Rock") == ["a.wav", "b.wav"]
    assert undo_organize(root=here).left == []
    table.unlink()
    assert snapshot(here) == before


def test_every_command_of_the_page_runs(run, songs, here):
    """The commands of docs/organize.md, in order, except those that need mutagen."""
    page = (Path(__file__).parents[2] / "docs/organize.md").read_text(encoding="utf-8")
    commands = [line.partition("#")[0].split()[1:] for line in page.splitlines() if line.startswith("musicreclass ")]
    assert len(commands) == 8
    before = {name: value for name, value in snapshot(here).items() if name.startswith("music")}
    for arguments in commands:
        if "--tags" in arguments or arguments[1:] == ["genres.csv", "--undo"]:
            continue
        assert run(*arguments).code == 0, arguments
    assert {name: value for name, value in snapshot(here).items() if name.startswith("music")} == before


def test_the_python_functions_do_what_the_command_does(songs, here):
    before = snapshot(here / "music")
    planned = mrc.organize(songs, "move", "out", skip_unknown=True)
    assert (len(planned["changes"]), planned["changed"], planned["genres"]) == (3, 0, {"Rock": 2, "Hip-Hop": 1})
    assert snapshot(here / "music") == before
    moved = mrc.organize(songs, "move", "out", confirmed=True, playlists="out/Lists")
    assert (moved["changed"], moved["playlists"], moved["skipped"]) == (4, 3, {})
    assert moved["changes"][0] == (here / "music/a/晴天.wav", here / "out/Rock/晴天.wav")
    assert mrc.undo_organize("out") == {}
    assert snapshot(here / "music") == before
    assert mrc.review(songs, "review.html") == 5
    assert (here / "review.html").is_file()
    for call in (
        lambda: mrc.organize(songs, "sort", "out"),
        lambda: mrc.undo_organize("out", songs),
        mrc.undo_organize,
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert caught.value.kind in ("invalid_value", "invalid_arguments")
