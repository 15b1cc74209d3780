"""The check before a run: every problem at once, one line each, before any data is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from musicreclass.config.check import Check, compose
from musicreclass.config.tree import Tree
from musicreclass.errors import ConfigError, Problem

BAD = {  # override: kind and key of the problem, and what it suggests
    "model=mpl": ("unknown_option", "model", "mlp"),
    "modle=mlp": ("unknown_key", "modle", "model"),
    "trainer.max_epoch=3": ("unknown_key", "trainer.max_epoch", "trainer.max_epochs"),
    "trainer.max_epochs=ten": ("wrong_value", "trainer.max_epochs", ""),
    "trainer.max_epochs=0": ("wrong_value", "trainer.max_epochs", ""),
    "trainer.batch_size=true": ("wrong_value", "trainer.batch_size", ""),
    "trainer.batch_size=1.5": ("wrong_value", "trainer.batch_size", ""),
    "seed=1.5": ("wrong_value", "seed", ""),
    "seed=true": ("wrong_value", "seed", ""),
    "seed=4294967296": ("wrong_value", "seed", ""),
    "+typo=1": ("unknown_key", "typo", ""),
    "+trainer.max_epoch=1": ("unknown_key", "trainer.max_epoch", "trainer.max_epochs"),
    "class_weight=balance": ("wrong_value", "class_weight", ""),
    "evaluate=[vald]": ("wrong_value", "evaluate", ""),
    "evaluate=valid": ("wrong_value", "evaluate", "evaluate=[valid]"),
    "evaluate=[]": ("wrong_value", "evaluate", ""),
    "optimizer.lr=-1": ("wrong_value", "optimizer.lr", ""),
    "optimizer.lr=fast": ("wrong_value", "optimizer.lr", ""),
    "optimizer.lr=nan": ("wrong_value", "optimizer.lr", ""),
    "optimizer.lr=inf": ("wrong_value", "optimizer.lr", ""),
    "model.dropout=nan": ("wrong_value", "model.dropout", ""),
    "model.dropout=1.5": ("wrong_value", "model.dropout", ""),
    "model.hidden=[0]": ("wrong_value", "model.hidden", ""),
    "model.hidden=64": ("wrong_value", "model.hidden", "model.hidden=[64]"),
    "data.root=2024": ("wrong_value", "data.root", "'data.root=\"2024\"'"),
    "data/split=randm": ("unknown_option", "data/split", "random"),
    "data.split=random": ("value_for_section", "data.split", ""),
    "trainer=fast": ("value_for_section", "trainer", ""),
    "foo/bar=1": ("unknown_group", "foo/bar", ""),
    "seed=1,2": ("sweep_without_multirun", "seed", ""),
    "seed": ("not_an_override", "seed", ""),
    "=1": ("not_an_override", "=1", ""),
    "data.root=/a b(1)": ("unparsable_value", "data.root", "'data.root=\"/a b(1)\"'"),
    "data.root=~/music": ("unparsable_value", "data.root", "'data.root=\"~/music\"'"),
    "data.path=données.csv": ("unparsable_value", "data.path", "'data.path=\"données.csv\"'"),
    "~seed": ("removed_key", "seed", ""),
    "~model": ("removed_group", "model", ""),
    "model=null": ("unknown_option", "model", ""),
    "experiment=null": ("unknown_option", "experiment", ""),
    "model.alpha=0.1": ("unknown_key", "model.alpha", "model.scale"),
    "data.split.folds=3": ("unknown_key", "data.split.folds", None),
    "data.ignore_columns=length": ("unknown_key", "data.ignore_columns", None),
    "+model.in_features=3": ("unknown_key", "model.in_features", None),
    "trainer.precision=banana": ("wrong_value", "trainer.precision", ""),
    "trainer.precision=64-true": ("wrong_value", "trainer.precision", ""),
    "trainer.monitor=/some/path": ("wrong_value", "trainer.monitor", ""),
    "hardware.accelerator=gpux": ("wrong_value", "hardware.accelerator", ""),
    "hardware.threads=0": ("wrong_value", "hardware.threads", ""),
    "hardware.monitor_interval=1e30": ("wrong_value", "hardware.monitor_interval", ""),
    "scheduler.interval=foo": ("wrong_value", "scheduler.interval", ""),
    "paths.outputs=": ("wrong_value", "paths.outputs", ""),
    "hydra.mode=MULTIRUN": ("fixed_key", "hydra.mode", ""),
    "hydra/launcher=nowhere": ("cannot_compose", "", ""),
    "data=table": ("missing_value", "data.path", ""),
    "class_weight=${nothing}": ("failed_interpolation", "class_weight", ""),
}


@pytest.mark.parametrize(("override", "expected"), BAD.items())
def test_an_error_is_one_problem(run, override, expected):
    kind, key, suggestion = expected
    result = run("train", override)
    assert result.code == 2
    (problem,) = result.problems
    assert (problem.kind, problem.key) == (kind, key)
    assert suggestion is None or problem.suggestion == suggestion
    assert result.lines == [problem.message]
    assert not Path("outputs").exists()


def test_all_errors_are_reported_at_once(run):
    result = run("train", "model=mpl", "trainer.max_epoch=3", "seed=x", "class_weight=some", "data/split=no", "+a.b=1")
    assert result.code == 2
    assert [(problem.kind, problem.key) for problem in result.problems] == [
        ("unknown_option", "model"),
        ("unknown_option", "data/split"),
        ("unknown_key", "trainer.max_epoch"),
        ("unknown_key", "a.b"),
        ("wrong_value", "seed"),
        ("wrong_value", "class_weight"),
    ]


INDIRECT = {
    "force=${oc.env:X}": ("false", "force"),
    "seed=${oc.env:X}": ("1", "seed"),
    "class_weight=${oc.env:X}": ("heavy", "class_weight"),
    "trainer.batch_size=${oc.env:X}": ("64", "trainer.batch_size"),
    "evaluate=${oc.env:X}": ("valid", "evaluate"),
    "evaluate=['${oc.env:X}']": ("vald", "evaluate"),
}


@pytest.mark.parametrize(("override", "expected"), INDIRECT.items())
def test_values_of_interpolations_are_checked(run, monkeypatch, override, expected):
    value, key = expected
    monkeypatch.setenv("X", value)
    result = run("train", override)
    assert result.code == 2
    (problem,) = result.problems
    assert (problem.kind, problem.key) == ("wrong_value", key)


def test_a_wrong_value_is_reported_where_it_is_set(here):
    """data.workers refers to hardware.workers."""
    with pytest.raises(ConfigError) as caught:
        compose("train", ["data=demo_audio", "model=cnn", "hardware.workers=many"])
    assert [problem.key for problem in caught.value.problems] == ["hardware.workers"]


def test_a_key_that_only_the_target_takes_may_be_added(here):
    cfg = compose("train", ["model=xgboost", "+model.gamma=1"])
    assert cfg.model.gamma == 1
    with pytest.raises(ConfigError) as caught:
        compose("train", ["model=xgboost", "+model.gama=1"])
    assert (caught.value.kind, caught.value.problems[0].suggestion) == ("unknown_key", "model.gamma")
    compose("train", ["model=svm", "+model.estimator.shrinking=false"])
    with pytest.raises(ConfigError) as caught:
        compose("train", ["model=logreg", "model.solver=saga"])
    assert (caught.value.kind, caught.value.problems[0].suggestion) == ("needs_plus", "+model.solver=saga")


@pytest.mark.parametrize("words", [
    ("model=svm", "model.estimator.gamma=0.01"), ("model=random_forest", "model.max_features=0.5"),
    ("model=xgboost", "model.early_stopping_rounds=null"), ("model=xgboost", "model.subsample=1"),
    ("optimizer.fused=false",), ("optimizer.fused=null",),
])  # fmt: skip
def test_parameters_of_other_libraries_follow_their_validation(words):
    compose("train", list(words))


@pytest.mark.parametrize("words", [
    ("-m", "data=table", "data.path=a.csv,b.csv"), ("-m", "model=glob(log*)"), ("-m", "seed=range(1,4)", "model=mlp,logreg"),
])  # fmt: skip
def test_valid_sweeps_pass_the_check(words):
    assert Check(Tree(), "train", list(words[1:]), multirun=True).problems() == []


def test_flags_may_stand_between_overrides(run):
    assert run("train", "model=mlp", "--cfg", "job", "seed=3").code == 0


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["train", "model=mpl", "seed=x"], ["compare", "nowhere"]]
)
def test_help_and_errors_import_nothing_heavy(here, words):
    code = (
        "import sys; from musicreclass.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pytorch_lightning', 'sklearn', 'xgboost', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "[]", process.stdout


def test_help_lists_groups_options_and_settings_with_their_help(run):
    result = run("train", "--help")
    assert result.code == 0
    for word in ("model", "[mlp]", "random_forest", "trainer.max_epochs=40", "--config-dir"):
        assert word in result.out
    explained = [line for line in result.out.splitlines() if line.startswith("  trainer.batch_size=64 ")]
    assert "effective batch" in explained[0]


def test_hydras_flags_work(run):
    result = run("train", "--cfg", "job", "--resolve", "seed=7")
    assert result.code == 0
    assert "seed: 7" in result.out
    # in a process of its own: it leaves a log handler behind
    process = subprocess.run(
        [sys.executable, "-m", "musicreclass", "train", "--info", "searchpath"], capture_output=True, text=True
    )
    assert process.returncode == 0
    assert "conf" in process.stdout
    result = run("train", "--cfg", "jobs")
    assert (result.code, len(result.lines)) == (2, 1)
    result = run("train", "--multi-run")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "--multirun" in result.lines[0]


def test_unknown_tasks_and_folders(run):
    for words, name in ((["trian"], "train"), (["train", "--config-dir", "nowhere"], "nowhere")):
        result = run(*words)
        assert (result.code, len(result.lines)) == (2, 1)
        assert name in result.lines[0]
    result = run("train", "-m", "run_dir=x")
    assert [problem.kind for problem in result.problems] == ["run_dir_in_multirun"]


def test_a_multirun_that_cannot_be_composed_ends_before_its_first_job(run):
    result = run("train", "-m", "model=mlp,mpl", "seed=1,x")
    assert result.code == 2
    assert [(problem.kind, problem.value) for problem in result.problems] == [
        ("unknown_option", "mpl"), ("wrong_value", "x"),
    ]  # fmt: skip
    assert not Path("outputs").exists()


def test_errors_in_a_users_files(run, here):
    experiment = here / "mine" / "experiment"
    experiment.mkdir(parents=True)
    (experiment / "typo.yaml").write_text("# @package _global_\ntrainer:\n  max_epoch: 3\nsed: 1\n")
    (experiment / "type.yaml").write_text("# @package _global_\ntrainer:\n  max_epochs: many\n")
    (experiment / "group.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: mpl\n")
    (experiment / "broken.yaml").write_text("# @package _global_\nseed: [1\n")
    expected = {
        "typo": [("unknown_key", "trainer.max_epoch"), ("unknown_key", "sed")],
        "type": [("wrong_value", "trainer.max_epochs")],
        "group": [("cannot_compose", "")],
        "broken": [("cannot_compose", "")],
    }
    for name, problems in expected.items():
        result = run("train", "--config-dir", "mine", f"experiment={name}")
        assert result.code == 2
        assert [(problem.kind, problem.key) for problem in result.problems] == problems
        assert len(result.lines) == len(problems), result.err
    for name, mentioned in {"group": "model/mpl", "broken": "broken.yaml"}.items():
        assert mentioned in run("train", "--config-dir", "mine", f"experiment={name}").lines[0]


def test_the_options_come_from_the_folders():
    tree = Tree()
    assert tree.groups["model"] == sorted(p.stem for p in Path("conf/model").glob("*.yaml"))


def problems(*words: str, multirun: bool = False) -> list[Problem]:
    return Check(Tree(None), "train", list(words), multirun).problems()


@pytest.mark.parametrize(
    "swept", [["seed=1,2"], ["model=mlp,xgboost"], ["data/split=random,grouped"], ["hardware=auto,cpu"]]
)
def test_a_comparison_may_be_scored_on_test(swept):
    assert problems("experiment=demo", *swept, multirun=True) == []


@pytest.mark.parametrize("swept", ["optimizer.lr=0.1,0.01", "model.dropout=choice(0.1,0.2)", "optimizer=adam,sgd", "trainer.max_epochs=range(1,4)",
                                   "optimizer.lr=interval(0.1,1)"])  # fmt: skip
def test_a_search_is_scored_on_test_only_on_request(swept):
    key = swept.partition("=")[0]
    (problem,) = problems("experiment=demo", "model=mlp", swept, multirun=True)
    assert (problem.kind, problem.key) == ("test_in_search", key)
    assert problems("experiment=demo", "model=mlp", swept, "evaluate=[valid]", multirun=True) == []
    assert problems("experiment=demo", "model=mlp", swept, "evaluate=[valid,test]", multirun=True) == []
    assert problems("data=demo", swept, multirun=True) == []
