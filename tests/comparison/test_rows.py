"""Rows and tables: seeds and folds, labels, ranking, pairs, costs."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from musicreclass.comparison.entries import read_runs
from musicreclass.comparison.render.terminal import pair_grid
from musicreclass.comparison.render.text import as_csv, as_markdown
from musicreclass.comparison.tables import MAX_TESTED_ROWS, build_tables
from musicreclass.comparison.wording import seeds_text, table_notes
from musicreclass.evaluation.paired import holm
from musicreclass.runs.find import find_runs
from musicreclass.runs.folder import Run
from tests.run_factory import make_run


@pytest.fixture
def tables(here):
    """The tables of the runs under outputs."""
    return lambda each=False: build_tables(read_runs(find_runs(here / "outputs"))[0], each)


@pytest.fixture
def outputs(here):
    return here / "outputs"


def f1(folder, split):
    from sklearn.metrics import f1_score

    predictions = Run.open(folder).predictions(split)
    return f1_score(predictions.y_true(), predictions.probabilities().argmax(1), average="macro")


def test_seeds_are_one_row(outputs, tables):
    folders = [make_run(outputs, f"r{seed}", seed=seed, right=0.6 + 0.1 * seed) for seed in range(3)]
    make_run(outputs, "other", model="svm", seed=1, right=0.5)
    (table,) = tables()
    row = next(row for row in table.rows if row.model == "mlp")
    assert (row.seeds, row.label, len(table.rows)) == ([0, 1, 2], "mlp", 2)
    for split in ("valid", "test"):
        each = [f1(folder, split) for folder in folders]
        estimate = row.scores[split, "macro_f1"]
        assert (estimate.mean, estimate.sd) == (pytest.approx(np.mean(each)), pytest.approx(np.std(each, ddof=1)))
        assert estimate.low < estimate.mean < estimate.high
    assert len({pair.method for pair in table.pairs["valid"]}) == 1  # over seeds, for both metrics
    (single,) = tables(each=True)
    assert sorted(row.label for row in single.rows) == ["mlp seed=0", "mlp seed=1", "mlp seed=2", "svm"]
    assert not {pair.method for pair in single.pairs["valid"]} & {pair.method for pair in table.pairs["valid"]}
    assert len(single.pairs["test"]) == 2 * 6


def test_folds_are_pooled_before_scoring(outputs, tables):
    folds = {
        (seed, fold): make_run(outputs, f"s{seed}f{fold}", seed=seed, fold=fold, groups=8, split="artist_folds")
        for seed in (0, 1)
        for fold in range(3)
    }
    (table,) = tables()
    (row,) = table.rows
    assert (row.seeds, row.folds, len(row.predictions["test"])) == ([0, 1], [0, 1, 2], 2)
    y_true, y_pred = [], []
    for fold in range(3):
        predictions = Run.open(folds[1, fold]).predictions("test")
        y_true.append(predictions.y_true())
        y_pred.append(predictions.probabilities().argmax(1))
    pooled = row.predictions["test"][1]
    assert sorted(zip(pooled.y_true, pooled.y_pred, strict=True)) == sorted(
        zip(np.concatenate(y_true), np.concatenate(y_pred), strict=True)
    )
    assert table.sizes["test"] == "n = 360 in 8 groups"
    assert "0, 1, 2 of 5" in table_notes(table)[0]
    by_fold = tables(each=True)  # each fold has different tracks
    assert [table.split for table in by_fold] == [f"artist_folds, fold {fold}" for fold in range(3)]


def share_validation(source, target):
    """Give the test tracks of one run to another one as validation tracks, as folds do."""
    shared = (source / "predictions" / "test.parquet").read_bytes()
    (target / "predictions" / "valid.parquet").write_bytes(shared)
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (target, source))
    (target / "metrics.json").write_text(json.dumps({**ours, "valid": theirs["test"]}))


def test_rows_that_were_validated_on_their_test_tracks_are_not_ranked(outputs, tables, run, here):
    for model, right in (("a", 0.5), ("b", 0.7), ("c", 0.9)):
        folders = [
            make_run(outputs, f"{model}{fold}", model=model, split="artist_folds", fold=fold, right=right)
            for fold in range(3)
        ]
        for fold in range(3):
            share_validation(folders[(fold + 1) % 3], folders[fold])
    (table,) = tables()
    assert not table.is_ordered_by_score
    assert [row.label for row in table.rows] == ["a", "b", "c"]  # by name: the best is the last
    assert len(table.pairs["test"]) == 2 * 3
    assert [(use.n, use.configurations, use.models) for use in table.test_sets] == [(360, 3, 9)]
    assert all(other.is_ordered_by_score for other in tables(each=True))
    assert run("compare", "outputs", "--output", "t.csv").code == 0
    assert {row["rank"] for row in csv.DictReader((here / "t.csv").open())} == {""}


@pytest.mark.parametrize("change", [{"code": "other"}, {"user_code": {"net.py": "0"}}])
def test_seeds_of_other_code_are_another_row(outputs, tables, change):
    folders = [make_run(outputs, f"r{seed}", seed=seed) for seed in range(3)]
    identity = json.loads((folders[2] / "identity.json").read_text())
    (folders[2] / "identity.json").write_text(json.dumps({**identity, **change}))
    (table,) = tables()
    assert sorted(row.seeds for row in table.rows) == [[0, 1], [2]]
    assert len({row.label for row in table.rows}) == 2
    lacking = [row.seeds for row in table.rows if any(run.lacks_code for run in row.runs)]
    assert lacking == ([[2]] if "user_code" in change else [])
    assert len([note for note in table_notes(table) if note.startswith("mlp")]) == len(lacking)


def test_seeds_of_another_split_are_another_row(outputs, tables):
    for seed in range(3):
        make_run(outputs, f"r{seed}", seed=seed, fingerprint="g" if seed == 2 else "f")
    (table,) = tables()
    assert sorted(row.seeds for row in table.rows) == [[0, 1], [2]]


def test_random_states_other_than_the_seed_are_other_rows(outputs, tables):
    for state in (0, 1, 2):
        make_run(outputs, f"r{state}", settings={"random_state": state})
    (table,) = tables()
    assert sorted(row.label for row in table.rows) == ["mlp random_state=-", "mlp random_state=1", "mlp random_state=2"]


@pytest.mark.parametrize(("model", "fit", "settings", "selected"), [
    ("mlp", {"best_epoch": 3, "epochs": 9}, {}, True),
    ("xgboost", {"best_round": 3, "rounds": 9}, {"early_stopping_rounds": 5}, True),
    ("xgboost", {"best_round": 8, "rounds": 9}, {}, False),
    ("svm", {}, {}, False),
])  # fmt: skip
def test_validation_scores_that_chose_the_epoch_are_marked(outputs, tables, run, model, fit, settings, selected):
    make_run(outputs, "a", model=model, settings=settings, provenance={"model": fit})
    (table,) = tables()
    assert table.rows[0].selected == selected
    assert ("(selected)" in run("compare", "outputs").out) == selected


def test_seeds_on_other_folds_are_not_averaged(outputs, tables):
    for seed, fold in ((0, 0), (0, 1), (1, 0)):
        make_run(outputs, f"s{seed}f{fold}", seed=seed, fold=fold)
    results = tables()
    assert sorted((table.rows[0].seeds, table.sizes["valid"]) for table in results) == [
        ([0], "n = 240"),
        ([1], "n = 120"),
    ]
    assert not any(table.pairs for table in results)


def test_a_fold_that_the_split_ignores_is_a_setting(outputs, tables):
    for fold in (0, 1):
        folder = make_run(outputs, f"f{fold}", fold=fold)
        source = outputs / "f0" / "predictions"
        if fold:
            for file in source.glob("*"):
                (folder / "predictions" / file.name).write_bytes(file.read_bytes())
            (folder / "metrics.json").write_bytes((outputs / "f0" / "metrics.json").read_bytes())
    (table,) = tables()
    assert sorted(row.label for row in table.rows) == ["mlp fold=0", "mlp fold=1"]


def test_labels_contain_only_differing_settings_under_short_names(outputs, tables):
    make_run(outputs, "a", settings={"hidden": 64, "dropout": 0.5})
    make_run(outputs, "b", settings={"hidden": 128, "dropout": 0.5}, lr=0.01)
    make_run(outputs, "c", model="svm", settings={"C": 1.0})
    make_run(outputs, "d", model="svm", settings={"C": 10.0})
    make_run(outputs, "e", model="forest", settings={"depth": 3})
    (table,) = tables()
    assert sorted(row.label for row in table.rows) == [
        "forest",
        "mlp hidden=128 lr=0.01",
        "mlp hidden=64 lr=0.002",
        "svm C=1",
        "svm C=10",
    ]


def test_long_lists_are_counted_in_labels(outputs, tables):
    """The items that differ are named if the counts do not tell the rows apart, also those beyond the first ones."""
    columns = [f"instrument_{i}" for i in range(11)]
    for name, ignored in {
        "a": [*columns, "rock"],
        "b": [*columns, "jazz"],
        "c": [*columns, "x", "y"],
        "d": ["x"],
    }.items():
        make_run(outputs, name, settings={"ignore_columns": ignored}, right=0.5)
    (table,) = tables()
    assert sorted(row.label for row in table.rows) == [
        "mlp ignore_columns=12 columns with jazz",
        "mlp ignore_columns=12 columns with rock",
        "mlp ignore_columns=13 columns",
        "mlp ignore_columns=[x]",
    ]


def test_long_lists_are_counted_in_headings(outputs, tables):
    tags = [f"instrument_{i}" for i in range(11)]
    for name, last in {"a": "rock", "b": "jazz"}.items():
        make_run(outputs, name, tracks=name, data_settings={"label_columns": [*tags, last]})
    assert sorted(table.distinction["label_columns"] for table in tables()) == [
        "12 columns with jazz", "12 columns with rock",
    ]  # fmt: skip


def test_labels_contain_features_of_recordings(outputs, tables):
    make_run(outputs, "a")
    make_run(outputs, "b", features="openjmla")
    (table,) = tables()
    assert {row.label: row.exclusions for row in table.rows} == {
        "mlp features=none": [],
        "mlp features=openjmla": ["random encoder"],
    }


def test_rows_of_unknown_leaks_are_ranked_apart_from_rows_without_leaks(outputs, tables):
    make_run(outputs, "a", model="a", right=0.9, leaky="unknown")
    make_run(outputs, "b", model="b", right=0.95, leaky="unknown")
    make_run(outputs, "leak", model="leak", right=0.99, leaky="yes")
    (table,) = tables()
    assert [row.label for row in table.ranked] == ["b", "a"]
    assert [row.label for row in table.unranked] == ["leak"]
    make_run(outputs, "mlp", right=0.6)
    make_run(outputs, "svm", model="svm", right=0.5)
    (table,) = tables()
    assert [row.label for row in table.ranked] == ["mlp", "svm"]
    assert [(row.label, row.exclusions) for row in table.unranked] == [
        ("b", ["leaks unknown"]),
        ("a", ["leaks unknown"]),
        ("leak", ["leaky"]),
    ]
    assert {(pair.first, pair.second) for pairs in table.pairs.values() for pair in pairs} == {(0, 1)}


def test_leaky_and_random_rows_are_never_ranked_or_tested(run, outputs, tables, here):
    make_run(outputs, "honest", right=0.6)
    make_run(outputs, "svm", model="svm", right=0.5)
    make_run(outputs, "leak", model="leak", right=0.99, leaky="yes")
    make_run(outputs, "encoder", model="cnn", right=0.9, settings={"checkpoint": "random"})
    make_run(outputs, "untried", model="late", right=0.95, splits=("test",))
    (table,) = tables()
    assert [row.label for row in table.ranked] == ["mlp", "svm"]
    assert {row.model: row.exclusions for row in table.unranked} == {
        "leak": ["leaky"],
        "cnn": ["random encoder"],
        "late": ["not scored on validation"],
    }
    assert {(pair.first, pair.second) for pairs in table.pairs.values() for pair in pairs} == {(0, 1)}
    result = run("compare", "outputs", "--output", "t.csv", "--output", "t.md")
    assert {("1", "mlp"), ("-", "leak"), ("-", "cnn")} <= {tuple(line.split()[:2]) for line in result.out.splitlines()}
    rows = list(csv.DictReader((here / "t.csv").open()))
    assert {row["model"]: row["rank"] for row in rows} == {"mlp": "1", "svm": "2", "leak": "", "cnn": "", "late": ""}
    assert {row["model"] for row in rows if row["random encoder"] == "yes"} == {"cnn"}
    assert "| - | leak (leaky) |" in (here / "t.md").read_text()


def test_runs_on_other_tracks_are_never_paired(outputs, tables):
    make_run(outputs, "a")
    make_run(outputs, "b", model="svm", tracks="u")
    make_run(outputs, "c", model="cnn", classes=("blues", "jazz", "rap"))
    results = tables()
    assert len(results) == 3
    assert not any(table.pairs for table in results)


def test_rows_with_different_test_tracks_are_paired_on_validation_only(outputs, tables):
    make_run(outputs, "a")
    make_run(outputs, "b", model="svm")
    for source, other in (("a", "c"), ("b", "d")):
        make_run(outputs, other, model=f"{other}net", tracks="u")
        file = "predictions/valid.parquet"
        (outputs / other / file).write_bytes((outputs / source / file).read_bytes())
    (table,) = tables()
    assert len(table.ranked) == 4
    names = [row.model for row in table.ranked]
    tested = {frozenset((names[pair.first], names[pair.second])) for pair in table.pairs["test"]}
    assert tested == {frozenset(("mlp", "svm")), frozenset(("cnet", "dnet"))}
    assert len(table.pairs["valid"]) == 2 * 6
    assert table.split_mismatches == ["test"]
    for metric in table.metrics:  # both pairs are one family, although they have different tracks
        tests = [pair for pair in table.pairs["test"] if pair.metric == metric]
        assert [pair.adjusted for pair in tests] == holm(np.array([pair.p for pair in tests])).tolist()


def test_only_the_p_value_of_a_significant_metric_is_bold(outputs, tables):
    make_run(outputs, "a", right=0.9)
    make_run(outputs, "b", model="svm", right=0.5)
    (table,) = tables()
    table.pairs = {"test": [replace(p, adjusted=0.01 if p.metric == "accuracy" else 0.2) for p in table.pairs["test"]]}
    grid = pair_grid(table)
    assert [column.header for column in grid.columns if cell_style(column) == "bold"] == ["p"]
    assert cell_style(grid.columns[3]) == "bold"
    assert not any(row.style for row in grid.rows)


def cell_style(column) -> str:
    """The style of a column's only cell; empty without one."""
    (cell,) = column.cells
    return str(getattr(cell, "style", ""))


