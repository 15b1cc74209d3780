"""data=csv: recordings and labels from a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from musicreclass.runs.folder import Run
from tests.conftest import only_run

COLUMNS = ["data.audio_column=file", "data.label_column=genre", "data.group_column=artist"]
SMALL = ["model=cnn_small", "data.clip_seconds=0.5", "data.min_seconds=0.5", "trainer.max_epochs=1"]


@pytest.fixture
def listing(library, here) -> Path:
    """A CSV file beside the library, which lists its recordings."""
    files = sorted(library.rglob("*.wav"))
    frame = pd.DataFrame({
        "file": [file.relative_to(library).as_posix() for file in files],
        "genre": [file.relative_to(library).parts[0] for file in files],
        "artist": [file.parent.name for file in files],
        "part": ["train" if "artist 5" not in file.parent.name else "valid" for file in files],
        "year": 1999,
    })  # fmt: skip
    frame.to_csv(library / "songs.csv", index=False)
    return library / "songs.csv"


def test_recordings_and_labels_are_read_from_columns(run, here, listing):
    result = run("train", "data=csv", f"data.path={listing}", *COLUMNS, *SMALL)
    assert result.code == 0, result.err
    finished = Run.open(only_run(here))
    tracks = pd.read_parquet(only_run(here) / "tracks.parquet")
    frame = pd.read_csv(listing)
    assert set(tracks.track_id) == set(frame.file)
    assert dict(zip(tracks.track_id, tracks.target, strict=True)) == dict(zip(frame.file, frame.genre, strict=True))
    assert finished.metrics["protocol"]["split"] == "grouped"
    assert finished.metrics["protocol"]["leaky"] == "no"


def test_a_split_column_and_another_root(run, here, listing):
    moved = listing.rename(here / "songs.csv")
    command = ["prepare", "data=csv", f"data.path={moved}", *COLUMNS, "data.split_column=part", "data.min_seconds=0.5"]
    result = run(*command)
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "no_recordings", "data.root")
    result = run(*command, f"data.root={listing.parent}")
    assert result.code == 0, result.err
    assert "(30 train, 6 valid, 0 test)" in result.out


def test_rows_without_path_or_label_and_missing_files_are_counted(run, here, listing):
    frame = pd.read_csv(listing)
    frame.loc[0, "file"], frame.loc[1, "genre"], frame.loc[2, "file"] = None, None, "gone.wav"
    frame.to_csv(listing, index=False)
    result = run(
        "prepare", "data=csv", f"data.path={listing}", *COLUMNS, "data.min_seconds=0.5", "data.max_bad_fraction=0.5"
    )
    assert result.code == 0, result.err
    assert "33 tracks" in result.out
    assert {"left out: 1 without a path", "left out: 1 without a label"} <= set(result.out.splitlines())
    assert "gone.wav" in result.out


@pytest.mark.parametrize(
    ("setting", "value"),
    [("audio_column", "path"), ("label_column", "label"), ("id_column", "id"), ("group_column", "artits")],
)
def test_a_missing_column_is_named(run, listing, setting, value):
    result = run("prepare", "data=csv", f"data.path={listing}", *COLUMNS, f"data.{setting}={value}")
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "missing_column", f"data.{setting}")


def test_one_file_in_two_rows_is_an_error(run, listing):
    frame = pd.read_csv(listing)
    pd.concat([frame, frame.iloc[:1]]).to_csv(listing, index=False)
    result = run("prepare", "data=csv", f"data.path={listing}", *COLUMNS)
    assert (result.code, result.problems[0].kind) == (2, "duplicate_ids")
    assert (result.problems[0].key, str(listing) in result.err) == ("data.audio_column", True)


@pytest.mark.parametrize(("name", "kind"), [
    ("https://x.org/a.wav", "url"), ("file:///tmp/a.wav", "url"), ("a\0.wav", "not_a_path"),
])  # fmt: skip
def test_what_is_no_path_is_an_error(run, listing, name, kind):
    frame = pd.read_csv(listing)
    frame.loc[3, "file"] = name
    frame.to_csv(listing, index=False)
    result = run("prepare", "data=csv", f"data.path={listing}", *COLUMNS)
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, kind, "data.audio_column")
    assert (result.problems[0].value, "\0" in result.err) == (name, False)


def test_a_tilde_may_begin_a_name(run, listing):
    frame = pd.read_csv(listing)
    frame.loc[3, "file"] = "~nobody/a.wav"
    frame.to_csv(listing, index=False)
    target = listing.parent / "~nobody" / "a.wav"
    target.parent.mkdir()
    (listing.parent / pd.read_csv(listing).file[4]).rename(target)
    frame.drop(index=4).to_csv(listing, index=False)
    result = run("prepare", "data=csv", f"data.path={listing}", *COLUMNS, "data.min_seconds=0.5")
    assert (result.code, "bad" in result.out) == (0, False), result.err


def test_blanks_in_the_header_are_named(run, listing):
    frame = pd.read_csv(listing).rename(columns={"genre": " genre "})
    frame.to_csv(listing, index=False)
    result = run("prepare", "data=csv", f"data.path={listing}", *COLUMNS)
    assert (result.code, result.problems[0].kind, "' genre '" in result.err) == (2, "missing_column", True)


def test_a_row_without_an_id_is_an_error(run, listing):
    frame = pd.read_csv(listing).assign(id=range(36)).astype({"id": object})
    frame.loc[2, "id"] = None
    frame.to_csv(listing, index=False)
    result = run("prepare", "data=csv", f"data.path={listing}", *COLUMNS, "data.id_column=id")
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "missing_ids", "data.id_column")


def test_a_table_of_recordings_names_this_source(run, listing):
    result = run(
        "train", "data=table", f"data.path={listing}", "data.id_column=year", "data.label_column=genre", "model=logreg"
    )
    assert (result.code, result.problems[0].kind) == (2, "names_of_recordings")
    assert result.problems[0].suggestion.startswith(f"data=csv data.path={listing}")
