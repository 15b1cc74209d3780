"""Genre tags: samples, other tags and pictures stay, and an undo restores every byte. These tests need the extra `tags`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicreclass.errors import DataError
from musicreclass.library import delta, tag_files
from musicreclass.library.journal_rules import NAME
from musicreclass.library.tags import TagError, Tags, samples_digest
from musicreclass.tasks.organize import Options, Organized, journal_beside, organize, undo_organize
from tests.conftest import powerless, wait_until
from tests.organizing.kills import FULL, interrupted, number_of_changes
from tests.organizing.tree import contents, snapshot, sort_into, write_table
from tests.sounds import music

mutagen = pytest.importorskip("mutagen", reason="mutagen is not installed; run pip install 'musicreclass[tags]'")
id3 = pytest.importorskip("mutagen.id3")

FORMATS = {"wav": {}, "24.wav": {"subtype": "PCM_24"}, "float.wav": {"subtype": "FLOAT"}, "flac": {}, "mp3": {}, "ogg": {},
           "opus": {"format": "OGG", "subtype": "OPUS"}, "aiff": {}, "m4a": {}}  # fmt: skip
PICTURE = b"\x89PNG" + os.urandom(60_000)
ID3_FORMATS = ("wav", "24.wav", "float.wav", "mp3", "aiff")


def tag_in_place(table: Path) -> Organized:
    return organize(table, Options(tags=True, confirmed=True))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A recording in each format, without tags."""
    folder = tmp_path_factory.mktemp("sounds")
    files = {}
    for ending, options in FORMATS.items():
        path = folder / f"周杰伦.{ending}"
        if ending == "m4a":
            if shutil.which("ffmpeg") is None:
                continue
            command = ["ffmpeg", "-v", "error", "-i", folder / "周杰伦.wav", path]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        else:
            rate = 48000 if ending == "opus" else 44100
            soundfile.write(path, music(1.5, rate, 2), rate, **options)
        files[ending] = path
    return files


def add_tags(path: Path, version: int = 3, genre: str | None = "晴天; Old") -> None:
    """Give a recording a title, an artist, a picture, a comment, and a genre."""
    file = mutagen.File(path)
    if type(file).__name__ in ("MP3", "WAVE", "AIFF"):
        file.add_tags()
        frames = [
            id3.TIT2(encoding=1, text="晴天"),
            id3.TPE1(encoding=1, text="周杰伦"),
            id3.APIC(encoding=0, mime="image/png", type=3, desc="cover", data=PICTURE),
            id3.TXXX(encoding=1, desc="MOOD", text="blue"),
            id3.TYER(encoding=0, text="2003") if version == 3 else id3.TDRC(encoding=0, text="2003"),
        ]
        for frame in frames:
            file.tags.add(frame)
        if genre:
            file.tags.add(id3.TCON(encoding=1, text=[genre]))
        file.save(v2_version=version)
        return
    if file.tags is None:
        file.add_tags()
    if type(file).__name__ == "MP4":
        from mutagen.mp4 import MP4Cover

        file["\xa9nam"], file["covr"] = ["晴天"], [MP4Cover(PICTURE, MP4Cover.FORMAT_PNG)]
        if genre:
            file["\xa9gen"] = [genre]
    else:
        from mutagen.flac import Picture

        file["title"], file["Artist"] = "晴天", ["周杰伦", "another"]
        if genre:
            file["GENRE"] = [genre]
        if hasattr(file, "add_picture"):
            picture = Picture()
            picture.data, picture.type, picture.mime = PICTURE, 3, "image/png"
            file.add_picture(picture)
    file.save()


@pytest.mark.parametrize("version", [3, 4, None])
@pytest.mark.parametrize("ending", FORMATS)
def test_a_round_trip(sounds, tmp_path, ending, version):
    if ending not in sounds:
        pytest.skip("needs ffmpeg")
    if version == 4 and ending not in ID3_FORMATS:
        pytest.skip("has no ID3 tag")
    path = tmp_path / sounds[ending].name
    shutil.copy(sounds[ending], path)
    if version is not None:
        add_tags(path, version)
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 5))
    samples, tags = samples_digest(path), Tags(path)
    before = snapshot(tmp_path)
    table = write_table(tmp_path / "g.csv", {path: "Hip-Hop"})
    result = tag_in_place(table)
    assert (result.tagged, result.plan.skipped) == (1, [])
    assert Tags(path).genre() == ["Hip-Hop"]
    assert Tags(path).others() == tags.others()
    assert samples_digest(path) == samples
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_mtime_ns != 10**18 + 5
    if ending in ID3_FORMATS and version:
        assert mutagen.File(path).tags.version[:2] == (2, version)
        assert path.read_bytes().count(PICTURE) == 1
    assert tag_in_place(table).tagged == 0  # again
    assert undo_organize(table).left == []
    table.unlink()
    assert snapshot(tmp_path) == before
    assert not journal_beside(table).exists()


