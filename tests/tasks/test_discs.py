"""Disc images with CUE sheets from training to review: each track has its own row."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import musicreclass as mrc
from musicreclass.data.audio.discs import Discs
from musicreclass.errors import DataError
from musicreclass.library.review import render_review
from musicreclass.prediction.formats import write_csv
from musicreclass.prediction.output import LabelTable, read_table
from musicreclass.storage.file_parts import file_of
from musicreclass.tasks.organize import Options, organize, undo_organize
from musicreclass.tasks.predict import find_recordings
from tests.browser import browser, needs_browser
from tests.data.audio.test_cue import sheet
from tests.library import SMALL, TONES, opened, write_tone
from tests.organizing.kills import KILLED, interrupted, number_of_changes
from tests.organizing.tree import names, row
from tests.prediction.test_output import CLASSES, label

CD = 75  # frames per second
RATE = 22050
ARTISTS = ("周杰伦", "王菲", "邓丽君")
TITLES = ("晴天", "以父之名", "东风破", "红豆", "寓言", "彼岸花", "甜蜜蜜", "月亮代表我的心", "海阔天空", "光辉岁月")


@pytest.fixture
def disc(here: Path, real_data: Path) -> Path:
    """A folder with one 10-minute WAV of 20 real clips and its sheet in GB18030, and a folder with the same clips as files."""
    clips = sorted((real_data / "GTZAN" / "Data").rglob("*.wav"))
    clips = clips[:: max(1, len(clips) // 20)][:20]
    tracks, pieces = [], []
    (here / "separate").mkdir()
    (here / "disc").mkdir()
    for i, clip in enumerate(clips):
        samples, rate = soundfile.read(clip, dtype="int16")
        assert rate == RATE
        pieces.append(np.resize(samples, 30 * RATE))
        tracks.append((TITLES[i % 10] + str(i), ARTISTS[i % 3], 30 * CD * i))
        soundfile.write(here / "separate" / f"{i:02d}.wav", pieces[-1], RATE)
    soundfile.write(here / "disc" / "CDImage.wav", np.concatenate(pieces), RATE)
    text = sheet(tracks, artist="群星", title="华语金曲")
    (here / "disc" / "CDImage.cue").write_bytes(text.encode("gb18030"))
    return here / "disc"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network trained on tones."""
    root = tmp_path_factory.mktemp("tones")
    for genre, frequency in TONES.items():
        for i in range(6):
            write_tone(root / genre / f"{i}.wav", frequency, i)
    overrides = [
        "data=folder",
        f"data.root={root}",
        *SMALL,
        "data/split=random",
        "trainer.max_epochs=1",
        f"run_dir={root}-run",
    ]
    return mrc.train(overrides).folder


def test_a_gb18030_sheet_over_ten_minutes(run, here, disc, trained):
    result = run("predict", trained, "--input", disc, "--output", "disc.csv", "--uncalibrated")
    assert result.code == 0
    assert "20 tracks of 1 disc" in result.out
    rows = pd.read_csv(here / "disc.csv").sort_values("start")
    assert rows.track.tolist() == list(range(1, 21))
    assert rows.title.tolist() == [TITLES[i % 10] + str(i) for i in range(20)]
    assert rows.artist.tolist() == [ARTISTS[i % 3] for i in range(20)]
    assert set(rows.album) == {"华语金曲"}
    assert rows.start.tolist() == [30 * i for i in range(20)]
    assert rows.end.tolist() == [30 * (i + 1) for i in range(20)]
    assert rows.duration.tolist() == [30] * 20
    assert {file_of(Path(path)) for path in rows.path} == {disc / "CDImage.wav"}
    run("predict", trained, "--input", "separate", "--output", "separate.csv", "--uncalibrated")
    separate = pd.read_csv(here / "separate.csv").sort_values("path")
    assert rows.genre.tolist() == separate.genre.tolist()
    assert rows.confidence.tolist() == separate.confidence.tolist()
    again = run("predict", trained, "--input", disc / "CDImage.cue", "--output", "disc.csv", "--uncalibrated")
    assert "up to date: 20" in again.out
    assert sorted(pd.read_csv(here / "disc.csv").title) == sorted(rows.title)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_of_tracks_in_every_format(run, here, trained, suffix):
    write_tone(here / "music" / "alone.wav", 440, 0, seconds=3)
    write_tone(here / "music" / "disc.flac", 440, 1, seconds=9)
    (here / "music" / "disc.cue").write_text(sheet([("One", "X", 0), ("Two", "Y", 4 * CD)], name="disc.wav"))
    output = here / f"genres{suffix}"
    for _ in range(2):
        assert run("predict", trained, "--input", "music/disc.flac", "music", "--output", output).code == 0
        rows = {row["path"]: row for row in read_table(output, suffix)}
        assert len(rows) == 3
        titles = [rows[path].get("title") for path in sorted(rows)]
        assert titles == [None, "One", "Two"]


