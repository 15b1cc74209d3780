"""The documented structure is the structure: folders, layers, the files of one run, the terms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "musicreclass"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
RENAMED = {  # names that were replaced by the field's terms
    "mixed": "derive_seed",
    "trains_along": "is_worker_rank",
    "Together": "a strategy's name",
    "Totals": "EpochMetrics",
    "summed": "all_reduce",
    "passed": "forward_loss",
    "Meta": "ModelCard",
    "guess": "y_pred",
    "truth": "y_true",
    "on_busy": "if_locked",
    "cut_short": "truncated_clips",
    "eval_from": "eval_crop_position",
    "gradient_clip": "gradient_clip_norm",
    "last_n": "last_blocks",
}
VAGUE = {"found", "told", "there", "kept", "words", "place", "asked", "own", "given", "whole", "made", "most", "mine", "wanted", "known", "thing", "said"}  # fmt: skip
REVIEWED = [
    *(f"musicreclass/{name}" for name in (
        "tasks", "sweep", "comparison", "report", "runs", "classifiers", "training", "models", "augmentation", "evaluation",
        "hardware", "storage",
    )),
    *(f"tests/{name}" for name in ("tasks", "training", "sweep", "hardware", "tools", "runs", "comparison", "storage")),
    "tools", "benchmarks",
]  # fmt: skip


def test_the_page_lists_every_folder_in_the_order_of_the_layers():
    listed = re.findall(r"^  (\w+)(?:/|\.py) ", PAGE, re.MULTILINE)
    assert listed == layers()
    assert {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()} == set(listed) - {"errors", "output"}


def test_every_file_of_the_walk_exists():
    named = [name for name in re.findall(r"`([\w/]+(?:\.py|/))`", PAGE) if name.split("/")[0] in contract_folders()]
    assert len(named) > 15
    assert [name for name in named if not (PACKAGE / name).exists()] == []


def layers() -> list[str]:
    """The layers of the import contract in pyproject.toml, from the top."""
    (block,) = re.findall(r"^layers = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r'"(\w+)"', block)


def contract_folders() -> set[str]:
    return {p.name for p in PACKAGE.iterdir() if p.is_dir()}


@pytest.mark.parametrize("package", sorted(p.parent for p in PACKAGE.rglob("__init__.py")), ids=lambda p: p.name)
def test_every_package_has_a_docstring(package):
    assert (package / "__init__.py").read_text(encoding="utf-8").startswith('"""')


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_replaced_names_are_gone(old, new):
    """As an identifier or a key; words in sentences and parts of other names are allowed."""
    pattern = re.compile(rf"(?<![\w\"'-])(?:def |class |\.)?{old}(?:\(|\s*[:=]\s|\b\s*,)")
    code = [*python_files(ROOT), *(ROOT / "conf").rglob("*.yaml")]
    uses = [
        f"{file.relative_to(ROOT)}: use {new}"
        for file in code
        if file != Path(__file__) and pattern.search(file.read_text(encoding="utf-8"))
    ]
    assert uses == []


@pytest.mark.parametrize("folder", REVIEWED)
def test_names_have_a_meaning(folder):
    """No variable, argument, function or class has a name that says nothing about its value."""
    files = python_files(ROOT / folder)
    assert files
    vague = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in defined_names(ast.parse(file.read_text(encoding="utf-8")))
        if name in VAGUE
    ]
    assert vague == []


def python_files(folder: Path) -> list[Path]:
    """The modules of the package, tests, tools and benchmarks that are in a folder."""
    parts = [ROOT / name for name in ("musicreclass", "tests", "tools", "benchmarks")]
    return [file for part in parts for file in sorted(part.rglob("*.py")) if file.is_relative_to(folder)]


def defined_names(tree: ast.AST) -> Iterator[str]:
    """The names that a module defines, in any scope."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
