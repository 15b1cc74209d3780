"""The code version: what changes it, and what does not."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from musicreclass.config.locations import PACKAGE
from musicreclass.runs.code_version import (
    COMPUTING,
    code_version,
    find_targets,
    has_changed,
    libraries_have_changed,
    library_versions,
    module_file,
    user_code,
    version_of,
)
from musicreclass.runs.syntax import Syntax, read_module

CNN, MLP = "musicreclass.models.cnn.CNN", "musicreclass.models.mlp.MLP"
GTZAN, FMA = "musicreclass.data.sources.gtzan.GTZAN", "musicreclass.data.sources.fma_features.FMAFeatures"


def version(package: Path, *targets: str) -> str:
    read_module.cache_clear()
    version_of.cache_clear()
    return version_of(package, frozenset(targets))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return shutil.copytree(PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__", "conf"))


def edit(file: Path, text: str) -> None:
    file.write_text(f"{file.read_text()}\n{text}\n")


def test_a_copy_has_the_version_of_the_original(package):
    assert version(package, CNN, GTZAN) == version(PACKAGE, CNN, GTZAN)
    assert code_version({"model": {"_target_": CNN}, "data": {"list": [{"_target_": GTZAN}]}}) == version(
        PACKAGE, CNN, GTZAN
    )
    assert version(package, "torch.optim.AdamW", "elsewhere.Model") == version(package)


def test_every_starting_point_exists():
    assert all(module_file(PACKAGE, name) is not None for name in COMPUTING)
    assert module_file(PACKAGE, "os.path") is None
    assert module_file(PACKAGE, "musicreclass.nowhere.Class") is None


@pytest.mark.parametrize("name", ["training/distributed.py", "models/cnn.py", "data/sources/gtzan.py"])
def test_comments_docstrings_and_layout_do_not_count(package, name):
    before, file = version(package, CNN, GTZAN), package / name
    code = file.read_text()
    assert code.startswith('"""')
    for mark in ('"""', '    """'):  # of the module, of a class or function
        assert mark in code
        code = code.replace(mark, f"{mark}Changed. ", 1)
    code = code.replace("\ndef ", "\n# a comment\n\n\ndef ").replace("\nclass ", "\n# a comment\n\n\nclass ")
    file.write_text(f"# a comment\n{code}\n\n")
    assert version(package, CNN, GTZAN) == before


def test_a_change_in_what_computes_counts(package):
    versions = [version(package, CNN, GTZAN)]
    for name in (
        "training/distributed.py",
        "training/module.py",
        "tasks/fit.py",
        "tasks/plan.py",
        "classifiers/network.py",
        "evaluation/metrics.py",
        "data/splits.py",
        "data/sources/gtzan.py",
        "data/sources/gtzan_index.csv",
        "models/cnn.py",
        "models/frontend.py",
    ):
        edit(package / name, "CHANGED = 1")
        versions.append(version(package, CNN, GTZAN))
        assert versions[-1] not in versions[:-1], name


def test_a_change_elsewhere_does_not_count(package):
    before = version(package, CNN, GTZAN)
    for name in (
        "models/mlp.py",
        "models/openjmla.py",
        "data/sources/fma_features.py",
        "features/fma518/spectrum.py",
        "report/figures.py",
        "cli/main.py",
        "comparison/rows.py",
        "sweep/sweep.py",
        "runs/folder.py",
        "storage/store.py",
        "hardware/monitor.py",
        "hardware/resolution.py",
        "report/progress.py",
        "errors.py",
        "version.py",
        "__init__.py",
    ):
        edit(package / name, "CHANGED = 1")
    assert version(package, CNN, GTZAN) == before


