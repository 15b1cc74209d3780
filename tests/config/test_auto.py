"""Preset values that depend on the size of the training data."""

from __future__ import annotations

from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.config.auto import MODEL_RULES, SMALL, TRAINER_RULES, Rule, Sizes, auto_values, resolve_auto
from musicreclass.config.check import train_settings
from musicreclass.config.fields import Auto, field_type, is_valid
from musicreclass.config.settings.models import ModelSettings
from musicreclass.config.settings.tasks import BY_TARGET, TrainSettings
from musicreclass.config.settings.training import TrainerSettings
from tests.conftest import MODELS, table_overrides

MODEL_FIELDS = [(target, key, rule) for target, rules in MODEL_RULES.items() for key, rule in rules.items()]
SIZES = st.builds(
    Sizes,
    tracks=st.integers(1, 200_000),
    features=st.integers(0, 2_000),
    classes=st.integers(1, 200),
    smallest_class=st.integers(1, 5_000),
)
CHANGED = {  # another value of each rule
    "dropout": 0.1, "cv": 7, "n_estimators": 11, "learning_rate": 0.07, "max_depth": 3, "subsample": 0.6,
    "colsample_bytree": 0.7, "early_stopping_rounds": 9,
}  # fmt: skip
TABLE_MODELS = {"mlp": "musicreclass.models.mlp.MLP", "svm": "sklearn.calibration.CalibratedClassifierCV", "xgboost": "xgboost.XGBClassifier"}  # fmt: skip


def allows_auto(annotation: object) -> bool:
    return annotation == Auto or any(part == Auto for part in get_args(annotation))


@given(SIZES)
def test_every_rule_gives_a_valid_value(sizes):
    for target, key, rule in MODEL_FIELDS:
        value = rule(sizes)
        assert value != "auto"
        assert is_valid(value, field_type(BY_TARGET[target].model_fields[key])), (target, key, value)
    for key, rule in TRAINER_RULES.items():
        assert is_valid(rule(sizes), field_type(TrainerSettings.model_fields[key]))


@given(SIZES, st.integers(0, 10_000))
def test_rules_are_monotone_in_the_number_of_tracks(sizes, more):
    """Larger tables get larger batches and steps, less regularisation, and fewer folds of calibration."""
    larger = Sizes(sizes.tracks + more, sizes.features, sizes.classes, sizes.smallest_class)
    boosting, mlp = MODEL_RULES["xgboost.XGBClassifier"], MODEL_RULES["musicreclass.models.mlp.MLP"]
    calibration = MODEL_RULES["sklearn.calibration.CalibratedClassifierCV"]
    rising: list[Rule] = [boosting[k] for k in ("learning_rate", "max_depth", "subsample", "colsample_bytree")]
    for rule in [*rising, TRAINER_RULES["batch_size"]]:
        assert rule(sizes) <= rule(larger)
    for rule in (mlp["dropout"], calibration["cv"]):
        assert rule(sizes) >= rule(larger)


@given(SIZES, st.integers(0, 100))
def test_calibration_has_a_track_of_each_class_in_every_fold(sizes, more):
    rule = MODEL_RULES["sklearn.calibration.CalibratedClassifierCV"]["cv"]
    larger = Sizes(sizes.tracks, sizes.features, sizes.classes, sizes.smallest_class + more)
    assert rule(sizes) <= max(2, sizes.smallest_class)
    assert rule(sizes) <= rule(larger)


@given(SIZES, st.integers(0, 1_000))
def test_trees_see_a_smaller_fraction_of_more_features(sizes, more):
    rule = MODEL_RULES["xgboost.XGBClassifier"]["colsample_bytree"]
    wider = Sizes(sizes.tracks, sizes.features + more, sizes.classes, sizes.smallest_class)
    assert rule(sizes) >= rule(wider)
    assert rule(sizes) * sizes.features >= min(sizes.features, 9.5)  # ten, rounded


