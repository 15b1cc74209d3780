"""The classes that `_target_` keys name: imports and arguments."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import yaml

from musicreclass.config.hydra_adapter import SEARCH_SWEEPER, targets_in
from musicreclass.config.settings import BY_TARGET
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
    check_arguments(
        Annotated, {"width": 3, "rate": 1, "depth": None, "names": 3.5, "count": None, "other": 1.5}, "model"
    )


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
