"""Whatever conf/ offers can be composed; a pair that does not fit is refused with the override that makes it fit."""

from __future__ import annotations

from itertools import product

import pytest

from musicreclass.check import compose
from musicreclass.config import Tree
from musicreclass.errors import ConfigError

TREE = Tree()
REQUIRED = {"table": ["data.path=x.csv"]}
PAIRS = list(product(TREE.groups["data"], TREE.groups["model"]))


@pytest.mark.parametrize("name", TREE.groups["experiment"])
def test_every_experiment_composes(name):
    cfg = compose("train", [f"experiment={name}"])
    assert cfg.choices.experiment == name


@pytest.mark.parametrize("group", [g for g in TREE.groups if g not in ("data", "experiment")])
def test_every_option_composes(group):
    for option in TREE.groups[group]:
        assert compose("train", [f"{group}={option}"]).choices[group] == option


@pytest.mark.parametrize(("data", "model"), PAIRS)
def test_every_pair_fits_or_is_refused(data, model):
    overrides = [f"data={data}", f"model={model}", *REQUIRED.get(data, [])]
    try:
        cfg = compose("train", overrides)
    except ConfigError as refusal:
        (line,) = refusal.problems
        assert line.startswith(f"data={data} gives a ")
        assert "choose model=" in line
    else:
        assert cfg.model.input in cfg.data.provides
