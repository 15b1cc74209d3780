"""Override lists that are wrong, or look wrong: each runs, or ends with exit code 2 before data is read and names every mistake."""

from __future__ import annotations

import subprocess
import sys

import pytest

from musicreclass.errors import UserError
from tests.conftest import table_overrides

pytestmark = pytest.mark.slow

HUGE = 2**70
NUMBERS = {  # settings with a number, by the options that they need
    "": ["seed", "trainer.max_epochs", "trainer.batch_size", "trainer.gradient_clip_norm", "trainer.label_smoothing", "optimizer.lr",
         "optimizer.weight_decay", "model.dropout", "early_stopping.patience", "early_stopping.min_delta", "data.split.valid", "data.split.seed",
         "data.min_class_tracks", "data.clips_per_artist", "hardware.threads", "hardware.workers", "hardware.prefetch", "hardware.micro_batch",
         "hardware.memory_margin", "hardware.gpu_share", "hardware.empty_cache_every", "hardware.monitor_interval", "hardware.devices",
         "hardware.nodes"],
    "model=xgboost": ["model.n_estimators", "model.learning_rate", "model.max_depth", "model.max_bin", "model.subsample",
                      "model.colsample_bytree", "model.early_stopping_rounds", "model.random_state", "model.n_jobs", "+model.gamma",
                      "+model.reg_lambda", "+model.min_child_weight", "+model.num_parallel_tree", "+model.base_score"],
    "model=svm": ["model.estimator.C", "model.estimator.cache_size", "model.cv", "+model.estimator.tol", "model.estimator.random_state"],
    "model=random_forest": ["model.n_estimators", "model.min_samples_leaf", "+model.max_depth"],
    "model=logreg": ["model.C", "model.max_iter", "+model.tol"],
    "optimizer=sgd": ["optimizer.momentum"],
    "scheduler=plateau": ["scheduler.factor", "scheduler.patience"],
    "data=demo_audio model=cnn": ["model.sample_rate", "model.channels", "model.depth", "model.frontend.n_fft", "model.frontend.hop_length",
                                  "model.frontend.n_mels", "model.frontend.f_min", "data.clip_seconds", "data.eval_crops"],
}  # fmt: skip
NEVER = ("nan", "abc", "[1]", "${oc.env:NO_SUCH_VARIABLE}", "${no.such.key}")  # no setting with a number takes these

