"""`musicreclass compare`: the terminal, files, damaged runs, errors."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from musicreclass.comparison.entries import read_runs
from musicreclass.comparison.tables import Table, build_tables
from musicreclass.comparison.wording import table_notes
from musicreclass.runs.find import find_runs
from tests.conftest import table_overrides
from tests.run_factory import make_run


@pytest.fixture
def outputs(here):
    """Two models on the same tracks, one on other tracks, one failed run."""
    for model, right in (("logreg", 0.8), ("mlp", 0.7)):
        make_run(
            here / "outputs", f"features-{model}-s0", model=model, right=right, leaky="unknown", split="column", n=18
        )
    make_run(here / "outputs", "other", tracks="u", groups=5, splits=("valid",))
    failed = make_run(here / "outputs", "failed", seed=7)
    (failed / "status.json").write_text(json.dumps({"state": "failed"}))
    return here / "outputs"


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def read_table(path: Path) -> Table:
    """The only table of the runs below a folder."""
    (table,) = build_tables(read_runs(find_runs(path))[0])
    return table


def read_table_of(path: Path, model: str) -> Table:
    """The table with a row of a model."""
    tables = build_tables(read_runs(find_runs(path))[0])
    return next(table for table in tables if any(row.model == model for row in table.rows))


def test_the_terminal_shows_a_table_for_each_set_of_tracks(run, outputs):
    result = run("compare", "outputs")
    assert (result.code, result.err) == (0, "")
    headings = [text.partition("configuration")[0] for text in " ".join(result.out.split()).split("table, split ")[1:]]
    assert [[part in line for part in ("column", "n = 18", "grouped", "n = 120 in 5 groups")] for line in headings] == [
        [True, True, False, False],
        [False, False, True, True],
    ]
    assert [line.split()[1] for line in result.out.splitlines() if line.startswith("skipped: ")] == ["outputs/failed"]
    assert max(map(len, result.out.splitlines())) <= 80
    assert "…" not in result.out


def test_a_micro_batch_is_shown_if_it_affects_batch_statistics(run, here):
    folder = make_run(here / "outputs", "cnn", model="cnn")
    identity, provenance = (json.loads((folder / f"{name}.json").read_text()) for name in ("identity", "provenance"))
    (folder / "identity.json").write_text(json.dumps({**identity, "micro_batch": 8}))
    for affected in (False, True):
        provenance["model"]["micro_batch"] = {"size": 8, "batch_statistics": affected}
        (folder / "provenance.json").write_text(json.dumps(provenance))
        table = read_table(here / "outputs")
        assert table.rows[0].micro_batches == ([8] if affected else [])
        assert any("cnn" in note and "8" in note for note in table_notes(table)) == affected


@pytest.mark.slow
def test_real_runs(run, here, table):
    for model in ("logreg", "random_forest"):
        assert run("train", *table_overrides(table), f"model={model}", "evaluate=[valid,test]").code == 0
    assert run("compare", "outputs", "--output", "t.csv", "--output", "t.md", "--output", "t.html").code == 0
    rows = read_csv(here / "t.csv")
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
    assert sum(line.startswith("| 1 vs 2 |") for line in lines) == 4  # two splits, two metrics
    assert "random_forest" in (here / "t.html").read_text()


def test_configurations_scored_on_test_are_counted_and_stale_runs_marked(run, outputs):
    def tested_configurations():
        tables = build_tables(read_runs(find_runs(outputs))[0])
        return [[(use.configurations, use.models, use.shares) for use in table.test_sets] for table in tables]

    assert tested_configurations() == [[(2, 2, [])], []]
    late = make_run(outputs, "late", model="logreg", seed=3, leaky="unknown", split="column", n=18)
    assert tested_configurations() == [[(2, 3, [])], []]  # another seed is not another configuration
    result = run("compare", "outputs", "--output", "t.csv")
    assert any(line.startswith("2 ") for line in result.out.splitlines())
    assert set(pd.read_csv("t.csv").stale) == {"no"}
    (late / "identity.json").write_text(
        json.dumps({**json.loads((late / "identity.json").read_text()), "code": "older"})
    )
    result = run("compare", "outputs", "--each", "--output", "t.csv")
    assert result.out.count("logreg seed=3 *") == 1
    assert "* stale" in result.out
    assert {row["run"] for row in read_csv(outputs.parent / "t.csv") if row["stale"] == "yes"} == {"late"}
    table = read_table_of(outputs, "logreg")
    assert sorted((row.seeds, row.stale) for row in table.rows if row.model == "logreg") == [([0], 0), ([3], 1)]
    assert len({row.label for row in table.rows}) == 3  # seeds of other code are another row


def test_run_folders_are_accepted_and_ranked_by_validation(run, outputs, here):
    make_run(here / "outputs", "third", model="svm", right=0.75, leaky="unknown", split="column", n=18)
    assert run("compare", outputs / "third").code == 0
    assert run("compare", *outputs.glob("*"), "--output", "t.csv").code == 0
    rows = [row for row in read_csv(here / "t.csv") if row["scored on"] == "valid" and row["table"] == "1"]
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert [float(row["macro-F1"]) for row in rows] == sorted((float(row["macro-F1"]) for row in rows), reverse=True)


def without(metrics: dict, *keys: str) -> str:
    """metrics.json without one key."""
    node = metrics = json.loads(json.dumps(metrics))
    for key in keys[:-1]:
        node = node[key]
    del node[keys[-1]]
    return json.dumps(metrics)


def nested_aliases(depth: int) -> str:
    """A few lines of YAML that expand to a list of 2 ** depth values."""
    lines = [
        "level0: &level0 [1, 1]",
        *(f"level{i}: &level{i} [*level{i - 1}, *level{i - 1}]" for i in range(1, depth)),
    ]
    return "\n".join(lines) + "\n"


def test_damaged_runs_are_skipped_with_a_line_each(run, finished_run, here):
    finished_run("logreg", "runs/intact")
    metrics = json.loads((here / "runs" / "intact" / "metrics.json").read_text())
    config = (here / "runs" / "intact" / "config.yaml").read_text()
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
        "config.yaml": [
            "3",
            "seed: 1",
            config.replace("\nfeatures:", "\nfeatures: 3\nonce:"),
            config + "loop: &loop [*loop]\n",
            config + nested_aliases(60),
        ],
        "status.json": ["no json", "{}"],
        "predictions/valid.parquet": ["", "no parquet"],
    }
    for file, texts in damage.items():
        for i, text in enumerate(texts):
            copy = here / "runs" / f"{file.replace('/', '_')}-{i}"
            shutil.copytree(here / "runs" / "intact", copy)
            (copy / file).write_text(text)
    result = run("compare", "runs", "--output", "t.csv")
    assert (result.code, result.err) == (0, "")
    assert [row["run"] for row in read_csv(here / "t.csv")] == ["intact"]
    skipped = [line for line in result.out.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == sum(map(len, damage.values()))
    shutil.rmtree(here / "runs" / "intact")
    result = run("compare", "runs")
    assert (result.code, len(result.lines)) == (2, 1)
    assert [(problem.kind, problem.key) for problem in result.problems] == [("no_finished_runs", "runs")]
    assert "runs/config.yaml-0" in result.lines[0]  # the first skipped runs are examples


def test_an_unwritable_output_is_a_one_line_error(run, finished_run, here):
    finished_run("logreg", "r")
    (here / "folder.csv").mkdir()
    (here / "folder.csv" / "other").touch()
    (here / "file").touch()
    for path in ("folder.csv", "nowhere/t.csv", "file/t.md"):
        result = run("compare", "r", "--output", path)
        assert (result.code, len(result.lines)) == (2, 1), result.err
        (problem,) = result.problems
        assert (problem.kind, problem.key, problem.value) == ("unwritable", "--output", path)
        assert path in result.lines[0]
    assert (here / "folder.csv" / "other").exists()


def test_user_errors(run, here):
    result = run("compare", "nowhere")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "nowhere" in result.lines[0]
    (here / "empty").mkdir()
    result = run("compare", "empty")
    assert [(problem.kind, problem.key) for problem in result.problems] == [("no_finished_runs", "empty")]
    result = run("compare", "empty", "--output", "t.docx")
    (problem,) = result.problems
    assert (result.code, problem.kind, problem.value) == (2, "unknown_format", "t.docx")
    (here / "foreign").mkdir()
    (here / "foreign" / "status.json").write_text("no json")
    result = run("compare", "foreign")
    assert (result.code, len(result.lines)) == (2, 1)


def test_the_csv_is_tidy_and_documented(run, outputs, here):
    assert run("compare", "outputs", "--output", "t.csv").code == 0
    frame = pd.read_csv("t.csv")
    assert not frame.duplicated(["table", "run", "scored on"]).any()
    assert all(
        frame[name].dtype.kind in "fi" for name in ("table", "n", "n seeds", "accuracy", "macro-F1 low", "fit seconds")
    )
    assert frame["accuracy"].between(0, 1).all()
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    (here / "table.csv").write_bytes((here / "t.csv").read_bytes())
    exec(page.split("```python\n")[1].split("```")[0], {})
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {name for cell in rows for name in re.findall("`([^`]+)`", cell)}
    suffixes = [name.removeprefix("... ") for name in documented if name.startswith("... ")]
    assert sorted(suffixes) == ["high", "low", "sd"]
    columns = {re.sub(f" ({'|'.join(suffixes)})$", "", name) for name in frame if not name.startswith("setting ")}
    assert columns | {"ROC-AUC", "PR-AUC", "setting NAME"} == {n for n in documented if not n.startswith("... ")}
