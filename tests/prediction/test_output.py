"""The table of labels: the same rows in each format, whatever the names, and none is lost."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.errors import DataError, UserError
from musicreclass.prediction import formats
from musicreclass.prediction.formats import FORMATS
from musicreclass.prediction.labels import Decision, TagDecision, bad_file
from musicreclass.prediction.output import LabelTable, read_rows, read_table
from musicreclass.tasks.organize import Options, organize
from musicreclass.tasks.review import review
from tests.organizing.tree import kind_of_error

CLASSES = ["blues", "jazz", "rock"]
DECISION = Decision(CLASSES, top_k=2, threshold=0.5)
names = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=30)


def label(path: Path | str, probability=(0.2, 0.7, 0.1), unlike=None):
    return DECISION.label(str(path), np.array(probability), unlike, 30.0, 0.123)


def table_at(path: Path, run: str = "run-1") -> LabelTable:
    return LabelTable(path, run, CLASSES)


def fill(path: Path, songs: list[Path], run: str = "run-1") -> None:
    table = table_at(path, run)
    with table.opened():
        for song in songs:
            table.add(label(song), table.version(song))


@pytest.fixture
def songs(tmp_path):
    files = [tmp_path / name for name in ("b.wav", "a\n1.wav", "周杰伦 - 晴天.mp3", "A.wav", 'x,"y".wav')]
    for number, file in enumerate(files):
        file.write_bytes(bytes(number + 1))
    return files


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_reads_back_what_it_wrote(tmp_path, songs, suffix):
    path = tmp_path / "out" / f"genres{suffix}"
    fill(path, songs)
    table = table_at(path)
    with table.opened():
        assert list(table.rows) == sorted(map(str, songs))
        assert all(table.is_current(song) for song in songs)
        row = table.rows[str(songs[2])]
        assert (row["genre"], row["confidence"], row["duration"], row["error"]) == ("jazz", 0.7, 30.0, "")
        assert row["top_predictions"] == [{"genre": "jazz", "confidence": 0.7}, {"genre": "blues", "confidence": 0.2}]
        if suffix == ".parquet":
            assert row["probabilities"] == pytest.approx({"blues": 0.2, "jazz": 0.7, "rock": 0.1})
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
@given(name=names, reason=names, error=st.one_of(st.just(""), names))
def test_any_name_and_text_is_kept(tmp_path_factory, suffix, name, reason, error):
    path = tmp_path_factory.mktemp("out") / f"genres{suffix}"
    table = table_at(path)
    with table.opened():
        table.add(
            bad_file(f"/m/{name}", error, 0.1) if error else label(f"/m/{name}", unlike=reason), table.version(path)
        )
    (row,) = rows_as_read(path)
    assert (row["path"], row["error"]) == (f"/m/{name}", error)
    assert error or row["reason"] == reason


def rows_as_read(path: Path) -> list[dict]:
    table = LabelTable(path, "", CLASSES)
    return formats.READERS[table.format](path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_name_that_is_not_utf8_is_kept(tmp_path, suffix):
    path, name = tmp_path / f"genres{suffix}", b"/m/caf\xe9.wav".decode("utf-8", "surrogateescape")
    for _ in range(2):
        fill(path, [Path(name), Path(r"/m/caf\xe9.wav")])
        assert {row["path"] for row in rows_as_read(path)} == {name, r"/m/caf\xe9.wav"}


def test_a_changed_file_another_run_and_an_error_are_labelled_again(tmp_path, songs):
    path = tmp_path / "genres.csv"
    fill(path, songs)
    table = table_at(path)
    with table.opened():
        table.add(bad_file(str(songs[1]), "not audio", 0.1), table.version(songs[1]))
    songs[0].write_bytes(b"changed")
    table, other = table_at(path), table_at(path, "run-2")
    with table.opened():
        assert [table.is_current(song) for song in songs] == [False, False, True, True, True]
    with other.opened():
        assert not any(other.is_current(song) for song in songs)


def test_rows_of_other_files_and_columns_of_the_user_are_kept(tmp_path, songs):
    path = tmp_path / "genres.csv"
    fill(path, songs[:2])
    frame = pd.read_csv(path).assign(mood="calm")
    frame.to_csv(path, index=False)
    fill(path, songs[2:])
    table = table_at(path)
    with table.opened():
        table.add(label(songs[0], (0.9, 0.1, 0.0)), table.version(songs[0]))
    rows = {row["path"]: row for row in csv.DictReader(path.open(newline=""))}
    assert len(rows) == 5
    assert (rows[str(songs[0])]["genre"], rows[str(songs[0])]["mood"]) == ("blues", "calm")
    assert rows[str(songs[3])]["mood"] == ""


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("is_killed", [False, True])
def test_what_a_person_has_checked_stays(tmp_path, songs, suffix, is_killed):
    """Whatever labels the file again: another run, --force, a change of the file, an error, or a process that was killed."""
    path = tmp_path / f"genres{suffix}"
    fill(path, songs)
    table = table_at(path)
    with table.opened():
        table.correct({songs[0]: "soul", songs[1]: "soul", tmp_path / "none.wav": "soul"})
    songs[1].write_bytes(b"another size")
    again, error = table_at(path, "run-2"), bad_file(str(songs[1]), "not audio", 0.1)
    manager = again.opened()
    manager.__enter__()
    again.add(label(songs[0], unlike="is unlike the training tracks"), again.version(songs[0]))
    again.add(error, again.version(songs[1]))
    again.add(label(songs[2]), again.version(songs[2]))
    if is_killed:
        table, journal = path.read_bytes(), again.journal_path.read_bytes()
        manager.__exit__(None, None, None)
        path.write_bytes(table)
        again.journal_path.write_bytes(journal)
        rows = {row["path"]: row for row in read_rows(path)}
        assert [rows[str(song)]["checked"] for song in songs[:3]] == ["yes", "yes", ""]
        manager = table_at(path, "run-2").opened()
        manager.__enter__()
    manager.__exit__(None, None, None)
    rows = {row["path"]: row for row in read_table(path, suffix)}
    genres = [(rows[str(song)]["genre"], rows[str(song)]["checked"] or "") for song in songs[:4]]
    assert genres == [("soul", "yes"), ("soul", "yes"), ("jazz", ""), ("jazz", "")]
    assert [rows[str(song)]["reason"] for song in songs[:2]] == ["", ""]
    assert (rows[str(songs[0])]["run"], rows[str(songs[1])]["error"]) == ("run-2", "not audio")


@pytest.mark.parametrize("suffix", FORMATS)
def test_tags_of_another_run_go_and_a_column_of_the_user_stays(tmp_path, songs, suffix):
    path, tags = tmp_path / f"genres{suffix}", TagDecision(CLASSES, top_k=1, thresholds=(0.1, 0.1, 0.5))
    with (table := table_at(path)).opened():
        for song, probability in zip(songs[:3], ((0.2, 0.7, 0.1), (0.05, 0.7, 0.1), (0.01, 0.02, 0.1)), strict=True):
            table.add(tags.label(str(song), np.array(probability), None, 30.0, 0.1), table.version(song))
        table.add(label(songs[3]), table.version(songs[3]))
    rows = read_table(path, suffix)
    assert [row.get("tags") or "" for row in rows if row["path"] in map(str, songs[:3])] != [""] * 3
    for row in rows:
        if row["path"] == str(songs[3]):
            row["tags"] = "calm|guitar"
    formats.WRITERS[suffix](path, rows)
    fill(path, songs, "run-2")
    assert {row["path"]: row.get("tags") or "" for row in read_table(path, suffix)} == {
        str(song): "calm|guitar" if song == songs[3] else "" for song in songs
    }


def test_a_spreadsheet_may_save_the_table(tmp_path, songs):
    """With a byte order mark, and numbers written as decimals."""
    path = tmp_path / "genres.csv"
    fill(path, songs)
    frame = pd.read_csv(path, keep_default_na=False)
    frame["size"] = frame["size"].astype(float)
    frame.to_csv(path, index=False, encoding="utf-8-sig")
    table = table_at(path)
    with table.opened():
        assert all(table.is_current(song) for song in songs)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["genre_mine", "confidence_x", "genre_7", "genre_", "mood"])
def test_a_column_of_any_name_may_be_added(tmp_path, songs, suffix, name):
    path = tmp_path / f"genres{suffix}"
    fill(path, songs[:2])
    if suffix == ".jsonl":
        rows = [{**json.loads(line), name: "mine"} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".csv":
        pd.read_csv(path).assign(**{name: "mine"}).to_csv(path, index=False)
    else:
        pd.read_parquet(path).assign(**{name: "mine"}).to_parquet(path)
    fill(path, songs[1:3])
    rows = {row["path"]: row for row in read_rows(path)}
    assert [rows[str(song)].get(name) or "" for song in songs[:3]] == ["mine", "mine", ""]
    assert [len(row["top_predictions"]) for row in rows.values()] == [2, 2, 2]


def test_parquet_keeps_the_order_and_types_of_columns(tmp_path, songs):
    path = tmp_path / "genres.parquet"
    fill(path, songs[:2])
    first = pd.read_parquet(path)
    first.assign(rating=[3, 4], listened=[True, False], tags=[["a", "b"], ["c"]]).to_parquet(path)
    fill(path, songs[:2])
    second = pd.read_parquet(path)
    assert [name for name in second if name in first] == list(first)
    assert second.rating.tolist() == [3, 4]
    assert second.listened.tolist() == [True, False]
    assert [list(tags) for tags in second.tags] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_link_is_followed(tmp_path, songs, suffix):
    path, target = tmp_path / f"genres{suffix}", tmp_path / "elsewhere" / "table"
    target.parent.mkdir()
    path.symlink_to(target)
    fill(path, songs[:1])
    fill(path, songs[1:2])
    assert path.is_symlink()
    assert len(formats.READERS[suffix](target)) == 2
    assert [p.name for p in target.parent.iterdir()] == ["table"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_of_a_killed_process_are_read_from_the_journal(tmp_path, songs, suffix):
    path = tmp_path / f"genres{suffix}"
    fill(path, songs[:1])
    table = table_at(path)
    manager = table.opened()
    manager.__enter__()
    table.add(label(songs[1]), table.version(songs[1]))
    table.add(label(songs[2]), table.version(songs[2]))
    journal = tmp_path / f".genres{suffix}.rows"
    content = journal.read_bytes()
    manager.__exit__(None, None, None)
    fill(path, songs[:1])
    path.unlink()
    fill(path, songs[:1])
    journal.write_bytes(content[:-20])  # the last line was cut short
    (tmp_path / f".genres{suffix}.4711.part").write_bytes(b"half")
    again = table_at(path)
    with again.opened():
        assert [again.is_current(song) for song in songs[:3]] == [True, True, False]
    assert {p.name for p in tmp_path.iterdir() if "genres" in p.name} == {path.name}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("genres.csv", b"a,b\n1,2\n"),
        ("genres.csv", b"\x00\xff\xfe"),
        ("genres.csv", b"path;genre;confidence;size;modified;run\r\n/m/a.wav;jazz;0,9;5;seven;run-1\r\n"),
        ("genres.csv", b"path;genre;size;modified;run\r\n/m/a.wav;jazz;5;7;run-1\r\n"),
        ("genres.csv", b"path,genre,confidence,size,modified,run\n/m/a.wav,jazz,0.9,5,7,run-1,more\n"),
        ("genres.csv", b"path,genre,confidence,size,modified,run\n/m/a.wav,jazz,0.9,inf,7,run-1\n"),
        ("genres.jsonl", b'{"path": 5, "genre": "a", "confidence": 1, "size": 1, "modified": 1, "run": "r"}\n'),
        ("genres.jsonl", b'{"path": "a", "genre": [1], "confidence": 1, "size": 1, "modified": 1, "run": "r"}\n'),
        ("genres.jsonl", b'{"path": "\\ud800", "genre": "a", "confidence": 1, "size": 1, "modified": 1, "run": "r"}\n'),
        ("genres.jsonl", b'{"path": "a", "genre": "\\ud800", "confidence": 1, "size": 1, "modified": 1, "run": "r"}\n'),
        (
            "genres.jsonl",
            b'{"path": "a", "genre": "a", "confidence": 1, "size": 1, "modified": 1, "run": "r", "\\udc00": 1}\n',
        ),
        ("genres.jsonl", b'{"path": "a"'),
        ("genres.jsonl", b"[1, 2]\n"),
        ("genres.jsonl", b"{}\n"),
        ("genres.parquet", b"PAR1"),
    ],
)
def test_a_file_of_another_kind_is_not_replaced(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught, table_at(path).opened():
        pass
    assert caught.value.kind == "foreign_output"
    assert path.read_bytes() == content


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_replaced(tmp_path, suffix, make):
    path = tmp_path / f"genres{suffix}"
    make(path)
    with pytest.raises(DataError) as caught, table_at(path).opened():
        pass
    assert caught.value.kind == "foreign_output"


def test_another_suffix_is_rejected(tmp_path):
    with pytest.raises(UserError) as caught:
        table_at(tmp_path / "genres.xlsx")
    assert caught.value.key == "output"


def test_a_full_disk_is_one_line_and_loses_no_row(tmp_path, songs, monkeypatch):
    path = tmp_path / "genres.csv"
    fill(path, songs[:1])
    before = path.read_bytes()
    table = table_at(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    opened = table.opened()
    opened.__enter__()
    table.add(label(songs[1]), table.version(songs[1]))
    monkeypatch.setitem(formats.WRITERS, ".csv", full)
    with pytest.raises(DataError) as caught:
        opened.__exit__(None, None, None)
    assert caught.value.kind == "no_space"
    assert path.read_bytes() == before
    monkeypatch.undo()
    fill(path, [])
    assert {row["path"] for row in read_table(path, path.suffix)} == {str(songs[0]), str(songs[1])}


def test_lines_of_json_have_the_documented_fields(tmp_path, songs):
    path = tmp_path / "genres.jsonl"
    fill(path, songs[:1])
    (line,) = path.read_text().splitlines()
    row = json.loads(line)
    assert list(row)[:9] == [
        "path", "genre", "confidence", "top_predictions", "checked", "reason", "duration", "processing_time", "error",
    ]  # fmt: skip


def test_a_label_abstains_below_the_threshold_and_where_the_recording_is_unlike():
    assert label("x", (0.4, 0.35, 0.25)).genre == "unknown"
    assert label("x", (0.4, 0.35, 0.25)).reason.startswith("confidence below 0.5")
    assert label("x", unlike="silent").genre == "unknown"
    assert label("x", unlike="silent").top[0] == ("jazz", 0.7)


def test_a_table_that_a_spreadsheet_has_saved(tmp_path):
    """With a byte order mark, semicolons, decimal commas, other columns and order, and the time in six digits."""
    songs = [tmp_path / f"{i}, x;y.wav" for i in range(2)]
    for song in songs:
        song.write_bytes(b"x")
    path = tmp_path / "genres.csv"
    with (table := table_at(path)).opened():
        for song in songs:
            table.add(label(song, (0.9, 0.05, 0.05), None), table.version(song))
    expected = read_table(path, ".csv")
    for delimiter in ",;\t":
        lines = list(csv.DictReader(path.open()))
        for line in lines:
            line |= {"modified": f"{int(line['modified']):.5E}", "mine": "1,5"}
            line |= {k: v.replace(".", ",") for k, v in line.items() if "confidence" in k or k == "modified"}
        saved = tmp_path / "saved.csv"
        with saved.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, sorted(lines[0], reverse=True), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(lines)
        rows = read_table(saved, ".csv")
        assert [row.pop("mine") for row in rows] == ["1,5", "1,5"]
        assert rows == expected
        os.utime(songs[0], (1e9, 1e9))  # another file
        assert read_table(saved, ".csv")[0]["modified"] != 10**12
        os.utime(songs[0], ns=(10**18, expected[0]["modified"] * 10**6))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_table_is_read_or_is_an_error_of_the_user(tmp_path, songs, suffix):
    """Parts that are removed, repeated or replaced raise nothing else, in organize and review too."""
    path, random = tmp_path / f"genres{suffix}", np.random.default_rng(0)
    fill(path, songs)
    content = path.read_bytes()
    pieces = [
        b",",
        b";",
        b'"',
        b"\n",
        b"\0",
        b"\xff",
        b"1e999",
        b"nan",
        b"null",
        b"[]",
        b"{}",
        b"[" * 9999,
        b"#t=0.000000,9.000000",
    ]
    for _ in range(60):
        at, end = random.integers(len(content), size=2)
        piece = pieces[random.integers(len(pieces))] if random.random() < 0.6 else content[at:end][:40]
        path.write_bytes(content[:at] + piece + content[at + random.integers(30) :])
        kind_of_error(lambda: organize(path, Options("link", tmp_path / "out", playlists=tmp_path / "out" / "lists")))
        kind_of_error(lambda: review(path, tmp_path / "review.html"))
