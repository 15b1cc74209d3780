"""Bad files are reported with a reason: no recordings, truncated, damaged, or in need of ffmpeg."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import soundfile

from musicreclass.data.audio.c_stderr import muted_c_stderr
from musicreclass.data.audio.containers import available_fraction
from musicreclass.data.audio.decoding import decode, decode_examined, examine, probe
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.recording_lengths import examine_all
from musicreclass.data.waveforms import open_waveforms
from musicreclass.errors import DataError
from musicreclass.storage.store import Store
from tests.conftest import powerless
from tests.sounds import FORMATS, cut, music, write


def reason(path: Path, **options: object) -> str:
    with pytest.raises(BadAudioError) as caught:
        examine(path, 16000, **options)
    error = caught.value
    assert error.key == str(path)
    assert error.kind == error.reason.replace(" ", "_")
    assert "\n" not in str(error)
    return error.reason


def test_only_the_decoder_is_muted(tmp_path, capfd):
    """What Python and its child processes print while threads decode is not suppressed."""
    bad = tmp_path / "x.mp3"
    bad.write_bytes(bytes(300_000))
    with muted_c_stderr():
        assert reason(bad) == "not audio"
        print("python", file=sys.stderr, flush=True)
        subprocess.run(["sh", "-c", "echo child >&2"], check=True)
    assert capfd.readouterr().err == "python\nchild\n"


def test_bad_files_are_reported_with_a_reason(tmp_path):
    samples = music(12, 22050)
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("a page that was not found\n" * 1000)
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    write(tmp_path / "none.wav", samples[:0], 22050)
    write(tmp_path / "short.wav", samples[:11025], 22050)
    nan = samples.copy()
    nan[200_000] = np.nan
    write(tmp_path / "nan.wav", nan, 22050, subtype="FLOAT")
    write(
        tmp_path / "infinite.au",
        np.stack([samples, np.where(samples > 0.5, np.inf, samples)], 1),
        22050,
        subtype="FLOAT",
    )
    reasons = {path.name: reason(path, min_seconds=1.0) for path in sorted(tmp_path.iterdir())}
    assert reasons == {
        "empty.mp3": "empty file", "text.mp3": "not audio", "folder.wav": "not a file", "loop.wav": "cannot be read",
        "none.wav": "too short", "short.wav": "too short", "nan.wav": "damaged", "infinite.au": "damaged",
    }  # fmt: skip
    assert reason(tmp_path / "gone.mp3") == "no such file"
    assert examine(tmp_path / "short.wav", 16000) == 8000
    error = pickle.loads(pickle.dumps(BadAudioError(Path("a.mp3"), "too short", "half")))
    assert (error.path, error.reason, error.kind, error.detail) == (Path("a.mp3"), "too short", "too_short", "half")


@pytest.mark.parametrize("ending", [e for e in FORMATS if e not in ("ogg", "opus")])
def test_a_truncated_file_is_detected(tmp_path, ending):
    path = write(tmp_path / f"x.{ending}", music(25, 22050), 22050, **FORMATS[ending])
    n = examine(path, 22050)
    assert n == pytest.approx(25 * 22050, abs=2)
    cut(path, 0.99)
    assert 0 <= n - examine(path, 22050) < 0.5 * 22050 if ending != "flac" else reason(path) == "damaged"
    decoded = len(decode(path, 22050)) if ending != "flac" else 0
    cut(path, 0.9)
    assert reason(path) == ("damaged" if ending == "flac" else "truncated")
    with pytest.raises(BadAudioError):
        decode(path, 22050, 0, 100)  # although this part is intact
    assert ending == "flac" or 0.97 * n < decoded <= n  # a PCM file that lacks its end is shorter


CONTAINERS = {
    "RF64": ("PCM_16", "FLOAT"), "W64": ("PCM_24", "MS_ADPCM"), "WAV": ("PCM_U8", "ULAW", "GSM610", "IMA_ADPCM"),
    "WAVEX": ("PCM_16",), "AIFF": ("PCM_24", "ALAW"), "AU": ("PCM_16", "DOUBLE"), "NIST": ("PCM_16", "ALAW"),
    "SVX": ("PCM_16", "PCM_S8"), "VOC": ("PCM_16", "ULAW"), "CAF": ("PCM_16",),
}  # fmt: skip


@pytest.mark.parametrize(("container", "subtype"), [(c, s) for c, subtypes in CONTAINERS.items() for s in subtypes])
def test_a_truncated_container_is_detected(tmp_path, container, subtype):
    path = write(tmp_path / "x.wav", music(12, 22050), 22050, format=container, subtype=subtype)
    assert examine(path, 22050) == pytest.approx(12 * 22050, abs=1100)  # ADPCM has whole blocks
    cut(path, 0.5)
    assert reason(path) in ("truncated", "not audio")  # libsndfile rejects a truncated CAF file


@pytest.mark.parametrize("container", ["PAF", "PVF", "IRCAM", "MAT5", "MPC2K"])
def test_a_container_whose_length_cannot_be_verified_is_not_supported(tmp_path, container):
    assert (
        reason(write(tmp_path / "x.wav", music(2, 22050), 22050, format=container, subtype="PCM_16")) == "not supported"
    )


def test_an_impossible_sample_rate_is_rejected(tmp_path):
    assert reason(write(tmp_path / "x.wav", music(12, 22050), 1)) == "not supported"
    assert reason(write(tmp_path / "z.wav", music(12, 22050), (1 << 31) - 1)) == "not supported"  # crashed soxr
    assert examine(write(tmp_path / "y.wav", music(12, 1000), 1000), 16000) == 12 * 16000


def test_a_long_file_that_is_truncated_is_detected(tmp_path):
    """Its stated size, 3 GiB, is larger than those that pipes are given."""
    path = write(tmp_path / "x.wav", music(12, 22050), 22050)
    data = path.read_bytes()
    size = (3 << 30).to_bytes(4, "little")
    path.write_bytes(data[:4] + size + data[8:40] + size + data[44:])
    assert reason(path) == "truncated"


@pytest.mark.slow
def test_a_file_of_empty_chunks_is_rejected_at_once(tmp_path):
    path = tmp_path / "x.wav"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWAVE")
        file.truncate(1 << 31)
    assert available_fraction(path) == 1
    assert reason(path) == "not audio"


@pytest.mark.parametrize("ending", ["wav", "mp3", "m4a"])
def test_a_pipe_is_not_opened(tmp_path, ending):
    os.mkfifo(tmp_path / f"x.{ending}")
    assert reason(tmp_path / f"x.{ending}") == "not a file"


def test_an_error_of_the_drive_is_not_one_of_the_file(tmp_path, monkeypatch):
    path = write(tmp_path / "x.flac", music(2, 22050), 22050)

    def fail(*arguments: object, **options: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    n = examine(path, 22050)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: np.empty((0, 1), np.float32))
    assert reason(path) == "truncated"
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(BadAudioError) as caught:
        decode_examined(path, 22050, 0, n)
    assert caught.value.reason == "cannot be read"


def test_a_missing_end_is_padded_with_silence(tmp_path):
    path = cut(write(tmp_path / "x.mp3", music(25, 22050), 22050), 0.98)
    samples = decode(path, 22050)
    assert len(samples) == 25 * 22050
    assert np.abs(samples[-20000:-15000]).max() > 1000
    assert (samples[-2000:] == 0).all()
    assert np.array_equal(decode(path, 22050, 540_000, 550_000), samples[540_000:550_000])


def test_a_file_of_unknown_length_is_accepted(tmp_path):
    path = write(tmp_path / "x.wav", music(12, 22050), 22050)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:])
    assert examine(path, 22050) == 12 * 22050


@pytest.mark.parametrize("ending", ["mp3", "flac", "ogg", "vbr.mp3"])
def test_a_file_that_passes_examination_decodes_completely(tmp_path, ending):
    """Damage in the middle is either detected by `examine` or harmless."""
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
        assert len(decode_examined(path, 16000, 0, n)) == n
    assert outcomes - {"good"}
    assert "good" in outcomes or ending == "flac"  # has a checksum for every frame


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
import io
import os
import sys
import soundfile
if "-version" in sys.argv:
    sys.exit(0)
source = sys.argv[sys.argv.index("-i") + 1].removeprefix("file:")
try:
    samples, rate = soundfile.read(open(source, "rb"))
except Exception:
    sys.exit(1)
print(f"  Duration: 00:00:{{float(open(source + '.duration').read()):05.2f}}, start", file=sys.stderr)
made = io.BytesIO()
soundfile.write(made, samples, rate, subtype="FLOAT", format="WAV")
data = bytearray(made.getvalue())
size = data.index(b"data") + 4
data[4:8] = data[size : size + 4] = bytes([255] * 4)  # as ffmpeg does, which cannot seek in a pipe
sys.stdout.buffer.write(data)
"""