def build_library(here: Path) -> Path:
    """Three genres with two disc images each, of three tracks by two artists; and the same as single files."""
    for number, (genre, frequency) in enumerate(TONES.items()):
        for disc in range(2):
            folder = here / "music" / genre / f"Disc {disc}"
            pieces, tracks = [], []
            for i in range(3):
                name = here / "files" / genre / f"Artist {genre}{disc}{i % 2} - {i}x.wav"
                write_tone(name, frequency, 100 * number + 10 * disc + i, seconds=2, rate=44100)
                pieces.append(soundfile.read(name, dtype="int16")[0])
                tracks.append((f"{i}x", f"Artist {genre}{disc}{i % 2}", 2 * CD * i))
            folder.mkdir(parents=True)
            soundfile.write(folder / "image.flac", np.concatenate(pieces), 44100)
            (folder / "image.cue").write_text(sheet(tracks, name="image.wav"))
    return here / "music"


def test_tracks_of_disc_images_are_recordings(here):
    library = build_library(here)
    data, files = opened(library), opened(here / "files")
    assert len(data.tracks) == len(files.tracks) == 18
    assert (data.protocol.split, data.protocol.leaky) == ("grouped", "no")
    assert set(data.tracks.group) == set(files.tracks.group)
    assert any("18 by tag, 0 unknown" in note for note in data.notes)
    assert data.tracks.checksum.nunique() == 18
    assert data.tracks.duration.tolist() == [2.0] * 18
    order = np.lexsort((data.tracks.track_id, data.tracks.group))
    other = np.lexsort((files.tracks.track_id, files.tracks.group))
    for i, j in zip(order, other, strict=True):
        assert np.array_equal(data.waveforms.crop(int(i), 0, 16000), files.waveforms.crop(int(j), 0, 16000))
    fingerprint = data.fingerprint()
    (library.rename(here / "moved"), (here / "moved").rename(library))
    assert opened(library).fingerprint() == fingerprint
    (here / "music/rock/Disc 0/image.cue").write_text(sheet([("a", "b", 0), ("c", "d", 2 * CD)], name="../image.wav"))
    changed = opened(library)
    assert len(changed.tracks) == 16
    assert any("image.cue: " in note for note in changed.notes)


