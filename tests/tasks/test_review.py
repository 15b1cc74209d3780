"""The review page, operated in a browser; its corrections change a table of labels and what a run is trained on."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import musicreclass as mrc
from musicreclass.data.corrections import read_corrections
from musicreclass.errors import ConfigError, DataError
from musicreclass.library.review import checked_genres, render_review, surprise
from musicreclass.prediction.formats import write_csv
from musicreclass.prediction.output import LabelTable, read_table
from tests.browser import browser, needs_browser
from tests.library import TONES, opened, write_tone
from tests.prediction.test_output import CLASSES, label


def write_table(folder: Path, name: str = "genres.csv") -> Path:
    """Labels of five files: two certain, one uncertain, one unknown, one with an error."""
    table = LabelTable(folder / name, "run-1", CLASSES)
    songs = folder / "music" / "album"
    with table.opened():
        for song, probability, unlike in (
            ("a.wav", (0.1, 0.85, 0.05), None),
            ('b\'s "song" #1 <i>.wav', (0.2, 0.75, 0.05), None),
            ("c 周.wav", (0.45, 0.4, 0.15), "unlike the training tracks"),
            ("d.wav", (0.9, 0.05, 0.05), None),
            ("e.wav", (0.1, 0.7, 0.2), None),
        ):
            write_tone(songs / song, 440, 0)
            table.add(label(songs / song, probability, unlike), table.version(songs / song))
        from musicreclass.prediction.labels import bad_file

        table.add(bad_file(str(songs / "f.wav"), "not audio", 0.0), {})
    return table.path


def page_data(page: Path) -> dict[str, Any]:
    """What the script of a page reads."""
    return json.loads(page.read_text(encoding="utf-8").partition('id="data">')[2].partition("</script>")[0])


def downloaded(file: Path) -> Path:
    """A file that a browser downloads, once it is there."""
    for _ in range(200):
        if file.exists():
            break
        time.sleep(0.05)
    return file


def test_a_label_surprises_if_it_differs_from_its_folder():
    def row(path, genre, confidence=0.8):
        return {"path": path, "genre": genre, "confidence": confidence}

    rows = [row(f"/m/album/{i}.mp3", "jazz") for i in range(4)] + [row("/m/album/x.mp3", "rock", 0.9)]
    rows += [row("/m/rock/y.mp3", "jazz", 0.7), row("/m/other/z.mp3", "rock"), row("/m/album/u.mp3", "unknown")]
    values = surprise(rows)
    assert values == pytest.approx([0, 0, 0, 0, 0.9, 0.7, 0, 0])


def test_the_page_executes_nothing_of_a_name(tmp_path):
    rows = [{"path": "/m/</script><script>alert(1)</script>.mp3", "genre": "<b>", "confidence": 0.5}]
    html = render_review(rows, tmp_path / "<img src=x>.csv", tmp_path / "review.html")
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "<b>" not in html


@needs_browser
def test_the_page_is_operated_by_keys(tmp_path, run):
    table = write_table(tmp_path)
    assert run("review", table, "--output", tmp_path / "pages" / "review.html").code == 0
    with browser(tmp_path) as window:
        window.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))

        def press(*keys):
            for key in keys:
                window.run(
                    f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}}))"
                )

        def text(name):
            return window.run(f"return document.getElementById('{name}').textContent")

        window.open(tmp_path / "pages" / "review.html")
        assert text("summary").startswith("6 files, 1 error; 0 reviewed")
        assert text("name") == "c 周.wav"  # unknown files come first
        duration = "return new Promise(done => {const a = document.getElementById('audio'); a.onloadedmetadata = () => done(a.duration);"
        assert window.run(duration + "a.onerror = () => done('error'); a.load()})") == pytest.approx(1.5, abs=0.01)
        press("Enter")  # the most probable genre
        assert text("name") == "e.wav"
        press("ArrowRight", "2")
        assert text("summary").endswith("2 reviewed, 2 changed")
        press("u")
        assert text("summary").endswith("1 reviewed, 1 changed")
        press("2")
        window.run(
            "document.getElementById('search').value = 'd.wav'; document.getElementById('search').dispatchEvent(new Event('input'))"
        )
        assert text("name") == "d.wav"
        window.open(tmp_path / "pages" / "review.html")  # corrections are kept
        assert text("summary").endswith("2 reviewed, 2 changed")
        window.run("document.getElementById('export').click()")
        exported = downloaded(tmp_path / "genres-corrections.csv")
        assert window.messages() == []
    corrections = read_corrections(exported, "--corrections")
    assert {path.name: genre for path, genre in corrections.items()} == {
        "c 周.wav": "blues",
        'b\'s "song" #1 <i>.wav': "blues",
    }


@needs_browser
def test_earlier_corrections_are_exported_again(tmp_path):
    """Also those of files that the page does not show: a new export may replace the earlier one."""
    rows = [{"path": str(tmp_path / f"{i}.mp3"), "genre": "jazz", "confidence": 0.5, "checked": ""} for i in range(3)]
    rows[0] |= {"checked": "yes", "genre": "rock"}
    checked = {**checked_genres(rows), str(tmp_path / "elsewhere.mp3"): "folk"}
    page = tmp_path / "r.html"
    page.write_text(render_review(rows, tmp_path / "t.csv", page, checked), encoding="utf-8")
    with browser(tmp_path) as window:
        window.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        window.open(page)
        assert window.run("return document.getElementById('summary').textContent").endswith("1 reviewed, 0 changed")
        window.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))")
        window.run("document.getElementById('export').click()")
        corrections = read_corrections(downloaded(tmp_path / "t-corrections.csv"), "--corrections")
        assert window.messages() == []
    assert {path.stem: genre for path, genre in corrections.items()} == {"0": "rock", "1": "jazz", "elsewhere": "folk"}


def test_what_to_label_first_is_a_page_or_a_table(library, here, run):
    """The space is that of a run; checked files are not suggested again, and what was checked trains a model."""
    data = ["data=folder", f"data.root={library}", "features=fma518", "features.sets=[zcr]", "model=logreg"]
    trained = mrc.train([*data, "data.group_by=none", "logger=none"])
    assert run("predict", trained.folder, "--input", library, "--output", "genres.csv").code == 0
    select = ["--select", 5, "--space", trained.folder]
    result = run("review", "genres.csv", "--output", "first.csv", *select)
    assert result.code == 0, result.err
    table = pd.read_csv("first.csv", keep_default_na=False)
    assert table.suggested.tolist() == [1, 2, 3, 4, 5]
    assert {Path(path).parent.name for path in table.path} >= {"jazz", "rock", "album"}
    for _ in range(2):  # a table of suggestions is replaced
        assert run("review", "genres.csv", "--output", "again.csv", *select).code == 0
        assert pd.read_csv("again.csv", keep_default_na=False).equals(table)
    assert run("review", "first.csv", "--output", "first.html").code == 0
    assert run("review", "genres.csv", "--output", "direct.html", *select).code == 0
    for page in ("first.html", "direct.html"):
        assert [file[9] for file in page_data(here / page)["files"]] == [1, 2, 3, 4, 5]

    write_corrections(here / "corrections.csv", {Path(path): "blues" for path in table.path[:3]})
    arguments = ["predict", trained.folder, "--input", library, "--output", "genres.csv"]
    assert run(*arguments, "--corrections", "corrections.csv").code == 0
    assert run("review", "genres.csv", "--output", "next.csv", "--select", 100, "--space", trained.folder).code == 0
    rest = pd.read_csv("next.csv", keep_default_na=False)
    assert len(rest) == 19 - 3
    assert not set(rest.path) & set(table.path[:3])
    assert run("review", "genres.csv", "--output", "next.html", "--select", 4, "--space", trained.folder).code == 0
    page = page_data(here / "next.html")
    assert len(page["files"]) == 4
    assert page["checked"] == dict.fromkeys(table.path[:3], "blues")


def test_a_space_without_stored_features_is_named(library, clip_run, here, run):
    data = ["data=folder", f"data.root={library}", "data.group_by=none", "logger=none"]
    table = mrc.train([*data, "features=fma518", "features.sets=[zcr]", "model=logreg"]).folder
    write_table(here)
    arguments = ["review", "genres.csv", "--output", "r.html", "--select", 3]
    for space, kind in ((clip_run, "no_features"), (table, "no_features"), ("nowhere", "missing_folder")):
        result = run(*arguments, "--space", space)
        assert (result.code, len(result.lines), result.problems[0].kind) == (
            2,
            result.lines and len(result.lines),
            kind,
        )


@needs_browser
def test_the_suggested_order_is_offered_first(tmp_path):
    rows = [{"path": str(tmp_path / f"{i}.mp3"), "genre": "jazz", "confidence": 0.1 * i} for i in range(1, 6)]
    for row, rank in zip(rows, (2, 5, 1, 4, 3), strict=True):
        row["suggested"] = rank
    (tmp_path / "r.html").write_text(render_review(rows, tmp_path / "t.csv", tmp_path / "r.html"), encoding="utf-8")
    with browser(tmp_path) as window:
        window.open(tmp_path / "r.html")
        names = "return [...document.querySelectorAll('#rows td:first-child')].map(cell => cell.textContent)"
        assert window.run("return document.getElementById('order').value") == "suggested"
        assert window.run(names) == ["3.mp3", "1.mp3", "5.mp3", "4.mp3", "2.mp3"]
        assert window.messages() == []


@pytest.mark.slow
@needs_browser
def test_the_page_of_a_hundred_thousand_files_is_usable(tmp_path):
    genres = ["blues", "jazz", "rock", "pop", "folk"]
    rows = [
        {
            "path": f"/music/Artist {i // 40}/Artist {i // 40} - 19{i % 90 + 10} - Album {i // 10}/Artist {i // 40} - Title {i}.flac",
            "genre": genres[i % 5],
            "confidence": 0.3 + i % 997 / 1500,
            "top_predictions": [{"genre": genre, "confidence": 0.3} for genre in genres[:3]],
        }
        for i in range(100_000)
    ]
    page = tmp_path / "r.html"
    page.write_text(render_review(rows, tmp_path / "t.csv", page), encoding="utf-8")
    assert page.stat().st_size < 50 * 2**20
    with browser(tmp_path) as window:
        started = time.monotonic()
        window.open(page)
        assert time.monotonic() - started < 30
        assert window.run("return document.getElementById('summary').textContent").startswith("100000 files")
        for action in (
            "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))",
            "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))",
            "const s = document.getElementById('search'); s.value = 'Title 777'; s.dispatchEvent(new Event('input'))",
        ):
            milliseconds = window.run(
                f"const started = performance.now(); {action}; return performance.now() - started"
            )
            assert milliseconds < 2000
        assert window.messages() == []


def test_wrong_arguments_are_one_line(run, here):
    write_table(here)
    (here / "other.csv").write_text("a,b\n1,2\n")
    for arguments, kind in (
        (["genres.csv", "--output", "other.csv", "--select", 3], "foreign_output"),
        (["genres.csv", "--output", "genres.csv", "--select", 3], "invalid_value"),
        (["genres.csv", "--output", "r.csv"], "invalid_value"),
        (["genres.csv", "--output", "r.html", "--select", 0], "invalid_value"),
        (["genres.csv", "--output", "r.html", "--select", 3, "--seed", -1], "invalid_value"),
        (["genres.csv", "--output", "r.html", "--space", "musicnn"], "invalid_arguments"),
        (["genres.csv", "--output", "r.html", "paths.cache=x"], "invalid_arguments"),
    ):
        result = run("review", *arguments)
        assert (result.code, result.problems[0].kind) == (2, kind)
    (here / "other.csv").write_text("a,b\n1,2\n")
    for arguments, kind in (
        (["none.csv", "--output", "r.html"], "file_not_found"),
        (["other.csv", "--output", "r.html"], "foreign_output"),
        (["genres.csv", "--output", "r.txt"], "invalid_value"),
        (["genres.txt", "--output", "r.html"], "invalid_value"),
    ):
        result = run("review", *arguments)
        assert (result.code, result.problems[0].kind) == (2, kind)


def test_only_a_table_of_suggestions_is_replaced(run, here):
    """Not one of labels, nor one in which a person has checked genres since."""
    table = write_table(here)
    rows = read_table(table, ".csv")
    for name, changes in {"full.csv": {}, "checked.csv": {"suggested": 1, "checked": "yes"}}.items():
        write_csv(here / name, [row | changes for row in rows])
        before = (here / name).read_bytes()
        result = run("review", table, "--select", 1, "--output", name)
        assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "foreign_output", name)
        assert (here / name).read_bytes() == before


def test_a_number_of_any_length_is_no_order(run, here):
    table = write_table(here)
    rows = read_table(table, ".csv")
    for number, order in (("9" * 5000, []), ("7", [7])):
        write_csv(here / "first.csv", [row | {"suggested": number} for row in rows])
        assert run("review", "first.csv", "--output", "r.html").code == 0
        assert all(file[9:] == order for file in page_data(here / "r.html")["files"])


def test_rows_of_an_unfinished_predict_are_reviewed(run, here):
    """Also through a link to the table."""
    table = write_table(here)
    rows = read_table(table, ".csv")
    write_csv(table, rows[:1])
    (here / f".{table.name}.rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (here / "link").mkdir()
    (here / "link/linked.csv").symlink_to(table)
    for name in (table, here / "link/linked.csv"):
        assert run("review", name, "--output", "r.html").code == 0
        assert len(page_data(here / "r.html")["files"]) == len(rows)


@pytest.mark.parametrize(
    "content",
    ["", "path,label\na,b\n", "path,genre\na.wav,\n", "path,genre\n,rock\n"],
    ids=["empty", "column", "genre", "path"],
)
def test_invalid_corrections_are_rejected(tmp_path, content):
    path = tmp_path / "corrections.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_corrections(path, "--corrections")
    assert caught.value.kind == "invalid_corrections"


@pytest.fixture
def library(here):
    """Two genre folders, a folder of an artist, and a song without a folder."""
    for i in range(6):
        write_tone(here / "music" / "jazz" / f"{i}.wav", TONES["jazz"], i, seconds=2.2, rate=16000)
        write_tone(here / "music" / "rock" / f"{i}.wav", TONES["rock"], i + 10, seconds=2.2, rate=16000)
        write_tone(here / "music" / "Nina" / "album" / f"{i}.wav", TONES["blues"], i + 20, seconds=2.2, rate=16000)
    write_tone(here / "music" / "loose.wav", TONES["blues"], 40, seconds=2.2, rate=16000)
    return here / "music"


def write_corrections(path: Path, rows: dict[Path, str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "genre", "predicted"), *((p.absolute(), genre, "x") for p, genre in rows.items())]
        )


def test_training_takes_checked_labels(library, here):
    checked = {library / "Nina/album" / f"{i}.wav": "blues" for i in range(6)}
    checked |= {library / "loose.wav": "blues", library / "jazz/0.wav": "rock", here / "elsewhere.wav": "rock"}
    write_corrections(here / "corrections.csv", checked)
    data = ["data=folder", f"data.root={library}", "data.corrections=corrections.csv", "data.group_by=none"]
    data += ["features=fma518", "features.sets=[zcr]", "model=logreg", "logger=none"]
    run = mrc.train([*data, "run_dir=first"])
    tracks = pd.read_parquet(run.folder / "tracks.parquet").set_index("track_id").target
    assert tracks.value_counts().to_dict() == {"rock": 7, "blues": 7, "jazz": 5}
    assert (tracks["jazz/0.wav"], tracks["loose.wav"]) == ("rock", "blues")
    assert mrc.train([*data, "run_dir=first"]).folder == run.folder
    write_corrections(here / "corrections.csv", {**checked, library / "jazz/0.wav": "jazz"})
    with pytest.raises(Exception, match="run_dir"):  # other labels are other data
        mrc.train([*data, "run_dir=first"])
    only = mrc.train([*data, "data.only_corrected=true", "run_dir=second"])
    assert len(pd.read_parquet(only.folder / "tracks.parquet")) == 8
    with pytest.raises((ConfigError, DataError)):
        mrc.train([*data[:2], "data.only_corrected=true", "model=cnn_small"])


def test_checked_files_in_no_genre_folder_are_not_counted_as_dropped(library, here):
    write_tone(library / "other.wav", TONES["blues"], 41, seconds=2.2, rate=16000)
    checked = {library / "loose.wav": "blues", library / "jazz/0.wav": "rock"}
    write_corrections(here / "corrections.csv", checked)
    text = (here / "corrections.csv").read_text()
    for delimiter in ",;":  # as some spreadsheets save it
        (here / "corrections.csv").write_text(text.replace(",", delimiter))
        data = opened(library, "data.corrections=corrections.csv", "data/split=random")
        assert dict(zip(data.tracks.track_id, data.tracks.target, strict=True))["loose.wav"] == "blues"
        assert data.dropped == {"in no genre folder": 1}


def test_predict_takes_checked_labels(library, here, run):
    trained = mrc.train(
        [
            "data=folder",
            f"data.root={library}",
            "features=fma518",
            "features.sets=[zcr]",
            "model=logreg",
            "data/split=random",
        ]
    )
    write_corrections(here / "corrections.csv", {library / "loose.wav": "soul", library / "jazz/0.wav": "rock"})
    arguments = ["predict", trained.folder, "--input", library, "--output", "genres.csv"]
    result = run(*arguments, "--corrections", "corrections.csv")
    assert result.code == 0, result.err
    table = pd.read_csv("genres.csv", keep_default_na=False).set_index("path")
    assert table.genre[str(library / "loose.wav")] == "soul"
    assert table[table.checked == "yes"].index.tolist() == [str(library / "jazz/0.wav"), str(library / "loose.wav")]
    assert run(*arguments).code == 0  # unchanged files keep what was checked
    assert pd.read_csv("genres.csv", keep_default_na=False).set_index("path").equals(table)