@pytest.mark.parametrize("ending", FORMATS)
def test_the_old_genre_is_restored_where_the_difference_is_too_large(sounds, tmp_path, ending, monkeypatch):
    if ending not in sounds:
        pytest.skip("needs ffmpeg")
    monkeypatch.setattr(tag_files, "difference", lambda new, old: None)
    path = tmp_path / sounds[ending].name
    shutil.copy(sounds[ending], path)
    add_tags(path)
    os.utime(path, ns=(10**18, 10**18 + 5))
    genre, others, samples = Tags(path).genre(), Tags(path).others(), samples_digest(path)
    table = write_table(tmp_path / "g.csv", {path: "Hip-Hop"})
    assert tag_in_place(table).tagged == 1
    assert undo_organize(table).left == []
    assert (Tags(path).genre(), Tags(path).others(), samples_digest(path)) == (genre, others, samples)
    assert path.stat().st_mtime_ns == 10**18 + 5


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_tags_of_organized_files_are_undone_with_them(sounds, tmp_path, mode):
    library = tmp_path / "music"
    library.mkdir()
    for path in sounds.values():
        shutil.copy(path, library)
        add_tags(library / path.name)
    before = snapshot(library)
    table = write_table(tmp_path / "g.csv", dict.fromkeys(sorted(library.iterdir()), "Hip-Hop"))
    root = tmp_path / "out"
    result = sort_into(table, mode, root, tags=True)
    assert (result.changed, result.tagged) == (len(sounds), len(sounds))
    assert {Tags(root / "Hip-Hop" / path.name).genre()[0] for path in sounds.values()} == {"Hip-Hop"}
    if mode == "copy":
        assert snapshot(library) == before
    again = sort_into(table, mode, root, tags=True)
    assert (again.changed, again.tagged, again.plan.present) == (0, 0, len(sounds))
    assert undo_organize(root=root).left == []
    assert snapshot(library) == before
    assert not root.exists()


def test_recordings_that_were_tagged_in_place_can_be_organized(sounds, tmp_path):
    """Their size and time are no longer those of the table."""
    path = tmp_path / "a.flac"
    shutil.copy(sounds["flac"], path)
    before = snapshot(tmp_path)
    table = write_table(tmp_path / "g.csv", {path: "Rock"})
    assert tag_in_place(table).tagged == 1
    assert sort_into(table, "move", tmp_path / "out").changed == 1
    assert undo_organize(root=tmp_path / "out").left == []
    assert undo_organize(table).left == []
    table.unlink()
    assert snapshot(tmp_path) == before


def test_an_old_id3v1_tag_keeps_its_other_fields(sounds, tmp_path):
    gbk = (
        b"TAG" + "晴天".encode("gbk").ljust(30, b"\0") + "周杰伦".encode("gbk").ljust(30, b"\0") + b"\0" * 64 + b"\x07"
    )
    ascii_tag = b"TAG" + b"Title".ljust(30, b"\0") + b"Artist".ljust(30, b"\0") + b"\0" * 64 + b"\x07"
    assert len(gbk) == 128
    both, alone, plain = (tmp_path / f"{name}.mp3" for name in ("both", "alone", "plain"))
    shutil.copy(sounds["mp3"], both)
    add_tags(both)
    for path, ending in ((both, gbk), (alone, gbk), (plain, ascii_tag)):
        content = path.read_bytes() if path.exists() else sounds["mp3"].read_bytes()
        path.write_bytes(content.removesuffix(content[-128:] if content[-128:-125] == b"TAG" else b"") + ending)
    before = snapshot(tmp_path)
    table = write_table(tmp_path / "g.csv", dict.fromkeys((both, alone, plain), "Rock"))
    result = tag_in_place(table)
    assert [path.name for path, _ in result.plan.skipped] == ["alone.mp3"]
    assert both.read_bytes()[-128:-1] == gbk[:-1]
    assert both.read_bytes()[-1] == 17  # Rock
    assert Tags(plain).file.tags["TIT2"].text == ["Title"]
    assert undo_organize(table).left == []
    table.unlink()
    assert snapshot(tmp_path) == before