REFUSED = {  # overrides: the key that the error names
    "optimizer.lr=0": "optimizer.lr", "optimizer.lr=inf": "optimizer.lr", "optimizer.lr=1e30": "optimizer.lr",
    "model.hidden=[0]": "model.hidden", "model.hidden=[1000000000000]": "model.hidden", "model.hidden={a:1}": "model.hidden",
    "hardware.threads=1000000": "hardware.threads", "trainer.monitor=/some/path": "trainer.monitor",
    "trainer={foo:1}": "trainer", "trainer=5": "trainer", "class_weight={blues:2}": "class_weight", "evaluate={valid:1}": "evaluate",
    "scheduler.pct_start=5": "scheduler", "+scheduler.div_factor=0": "scheduler", "scheduler=plateau scheduler.factor=5": "scheduler",
    "optimizer=adam +optimizer.betas=[2,3]": "optimizer", "optimizer=adam +optimizer.betas=[nan,0.9]": "optimizer.betas",
    "model=xgboost model.n_estimators=0": "model.n_estimators", "model=xgboost model.n_estimators=-5": "model.n_estimators",
    "model=xgboost model.max_depth=-1": "model.max_depth", "model=xgboost model.subsample=5": "model.subsample",
    "model=xgboost model.early_stopping_rounds=-1": "model.early_stopping_rounds", "model=xgboost +model.booster=foo": "model.booster",
    "model=xgboost +model.booster=gblinear": "model.booster", "model=xgboost +model.tree_method=foo": "model.tree_method",
    "model=xgboost +model.eval_metric=foo": "model.eval_metric", "model=xgboost +model.eval_metric=[mlogloss,foo]": "model.eval_metric",
    "model=xgboost +model.objective=foo": "model.objective", "model=xgboost +model.gamma=-1": "model.gamma",
    "model=xgboost +model.device=foo": "model.device", "model=xgboost +model.grow_policy=foo": "model.grow_policy",
    "model=xgboost +model.reg_alpha=x": "model.reg_alpha", "model=xgboost +model.monotone_constraints=foo": "model.monotone_constraints",
    "model=svm model.estimator.kernel=foo": "model.estimator.kernel", "model=svm model.estimator.C=-1": "model.estimator.C",
    "model=svm model.method=foo": "model.method", "model=svm model.cv=1": "model.cv", "model=svm model.estimator=foo": "model.estimator",
    "model=svm model.estimator._target_=os.system": "model.estimator._target_", "model=random_forest model.n_estimators=0": "model.n_estimators",
    "model=random_forest model.max_features=foo": "model.max_features", "model=random_forest +model.oob_score=true +model.bootstrap=false": "model",
    "model=random_forest model.n_jobs=0": "model.n_jobs", "model=logreg +model.solver=foo": "model.solver", "model=logreg model.C=0": "model.C",
    "model=logreg +model.penalty=l1": "model",
    "hydra.verbose=5": "hydra.verbose", "hydra.sweeper=5": "hydra.sweeper", "hydra.job.num=x": "hydra.job.num", "hydra.run.dir=null": "hydra.run.dir",
    "hydra.job.chdir=x": "hydra.job.chdir", "hydra.callbacks=5": "hydra.callbacks", "hydra.foo=1": "hydra.foo", "hydra.job_logging=5": "hydra.job_logging",
    "+hydra.callbacks.x._target_=os.system": "hydra.callbacks.x._target_", "hydra.launcher._target_=os.system": "hydra.launcher._target_",
    "hydra/launcher=foo": "hydra/launcher", "~hydra.run.dir": "hydra.run.dir", "hydra=5": "hydra", "hydra.mode=MULTIRUN": "hydra.mode",
    "-m hydra.sweeper.max_batch_size=0 seed=1,2": "hydra.sweeper.max_batch_size", "-m search=mlp hydra.sweeper.n_trials=0": "hydra.sweeper.n_trials",
    f"-m search=mlp hydra.sweeper.n_trials={HUGE}": "hydra.sweeper.n_trials", "-m search=mlp hydra.sweeper.params=5": "hydra.sweeper.params",
    "-m seed=range(0,1000000000)": "seed", "-m seed=range(0,2000) trainer.batch_size=range(1,2000)": "seed", "-m seed=range(1,0)": "seed",
    "-m seed=1,x": "seed", "-m model=mlp,nope": "model", "-m optimizer.lr=0.1,nan": "optimizer.lr", "-m optimizer.lr=interval(0.1,1)": "optimizer.lr",
    "-m search=mlp optimizer.lr=interval(nan,1)": "optimizer.lr", "-m search=mlp optimizer.lr=interval(1,0)": "optimizer.lr",
    "-m search=mlp optimizer.lr=interval(-1,1)": "optimizer.lr", "-m search=mlp model.dropout=interval(0,5)": "model.dropout", "-m seed=1,": "seed",
    "--package x": "--package", "--cfg job --package x": "x", "--shell-completion": "train", "--experimental-rerun x": "--experimental-rerun",
    "--config-dir /dev/null": "--config-dir", "--config-name x": "--config-name", "--foo": "train", "--resolve": "--resolve",
    "sede=1": "sede", "modle=mlp": "modle", "model=mpl": "model", "trainer.bach_size=5": "trainer.bach_size", "foo/bar=1": "foo/bar", "model=null": "model",
    "model=[mlp]": "model", "data=../../x": "data", "model@x=mlp": "", "=": "=", "seed": "seed", "seed==": "seed", "seed.x=1": "seed.x", "": "",
    "+a.b.c=1": "a.b.c", "~seed": "seed", "~model": "model", "run_dir=a,b": "run_dir", "run_dir=a'b": "run_dir", 'run_dir=a"b': "run_dir",
    "run_dir=a\x1b[31mb": "run_dir", "run_dir=a\x00b": "run_dir", "se\x1b[31med=1": "se\x1b[31med", "class_weight='\x1b[31m'": "class_weight",
    "data=table data.path='/nope/\udcff.csv'": "data.path", "run_dir='~nobody_such/x'": "run_dir", "data=table": "data.path",
    "data=table data.path=/dev/zero": "data.path", "data=table data.path=http://x/y.csv": "data.path", "seed=" + "9" * 9999: "seed",
    "seed=" + "[" * 2000: "seed", "seed=${seed}": "seed", "seed=${trainer}": "seed", "force=${oc.env:TEXT}": "force", "evaluate=${oc.env:TEXT}": "evaluate",
    "model._target_=os.system": "model._target_", "model._target_=sys.exit": "model._target_", "model._target_=torch.hub.load": "model._target_",
    "model._target_=a.b": "model._target_", "model._target_=5": "model._target_", "model._target_=xgboost.XGBRFClassifier": "model._target_",
    "optimizer._target_=shutil.rmtree": "optimizer._target_", "scheduler._target_=os.system": "scheduler._target_",
}  # fmt: skip
ACCEPTED = [
    "model=mlp", "model.hidden=[]", "model.dropout=1", "scheduler=plateau", "scheduler=cosine", "scheduler=none", "optimizer=sgd", "++seed=1",
    "run_dir='a,b'", r"run_dir=a\\b", "seed=4294967295", "trainer={max_epochs:2}", "model=xgboost model.n_estimators=2",
    "model=xgboost model.n_estimators=2 +model.booster=dart", "model=xgboost model.n_estimators=2 +model.tree_method=hist +model.eval_metric=merror",
    "model=xgboost model.n_estimators=2 +model.monotone_constraints=[1,0]", "model=svm", "model=random_forest model.n_estimators=3",
    "model=logreg +model.solver=saga model.max_iter=5", "hydra.job.name=x", "hydra.verbose=false",
]  # fmt: skip


