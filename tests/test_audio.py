"""Decoding: any crop is the slice of the whole, what is read is what was promised, and a cache changes nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicreclass.data import audio, decode, mp3, quiet
from musicreclass.data.audio import examine, probe, read
from musicreclass.data.cache import Store
from musicreclass.data.decode import decode_all, examine_all, stamps
from musicreclass.data.header import BadAudioError
from musicreclass.data.waveforms import open_waveforms
from musicreclass.errors import DataError
from tests.conftest import powerless

FORMATS = {
    "wav": {"subtype": "PCM_16"}, "24.wav": {"subtype": "PCM_24"}, "float.wav": {"subtype": "FLOAT"}, "au": {},
    "aiff": {}, "flac": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {},
    "vbr.mp3": {"bitrate_mode": "VARIABLE", "compression_level": 0.9},
}  # fmt: skip
LOSSY = ("ogg", "opus", "mp3", "vbr.mp3")


def music(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A sweep with noise that comes and goes: (n,) or (n, channels)."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    sweep = 0.3 * np.sin(2 * np.pi * (100 + 20 * t) * t)
    noise = 0.1 * rng.standard_normal((len(t), channels)) * (1 + np.sin(2 * np.pi * 0.7 * t))[:, None]
    return (sweep[:, None] + noise).squeeze()


def write(path: Path, sound: np.ndarray, rate: int, **words: object) -> Path:
    soundfile.write(path, sound, rate, **words)
    return path


def reason(path: Path, **words: object) -> str:
    with pytest.raises(BadAudioError) as caught:
        examine(path, 16000, **words)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 11127])
@pytest.mark.parametrize("ending", FORMATS)
def test_a_tone_keeps_pitch_level_and_length(tmp_path, ending, rate):
    if (ending in ("mp3", "vbr.mp3") and rate == 11127) or (ending == "opus" and rate not in (8000, 16000, 48000)):
        pytest.skip("the format has no such rate")
    seconds, hz, target = 2.5, 440.0, 22050
    tone = 0.25 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    for channels in (1, 2) if ending in LOSSY else (1, 2, 3):
        path = write(tmp_path / f"x{channels}.{ending}", np.stack([tone] * channels, 1), rate, **FORMATS[ending])
        assert probe(path, target) == examine(path, target) == pytest.approx(seconds * target, abs=2)
        sound = read(path, target)
        assert sound.dtype == np.int16
        assert len(sound) == probe(path, target)
        middle = sound[target // 2 : target // 2 + target] / 32768
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(target)))
        assert spectrum.argmax() == hz
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.25 / np.sqrt(2), rel=0.05 if ending in LOSSY else 0.001)


def test_channels_are_averaged_and_loud_ones_clipped(tmp_path):
    left, right, third = (np.full(1000, v) for v in (0.5, -0.25, 0.125))
    for channels, mean in (((left,), 0.5), ((left, right), 0.125), ((left, right, third), 0.125)):
        path = write(tmp_path / "x.wav", np.stack(channels, 1), 16000)
        os.utime(path, ns=(len(channels), len(channels)))  # written within one tick of the clock
        assert (read(path, 16000) == round(mean * 32768)).all()
    loud = write(tmp_path / "loud.wav", np.array([1.5, -1.5, 1.0, -1.0] * 1000), 16000, subtype="FLOAT")
    assert read(loud, 16000)[:4].tolist() == [32767, -32768, 32767, -32768]
    exact = np.arange(-32768, 32768).astype(np.int16)
    assert (read(write(tmp_path / "exact.wav", exact, 16000), 16000) == exact).all()


@pytest.mark.parametrize("target", [8000, 16000, 22050, 44100, 48000, 11127])
@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_blocks_are_the_whole_signal_resampled(tmp_path, rate, target):
    """At seams as elsewhere, what differs from one resampling of everything is the rounding to 16 bits.

    Between rates without a common divisor soxr's own phase drifts by about as much over a long signal.
    """
    sound = music(25.3, rate).astype(np.float32)
    path = write(tmp_path / "x.wav", sound, rate, subtype="FLOAT")
    whole = soxr.resample(sound, rate, target, quality="HQ") if rate != target else sound
    blocks = read(path, target)
    n = min(len(whole), len(blocks))
    assert abs(len(whole) - len(blocks)) <= 1
    assert (
        np.abs(blocks[:n] / 32768 - np.clip(whole[:n], -1, 32767 / 32768)).max()
        < (1.5 if target == 11127 else 0.65) / 32768
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of two stretches, in all formats and several rates."""
    folder = tmp_path_factory.mktemp("recordings")
    made = []
    for i, (ending, words) in enumerate(FORMATS.items()):
        rate = 48000 if ending == "opus" else (44100, 22050, 8000)[i % 3]
        made.append(write(folder / f"{i}.{ending}", music(33 + i / 10, rate, 1 + i % 2, seed=i), rate, **words))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_crop_is_the_slice_of_the_whole(recordings, data):
    path = data.draw(st.sampled_from(recordings))
    target = data.draw(st.sampled_from([8000, 16000, 22050, 44100]))
    n = probe(path, target)
    start = data.draw(
        st.integers(0, n) | st.sampled_from([10 * target - 1, 10 * target, 30 * target - 1, 30 * target, n])
    )
    stop = data.draw(st.integers(start, n) | st.integers(start, min(n, start + 6 * target)))
    assert np.array_equal(read(path, target, start, stop), whole(path, target)[start:stop])


