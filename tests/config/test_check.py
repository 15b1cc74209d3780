"""The check ahead of a run: every problem at once, one line each, before any data is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from musicreclass.config.check import Check, compose
from musicreclass.config.tree import Tree
from musicreclass.errors import ConfigError

BAD = {
    "model=mpl": "model=mpl: no such option; did you mean mlp?",
    "modle=mlp": "modle: no such key; did you mean model?",
    "trainer.max_epoch=3": "trainer.max_epoch: no such key; did you mean trainer.max_epochs?",
    "trainer.max_epochs=ten": "trainer.max_epochs=ten: must be a whole number, at least 1",
    "trainer.max_epochs=0": "trainer.max_epochs=0: must be a whole number, at least 1",
    "trainer.batch_size=true": "trainer.batch_size=True: must be a whole number, at least 1",
    "seed=1.5": "seed=1.5: must be a whole number, at least 0",
    "+typo=1": "+typo: no such key; --help lists them",
    "+trainer.max_epoch=1": "+trainer.max_epoch: no such key; did you mean trainer.max_epochs?",
    "class_weight=balance": "class_weight=balance: must be none or balanced",
    "evaluate=[vald]": "evaluate=['vald']: must be a list of train or valid or test",
    "evaluate=valid": "evaluate=valid: must be a list of train or valid or test; write evaluate=[valid]",
    "optimizer.lr=-1": "optimizer.lr=-1: must be a number, above 0",
    "optimizer.lr=fast": "optimizer.lr=fast: must be a number, above 0",
    "data.root=2024": "data.root=2024: must be text, or null; quote it: 'data.root=\"2024\"'",
    "data/split=randm": "data/split=randm: no such option; did you mean random?",
    "data.split=random": "data.split=random: data.split is a group of settings: choose with data/split=random",
    "trainer=fast": "trainer=fast: trainer is a group of settings: set trainer.NAME=...",
    "foo/bar=1": "foo/bar=1: no such group; ",
    "seed=1,2": "seed=1,2: several values are a sweep, which needs -m (or a list: [1,2])",
    "seed": "seed: an override is KEY=VALUE, as in seed=1",
    "data.root=/a b(1)": "data.root=/a b(1): cannot be read; quote the value: 'data.root=\"/a b(1)\"'",
    "data.root=~/music": "data.root=~/music: cannot be read; quote the value: 'data.root=\"~/music\"'",
    "~seed": "~seed: a key cannot be taken away; give it another value",
    "model.alpha=0.1": "model.alpha: no such key; did you mean model.",
    "data.split.folds=3": "data.split.folds: no such key",
    "evaluate=[]": "evaluate=[]: must be a list of train or valid or test",
    "trainer.precision=banana": "trainer.precision=banana: must be 32-true or 16-mixed",
    "hardware.accelerator=gpux": "hardware.accelerator=gpux: must be auto or cpu",
    "hydra.mode=MULTIRUN": "hydra.mode=MULTIRUN: cannot be set; -m makes a multirun",
    "~model": "~model: a group cannot be taken away",
    "model=null": "model=null: no such option; there is cnn, cnn_small, logreg, mlp",
    "experiment=null": "experiment=null: no such option",
    "data.path=données.csv": "data.path=données.csv: cannot be read; quote the value: 'data.path=\"données.csv\"'",
    "run_dir=~/r": "run_dir=~/r: cannot be read; quote the value",
    "data.ignore_columns=length": "data.ignore_columns: no such key",
    "=1": "=1: an override is KEY=VALUE, as in seed=1",
    "paths.outputs=": "paths.outputs=: must be filled text",
    "scheduler.interval=foo": "scheduler.interval=foo: must be epoch or step",
    "seed=true": "seed=True: must be a whole number",
    "+model.in_features=3": "+model.in_features: no such key",
    "trainer.precision=64-true": "trainer.precision=64-true: must be 32-true",
    "data=table": "data.path: a value is needed: data.path=...",
    "hydra/launcher=nowhere": "In 'hydra/config': Could not find 'hydra/launcher/nowhere'",
    "class_weight=${nothing}": "class_weight: Interpolation key 'nothing' not found",
}


@pytest.mark.parametrize(("override", "line"), BAD.items())
def test_a_mistake_is_one_line(run, override, line):
    result = run("train", override)
    assert result.code == 2
    assert len(result.lines) == 1, result.err
    assert result.lines[0].startswith(line)
    assert not Path("outputs").exists()


def test_all_mistakes_are_told_at_once(run):
    result = run("train", "model=mpl", "trainer.max_epoch=3", "seed=x", "class_weight=some", "data/split=no", "+a.b=1")
    assert result.code == 2
    assert [line.split(":")[0] for line in result.lines] == [
        "model=mpl", "data/split=no", "trainer.max_epoch", "+a.b", "seed=x", "class_weight=some",
    ]  # fmt: skip


def test_a_key_that_only_the_target_knows_may_be_added(here):
    cfg = compose("train", ["model=xgboost", "+model.gamma=1"])
    assert cfg.model.gamma == 1
    with pytest.raises(ConfigError, match=r"\+model.gama: no such key; did you mean model.gamma"):
        compose("train", ["model=xgboost", "+model.gama=1"])
    compose("train", ["model=svm", "+model.estimator.shrinking=false"])
    with pytest.raises(ConfigError, match=r"model\.solver=saga: .* add it with a plus: \+model\.solver=saga"):
        compose("train", ["model=logreg", "model.solver=saga"])


@pytest.mark.parametrize("words", [
    ("model=svm", "model.estimator.gamma=0.01"), ("model=random_forest", "model.max_features=0.5"),
    ("model=xgboost", "model.early_stopping_rounds=null"), ("model=xgboost", "model.subsample=1"), ("optimizer.fused=null",),
])  # fmt: skip
def test_other_libraries_parameters_take_what_those_libraries_take(words):
    compose("train", list(words))


@pytest.mark.parametrize("words", [
    ("-m", "data=table", "data.path=a.csv,b.csv"), ("-m", "model=glob(log*)"), ("-m", "seed=range(1,4)", "model=mlp,logreg"),
])  # fmt: skip
def test_sweeps_that_are_legal_pass_the_check(words):
    assert Check(Tree(), "train", list(words[1:]), multirun=True).problems() == []


def test_flags_may_stand_between_overrides(run):
    assert run("train", "model=mlp", "--cfg", "job", "seed=3").code == 0


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["train", "model=mpl", "seed=x"], ["compare", "nowhere"]]
)
def test_help_and_mistakes_import_nothing_heavy(here, words):
    code = (
        "import sys; from musicreclass.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pytorch_lightning', 'sklearn', 'xgboost', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]", told.stdout


def test_help_lists_groups_options_and_settings(run):
    result = run("train", "--help")
    assert result.code == 0
    for word in ("model", "[mlp]", "random_forest", "trainer.max_epochs=40", "--config-dir"):
        assert word in result.out


def test_hydras_flags_work(run):
    result = run("train", "--cfg", "job", "--resolve", "seed=7")
    assert result.code == 0
    assert "seed: 7" in result.out
    # in a process of its own: it leaves a log handler behind
    told = subprocess.run(
        [sys.executable, "-m", "musicreclass", "train", "--info", "searchpath"], capture_output=True, text=True
    )
    assert told.returncode == 0
    assert "conf" in told.stdout
    result = run("train", "--cfg", "jobs")
    assert result.code == 2
    assert len(result.lines) == 1
    result = run("train", "--multi-run")
    assert result.lines == ["train: unrecognized arguments: --multi-run; did you mean --multirun?"]


def test_unknown_tasks_and_folders(run):
    assert run("trian").lines == ["trian: no such task; did you mean train?"]
    assert run("train", "--config-dir", "nowhere").lines == ["--config-dir nowhere: there is no such folder"]
    assert run("train", "-m", "run_dir=x").lines == [
        "run_dir: one folder cannot hold the runs of a multirun; leave it out with -m"
    ]


def test_a_multirun_that_cannot_be_composed_ends_before_its_first_job(run):
    result = run("train", "-m", "model=mlp,mpl", "seed=1,x")
    assert result.code == 2
    assert result.lines == [
        "model=mpl: no such option; did you mean mlp?",
        "seed=x: must be a whole number, at least 0, at most 4294967295",
    ]
    assert not Path("outputs").exists()


def test_mistakes_in_ones_own_files(run, here):
    experiment = here / "mine" / "experiment"
    experiment.mkdir(parents=True)
    (experiment / "typo.yaml").write_text("# @package _global_\ntrainer:\n  max_epoch: 3\nsed: 1\n")
    (experiment / "type.yaml").write_text("# @package _global_\ntrainer:\n  max_epochs: many\n")
    (experiment / "group.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: mpl\n")
    (experiment / "broken.yaml").write_text("# @package _global_\nseed: [1\n")
    first = {
        "typo": [
            "trainer.max_epoch: no such key; did you mean trainer.max_epochs?",
            "sed: no such key; did you mean seed?",
        ],
        "type": ["trainer.max_epochs=many: must be a whole number, at least 1"],
    }
    for name, lines in first.items():
        result = run("train", "--config-dir", "mine", f"experiment={name}")
        assert (result.code, result.lines) == (2, lines)
    for name, words in {"group": "model/mpl", "broken": "broken.yaml"}.items():
        result = run("train", "--config-dir", "mine", f"experiment={name}")
        assert result.code == 2
        assert len(result.lines) == 1, result.err
        assert words in result.lines[0]


def test_the_check_and_the_options_it_offers_come_from_the_folders():
    tree = Tree()
    assert tree.groups["model"] == sorted(p.stem for p in Path("conf/model").glob("*.yaml"))


def problems(*words: str, multirun: bool = False) -> list[str]:
    return Check(Tree(None), "train", list(words), multirun).problems()


@pytest.mark.parametrize(
    "swept", [["seed=1,2"], ["model=mlp,xgboost"], ["data/split=random,grouped"], ["hardware=auto,cpu"]]
)
def test_a_comparison_may_be_scored_on_test(swept):
    assert problems("experiment=demo", *swept, multirun=True) == []


@pytest.mark.parametrize("swept", ["optimizer.lr=0.1,0.01", "model.dropout=choice(0.1,0.2)", "optimizer=adam,sgd", "trainer.max_epochs=range(1,4)",
                                   "optimizer.lr=interval(0.1,1)"])  # fmt: skip
def test_a_search_is_not_scored_on_test_unless_told(swept):
    key = swept.partition("=")[0]
    (line,) = problems("experiment=demo", "model=mlp", swept, multirun=True)
    assert line.startswith(
        f"{key}: a sweep over it is a search, and its runs would be scored on test: add evaluate=[valid]"
    )
    assert problems("experiment=demo", "model=mlp", swept, "evaluate=[valid]", multirun=True) == []
    assert problems("experiment=demo", "model=mlp", swept, "evaluate=[valid,test]", multirun=True) == []
    assert problems("data=demo", swept, multirun=True) == []