def test_the_order_of_tracks_and_classes_changes_nothing(outputs, tables):
    make_run(outputs, "a", groups=10)
    make_run(outputs, "b", model="svm", groups=10)
    (before,) = tables()
    for name in ("a", "b"):
        predictions = Run.open(outputs / name).predictions("valid")
        table = predictions.table
        table[[*table.columns[:3], *table.columns[:2:-1]]].sample(frac=1, random_state=0).to_parquet(
            outputs / name / "predictions" / "valid.parquet"
        )
    (after,) = tables()
    assert after.pairs["valid"] == before.pairs["valid"]


def test_copies_of_a_run_are_skipped(run, outputs):
    make_run(outputs, "a")
    make_run(outputs, "b")
    entries, skipped = read_runs(find_runs(outputs))
    assert [entry.folder.name for entry in entries] == ["a"]
    assert len(skipped) == 1
    assert str(outputs / "a") in skipped[0]
    assert str(outputs / "b") in skipped[0]
    result = run("compare", "outputs")
    assert sum(line.startswith("skipped: outputs/b ") for line in result.out.splitlines()) == 1


def test_runs_of_the_same_settings_by_other_code_are_other_rows(outputs, tables):
    for name in ("new", "old", "copy_of_old"):
        folder = make_run(outputs, name)
        if name != "new":
            identity = json.loads((folder / "identity.json").read_text())
            (folder / "identity.json").write_text(json.dumps({**identity, "code": "older"}))
    entries, skipped = read_runs(find_runs(outputs))
    assert sorted((entry.folder.name, entry.stale) for entry in entries) == [("copy_of_old", True), ("new", False)]
    assert [line.split()[0] for line in skipped] == [str(outputs / "old")]
    (table,) = tables()
    assert sorted(row.stale for row in table.rows) == [0, 1]
    assert len({row.label for row in table.rows}) == 2
    assert [use.configurations for use in table.test_sets] == [1]  # the predictions are equal


