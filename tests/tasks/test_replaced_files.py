"""Files that were replaced by others of the same size and modification time are read again."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from musicreclass.storage import store as store_module
from musicreclass.storage.store import sha256
from musicreclass.tasks.find_or_train import find_or_train
from musicreclass.tasks.machine import use_machine
from musicreclass.tasks.plan import make_plan
from tests.conftest import settings_for, settle, table_overrides
from tests.library import SMALL


def overwrite(file: Path, content: bytes) -> None:
    """Replace the content, and restore the modification time."""
    stat = file.stat()
    assert len(content) == stat.st_size
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def fingerprint(root: Path, force: bool) -> str | None:
    """The fingerprint of a folder of recordings, as in a run."""
    overrides = ["data=folder", f"data.root={root}", *SMALL, f"force={force}", "paths.cache=cache"]
    settings, profile = use_machine(settings_for(*overrides))
    return make_plan(settings, profile).identity.fingerprint


def test_a_replaced_table_is_another_run(table):
    settle(table)
    settings = settings_for(*table_overrides(table), "model=logreg")
    fingerprints = [find_or_train(settings).run.identity.fingerprint]
    assert find_or_train(settings).trained_before
    for force, digit in ((False, b"5"), (True, b"6")):
        before = table.read_bytes()
        overwrite(table, re.sub(rb"(t001,-?)\d", rb"\g<1>" + digit, before))
        assert table.read_bytes() != before
        again = find_or_train(settings.model_copy(update={"force": force}))
        assert not again.trained_before
        fingerprints.append(again.run.identity.fingerprint)
    assert len(set(fingerprints)) == 3


@pytest.mark.parametrize("force", [False, True])
def test_a_replaced_recording_changes_the_fingerprint(library, here, force):
    file = sorted(library.rglob("*.wav"))[0]
    settle(*library.rglob("*.wav"))
    first, content = fingerprint(library, force), file.read_bytes()
    overwrite(file, content[:-8] + bytes(8 * [7]))
    assert fingerprint(library, force) != first
    overwrite(file, content)
    assert fingerprint(library, force) == first


def test_only_force_reads_unchanged_recordings_again(library, here, monkeypatch):
    files = sorted(library.rglob("*.wav"))
    settle(*files)
    fingerprint(library, force=False)
    reads: list[Path] = []
    monkeypatch.setattr(store_module, "sha256", lambda path: reads.append(path) or sha256(path))
    fingerprint(library, force=False)
    assert reads == []
    fingerprint(library, force=True)
    assert sorted(reads) == files
