"""Whatever conf/ offers can be composed; a pair that does not fit is refused with the override that makes it fit."""

from __future__ import annotations

from itertools import product

import pytest

from musicreclass.config.check import Check, compose
from musicreclass.config.tree import Tree
from musicreclass.errors import ConfigError

TREE = Tree()
REQUIRED = {"table": ["data.path=x.csv"], "folder": ["data.root=x"]}
FITTING = {"features": ["data=demo_audio"], "augmentation": ["data=demo_audio", "model=cnn"], "model": ["data=demo_audio"],
           "debug": ["data=demo_audio", "model=cnn"], "early_stopping": ["scheduler=plateau"]}  # fmt: skip
PAIRS = list(product(TREE.groups["data"], TREE.groups["model"]))


@pytest.mark.parametrize("name", TREE.groups["experiment"])
def test_every_experiment_composes(name):
    cfg = compose("train", [f"experiment={name}", *REQUIRED.get(name.partition("_")[0], [])])
    assert cfg.choices.experiment == name


@pytest.mark.parametrize(
    "group", [g for g in TREE.groups if g not in ("data", "experiment", "search", "hydra/sweeper")]
)
def test_every_option_composes(group):
    for option in TREE.groups[group]:
        words = [f"{group}={option}", *FITTING.get(group, [])]
        if option == "none" and group == "features":
            words = words[:1]
        if group == "model" and TREE.compose("train", [words[0]]).model.input == "table":
            words = words[:1]
        assert compose("train", words).choices[group] == option


@pytest.mark.parametrize("search", TREE.groups["search"])
def test_every_search_composes(search):
    for data in ("demo", "demo_audio"):
        if not Check(TREE, "train", [f"search={search}", f"data={data}"], multirun=True).problems():
            return
    pytest.fail(f"search={search} fits neither a table nor recordings")


def test_early_stopping_with_a_schedule_that_plans_the_whole_run_is_refused():
    with pytest.raises(ConfigError, match="early_stopping=default: scheduler=onecycle plans the whole run"):
        compose("train", ["early_stopping=default"])
    assert compose("train", ["early_stopping=default", "model=xgboost"]).choices.model == "xgboost"


def test_augmentation_without_audio_is_refused():
    with pytest.raises(ConfigError, match="augmentation=full: augments audio, and model=mlp reads a table"):
        compose("train", ["augmentation=full"])


def test_a_pair_that_does_not_fit_is_refused_with_what_fits(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "radio.yaml").write_text("_target_: somewhere.Radio\nprovides: [waveform]\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "listener.yaml").write_text("_target_: somewhere.Listener\ninput: waveform\n")
    (tmp_path / "model" / "mute.yaml").write_text("_target_: somewhere.Mute\n")
    with pytest.raises(ConfigError) as refused:
        compose("train", ["data=radio", "model=mlp"], str(tmp_path))
    assert refused.value.problems == [
        "data=radio gives a waveform, model=mlp reads a table: choose model=cnn|cnn_small|listener|openjmla, "
        "features=musicnn|openjmla, or data=demo|fma_features|gtzan_features|table"
    ]
    with pytest.raises(ConfigError) as refused:
        compose("train", ["data=demo", "model=listener"], str(tmp_path))
    assert refused.value.problems[0].startswith(
        "data=demo gives a table, model=listener reads a waveform: choose model=logreg|mlp"
    )
    with pytest.raises(ConfigError, match="model=mute: its file must say what it reads"):
        compose("train", ["data=demo", "model=mute"], str(tmp_path))
    assert compose("train", ["data=radio", "model=listener"], str(tmp_path)).model.input == "waveform"


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
