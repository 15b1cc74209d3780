"""What files contain, whatever their names; artist tags; recordings without a stated length."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicreclass.data.audio import mp3
from musicreclass.data.audio.content import ffmpeg_format, substitute
from musicreclass.data.audio.decoding import examine
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.audio.tags import read_artist
from musicreclass.data.waveforms import open_waveforms
from musicreclass.storage.store import Store
from tests.sounds import music, write


def id3(artist: str) -> bytes:
    """An ID3v2.3 tag with an artist."""
    frame = b"TPE1" + struct.pack(">IH", len(artist) + 1, 0) + b"\0" + artist.encode("latin-1")
    return b"ID3\3\0\0" + bytes([0, 0, len(frame) >> 7, len(frame) & 127]) + frame


def mp4(artist: str) -> bytes:
    """The atoms of an MP4 file that hold its artist."""
    atom = b""
    for name in (b"data", b"\xa9ART", b"ilst", b"meta", b"udta", b"moov"):
        content = bytes(8) + artist.encode() if name == b"data" else bytes(4) * (name == b"meta") + atom
        atom = struct.pack(">I4s", 8 + len(content), name) + content
    return struct.pack(">I4s8s", 16, b"ftyp", b"M4A \0\0\0\0") + atom


def test_artists_of_mp4_and_id3_are_read(tmp_path):
    path = tmp_path / "x.m4a"
    path.write_bytes(mp4("Béla"))
    assert read_artist(path) == "Béla"
    path.write_bytes(mp4("x")[:60])
    assert read_artist(path) == ""
    wav = write(tmp_path / "x.wav", music(1, 8000), 8000)
    assert read_artist(wav) == ""
    tag = id3("Abba")
    wav.write_bytes(wav.read_bytes() + struct.pack("<4sI", b"id3 ", len(tag)) + tag)
    assert read_artist(wav) == "Abba"


@pytest.mark.parametrize(("data", "name"), [
    (b"\0\0\0 ftypM4A ", "MP4"), (id3("x") + b"\0\0\0 ftypM4A ", "MP4"), (b"\x1a\x45\xdf\xa3", "Matroska or WebM"), (b"RIFF", ""), (b"", ""),
    (bytes([0xFF, 0xF1, 0x50, 0x80, 1, 0, 0xFC]) + bytes(1) + bytes([0xFF, 0xF1]) * 9, "AAC"), (b"\xff\xfb\x90\x44" * 9, ""),
])  # fmt: skip
def test_formats_of_ffmpeg_are_recognised(tmp_path, data, name):
    (tmp_path / "x").write_bytes(data)
    assert ffmpeg_format(tmp_path / "x") == name


def test_what_is_stored_in_place_of_a_recording(tmp_path):
    for text, name in (
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pointer"),
        (" <HTML>", "web page"),
        ("x", ""),
    ):
        (tmp_path / "x").write_text(text)
        assert substitute(tmp_path / "x") == name


@pytest.mark.parametrize("has_flag", [True, False])
def test_a_length_frame_without_a_count_states_no_length(tmp_path, has_flag):
    path = write(tmp_path / "x.mp3", music(6, 22050), 22050, bitrate_mode="VARIABLE", compression_level=0.9)
    data, expected = bytearray(path.read_bytes()), examine(path, 22050)
    mark = max(data.find(b"Xing"), data.find(b"Info"))
    data[mark + 8 : mark + 12] = bytes(4)
    if not has_flag:
        data[mark + 7] &= 0xFE
    path.write_bytes(data)
    first = mp3.find_first_frame(path)
    assert first is not None
    assert not first.states_length
    assert examine(path, 22050) == pytest.approx(expected, abs=2500)  # encoder padding is not known


def test_a_stream_of_unknown_length_needs_ffmpeg(tmp_path, monkeypatch):
    path = write(tmp_path / "x.flac", music(2, 22050), 22050)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the number of samples: 36 bits
    data[22:26] = bytes(4)
    path.write_bytes(data)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadAudioError) as caught:
        examine(path, 22050)
    assert caught.value.reason == "needs ffmpeg"


def test_a_verdict_ends_when_the_file_is_renamed(tmp_path):
    """The same content may be a bad file under another suffix."""
    path, store = tmp_path / "x.m4a", Store(tmp_path / "cache")
    path.write_bytes(b"no audio" * 100)
    first = open_waveforms([path], 16000, store, cache=True, key="content")
    assert first.bad.keys() == {0}
    write(tmp_path / "x.wav", music(2, 16000), 16000)
    assert open_waveforms([tmp_path / "x.wav"], 16000, store, cache=True, key="content").bad == {}


def test_silence_and_clipping_are_known_of_cached_recordings(tmp_path):
    x = music(2, 16000)
    sounds = {"silence": 0 * x, "inverted": np.stack([x, -x], 1), "clipped": np.clip(20 * x, -1, 1), "good": x}
    paths: list[Path] = []
    for name, samples in sounds.items():
        paths.append(tmp_path / f"{name}.wav")
        soundfile.write(paths[-1], samples, 16000)
    store = Store(tmp_path / "cache")
    for _ in range(2):
        levels = open_waveforms(paths, 16000, store, cache=True).levels
        assert levels == {0: "silent", 1: "silent", 2: "clipped"}
