"""What analyze shows of planted datasets, in analysis.json, on the terminal and on the page in a browser."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import musicreclass as mrc
from musicreclass.analysis.counts import balance, count_classes, describe_durations
from musicreclass.analysis.figures import is_figure
from musicreclass.analysis.formats import cramers_v, properties_of
from musicreclass.config.check import compose
from musicreclass.data.tracks import make_tracks
from tests.browser import browser, needs_browser
from tests.conftest import make_frame
from tests.library import RATE, TONES, write_tone

MARKUP = "<img src=x onerror=\"document.title='hacked'\">&amp;"
FORMATS = {"blues": (".flac", {"subtype": "PCM_16"}), "jazz": (".flac", {"subtype": "PCM_24"}), "rock": (".wav", {})}
SMALL = [f"data.sample_rate={RATE}", "data.min_seconds=0.5", "example_seconds=1", "tracks_per_class=3"]
COUNTS = {"rock": {"train": 60, "valid": 10, "test": 10}, "jazz": {"train": 20, "valid": 5, "test": 5},
          "blues": {"train": 12, "valid": 5, "test": 5}}  # fmt: skip


def make_table(path: Path, **columns: Any) -> list[str]:
    """A table with `COUNTS` tracks, a constant column, a correlated pair, a copied column and a mostly missing one.

    Each artist is in one split, but for `both sides`, who is in train and test. Two rows have no label.

    Args:
        path: of the CSV file.
        columns: further columns, as functions of the frame.

    Returns:
        the overrides that read it.
    """
    rng = np.random.default_rng(0)
    rows = [(name, split) for name, sizes in COUNTS.items() for split, n in sizes.items() for _ in range(n)]
    frame = pd.DataFrame(rows, columns=["label", "split"]).sample(frac=1, random_state=0, ignore_index=True)
    frame.insert(0, "track_id", [f"t{i:03d}" for i in range(len(frame))])
    frame["artist"] = [f"{split} {i % 7}" for i, split in enumerate(frame.split)]
    for split in ("train", "test"):
        frame.loc[frame.index[frame.split == split][:3], "artist"] = "both sides"
    x = pd.DataFrame(rng.normal(size=(len(frame), 8)), columns=[f"f{i}" for i in range(8)])
    frame = pd.concat([frame, x], axis=1)
    frame["flat"] = 3.5
    frame["close"] = frame.f1 + 0.05 * rng.normal(size=len(frame))
    frame["twin"] = 2 * frame.f2 - 1
    frame["empty"] = np.where(rng.random(len(frame)) < 0.8, np.nan, frame.f3**2)
    frame.loc[frame.index[frame.split == "test"], "f4"] = 1e6 * rng.normal(size=(frame.split == "test").sum())
    for name, column in columns.items():
        frame[name] = column(frame)
    unlabelled = frame.iloc[:2].assign(track_id=["u0", "u1"], label=None, f1=[9.0, 8.0])
    pd.concat([frame, unlabelled]).to_csv(path, index=False)
    return ["data=table", f"data.path={path}", "data.split_column=split", "data.group_column=artist"]


class Elements(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "analysis.json").read_text(encoding="utf-8"))


def figures_in(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "figures").iterdir())


def overrides_of(summary: dict[str, Any]) -> list[str]:
    return [suggestion["override"] for suggestion in summary["suggestions"]]


def test_a_planted_table(run, here):
    result = run("analyze", *make_table(here / "t.csv"))
    assert result.code == 0, result.err
    folder = here / "outputs/analysis/table"
    summary = summary_of(folder)
    assert summary["tracks"] == {"train": 92, "valid": 20, "test": 20, "total": 132}
    assert [entry["name"] for entry in summary["classes"]] == ["rock", "jazz", "blues"]
    assert summary["classes"][0] == {"name": "rock", "train": 60, "valid": 10, "test": 10, "total": 80}
    p = np.array([60, 20, 12]) / 92
    assert summary["balance"] == pytest.approx(
        {"ratio": 5, "effective_classes": np.exp(-(p * np.log(p)).sum()), "classes": 3}
    )
    assert summary["left_out"] == {"without a label": 2}
    assert summary["protocol"]["leaky"] == "yes"
    assert summary["refusal"] is None
    columns = summary["columns"]
    assert (columns["rows"], columns["columns"]) == (112, 12)
    assert columns["constant"] == ["flat"]
    assert {tuple(pair["columns"]): round(abs(pair["r"]), 2) for pair in columns["correlated"]} == {
        ("f2", "twin"): 1,
        ("f1", "close"): 1,
    }
    assert columns["correlated_pairs"] == 2
    assert [entry["column"] for entry in columns["missing"]] == ["empty"]
    assert 0.7 < columns["missing"][0]["fraction"] < 0.9
    assert overrides_of(summary) == [
        "data/split=grouped", "'data.ignore_columns=[\"flat\",\"empty\",\"twin\"]'", "class_weight=balanced",
    ]  # fmt: skip
    assert figures_in(folder) == ["class_counts.pdf", "class_counts.png", "projection.pdf", "projection.png"]
    assert all(file.read_bytes().startswith(b"%PDF") for file in (folder / "figures").glob("*.pdf"))
    assert all(override in result.out for override in overrides_of(summary))
    assert max(map(len, result.out.splitlines())) <= 80
    ignore = overrides_of(summary)[1].strip("'")
    again = run("analyze", *make_table(here / "t.csv"), "data/split=grouped", ignore)
    assert again.code == 0, again.err
    assert overrides_of(summary_of(folder)) == ["class_weight=balanced"]
    assert summary_of(folder)["protocol"]["leaky"] == "no"


def test_training_accepts_every_suggestion(run, here, recordings_page):
    table = make_table(here / "t.csv", code=lambda frame: frame.label.map({"rock": 3, "jazz": 1, "blues": 2}))
    assert run("analyze", *table).code == 0
    recordings = [
        "data=csv",
        f"data.path={recordings_page.parent / 'list.csv'}",
        "data.group_column=artist",
        "model=cnn_small",
    ]
    for arguments, folder in ((table, here / "outputs/analysis/table"), (recordings, recordings_page)):
        summary = summary_of(folder)
        overrides = [text for override in overrides_of(summary) for text in shlex.split(override)]
        assert len(overrides) > 1
        compose("train", [*arguments, *overrides])
    extra = ["data.sampler=balanced", "data.min_class_tracks=10", "data.clip_seconds=1.3", "model.sample_rate=8000"]
    compose("train", [*recordings, *extra, "class_weight=balanced"])


def test_test_features_do_not_change_the_description(run, here):
    arguments = make_table(here / "t.csv")
    run("analyze", *arguments, "output=first")
    assert len(figures_in(here / "first")) == 4
    frame = pd.read_csv(here / "t.csv")
    rows = (frame.split == "test") & frame.label.notna()
    frame.loc[rows, ["f5", "flat", "close"]] = np.random.default_rng(1).normal(size=(rows.sum(), 3))
    frame.to_csv(here / "t.csv", index=False)
    run("analyze", *arguments, "output=second")
    first, second = (summary_of(here / name) for name in ("first", "second"))
    assert first == second
    for name in figures_in(here / "first"):
        assert (here / "first/figures" / name).read_bytes() == (here / "second/figures" / name).read_bytes()


def test_a_column_that_tells_the_class_is_shown_although_training_refuses_it(run, here):
    code = {"rock": 3, "jazz": 1, "blues": 2}
    arguments = make_table(here / "t.csv", code=lambda frame: frame.label.map(code))
    result = run("analyze", *arguments)
    assert result.code == 0, result.err
    summary = summary_of(here / "outputs/analysis/table")
    assert (summary["refusal"]["kind"], summary["refusal"]["key"]) == ("suspicious_columns", "data.ignore_columns")
    assert [(s["column"], s["kind"], s["certain"]) for s in summary["columns"]["suspicious"]] == [
        ("code", "class codes", True)
    ]
    assert summary["columns"]["alone"][0] == {"column": "code", "balanced_accuracy": 1}
    assert '"code"' in overrides_of(summary)[1]
    kept_by_user = run("analyze", *arguments, "data.keep_columns=[code]")
    assert kept_by_user.code == 0, kept_by_user.err
    summary = summary_of(here / "outputs/analysis/table")
    assert summary["refusal"] is None
    assert '"code"' not in overrides_of(summary)[1]


def test_features_of_test_alone_are_not_described(run, here):
    arguments = make_table(here / "t.csv", only=lambda frame: "test")
    assert run("analyze", *arguments, "data.split_column=only", "data.ignore_columns=[split]").code == 0
    summary = summary_of(here / "outputs/analysis/table")
    assert summary["refusal"]["kind"] == "empty_split"
    assert summary["balance"]["ratio"] is None
    columns = summary["columns"]
    assert (columns["rows"], columns["constant"], columns["missing"], columns["alone"]) == (0, [], [], [])
    assert figures_in(here / "outputs/analysis/table") == ["class_counts.pdf", "class_counts.png"]


def test_figures_that_are_not_drawn_again_are_deleted(run, here):
    assert run("analyze", *make_table(here / "t.csv"), "output=a").code == 0
    assert "projection.pdf" in figures_in(here / "a")
    arguments = make_table(here / "t.csv", only=lambda frame: "test")
    assert run("analyze", *arguments, "data.split_column=only", "data.ignore_columns=[split]", "output=a").code == 0
    assert figures_in(here / "a") == ["class_counts.pdf", "class_counts.png"]


def make_recordings(folder: Path) -> list[str]:
    """Recordings of three genres listed in a CSV file; a genre's files have one format, and a blues file is no audio.

    Returns:
        the overrides that read it.
    """
    rows = []
    for k, (genre, tone) in enumerate(TONES.items()):
        for i in range(12):
            ending, options = FORMATS[genre]
            name = MARKUP.replace("/", "_") + genre if i == 1 else f"{genre} {i}"
            path = folder / "music" / f"{name}{ending}"
            write_tone(path, tone, 100 * k + i, 0.8 + 0.05 * i, **options)
            split = ("train", "train", "valid", "test")[i % 4] if i < 8 else "train"
            rows.append((path, MARKUP if genre == "rock" else genre, f"{genre} {i}", split))
    rows[1] = (*rows[1][:2], rows[3][2], rows[1][3])  # an artist of test in train
    Path(rows[0][0]).write_bytes(b"no audio" * 9)
    frame = pd.DataFrame(rows, columns=["path", "label", "artist", "split"])
    frame.loc[20, "label"] = None
    frame.to_csv(folder / "list.csv", index=False)
    return ["data=csv", f"data.path={folder / 'list.csv'}", "data.split_column=split", "data.group_column=artist",
            "data.max_bad_fraction=0.01", "data.clip_seconds=0.75", *SMALL]  # fmt: skip


@pytest.fixture(scope="module")
def recordings_page(tmp_path_factory) -> Path:
    """The folder of an analysis of planted recordings."""
    folder = tmp_path_factory.mktemp("recordings")
    summary = mrc.analyze([*make_recordings(folder), f"output={folder / 'analysis'}"])
    assert summary["folder"] == folder / "analysis"
    return folder / "analysis"


def test_planted_recordings(recordings_page):
    summary = summary_of(recordings_page)
    assert summary["tracks"]["total"] == 34
    assert summary["left_out"] == {"without a label": 1, "with a bad file: not audio": 1}
    assert [Path(path).name for path in summary["bad_files"]] == ["blues 0.flac"]
    assert pd.read_csv(recordings_page / "bad_files.csv").reason.tolist() == ["not audio"]
    assert summary["refusal"]["kind"] == "too_many_bad_files"
    assert summary["protocol"]["leaky"] == "yes"
    assert "format tells the genre" in summary["protocol"]["cautions"]
    formats = summary["formats"]
    read = {entry["name"]: entry["train"] + entry["valid"] for entry in summary["classes"]}
    assert formats["per_class"]["bit depth"] == {
        name: {"24" if name == "jazz" else "16": read[name]} for name in (MARKUP, "blues", "jazz")
    }
    assert formats["per_class"]["codec"]["jazz"] == {"FLAC PCM_24": read["jazz"]}
    assert formats["tells_genre"]
    assert next(iter(formats["association"])) == "codec"
    assert formats["association"]["codec"]["balanced_accuracy"] == 1
    assert formats["association"]["codec"]["cramers_v"] > 0.9
    durations = summary["durations"]
    assert durations["max"] == pytest.approx(1.35)
    assert durations["min"] == pytest.approx(0.8)
    assert set(summary["spectrograms"]["examples"]) == set(read)
    assert set(summary["spectrograms"]["tracks"].values()) == {3}
    assert overrides_of(summary) == ["data.max_bad_fraction=0.05", "data/split=grouped"]


def test_mean_spectra_have_the_frequency_of_the_tones(recordings_page):
    from musicreclass.analysis.spectrograms import compute_spectra
    from musicreclass.data.recordings import AudioData
    from musicreclass.tasks.open_data import create
    from tests.conftest import settings_for

    settings = settings_for("data=csv", f"data.path={recordings_page.parent / 'list.csv'}", "data.split_column=split",
                            f"data.sample_rate={RATE}", "data.min_seconds=0.5", "model=cnn_small", f"model.sample_rate={RATE}")  # fmt: skip
    data = create(settings.data)
    assert isinstance(data, AudioData)
    data.setup()
    spectra = compute_spectra(data, data.classes, 3, 1.0, seed=0)
    assert spectra is not None
    peaks = {name: spectra.frequencies[mean.mean(1).argmax()] for name, mean in spectra.means.items()}
    expected = {MARKUP if name == "rock" else name: tone for name, tone in TONES.items()}
    assert peaks == {name: pytest.approx(tone, rel=0.15) for name, tone in expected.items()}


def test_the_page_is_self_contained_and_names_are_escaped(recordings_page):
    text = (recordings_page / "report.html").read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(text)
    assert not {"script", "iframe", "object"} & set(elements.tags)
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert "&lt;img src=x onerror=" in text
    assert not re.search(r"@import|url\(|https?://|file://", text)
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert len(text) < 10e6


@needs_browser
def test_recordings_in_a_browser(recordings_page, tmp_path):
    with browser(tmp_path) as window:
        for width, dark in ((1280, False), (390, True)):
            window.emulate(width, dark=dark)
            window.open(recordings_page / "report.html")
            assert window.messages() == []
            assert window.run("return document.title") == "Analysis of csv"
            assert window.run("return document.documentElement.scrollWidth") <= width
            images = "[...document.images].every(image => image.complete && image.naturalWidth > 100)"
            assert window.run(f"return document.images.length > 4 && {images}")
        cells = window.run(
            "return [...document.querySelectorAll('.genres tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
        )
        assert {row[0]: row[2:] for row in cells}["jazz"] == ["7", "2", "2", "11"]
        assert MARKUP in {row[0] for row in cells}
        assert window.run("return document.querySelector('.bad').innerText") == "leaky"
        assert "codec" in window.run("return document.querySelector('#formats table').innerText")
        codes = window.run("return [...document.querySelectorAll('#suggestions code')].map(code => code.innerText)")
        assert codes == overrides_of(summary_of(recordings_page))
        window.run("window.loaded = Promise.all([...document.querySelectorAll('audio')].map("
                   "a => new Promise(r => { if (a.duration) r(); a.onloadedmetadata = r; }))); return 0")  # fmt: skip
        lengths = window.run(
            "return window.loaded.then(() => [...document.querySelectorAll('audio')].map(a => a.duration))"
        )
        assert len(lengths) == 3
        assert all(0.7 < length < 1.2 for length in lengths)


@needs_browser
def test_a_table_in_a_browser(run, here, tmp_path):
    code = {"rock": 3, "jazz": 1, "blues": 2}
    assert (
        run("analyze", *make_table(here / "t.csv", code=lambda frame: frame.label.map(code)), "output=page").code == 0
    )
    with browser(tmp_path) as window:
        window.open(here / "page" / "report.html")
        numbers = window.run("return [...document.querySelectorAll('.numbers b')].map(b => b.innerText)")
        assert numbers[:3] == ["132", "3", "5"]
        text = window.run("return document.querySelector('#features').innerText")
        assert all(name in text for name in ("flat", "close", "twin", "empty", "code"))
        alert = window.run("return document.querySelector('.alert').innerText")
        assert "data.ignore_columns" in alert


def test_features_of_recordings(run, here):
    for genre, tone in TONES.items():
        for i in range(6):
            write_tone(here / "lib" / genre / f"{genre} {i}" / "song.wav", tone, i, seconds=2.2, rate=16000)
    result = run("analyze", "data=folder", "data.root=lib", "features=fma518", "features.sets=[mfcc]", *SMALL[1:])
    assert result.code == 0, result.err
    summary = summary_of(here / "outputs/analysis/folder-fma518")
    assert summary["columns"]["columns"] == 140
    assert summary["formats"]["per_class"]["channels"] == {name: {"1": 5} for name in TONES}
    assert summary["protocol"]["leaky"] == "no"
    assert len(summary["spectrograms"]["examples"]) == 3
    assert not any(override.startswith(("data.sampler", "data.ignore_columns")) for override in overrides_of(summary))


def test_an_earlier_analysis_is_replaced(run, here):
    arguments = [*make_table(here / "t.csv"), "output=out"]
    assert run("analyze", *arguments).code == 0
    (here / "out/figures/example_99.png").write_bytes(b"old")
    (here / "out/figures/mine.png").write_bytes(b"of the user")
    names = {path.stem for path in (here / "out/figures").iterdir()} - {"mine"}
    assert run("analyze", *arguments).code == 0
    assert not (here / "out/figures/example_99.png").exists()
    assert (here / "out/figures/mine.png").read_bytes() == b"of the user"
    assert all(map(is_figure, names))


@pytest.mark.parametrize("content", ["{}", "[]", "", "[" * 100_000, '{"version": "0.2.0"}'])
def test_a_file_named_as_the_summary_does_not_make_a_folder_an_analysis(run, here, content):
    (here / "out/figures").mkdir(parents=True)
    for name, text in (("analysis.json", content), ("report.html", "mine"), ("figures/example_01.png", "mine")):
        (here / "out" / name).write_text(text)
    result = run("analyze", "data=demo", "output=out")
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "foreign_folder", "output")
    assert (here / "out/report.html").read_text() == (here / "out/figures/example_01.png").read_text() == "mine"


@pytest.mark.parametrize(("arguments", "kind", "key"), [
    (["-m", "data=demo"], "no_multirun", "-m"),
    (["data=folder"], "missing_value", "data.root"),
    (["data=folder", "data.root=nowhere"], "missing_root", "data.root"),
    (["data=table", "data.path=nowhere.csv"], "file_not_found", "data.path"),
    (["outptu=x"], "unknown_key", "outptu"),
    (["model=mlp"], "unknown_group", "model"),
    (["tracks_per_class=0"], "invalid_value", "tracks_per_class"),
    (["data=demo", "output=full"], "foreign_folder", "output"),
    (["data=demo", "output=full/file"], "not_a_folder", "output"),
])  # fmt: skip
def test_errors_are_one_line(run, here, arguments, kind, key):
    (here / "full").mkdir()
    (here / "full" / "file").write_text("a diary")
    result = run("analyze", *arguments)
    assert (result.code, len(result.lines)) == (2, 1), result.err
    (problem,) = result.problems
    assert (problem.kind, problem.key) == (kind, key)
    assert not (here / "outputs").exists()


def test_balance_and_association():
    assert balance([10, 10, 0]) == pytest.approx({"ratio": 1, "effective_classes": 2, "classes": 2})
    assert balance([0]) == {"ratio": None, "effective_classes": 0.0, "classes": 0}
    codes = np.arange(3000) % 3
    assert cramers_v(codes, codes) == pytest.approx(1, abs=1e-3)
    assert cramers_v(np.random.default_rng(0).normal(size=3000), codes) < 0.05
    assert cramers_v(np.zeros(3000), codes) == 0
    assert properties_of("44100\x002\0WAV PCM_24") == {
        "sample rate": "44100 Hz",
        "bit depth": "24",
        "channels": "2",
        "codec": "WAV PCM_24",
    }
    assert properties_of("22050\x001\0MP3 MPEG_LAYER_III")["bit depth"] == "none"
    assert properties_of(None)["sample rate"] == "unknown"


@pytest.mark.parametrize(("name", "arguments"), [
    ("GTZAN", ["data=gtzan"]),
    ("GTZAN", ["data=gtzan_features"]),
    ("FMA", ["data=fma_audio"]),
    ("FMA", ["data=fma_features"]),
    pytest.param("GTZAN", ["data=gtzan", "data/split=random"], marks=pytest.mark.slow),
    pytest.param("GTZAN_excerpts", ["data=gtzan"], marks=pytest.mark.slow),
    pytest.param("GTZAN_excerpts", ["data=gtzan", "features=fma518"], marks=pytest.mark.slow),
])  # fmt: skip
def test_real_data(run, here, real_data, name, arguments):
    result = run(
        "analyze", *arguments, f"data.root={real_data / name}", "tracks_per_class=2", "output=out", "hardware=cpu"
    )
    assert result.code == 0, result.err
    summary = summary_of(here / "out")
    assert sum(entry["total"] for entry in summary["classes"]) == summary["tracks"]["total"]
    is_table = arguments[0].endswith("_features")
    assert (summary["formats"] is None) == is_table
    assert (summary["columns"] is not None) == (is_table or (len(arguments) > 1 and "features" in arguments[1]))
    assert (here / "out/report.html").stat().st_size < 10e6


def test_tags_are_counted_by_tag():
    target = [("jazz", "slow"), ("slow",), (), ("rock",)]
    tracks = make_tracks([*"abcd"], target, split=["train", "valid", "train", "test"], duration=[1.0, 2.0, 3.0, 4.0])
    assert count_classes(tracks) == [
        {"name": "slow", "train": 1, "valid": 1, "test": 0, "total": 2},
        {"name": "jazz", "train": 1, "valid": 0, "test": 0, "total": 1},
        {"name": "rock", "train": 0, "valid": 0, "test": 1, "total": 1},
    ]
    durations = describe_durations(tracks, ["jazz", "rock", "slow"])
    assert durations is not None
    assert durations["per_class"]["slow"]["median"] == 1.5


@pytest.mark.slow
def test_a_table_of_tags(run, here):
    frame = make_frame(groups=5)
    frame["label"] = [f"{label}|{'slow' if i % 2 else 'fast'}" for i, label in enumerate(frame["label"])]
    frame.to_csv(here / "tags.csv", index=False)
    result = run("analyze", "data=table", "data.path=tags.csv", "data.label_separator='|'", "data.group_column=artist")
    assert result.code == 0, result.err
    (path,) = (here / "outputs" / "analysis").rglob("analysis.json")
    assert {row["name"] for row in json.loads(path.read_text())["classes"]} == {"blues", "jazz", "rock", "slow", "fast"}