WHOLE: dict[tuple[Path, int], np.ndarray] = {}


def whole(path: Path, target: int) -> np.ndarray:
    if (path, target) not in WHOLE:
        WHOLE[path, target] = read(path, target)
    return WHOLE[path, target]


@pytest.mark.parametrize("seconds", [0.3, 9.99, 10.0, 10.003, 11.0, 11.001, 30.003, 41.0])
def test_where_blocks_and_stretches_end(tmp_path, seconds):
    path = write(tmp_path / "x.mp3", music(seconds, 16000), 16000)
    for target in (8000, 16000):
        sound = read(path, target)
        n = len(sound)
        assert n == probe(path, target) == examine(path, target) == round(seconds * target)
        for start in (0, n // 3, max(0, n - 3 * target), n - 1, n):
            for stop in (n, start, min(n, start + target)):
                assert np.array_equal(read(path, target, start, stop), sound[start:stop])


def test_a_part_that_is_not_there_is_refused(recordings):
    n = probe(recordings[0], 16000)
    for start, stop in ((-1, 5), (5, 4), (0, n + 1)):
        with pytest.raises(ValueError, match=f"it has {n}"):
            read(recordings[0], 16000, start, stop)


def test_a_seek_into_a_low_bit_rate_is_as_good_as_reading_on(recordings, capfd):
    """Where frames lend each other bits, libmpg123 mutes the first ones after a seek and says so on stderr."""
    path = next(p for p in recordings if p.name.endswith("vbr.mp3"))
    straight, rate = soundfile.read(path, dtype="float32", always_2d=True)
    capfd.readouterr()
    blocks = read(path, rate) / 32768
    assert np.abs(blocks - np.clip(straight.mean(axis=1), -1, 32767 / 32768)).max() < 1 / 32768
    assert capfd.readouterr().err == ""


def test_silence_is_kept_to_the_decoder(tmp_path, capfd):
    """While threads decode, what Python and its children print comes through."""
    bad = tmp_path / "x.mp3"
    bad.write_bytes(bytes(300_000))
    with quiet.quiet():
        assert reason(bad) == "not audio"
        print("python", file=sys.stderr, flush=True)
        subprocess.run(["sh", "-c", "echo child >&2"], check=True)
    assert capfd.readouterr().err == "python\nchild\n"


def test_bad_files_are_named_with_a_reason(tmp_path):
    sound = music(12, 22050)
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("a page that was not found\n" * 1000)
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    write(tmp_path / "none.wav", sound[:0], 22050)
    write(tmp_path / "short.wav", sound[:11025], 22050)
    nan = sound.copy()
    nan[200_000] = np.nan
    write(tmp_path / "nan.wav", nan, 22050, subtype="FLOAT")
    write(tmp_path / "infinite.au", np.stack([sound, np.where(sound > 0.5, np.inf, sound)], 1), 22050, subtype="FLOAT")
    found = {path.name: reason(path, shortest=1.0) for path in sorted(tmp_path.iterdir())}
    assert found == {
        "empty.mp3": "empty file", "text.mp3": "not audio", "folder.wav": "not a file", "loop.wav": "cannot be read",
        "none.wav": "too short", "short.wav": "too short", "nan.wav": "damaged", "infinite.au": "damaged",
    }  # fmt: skip
    assert reason(tmp_path / "gone.mp3") == "no such file"
    assert examine(tmp_path / "short.wav", 16000) == 8000
    error = pickle.loads(pickle.dumps(BadAudioError(Path("a.mp3"), "cut short", "half")))
    assert (str(error), error.path, error.reason) == ("a.mp3: cut short (half)", Path("a.mp3"), "cut short")


@pytest.mark.parametrize("ending", [e for e in FORMATS if e not in ("ogg", "opus")])
def test_a_truncated_file_is_cut_short(tmp_path, ending):
    path = write(tmp_path / f"x.{ending}", music(25, 22050), 22050, **FORMATS[ending])
    n = examine(path, 22050)
    assert n == pytest.approx(25 * 22050, abs=2)
    cut(path, 0.99)
    assert 0 <= n - examine(path, 22050) < 0.5 * 22050 if ending != "flac" else reason(path) == "damaged"
    read_all = len(read(path, 22050)) if ending != "flac" else 0
    cut(path, 0.9)
    assert reason(path) == ("damaged" if ending == "flac" else "cut short")
    with pytest.raises(BadAudioError):
        read(path, 22050, 0, 100)  # though this part is whole
    assert read_all in (0, n, probe_samples(read_all, n))


def probe_samples(found: int, promised: int) -> int:
    """PCM files that lack a little are a little shorter."""
    return found if 0.97 * promised < found <= promised else -1


def test_what_lacks_at_the_end_is_silence(tmp_path):
    path = cut(write(tmp_path / "x.mp3", music(25, 22050), 22050), 0.98)
    sound = read(path, 22050)
    assert len(sound) == 25 * 22050
    assert np.abs(sound[-20000:-15000]).max() > 1000
    assert (sound[-2000:] == 0).all()
    assert np.array_equal(read(path, 22050, 540_000, 550_000), sound[540_000:550_000])


def test_a_program_that_did_not_know_the_length_is_forgiven(tmp_path):
    path = write(tmp_path / "x.wav", music(12, 22050), 22050)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:])
    assert examine(path, 22050) == 12 * 22050


