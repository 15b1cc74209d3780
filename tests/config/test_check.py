"""The check before a run: every problem at once, one line each, before any data is read."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from musicreclass.config.check import Check, compose, train_settings
from musicreclass.config.tree import Tree
from musicreclass.errors import ConfigError, Problem
from musicreclass.runs.signature import signed_settings
from musicreclass.tasks.find_or_train import check_files

BAD = {  # override: kind and key of the problem, and what it suggests
    "model=mpl": ("unknown_option", "model", "mlp"),
    "modle=mlp": ("unknown_key", "modle", "model"),
    "lr=0.1": ("unknown_key", "lr", "optimizer.lr"),
    "trainer.max_epoch=3": ("unknown_key", "trainer.max_epoch", "trainer.max_epochs"),
    "trainer.accumulate_grad_batches=4": ("unknown_key", "trainer.accumulate_grad_batches", "hardware.micro_batch"),
    "epochs=4": ("unknown_key", "epochs", "trainer.max_epochs"),
    "data=[gtzan,demo]": ("input_mismatch", "data", ""),
    "data=[gtzan,gtzna]": ("unknown_option", "data", "gtzan"),
    "data=[gtzan,gtzan]": ("repeated_option", "data", ""),
    "model=[mlp,svm]": ("several_options", "model", ""),
    "trainer.max_epochs=ten": ("invalid_value", "trainer.max_epochs", ""),
    "trainer.max_epochs=0": ("invalid_value", "trainer.max_epochs", ""),
    "trainer.batch_size=true": ("invalid_value", "trainer.batch_size", ""),
    "trainer.batch_size=1.5": ("invalid_value", "trainer.batch_size", ""),
    "seed=1.5": ("invalid_value", "seed", ""),
    "seed=true": ("invalid_value", "seed", ""),
    "seed=4294967296": ("invalid_value", "seed", ""),
    "+typo=1": ("unknown_key", "typo", ""),
    "+trainer.max_epoch=1": ("unknown_key", "trainer.max_epoch", "trainer.max_epochs"),
    "class_weight=balance": ("invalid_value", "class_weight", ""),
    "evaluate=[vald]": ("invalid_value", "evaluate", ""),
    "evaluate=valid": ("invalid_value", "evaluate", "evaluate=[valid]"),
    "evaluate=[]": ("invalid_value", "evaluate", ""),
    "trainer.batch_size=1180591620717411303424": ("invalid_value", "trainer.batch_size", ""),
    "hardware.threads=1000000": ("invalid_value", "hardware.threads", ""),
    "scheduler.pct_start=nan": ("invalid_value", "scheduler.pct_start", ""),
    "model.hidden={a:1}": ("invalid_value", "model.hidden", ""),
    "hydra.verbose=5": ("invalid_value", "hydra.verbose", ""),
    "hydra.sweeper=5": ("invalid_value", "hydra.sweeper", ""),
    "+hydra.callbacks.x._target_=shutil.rmtree": ("invalid_target", "hydra.callbacks.x._target_", ""),
    "optimizer.lr=-1": ("invalid_value", "optimizer.lr", ""),
    "optimizer.lr=fast": ("invalid_value", "optimizer.lr", ""),
    "optimizer.lr=nan": ("invalid_value", "optimizer.lr", ""),
    "optimizer.lr=inf": ("invalid_value", "optimizer.lr", ""),
    "model.dropout=nan": ("invalid_value", "model.dropout", ""),
    "model.dropout=1.5": ("invalid_value", "model.dropout", ""),
    "model.hidden=[0]": ("invalid_value", "model.hidden", ""),
    "model.hidden=64": ("invalid_value", "model.hidden", "model.hidden=[64]"),
    "data.root=2024": ("invalid_value", "data.root", "'data.root=\"2024\"'"),
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
    "data.group_by=tag": ("unknown_key", "data.group_by", None),
    "+model.in_features=3": ("fixed_key", "model.in_features", ""),
    "+model.num_classes=3": ("fixed_key", "model.num_classes", ""),
    "model.input=tabel": ("invalid_value", "model.input", ""),
    "trainer.precision=banana": ("invalid_value", "trainer.precision", ""),
    "trainer.precision=64-true": ("invalid_value", "trainer.precision", ""),
    "trainer.monitor=/some/path": ("invalid_value", "trainer.monitor", ""),
    "hardware.accelerator=gpux": ("invalid_value", "hardware.accelerator", ""),
    "hardware.threads=0": ("invalid_value", "hardware.threads", ""),
    "hardware.monitor_interval=1e30": ("invalid_value", "hardware.monitor_interval", ""),
    "scheduler.interval=foo": ("invalid_value", "scheduler.interval", ""),
    "paths.outputs=": ("invalid_value", "paths.outputs", ""),
    "run_dir=": ("invalid_value", "run_dir", "run_dir=null"),
    "data.root=": ("invalid_value", "data.root", "data.root=null"),
    "hydra.mode=MULTIRUN": ("fixed_key", "hydra.mode", ""),
    "hydra/launcher=nowhere": ("cannot_compose", "hydra/launcher", ""),
    "data=table": ("missing_value", "data.path", ""),
    "class_weight=${nothing}": ("failed_interpolation", "class_weight", ""),
    "seed=${oc.env:NOT_SET}": ("failed_interpolation", "seed", ""),
    "seed=${no_resolver:3}": ("failed_interpolation", "seed", ""),
    "hydra.job.name=${nothing}": ("failed_interpolation", "hydra.job.name", ""),
}


SNAPSHOT = Path(__file__).parents[1] / "files" / "messages.txt"


def title(arguments: list[str]) -> str:
    """The line above the messages of a command in the snapshot."""
    return f"$ musicreclass train {' '.join(arguments)}"


@cache
def snapshot() -> dict[str, list[str]]:
    """The stored messages of each command; see tests/config/test_messages.py."""
    blocks = SNAPSHOT.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    return {block.split("\n")[0]: block.split("\n")[1:] for block in blocks}


def test_a_failed_interpolation_is_reported_where_it_is_set(run):
    result = run("train", "optimizer.lr=${nothing}")  # scheduler.max_lr refers to it
    assert [problem.key for problem in result.problems] == ["optimizer.lr"]


def test_a_failed_interpolation_in_a_file_names_its_key_and_the_reference(run, here):
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "x.yaml").write_text("defaults: [mlp]\nhidden: [8, '${nothing.here}']\n")
    (problem,) = run("train", "--config-dir", "mine", "model=x").problems
    assert (problem.kind, problem.key, problem.value) == ("failed_interpolation", "model.hidden", "nothing.here")


@pytest.mark.parametrize("override", [f"model.hidden=[{'1,' * 30000}1]", f"{'a b' * 20000}=1", "+seed=" + "[" * 60000])
def test_an_override_of_excessive_length_is_rejected_at_once(run, override):
    start = time.process_time()
    (problem,) = run("train", override).problems
    assert time.process_time() - start < 1
    assert (problem.kind, problem.value) == ("too_long", len(override))
    assert len(problem.message) < 200


@pytest.mark.parametrize(("override", "expected"), BAD.items())
def test_an_error_is_one_problem(run, override, expected):
    kind, key, suggestion = expected
    result = run("train", override)
    assert result.code == 2
    (problem,) = result.problems
    assert (problem.kind, problem.key) == (kind, key)
    assert suggestion is None or problem.suggestion == suggestion
    assert result.lines == [problem.message]
    assert result.lines == snapshot()[title([override])]
    assert not Path("outputs").exists()


def test_all_errors_are_reported_at_once(run):
    result = run("train", "model=mpl", "trainer.max_epoch=3", "seed=x", "class_weight=some", "data/split=no", "+a.b=1")
    assert result.code == 2
    assert [(problem.kind, problem.key) for problem in result.problems] == [
        ("unknown_option", "model"),
        ("unknown_option", "data/split"),
        ("unknown_key", "trainer.max_epoch"),
        ("unknown_key", "a.b"),
        ("invalid_value", "seed"),
        ("invalid_value", "class_weight"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "problem", "named"),
    [
        ("x.yml", "_target_: a.B\n", ("unknown_option", "model", "x.yaml"), "x.yml"),
        ("x.yaml", "_target_: a.B\ninput\nwidth: 3\n", ("invalid_yaml", "{folder}/model/x.yaml", ""), "line 3"),
        (
            "x.yaml",
            "_target_: a.B\n\tinput: table\n",
            ("invalid_yaml", "{folder}/model/x.yaml", ""),
            "line 2: use spaces",
        ),
        ("x.yaml", "_target_: Tiny\ninput: table\n", ("import_failed", "model._target_", ""), "module.Class"),
    ],
)
def test_a_users_file_with_a_mistake(run, here, name, text, problem, named):
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / name).write_text(text)
    result = run("train", "--config-dir", "mine", "model=x", "+model.width=3" if "Tiny" in text else "seed=1")
    kind, key, suggestion = problem
    expected = (kind, key.format(folder=here / "mine"), suggestion)
    assert (result.code, [(p.kind, p.key, p.suggestion) for p in result.problems]) == (2, [expected])
    assert named in result.problems[0].message


def test_defaults_with_an_option_that_does_not_exist(run, here):
    (here / "mine" / "data").mkdir(parents=True)
    (here / "mine" / "data" / "x.yaml").write_text("defaults: [{split: atuo}]\n_target_: a.B\nprovides: [table]\n")
    result = run("train", "--config-dir", "mine", "data=x")
    (problem,) = result.problems
    assert (problem.kind, problem.key, problem.value, problem.suggestion) == (
        "unknown_option",
        "data/split",
        "atuo",
        "auto",
    )
    assert str(here / "mine" / "data" / "x.yaml") in problem.message


def test_a_message_lists_six_alternatives(run, here):
    (here / "mine" / "data").mkdir(parents=True)
    for number in range(9):
        (here / "mine" / "data" / f"x{number}.yaml").write_text("provides: [waveform]\n")
    (problem,) = run("train", "--config-dir", "mine", "data=demo", "model=cnn").problems
    assert (problem.kind, problem.message.count("|x") <= 6, problem.message.endswith("|...")) == (
        "input_mismatch",
        True,
        True,
    )


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
    assert (problem.kind, problem.key) == ("invalid_value", key)
    assert ("oc.decode" in problem.suggestion) == (value in ("false", "1", "64"))


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("label_separator", "data.label_separator=null"),
        ("group_column", "data.group_column=null"),
        ("split_column", "data.split_column=null"),
        ("label_column", ""),
        ("id_column", ""),
        ("path", ""),
    ],
)
def test_an_empty_text_is_rejected_with_advice_that_works(run, key, suggestion):
    """An empty value stands for a character that the shell or Hydra has read, or for a variable that is not set."""
    (problem,) = run("train", "data=table", "data.path=x.csv", f"data.{key}=").problems
    assert (problem.kind, problem.key, problem.value, problem.suggestion) == (
        "invalid_value", f"data.{key}", "", suggestion,
    )  # fmt: skip
    assert "oc.decode" not in problem.message


def test_text_can_be_decoded(run, monkeypatch):
    monkeypatch.setenv("X", "7")
    result = run("train", 'seed="${oc.decode:${oc.env:X}}"', "data=demo", "--cfg", "job", "--resolve")
    assert result.code == 0, result.err
    assert "seed: 7" in result.out.splitlines()


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


@pytest.mark.parametrize("arguments", [
    ("model=svm", "model.estimator.gamma=0.01"), ("model=random_forest", "model.max_features=0.5"),
    ("model=xgboost", "model.early_stopping_rounds=null"), ("model=xgboost", "model.subsample=1"),
    ("optimizer.fused=false",), ("optimizer.fused=null",),
])  # fmt: skip
def test_parameters_of_other_libraries_follow_their_validation(arguments):
    compose("train", list(arguments))


@pytest.mark.parametrize("arguments", [
    ("-m", "data=table", "data.path=a.csv,b.csv"), ("-m", "model=glob(log*)"), ("-m", "seed=range(1,4)", "model=mlp,logreg"),
])  # fmt: skip
def test_valid_sweeps_pass_the_check(arguments):
    assert Check(Tree(), "train", list(arguments[1:]), multirun=True).problems() == []


@pytest.mark.slow
def test_settings_of_swept_options_are_left_to_the_jobs(run, here):
    arguments = ["model=xgboost,random_forest", "model.n_estimators=3", "data=demo", "seed=1", "class_weight='none'"]
    check = Check(Tree(), "train", arguments, multirun=True)
    assert check.problems() == []
    assert check.per_job() == [arguments[0], "model.n_estimators=choice(3)", *arguments[2:]]
    assert check.jobs() == 2
    result = run("train", "-m", *arguments, "logger=none", "hardware=cpu")
    assert result.code == 0, result.err
    runs = list((here / "outputs").glob("demo-*"))
    assert sorted(folder.name.split("-")[1] for folder in runs) == ["random_forest", "xgboost"]
    assert all("n_estimators: 3\n" in (folder / "config.yaml").read_text() for folder in runs)
    (problem,) = problems("model=xgboost,mlp", "model.n_estimators=3", multirun=True)
    assert (problem.kind, problem.key) == ("unknown_key", "model.n_estimators")


def test_flags_may_stand_between_overrides(run):
    assert run("train", "model=mlp", "--cfg", "job", "seed=3").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["train", "--help"],
        ["train", "model=mpl", "seed=x"],
        ["compare", "nowhere"],
        ["completion", "--line", "musicreclass train model="],
    ],
)
def test_help_and_errors_import_nothing_heavy(here, arguments):
    code = (
        "import sys; from musicreclass.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pytorch_lightning', 'sklearn', 'xgboost', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "[]", process.stdout


def test_help_lists_groups_options_and_settings_with_their_help(run):
    result = run("train", "--help")
    assert result.code == 0
    for word in ("model", "[mlp]", "random_forest", "trainer.max_epochs=40", "--config-dir"):
        assert word in result.out
    explained = [line for line in result.out.splitlines() if line.startswith("  trainer.batch_size=auto ")]
    assert "effective batch" in explained[0]


def test_hydras_flags_work(run):
    result = run("train", "--cfg", "job", "--resolve", "seed=7")
    assert result.code == 0
    assert "seed: 7" in result.out
    # in a separate process, since it leaves a log handler behind
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
    for arguments, name in ((["trian"], "train"), (["train", "--config-dir", "nowhere"], "nowhere")):
        result = run(*arguments)
        assert (result.code, len(result.lines)) == (2, 1)
        assert name in result.lines[0]
    result = run("train", "-m", "run_dir=x")
    assert [problem.kind for problem in result.problems] == ["run_dir_in_multirun"]


def test_a_multirun_that_cannot_be_composed_ends_before_its_first_job(run):
    result = run("train", "-m", "model=mlp,mpl", "seed=1,x")
    assert result.code == 2
    assert [(problem.kind, problem.value) for problem in result.problems] == [
        ("unknown_option", "mpl"), ("invalid_value", "x"),
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
        "type": [("invalid_value", "trainer.max_epochs")],
        "group": [("unknown_option", "model")],
        "broken": [("invalid_yaml", str(experiment / "broken.yaml"))],
    }
    for name, problems in expected.items():
        result = run("train", "--config-dir", "mine", f"experiment={name}")
        assert result.code == 2
        assert [(problem.kind, problem.key) for problem in result.problems] == problems
        assert len(result.lines) == len(problems), result.err
    for name, mentioned in {"group": "model=mpl", "broken": "broken.yaml"}.items():
        assert mentioned in run("train", "--config-dir", "mine", f"experiment={name}").lines[0]


def test_a_broken_file_is_reported_only_if_it_is_chosen(run, here):
    """Data and model that do not fit make the check read all options to find alternatives."""
    for group in ("model", "data"):
        folder = here / "mine" / group
        (folder / "folder.yaml").mkdir(parents=True)
        (folder / "broken.yaml").write_text("a: [1\n")
        (folder / "latin.yaml").write_bytes(b"# caf\xe9\n")
        (folder / "list.yaml").write_text("- 1\n")
        (folder / "reference.yaml").write_text("input: ${nowhere}\nprovides: ${nowhere}\n")
    command = ["train", "--config-dir", "mine", "data=demo"]
    assert [p.kind for p in run(*command, "model=cnn", "seed=x").problems] == ["invalid_value", "input_mismatch"]
    result = run(*command, "model=broken", "sed=1")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "broken.yaml" in result.lines[0]
    (here / "mine" / "train.yaml").write_text("defaults: [1\n")
    result = run(*command)
    assert [(p.kind, Path(p.key).name) for p in result.problems] == [("unreadable", "train.yaml")]


USERS_FILES = {  # of closed sections: what the file contains, and the problems with it
    "early_stopping": ("patience: 3\nmin_delta: small\npatiense: 3\n",
                       [("invalid_value", "early_stopping.min_delta"), ("unknown_key", "early_stopping.patiense")]),
    "data/split": ("protocol: 3\nfraction: 0.1\n",
                   [("invalid_value", "data.split.protocol"), ("unknown_key", "data.split.fraction")]),
    "hardware": ("defaults:\n  - auto\n  - _self_\ndevices: many\ngpu: 1\n",
                 [("invalid_value", "hardware.devices"), ("unknown_key", "hardware.gpu")]),
    "logger": ("tensorboard: maybe\nmlflow: true\n",
               [("invalid_value", "logger.tensorboard"), ("invalid_value", "logger.mlflow")]),
}  # fmt: skip


@pytest.mark.parametrize("group", USERS_FILES)
@pytest.mark.parametrize("flags", [(), ("--cfg", "job"), ("-m", "seed=1,2")])
def test_a_users_file_of_a_closed_section_is_checked_before_anything_runs(run, here, group, flags):
    text, expected = USERS_FILES[group]
    (here / "mine" / group).mkdir(parents=True)
    (here / "mine" / group / "mine.yaml").write_text(text)
    result = run("train", "--config-dir", "mine", f"{group}=mine", "scheduler=none", "class_weight=x", *flags)
    assert result.code == 2
    assert {(p.kind, p.key) for p in result.problems} == {*expected, ("invalid_value", "class_weight")}
    assert len(result.lines) == len(expected) + 1
    assert not Path("outputs").exists()


def test_a_users_file_may_omit_what_has_a_default_only(run, here):
    for group in ("hardware", "early_stopping"):
        (here / "mine" / group).mkdir(parents=True)
    (here / "mine" / "hardware" / "mine.yaml").write_text("precision: bf16-mixed\n")
    (here / "mine" / "early_stopping" / "mine.yaml").write_text("patience: 3\n")
    result = run("train", "--config-dir", "mine", "hardware=mine")
    assert result.code == 2
    assert {p.kind for p in result.problems} == {"missing_value"}
    assert {"hardware.devices", "hardware.threads"} <= {p.key for p in result.problems}
    command = ["train", "--config-dir", "mine", "early_stopping=mine", "scheduler=none", "--cfg", "job"]
    assert run(*command).code == 0


def test_a_section_that_is_replaced_by_a_value_is_reported(run, here):
    (here / "mine" / "experiment").mkdir(parents=True)
    (here / "mine" / "experiment" / "flat.yaml").write_text("# @package _global_\nhardware: null\nearly_stopping: 5\n")
    result = run("train", "--config-dir", "mine", "experiment=flat")
    assert {(p.kind, p.key) for p in result.problems} == {
        ("invalid_value", "hardware"), ("invalid_value", "early_stopping"),
    }  # fmt: skip


USERS_CLASSES = {
    "model": "_target_: nowhere.Net\ninput: table\nn_jobs: auto\ncheckpoint: [a]\nhidden: wide\nlast: 1\n",
    "data": "_target_: nowhere.Songs\nprovides: [table]\nstore: 3\nroot: [x]\npath: 1\nworkers: all\n"
    "split: {protocol: random, valid: 0.1, test: 0.1, seed: 0}\n",
}


def test_a_users_class_takes_any_argument(here):
    for group, text in USERS_CLASSES.items():
        (here / "mine" / group).mkdir(parents=True)
        (here / "mine" / group / "mine.yaml").write_text(text)
    settings = train_settings(["data=mine", "model=mine", "model.checkpoint=b", "model.last=[1,x]"], "mine")
    assert settings.model.arguments(*settings.model.about) == {
        "n_jobs": "auto", "checkpoint": "b", "hidden": "wide", "last": [1, "x"],
    }  # fmt: skip
    assert settings.data.arguments("provides", "split") == {"store": 3, "root": ["x"], "path": 1, "workers": "all"}
    assert settings.data.split.protocol == "random"
    assert settings.model.scale is True
    check_files(settings)
    signed_settings(settings)
    with pytest.raises(ConfigError) as caught:
        train_settings(["data=mine", "model=mine", "model.input=x", "data.split.valid=2"], "mine")
    assert [problem.key for problem in caught.value.problems] == ["data.split.valid", "model.input"]


def test_the_options_come_from_the_folders():
    tree = Tree()
    assert tree.groups["model"] == sorted(p.stem for p in Path("conf/model").glob("*.yaml"))


def problems(*arguments: str, multirun: bool = False) -> list[Problem]:
    return Check(Tree(None), "train", list(arguments), multirun).problems()


@pytest.mark.parametrize(
    "swept", [["seed=1,2"], ["model=mlp,xgboost"], ["data/split=random,grouped"], ["hardware=auto,cpu"]]
)
def test_a_comparison_may_be_scored_on_test(swept):
    assert problems("experiment=demo", *swept, multirun=True) == []


@pytest.mark.parametrize("swept", ["optimizer.lr=0.1,0.01", "model.dropout=choice(0.1,0.2)", "optimizer=adam,sgd", "trainer.max_epochs=range(1,4)"])  # fmt: skip
def test_a_search_is_scored_on_test_only_on_request(swept):
    key = swept.partition("=")[0]
    (problem,) = problems("experiment=demo", "model=mlp", swept, multirun=True)
    assert (problem.kind, problem.key) == ("test_in_search", key)
    assert problems("experiment=demo", "model=mlp", swept, "evaluate=[valid]", multirun=True) == []


def test_a_search_on_request_or_without_test_is_accepted():
    swept = "optimizer.lr=0.1,0.01"
    assert problems("experiment=demo", "model=mlp", swept, "evaluate=[valid,test]", multirun=True) == []
    assert problems("data=demo", swept, multirun=True) == []


def test_a_path_with_a_comma_is_one_problem():
    (problem,) = problems("data=table", "data.path=a,b.csv")
    assert (problem.key, '"a,b.csv"' in problem.message) == ("data.path", True)


@pytest.mark.parametrize("choice", ["data=[gtzan,demo]", "data=gtzan,fma_audio", "data=gtzam"])
def test_settings_of_a_group_without_an_option_are_not_checked(choice):
    """They would be compared with the default option, which was not chosen."""
    with pytest.raises(ConfigError) as caught:
        train_settings([choice, "model=cnn", "data.fold=1", "optimizer.lr=-1"])
    assert [problem.key for problem in caught.value.problems] == ["data", "optimizer.lr"]


@pytest.mark.parametrize(
    ("arguments", "override"),
    [
        (["--data", "gtzan"], "data=gtzan"),
        (["--data=gtzan"], "data=gtzan"),
        (["--seed", "3", "model=cnn"], "seed=3"),
        (["--epochs", "3"], "trainer.max_epochs=3"),
        (["--data.root", "data=gtzan"], "data.root=VALUE"),
        (["--mulitrun"], ""),
    ],
)
def test_flags_that_stand_for_overrides(arguments, override, run):
    result = run("train", *arguments)
    (problem,) = result.problems
    assert (result.code, problem.kind, problem.suggestion) == (2, "invalid_arguments", override)
    assert override in problem.message