def test_folds_of_nearly_equal_size_get_equal_values():
    for tracks in (400, SMALL * 3 // 4, SMALL * 4 // 3, 20_000):
        near = [Sizes(n, 57, 10, 30) for n in (tracks, tracks * 49 // 50, tracks * 51 // 50)]
        for _, _, rule in MODEL_FIELDS:
            assert len({rule(sizes) for sizes in near}) == 1


def test_every_key_that_may_be_auto_has_a_rule():
    for target, kind in BY_TARGET.items():
        if issubclass(kind, ModelSettings):
            keys = {name for name, field in kind.model_fields.items() if allows_auto(field.annotation)}
            assert keys == set(MODEL_RULES.get(target, {})), target
    names = [name for name, field in TrainerSettings.model_fields.items() if allows_auto(field.annotation)]
    assert set(names) - {"precision"} == set(TRAINER_RULES)  # precision depends on the machine


@pytest.mark.parametrize("model", MODELS)
def test_presets_are_resolved(model):
    settings = train_settings([f"model={model}"])
    for sizes in (Sizes(300, 57, 10, 20), Sizes(20_000, 518, 16, 400)):
        resolved = resolve_auto(settings, sizes)
        values = {**resolved.model.as_dict(), **({} if settings.model.is_estimator else resolved.trainer.as_dict())}
        assert "auto" not in {name: value for name, value in values.items() if name != "precision"}.values()
        assert resolve_auto(resolved, sizes) == resolved
    unresolved = {key for key in auto_values(settings, Sizes(300, 57, 10, 20)) if key.startswith("model.")}
    assert unresolved == {f"model.{key}" for key in MODEL_RULES.get(str(settings.model.target), {})}


@pytest.mark.parametrize("model", TABLE_MODELS)
def test_explicit_values_are_kept(model):
    rules = MODEL_RULES[TABLE_MODELS[model]]
    settings = train_settings([f"model={model}", *(f"model.{key}={CHANGED[key]}" for key in rules)])
    resolved = resolve_auto(settings, Sizes(300, 57, 10, 20))
    assert {key: getattr(resolved.model, key) for key in rules} == {key: CHANGED[key] for key in rules}
    explicit = train_settings(["trainer.batch_size=48"])
    assert resolve_auto(explicit, Sizes(300, 57, 10, 20)).trainer.batch_size == 48


def test_batches_of_audio_do_not_depend_on_the_tracks():
    settings: TrainSettings = train_settings(["model=cnn", "data=demo_audio"])
    assert {resolve_auto(settings, Sizes(n, 0, 6, 20)).trainer.batch_size for n in (100, 50_000)} == {64}


@pytest.mark.slow
def test_a_run_records_and_is_defined_by_the_resolved_values(run, table, here):
    """`auto` and the values that it stands for are one run, which is found again without training."""
    arguments = [*table_overrides(table), "model=xgboost", "model.n_estimators=6", "logger=none"]
    assert run("train", *arguments).code == 0
    (folder,) = (here / "outputs").glob("table-xgboost-*")
    provenance = yaml.safe_load((folder / "provenance.json").read_text())
    config = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    assert provenance["auto"]["model.max_depth"] == config["max_depth"] == 4
    assert "model.n_estimators" not in provenance["auto"]
    again = [f"{key}={'null' if value is None else value}" for key, value in provenance["auto"].items()]
    for overrides in ([], again):
        written = (folder / "status.json").read_bytes()
        assert run("train", *arguments, *overrides).code == 0
        assert (folder / "status.json").read_bytes() == written
    assert run("train", *arguments, "model.max_depth=3").code == 0
    assert len(list((here / "outputs").glob("table-xgboost-*"))) == 2


def test_large_tables_keep_the_values_that_the_benchmarks_measured():
    """The speed goals of benchmarks/README.md at 20,000 tracks hold for these."""
    large = Sizes(20_000, 518, 16, 400)
    model = resolve_auto(train_settings(["model=xgboost"]), large).model
    keys = ("n_estimators", "learning_rate", "max_depth", "subsample", "colsample_bytree", "early_stopping_rounds")
    assert [getattr(model, key) for key in keys] == [500, 0.3, 6, 1.0, 1.0, 25]
    mlp = resolve_auto(train_settings(["model=mlp"]), large)
    assert (mlp.model.as_dict()["dropout"], mlp.trainer.batch_size) == (0.3, 64)
