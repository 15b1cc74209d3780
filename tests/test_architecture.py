"""The documented structure is the structure: folders, layers, the files of one run, the terms."""

from __future__ import annotations

import re
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


def test_the_page_lists_every_folder_in_the_order_of_the_layers():
    listed = re.findall(r"^  (\w+)(?:/|\.py) ", PAGE, re.MULTILINE)
    assert listed == layers()
    assert {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()} == set(listed) - {"errors"}


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
    code = [*PACKAGE.rglob("*.py"), *(ROOT / "conf").rglob("*.yaml")]
    found = [
        f"{file.relative_to(ROOT)}: use {new}" for file in code if pattern.search(file.read_text(encoding="utf-8"))
    ]
    assert found == []
