"""Settings: every key of conf/ is declared once, with a type and a help line; values are checked by that declaration."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from musicreclass.config.check import compose
from musicreclass.config.parse import find_field, parse
from musicreclass.config.settings.tasks import PrepareSettings, TrainSettings
from musicreclass.config.tree import Tree, leaves
from musicreclass.errors import ConfigError, Problem
from musicreclass.runs.signature import signed_settings

REQUIRED = {"data.path": "x.csv", "data.root": "x"}
FOREIGN = (  # sections with classes of other libraries
    "model", "model.estimator", "optimizer", "scheduler", "callbacks.timer", "callbacks.device_stats", "logger.csv", "logger.mlflow", "logger.wandb",
)  # fmt: skip


@cache
def defaults() -> dict[str, Any]:
    return config()


def config(*overrides: str) -> dict[str, Any]:
    return dict(OmegaConf.to_container(compose("train", list(overrides)), resolve=True))  # type: ignore[arg-type]


USUAL = {"demo", "demo_audio", "logreg", "cnn"}  # data and models of both inputs


def every_configuration() -> list[Any]:
    tree = Tree()
    chosen: list[Any] = [[f"{group}={option}"] for group in ("hardware", "logger", "callbacks", "optimizer", "scheduler", "augmentation", "early_stopping")
              for option in tree.groups[group]]  # fmt: skip
    pairs = product(tree.groups["data"], tree.groups["model"])
    return chosen + [
        pytest.param([f"data={d}", f"model={m}"], marks=[] if {d, m} & USUAL else pytest.mark.slow) for d, m in pairs
    ]


@pytest.mark.parametrize("overrides", every_configuration(), ids=" ".join)
def test_every_key_is_declared_with_a_help_line(overrides):
    cfg = Tree().compose("train", overrides)
    plain: Any = OmegaConf.to_container(cfg)
    for key, _ in leaves(cfg):
        field = find_field("train", plain, key)
        parent = key.rpartition(".")[0]
        if field is None:
            target = str(OmegaConf.select(cfg, f"{parent}._target_"))
            assert parent in FOREIGN, key
            assert not target.startswith("musicreclass."), key
        else:
            assert field.description, key


def test_settings_are_the_configuration():
    given_config = config("data=gtzan", "model=openjmla", "model.checkpoint=random")
    settings = parse("train", given_config)
    assert isinstance(settings, TrainSettings)
    assert settings.as_dict() == given_config
    assert settings.model.arguments(*settings.model.about)["trainable"] == "head"
    assert settings.data.split.protocol == "fault_filtered"


def test_settings_are_frozen():
    settings = parse("train", config())
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]


def test_settings_of_prepare():
    cfg = compose("prepare", ["data=demo_audio"])
    settings = parse("prepare", dict(OmegaConf.to_container(cfg, resolve=True)))  # type: ignore[arg-type]
    assert isinstance(settings, PrepareSettings)
    assert (
        settings.with_precision("bf16-mixed").trainer.precision == "bf16-mixed"
    )  # follows the hardware profile, as in train


def test_a_users_encoder_may_have_any_arguments():
    users = config("data=demo_audio", "features=musicnn")
    users["features"] = {**users["features"], "_target_": "package.Encoder", "layer": 3, "window_seconds": "long"}
    assert parse("train", users).as_dict()["features"]["layer"] == 3


@pytest.mark.parametrize("key", ["trainer.precision", "hardware.precision"])
def test_clipping_in_half_precision_requires_a_fused_optimizer(key):
    with pytest.raises(ConfigError) as caught:
        config(f"{key}=16-mixed", "trainer.gradient_clip_norm=1", "optimizer.fused=false")
    assert [problem.kind for problem in caught.value.problems] == ["clipping_in_16_mixed"]


def test_every_problem_is_collected():
    broken = config("data=gtzan", "model=cnn")
    broken["seed"], broken["trainer"]["max_epochs"], broken["model"]["frontend"]["n_fft"] = "x", 0, 1.5
    broken["trainer"]["typo"] = 1
    with pytest.raises(ConfigError) as caught:
        parse("train", broken)
    assert {(p.kind, p.key) for p in caught.value.problems} == {
        ("invalid_value", "seed"), ("invalid_value", "trainer.max_epochs"), ("invalid_value", "model.frontend.n_fft"),
        ("unknown_key", "trainer.typo"),
    }  # fmt: skip


def test_settings_that_cannot_change_a_result_are_not_signed():
    settings = parse(
        "train", config("data=folder", "data.root=x", "features=musicnn", "model=xgboost", "model.max_depth=6")
    )
    assert isinstance(settings, TrainSettings)
    assert not {"root", "store", "cache", "workers", "provides", "on_bad_file"} & set(settings.data.signed())
    assert not {"folder", "wheel", "batch_size", "cache"} & set(settings.features.signed())
    assert "n_jobs" not in settings.model.signed()
    assert settings.model.signed()["max_depth"] == 6


@pytest.mark.parametrize(("section", "key"), [("model", "scale"), ("early_stopping", "min_delta")])
def test_a_declared_default_is_signed(section, key):
    """A key that no YAML file sets is signed with the value that applies."""
    omitted = config("model=cnn", "data=demo_audio", "model.frontend.n_mels=64")
    omitted["model"].setdefault("scale", True)
    explicit = deepcopy(omitted)
    default = omitted[section].pop(key)
    changed = deepcopy(explicit)
    changed[section][key] = not default if isinstance(default, bool) else default + 0.25
    signed = [signed_settings(parse("train", values)) for values in (omitted, explicit, changed)]  # type: ignore[arg-type]
    assert signed[0] == signed[1] != signed[2]
    assert signed[0][section][key] == default


@given(st.sampled_from(["seed", "trainer.max_epochs", "trainer.label_smoothing", "augmentation.gain_db", "evaluate", "force"]),
       st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)))  # fmt: skip
def test_a_value_is_accepted_or_reported(key, value):
    """No value ends in any other error, and an accepted one comes back as it was."""
    values = deepcopy(defaults())
    node, *rest = key.split(".")
    if rest:
        values[node][rest[0]] = value
    else:
        values[node] = value
    problems: list[Problem] = []
    try:
        accepted = parse("train", values).as_dict()
    except ConfigError as error:
        problems = error.problems
    if problems:
        assert [(p.kind, p.key) for p in problems] == [("invalid_value", key)]
    else:
        assert (accepted[node][rest[0]] if rest else accepted[node]) == value


def test_precision_follows_the_hardware_profile_unless_set():
    settings = parse("train", config("features=musicnn", "data=demo_audio"))
    assert isinstance(settings, TrainSettings)
    assert (settings.trainer.precision, settings.features.precision) == ("auto", "auto")
    resolved = settings.with_precision("bf16-mixed")
    assert (resolved.trainer.precision, resolved.features.precision) == ("bf16-mixed", "bf16-mixed")
    explicit = parse("train", config("trainer.precision=32-true"))
    assert isinstance(explicit, TrainSettings)
    assert explicit.with_precision("bf16-mixed").trainer.precision == "32-true"


@pytest.mark.parametrize("value", ["mel", "features", "wav", "true"])
def test_only_decoded_audio_is_cached(value):
    with pytest.raises(ConfigError) as caught:
        parse(TrainSettings, config("data=demo_audio", "model=cnn", f"data.cache={value}"))
    (problem,) = caught.value.problems
    assert (problem.key, "features=NAME" in problem.message) == ("data.cache", True)
