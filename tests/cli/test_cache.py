"""`musicreclass cache`: lists and prunes the store."""

from __future__ import annotations

import os
import time

import pytest

from musicreclass.storage.inventory import inventory
from musicreclass.storage.locks import locked


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
    for name in ("demo/abc", "waveforms/abc.part"):
        (store / name).mkdir(parents=True)
    states = {f"{entry.kind}/{entry.path.name}": entry.state for entry in inventory(store)}
    assert {name for name, state in states.items() if state == "interrupted"} == {"waveforms/abc.part"}


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
