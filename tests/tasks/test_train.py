"""Config in, run folder out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.cbook import is_math_text

from musicreclass.report.figures import confusion_figure
from musicreclass.runs.folder import Run
from musicreclass.runs.score_log import FILE
from tests.conftest import MODELS, make_frame, only_run, quick, table_overrides


def test_files_of_a_run_folder(run, table, here):
    result = run("train", *table_overrides(table), "evaluate=[valid,test]")
    assert result.code == 0, result.err
    folder = only_run(here)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "tfevents" not in p.name}
    assert files == {
        "config.yaml", "identity.json", "provenance.json", "status.json", "metrics.json", "run.log", "history.csv",
        "predictions/valid.parquet", "predictions/test.parquet", "tracks.parquet", "sketches.npz", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        "model/meta.json", "model/weights.pt", "model/SHA256SUMS", "model/novelty.npz", "model/README.md",
        "figures/confusion_matrix_valid.png", "figures/confusion_matrix_test.png", "figures/learning_curves.png",
        "figures/confusion_matrix_valid.pdf", "figures/confusion_matrix_test.pdf", "figures/learning_curves.pdf",
    }  # fmt: skip
    assert len(list((folder / "tensorboard").glob("*tfevents*"))) == 1
    assert str(folder.relative_to(here)) in result.out

    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 5
    assert config["choices"]["model"] == "mlp"
    assert "hydra" not in config
    assert "${" not in (folder / "config.yaml").read_text()

    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["classes"] == ["blues", "jazz", "rock"]
    assert metrics["protocol"]["split"] == "column"
    assert metrics["protocol"]["leaky"] == "unknown"
    for split, n in (("valid", 18), ("test", 18)):
        scores = metrics[split]
        assert scores["n"] == n == len(pd.read_parquet(folder / "predictions" / f"{split}.parquet"))
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "top3_accuracy", "ece"):
            assert 0 <= scores[name] <= 1
        assert scores["accuracy_ci95"][0] <= scores["accuracy"] <= scores["accuracy_ci95"][1]
        assert set(scores["per_class"]) == set(metrics["classes"])

    identity = json.loads((folder / "identity.json").read_text())
    assert folder.name == f"table-mlp-s0-{identity['signature']}"
    provenance = json.loads((folder / "provenance.json").read_text())
    assert {"versions", "hardware", "command", "seconds", "peak_memory_mib", "dropped", "tracks"} <= set(provenance)
    assert provenance["tracks"] == {"train": 54, "valid": 18, "test": 18}
    assert json.loads((folder / "status.json").read_text())["state"] == "done"
    history = pd.read_csv(folder / "history.csv")
    assert history.epoch.tolist() == [0, 1, 2, 3, 4]
    assert history["valid/loss"].iloc[-1] < history["valid/loss"].iloc[0]


def test_the_terminal_shows_classes_mistakes_and_the_protocol(run, table):
    out = run("train", *table_overrides(table), "model=logreg").out
    for word in ("valid", "accuracy", "macro-F1", "precision", "blues", "support", "most confused:", "leaks unknown"):
        assert word in out


def test_test_is_scored_only_on_request(finished_run):
    assert "test" not in finished_run("logreg").metrics


@pytest.mark.parametrize("model", MODELS)
def test_the_same_command_twice_gives_the_same_predictions(model, run, finished_run, table, here):
    first = finished_run(model).predictions("valid").table
    assert run("train", *table_overrides(table), *quick(model), "force=true").code == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(only_run(here) / "predictions" / "valid.parquet"), first, check_exact=True
    )


@pytest.mark.parametrize("model", MODELS)
def test_test_rows_cannot_reach_a_validation_prediction(model, run, finished_run, table, here):
    """Outliers and holes in the test rows do not change any validation prediction."""
    frame = pd.read_csv(table)
    changed = frame.copy()
    rows = changed.index[changed.split == "test"]
    features = [c for c in frame if c.startswith("f")]
    changed.loc[rows[::2], features] = 1e12
    changed.loc[rows[1::2], features[:3]] = np.nan
    changed.to_csv("changed.csv", index=False)
    first = finished_run(model).predictions("valid").table
    assert run("train", *table_overrides(here / "changed.csv"), *quick(model), "run_dir=changed").code == 0
    second = Run.open(here / "changed").predictions("valid").table
    pd.testing.assert_frame_equal(first, second, check_exact=True)


@pytest.mark.slow
def test_the_folder_name_depends_on_settings_and_data(run, table, here):
    def name(*overrides: str, path: Path = table) -> str:
        before = set((here / "outputs").glob("table-*"))
        assert run("train", "model=logreg", *table_overrides(path), *overrides).code == 0
        (new,) = set((here / "outputs").glob("table-*")) - before or {None}
        return new.name if new else "the same"

    name()
    frame = pd.read_csv(table)
    (here / "elsewhere").mkdir()
    frame.to_csv("elsewhere/other_name.csv", index=False)
    assert name(path=here / "elsewhere" / "other_name.csv") == "the same"
    assert name("hardware=cpu", "logger=none", "evaluate=[valid,test]") == "the same"
    frame.loc[0, "f0"] += 1
    frame.to_csv("elsewhere/features.csv", index=False)
    assert name(path=here / "elsewhere" / "features.csv") != "the same"
    assert name("seed=1") != "the same"
    assert name("model.C=3.0") != "the same"
    assert name("class_weight=balanced") != "the same"


def test_run_dir_names_the_folder(run, table, here):
    assert run("train", *table_overrides(table), "model=logreg", "run_dir=my runs/größe").code == 2  # needs quotes
    assert run("train", *table_overrides(table), "model=logreg", 'run_dir="my runs/größe"').code == 0
    assert Run.open(here / "my runs" / "größe").state == "done"
    assert [path.name for path in (here / "outputs").iterdir()] == [FILE]  # the score log


def test_a_multirun_continues_after_a_failed_job(run, table, here):
    result = run("train", "-m", *table_overrides(table), "optimizer.lr=1000,0.002", "model=mlp")
    assert result.code == 1
    (listed,) = (here / "outputs" / "sweeps").glob("*/runs.csv")
    jobs = pd.read_csv(listed)
    assert jobs.state.tolist() == ["failed", "done"]
    assert "FloatingPointError" in jobs.error[0]
    assert len(result.lines) == 1
    failed = [p.parent for p in (here / "outputs").glob("table-*/status.json") if "failed" in p.read_text()]
    assert len(failed) == 1
    assert "Traceback" in (failed[0] / "run.log").read_text()


def test_a_failed_run_exits_with_1_and_one_line(run, table, here):
    result = run("train", *table_overrides(table), "optimizer.lr=1000")
    assert result.code == 1
    assert len(result.lines) == 1
    assert "FloatingPointError" in result.lines[0]
    assert "run.log" in result.lines[0]
    status = json.loads((only_run(here) / "status.json").read_text())
    assert status["state"] == "failed"
    assert "optimizer.lr" in status["error"]


def test_metrics_json_is_strict_json(finished_run):
    text = (finished_run("logreg").folder / "metrics.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)


@pytest.mark.slow
def test_the_kaggle_table_trains_every_model(run, real_data, here):
    kaggle = real_data / "GTZAN" / "Data" / "features_30_sec.csv"
    for model in MODELS:
        arguments = ["data=table", f"data.path={kaggle}", "data.id_column=filename", "trainer.max_epochs=15"]
        result = run("train", *arguments, f"model={model}", f"run_dir=runs/{model}")
        assert result.code == 0, result.err
        metrics = Run.open(here / "runs" / model).metrics
        assert metrics["protocol"]["split"] == "random"
        assert metrics["protocol"]["leaky"] == "yes"  # GTZAN contains some recordings twice
        assert metrics["valid"]["n"] == 107
        assert metrics["valid"]["accuracy"] > 0.5
        assert math.isfinite(metrics["valid"]["log_loss"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_force_changes_nothing_before_training_can_start(run, table, here):
    arguments = ["train", *table_overrides(table), "run_dir=r"]
    assert run(*arguments, "model=mlp").code == 0
    before = contents(here / "r")
    pd.read_csv(table).assign(label="blues").to_csv("one_class.csv", index=False)
    (here / "strict_network.py").write_text(
        "from torch import nn\n\n\nclass Strict(nn.Module):\n"
        "    def __init__(self, in_features, num_classes, width):\n        raise ValueError(f'width {width} is odd')\n"
    )
    (here / "user_conf" / "model").mkdir(parents=True)
    (here / "user_conf" / "model" / "strict.yaml").write_text(
        "_target_: strict_network.Strict\ninput: table\nwidth: 7\n"
    )
    invalid = {
        "model=mpl": "unknown_option",
        "data.path=gone.csv": "file_not_found",
        "data.path=one_class.csv": "one_class",
        "data.label_column=gone": "missing_column",
        "+optimizer.betas=[2,2]": "invalid_value",
        "model.dropout=7": "invalid_value",
        "model=strict": "invalid_arguments",
    }
    for override, kind in invalid.items():
        result = run(*arguments, "--config-dir", "user_conf", "force=true", override)
        assert (result.code, [problem.kind for problem in result.problems]) == (2, [kind])
        assert contents(here / "r") == before, override
    assert "width 7 is odd" in result.lines[0]  # the message of the constructor
    result = run(*arguments, "force=true", "model=logreg", "model.C=-1")
    assert (result.code, contents(here / "r") == before) == (2, True)
    assert run(*arguments, "force=true", "model=logreg").code == 0
    assert contents(here / "r") != before


def test_names_with_dollar_signs(run, here):
    frame = make_frame()
    classes = ["$frac{$", "R$B", "a$b$c"]
    frame["label"] = frame.label.map(dict(zip(["blues", "jazz", "rock"], classes, strict=True)))
    frame = frame.rename(columns={"f0": "$f_{0}$"})
    frame.to_csv("t.csv", index=False)
    arguments = ["data=table", "data.path=t.csv", "trainer.max_epochs=2", 'run_dir="r$x_{$"']
    result = run("train", *arguments)
    assert result.code == 0, result.err
    scores = Run.open(here / "r$x_{$")
    assert scores.metrics["classes"] == scores.predictions("valid").classes == classes
    assert set(scores.predictions("valid").table.target) == set(classes)
    assert "$f_{0}$" in scores.classifier().card.columns
    assert all(name in result.out for name in classes)
    assert (scores.folder / "figures" / "confusion_matrix_valid.png").read_bytes().startswith(b"\x89PNG")
    labels = confusion_figure(scores.predictions("valid"), scores.folder.name).axes[0].get_yticklabels()
    assert [label.get_text().replace(r"\$", "$") for label in labels] == classes
    assert not any(is_math_text(label.get_text()) for label in labels)


@pytest.mark.parametrize("value", [None, ""])
def test_the_default_cache_is_in_the_outputs_folder(value, run, table, here, monkeypatch):
    if value is None:
        monkeypatch.delenv("MUSICRECLASS_CACHE")
    else:
        monkeypatch.setenv("MUSICRECLASS_CACHE", value)
    assert run("train", *table_overrides(table), "model=logreg").code == 0
    assert (here / "outputs" / "cache" / "fingerprints").is_dir()
    assert sorted(p.name for p in here.iterdir()) == ["features.csv", "outputs"]
    assert "already finished" in run("train", *table_overrides(table), "model=logreg").out
