"""`musicreclass cache`: lists and prunes the store."""

from __future__ import annotations

import os
import time

import pytest

from musicreclass.storage.inventory import inventory
from musicreclass.storage.locks import locked
from musicreclass.storage.store import Store
from tests.organizing.tree import snapshot

HASH = "0123456789abcdef01234567"


@pytest.fixture
def store(here, run, library, monkeypatch):
    """The store after decoding a library and computing its features."""
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "store"))
    assert run("prepare", "data=folder", "data.root=lib", "data.min_seconds=0.5").code == 0
    return here / "store"


def age(store, days: float) -> None:
    """Make every entry look unused for some days."""
    then = time.time() - days * 86400
    for path in [store, *store.rglob("*")]:
        os.utime(path, (then, then))


def kinds(store) -> set[str]:
    return {entry.kind for entry in inventory(store)}


def test_entries_are_listed_with_their_source_and_size(run, store, library):
    result = run("cache")
    assert result.code == 0
    waveforms = next(entry for entry in inventory(store) if entry.kind == "waveforms")
    assert waveforms.source == str(library)
    assert waveforms.size >= 36 * 2 * 22050 * 0.5
    assert "waveforms" in result.out


def test_only_unfinished_builds_are_interrupted(run, store):
    Store(store / "demo").entry("clips", {"version": 1}, lambda folder: (folder / "clip.wav").touch())
    (store / "waveforms" / f"{HASH}.part").mkdir(parents=True)
    states = {(entry.kind, entry.state): entry.path.name for entry in inventory(store)}
    assert ("demo", "complete") in states
    interrupted = {kind: name for (kind, state), name in states.items() if state == "interrupted"}
    assert interrupted == {"waveforms": f"{HASH}.part"}


def test_pruning_needs_a_filter_and_a_confirmation(run, store):
    assert run("cache", "--prune").code == 2
    before = kinds(store)
    result = run("cache", "--prune", "--kind", "waveforms")
    assert (result.code, kinds(store)) == (0, before)
    result = run("cache", "--prune", "--kind", "waveforms", "--yes")
    assert (result.code, kinds(store)) == (0, before - {"waveforms"})
    assert run("prepare", "data=folder", "data.root=lib", "data.min_seconds=0.5").code == 0
    assert kinds(store) == before


def test_what_was_used_lately_stays(run, store):
    age(store, 40)
    assert run("prepare", "data=folder", "data.root=lib", "data.min_seconds=0.5").code == 0
    result = run("cache", "--prune", "--unused-for", "30", "--yes")
    assert result.code == 0
    assert "waveforms" in kinds(store)
    age(store, 40)
    run("cache", "--prune", "--unused-for", "30", "--source", "lib", "--yes")
    assert "waveforms" not in kinds(store)


def test_an_entry_that_is_being_built_stays(run, store):
    entry = next(entry for entry in inventory(store) if entry.kind == "waveforms")
    with locked(entry.path.with_name(f"{entry.path.name}.lock")):
        result = run("cache", "--prune", "--all", "--yes")
    assert result.code == 0
    assert kinds(store) == {"waveforms"}
    assert f"in use: {entry.path}" in result.out


def test_an_empty_store_and_wrong_arguments(run, here):
    assert run("cache", "nowhere").code == 0
    for arguments in (["--unused-for", "-1"], ["--unused-for", "nan"], ["--unused-for", "x"], ["--nope"]):
        assert run("cache", *arguments).code == 2


def test_files_of_others_are_no_entries(run, here):
    """A folder of music instead of a store, and what resembles an entry, or is linked: nothing of it is deleted."""
    music, other = here / "Music", here / "other"
    for name in ("Artist/Album/song.flac", "Artist/notes.json", f"Artist/{HASH}/song.flac", f"Artist/{HASH[::-1]}/entry.json",
                 "vectors/mine/a.npy", "demo/Album/song.flac", "digests/notes.json", f"digests/{HASH}.json/song.flac",
                 f"../other/{HASH}/entry.json", f"../other/{HASH}.part/a.wav", f"../other/vectors/{HASH}/a.npy",
                 f"../other/{HASH}.json"):  # fmt: skip
        (music / name).parent.mkdir(parents=True, exist_ok=True)
        (music / name).write_text('{"key": {}, "files": {}}' if "other" in name else "{}")
    (music / "linked").symlink_to(other)
    (music / "vectors/linked").symlink_to(other)
    (music / f"Artist/x-{HASH}").symlink_to(other / HASH)
    (music / "demo/linked").symlink_to(other)
    before = snapshot(here)
    assert run("cache", "Music", "--prune", "--all", "--yes").code == 0
    assert snapshot(here) == before
    (music / "vectors/mine/a.npy").unlink()
    (music / "vectors/linked").unlink()
    (music / "vectors/mine").rmdir()
    (music / "vectors").rmdir()
    (music / "vectors").symlink_to(other / "vectors")
    before = snapshot(here)
    assert run("cache", "Music", "--prune", "--unused-for", "0", "--yes").code == 0
    assert snapshot(here) == before


def test_files_beside_entries_stay(run, store):
    """Of a kind with small records only these are deleted."""
    (store / "digests").mkdir(exist_ok=True)
    (store / "digests" / f"{HASH}.json").write_text("{}")
    others = [store / "digests/mine.json", store / "waveforms/mine.wav", store / "album/song.flac"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert run("cache", "--prune", "--all", "--yes").code == 0
    assert inventory(store) == []
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert not (store / "digests" / f"{HASH}.json").exists()
