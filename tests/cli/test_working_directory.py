"""Files in the working directory are executed only if a `_target_` or `--trust` names them, or such a file imports them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import table_overrides

OPTIONAL = (  # packages that libraries try to import; a test of what is absent everywhere would miss what one machine has
    "numexpr", "bottleneck", "lz4", "snappy", "zstandard", "isal", "dill", "brotli", "socks", "simplejson", "chardet",
    "colorama", "tabulate", "opt_einsum", "torchvision", "xarray", "triton", "onnx", "tree",
)  # fmt: skip
MODEL = """
from sklearn.base import BaseEstimator, ClassifierMixin
from user_helpers.centres import nearest

class Nearest(ClassifierMixin, BaseEstimator):
    def fit(self, x, y):
        self.classes_, self.centres = nearest(x, y)
        return self
    def predict_proba(self, x):
        d = ((x[:, None] - self.centres) ** 2).sum(2)
        w = 1 / (1e-6 + d)
        return w / w.sum(1, keepdims=True)
"""
HELPER = """
import numpy as np

def nearest(x, y):
    classes = np.unique(y)
    return classes, np.stack([x[y == c].mean(0) for c in classes])
"""


@pytest.fixture
def project(here: Path) -> Path:
    for name in OPTIONAL:
        (here / f"{name}.py").write_text(f"open('executed-{name}', 'w').close()\n")
    (here / "user_model_9.py").write_text(MODEL)
    (here / "user_helpers").mkdir()
    (here / "user_helpers" / "__init__.py").touch()
    (here / "user_helpers" / "centres.py").write_text(HELPER)
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "near.yaml").write_text("_target_: user_model_9.Nearest\ninput: table\n")
    return here


def command(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONSAFEPATH": ""}
    result = subprocess.run(
        [sys.executable, "-m", "musicreclass", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_only_named_modules_are_executed(project, table):
    common = ["train", "--config-dir", "mine", *table_overrides(table)]
    command(*common, "model=near", "run_dir=near", folder=project)
    command("evaluate", "near", "--trust", "user_model_9", folder=project)
    assert sorted(path.name for path in project.glob("executed-*")) == []
