"""Generates malformed recordings. Each is named after what is wrong with it; the same seed writes the same bytes."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np

from musicreclass.data.audio.ffmpeg import find_ffmpeg
from tests.sounds import music, write

RATE = 22050
ESCAPE = "\x1b[31mred\x1b]0;title\x07"
CONTAINERS = {  # suffix of the file: how soundfile writes it
    "wav": {}, "float.wav": {"subtype": "FLOAT"}, "adpcm.wav": {"subtype": "MS_ADPCM"}, "rf64.wav": {"format": "RF64"},
    "w64": {"format": "W64", "subtype": "PCM_16"}, "flac": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {}, "vbr.mp3": {"bitrate_mode": "VARIABLE", "compression_level": 0.9}, "aiff": {}, "au": {},
    "voc": {"format": "VOC", "subtype": "PCM_16"}, "paf.wav": {"format": "PAF", "subtype": "PCM_16"},
    "svx.wav": {"format": "SVX", "subtype": "PCM_16"}, "nist.wav": {"format": "NIST", "subtype": "PCM_16"},
    "caf": {"format": "CAF", "subtype": "PCM_16"},
}  # fmt: skip
TRUNCATIONS = (0.002, 0.02, 0.5, 0.85)
HEADER_FIELDS = {
    "channels": (22, "<H"),
    "rate": (24, "<I"),
    "align": (32, "<H"),
    "bits": (34, "<H"),
    "size": (40, "<I"),
}  # of WAV
ABSURD = (0, 1, 7, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE)


def originals(folder: Path) -> dict[str, bytes]:
    """A sound recording of each container, by its suffix; m4a if ffmpeg is there."""
    folder.mkdir(parents=True)
    files = {}
    for i, (suffix, options) in enumerate(CONTAINERS.items()):
        rate = 48000 if suffix == "opus" else RATE
        files[suffix] = write(folder / f"x.{suffix}", music(3, rate, 1 + i % 2, seed=i), rate, **options).read_bytes()
    if find_ffmpeg():
        subprocess.run(["ffmpeg", "-v", "error", "-i", folder / "x.wav", folder / "x.m4a"], check=True)
        files["m4a"] = (folder / "x.m4a").read_bytes()
    shutil.rmtree(folder)
    return files


def damaged(files: dict[str, bytes]) -> dict[str, bytes]:
    """Truncations, flipped bytes, absurd headers, joined files and wrong suffixes, by file name."""
    rng = np.random.default_rng(0)
    result: dict[str, bytes] = {}
    for suffix, data in files.items():
        for fraction in TRUNCATIONS:
            result[f"cut {fraction}.{suffix}"] = data[: int(len(data) * fraction)]
        for region, end in (("header", min(256, len(data))), ("body", len(data))):
            flipped = bytearray(data)
            for at in rng.integers(0, end, 12):
                flipped[at] ^= 1 << int(rng.integers(8))
            result[f"flipped {region}.{suffix}"] = bytes(flipped)
        result[f"joined.{suffix}"] = data + files[suffix]
        result[f"padded.{suffix}"] = data + bytes(5000)
    for field, (at, layout) in HEADER_FIELDS.items():
        for value in ABSURD:
            header = bytearray(files["wav"])
            struct.pack_into(layout, header, at, value & (0xFFFF if layout == "<H" else 0xFFFFFFFF))
            result[f"{field} {value}.wav"] = bytes(header)
    for suffix, other in (
        ("mp3", "wav"),
        ("wav", "mp3"),
        ("flac", "ogg"),
        ("ogg", "flac"),
        ("m4a", "wav"),
        ("wav", "aiff"),
    ):
        result[f"really {other}.{suffix}"] = files[other]
    if "m4a" in files:
        result["really m4a.mp3"] = files["m4a"]
    return result


def no_recordings() -> dict[str, bytes]:
    """Files without audio, by file name."""
    rng = np.random.default_rng(1)
    pages = {
        "text": b"plain text\n" * 500,
        "html": b"<!DOCTYPE html><html><body>quota exceeded</body></html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 661794\n" % 1,
        "empty": b"",
        "zeros": bytes(50_000),
        "noise": rng.bytes(50_000),
        "id3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + rng.bytes(3000),
        "id3 chain": b"ID3\x04\0\0\0\0\0\0" * 5000,
        "frames": b"\xff\xfb\x90\x44" * 10_000,
        "sync": b"\xff" * 50_000,
        "magic": b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0",
        "ogg pages": b"OggS\0\2" * 5000,
    }
    return {f"{name}.{suffix}": data for name, data in pages.items() for suffix in ("mp3", "wav", "ogg")}


def id3_before_mp3(mp3: bytes) -> dict[str, bytes]:
    """An MP3 after tags that state another size, and one with a length frame without a count."""
    zero_count = bytearray(mp3)
    mark = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    zero_count[mark + 8 : mark + 12] = bytes(4)
    return {
        "tag too short.mp3": b"ID3\4\0\0\0\0\x07\x68" + bytes(101_000) + mp3,
        "tag too long.mp3": b"ID3\4\0\0\0\x7f\x7f\x7f" + bytes(10) + mp3,
        "no count.mp3": bytes(zero_count),
    }


def special(folder: Path) -> dict[str, str]:
    """Files that are no regular files, links and loops, and the reason for which each is left out."""
    os.mkfifo(folder / "pipe.mp3")
    (folder / "link to pipe.m4a").symlink_to("pipe.mp3")
    (folder / "device.wav").symlink_to("/dev/zero")
    (folder / "null.ogg").symlink_to("/dev/null")
    (folder / "itself.wav").symlink_to("itself.wav")
    (folder / "nowhere.wav").symlink_to("gone.wav")
    (folder / "loop").symlink_to(".")
    return {
        "pipe.mp3": "not a file", "link to pipe.m4a": "not a file", "device.wav": "not a file", "null.ogg": "not a file",
        "itself.wav": "cannot be read", "nowhere.wav": "no such file",
    }  # fmt: skip


def names() -> list[bytes]:
    """Names that terminals, tables and shells could misread."""
    text = [f"{ESCAPE}.wav", "new\nline.mp3", "carriage\rreturn.wav", "tab\t.wav", "bell\a.ogg", "\u202e3pm.wav", "\u0085.wav", "'\";$(x).wav",
            "=1+1.wav", "-rf.wav", "a,b.wav", "${oc.env:HOME}.wav", "back\\slash.wav", "é.wav", "e\u0301.wav", "[bold]x.wav", "n" * 240 + ".wav"]  # fmt: skip
    return [*(name.encode() for name in text), b"latin \xe9.wav", b"\xff\xfe.mp3"]


def unlearnable(folder: Path) -> list[str]:
    """Silence, channels that cancel each other, and clipping, in valid files; returns their names."""
    x = music(2, RATE, seed=3)
    write(folder / "silence.wav", np.zeros_like(x), RATE)
    write(folder / "inverted.wav", np.stack([x, -x], 1), RATE)
    write(folder / "clipped.wav", np.clip(20 * x, -1, 1), RATE)
    return ["silence.wav", "inverted.wav", "clipped.wav"]
