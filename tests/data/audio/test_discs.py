"""Disc images: tracks as parts of a file, which decode as the same samples in a file of their own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicreclass.data.audio import decoding
from musicreclass.data.audio.discs import Discs
from musicreclass.data.audio.header import BadAudioError
from musicreclass.features.fma518.extraction import extract_file
from musicreclass.storage.file_parts import file_of, part_path, span_of
from tests.data.audio.test_cue import sheet
from tests.sounds import music, write

SHEET = sheet([("One", "X", 0), ("Two", "Y", 75 * 33 + 1), ("Three", "Z", 75 * 50)])


def folder_of(here: Path, text: str | bytes, *names: str, seconds: float = 60) -> tuple[Discs, list[Path]]:
    """What a sheet gives in a folder with these recordings."""
    for name in names:
        write(here / name, music(seconds, 8000), 8000)
    (here / "disc.cue").write_bytes(text.encode() if isinstance(text, str) else text)
    discs = Discs()
    return discs, discs.add(here, [here / name for name in names])


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 44100), ("flac", 48000), ("wav", 22050)])
@pytest.mark.parametrize("sample_rate", [22050, 44100])
def test_a_track_decodes_as_its_own_file(here, suffix, rate, sample_rate):
    samples = (music(65, rate, 2) * 20000).astype(np.int16)
    image = write(here / f"CDImage.{suffix}", samples, rate)
    (here / "a.cue").write_text(SHEET)
    paths = Discs().add(here, [image])
    spans = [span_of(path) for path in paths]
    assert [span[0] for span in spans] == [0, pytest.approx(33 + 1 / 75, abs=1e-6), 50]
    assert [file_of(path) for path in paths] == [image] * 3
    for path, (start, stop) in zip(paths, spans, strict=True):
        cut = write(here / "cut.wav", samples[round(start * rate) : round(stop * rate)], rate)
        assert (
            decoding.probe(path, sample_rate)
            == decoding.examine(path, sample_rate)
            == decoding.examine(cut, sample_rate)
        )
        assert np.array_equal(decoding.decode(path, sample_rate), decoding.decode(cut, sample_rate))
        middle = decoding.decode(path, sample_rate, 9 * sample_rate, 11 * sample_rate)
        assert np.array_equal(middle, decoding.decode(cut, sample_rate)[9 * sample_rate : 11 * sample_rate])
    assert sum(decoding.probe(path, rate) for path in paths) == len(samples)
    if sample_rate == rate == 44100:
        assert np.array_equal(extract_file(paths[2]), extract_file(cut))


def test_a_track_of_an_mp3_is_close_to_its_samples(here):
    samples = music(60, 44100)
    image = write(here / "CDImage.mp3", samples, 44100)
    (here / "a.cue").write_text(SHEET)
    part = Discs().add(here, [image])[1]
    start, stop = (round(time * 44100) for time in span_of(part))
    everything = decoding.decode(image, 44100)
    assert np.abs(decoding.decode(part, 44100).astype(int) - everything[start:stop]).max() <= 1


def test_tags_of_tracks(here):
    discs, paths = folder_of(here, SHEET, "CDImage.wav")
    rows = [discs.tracks[path].as_row() for path in paths]
    assert [(row["track"], row["title"], row["artist"], row["album"]) for row in rows] == [
        (1, "One", "X", "Disc"), (2, "Two", "Y", "Disc"), (3, "Three", "Z", "Disc"),
    ]  # fmt: skip
    assert (rows[0]["start"], rows[2]["end"]) == (0, 60)
    assert discs.summary()[0].startswith("3 tracks of 1 disc")


def test_an_image_of_another_format_or_case_is_recognised(here):
    for name in ("CDImage.flac", "cdimage.WAV", "CDImage.ogg"):
        (here / name).mkdir()
        discs, paths = folder_of(here / name, SHEET, name, "other.wav")
        assert (len(paths), discs.notes) == (4, [])


def test_a_sheet_of_separate_files_gives_their_tags(here):
    text = 'PERFORMER "X"\n' + "".join(
        f'FILE "{i}.wav" WAVE\nTRACK 0{i} AUDIO\nTITLE "T{i}"\nINDEX 01 00:00:00\n' for i in (1, 2)
    )
    discs, paths = folder_of(here, text, "1.wav", "2.wav", seconds=2)
    assert paths == [here / "1.wav", here / "2.wav"]
    assert [(discs.tracks[path].title, discs.tracks[path].artist) for path in paths] == [("T1", "X"), ("T2", "X")]
    assert discs.parts == {}


@pytest.mark.parametrize("text", [
    sheet([("a", "b", 750), ("c", "d", 75)]),
    sheet([("a", "b", 0), ("c", "d", 75 * 61)]),
    sheet([("a", "b", 0), ("c", "d", 75 * 60)]),
    sheet([("a", "b", 0), ("c", "d", 75)], name="missing.wav"),
    sheet([("a", "b", 0), ("c", "d", 75)], name="..\\CDImage.wav"),
    sheet([("a", "b", 0), ("c", "d", 75)], name="../secret/CDImage.wav"),
    sheet([("a", "b", 0), ("c", "d", 75)], name="C:\\Rips\\CDImage.wav"),
    sheet([("a", "b", 0), ("c", "d", 75)], name="/etc/passwd"),
    sheet([("a", "b", 0), ("c", "d", 75)], name="..") ,
    sheet([("a", "b", 0), ("c", "d", 75)], name="\x1b[31mCDImage.wav"),
    sheet([("a", "b", 0), ("c", "d", 75)], name="two.wav"),
    "no sheet",
    b"\xff" * (2 << 20),
])  # fmt: skip
def test_a_sheet_that_cannot_be_used_gives_a_line_and_the_whole_image(here, text):
    discs, paths = folder_of(here, text, "CDImage.wav", "two.flac", "two.mp3")
    assert paths == [here / "CDImage.wav", here / "two.flac", here / "two.mp3"]
    (note,) = discs.notes
    assert note.startswith(f"{here / 'disc.cue'}: ")
    assert "\n" not in note
    assert "\x1b" not in note
    assert discs.tracks == {}


def test_sheets_that_are_no_files(here):
    os.mkfifo(here / "pipe.cue")
    (here / "folder.cue").mkdir()
    (here / "loop.cue").symlink_to(here / "loop.cue")
    discs, paths = folder_of(here, SHEET, "CDImage.wav")
    assert (len(paths), len(discs.notes)) == (3, 3)


def test_a_part_of_a_file_that_has_changed(here):
    _, paths = folder_of(here, SHEET, "CDImage.wav")
    write(here / "CDImage.wav", music(40, 8000), 8000)
    with pytest.raises(BadAudioError) as caught:
        decoding.examine(paths[2], 8000)
    assert (caught.value.path, caught.value.reason) == (paths[2], "too short")
    assert soundfile.info(here / "CDImage.wav").duration == 40
    assert span_of(part_path(here / "a#t=1,2.wav", 1 / 3, 2)) == (0.333333, 2)
    assert span_of(here / "a#t=1,2.wav") is None
