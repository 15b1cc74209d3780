"""Bad files are reported with a reason: no recordings, truncated, damaged, or in need of ffmpeg."""

from __future__ import annotations

import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from musicreclass.data.audio.c_stderr import muted_c_stderr
from musicreclass.data.audio.decoding import decode, decode_examined, examine, probe
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.waveform_store import examine_all
from musicreclass.data.waveforms import open_waveforms
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


def test_a_missing_end_is_padded_with_silence(tmp_path):
    path = cut(write(tmp_path / "x.mp3", music(25, 22050), 22050), 0.98)
    sound = decode(path, 22050)
    assert len(sound) == 25 * 22050
    assert np.abs(sound[-20000:-15000]).max() > 1000
    assert (sound[-2000:] == 0).all()
    assert np.array_equal(decode(path, 22050, 540_000, 550_000), sound[540_000:550_000])


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
import sys
import soundfile
arguments = sys.argv
source, target = arguments[arguments.index("-i") + 1].removeprefix("file:"), arguments[-1]
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
    plain = write(tmp_path / "y.wav", sound, 22050)
    assert np.array_equal(decode(path, 16000, 159_000, 161_000), decode(plain, 16000)[159_000:161_000])
    (tmp_path / "-x.m4a.duration").write_text("15.0")
    assert reason(path) == "truncated"
    path.write_text("not audio")
    assert reason(path) == "not audio"


def test_truncated_real_mp3s_are_detected(real_data, tmp_path):
    path = sorted((real_data / "FMA" / "Data" / "fma_medium").rglob("*.mp3"))[0]
    copy = Path(shutil.copy(path, tmp_path / "x.mp3"))
    cut(copy, 0.5)
    assert probe(copy, 22050) == probe(path, 22050)
    assert reason(copy) == "truncated"
