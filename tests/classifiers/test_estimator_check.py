"""Parameters of estimators are checked by their own libraries before data is read."""

from __future__ import annotations

import pytest

from musicreclass.classifiers.factory import check_model
from musicreclass.errors import ConfigError
from tests.conftest import settings_for

REJECTED = {
    "model=svm model.estimator.kernel=foo": "model.estimator.kernel",
    "model=svm model.cv=1": "model.cv",
    "model=random_forest +model.oob_score=true +model.bootstrap=false": "model",
    "model=xgboost +model.booster=gblinear": "model.booster",
    "model=xgboost +model.eval_metric=[mlogloss,foo]": "model.eval_metric",
    "model=xgboost +model.gamma=-1": "model.gamma",
    "scheduler.pct_start=5": "scheduler",
    "scheduler.max_lr=1e30": "scheduler",
}


@pytest.mark.parametrize("text", REJECTED)
def test_a_parameter_is_rejected_by_name(text):
    with pytest.raises(ConfigError) as caught:
        check_model(settings_for(*text.split()), threads=1)
    assert (caught.value.kind, caught.value.key) == ("invalid_value", REJECTED[text])


@pytest.mark.parametrize(
    "text",
    ["model=svm", "model=logreg +model.class_weight=balanced", "model=xgboost +model.monotone_constraints=[1,0]"],
)
def test_valid_parameters_are_accepted(text):
    check_model(settings_for(*text.split()), threads=1)