@pytest.mark.parametrize("ending", ["mp3", "flac", "ogg", "vbr.mp3"])
def test_damage_in_the_middle_is_found_at_once_or_never(tmp_path, ending):
    """After a file was found good, all of it can be read."""
    rng = np.random.default_rng(0)
    data = write(tmp_path / f"x.{ending}", music(35, 22050, 2), 22050, **FORMATS[ending]).read_bytes()
    outcomes = set()
    for i in range(18):
        at, size = int(rng.integers(len(data))), int(rng.choice([1, 40, 1200, 40_000]))
        path = tmp_path / f"{i}.{ending}"
        path.write_bytes(data[:at] + (rng.bytes(size) if i % 3 else b"") + data[at + size * (i % 3 < 2) :])
        try:
            n = examine(path, 16000)
        except BadAudioError as error:
            outcomes.add(error.reason)
            continue
        outcomes.add("good")
        assert len(audio.gathered(path, 16000, 0, n)) == n
    assert outcomes - {"good"}
    assert "good" in outcomes or ending == "flac"  # which keeps a checksum of every frame


def test_an_mp3_without_a_header_frame_has_its_true_length(tmp_path):
    """libmpg123's guess would lose most of a stream that begins loud, or find one with a cover picture cut short."""
    for name, words in (("constant", {"bitrate_mode": "CONSTANT"}), ("variable", {"bitrate_mode": "VARIABLE"})):
        sound = music(20, 44100, 2) * np.linspace(1, 0.0, 20 * 44100)[:, None] ** 4
        path = write(tmp_path / f"{name}.mp3", sound, 44100, **words)
        data = path.read_bytes()
        begin = mp3.start(path)
        assert begin is not None
        assert begin.told
        assert mp3.walk(path, begin).whole
        first = mp3.frame(begin.head[1], begin.head[2])[0]
        bare = tmp_path / f"{name}-bare.mp3"
        picture = 200_000
        tag = b"ID3\x04\0\0" + bytes([0, picture >> 14, picture >> 7 & 127, picture & 127]) + bytes(picture)
        bare.write_bytes(tag + data[begin.at + first :] + b"TAG" + bytes(125))
        assert examine(bare, 44100) == pytest.approx(20 * 44100, abs=3000)
        assert bare.stat().st_size > path.stat().st_size
        a, b = read(path, 44100).astype(float), read(bare, 44100).astype(float)
        shift = np.argmax(np.correlate(b[40_000:60_000], a[42_000:58_000])) - 2000
        assert 0 < shift < 3000  # what an encoder adds ahead is told by the frame that is gone
        assert np.corrcoef(a[:-9000], b[shift : shift + len(a) - 9000])[0, 1] > 0.9999
        assert np.array_equal(read(bare, 16000, 165_000, 170_000), read(bare, 16000)[165_000:170_000])