def test_a_repetition_with_other_predictions_is_not_called_the_same_run(outputs):
    make_run(outputs, "a")
    make_run(outputs, "b", right=0.5)
    make_run(outputs, "c", splits=("valid",))
    entries, skipped = read_runs(find_runs(outputs))
    assert [entry.folder.name for entry in entries] == ["a"]
    other, same = (line.partition(" ")[2] for line in skipped)
    assert other != same


def test_scores_of_other_code_are_counted(outputs, tables):
    make_run(outputs, "new")
    folder = make_run(outputs, "old", right=0.5)
    identity = json.loads((folder / "identity.json").read_text())
    (folder / "identity.json").write_text(json.dumps({**identity, "code": "older"}))
    (table,) = tables()
    assert [use.configurations for use in table.test_sets] == [2]


def test_only_the_best_rows_are_tested(outputs, tables):
    for i in range(MAX_TESTED_ROWS + 2):
        make_run(outputs, f"r{i}", model="svm", settings={"C": i}, right=0.4 + 0.03 * i, splits=("valid",), n=60)
    (table,) = tables()
    assert len(table.ranked) == MAX_TESTED_ROWS + 2
    assert len(table.pairs["valid"]) == MAX_TESTED_ROWS * (MAX_TESTED_ROWS - 1)  # two metrics
    assert max(pair.second for pair in table.pairs["valid"]) == MAX_TESTED_ROWS - 1