def test_corrections_of_tracks(run, here):
    library = build_library(here)
    path = next(path for path in opened(library).tracks.path if "rock" in path)
    with (here / "corrections.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "genre"], [path, "jazz"]])
    data = opened(library, "data.corrections=corrections.csv")
    assert data.tracks.set_index("path").target[path] == "jazz"
    assert data.tracks.target.value_counts().to_dict() == {"blues": 6, "jazz": 7, "rock": 5}


def test_the_player_starts_at_the_track(here):
    rows = [{"path": f"{here}/my music/disc #1.wav#t=30.000000,62.500000", "genre": "jazz", "confidence": 0.5}]
    html = render_review(rows, here / "genres.csv", here / "review.html")
    data = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', html, re.DOTALL)[1])
    assert data["files"][0][:2] == [rows[0]["path"], "my%20music/disc%20%231.wav#t=30.000000,62.500000"]


@pytest.fixture
def table(here: Path) -> Path:
    """Labels of the tracks of a 24-bit image."""
    samples = np.random.default_rng(0).integers(-(2**31), 2**31, (9 * RATE, 2), np.int32)
    (here / "music").mkdir()
    image = here / "music" / "disc.wav"
    soundfile.write(image, samples, RATE, subtype="PCM_24")
    (here / "music" / "disc.cue").write_text(
        sheet(
            [("A/B: x", "周杰伦", 0), ("Two", "", 3 * CD + 1), ("A/B: x", "周杰伦", 6 * CD)], name="disc.wav", artist=""
        )
    )
    labels = LabelTable(here / "genres.csv", "run-1", CLASSES)
    discs = Discs()
    with labels.opened():
        for i, path in enumerate(discs.add(image.parent, [image])):
            probability = (0.9, 0.05, 0.05) if i % 2 else (0.05, 0.9, 0.05)
            labels.add(label(path, probability, None), labels.version(path))
        labels.describe({str(path): track.as_row() for path, track in discs.tracks.items()})
    return labels.path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tracks_are_cut_out_without_loss(run, here, table):
    before = contents(here / "music")
    arguments = ["organize", table, "--mode", "copy", "--to", here / "sorted", "--playlists", here / "lists"]
    assert run(*arguments).code == 0
    assert contents(here / "music") == before
    cut = {path.name: path for path in (here / "sorted").rglob("*.flac")}
    assert set(cut) == {"01 - 周杰伦 - A_B_ x.flac", "02 - Two.flac", "03 - 周杰伦 - A_B_ x.flac"}
    image, _ = soundfile.read(here / "music" / "disc.wav", dtype="int32")
    for name, (start, stop) in zip(sorted(cut), ((0, 225 + 1), (225 + 1, 450), (450, 675)), strict=True):
        assert np.array_equal(
            soundfile.read(cut[name], dtype="int32")[0], image[round(start * RATE / CD) : round(stop * RATE / CD)]
        )
        with soundfile.SoundFile(cut[name]) as file:
            assert (file.subtype, file.tracknumber, file.album) == ("PCM_24", str(int(name[:2])), "Disc")
    assert len({path.parent.name for path in cut.values()}) == 2
    after = contents(here / "sorted")
    assert run(*arguments).code == 0
    assert contents(here / "sorted") == after
    assert run("organize", "--undo", "--to", here / "sorted").code == 0
    assert not (here / "sorted").exists()
    assert contents(here / "music") == before


@pytest.mark.parametrize("mode", ["link", "move"])
def test_other_modes_leave_disc_images_alone(run, here, table, mode):
    before = contents(here / "music")
    result = (
        run("organize", table, "--mode", mode, "--to", here / "sorted", "--yes", "--tags")
        if mode == "move"
        else run("organize", table, "--mode", mode, "--to", here / "sorted")
    )
    assert result.code == 0
    assert "skipped: 3 files" in result.out
    assert contents(here / "music") == before


def test_an_interrupted_cut_is_completed(run, here, table, monkeypatch):
    def fail(source, target):
        raise KeyboardInterrupt

    arguments = ["organize", table, "--mode", "copy", "--to", here / "sorted"]
    with monkeypatch.context() as interrupted:
        interrupted.setattr("musicreclass.library.carry_out.rename_new", fail)
        assert run(*arguments).code != 0
    assert run(*arguments).code == 0
    assert len(list((here / "sorted").rglob("*.flac"))) == 3
    assert not list((here / "sorted").rglob(".musicreclass-*.flac"))
    next((here / "sorted").rglob("02*.flac")).write_bytes(b"edited")
    assert run("organize", "--undo", "--to", here / "sorted").code == 1
    assert [path.name[:2] for path in (here / "sorted").rglob("*.flac")] == ["02"]


@needs_browser
def test_the_browser_plays_from_the_start_of_the_track(run, here, table):
    assert run("review", table, "--output", here / "review.html").code == 0
    position = "return new Promise(done => {const a = document.getElementById('audio'); a.onloadeddata = () => done(a.currentTime);"
    with browser(here) as window:
        window.open(here / "review.html")
        window.run(
            "document.getElementById('search').value = 'two'; document.getElementById('search').dispatchEvent(new Event('input'))"
        )
        assert window.run("return document.getElementById('name').textContent") == "02 - Two"
        assert window.run(position + "a.onerror = () => done('error'); a.load()})") == pytest.approx(
            3 + 1 / 75, abs=0.02
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [SMALL, [*SMALL, "data.cache=none"], ["features=fma518", "features.sets=[zcr]", "model=logreg"]]
)
def test_training_on_disc_images(here, overrides):
    library = build_library(here)
    runs = [
        mrc.train(["data=folder", f"data.root={root}", *overrides, f"run_dir={here / name}"])
        for name, root in (("discs", library), ("single", here / "files"))
    ]
    first, second = (run.predictions("valid") for run in runs)
    assert len(first) > 0
    assert set(first.track_id.str.contains("image.flac#t=")) == {True}
    assert set(second.track_id.str.contains("#t=")) == {False}
    labels = mrc.predict(here / "discs", [library], calibrated=False)
    assert len(labels) == 18
    assert labels.title.str.fullmatch("[012]x").all()


def test_rows_of_an_image_that_is_divided_otherwise_are_replaced(run, here, trained):
    write_tone(here / "music" / "disc.flac", 440, 1, seconds=9)
    arguments = ["predict", trained, "--input", "music", "--output", "genres.csv"]
    counts = []
    for tracks in ([], [0, 4], [0, 3, 6]):
        if tracks:
            text = sheet([(f"T{start}", "X", start * CD) for start in tracks], name="disc.wav")
            (here / "music" / "disc.cue").write_text(text)
        assert run(*arguments).code == 0
        counts.append(len(pd.read_csv(here / "genres.csv")))
    assert counts == [1, 2, 3]


def test_a_kill_at_any_change_of_a_cut(here, table):
    base = here / "base"
    base.mkdir()
    (here / "music").rename(base / "music")
    rows = table.read_text().replace(str(here / "music"), str(base / "music"))
    (base / "genres.csv").write_text(rows)
    before = contents(base / "music")

    def work() -> None:
        organize(base / "genres.csv", Options("copy", base / "sorted"))

    changes = number_of_changes(work, base)
    complete = {name: content for name, content in contents(base / "sorted").items() if name.endswith(".flac")}
    assert len(complete) == 3
    for at in range(changes):
        shutil.rmtree(base / "sorted")
        assert interrupted(work, base, at, "kill") in (KILLED, 0)
        assert contents(base / "music") == before
        work()
        after = {name: content for name, content in contents(base / "sorted").items() if name.endswith(".flac")}
        assert after == complete, at
        if at % 3 == 0:
            undo_organize(root=base / "sorted")
            assert not (base / "sorted").exists()
            (base / "sorted").mkdir()
    assert contents(base / "music") == before


def test_files_and_sheets_as_input(here):
    for name in ("A", "B", "alone"):
        write_tone(here / f"{name}.wav", 440, 1, seconds=9)
        (here / f"{name}.wav.CUE").write_text(sheet([("One", "X", 0), ("Two", "Y", 4 * CD)], name=f"{name}.wav"))
    (here / "alone.wav.CUE").write_text("no sheet")
    counts = {"A.wav": 2, "A.wav.CUE": 2, "alone.wav": 1, "": 5}
    for name, count in counts.items():
        paths, notes = find_recordings([here / name])
        assert len(paths) == count
        assert any("alone.wav.CUE: " in note for note in notes)
    with pytest.raises(DataError) as caught:
        find_recordings([here / "alone.wav.CUE"])
    assert caught.value.kind == "no_recordings"


@pytest.mark.parametrize("suffix", [".m4a", ".wv", ".ape"])
def test_an_image_that_ffmpeg_must_decode_is_one_recording(run, here, suffix):
    """Its sheet is named with the reason, also without ffmpeg; copies of the image are whole, and a row of a part is skipped."""
    image = here / "music" / f"disc{suffix}"
    image.parent.mkdir()
    image.write_bytes(b"no audio")
    (here / "music/disc.cue").write_text(sheet([("One", "X", 0), ("Two", "Y", 4 * CD)], name="disc.wav"))
    paths, notes = find_recordings([here / "music"])
    assert paths == [image]
    assert any("disc.cue" in note and suffix in note for note in notes)
    rows = [row(path, "Rock") for path in (image, image.with_name(f"{image.name}#t=0.000000,4.000000"))]
    write_csv(here / "genres.csv", [rows[0], {**rows[1], "size": rows[0]["size"], "modified": rows[0]["modified"]}])
    result = run("organize", "genres.csv", "--mode", "copy", "--to", "out")
    assert result.code == 1, result.err  # a track of the image could not be cut
    assert names(here / "out") == sorted(["Rock/disc.cue", f"Rock/disc{suffix}"])
    assert f"{image.name}#t=" in result.out
    assert "FLAC" in result.out


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "codec"), [(".m4a", "alac"), (".wv", "wavpack")])
def test_an_image_that_ffmpeg_decodes_is_labelled_as_one_recording(run, here, trained, suffix, codec):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed; install it, as by apt install ffmpeg")
    write_tone(here / "disc.wav", 440, 1, seconds=9)
    (here / "music").mkdir()
    command = ["ffmpeg", "-v", "error", "-i", here / "disc.wav", "-c:a", codec, here / "music" / f"disc{suffix}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (here / "music/disc.cue").write_text(sheet([("One", "X", 0), ("Two", "Y", 4 * CD)], name="disc.wav"))
    result = run("predict", trained, "--input", "music", "--output", "genres.csv", "--uncalibrated")
    assert result.code == 0, result.err
    (label_row,) = read_table(here / "genres.csv", ".csv")
    assert (Path(label_row["path"]).name, label_row["duration"], label_row["error"]) == (f"disc{suffix}", 9.0, "")


def test_tracks_of_images_that_are_left_are_counted(run, here, table):
    """Playlists and tags in place, links and moves skip them, and say so."""
    pytest.importorskip("mutagen", reason="mutagen is not installed; run pip install 'musicreclass[tags]'")
    before = contents(here / "music")
    for options in ("--playlists lists", "--tags --yes", "--mode link --to out", "--mode move --to moved --yes"):
        result = run("organize", table, *options.split())
        assert result.code == 0, result.err
        assert "skipped: 3 files" in result.out
        assert result.out.count("--mode copy") == 3
        assert not list(here.rglob("*.m3u8"))
    assert contents(here / "music") == before
