"""Overrides become Optuna's distributions."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from musicreclass.errors import ConfigError
from musicreclass.sweep.space import parse_value, read_space


@pytest.mark.parametrize(("sweep", "expected"), [
    ("interval(0.0, 0.5)", FloatDistribution(0.0, 0.5)),
    ("interval(0, 0.5)", FloatDistribution(0.0, 0.5)),
    ("interval(2, 8)", FloatDistribution(2.0, 8.0)),
    ("int(interval(2, 8))", IntDistribution(2, 8)),
    ("tag(log, interval(0.001, 0.1))", FloatDistribution(0.001, 0.1, log=True)),
    ("tag(log, int(interval(1, 64)))", IntDistribution(1, 64, log=True)),
    ("range(1, 4)", IntDistribution(1, 4)),
    ("range(4)", IntDistribution(0, 4)),
    ("range(2, 8, 2)", IntDistribution(2, 8, step=2)),
    ("range(0, 1, 0.25)", FloatDistribution(0.0, 1.0, step=0.25)),
    ("choice(16, 24)", CategoricalDistribution([16, 24])),
    ("1,2.5,a,true", CategoricalDistribution([1, 2.5, "a", True])),
    ("choice([128],[256,128])", CategoricalDistribution(["[128]", "[256,128]"])),
    ("a,null", CategoricalDistribution(["a", "null"])),
])  # fmt: skip
def test_distributions(sweep, expected):
    assert read_space([f"key={sweep}"]) == ({"key": expected}, {})


def test_fixed_values_override_sweeps_and_later_sweeps_override_earlier_ones():
    overrides = ["model.depth=range(1,2)", "optimizer.lr=interval(0.1,1.0)", "+model.gamma=1,2", "model.depth=3"]
    space, fixed = read_space([*overrides, "optimizer.lr=interval(0.5,1.0)", "model=mlp"])
    assert space == {"optimizer.lr": FloatDistribution(0.5, 1.0), "+model.gamma": CategoricalDistribution([1, 2])}
    assert fixed == {"model.depth": "3", "model": "mlp"}


def test_an_unsupported_sweep():
    with pytest.raises(ConfigError) as caught:
        read_space(["model=glob(*)"])
    assert (caught.value.kind, caught.value.key) == ("unsupported_sweep", "model")


@pytest.mark.parametrize(("value", "searched"), [
    (3, IntDistribution(1, 4)), (1e-05, FloatDistribution(1e-6, 1.0)), (2.0, FloatDistribution(1.0, 3.0)),
    ("[128]", CategoricalDistribution(["[128]", "null"])), (True, CategoricalDistribution([True, 2.5])),
])  # fmt: skip
def test_the_value_of_an_overrides_text(value, searched):
    parsed = parse_value(str(value), searched)
    assert parsed == value
    assert type(parsed) is type(value)
