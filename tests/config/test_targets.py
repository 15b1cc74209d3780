"""The classes that `_target_` keys name: imports and arguments."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import yaml

from musicreclass.config.hydra_adapter import SEARCH_SWEEPER, targets_in
from musicreclass.config.settings.tasks import BY_TARGET
from musicreclass.config.targets import check_arguments, import_target
from musicreclass.errors import ConfigError
from tests.conftest import table_overrides

CONF = Path(__file__).parents[2] / "conf"
UNDECLARED = {  # classes of this package that a `_target_` of conf/ names, and which have no settings in BY_TARGET
    "musicreclass.augmentation.augmentation.Augmentation",  # `AugmentationSettings`, whatever the target
    SEARCH_SWEEPER,  # checked by Hydra
}


def default_targets() -> set[str]:
    """Every `_target_` in conf/."""
    return set().union(*(targets_in(yaml.safe_load(file.read_text("utf-8"))) for file in CONF.rglob("*.yaml")))


@pytest.mark.parametrize("path", sorted({*BY_TARGET, *default_targets(), SEARCH_SWEEPER} - {"None"}))
def test_every_target_is_imported(path):
    assert callable(import_target(path))


def test_every_target_of_the_package_has_declared_settings():
    targets = {path for path in default_targets() if path.startswith("musicreclass.")}
    assert targets - BY_TARGET.keys() == UNDECLARED


@pytest.fixture
def modules(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of a user's with classes and modules that fail; its name."""
    package = here / "user_package"
    package.mkdir()
    (package / "__init__.py").write_text("class Tiny:\n    @classmethod\n    def make(cls): ...\n")
    (package / "inner.py").write_text("class Deep: ...\n")
    (package / "leaves.py").write_text("raise SystemExit(0)\n")
    (package / "needs.py").write_text("import no_such_dependency\n")
    (package / "fails.py").write_text("import sys\nsys.nothing\n")
    monkeypatch.syspath_prepend(here)
    yield package.name
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]


def test_classes_functions_and_submodules_are_imported(modules):
    assert import_target("collections.OrderedDict") is OrderedDict
    assert import_target(f"{modules}.inner.Deep").__name__ == "Deep"
    assert import_target(f"{modules}.Tiny.make").__name__ == "make"


@pytest.mark.parametrize(
    ("path", "suggestion", "named"),
    [
        ("Tny", "Tiny", "has no Tny"),
        ("Tiny.mak", "make", "has no mak"),
        ("iner.Deep", "inner", "has no iner"),
        ("leaves.X", "", "(0)"),
        ("needs.X", "", "no_such_dependency"),
        ("fails.X", "", "cannot be imported"),
    ],
)
def test_a_target_that_cannot_be_imported_is_one_problem(modules, path, suggestion, named):
    with pytest.raises(ConfigError) as caught:
        import_target(f"{modules}.{path}", "model._target_")
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.suggestion) == ("import_failed", "model._target_", suggestion)
    assert problem.value == f"{modules}.{path}"
    assert named in problem.message


def test_a_module_that_does_not_exist():
    for target in ("no_such_module.X", "", ".x"):
        with pytest.raises(ConfigError) as caught:
            import_target(target)
        assert caught.value.kind == "import_failed"


class Annotated:
    """Takes numbers."""

    def __init__(self, width: int, rate: float = 1.0, depth: int | None = None, names: Any = None, count: int = None) -> None: ...  # noqa: RUF013  # fmt: skip


def test_arguments_of_the_annotated_types_are_accepted():
    check_arguments(Annotated, {"width": 3, "rate": 1, "depth": None, "names": 3.5, "count": None}, "model")


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        ({"width": 3.5}, ["model.width"]),
        ({"width": True, "depth": "2"}, ["model.width", "model.depth"]),
        ({"width": None, "rate": "fast"}, ["model.width", "model.rate"]),
    ],
)
def test_arguments_of_other_types_are_rejected(arguments, keys):
    with pytest.raises(ConfigError) as caught:
        check_arguments(Annotated, arguments, "model")
    assert [(p.kind, p.key) for p in caught.value.problems] == [("invalid_value", key) for key in keys]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"widht": 3}, ("unknown_key", "model.widht", "model.width")),
        ({"width": 3, "zzz": 3}, ("unknown_key", "model.zzz", "")),
        ({"width": 3, "inptu": "table"}, ("unknown_key", "model.inptu", "model.input")),
        ({}, ("missing_value", "model.width", "+model.width=VALUE")),
        ({"width": 3, "rate": 2.0}, ("fixed_key", "model.rate", "")),
    ],
)
def test_arguments_that_do_not_exist_or_are_missing_are_rejected(arguments, problem):
    with pytest.raises(ConfigError) as caught:
        check_arguments(Annotated, arguments, "model", supplied=("rate",), keys=("input",))
    assert [(p.kind, p.key, p.suggestion) for p in caught.value.problems] == [problem]