def test_cost(outputs, tables):
    provenance = {
        "hardware": {"gpu": "H100"},
        "seconds": {"fit": 10},
        "peak_memory_mib": 900,
        "model": {"parameters": 5},
    }
    make_run(outputs, "a", provenance=provenance)
    make_run(outputs, "b", seed=1, provenance={**provenance, "seconds": {"fit": 20}, "peak_memory_mib": 800})
    make_run(outputs, "c", model="svm", provenance=provenance)
    make_run(
        outputs,
        "d",
        model="forest",
        provenance={"seconds": {}, "peak_memory_mib": None},
    )
    cost = {row.model: row.cost for row in tables()[0].rows}
    assert (cost["mlp"].seconds, cost["mlp"].memory, cost["mlp"].parameters, cost["mlp"].device) == (15, 900, 5, "H100")
    assert cost["svm"].device == "CPU"  # an estimator does not use the GPU
    assert (cost["forest"].seconds, cost["forest"].memory, cost["forest"].parameters) == (None, None, None)


def test_torch_is_not_imported(outputs, here):
    make_run(outputs, "a")
    make_run(outputs, "b", model="svm")
    code = (
        "import sys; from musicreclass.cli.main import main; assert main(['compare', 'outputs', '--output', 'p.html']) == 0; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'hydra', 'librosa') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_malicious_names_are_escaped(run, outputs, here):
    make_run(outputs, "a\x1b]0;hacked\x07\n|b", settings={"note": "x|y\x1b[2J<img>"})
    make_run(outputs, "b", settings={"note": "plain"})
    make_run(outputs, "c", seed=5).rename(
        outputs / "c\x1b[2J\n\udcff"
    )  # some versions of pyarrow cannot open this name
    result = run("compare", "outputs", "--output", "t.md", "--output", "t.csv", "--output", "t.html")
    assert (result.code, result.err) == (0, "")
    skipped = result.out.count("skipped: outputs/c")
    assert skipped in (0, 1)
    assert len(list(csv.DictReader((here / "t.csv").open(encoding="utf-8")))) == 6 - 2 * skipped
    assert not set((here / "t.csv").read_text()) & {"\x1b", "\x07"}
    assert not set(result.out) & {"\x1b", "\x07"}
    lines = (here / "t.md").read_text().splitlines()
    cells = {
        line.replace("\\|", "").count("|")
        for line in lines
        if line.startswith("| ") and "configuration" not in line and "mlp" in line
    }
    assert len(cells) == 1
    assert "<img>" not in "".join(lines).replace("\\<", "")


def test_tables_of_other_splits_are_told_apart(outputs, tables):
    """Also in Markdown, CSV and on the page; the seed of a split is not mistaken for that of a run."""
    for split_seed in (0, 1):
        for seed in (3, 4):
            make_run(outputs, f"s{split_seed}-{seed}", seed=seed, split_seed=split_seed)
    both = tables()
    assert [table.split for table in both] == ["grouped, split.seed=0", "grouped, split.seed=1"]
    assert [row.label for table in both for row in table.rows] == ["mlp", "mlp"]
    markdown = as_markdown(both)
    assert all(markdown.count(f"split.seed={seed}") == 1 for seed in (0, 1))
    assert [line["setting split.seed"] for line in csv.DictReader(as_csv(both).splitlines())] == ["0", "0", "1", "1"]


def test_rows_of_other_splits_of_the_same_tracks_are_labelled(outputs, tables):
    make_run(outputs, "a", seed=0, tracks="t1")
    make_run(outputs, "b", seed=0, split_seed=1)
    (table,) = tables()
    assert sorted(row.label for row in table.rows) == ["mlp split.seed=0", "mlp split.seed=1"]


def test_tables_that_differ_in_their_content_only(outputs, tables):
    make_run(outputs, "a", tracks="a", fingerprint="first")
    make_run(outputs, "b", tracks="b", fingerprint="second")
    assert sorted(table.split for table in tables()) == ["grouped, data=first-", "grouped, data=second"]


def test_equal_seeds_are_one_run(outputs, tables):
    """A deterministic model has no deviation over seeds, and is tested like a single run."""
    for seed in range(3):
        make_run(outputs, f"r{seed}", model="logreg", seed=seed, draw=0)
    make_run(outputs, "one", model="svm", right=0.6)
    (table,) = tables()
    row = next(row for row in table.rows if row.model == "logreg")
    assert row.has_equal_seeds
    assert seeds_text(row, "valid") == "3 equal"
    assert row.scores["valid", "accuracy"].sd is None
    assert not any("seeds" in pair.method for pair in table.pairs["valid"])
    assert any("equal" in note for note in table_notes(table))
    make_run(outputs, "r3", model="logreg", seed=3)
    (table,) = tables()
    row = next(row for row in table.rows if row.model == "logreg")
    assert (row.has_equal_seeds, seeds_text(row, "valid")) == (False, "4")
    assert row.scores["valid", "macro_f1"].sd > 0


def test_intervals_and_p_values_that_disagree_are_noted(outputs, tables):
    make_run(outputs, "a", model="logreg", right=0.7)
    make_run(outputs, "b", model="svm", right=0.5)
    (table,) = tables()
    clear = replace(table.pairs["valid"][0], low=0.01, high=0.2, p=0.01)
    table.pairs = {"valid": [clear]}
    before = table_notes(table)
    for pair in (replace(clear, p=0.2), replace(clear, low=-0.01)):
        table.pairs = {"valid": [clear, pair]}
        (note,) = [line for line in table_notes(table) if line not in before]
        assert "1 vs 2 (validation accuracy)" in note


def test_short_labels_have_what_tells_rows_of_a_model_apart(outputs, tables):
    make_run(outputs, "a", lr=0.01)
    make_run(outputs, "b", lr=0.02)
    assert sorted(row.short_label for row in tables()[0].rows) == ["lr=0.01", "lr=0.02"]
    make_run(outputs, "c", model="svm", features="musicnn")
    assert sorted(row.short_label for row in tables()[0].rows) == ["mlp lr=0.01", "mlp lr=0.02", "svm"]
