"""`prepare verify=true`: what is planted is reported, remembered, resumed, and used by training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from musicreclass.data.leaks import NEAR_AUDIO
from musicreclass.data.recordings import COMPARED, NOT_COMPARED
from musicreclass.data.sources.fma_features import TRUNCATED_CLIPS
from musicreclass.data.verification import examined
from musicreclass.data.verification.verify import sha1
from musicreclass.runs.folder import Run
from tests.conftest import Result, only_run, wait_until
from tests.data.sources.test_fma import tracks_frame
from tests.library import SMALL
from tests.sounds import cut, song, write

RATE = 11025
DATA = [
    "data=csv",
    "data.path=songs/songs.csv",
    "data.group_column=artist",
    "data.split_column=split",
    "data.id_column=id",
]
TRAIN = [*DATA, *SMALL, "trainer.max_epochs=1", "data.max_bad_fraction=0.5"]
SPLITS = ("train", "train", "train", "valid", "test", "test")


@pytest.fixture(autouse=True)
def empty_cache(here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))


@pytest.fixture
def songs(here: Path) -> pd.DataFrame:
    """Songs of two genres, each by another artist, with their splits."""
    rows = []
    for i in range(12):
        name, genre = f"s{i:02d}", ("folk", "rock")[i % 2]
        write_song(here / "songs" / f"{name}.wav", song(14, RATE, i))
        rows.append(
            {"id": name, "path": f"{name}.wav", "label": genre, "artist": f"artist {i}", "split": SPLITS[i // 2]}
        )
    return save(pd.DataFrame(rows))


def write_song(path: Path, samples: np.ndarray, **options) -> None:
    path.parent.mkdir(exist_ok=True)
    write(path, samples, RATE, **options)


def save(rows: pd.DataFrame) -> pd.DataFrame:
    rows.to_csv("songs/songs.csv", index=False)
    return rows


def add(rows: pd.DataFrame, name: str, split: str, artist: str | None = None, label: str = "folk") -> pd.DataFrame:
    row = {"id": Path(name).stem, "path": name, "label": label, "artist": artist or f"artist of {name}", "split": split}
    return save(pd.concat([rows, pd.DataFrame([row])], ignore_index=True))


def replica(songs: pd.DataFrame) -> pd.DataFrame:
    """A re-encoded excerpt of 10 s of a training song, shifted by 0.3 s and 3 dB louder, in test."""
    samples = song(14, RATE, 0)[round(0.3 * RATE) : round(10.3 * RATE)] * 10 ** (3 / 20)
    write_song(Path("songs/replica.mp3"), samples)
    return add(songs, "replica.mp3", "test")


def verified(here: Path) -> pd.DataFrame:
    (path,) = here.glob("cache/verification/csv-*/verification.parquet")
    return pd.read_parquet(path).set_index("track_id")


def kinds(result: Result) -> set[tuple]:
    return {(problem.kind, problem.key, problem.value) for problem in result.problems}


def test_intact_songs_have_no_problems(run, here, songs):
    result = run("prepare", *DATA, "verify=true")
    assert (result.code, result.problems) == (0, []), result.err
    table = verified(here)
    assert (table.status == "ok").all()
    assert table.seconds.to_numpy() == pytest.approx(14, abs=0.01)
    assert table.near_group.isna().all()
    assert (table.copy_of.map(len) == 0).all()
    assert table.fingerprint.nunique() == table.checksum.nunique() == 12
    assert str(here / "cache") in result.out or "cache/verification" in result.out
    result = run("train", *TRAIN)
    assert result.code == 0, result.err
    protocol = Run.open(only_run(here)).metrics["protocol"]
    assert protocol["leaky"] == "no"
    assert COMPARED in protocol["why"]
    assert NOT_COMPARED not in protocol["why"]


@pytest.mark.slow
def test_other_data_is_compared_with_the_training_tracks(run, here, songs):
    """After both were verified, `evaluate` names the scored recordings that are near-copies of training tracks."""
    assert run("train", *TRAIN, "run_dir=r").code == 0
    (here / "songs").rename(here / "mine")
    other = [*DATA, "data.split_column=null", "data/split=random"]
    rows = [
        {"id": f"o{i}", "path": f"o{i}.wav", "label": ("folk", "rock")[i % 2], "artist": f"x {i}"} for i in range(6)
    ]
    for i in range(6):
        write_song(here / "songs" / f"o{i}.wav", song(14, RATE, 100 + i))
    replica(pd.DataFrame(rows))
    trained = [*DATA, "data.path=mine/songs.csv"]

    def protocol() -> dict:
        assert run("evaluate", "r", "--split", "all", *other, "data.group_column=null").code == 0
        (record,) = Run.open(here / "r").metrics["elsewhere"].values()
        return record["protocol"]

    assert NOT_COMPARED in protocol()["why"]
    assert run("prepare", *other, "verify=true").code == 0
    assert NOT_COMPARED in protocol()["why"]
    assert run("prepare", *trained, "verify=true").code == 0
    leaks = protocol()
    assert (leaks["leaky"], NEAR_AUDIO in leaks["checked"], NOT_COMPARED in leaks["why"]) == ("yes", True, False)
    assert any("replica ~ s00" in line for line in leaks["why"])


def test_everything_planted_is_reported_and_makes_the_run_leaky(run, here, songs):
    rows = replica(songs)
    write_song(here / "songs/broken.wav", song(14, RATE, 50))
    cut(here / "songs/broken.wav", 0.6)
    rows = add(rows, "broken.wav", "train")
    shutil.copy(here / "songs/s02.wav", here / "songs/twin.wav")
    rows = add(rows, "twin.wav", "valid")
    soundfile.write("songs/same.flac", soundfile.read("songs/s03.wav", dtype="int16")[0], RATE)
    rows = add(rows, "same.flac", "test")
    write_song(here / "songs/another.wav", song(14, RATE, 60))
    add(rows, "another.wav", "test", artist="artist 0")
    result = run("prepare", *DATA, "verify=true")
    assert result.code == 1
    assert kinds(result) == {
        ("bad_file", "songs/broken.wav", "truncated"),
        ("copy_across_splits", "s00", "near"),
        ("copy_across_splits", "s02", "byte"),
        ("copy_across_splits", "s03", "sound"),
        ("artist_across_splits", "artist 0", 2),
    }
    table = verified(here)
    assert table.status.drop("broken").eq("ok").all()
    assert [*table.copy_of["replica"]] == ["s00"]
    assert [*table.copy_kind["s00"]] == ["near"]
    assert table.copy_overlap["s00"][0] == pytest.approx(9.6, abs=0.1)
    assert table.near_group["s00"] == table.near_group["replica"] is not None
    (text,) = here.glob("cache/verification/*/summary.txt")
    assert all(name in text.read_text() for name in ("broken.wav", "replica", "twin", "same", "artist 0"))
    assert run("train", *TRAIN).code == 0
    protocol = Run.open(only_run(here)).metrics["protocol"]
    assert protocol["leaky"] == "yes"
    assert [line for line in protocol["why"] if "replica" in line]


def test_only_a_verification_changes_the_protocol(run, here, songs):
    replica(songs)
    assert run("train", *TRAIN).code == 0
    first = Run.open(only_run(here)).metrics
    assert first["protocol"]["leaky"] == "no"
    assert NOT_COMPARED in first["protocol"]["why"]
    assert run("prepare", *DATA, "verify=true").code == 1
    result = run("train", *TRAIN)
    assert result.code == 0, result.err
    metrics = Run.open(only_run(here)).metrics
    assert {**metrics, "protocol": None} == {**first, "protocol": None}
    assert metrics["protocol"]["leaky"] == "yes"
    assert [line for line in metrics["protocol"]["why"] if "replica" in line and "1 of 5" in line]
    shutil.rmtree(here / "cache")
    assert run("evaluate", only_run(here), "--split", "test").code == 0
    evaluated = Run.open(only_run(here)).metrics
    assert evaluated["protocol"] == metrics["protocol"]
    assert evaluated["test"]["n"] == 5


@pytest.mark.parametrize("split", [pytest.param("random", marks=pytest.mark.slow), "grouped"])
def test_drawn_splits_keep_near_copies_together(run, here, songs, split):
    write_song(here / "songs/first.mp3", song(14, RATE, 1))
    write_song(here / "songs/second.ogg", song(14, RATE, 1)[3000:])
    rows = add(songs, "first.mp3", "train", label="rock")
    add(rows, "second.ogg", "train", label="rock")
    divided = [seed for seed in range(4) if splits_of_copies(here, split, seed) > 1]
    assert divided
    assert run("prepare", *DATA, f"data/split={split}", "verify=true").code == 0
    assert [seed for seed in divided if splits_of_copies(here, split, seed) > 1] == []


def splits_of_copies(here: Path, split: str, seed: int) -> int:
    from musicreclass.config.check import train_settings
    from musicreclass.tasks.open_data import create

    overrides = [*DATA, *SMALL, "data.cache=none", f"data/split={split}", f"data.split.seed={seed}"]
    data = create(train_settings(overrides).data)
    data.needs = ()
    data.setup()
    return data.tracks.split[data.tracks.track_id.isin(["s01", "first", "second"])].nunique()


def test_every_one_of_many_copies_is_flagged(run, here, songs, monkeypatch):
    monkeypatch.setattr("musicreclass.data.verification.verify.MAX_COPIES", 3)
    rows = songs
    for k in range(8):
        shutil.copy(here / "songs/s00.wav", here / f"songs/twin{k}.wav")
        rows = add(rows, f"twin{k}.wav", "train" if k < 7 else "test")
    result = run("prepare", *DATA, "verify=true")
    assert result.code == 1
    assert ("copy_across_splits", "byte") in {(p.kind, p.value) for p in result.problems}
    copies = verified(here).copy_of.map(len)
    assert copies[[f"twin{k}" for k in range(8)]].between(1, 3).all()
    assert copies.s00 == 3


def test_results_are_remembered_by_content(run, here, songs, monkeypatch):
    paths = []
    monkeypatch.setattr(
        examined, "examine", lambda path, original=examined.examine: paths.append(path) or original(path)
    )
    assert run("prepare", *DATA, "verify=true").code == 0
    assert len(paths) == 12
    (here / "songs").rename(here / "moved")
    command = [*DATA, "data.path=moved/songs.csv", "verify=true"]
    assert run("prepare", *command).code == 0
    assert len(paths) == 12
    write_song(here / "moved/s00.wav", song(14, RATE, 70))
    assert run("prepare", *command).code == 0
    assert [path.name for path in paths[12:]] == ["s00.wav"]
    result = run("cache", "cache")
    assert "verification" in result.out
    assert "examined" in result.out


@pytest.mark.slow
def test_a_killed_verification_resumes(run, here, songs, monkeypatch):
    script = (
        "import sys, time; from pathlib import Path; from musicreclass.cli.main import main\n"
        "from musicreclass.data.verification import examined; examined.FLUSH_INTERVAL = 0\n"
        "original = examined.examine\n"
        "def slow(path):\n"
        "    time.sleep(0 if path.name < 's05' else 60)\n"
        "    return original(path)\n"
        "examined.examine = slow\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, "prepare", *DATA, "verify=true"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len([*here.glob("cache/examined/*/*.parquet")]) >= 4)
        os.kill(process.pid, signal.SIGKILL)
    paths = []
    monkeypatch.setattr(
        examined, "examine", lambda path, original=examined.examine: paths.append(path) or original(path)
    )
    assert run("prepare", *DATA, "verify=true").code == 0
    assert {path.stem for path in paths} >= {f"s{i:02d}" for i in range(5, 12)}
    assert len(paths) <= 8
    assert len(verified(here)) == 12


def test_damaged_results_are_computed_again(run, here, songs):
    assert run("prepare", *DATA, "verify=true").code == 0
    for path in here.glob("cache/examined/*/*.parquet"):
        path.write_bytes(b"PAR1")
    table = verified(here)
    assert run("prepare", *DATA, "verify=true").code == 0
    pd.testing.assert_frame_equal(verified(here), table)


def test_features_are_computed_before_the_error(run, here, songs):
    songs.loc[0, "artist"] = songs.artist[11]
    save(songs)
    result = run("prepare", *DATA, "features=fma518", "verify=true", "table=out.csv")
    assert kinds(result) == {("artist_across_splits", "artist 11", 2)}, result.err
    assert (result.code, len(pd.read_csv("out.csv"))) == (1, 12)


def test_tables_are_rejected(run, table):
    result = run("prepare", "data=table", f"data.path={table}", "verify=true")
    assert result.code == 2
    assert [(problem.kind, problem.key) for problem in result.problems] == [("no_recordings", "verify")]


def test_the_published_checksums_and_faults_of_fma_are_compared(run, here):
    truncated, other = TRUNCATED_CLIPS[0], TRUNCATED_CLIPS[1]
    ids = [truncated, other, *range(10, 20)]
    rows = [(number, "training", "small", ("Rock", "Folk")[i % 2], 1000 + i, 500 + i) for i, number in enumerate(ids)]
    (here / "FMA/Misc/fma_metadata").mkdir(parents=True)
    tracks_frame(rows).to_csv("FMA/Misc/fma_metadata/tracks.csv")
    folder = here / "FMA/Data/fma_small"
    (folder / "000").mkdir(parents=True)
    checksums = []
    for number in ids:
        seconds = {truncated: 2, other: 30}.get(number, 3)
        path = write(folder / f"000/{number:06d}.mp3", song(seconds, RATE, number), RATE)
        checksums.append(f"{sha1(path)}  000/{number:06d}.mp3\n")
    (folder / "checksums").write_text("".join(checksums))
    write(folder / "000/000012.mp3", song(3, RATE, 99), RATE)
    data = ["data=fma_audio", "data.subset=small", "data.root=FMA", "data.cache=none", "download.enabled=false"]
    result = run("prepare", *data, "verify=true")
    assert result.code == 1
    assert {(Path(problem.key).name, problem.value) for problem in result.problems} == {
        (f"{truncated:06d}.mp3", "published fault"), ("000012.mp3", "wrong checksum")
    }  # fmt: skip


def test_copies_are_found_across_datasets(run, here, songs):
    (here / "songs").rename(here / "first")
    for k, genre in enumerate(("folk", "rock")):
        for i in range(4):
            (here / "second" / genre / f"artist {i}").mkdir(parents=True)
            write_song(here / "second" / genre / f"artist {i}" / "song.wav", song(6, RATE, 100 + 10 * k + i))
    write_song(here / "second/folk/artist 3/copy.ogg", song(14, RATE, 0))
    parts = ["data=[csv,folder]", "data.parts.csv.path=first/songs.csv", "data.parts.folder.root=second",
             "data.parts.csv.id_column=id", "data.parts.csv.split_column=split"]  # fmt: skip
    run("prepare", *parts, "verify=true")
    (path,) = here.glob("cache/verification/*/verification.parquet")
    table = pd.read_parquet(path).set_index("track_id")
    (copy,) = table.copy_of["csv/s00"]
    assert copy.startswith("folder/")
    assert table.status.eq("ok").all()


@pytest.mark.slow
def test_the_real_excerpts_are_verified(run, here, real_data):
    """The clips of GTZAN and the excerpts cut from them, as two datasets: every pair is recognised."""
    folders = {"train": "GTZAN", "test": "GTZAN_excerpts"}
    rows = [
        {"id": f"{split}-{path.stem}", "path": str(path), "label": path.parent.name, "artist": "", "split": split}
        for split, folder in folders.items()
        for path in sorted((real_data / folder / "Data").rglob("*.wav"))
    ]
    (here / "songs").mkdir()
    save(pd.DataFrame(rows))
    start = time.monotonic()
    result = run("prepare", *DATA, "verify=true", "data.cache=none")
    assert (result.code, time.monotonic() - start < 300) == (1, True)
    table = verified(here)
    assert {problem.kind for problem in result.problems} == {"copy_across_splits"}
    assert len(result.problems) == sum(
        i.replace("train", "test") in table.index for i in table.index[table.index.str.startswith("train")]
    )
    assert json.loads(next(here.glob("cache/verification/*/entry.json")).read_text())["key"]["count"] == len(table)