def test_names_need_not_be_ascii(tmp_path):
    sound = music(3, 22050)
    for name in ("Žižek ☃ пісня 歌.mp3", "a b'c\"$.wav"):
        assert examine(write(tmp_path / name, sound, 22050), 22050) == 3 * 22050
    raw = os.fsencode(tmp_path) + b"/latin-\xe9.wav"
    shutil.copy(tmp_path / "a b'c\"$.wav", raw)
    assert len(read(Path(os.fsdecode(raw)), 22050)) == 3 * 22050
    assert len(stamps([Path(os.fsdecode(raw))])) == 64


def test_an_unreadable_file_is_bad_until_it_is_readable(tmp_path):
    path = write(tmp_path / "x.wav", music(2, 16000), 16000)
    path.chmod(0)
    assert powerless(lambda: reason(path)) == "cannot be read"
    store = Store(tmp_path / "cache")
    assert powerless(lambda: open_waveforms([path], 16000, store, cache=True)).bad == {0: "cannot be read"}
    path.chmod(0o600)
    assert open_waveforms([path], 16000, store, cache=True).bad == {}


FFMPEG = """\
#!{python}
import sys
import soundfile
words = sys.argv
source, target = words[words.index("-i") + 1].removeprefix("file:"), words[-1]
try:
    sound, rate = soundfile.read(open(source, "rb"))
except Exception:
    sys.exit(1)
print(f"  Duration: 00:00:{{float(open(source + '.duration').read()):05.2f}}, start", file=sys.stderr)
soundfile.write(target, sound, rate, subtype="FLOAT")
"""


def test_m4a_needs_ffmpeg(tmp_path, monkeypatch):
    sound = music(12, 22050, 2)
    path = tmp_path / "-x.m4a"
    write(tmp_path / "x.wav", sound, 22050).rename(path)
    (tmp_path / "-x.m4a.duration").write_text("12.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(BadAudioError, match=r"needs ffmpeg \(\.m4a files are read with the ffmpeg command"):
        read(path, 16000)
    store = Store(tmp_path / "cache")
    assert examine_all([path], 16000, store=store)[1] == {0: "needs ffmpeg"}
    command = tmp_path / "bin" / "ffmpeg"
    command.parent.mkdir()
    command.write_text(FFMPEG.format(python=sys.executable))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    lengths, bad = examine_all([path], 16000, store=store)
    assert bad == {}
    assert lengths.tolist() == [12 * 16000]
    plain = write(tmp_path / "y.wav", sound, 22050)
    assert np.array_equal(read(path, 16000, 159_000, 161_000), read(plain, 16000)[159_000:161_000])
    (tmp_path / "-x.m4a.duration").write_text("15.0")
    assert reason(path) == "cut short"
    path.write_text("no sound")
    assert reason(path) == "not audio"


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
    from musicreclass.data import audio, decode
    from musicreclass.data.cache import Store
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
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


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
        process = build(tmp_path, 0.05)
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


def test_real_mp3s_are_read_whole_and_in_parts(real_data):
    paths = sorted((real_data / "FMA" / "Data" / "fma_medium").rglob("*.mp3"))
    rng = np.random.default_rng(0)
    for path in paths[:5]:
        sound = read(path, 22050)
        assert len(sound) == probe(path, 22050) == pytest.approx(30 * 22050, rel=0.01)
        straight, rate = soundfile.read(path, dtype="float32", always_2d=True)
        other = soxr.resample(straight.mean(axis=1), rate, 22050, quality="HQ")
        assert np.abs(sound / 32768 - np.clip(other, -1, 32767 / 32768))[: len(other)].max() < 0.65 / 32768
        for start in rng.integers(0, len(sound) - 5 * 22050, 5).tolist():
            assert np.array_equal(read(path, 22050, start, start + 5 * 22050), sound[start : start + 5 * 22050])
    assert examine_all(paths, 16000)[1] == {}


def test_real_mp3s_cut_short_are_found(real_data, tmp_path):
    path = sorted((real_data / "FMA" / "Data" / "fma_medium").rglob("*.mp3"))[0]
    copy = Path(shutil.copy(path, tmp_path / "x.mp3"))
    cut(copy, 0.5)
    assert probe(copy, 22050) == probe(path, 22050)
    assert reason(copy) == "cut short"