def test_files_that_cannot_be_tagged_are_named_and_unchanged(sounds, tmp_path):
    names = ("text.mp3", "linked.flac", "hard.flac", "au.au", "cut.flac")
    for name in ("song.flac", "hard.flac"):
        shutil.copy(sounds["flac"], tmp_path / name)
    (tmp_path / "linked.flac").symlink_to("song.flac")
    os.link(tmp_path / "hard.flac", tmp_path / "other.flac")
    (tmp_path / "text.mp3").write_text("no music")
    soundfile.write(tmp_path / "au.au", np.zeros(1000), 8000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "song.flac").read_bytes()[:200])
    before = snapshot(tmp_path)
    table = write_table(tmp_path / "g.csv", {tmp_path / name: "Rock" for name in names})
    result = tag_in_place(table)
    assert {path.name for path, _ in result.plan.skipped} == set(names)
    table.unlink()
    assert snapshot(tmp_path) == before


def test_a_writer_that_changes_more_than_the_genre_changes_nothing(sounds, tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    shutil.copy(sounds["flac"], path)
    before = snapshot(tmp_path)
    table = write_table(tmp_path / "g.csv", {path: "Rock"})
    real = Tags.write_genre

    def also_title(self, values):
        real(self, values)
        file = mutagen.File(self.path)
        file["title"] = "x"
        file.save()

    def damage(self, values):
        real(self, values)
        self.path.write_bytes(self.path.read_bytes()[:-500])

    for wrong in (also_title, damage):
        monkeypatch.setattr(Tags, "write_genre", wrong)
        result = tag_in_place(table)
        assert [p for p, _ in result.plan.skipped] == [path]
        assert snapshot(tmp_path)["a.flac"] == before["a.flac"]
        assert not journal_beside(table).exists()


def test_a_file_changed_since_keeps_its_tag(sounds, tmp_path):
    path = tmp_path / "a.flac"
    shutil.copy(sounds["flac"], path)
    table = write_table(tmp_path / "g.csv", {path: "Rock"})
    tag_in_place(table)
    Tags(path).write_genre(["Mine"])
    assert [p for p, _ in undo_organize(table).left] == [path]
    assert Tags(path).genre() == ["Mine"]


def test_unknown_recordings_get_no_tag(sounds, tmp_path):
    path = tmp_path / "a.flac"
    shutil.copy(sounds["flac"], path)
    assert tag_in_place(write_table(tmp_path / "g.csv", {path: "unknown"})).tagged == 0
    assert Tags(path).genre() == []


def test_without_confirmation_nothing_is_written(sounds, tmp_path):
    path = tmp_path / "a.flac"
    shutil.copy(sounds["flac"], path)
    table = write_table(tmp_path / "g.csv", {path: "Rock"})
    before = snapshot(tmp_path)
    assert organize(table, Options(tags=True)).tagged == 1
    assert snapshot(tmp_path) == before


def tagged_library(base: Path, sounds: dict[str, Path]) -> Path:
    shutil.rmtree(base, ignore_errors=True)
    (base / "music").mkdir(parents=True)
    genres = {}
    for ending in ("wav", "mp3"):
        path = base / "music" / sounds[ending].name
        shutil.copy(sounds[ending], path)
        os.utime(path, ns=(10**18, 10**18))
        genres[path] = "Rock"
    return write_table(base / "g.csv", genres)


@pytest.mark.parametrize("how", ["kill", FULL])
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_steps_of_tagging_may_fail(sounds, tmp_path, how, stride):
    base = tmp_path / "base"
    table = tagged_library(base, sounds)
    original = snapshot(base / "music")
    changes = number_of_changes(lambda: tag_in_place(table), base)
    complete = {name: value[0] for name, value in snapshot(base / "music").items()}
    assert len(set(complete.values()) | {value[0] for value in original.values()}) == 4
    for at in range(0, changes, stride):
        for recover in ("run", "undo"):
            tagged_library(base, sounds)
            interrupted(lambda: tag_in_place(table), base, at, how)
            for name, (digest, *_) in snapshot(base / "music").items():
                assert name.startswith(".musicreclass-") or digest in (original[name][0], complete[name]), at
            if recover == "run":
                tag_in_place(table)
                assert {name: value[0] for name, value in snapshot(base / "music").items()} == complete, at
            if journal_beside(table).exists():
                assert undo_organize(table).left == [], at
            assert snapshot(base / "music") == original, at


@pytest.mark.parametrize("how", ["kill", pytest.param(FULL, marks=pytest.mark.slow)])
def test_every_step_of_the_undo_of_tags_may_fail(sounds, tmp_path, how):
    base = tmp_path / "base"
    table = tagged_library(base, sounds)
    original = snapshot(base / "music")
    tag_in_place(table)
    changes = number_of_changes(lambda: undo_organize(table), base)
    for at in range(changes):
        tagged_library(base, sounds)
        tag_in_place(table)
        interrupted(lambda: undo_organize(table), base, at, how)
        if journal_beside(table).exists():
            assert undo_organize(table).left == [], at
        assert snapshot(base / "music") == original, at


def test_a_disk_without_room_for_a_copy(sounds, tmp_path, monkeypatch):
    base = tmp_path / "base"
    table = tagged_library(base, sounds)
    before = snapshot(base / "music")
    real = os.statvfs

    class Full:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr(tag_files.os, "statvfs", lambda path: Full if "music" in str(path) else real(path))
    with pytest.raises(DataError) as caught:
        tag_in_place(table)
    assert caught.value.kind == "no_space"
    assert snapshot(base / "music") == before


def test_a_read_only_folder(sounds, tmp_path):
    base = tmp_path / "base"
    table = tagged_library(base, sounds)
    before = contents(base)
    (base / "music").chmod(0o555)
    result = powerless(lambda: tag_in_place(table))
    assert len(result.plan.skipped) == 2
    assert contents(base) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 6, 15])