def test_each_model_and_dataset_has_its_modules(package):
    before = version(package, MLP, FMA), version(package, CNN, GTZAN)
    edit(package / "models" / "mlp.py", "CHANGED = 1")
    edit(package / "data" / "sources" / "fma_features.py", "CHANGED = 1")
    assert version(package, MLP, FMA) != before[0]
    assert version(package, CNN, GTZAN) == before[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's modules: a package with a network, and a dataset next to it."""
    folder = tmp_path / "project"
    (folder / "user_networks").mkdir(parents=True)
    (folder / "user_networks" / "__init__.py").write_text('"""Networks."""\n')
    (folder / "user_networks" / "net.py").write_text(
        "import torch\nfrom . import layers\nfrom musicreclass.models.mlp import MLP\n"
    )
    (folder / "user_networks" / "layers.py").write_text("from .sizes import WIDTH\n")
    (folder / "user_networks" / "sizes.py").write_text("WIDTH = 8\n")
    (folder / "user_networks" / "unrelated.py").write_text("WIDTH = 8\n")
    (folder / "user_dataset.py").write_text(
        "import user_labels\nINDEX = 'user_index.csv'\nOTHERS = 'meta/tracks.csv', '*.csv', '.csv'\n"
    )
    (folder / "user_labels.py").write_text("LABELS = 1\n")
    (folder / "user_index.csv").write_text("id\n1\n")
    monkeypatch.syspath_prepend(folder)
    return folder


USER_CONFIG = {
    "model": {"_target_": "user_networks.net.Net"},
    "data": {"_target_": "user_dataset.Songs"},
    "optimizer": {"_target_": "torch.optim.AdamW"},
}


def changed(files: dict[str, str]) -> bool:
    read_module.cache_clear()
    return has_changed(files, USER_CONFIG)


def test_user_code_follows_imports_and_leaves_out_libraries(project):
    assert set(user_code(USER_CONFIG)) == {
        "user_networks/__init__.py",
        "user_networks/net.py",
        "user_networks/layers.py",
        "user_networks/sizes.py",
        "user_dataset.py",
        "user_labels.py",
        "user_index.csv",
        "musicreclass/models/mlp.py",
    }
    assert user_code({"model": {"_target_": CNN}}) == {}


@pytest.mark.parametrize("name", ["user_networks/net.py", "user_networks/sizes.py", "user_labels.py", "user_index.csv"])
def test_a_change_in_user_code_counts(project, name):
    files = user_code(USER_CONFIG)
    assert not changed(files)
    edit(project / name, "CHANGED = 1")
    assert changed(files)


def test_packages_around_a_module_and_imports_by_name_count(project):
    (project / "user_networks" / "parts").mkdir()
    (project / "user_networks" / "parts" / "__init__.py").write_text("import torch\ntorch.set_num_threads(1)\n")
    (project / "user_networks" / "parts" / "head.py").write_text("HEAD = __import__('user_labels')\n")
    (project / "user_networks" / "net.py").write_text(
        "from importlib import import_module\nimport_module('user_networks.parts.head')\n"
    )
    read_module.cache_clear()
    assert set(user_code({"model": {"_target_": "user_networks.net.Net"}})) == {
        "user_networks/__init__.py",
        "user_networks/net.py",
        "user_networks/parts/__init__.py",
        "user_networks/parts/head.py",
        "user_labels.py",
    }


def test_installed_libraries_count_by_version(project, monkeypatch):
    config = {**USER_CONFIG, "model": {"_target_": "sklearn.svm.SVC"}, "scheduler": {"_target_": "nowhere.Step"}}
    versions = library_versions(config)
    assert set(versions) == {"sklearn", "torch"}
    assert versions["torch"] == metadata.version("torch").partition("+")[0]
    assert not libraries_have_changed(versions, config)
    assert libraries_have_changed({**versions, "sklearn": "0.1"}, config)
    assert not libraries_have_changed({**versions, "not_installed_here": "0.1"}, config)
    assert not libraries_have_changed({}, config)


def test_a_change_after_a_move_counts(project, tmp_path, monkeypatch):
    files = user_code(USER_CONFIG)
    moved = project.rename(tmp_path / "moved")
    monkeypatch.syspath_prepend(moved)
    assert not changed(files)
    edit(moved / "user_labels.py", "CHANGED = 1")
    assert changed(files)


@pytest.mark.parametrize("regular", [True, False])
def test_a_module_named_like_its_package(tmp_path, monkeypatch, regular):
    folder = tmp_path / "samename"
    folder.mkdir()
    (folder / "samename.py").write_text("from .layers import WIDTH\n")
    (folder / "layers.py").write_text("from samename import other\nWIDTH = 8\n")
    (folder / "other.py").touch()
    if regular:
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    names = set(user_code({"model": {"_target_": "samename.samename.Net"}}))
    expected = {"samename/samename.py", "samename/layers.py", "samename/other.py"}
    assert names == expected | ({"samename/__init__.py"} if regular else set())


def test_a_syntax_error_in_user_code_counts(project):
    files = user_code(USER_CONFIG)
    edit(project / "user_labels.py", "def")
    assert changed(files)


def test_comments_do_not_count_nor_does_code_that_is_not_here(project):
    files = user_code(USER_CONFIG)
    edit(project / "user_labels.py", "# a comment")
    assert not changed(files)
    shutil.rmtree(project)
    assert not changed(files)


def test_text_is_divided_differently_by_versions_of_python():
    """The parts of an f-string are compared as text: some versions divide it, or add empty parts."""
    tree = ast.parse("f'a{x:{y}}b'")
    tokens = Syntax(tree).tokens
    (joined,) = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and len(node.values) == 3]
    joined.values[2:] = [ast.Constant(""), ast.Constant("b"), ast.Constant("")]
    nested = joined.values[1].format_spec
    nested.values.append(ast.Constant(""))
    assert Syntax(tree).tokens == tokens


def test_targets_are_found_at_any_depth():
    config = {"model": {"_target_": "a.B", "parts": [{"_target_": "c.D"}, [1, {"x": {"_target_": "e.F"}}]]}, "seed": 0}
    assert set(find_targets(config)) == {"a.B", "c.D", "e.F"}


def test_finding_a_finished_run_imports_nothing_heavy():
    """A finished run is found before torch is imported."""
    code = "import sys; from musicreclass.runs.find import finished_run; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
