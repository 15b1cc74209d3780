"""Trees with numbers out of range are rejected before a library follows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicreclass.classifiers.tree_check import check_estimator, check_xgboost

FEATURES, CLASSES = 5, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return boosted(tmp_path_factory.mktemp("model") / "trees.ubj", CLASSES)


def boosted(path: Path, classes: int, **parameters: object) -> Path:
    import xgboost

    rng = np.random.default_rng(0)
    x, y = rng.random((200, FEATURES)), rng.integers(0, classes, 200)
    objective = (
        {"objective": "multi:softprob", "num_class": classes} if classes > 2 else {"objective": "binary:logistic"}
    )
    xgboost.train({**objective, "max_depth": 3, **parameters}, xgboost.DMatrix(x, y), 4)[:3].save_model(path)
    return path


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_saved_models_pass(tmp_path, classes, booster):
    path = boosted(tmp_path / "trees.ubj", classes, booster=booster)
    check_xgboost(path, FEATURES, classes)
    for features, others in ((FEATURES - 1, classes), (FEATURES, classes + 1)):
        with pytest.raises(ValueError, match="features"):
            check_xgboost(path, features, others)


def positions(data: bytes, name: str) -> list[tuple[int, int]]:
    """Where each tree's int32 array of a name begins in a file, and its length."""
    mark, at, spans = name.encode() + b"[$l#L", 0, []
    while (at := data.find(mark, at)) >= 0:
        at += len(mark)
        spans.append((at + 8, int.from_bytes(data[at : at + 8], "big")))
    return spans


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["left_children", "right_children", "parents", "split_indices"]),
    tree=st.integers(0, 8),
    value=st.sampled_from([-(2**31), -2, 1_000_000, 2**31 - 1]),
)
def test_a_number_out_of_range_is_rejected(model, tmp_path, name, tree, value):
    data = bytearray(model.read_bytes())
    start, n = positions(data, name)[tree]
    node = 0 if name != "parents" else 1
    assert n > 1
    data[start + 4 * node : start + 4 * node + 4] = value.to_bytes(4, "big", signed=True)
    path = tmp_path / "changed.ubj"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="tree"):
        check_xgboost(path, FEATURES, CLASSES)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_rejected_or_harmless(model, tmp_path, data):
    content = bytearray(model.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.ubj"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        check_xgboost(path, FEATURES, CLASSES)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return
    import xgboost

    try:
        booster = xgboost.Booster(model_file=path)
    except xgboost.core.XGBoostError:
        return
    assert booster.inplace_predict(np.zeros((2, FEATURES))).shape == (2, CLASSES)


@pytest.mark.parametrize("name", ["left_child", "right_child", "feature"])
@pytest.mark.parametrize("value", [-5, 10**6])
def test_a_forest_with_a_number_out_of_range_is_rejected(name, value):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline

    rng = np.random.default_rng(0)
    forest = RandomForestClassifier(3).fit(rng.random((50, FEATURES)), rng.integers(0, CLASSES, 50))
    pipeline = Pipeline([("classify", forest)])
    check_estimator(pipeline)
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"][name][0] = value
    tree.__setstate__(state)
    with pytest.raises(ValueError, match="tree"):
        check_estimator(pipeline)


def test_a_forest_with_other_features_is_rejected():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    x, y = rng.random((50, FEATURES)), rng.integers(0, CLASSES, 50)
    forest, wide = RandomForestClassifier(3).fit(x, y), RandomForestClassifier(3).fit(np.tile(x, 40), y)
    forest.estimators_[0] = wide.estimators_[0]
    with pytest.raises(ValueError, match="features"):
        check_estimator(forest)
    forest.estimators_[0].n_features_in_ = FEATURES
    with pytest.raises(ValueError, match="features"):
        check_estimator(forest)


@pytest.mark.parametrize("name", ["_dual_coef_", "support_", "_n_support", "support_vectors_", "_intercept_", "_probA"])
def test_support_vectors_that_do_not_fit_together_are_rejected(name):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    x, y = rng.random((60, FEATURES)), rng.integers(0, CLASSES, 60)
    model = CalibratedClassifierCV(SVC(), cv=2).fit(x, y)
    check_estimator(model)
    machine = model.calibrated_classifiers_[0].estimator
    setattr(machine, name, getattr(machine, name)[..., :1] if name != "_probA" else np.zeros(1))
    with pytest.raises(ValueError, match="support vectors"):
        check_estimator(model)


@pytest.mark.parametrize("classes", [2, 3])
def test_estimators_of_every_kind_pass(classes):
    from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, GradientBoostingClassifier
    from sklearn.svm import SVC, NuSVC

    rng = np.random.default_rng(0)
    x, y = rng.random((60, FEATURES)), np.arange(60) % classes
    trees = (
        ExtraTreesClassifier(3),
        GradientBoostingClassifier(n_estimators=2),
        BaggingClassifier(n_estimators=2, max_features=2),
    )
    for estimator in (*trees, SVC(), SVC(kernel="linear"), NuSVC()):
        check_estimator(estimator.fit(x, y))
