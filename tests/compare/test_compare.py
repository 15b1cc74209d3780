"""One table of runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import table_overrides
from tests.made_runs import made_run


@pytest.fixture
def outputs(here):
    """Two models on the same tracks, one on others, one run that failed."""
    for model, right in (("logreg", 0.8), ("mlp", 0.7)):
        made_run(
            here / "outputs", f"features-{model}-s0", model=model, right=right, leaky="unknown", split="column", n=18
        )
    made_run(here / "outputs", "other", tracks="u", groups=5, splits=("valid",))
    failed = made_run(here / "outputs", "failed", seed=7)
    (failed / "status.json").write_text(json.dumps({"state": "failed"}))
    return here / "outputs"


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_terminal_has_a_table_for_each_set_of_tracks(run, outputs):
    result = run("compare", "outputs")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("table, split") == 2
    assert "split column: leaks unknown, valid n = 18, test n = 18" in result.out
    assert "split grouped: no leak found, valid n = 120 in 5 groups" in result.out
    assert result.out.count("left out:") == 1
    assert "failed (failed)" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert "…" not in result.out


def test_a_micro_batch_is_told_where_it_makes_a_difference(run, here):
    folder = made_run(here / "outputs", "cnn", model="cnn")
    for name, found in {"identity.json": 8, "provenance.json": {"size": 8, "batch_statistics": False}}.items():
        told = json.loads((folder / name).read_text())
        (told if name == "identity.json" else told.setdefault("model", {}))["micro_batch"] = found
        (folder / name).write_text(json.dumps(told))
    assert "at a time" not in run("compare", "outputs").out
    told["model"]["micro_batch"]["batch_statistics"] = True
    (folder / name).write_text(json.dumps(told))
    assert "cnn: 8 tracks at a time passed through it" in run("compare", "outputs").out


def test_real_runs(run, here, table):
    for model in ("logreg", "random_forest"):
        assert run("train", *table_overrides(table), f"model={model}", "evaluate=[valid,test]").code == 0
    assert run("compare", "outputs", "--output", "t.csv", "--output", "t.md", "--output", "t.html").code == 0
    rows = rows_of(here / "t.csv")
    assert sorted((row["model"], row["scored on"]) for row in rows) == [
        *(("logreg", "test"), ("logreg", "valid"), ("random_forest", "test"), ("random_forest", "valid")),
    ]
    for row in rows:
        metrics = json.loads((here / "outputs" / row["run"] / "metrics.json").read_text())[row["scored on"]]
        assert float(row["accuracy"]) == metrics["accuracy"]
        assert float(row["macro-F1"]) == pytest.approx(metrics["macro_f1"])
        for name, key in (("accuracy", "accuracy_ci95"), ("macro-F1", "macro_f1_ci95")):
            assert [float(row[f"{name} low"]), float(row[f"{name} high"])] == pytest.approx(metrics[key], abs=1e-6)
        assert (row["accuracy sd"], row["stale"], row["device"]) == ("", "no", "CPU")
        provenance = json.loads((here / "outputs" / row["run"] / "provenance.json").read_text())
        assert float(row["fit seconds"]) == provenance["seconds"]["fit"]
        assert float(row["peak memory MiB"]) == provenance["peak_memory_mib"]
    lines = (here / "t.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("## ")] == ["## table features.csv, split column"]
    assert len([line for line in lines if line.startswith("| 1 vs 2 |")]) == 4  # two splits, two metrics
    assert "random_forest" in (here / "t.html").read_text()


def test_looks_at_the_test_set_are_counted_and_stale_runs_marked(run, outputs):
    told = "2 configurations, seeds and folds aside, have been scored on this test set"
    assert told in run("compare", "outputs").out
    late = made_run(outputs, "late", model="logreg", seed=3, leaky="unknown", split="column", n=18)
    result = run("compare", "outputs")
    assert told in result.out  # another seed is no other configuration
    assert "stale" not in result.out
    (late / "identity.json").write_text(
        json.dumps({**json.loads((late / "identity.json").read_text()), "code": "older"})
    )
    result = run("compare", "outputs", "--each", "--output", "t.csv")
    assert result.out.count("logreg seed=3 *") == 1
    assert "* stale: made by other code than this" in result.out
    assert {row["run"] for row in rows_of(outputs.parent / "t.csv") if row["stale"] == "yes"} == {"late"}
    assert "logreg *" in run("compare", "outputs").out  # a row of several runs, if any of them is


def test_runs_can_be_named_and_are_ranked_by_validation(run, outputs, here):
    made_run(here / "outputs", "third", model="svm", right=0.75, leaky="unknown", split="column", n=18)
    assert run("compare", outputs / "third").code == 0
    assert run("compare", *outputs.glob("*"), "--output", "t.csv").code == 0
    rows = [row for row in rows_of(here / "t.csv") if row["scored on"] == "valid" and row["table"] == "1"]
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert [float(row["macro-F1"]) for row in rows] == sorted((float(row["macro-F1"]) for row in rows), reverse=True)


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
    config = (here / "runs" / "whole" / "config.yaml").read_text()
    assert "\nfeatures:" in config
    damage = {
        "metrics.json": [
            "",
            "no json",
            "[" * 5000,
            "[]",
            "{}",
            without(metrics, "protocol"),
            without(metrics, "valid"),
            without(metrics, "valid", "accuracy"),
            without(metrics, "valid", "n"),
            json.dumps({**metrics, "valid": 3}),
            json.dumps({**metrics, "valid": {**metrics["valid"], "accuracy": "high"}}),
            json.dumps({**metrics, "valid": {**metrics["valid"], "accuracy": 0.123}}),
            json.dumps({**metrics, "valid": {**metrics["valid"], "n": 3}}),
            json.dumps({**metrics, "test": metrics["valid"]}),
            json.dumps({**metrics, "protocol": {**metrics["protocol"], "leaky": "perhaps"}}),
        ],
        "identity.json": ["{}", "3"],
        "config.yaml": ["3", "seed: 1", config.replace("\nfeatures:", "\nfeatures: 3\nonce:")],
        "status.json": ["no json", "{}"],
        "predictions/valid.parquet": ["", "no parquet"],
    }
    for file, texts in damage.items():
        for i, text in enumerate(texts):
            copy = here / "runs" / f"{file.replace('/', '_')}-{i}"
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
    assert (result.code, result.lines) == (2, ["--output t.pdf: a table is written as .csv, .md or .html"])
    (here / "foreign").mkdir()
    (here / "foreign" / "status.json").write_text("no json")
    result = run("compare", "foreign")
    assert result.code == 2
    assert len(result.lines) == 1
