"""Crops of many recordings: a cache changes nothing, and its build survives a kill."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from musicreclass.data import waveform_store as decode
from musicreclass.data.audio import decoding as audio
from musicreclass.data.audio import quiet
from musicreclass.data.audio.decoding import examine, probe, read
from musicreclass.data.waveform_store import decode_all, examine_all
from musicreclass.data.waveforms import open_waveforms
from musicreclass.errors import DataError
from musicreclass.storage.store import Store
from tests.sounds import cut, music, write


def test_with_and_without_a_cache_samples_are_the_same(recordings, tmp_path, capfd):
    (tmp_path / "text.mp3").write_text("nothing")
    paths = [*recordings[:4], tmp_path / "text.mp3", *recordings[4:]]
    store = Store(tmp_path / "cache")
    cached = open_waveforms(paths, 16000, store, cache=True, workers=2)
    assert "decoding 10 recordings at 16,000 Hz, once: 10 MiB in " in capfd.readouterr().err
    direct = open_waveforms(paths, 16000, store, cache=False, shortest=33.05)
    assert cached.lengths.tolist() == direct.lengths.tolist()
    assert cached.bad == {4: "not audio"}
    assert direct.bad == {0: "too short", 4: "not audio"}
    rng = np.random.default_rng(0)
    copy = pickle.loads(pickle.dumps(cached))
    for _ in range(60):
        i, n = int(rng.choice([0, 1, 2, 3, 5, 6, 7, 8, 9, 10])), int(rng.integers(0, 50_000))
        start = int(rng.integers(0, cached.lengths[i] - n + 1))
        crop = cached.crop(i, start, n)
        assert crop.dtype == np.int16
        assert crop.flags.writeable
        assert np.array_equal(crop, direct.crop(i, start, n))
        assert np.array_equal(crop, copy.crop(i, start, n))
    for waves in (cached, direct):
        for i, start, n in ((4, 0, 1), (0, -1, 5), (0, int(cached.lengths[0]) - 4, 5)):
            with pytest.raises(ValueError, match="no samples"):
                waves.crop(i, start, n)
    capfd.readouterr()
    for cache in (True, False):
        again = open_waveforms(paths, 16000, store, cache=cache)
        assert again.bad == {4: "not audio"}
    assert capfd.readouterr().err == ""  # neither looked at nor decoded again


def test_what_was_found_out_is_remembered_until_a_file_changes(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{i}.wav", music(2 + i, 16000), 16000) for i in range(3)]
    store, looked = Store(tmp_path / "cache"), []
    monkeypatch.setattr(audio, "examine", lambda path, rate: looked.append(path) or examine(path, rate))
    for _ in range(2):
        lengths, bad = examine_all(paths, 8000, store=store)
        assert (lengths.tolist(), bad) == ([16000, 24000, 32000], {})
    assert sorted(looked) == paths
    write(paths[1], music(5, 16000), 16000)
    assert examine_all(paths, 8000, store=store)[0].tolist() == [16000, 40000, 32000]
    assert examine_all(paths, 8000)[0].tolist() == [16000, 40000, 32000]
    before = len(looked)
    for _ in range(2):  # by content, whatever the files' times
        os.utime(paths[0], ns=(1, 1))
        examine_all(paths, 8000, store=store, key="checksums")
    assert len(looked) == before + 3


def test_a_file_that_breaks_after_it_was_looked_at_is_bad_in_the_cache(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{i}.mp3", music(3, 16000, seed=i), 16000) for i in range(3)]
    monkeypatch.setattr(audio, "examine", lambda path, rate: probe(path, rate))
    cut(paths[1], 0.5)
    waves = open_waveforms(paths, 16000, Store(tmp_path / "cache"), cache=True)
    assert waves.bad == {1: "cut short"}
    assert waves.lengths.tolist() == [48000, 0, 48000]
    assert np.array_equal(waves.crop(2, 0, 48000), read(paths[2], 16000))


def test_no_room_is_said_before_anything_is_decoded(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "room", lambda folder: 3.0)
    with pytest.raises(
        DataError, match=r"needs 10 MiB and 3 MiB are free: .*paths\.cache=DIR.*data\.cache=none"
    ) as caught:
        decode_all(recordings, 16000, Store(tmp_path))
    assert "\n" not in str(caught.value)
    assert [p.stat().st_size for p in tmp_path.rglob("samples.i16")] in ([], [0])
    monkeypatch.undo()

    def full(*words: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(DataError, match="no room"):
            decode_all(recordings, 16000, Store(tmp_path))
    assert not list(tmp_path.rglob("samples.i16"))
    decode_all(recordings, 16000, Store(tmp_path))


BUILD = """
    import sys, time
    from pathlib import Path
    from musicreclass.data import waveform_store as decode
    from musicreclass.data.audio import decoding as audio
    from musicreclass.storage.store import Store
    decode.SAVED = 0.05
    pieces = audio.pieces
    def slowly(path, *words):
        with (Path(sys.argv[1]) / "begun.txt").open("a") as file:
            print(path.name, file=file)
        for piece in pieces(path, *words):
            time.sleep(float(sys.argv[2]))
            yield piece
    audio.pieces = slowly
    paths = sorted((Path(sys.argv[1]) / "clips").iterdir())
    decode.decode_all(paths, 16000, Store(Path(sys.argv[1]) / "cache"), workers=2)
"""


def build(folder: Path, slowness: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", textwrap.dedent(BUILD), str(folder), str(slowness)]
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 (which a job in the background ignores)
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, preexec_fn=heard)


def wait_for(condition, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_killed_build_goes_on_and_is_identical(tmp_path):
    (tmp_path / "clips").mkdir()
    paths = [write(tmp_path / "clips" / f"{i:02d}.mp3", music(12, 22050, seed=i), 22050) for i in range(24)]
    reference = decode_all(paths, 16000, Store(tmp_path / "reference"))

    def marked() -> int:
        return sum(sum(p.read_bytes()) for p in (tmp_path / "cache").rglob("done.u8"))

    for number, (how, enough) in enumerate([(signal.SIGKILL, 4), (signal.SIGINT, 10), (signal.SIGKILL, 16)]):
        process = build(tmp_path, 0.25)
        wait_for(lambda enough=enough: marked() >= enough)
        process.send_signal(how)
        err = process.communicate(timeout=30)[1]
        assert process.returncode != 0
        assert marked() < 24, (number, err)
        assert not list((tmp_path / "cache").rglob("entry.json"))
    before = marked()
    begun = (tmp_path / "begun.txt").read_text().count("\n")
    _, err = build(tmp_path, 0).communicate(timeout=60)
    assert f"decoding {24 - before} recordings" in err
    assert (tmp_path / "begun.txt").read_text().count("\n") - begun == 24 - before
    (entry,) = (p.parent for p in (tmp_path / "cache").rglob("entry.json"))
    for file in reference.iterdir():
        assert (
            hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256((entry / file.name).read_bytes()).digest()
        ), file
    assert json.loads((entry / "entry.json").read_text())["files"]["samples.i16"] == 24 * 12 * 16000 * 2


def test_threads_read_and_decode_at_once(recordings, tmp_path):
    waves = open_waveforms(recordings, 16000, Store(tmp_path), cache=False)
    expected = [waves.crop(i, 470_000, 20_000) for i in range(len(waves))]
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(i for i, sound in enumerate(expected) if not np.array_equal(waves.crop(i, 470_000, 20_000), sound))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert quiet._quiet_depth == 0
