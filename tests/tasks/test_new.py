"""`musicreclass new`: the files are valid, nothing is overwritten, and the printed steps work as they are."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

from musicreclass.tasks.new import KINDS, TEMPLATES
from tests.conftest import table_overrides, written_at

EVERY_KIND = [(what, kind) for what, kinds in KINDS.items() for kind in kinds]


@pytest.mark.parametrize(("what", "kind"), EVERY_KIND)
def test_the_files_are_valid_and_nothing_is_overwritten(run, here, what, kind):
    command = ("new", what, "first_try", "--kind", kind, "--to", "project")
    result = run(*command)
    assert result.code == 0, result.err
    files = written_at(here / "project")
    group = {"dataset": "data", "model": "model", "encoder": "features"}[what]
    module, option, test = f"first_try_{what}.py", f"my_conf/{group}/first_try.yaml", f"test_first_try_{what}.py"
    assert set(files) == {module, option, test}
    for file in (module, test):
        tree = ast.parse((here / "project" / file).read_text())
        assert ast.get_docstring(tree)
        assert max(map(len, (here / "project" / file).read_text().splitlines())) <= 130
    assert "class FirstTry(" in (here / "project" / module).read_text()
    assert yaml.safe_load((here / "project" / option).read_text())["_target_"] == f"first_try_{what}.FirstTry"
    texts = [(here / "project" / file).read_text() for file in files]
    assert not any(re.search(r"\b(NAME|CLASS|MODULE|CONFIG)\b", text) for text in texts)
    again = run(*command)
    assert (again.code, again.problems[0].kind, again.problems[0].key) == (2, "exists", f"project/{module}")
    assert written_at(here / "project") == files


def test_every_template_has_its_three_files():
    names = {what if what == "encoder" else f"{kind}_{what}" for what, kind in EVERY_KIND}
    assert {path.name for path in TEMPLATES.iterdir()} == names
    assert all(
        (TEMPLATES / name / file).is_file()
        for name in names
        for file in ("module.py.txt", "option.yaml", "test.py.txt")
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "key"),
    [
        (("dataset", "Moods"), "invalid_value", "NAME"),
        (("dataset", "../moods"), "invalid_value", "NAME"),
        (("model", "class"), "invalid_value", "NAME"),
        *(
            ((what, name), "invalid_value", "NAME")
            for what in ("dataset", "model", "encoder")
            for name in ("null", "true", "false", "nan", "inf")
        ),
        (("model", "mlp"), "exists", "NAME"),
        (("encoder", "loudness", "--kind", "table"), "invalid_value", "--kind"),
        (("song", "moods"), "invalid_arguments", "new"),
    ],
)
def test_a_wrong_name_or_kind_writes_nothing(run, here, arguments, kind, key):
    result = run("new", *arguments)
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, kind, key)
    assert not list(here.iterdir())


def plant(file: Path, folder: Path) -> None:
    """Write the small dataset of a generated test."""
    spec = spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    module.plant(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "kind"), EVERY_KIND)
def test_the_printed_steps_work_to_the_letter(run, here, cache, what, kind):
    result = run("new", what, f"{kind}_try", "--kind", kind)
    commands = [shlex.split(line) for line in result.out.splitlines() if line.startswith("  ")]
    assert [command[0] for command in commands][:2] == ["python", "musicreclass"]
    if what == "dataset":
        plant(next(here.glob("test_*.py")), here / "DIR")
    environment = {**os.environ, "MUSICRECLASS_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    for program, *arguments in commands:
        start = [sys.executable] if program == "python" else [sys.executable, "-m", "musicreclass"]
        done = subprocess.run([*start, *arguments], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((here / "outputs").glob("*/metrics.json"))) == 1


@pytest.mark.parametrize("page", ["datasets", "models", "encoders"])
def test_checklists_name_what_is_written(run, here, page):
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text(encoding="utf-8")
    command = re.search(r"`musicreclass (new [^`]*)`", text)
    assert command
    assert run(*command[1].split()).code == 0
    assert all(f"`{file}`" in text for file in written_at(here))


@pytest.mark.slow
def test_the_documented_estimator_trains(run, here, table):
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    file = here / "my_conf" / "model" / "neighbours.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text.split("## An estimator")[1].split("```yaml\n")[1].split("```")[0])
    overrides = [*table_overrides(table), "model=neighbours", "model.n_neighbors=5", "+model.weights=distance"]
    result = run("train", "--config-dir", "my_conf", *overrides)
    assert result.code == 0, result.err
