"""Callbacks of the user: they run and log, are part of the identity of a run, and are checked before data is read."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import yaml

from musicreclass.runs.folder import Run
from musicreclass.runs.signature import signature
from tests.conftest import settings_for, table_overrides

LIGHTNING = "pytorch_lightning.callbacks"
CALLBACK = """
from pathlib import Path
from pytorch_lightning.callbacks import Callback

Path("imported").touch()


class Stop(Callback):
    def __init__(self, after: int = 1):
        self.after = after

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        for logger in trainer.loggers:
            logger.log_metrics({"level": trainer.current_epoch + 0.5}, step=trainer.global_step)

    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch + 1 >= self.after
"""


@pytest.fixture
def stop(here, monkeypatch):
    """A callback in a module of the user."""
    (here / "stop.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(str(here))
    yield "+callbacks.stop._target_=stop.Stop"
    sys.modules.pop("stop", None)


def test_a_users_callback_runs_and_logs(run, table, here, stop):
    assert run("train", *table_overrides(table), stop, "+callbacks.stop.after=2", "logger=csv", "run_dir=r").code == 0
    rows = pd.read_csv(here / "r" / "csv" / "metrics.csv")
    assert rows["callback/level"].dropna().tolist() == [0.5, 1.5]
    history = pd.read_csv(here / "r" / "history.csv")
    assert len(history) == 2
    assert "callback/level" not in history
    assert Run.open(here / "r").identity.user_code.keys() == {"stop.py"}


def test_reading_a_run_imports_no_callback(run, finished_run, here, stop):
    finished_run("mlp", "r")
    config = yaml.safe_load((here / "r" / "config.yaml").read_text())
    config["callbacks"] = {"stop": {"_target_": "stop.Stop"}}
    config["logger"] = {"own": {"_target_": "stop.Stop"}}
    (here / "r" / "config.yaml").write_text(yaml.safe_dump(config))
    for command in (["evaluate", "r", "--split", "test"], ["compare", "r"], ["inspect", "r"]):
        assert run(*command).code == 0, command
    assert not (here / "imported").exists()


def test_callbacks_are_part_of_the_signature_if_there_are_any(here):
    plain, timed = settings_for(), settings_for("callbacks=timer")
    assert signature(plain, "d") != signature(timed, "d")
    assert signature(plain, "d") == signature(settings_for("callbacks=none"), "d")
    forest = (settings_for("model=random_forest", f"callbacks={name}") for name in ("none", "timer"))
    assert len({signature(settings, "d") for settings in forest}) == 1
    assert settings_for("callbacks=[timer,device_stats]").callbacks.by_key().keys() == {
        "callbacks.timer", "callbacks.device_stats",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "kind", "key"),
    [
        ([f"+callbacks.c._target_={LIGHTNING}.{name}"], "invalid_target", "callbacks.c._target_")
        for name in (
            "EarlyStopping", "ModelCheckpoint", "TQDMProgressBar", "StochasticWeightAveraging", "EMAWeightAveraging",
            "GradientAccumulationScheduler", "LearningRateFinder", "BatchSizeFinder",
        )
    ]
    + [
        (["+callbacks.c._target_=collections.OrderedDict"], "invalid_target", "callbacks.c._target_"),
        (["+callbacks.c._target_=nowhere.C"], "import_failed", "callbacks.c._target_"),
        (["callbacks=timer", "callbacks.timer.interval=hourly"], "invalid_arguments", "callbacks.timer"),
        (["callbacks=timer", "+callbacks.timer.durationn=1"], "unknown_key", "callbacks.timer.durationn"),
        ([f"callbacks.c._target_={LIGHTNING}.Timer"], "needs_plus", "callbacks.c._target_"),
        (["callbacks=[timer,tymer]"], "unknown_option", "callbacks"),
    ],
)  # fmt: skip
def test_problems_are_reported_before_data_is_read(run, table, monkeypatch, overrides, kind, key):
    monkeypatch.setattr("musicreclass.tasks.plan.open_data", None)
    result = run("train", *table_overrides(table), *overrides)
    assert result.code == 2
    assert [(problem.kind, problem.key) for problem in result.problems] == [(kind, key)]


def test_device_statistics_of_a_cpu_join_the_curves(run, table, here):
    pytest.importorskip("psutil", reason="needs psutil: pip install psutil")
    arguments = [*table_overrides(table), "callbacks=device_stats", "logger=csv", "hardware=cpu", "run_dir=r"]
    assert run("train", *arguments, "trainer.max_epochs=2").code == 0
    rows = pd.read_csv(here / "r" / "csv" / "metrics.csv")
    used = rows["callback/DeviceStatsMonitor.on_train_batch_end/cpu_vm_percent"].dropna()
    assert len(used) == 2
    assert used.between(0, 100).all()