class DataWasReadError(UserError):
    """Stands in for reading data."""


def split(text: str) -> list[str]:
    return text.split(" ") if not text.startswith(("data=table data.path='", "\x1b")) else text.split(" ", 1)


@pytest.mark.parametrize("value", NEVER)
@pytest.mark.parametrize("options", NUMBERS)
def test_every_mistake_of_a_command_is_named(run, options, value):
    keys = [
        key for key in NUMBERS[options] if not key.startswith("+") or value not in ("abc", "[1]")
    ]  # libraries check these
    result = run("train", *options.split(), *(f"{key}={value}" for key in keys))
    assert result.code == 2
    assert [key for key in keys if key.lstrip("+") not in {problem.key for problem in result.problems}] == []
    assert len(result.lines) == len(keys)


def test_every_number_is_limited(run):
    keys = [key for key in NUMBERS[""] if key not in ("trainer.gradient_clip_norm", "early_stopping.min_delta")]
    result = run("train", *(f"{key}={HUGE}" for key in keys))
    assert sorted(problem.key for problem in result.problems) == sorted(keys)


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:60])
def test_a_mistake_is_named_before_data_is_read(run, monkeypatch, text):
    def read(*_):
        raise DataWasReadError("data was read", "data_was_read")

    monkeypatch.setattr("musicreclass.tasks.plan.open_data", read)
    monkeypatch.setenv("TEXT", "false")
    result = run("train", *split(text))
    keys = [problem.key for problem in result.problems]
    assert result.code == 2, result.err
    assert "data_was_read" not in [problem.kind for problem in result.problems]
    assert REFUSED[text] in keys or any(REFUSED[text] in line for line in result.lines), result.err
    assert len(result.lines) == len(result.problems) <= 3
    assert "\x1b" not in result.err


@pytest.mark.parametrize("text", ACCEPTED)
def test_an_unusual_list_runs(run, table, text):
    result = run("train", *table_overrides(table), "trainer.max_epochs=1", *split(text))
    assert result.code == 0, result.err


@pytest.mark.parametrize("text", ["seed=x", "model=svm model.cv=0", "hydra.verbose=5", "--package x", "run_dir=\udcff"])
def test_the_command_line_as_a_process(here, text):
    command = [sys.executable, "-m", "musicreclass", "train", *split(text)]
    done = subprocess.run(command, capture_output=True, cwd=here, timeout=300)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 2  # the second: starting ...
    assert not list(here.rglob("*.json"))
