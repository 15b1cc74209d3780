"""What is no recording, or less than it promises, is named with a reason."""

from __future__ import annotations

import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from musicreclass.data.audio import decoding as audio
from musicreclass.data.audio import quiet
from musicreclass.data.audio.decoding import examine, probe, read
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.waveform_store import examine_all
from musicreclass.data.waveforms import open_waveforms
from musicreclass.storage.store import Store
from tests.conftest import powerless
from tests.sounds import FORMATS, cut, music, write


def reason(path: Path, **words: object) -> str:
    with pytest.raises(BadAudioError) as caught:
        examine(path, 16000, **words)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason


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


def test_real_mp3s_cut_short_are_found(real_data, tmp_path):
    path = sorted((real_data / "FMA" / "Data" / "fma_medium").rglob("*.mp3"))[0]
    copy = Path(shutil.copy(path, tmp_path / "x.mp3"))
    cut(copy, 0.5)
    assert probe(copy, 22050) == probe(path, 22050)
    assert reason(copy) == "cut short"
