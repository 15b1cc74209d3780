"""The Million Song Dataset: planted HDF5 files with all irregularities, and the real files and labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from musicreclass.data.sources import msd
from musicreclass.data.sources.msd_song import COLUMNS
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.runs.folder import Run
from tests.conftest import only_run

h5py = pytest.importorskip("h5py", reason="pip install h5py")
SONG = np.dtype(
    [
        ("tempo", "<f8"),
        ("loudness", "<f8"),
        ("duration", "<f8"),
        ("key", "<i4"),
        ("mode", "<i4"),
        ("danceability", "<f8"),
    ]
)
ABOUT = np.dtype([("artist_id", "S32"), ("artist_name", "S1024"), ("release_7digitalid", "<i4")])


def track_id(number: int) -> str:
    return f"TRAAA{number % 26 + 65:c}{number:05d}ABCDEFG"


def plant(
    root: Path,
    number: int,
    genre: str,
    segments: int = 40,
    tempo: float = 120,
    analysis: bool = True,
    artist: str | None = None,
) -> str:
    """Write the HDF5 file of a track whose timbre depends on its genre."""
    track, rng = track_id(number), np.random.default_rng(number)
    path = root / "Data" / track[2] / track[3] / track[4] / f"{track}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        about = np.zeros(1, ABOUT)
        about[0] = ((artist or f"AR{number // 2}").encode(), b"Bj\xc3\xb6rk", number // 2 + 1)
        file["metadata/songs"] = about
        if analysis:
            song = np.zeros(1, SONG)
            song[0] = (tempo, -9.5, 200 + number / 8, number % 12, number // 3 % 2, 0)
            file["analysis/songs"] = song
            file["analysis/segments_timbre"] = rng.normal(3 * (genre == "Rap"), 1, (segments, 12))
            file["analysis/segments_pitches"] = rng.uniform(size=(segments, 12))
    return track


@pytest.fixture
def root(here) -> Path:
    """60 labelled tracks of two genres, one without a label, and every irregularity."""
    genres = {plant(here / "MSD", number, genre := ("Rap", "Jazz")[number % 2]): genre for number in range(60)}
    lines = ["# a comment", "", *(f"{track}\t{genre}" for track, genre in genres.items())]
    lines[4] += "\tBlues"
    plant(here / "MSD", 100, "Rap")
    lines += [
        f"{plant(here / 'MSD', 101, 'Rap', analysis=False)}\tRap",
        f"{plant(here / 'MSD', 102, 'Rap', segments=0, tempo=0)}\tRap",
    ]
    damaged = plant(here / "MSD", 103, "Rap")
    path = next((here / "MSD").rglob(f"{damaged}.h5"))
    path.write_bytes(path.read_bytes()[:700])
    lines += [f"{damaged}\tRap", f"{track_id(999)}\tRap"]
    (here / "MSD" / msd.LABEL_FILES[0]).write_text("\n".join(lines) + "\n")
    (here / "MSD" / "Data" / "._TRAAAAA00000ABCDEFG.h5").write_bytes(b"Mac OS X")
    return here / "MSD"


def opened(root: Path, cache: Path, **settings) -> msd.MSDFeatures:
    data = msd.MSDFeatures(str(root), {"protocol": "grouped"}, str(cache), **settings)
    data.setup()
    return data


def test_labelled_tracks_are_a_table(root, here):
    data = opened(root, here / "c")
    assert (len(data.tracks), data.columns) == (61, list(COLUMNS))
    assert data.dropped["without a label"] == 1
    assert (data.dropped["without an analysis"], data.dropped["with an unreadable HDF5 file"]) == (1, 1)
    row = data.x[data.tracks.track_id.tolist().index(track_id(5))]
    assert row[:3].tolist() == [120, -9.5, 200.625]
    assert row[3:16].tolist() == [float(i == 5) for i in range(12)] + [1]
    timbre = np.random.default_rng(5).normal(0, 1, (40, 12))
    np.testing.assert_allclose(row[16:28], timbre.mean(0), rtol=1e-5)
    np.testing.assert_allclose(row[28:40], timbre.std(0), rtol=1e-5)
    np.testing.assert_allclose(row[40], np.cov(timbre[:, 0], timbre[:, 1])[0, 1], rtol=1e-5)
    empty = data.x[data.tracks.track_id.tolist().index(track_id(102))]
    assert np.isnan(empty[0])  # the tempo is unknown, not 0
    assert np.isnan(empty[16:]).all()
    assert data.protocol.leaky == "no"


def test_minority_genres_are_counted(root, here):
    assert any("1 track has a minority genre" in note for note in opened(root, here / "c").notes)
    dropped = opened(root, here / "c", minority="drop")
    assert (len(dropped.tracks), dropped.dropped["with a minority genre"]) == (60, 1)


def test_files_are_read_once_and_an_interrupted_reading_is_resumed(root, here, monkeypatch):
    monkeypatch.setattr(msd, "BLOCK", 10)
    calls = []
    read = msd.read_song

    def interrupted(path):
        calls.append(path)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(msd, "read_song", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(root, here / "c")
    first = opened(root, here / "c")
    assert len(calls) == 25 + 63 - 20
    second = opened(root, here / "c")
    assert len(calls) == 25 + 63 - 20
    assert np.array_equal(first.x, second.x, equal_nan=True)


@pytest.mark.parametrize(("text", "kind"), [
    ("TRX Rap\n", "unreadable"), (f"{track_id(1)}\n", "unreadable"), ("# nothing\n", "empty_file"),
    (f"{track_id(1)}\tRap\n{track_id(1)}\tJazz\n", "duplicate_track"), (f"{track_id(500)}\tRap\n", "no_tracks"),
])  # fmt: skip
def test_labels_that_cannot_be_used(root, here, text, kind):
    (here / "labels.cls").write_text(text)
    with pytest.raises(DataError) as caught:
        opened(root, here / "c", labels=str(here / "labels.cls"))
    assert caught.value.kind == kind


def test_missing_files_are_named(root, here):
    (root / msd.LABEL_FILES[0]).unlink()
    with pytest.raises(DatasetNotFoundError) as caught:
        opened(root, here / "c")
    assert (caught.value.kind, caught.value.key) == ("missing_labels", "data.labels")
    shutil.rmtree(root / "Data")
    (root / msd.LABEL_FILES[0]).write_text(f"{track_id(1)}\tRap\n")
    with pytest.raises(DatasetNotFoundError) as caught:
        opened(root, here / "c")
    assert caught.value.kind == "missing_songs"


def test_a_run_on_planted_songs(root, run, here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_DATA", str(here))
    result = run("train", "data=msd_features", "model=logreg")
    assert result.code == 0, result.err
    metrics = Run.open(only_run(here)).metrics
    assert metrics["valid"]["accuracy"] > 0.9
    assert metrics["protocol"]["leaky"] == "no"


def test_the_real_files_and_labels(real_data, here):
    labels = msd.read_labels(real_data / "MSD" / msd.LABEL_FILES[0])
    assert (len(labels), int(labels.minority.notna().sum()), labels.genre.nunique()) == (133_676, 35_527, 13)
    data = msd.MSDFeatures(str(real_data / "MSD"), {"protocol": "random"}, str(here / "c"))
    data.needs = ()
    data.setup()
    assert data.dropped["without an analysis"] == 1
    assert len(data.tracks) == 3
    assert np.isfinite(data.x).all()