def test_m4a_needs_ffmpeg(tmp_path, monkeypatch):
    samples = music(12, 22050, 2)
    path = tmp_path / "-x.m4a"
    write(tmp_path / "x.wav", samples, 22050).rename(path)
    (tmp_path / "-x.m4a.duration").write_text("12.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert reason(path) == "needs ffmpeg"
    store = Store(tmp_path / "cache")
    assert examine_all([path], 16000, store=store)[1] == {0: "needs ffmpeg"}
    command = tmp_path / "bin" / "ffmpeg"
    command.parent.mkdir()
    command.write_text(FFMPEG.format(python=sys.executable))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    lengths, bad = examine_all([path], 16000, store=store)
    assert bad == {}
    assert lengths.tolist() == [12 * 16000]
    plain = write(tmp_path / "y.wav", samples, 22050)
    assert np.array_equal(decode(path, 16000, 159_000, 161_000), decode(plain, 16000)[159_000:161_000])
    (tmp_path / "-x.m4a.duration").write_text("15.0")
    assert reason(path) == "truncated"
    path.write_text("not audio")
    assert reason(path) == "not audio"


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch) -> Path:
    """A stand-in for ffmpeg, and an m4a file that it converts."""
    command = tmp_path / "bin" / "ffmpeg"
    command.parent.mkdir()
    command.write_text(FFMPEG.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    write(tmp_path / "x.wav", music(12, 22050, 2), 22050).rename(tmp_path / "x.m4a")
    (tmp_path / "x.m4a.duration").write_text("12.0")
    return command


def stand_in(code: str) -> str:
    """A stand-in for ffmpeg that runs some code, unless only its version is requested."""
    return f"#!{sys.executable}\nimport os, signal, sys, time\nif '-version' in sys.argv: sys.exit()\n{code}\n"


def test_a_full_temporary_folder_is_not_an_error_of_the_file(ffmpeg, tmp_path):
    store, path = Store(tmp_path / "cache"), tmp_path / "x.m4a"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError) as caught:
            examine_all([path], 16000, store=store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.kind == "temporary_folder"
    assert examine_all([path], 16000, store=store)[1] == {}


def test_a_stopped_ffmpeg_is_not_an_error_of_the_file(ffmpeg, tmp_path):
    store, path, code = Store(tmp_path / "cache"), tmp_path / "x.m4a", ffmpeg.read_text()
    ffmpeg.write_text(stand_in("os.kill(os.getpid(), signal.SIGKILL)"))
    with pytest.raises(DataError) as caught:
        examine_all([path], 16000, store=store)
    assert caught.value.kind == "ffmpeg_stopped"
    ffmpeg.write_text(stand_in("if '-i' in sys.argv: os.kill(os.getpid(), signal.SIGSEGV)"))
    assert reason(path) == "not audio"
    ffmpeg.write_text(code)
    assert examine_all([path], 16000, store=store)[1] == {}


@pytest.mark.parametrize("number", [2, 15])
def test_an_ffmpeg_that_handles_the_signal_that_stops_it(ffmpeg, tmp_path, number):
    """ffmpeg exits with 255, and the signal is in its messages."""
    store, path, code = Store(tmp_path / "cache"), tmp_path / "x.m4a", ffmpeg.read_text()
    message = f"Exiting normally, received signal {number}."
    ffmpeg.write_text(stand_in(f"sys.stderr.write({message!r})\nsys.exit(255)"))
    with pytest.raises(DataError) as caught:
        examine_all([path], 16000, store=store)
    assert (caught.value.kind, caught.value.key) == ("ffmpeg_stopped", str(path))
    ffmpeg.write_text(code)
    assert examine_all([path], 16000, store=store)[1] == {}


def test_ffmpeg_has_a_time_limit(ffmpeg, tmp_path, monkeypatch):
    code = ffmpeg.read_text()
    ffmpeg.write_text(stand_in("time.sleep(600)"))
    store, path = Store(tmp_path / "cache"), tmp_path / "x.m4a"
    with monkeypatch.context() as patched:
        patched.setattr("musicreclass.data.audio.ffmpeg.TIME_LIMIT", 0.5)
        with pytest.raises(DataError) as caught:
            examine_all([path], 16000, store=store)
    assert (caught.value.kind, caught.value.key) == ("ffmpeg_timeout", str(path))
    assert not isinstance(caught.value, BadAudioError)
    ffmpeg.write_text(code)
    assert examine_all([path], 16000, store=store)[1] == {}


def test_a_killed_conversion_leaves_nothing(ffmpeg, tmp_path):
    ffmpeg.write_text(
        ffmpeg.read_text() + "sys.stdout.flush()\nopen(source + '.ready', 'w').close()\nimport time\ntime.sleep(2)\n"
    )
    code = "import sys; from pathlib import Path; from musicreclass.data.audio.decoding import examine; examine(Path(sys.argv[1]), 16000)"
    folder = tmp_path / "temporary"
    folder.mkdir()
    path = tmp_path / "x.m4a"
    process = subprocess.Popen([sys.executable, "-c", code, path], env={**os.environ, "TMPDIR": str(folder)})
    while not (tmp_path / "x.m4a.ready").exists():
        time.sleep(0.02)
        assert process.poll() is None
    process.kill()
    process.wait()
    assert list(folder.iterdir()) == []


def test_truncated_real_mp3s_are_detected(real_data, tmp_path):
    path = sorted((real_data / "FMA" / "Data" / "fma_medium").rglob("*.mp3"))[0]
    copy = Path(shutil.copy(path, tmp_path / "x.mp3"))
    cut(copy, 0.5)
    assert probe(copy, 22050) == probe(path, 22050)
    assert reason(copy) == "truncated"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="requires ffmpeg: apt install ffmpeg")
def test_a_playlist_reads_no_other_file(tmp_path):
    write(tmp_path / "x.wav", music(2, 22050, 1), 22050)
    (tmp_path / "list.m4a").write_text("ffconcat version 1.0\nfile x.wav\n")
    assert reason(tmp_path / "list.m4a") == "not audio"


@pytest.mark.parametrize("content", [b"", b"Mac OS X", bytes.fromhex("0005160700020000").ljust(4096, b"\0")])
@pytest.mark.parametrize("ending", ["mp3", "wav"])
def test_a_file_beside_which_macos_keeps_its_attributes(tmp_path, ending, content):
    path = write(tmp_path / f"a.{ending}", music(2, 22050), 22050)
    expected = decode(path, 22050)
    (tmp_path / f"._a.{ending}").write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))  # not the file whose header is known
    assert np.array_equal(decode(path, 22050), expected)