def test_a_killed_process_damages_nothing(sounds, tmp_path, number):
    library = tmp_path / "music"
    library.mkdir()
    for i in range(12):
        for ending in ("wav", "flac", "mp3"):
            shutil.copy(sounds[ending], library / f"{i}.{ending}")
    original = snapshot(library)
    samples = {path: samples_digest(path) for path in library.iterdir()}
    table = write_table(tmp_path / "g.csv", dict.fromkeys(samples, "Rock"))
    command = [sys.executable, "-m", "musicreclass", "organize", str(table)]
    process = subprocess.Popen([*command, "--tags", "--yes"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    journal = journal_beside(table)
    wait_until(
        lambda: process.poll() is not None or (journal.exists() and journal.read_bytes().count(b"\n") > 3 * number)
    )
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert {path: samples_digest(path) for path in samples} == samples
    subprocess.run([*command, "--tags", "--yes"], check=True, capture_output=True)
    assert {Tags(path).genre()[0] for path in samples} == {"Rock"}
    assert len(list(library.iterdir())) == 36
    subprocess.run([*command, "--undo"], check=True, capture_output=True)
    assert snapshot(library) == original
    assert not (tmp_path / NAME).exists()


def test_tags_of_a_damaged_file_raise_one_kind_of_error(sounds, tmp_path):
    """Bytes changed at random never raise anything but a `TagError`, or are read."""
    random = np.random.default_rng(0)
    for ending, source in sounds.items():
        path = tmp_path / f"damaged.{ending}"
        shutil.copy(source, path)
        add_tags(path)
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(12):
            damaged = content.copy()
            damaged[random.integers(0, min(len(content), 400), 6)] = random.integers(0, 256, 6)
            path.write_bytes(damaged.tobytes())
            try:
                Tags(path).others()
                samples_digest(path)
            except TagError:
                pass


def test_a_difference_rebuilds_any_file(tmp_path):
    random = np.random.default_rng(0)
    old, new = tmp_path / "old", tmp_path / "new"
    base = random.integers(0, 256, 300_000, np.uint8).tobytes()
    cases = [
        (base, base), (base, b"x" + base), (b"head" * 50 + base, base), (base[:7], base), (base[:5000], base[:5]),
        (base[:1000] + base[2000:], base), (base, base[:1000] + b"\0" * 5000 + base[1000:]),
        (base[150_000:] + base[:150_000], base), (base + b"\0" * 3000, b"\0" * 4000 + base), (b"a" * 70, b"a" * 700),
    ]  # fmt: skip
    for before, after in cases:
        old.write_bytes(before)
        new.write_bytes(after)
        parts = delta.difference(new, old)
        assert parts is not None
        with new.open("rb") as file:
            assert b"".join(delta.rebuilt(file, parts)) == before
    old.write_bytes(random.integers(0, 256, 400_000, np.uint8).tobytes())
    assert delta.difference(new, old) is None
