"""One table of runs."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from tests.conftest import make_frame, table_overrides


@pytest.fixture
def runs(run, table, here):
    """Two models on one table, one on another, one that failed."""
    for model in ("logreg", "random_forest"):
        assert run("train", *table_overrides(table), f"model={model}", "evaluate=[valid,test]").code == 0
    make_frame(seed=5, groups=9).to_csv("other.csv", index=False)
    assert run("train", "data=table", "data.path=other.csv", "data.group_column=artist", "model=logreg").code == 0
    assert run("train", *table_overrides(table), "optimizer.lr=1e30").code == 1
    return here / "outputs"


def test_the_terminal_has_a_table_for_each_set_of_tracks(run, runs):
    result = run("compare", "outputs")
    assert result.code == 0
    assert result.out.count(".csv, split") == 2
    assert "split column: leaks unknown, valid n = 18, test n = 18" in result.out
    assert "split grouped: no leak found" in result.out
    assert result.out.count("left out:") == 1
    assert "(failed)" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert "…" not in result.out.replace(" …", "")  # nothing is cut but the run folders' beginnings


def test_csv_and_markdown(run, runs, here):
    assert run("compare", "outputs", "--output", "t.csv").code == 0
    rows = list(csv.DictReader((here / "t.csv").open()))
    assert len(rows) == 5  # two runs with two splits, one with one
    first = rows[0]
    assert list(first) == ["run", "data", "split", "leaky", "model", "seed", "scored on", "n", "accuracy", "macro-F1", "stale", "micro-batch",
                           "accuracy low", "accuracy high", "macro-F1 low", "macro-F1 high"]  # fmt: skip
    metrics = json.loads((runs / first["run"] / "metrics.json").read_text())[first["scored on"]]
    assert float(first["accuracy"]) == metrics["accuracy"]
    assert [float(first["macro-F1 low"]), float(first["macro-F1 high"])] == metrics["macro_f1_ci95"]
    assert run("compare", "outputs", "--output", "t.md").code == 0
    lines = (here / "t.md").read_text().splitlines()
    assert len(lines) == 2 + 5
    assert {line.count("|") for line in lines} == {13}


def test_a_micro_batch_is_told_where_it_makes_a_difference(run, runs):
    folder = next(place.parent for place in sorted(runs.glob("*/status.json")))
    assert "at a time" not in run("compare", "outputs").out
    for name, size in {"identity.json": 8, "provenance.json": {"size": 8, "batch_statistics": False}}.items():
        found = json.loads((folder / name).read_text())
        (found if name == "identity.json" else found["model"])["micro_batch"] = size
        (folder / name).write_text(json.dumps(found))
    assert "at a time" not in run("compare", "outputs").out
    found["model"]["micro_batch"]["batch_statistics"] = True
    (folder / name).write_text(json.dumps(found))
    assert f"{folder.name[-8:]}: trained 8 tracks at a time" in run("compare", "outputs").out


def test_looks_at_the_test_set_are_counted_and_stale_runs_marked(run, runs, table):
    told = "configurations, seeds aside, have been scored on this test set"
    assert f"2 {told}" in run("compare", "outputs").out
    assert run("train", *table_overrides(table), "model=logreg", "evaluate=[valid,test]", "seed=3").code == 0
    result = run("compare", "outputs")
    assert f"2 {told}" in result.out  # another seed is no other configuration
    assert "stale" not in result.out
    for file in runs.glob("table-logreg-s3-*/identity.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "code": "older"}))
    result = run("compare", "outputs", "--output", "t.csv")
    assert result.out.count(" *\n") == 1
    assert "* stale: made by other code than this" in result.out
    rows = list(csv.DictReader((runs.parent / "t.csv").open()))
    assert {row["stale"] for row in rows if row["run"].startswith("table-logreg-s3")} == {"yes"}


def test_runs_can_be_named_and_are_ranked_by_validation(run, runs):
    folders = sorted(str(p.parent) for p in runs.glob("table-*/metrics.json") if "valid" in p.read_text())
    assert run("compare", folders[0]).code == 0
    assert run("compare", *folders, "--output", "t.csv").code == 0
    rows = list(csv.DictReader((runs.parent / "t.csv").open()))
    valid = [float(r["macro-F1"]) for r in rows if r["scored on"] == "valid"]
    assert valid == sorted(valid, reverse=True)


def without(metrics: dict, *keys: str) -> str:
    """metrics.json with one key fewer."""
    node = metrics = json.loads(json.dumps(metrics))
    for key in keys[:-1]:
        node = node[key]
    del node[keys[-1]]
    return json.dumps(metrics)


def test_damaged_runs_are_left_out_with_a_line_each(run, table, here):
    assert run("train", *table_overrides(table), "model=logreg", "run_dir=runs/whole").code == 0
    metrics = json.loads((here / "runs" / "whole" / "metrics.json").read_text())
    damage = {
        "metrics.json": [
            "",
            "no json",
            "[" * 5000,
            "[]",
            "{}",
            without(metrics, "protocol"),
            without(metrics, "valid"),
            without(metrics, "valid", "accuracy_ci95"),
            without(metrics, "valid", "n"),
            json.dumps({**metrics, "valid": 3}),
            json.dumps({**metrics, "valid": {**metrics["valid"], "accuracy": "high"}}),
            json.dumps({**metrics, "valid": {**metrics["valid"], "macro_f1_ci95": [0.1]}}),
            json.dumps({**metrics, "protocol": {**metrics["protocol"], "leaky": "perhaps"}}),
        ],
        "identity.json": ["{}", "3"],
        "config.yaml": ["3", "seed: 1"],
        "status.json": ["no json", "{}"],
    }
    for file, texts in damage.items():
        for i, text in enumerate(texts):
            copy = here / "runs" / f"{file}-{i}"
            shutil.copytree(here / "runs" / "whole", copy)
            (copy / file).write_text(text)
    result = run("compare", "runs", "--output", "t.csv")
    assert (result.code, result.err) == (0, "")
    assert [row["run"] for row in csv.DictReader((here / "t.csv").open())] == ["whole"]
    told = [line for line in result.out.splitlines() if line.startswith("left out: ")]
    assert len(told) == sum(map(len, damage.values()))
    shutil.rmtree(here / "runs" / "whole")
    alone = run("compare", "runs")
    assert alone.code == 2
    assert len(alone.lines) == 1
    assert alone.lines[0].startswith("no finished runs under runs; train one first; runs/")


def test_an_output_that_cannot_be_written_is_one_line(run, table, here):
    assert run("train", *table_overrides(table), "model=logreg", "run_dir=r").code == 0
    (here / "folder.csv").mkdir()
    (here / "folder.csv" / "kept").touch()
    (here / "file").touch()
    for place in ("folder.csv", "nowhere/t.csv", "file/t.md"):
        result = run("compare", "r", "--output", place)
        assert result.code == 2
        assert len(result.lines) == 1, result.err
        assert result.lines[0].startswith(f"--output {place}: cannot be written (")
    assert (here / "folder.csv" / "kept").exists()


def test_mistakes(run, here):
    assert run("compare", "nowhere").lines == ["nowhere: there is no such folder"]
    (here / "empty").mkdir()
    assert run("compare", "empty").lines == ["no finished runs under empty; train one first"]
    result = run("compare", "empty", "--output", "t.pdf")
    assert (result.code, result.lines) == (2, ["--output t.pdf: a table is written as .csv or .md"])
    (here / "foreign").mkdir()
    (here / "foreign" / "status.json").write_text("no json")
    result = run("compare", "foreign")
    assert result.code == 2
    assert len(result.lines) == 1
