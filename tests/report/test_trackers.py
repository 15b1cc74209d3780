"""Trackers: what Lightning's loggers hold of a network and of an estimator, read back; failing trackers do not fail a run."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from musicreclass.config import plugins
from musicreclass.report.trackers import Trackers
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import signature
from tests.conftest import Result, settings_for, table_overrides

FINAL = {"final/valid_accuracy": "accuracy", "final/valid_macro_f1": "macro_f1", "more/valid_log_loss": "log_loss"}
TRACKER = """
from pytorch_lightning.loggers import Logger

CALLS = []


class Tracker(Logger):
    name, version, experiment = "mine", "1", None

    def __init__(self, fails=0):
        super().__init__()
        self.fails = fails

    def log_hyperparams(self, params):
        CALLS.append(("settings", params["run_folder"]))

    def log_metrics(self, metrics, step=None):
        self.fails -= 1
        if self.fails >= 0:
            raise ConnectionError("no network")
        CALLS.append((step, set(metrics)))

    def finalize(self, status):
        CALLS.append(("status", status))
"""


def is_missing(module: str) -> bool:
    return not plugins.is_installed(module)


needs_mlflow = pytest.mark.skipif(is_missing("mlflow"), reason=plugins.LOGGERS["MLFlowLogger"].install)
needs_wandb = pytest.mark.skipif(is_missing("wandb"), reason=plugins.LOGGERS["WandbLogger"].install)


def train_both(run, table, *overrides: str) -> dict[str, Run]:
    """A network and an estimator."""
    runs = {}
    for model in ("mlp", "logreg"):
        result = run("train", *table_overrides(table), f"model={model}", f"run_dir=outputs/{model}", *overrides)
        assert result.code == 0, result.err
        assert "the run continues" not in result.err
        runs[model] = Run.open(Path("outputs") / model)
    return runs


def finals(trained: Run) -> dict[str, float]:
    return {name: pytest.approx(trained.metrics["valid"][metric]) for name, metric in FINAL.items()}


@pytest.fixture
def tracker(here, monkeypatch):
    """A module of the user with a logger, and a configuration folder that chooses it."""
    (here / "tracker.py").write_text(TRACKER)
    (here / "mine" / "logger").mkdir(parents=True)
    (here / "mine" / "logger" / "own.yaml").write_text("own:\n  _target_: tracker.Tracker\n  fails: 0\n")
    monkeypatch.syspath_prepend(str(here))
    yield lambda: sys.modules["tracker"].CALLS
    sys.modules.pop("tracker", None)


def test_csv_holds_settings_curves_and_final_metrics(run, table, here):
    for model, trained in train_both(run, table, "logger=[tensorboard,csv]").items():
        rows = pd.read_csv(trained.folder / "csv" / "metrics.csv")
        assert {name: rows[name].iloc[-1] for name in FINAL} == finals(trained)
        if model == "mlp":
            assert rows["valid/loss"].iloc[:5].tolist() == [
                pytest.approx(row["valid/loss"])
                for row in pd.read_csv(trained.folder / "history.csv").to_dict("records")
            ]
        settings = yaml.safe_load((trained.folder / "csv" / "hparams.yaml").read_text())
        assert settings["model"] == model
        assert settings["run_folder"] == str(here / trained.folder)
        assert (trained.folder / "tensorboard").is_dir()


def test_a_tracker_that_fails_is_tried_again_at_the_end(run, table, here, tracker):
    result: Result = run(
        "train", "--config-dir", "mine", *table_overrides(table), "logger=own", "logger.own.fails=1", "run_dir=r"
    )
    assert result.code == 0
    assert sum("logger=own" in line for line in result.lines) == 1
    calls = tracker()
    assert calls[0] == ("settings", str(here / "r"))
    assert [step for step, _ in calls[1:-1]] == [0, 1, 2, 3, 4, 4]
    assert "final/valid_accuracy" in calls[-2][1]
    assert calls[-1] == ("status", "success")


def test_a_tracker_that_always_fails_does_not_fail_the_run(run, table, here, tracker):
    result: Result = run(
        "train",
        "--config-dir",
        "mine",
        *table_overrides(table),
        "model=logreg",
        "logger=own",
        "logger.own.fails=99",
        "run_dir=r",
    )
    assert (result.code, Run.open(here / "r").state) == (0, "done")
    assert sum("logger=own" in line for line in result.lines) == 1


@pytest.mark.parametrize(("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "KILLED")])
def test_trackers_show_how_a_run_ended(here, tracker, error, status):
    settings = settings_for("logger=none", "+logger.own._target_=tracker.Tracker").logger
    with pytest.raises(error), Trackers(settings, here, {}, [], resume=False):
        raise error
    assert tracker()[-1] == ("status", status)


def test_a_resumed_run_sends_the_epochs_that_it_has(here, tracker):
    settings = settings_for("logger=none", "+logger.own._target_=tracker.Tracker").logger
    with Trackers(settings, here, {}, [{"epoch": 0, "valid/loss": 1.0}], resume=True) as trackers:
        trackers.log(1, {"valid/loss": 0.5})
    assert tracker()[1:3] == [(0, {"valid/loss"}), (1, {"valid/loss"})]


def test_loggers_are_no_part_of_the_signature(here):
    first, second = (settings_for(f"logger={name}") for name in ("none", "[tensorboard,csv]"))
    assert signature(first, "data") == signature(second, "data")


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_its_extra(run, name, monkeypatch):
    monkeypatch.setattr(plugins, "is_installed", lambda module: False)
    result = run("train", f"logger=[csv,{name}]", "data=table", "data.path=nowhere.csv")
    (problem,) = result.problems
    assert (result.code, problem.kind, problem.key) == (2, "missing_plugin", f"logger.{name}")
    assert f".[{name}]" in problem.suggestion


@pytest.mark.parametrize(
    ("overrides", "kind", "key"),
    [
        (["logger=csv", "+logger.csv.versoin=1"], "unknown_key", "logger.csv.versoin"),
        (["logger=csv", "logger.csv.flush_logs_every_n_steps=often"], "invalid_value", "logger.csv.flush_logs_every_n_steps"),
        (["logger=[csv,csvv]"], "unknown_option", "logger"),
        (["+logger.own._target_=collections.OrderedDict"], "invalid_target", "logger.own._target_"),
        (["+logger.own._target_=nowhere.Tracker"], "import_failed", "logger.own._target_"),
    ],
)  # fmt: skip
def test_problems_are_reported_before_data_is_read(run, table, monkeypatch, overrides, kind, key):
    monkeypatch.setattr("musicreclass.tasks.plan.open_data", None)
    result = run("train", *table_overrides(table), *overrides)
    assert result.code == 2
    assert [(problem.kind, problem.key) for problem in result.problems] == [(kind, key)]


@pytest.mark.slow
@needs_mlflow
def test_mlflow_holds_runs_of_both_kinds(run, table, here):
    from mlflow.tracking import MlflowClient

    runs = train_both(run, table, "logger=mlflow")
    client = MlflowClient(f"sqlite:///{here}/outputs/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("musicreclass")
    logged = {entry.data.params["model"]: entry for entry in client.search_runs([experiment.experiment_id])}
    assert logged.keys() == runs.keys()
    for model, trained in runs.items():
        entry = logged[model]
        assert {name: entry.data.metrics[name] for name in FINAL} == finals(trained)
        assert entry.data.params["run_folder"] == str(here / trained.folder)
        assert (entry.info.status, entry.info.run_name) == ("FINISHED", model)
        figures = {Path(file.path).name for file in client.list_artifacts(entry.info.run_id, "figures")}
        assert "confusion_matrix_valid.png" in figures
    curve = client.get_metric_history(logged["mlp"].info.run_id, "valid/loss")
    assert [point.step for point in curve] == [0, 1, 2, 3, 4]
    assert not (here / "mlruns").exists()


@pytest.mark.slow
@needs_mlflow
def test_mlflow_continues_a_resumed_run(here):
    from mlflow.tracking import MlflowClient

    settings = settings_for("logger=mlflow").logger
    interrupted = Trackers(settings, here, {}, [], resume=False)
    interrupted.log(0, {"valid/loss": 1.0})
    interrupted.__exit__(KeyboardInterrupt, None, None)
    with Trackers(settings, here, {}, [{"epoch": 0, "valid/loss": 1.0}], resume=True) as trackers:
        trackers.log(1, {"valid/loss": 0.5})
    client = MlflowClient(f"sqlite:///{here}/outputs/mlruns/mlflow.db")
    run_id = json.loads((here / "trackers.json").read_text())["mlflow"]
    assert [point.value for point in client.get_metric_history(run_id, "valid/loss")] == [1.0, 0.5]
    assert client.get_run(run_id).info.status == "FINISHED"


@pytest.mark.slow
@needs_wandb
def test_wandb_holds_runs_of_both_kinds_offline(run, table, here):
    runs = train_both(run, table, "logger=wandb")
    for model, trained in runs.items():
        run_id = json.loads((trained.folder / "trackers.json").read_text())["wandb"]
        (file,) = (here / "outputs" / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")
        config, history, summary = read_wandb(file)
        assert (config["model"], config["run_folder"]) == (model, str(here / trained.folder))
        assert {name: summary[name] for name in FINAL} == finals(trained)
        assert any(name.startswith("figures/confusion_matrix_valid") for name in summary)
        if model == "mlp":
            assert len([row for row in history if "valid/loss" in row]) == 5


def read_wandb(file: Path) -> tuple[dict, list[dict], dict]:
    """Settings, history and the last value of each metric in the file of an offline run."""
    from wandb.proto.wandb_internal_pb2 import Record

    config: dict = {}
    history: list[dict] = []
    for data in leveldb_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        for item in record.config.update:
            config[item.key or item.nested_key[0]] = json.loads(item.value_json)
        if record.history.item:
            history.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
    return config, history, {name: value for row in history for name, value in row.items()}


def leveldb_records(log: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format: blocks of 32 KiB, and fragments with checksum, length and kind."""
    position, record = 7, b""  # after the header
    while position + 7 <= len(log):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", log, position)
        record += log[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last fragment
            yield record
            record = b""


@pytest.mark.parametrize("name", ["csv", pytest.param("mlflow", marks=[pytest.mark.slow, needs_mlflow])])
def test_a_resumed_run_is_one_run_in_its_tracker(run, table, here, monkeypatch, name):
    from musicreclass.training.module import GenreModule

    arguments = ["train", *table_overrides(table), f"logger={name}", "run_dir=r"]
    original = GenreModule.training_step

    def break_at(self, batches, batch_idx):
        if self.current_epoch == 3:
            raise MemoryError("killed")
        original(self, batches, batch_idx)

    with monkeypatch.context() as broken:
        broken.setattr(GenreModule, "training_step", break_at)
        assert run(*arguments).code == 1
    assert run(*arguments).code == 0
    history = pd.read_csv(here / "r" / "history.csv")["valid/loss"].tolist()
    assert len(history) == 5
    if name == "csv":
        rows = pd.read_csv(here / "r" / "csv" / "metrics.csv")
        logged = dict(rows[rows["valid/loss"].notna()][["step", "valid/loss"]].itertuples(index=False))
        assert len(rows[rows["valid/loss"].notna()]) == 5
        assert list((here / "r").glob("csv*")) == [here / "r" / "csv"]
    else:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{here}/outputs/mlruns/mlflow.db")
        (entry,) = client.search_runs([client.get_experiment_by_name("musicreclass").experiment_id])
        assert entry.info.status == "FINISHED"
        logged = {point.step: point.value for point in client.get_metric_history(entry.info.run_id, "valid/loss")}
    assert [logged[epoch] for epoch in range(5)] == pytest.approx(history)
