"""Crops of many recordings: the same with and without a cache, whose build can be interrupted."""

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
from pathlib import Path

import numpy as np
import pytest

from musicreclass.data import recording_files, waveform_store
from musicreclass.data.audio import c_stderr, decoding
from musicreclass.data.audio.decoding import decode, examine, probe
from musicreclass.data.recording_lengths import examine_all
from musicreclass.data.waveform_store import decode_all
from musicreclass.data.waveforms import open_waveforms
from musicreclass.errors import DataError
from musicreclass.storage.store import Store
from tests.conftest import wait_until
from tests.library import SMALL, opened
from tests.sounds import cut, music, write


def test_samples_are_the_same_with_and_without_a_cache(recordings, tmp_path, capfd):
    (tmp_path / "text.mp3").write_text("nothing")
    paths = [*recordings[:4], tmp_path / "text.mp3", *recordings[4:]]
    store = Store(tmp_path / "cache")
    cached = open_waveforms(paths, 16000, store, cache=True, workers=2)
    assert f"10 recordings at 16,000 Hz, once: 10 MiB in {store.root}" in capfd.readouterr().err
    direct = open_waveforms(paths, 16000, store, cache=False, min_seconds=33.05)
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
            with pytest.raises(ValueError, match=f"recording {i}: .*{waves.lengths[i]}"):
                waves.crop(i, start, n)
    capfd.readouterr()
    for cache in (True, False):
        again = open_waveforms(paths, 16000, store, cache=cache)
        assert again.bad == {4: "not audio"}
    assert capfd.readouterr().err == ""  # neither examined nor decoded again


def test_a_store_that_cannot_be_written_is_needed_for_caching_only(recordings, tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "cache")
    direct = open_waveforms(recordings[:2], 16000, store, cache=False)
    assert direct.lengths.tolist() == [examine(path, 16000) for path in recordings[:2]]
    with pytest.raises(DataError) as caught:
        open_waveforms(recordings[:2], 16000, store, cache=True)
    assert caught.value.kind == "unwritable"


def test_a_run_without_a_cache_needs_none(run, library, here):
    (here / "file").touch()
    arguments = ["train", "data=folder", f"data.root={library}", *SMALL, "data.cache=none", "paths.cache=file/cache"]
    result = run(*arguments)
    assert result.code == 0, result.err
    assert "file/cache" in result.err


