"""Every option of conf/ can be composed; choices that do not fit each other are rejected with the override that fits."""

from __future__ import annotations

from itertools import product

import pytest

from musicreclass.config import plugins
from musicreclass.config.check import Check, compose
from musicreclass.config.tree import Tree
from musicreclass.errors import ConfigError, Problem

TREE = Tree()
REQUIRED = {"table": ["data.path=x.csv"], "csv": ["data.path=x.csv"], "folder": ["data.root=x"]}
FITTING = {"features": ["data=demo_audio"], "augmentation": ["data=demo_audio", "model=cnn"], "model": ["data=demo_audio"],
           "debug": ["data=demo_audio", "model=cnn"], "early_stopping": ["scheduler=plateau"]}  # fmt: skip
USUAL = {"demo", "demo_audio", "logreg", "cnn"}  # data and models of both inputs
PAIRS = list(product(TREE.groups["data"], TREE.groups["model"]))


@pytest.mark.parametrize("name", TREE.groups["experiment"])
def test_every_experiment_composes(name):
    cfg = compose("train", [f"experiment={name}", *REQUIRED.get(name.partition("_")[0], [])])
    assert cfg.choices.experiment == name


@pytest.mark.parametrize(
    "group", [g for g in TREE.groups if g not in ("data", "experiment", "search", "hydra/sweeper")]
)
def test_every_option_composes(group, monkeypatch):
    monkeypatch.setattr(plugins, "is_installed", lambda module: True)
    for option in TREE.groups[group]:
        overrides = [f"{group}={option}", *FITTING.get(group, [])]
        if option == "none" and group == "features":
            overrides = overrides[:1]
        if group == "model" and TREE.compose("train", [overrides[0]]).model.input == "table":
            overrides = overrides[:1]
        task = "prepare" if group == "download" else "train"
        assert compose(task, overrides).choices[group] == option


@pytest.mark.parametrize("search", TREE.groups["search"])
def test_every_search_composes(search):
    for data in ("demo", "demo_audio"):
        if not Check(TREE, "train", [f"search={search}", f"data={data}"], multirun=True).problems():
            return
    pytest.fail(f"search={search} fits neither a table nor recordings")


def problem_of(*overrides: str, config_dir: str | None = None) -> Problem:
    """The one problem of a command line."""
    with pytest.raises(ConfigError) as caught:
        compose("train", list(overrides), config_dir)
    (problem,) = caught.value.problems
    return problem


def test_early_stopping_does_not_fit_a_schedule_of_the_whole_run():
    assert problem_of("early_stopping=default").kind == "schedule_with_early_stopping"
    assert compose("train", ["early_stopping=default", "model=xgboost"]).choices.model == "xgboost"


def test_augmentation_needs_audio():
    problem = problem_of("augmentation=full")
    assert (problem.kind, problem.value, problem.suggestion) == ("augmentation_of_table", "full", "augmentation=none")


def test_features_need_recordings():
    assert problem_of("features=openjmla").kind == "features_of_table"
    assert problem_of("data=demo_audio", "features=openjmla", "data.sampler=balanced").kind == "sampler_of_table"


def test_a_model_that_does_not_fit_is_rejected_with_a_suggestion(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "radio.yaml").write_text(
        "defaults:\n  - split: auto\n_target_: somewhere.Radio\nprovides: [waveform]\n"
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "listener.yaml").write_text("_target_: somewhere.Listener\ninput: waveform\n")
    (tmp_path / "model" / "mute.yaml").write_text("_target_: somewhere.Mute\n")
    problem = problem_of("data=radio", "model=mlp", config_dir=str(tmp_path))
    assert (problem.kind, problem.suggestion) == ("input_mismatch", "model=cnn|cnn_small|huggingface|listener|openjmla")
    for choice in (
        "features=fma518|fma518_musicnn|huggingface|musicnn|openjmla",
        "data=demo|fma_features|gtzan_features|magnatagatune_features|msd_features|table",
    ):
        assert choice in problem.message
    problem = problem_of("data=demo", "model=listener", config_dir=str(tmp_path))
    assert (problem.kind, problem.suggestion) == (
        "input_mismatch",
        "model=layer_probe|logreg|mlp|random_forest|svm|xgboost",
    )
    assert problem_of("data=demo", "model=mute", config_dir=str(tmp_path)).kind == "missing_input"
    assert compose("train", ["data=radio", "model=listener"], str(tmp_path)).model.input == "waveform"


@pytest.mark.parametrize(
    ("data", "model"),
    [pytest.param(*pair, marks=[] if set(pair) & USUAL else pytest.mark.slow) for pair in PAIRS],
)
def test_every_pair_fits_or_is_rejected(data, model):
    overrides = [f"data={data}", f"model={model}", *REQUIRED.get(data, [])]
    try:
        cfg = compose("train", overrides)
    except ConfigError as refusal:
        (problem,) = refusal.problems
        assert problem.kind == "input_mismatch"
        assert problem.suggestion.startswith("model=")
    else:
        assert cfg.model.input in cfg.data.provides