def test_a_function_that_takes_any_argument_accepts_it():
    check_arguments(dict, {"a": 1}, "model")
    check_arguments(lambda a, **others: None, {"a": 1, "b": 2}, "model")


@pytest.mark.parametrize(
    ("path", "text", "choice", "problem"),
    [
        ("optimizer/x.yaml", "_target_: torch.optim.SGD\nlr: 0.1\nmomentun: 0.9\n", "optimizer=x", ("optimizer.momentun", "optimizer.momentum")),
        ("scheduler/x.yaml", "_target_: torch.optim.lr_scheduler.StepLR\ninterval: epoch\nstep_size: 3\ngama: 0.9\n", "scheduler=x", ("scheduler.gama", "scheduler.gamma")),
        ("features/x.yaml", "_target_: musicreclass.models.openjmla.OpenJMLAEncoder.from_checkpoint\nsample_rate: 16000\nchekpoint: random\nprecision: 32-true\n", "features=x", ("features.chekpoint", "features.checkpoint")),
        ("features/x.yaml", "_target_: musicreclass.models.openjmla.OpenJMLAEncoder.from_checkpoint\nsample_rate: 16000\ncheckpoint: random\npoolin: mean\nprecision: 32-true\n", "features=x", ("features.poolin", "features.pooling")),
        ("data/x.yaml", "defaults: [{split: auto}]\nprovides: [table]\n_target_: musicreclass.data.sources.table_file.TableFile\npth: t.csv\n", "data=x", ("data.pth", "data.path")),
    ],
)  # fmt: skip
def test_a_misspelt_argument_in_a_users_file_is_reported(path, text, choice, problem, run, table, here):
    file = here / "user_conf" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    data = {"data=x": [], "features=x": ["data=demo_audio"]}.get(choice, table_overrides(table))
    result = run("train", "--config-dir", "user_conf", *data, "model=mlp", "early_stopping=none", choice)
    assert (result.code, [(p.kind, p.key, p.suggestion) for p in result.problems]) == (2, [("unknown_key", *problem)])


def test_a_source_provides_what_its_class_provides(run, here):
    (here / "user_conf" / "data").mkdir(parents=True)
    (here / "user_conf" / "data" / "x.yaml").write_text(
        "defaults: [{split: auto}]\nprovides: [waveform]\n_target_: musicreclass.data.sources.demo.DemoFeatures\n".replace(
            "data.sources.demo.DemoFeatures", "features.demo.Demo"
        )
    )
    result = run("train", "--config-dir", "user_conf", "data=x", "model=cnn_small")
    assert (result.code, [(p.kind, p.key) for p in result.problems]) == (2, [("input_mismatch", "data.provides")])


COPY = "_target_: shutil.copy\nsrc: victim.txt\ndst: copied.txt\n"
FOREIGN = {  # the file of user_conf/, its content, the choice, and the key of the problem
    "model/x.yaml": (f"{COPY}input: table\n", "model=x", "model._target_"),
    "model/z.yaml": (
        "_target_: subprocess.Popen\ninput: table\nargs: [touch, copied.txt]\n",
        "model=z",
        "model._target_",
    ),
    "model/y.yaml": (
        "_target_: sklearn.calibration.CalibratedClassifierCV\ninput: table\nestimator:\n  "
        + COPY.replace("\n", "\n  "),
        "model=y",
        "model.estimator._target_",
    ),
    "optimizer/x.yaml": (f"{COPY}lr: 0.1\n", "optimizer=x", "optimizer._target_"),
    "scheduler/x.yaml": (f"{COPY}interval: step\n", "scheduler=x", "scheduler._target_"),
    "data/x.yaml": (f"defaults: [{{split: auto}}]\nprovides: [table]\n{COPY}", "data=x", "data._target_"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_is_called_before_it_is_accepted(name, run, table, here):
    content, choice, key = FOREIGN[name]
    path = here / "user_conf" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    (here / "victim.txt").write_text("x")
    data = [] if choice == "data=x" else table_overrides(table)
    result = run("train", "--config-dir", "user_conf", *data, "model=mlp", choice)
    assert (result.code, [(p.kind, p.key) for p in result.problems]) == (2, [("invalid_target", key)])
    assert not (here / "copied.txt").exists()
