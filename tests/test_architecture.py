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
    "facts": "properties",
    "sound": "samples, or reader",
    "share": "fraction",
}
VAGUE = {"found", "told", "there", "kept", "words", "place", "asked", "own", "given", "whole", "made", "most", "mine", "wanted", "known", "thing", "said"}  # fmt: skip
CODE = [
    file for part in ("musicreclass", "tests", "tools", "benchmarks") for file in sorted((ROOT / part).rglob("*.py"))
]


def test_the_page_lists_every_folder_in_the_order_of_the_layers():
    listed = re.findall(r"^  (\w+)(?:/|\.py) ", PAGE, re.MULTILINE)
    assert listed == layers()
    modules = {"__main__", "errors", "output", "plurals", "version"}
    assert {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()} == set(listed) - modules


def test_every_file_of_the_walk_exists():
    named = [name for name in re.findall(r"`([\w/]+(?:\.py|/))`", PAGE) if name.split("/")[0] in contract_folders()]
    assert len(named) > 15
    assert [name for name in named if not (PACKAGE / name).exists()] == []


def layers() -> list[str]:
    """The layers of the import contract in pyproject.toml, from the top."""
    (block,) = re.findall(r"^layers = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"\w+", block)


def contract_folders() -> set[str]:
    return {p.name for p in PACKAGE.iterdir() if p.is_dir()}


@pytest.mark.parametrize("package", sorted(p.parent for p in PACKAGE.rglob("__init__.py")), ids=lambda p: p.name)
def test_every_package_has_a_docstring(package):
    assert (package / "__init__.py").read_text(encoding="utf-8").startswith('"""')


@pytest.mark.parametrize("file", CODE, ids=lambda file: str(file.relative_to(ROOT)))
def test_names_have_a_meaning(file):
    """No variable, attribute, argument, function or class has a replaced name, or one that says nothing about its value."""
    names = set(defined_names(ast.parse(file.read_text(encoding="utf-8"))))
    assert {name: RENAMED[name] for name in names & RENAMED.keys()} == {}
    assert names & VAGUE == set()


@pytest.mark.parametrize("file", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda file: file.stem)
def test_keys_have_no_replaced_name(file):
    keys = set(re.findall(r"^ *(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert {key: RENAMED[key] for key in keys & RENAMED.keys()} == {}


def defined_names(tree: ast.AST) -> Iterator[str]:
    """The names that a module defines, in any scope, and those of the arguments that it passes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, (ast.arg, ast.keyword)):
            yield node.arg or ""
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            yield node.name or ""
        elif isinstance(node, ast.alias):
            yield node.asname or ""
