"""Debugging runs: the learning rate range test, the profile, and smoke runs, none of which compare ranks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from musicreclass.comparison.entries import read_runs
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import signature, signed_settings
from musicreclass.training.diagnosis import PARTS, STEPS, smoothed, suggest
from tests.conftest import settings_for, table_overrides

QUICK = ["data=table", "data.split_column=split", "trainer.batch_size=16", "run_dir=r"]


def is_skipped(finished: Run) -> bool:
    entries, skipped = read_runs([finished])
    return not entries and "debugging" in skipped[0]


def test_the_suggestion_is_where_the_loss_falls_fastest():
    rates = np.geomspace(1e-6, 1, 100)
    losses = 2 - 1 / (1 + np.exp(-3 * np.log(rates / 1e-3)))  # steepest at 1e-3
    assert suggest(rates, losses) == pytest.approx(1e-3, rel=0.1)
    assert suggest(rates, np.linspace(1, 2, 100)) is None
    assert suggest(rates[:5], losses[:5]) is None


def test_the_average_is_corrected_for_its_start():
    assert smoothed([2.0] * 4) == pytest.approx([2.0] * 4)
    assert smoothed([1.0, 3.0])[1] == pytest.approx((0.9 * 0.1 + 0.1 * 3) / 0.19)


def test_the_range_test_suggests_an_override(run, table, here):
    result = run("train", *QUICK, f"data.path={table}", "debug=lr_finder")
    assert result.code == 0, result.err
    finished = Run.open(here / "r")
    test = finished.provenance["model"]["lr_finder"]
    assert (test["lr"][0], len(test["lr"])) == (pytest.approx(1e-6), pytest.approx(STEPS, abs=40))
    assert 1e-5 < test["suggestion"] < 1
    assert f"optimizer.lr={test['suggestion']:g}" in result.err
    assert (here / "r" / "figures" / "lr_finder.png").stat().st_size > 1000
    assert is_skipped(finished)


def test_the_profile_measures_the_parts_of_training(run, table, here):
    assert run("train", *QUICK, f"data.path={table}", "debug=profile").code == 0
    finished = Run.open(here / "r")
    measured = finished.provenance["model"]["profile"]
    assert measured["seconds"].keys() == {*PARTS}
    assert all(measured["seconds"][part] > 0 for part in PARTS)
    assert measured["items"] == 10
    names = {
        event.get("name") for event in json.loads((here / "r" / "profile" / "trace.json").read_text())["traceEvents"]
    }
    assert {"forward", "backward", "optimizer"} <= names
    assert is_skipped(finished)


def test_a_smoke_run_trains_on_a_few_batches(run, table, here):
    overrides = [*table_overrides(table), "trainer.max_epochs=2", "trainer.batch_size=4", "run_dir=r"]
    result = run("train", *overrides, "trainer.limit_train_batches=2", "trainer.limit_valid_batches=1", "logger=csv")
    assert result.code == 0, result.err
    rows = pd.read_csv(here / "r" / "history.csv")
    assert len(rows) == 2
    assert set((rows["train/accuracy"] * 8) % 1) == {0}  # over 8 tracks
    finished = Run.open(here / "r")
    assert finished.metrics["valid"]["n"] == 18
    assert is_skipped(finished)


def test_unset_limits_do_not_change_the_signature(here):
    plain = settings_for()
    assert not {"limit_train_batches", "limit_valid_batches", "diagnosis"} & signed_settings(plain)["trainer"].keys()
    assert signature(plain, "d") != signature(settings_for("trainer.limit_train_batches=3"), "d")