def test_examinations_are_stored_until_a_file_changes(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{i}.wav", music(2 + i, 16000), 16000) for i in range(3)]
    store, examined = Store(tmp_path / "cache"), []
    monkeypatch.setattr(decoding, "examine", lambda path, rate: examined.append(path) or examine(path, rate))
    for _ in range(2):
        lengths, bad = examine_all(paths, 8000, store=store)
        assert (lengths.tolist(), bad) == ([16000, 24000, 32000], {})
    assert sorted(examined) == paths
    write(paths[1], music(5, 16000), 16000)
    assert examine_all(paths, 8000, store=store)[0].tolist() == [16000, 40000, 32000]
    assert examine_all(paths, 8000)[0].tolist() == [16000, 40000, 32000]
    before = len(examined)
    for _ in range(2):  # by content, whatever the modification times
        os.utime(paths[0], ns=(1, 1))
        examine_all(paths, 8000, store=store, key="checksums")
    assert len(examined) == before + 3


def test_a_file_truncated_after_examination_is_bad_in_the_cache(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{i}.mp3", music(3, 16000, seed=i), 16000) for i in range(3)]
    monkeypatch.setattr(decoding, "examine", lambda path, rate: probe(path, rate))
    cut(paths[1], 0.5)
    waves = open_waveforms(paths, 16000, Store(tmp_path / "cache"), cache=True)
    assert waves.bad == {1: "truncated"}
    assert waves.lengths.tolist() == [48000, 0, 48000]
    assert np.array_equal(waves.crop(2, 0, 48000), decode(paths[2], 16000))


def test_lack_of_disk_space_is_reported_before_decoding(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(waveform_store, "room", lambda folder: 3.0)
    with pytest.raises(DataError) as caught:
        decode_all(recordings, 16000, Store(tmp_path))
    assert (caught.value.kind, caught.value.key) == ("no_space", str(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in ("10 MiB", "3 MiB", "paths.cache=DIR", "data.cache=none"))
    assert [p.stat().st_size for p in tmp_path.rglob("samples.i16")] in ([], [0])
    monkeypatch.undo()

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(DataError):
            decode_all(recordings, 16000, Store(tmp_path))
    assert not list(tmp_path.rglob("samples.i16"))
    decode_all(recordings, 16000, Store(tmp_path))


def test_a_disk_that_fills_up_costs_no_decoded_recording(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(waveform_store, "FLUSH_INTERVAL", 0.0)
    decoded: list[Path] = []
    decode_blocks = decoding.decode_blocks
    monkeypatch.setattr(
        decoding, "decode_blocks", lambda path, *rest: decoded.append(path) or decode_blocks(path, *rest)
    )
    with monkeypatch.context() as patched:
        pwrite, marks = os.pwrite, []

        def fill(file: int, content: bytes, at: int) -> int:
            if len(marks) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            marks.extend([at] * (len(content) == 1))
            return pwrite(file, content, at)

        patched.setattr(os, "pwrite", fill)
        with pytest.raises(DataError) as caught:
            decode_all(recordings, 16000, Store(tmp_path), workers=1)
    assert caught.value.kind == "no_space"
    decoded.clear()
    entry = decode_all(recordings, 16000, Store(tmp_path), workers=1)
    assert len(decoded) == len(recordings) - 3
    reference = decode_all(recordings, 16000, Store(tmp_path / "reference"))
    assert (entry / "samples.i16").read_bytes() == (reference / "samples.i16").read_bytes()


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize(("cache", "step"), [
    ("waveform", "file_digests"), ("waveform", "examine"), ("waveform", "decode_blocks"), ("none", "examine"),
])  # fmt: skip
def test_a_file_that_is_edited_while_it_is_read_is_not_stored(cache, step, damaged, library, here, monkeypatch):
    """Its checksum is that of the old content."""
    path = sorted(library.rglob("*.wav"))[0]
    original, times = path.read_bytes(), path.stat()
    module = recording_files if step == "file_digests" else decoding
    function = getattr(module, step)

    def edit() -> None:
        write(path, music(7, 22050, seed=99), 22050)
        if damaged:
            path.write_bytes(path.read_bytes()[:1000])

    def edit_meanwhile(argument, *rest):
        if step == "file_digests":
            digests = function(argument, *rest)
            edit()
            return digests
        if argument == path:
            edit()
        return function(argument, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(module, step, edit_meanwhile)
        with pytest.raises(DataError) as caught:
            opened(library, f"data.cache={cache}", "paths.cache=cache")
    assert (caught.value.kind, caught.value.key) == ("file_changed", str(path))
    path.write_bytes(original)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    data = opened(library, f"data.cache={cache}", "paths.cache=cache")
    assert data.waveforms.bad == {}
    first = data.waveforms.crop(0, 0, int(data.waveforms.lengths[0]))
    assert np.array_equal(first, decode(path, data.sample_rate))


BUILD = """
    import sys, time
    from pathlib import Path
    from musicreclass.data import waveform_store
    from musicreclass.data.audio import decoding
    from musicreclass.storage.store import Store
    waveform_store.FLUSH_INTERVAL = 0.05
    decode_blocks = decoding.decode_blocks
    def slowly(path, *arguments):
        with (Path(sys.argv[1]) / "begun.txt").open("a") as file:
            print(path.name, file=file)
        for block in decode_blocks(path, *arguments):
            time.sleep(float(sys.argv[2]))
            yield block
    decoding.decode_blocks = slowly
    paths = sorted((Path(sys.argv[1]) / "clips").iterdir())
    waveform_store.decode_all(paths, 16000, Store(Path(sys.argv[1]) / "cache"), workers=2)
"""


def build(folder: Path, seconds_per_block: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(BUILD), str(folder), str(seconds_per_block)]
    handle_interrupt = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 (background jobs ignore it)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=handle_interrupt)


@pytest.mark.slow
def test_a_killed_build_is_resumed_and_identical(tmp_path):
    (tmp_path / "clips").mkdir()
    paths = [write(tmp_path / "clips" / f"{i:02d}.mp3", music(12, 22050, seed=i), 22050) for i in range(24)]
    reference = decode_all(paths, 16000, Store(tmp_path / "reference"))

    def marked() -> int:
        return sum(sum(p.read_bytes()) for p in (tmp_path / "cache").rglob("done.u8"))

    for stop, recordings in ((signal.SIGKILL, 4), (signal.SIGINT, 10), (signal.SIGKILL, 16)):
        process = build(tmp_path, 0.25)
        wait_until(lambda recordings=recordings: marked() >= recordings)
        process.send_signal(stop)
        err = process.communicate(timeout=300)[1]
        assert process.returncode != 0
        assert marked() < 24, (stop, recordings, err)
        assert not list((tmp_path / "cache").rglob("entry.json"))
    before = marked()
    begun = (tmp_path / "begun.txt").read_text().count("\n")
    _, err = build(tmp_path, 0).communicate(timeout=300)
    assert f"{24 - before} recordings" in err
    assert (tmp_path / "begun.txt").read_text().count("\n") - begun == 24 - before
    (entry,) = (p.parent for p in (tmp_path / "cache").rglob("entry.json"))
    for file in reference.iterdir():
        assert (
            hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256((entry / file.name).read_bytes()).digest()
        ), file
    assert json.loads((entry / "entry.json").read_text())["files"]["samples.i16"] == 24 * 12 * 16000 * 2


def test_threads_decode_concurrently(recordings, tmp_path):
    waves = open_waveforms(recordings, 16000, Store(tmp_path), cache=False)
    expected = [waves.crop(i, 470_000, 20_000) for i in range(len(waves))]
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(
            i for i, samples in enumerate(expected) if not np.array_equal(waves.crop(i, 470_000, 20_000), samples)
        )

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert c_stderr._mute_depth == 0
