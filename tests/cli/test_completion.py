"""Shell completion: what is offered, in a real bash, and its installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from musicreclass.cli.candidates import candidates
from musicreclass.cli.completion import SCRIPTS
from musicreclass.cli.main import TASKS


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("musicreclass ", {*TASKS, "--help"}),
        ("musicreclass tr", {"train"}),
        ("musicreclass train model=", {"model=mlp", "model=xgboost"}),
        ("musicreclass train -m model=mlp,xg", {"model=mlp,xgboost"}),
        ("musicreclass train features=[fma518,mu", {"features=[fma518,musicnn"}),
        ("musicreclass train mod", {"model=", "model."}),
        ("musicreclass train trainer.max", {"trainer.max_epochs="}),
        ("musicreclass train data=table data.on_missing=", {"data.on_missing=impute"}),
        ("musicreclass train data=folder data.sampler=", {"data.sampler=none", "data.sampler=balanced"}),
        ("musicreclass train force=", {"force=true", "force=false"}),
        ("musicreclass train --conf", {"--config-dir"}),
        ("musicreclass evaluate RUN data=fol", {"data=folder"}),
        ("musicreclass ensemble --meth", {"--method"}),
        ("musicreclass ensemble --method ", {"mean", "stacking"}),
        ("musicreclass new ", {"dataset", "model", "encoder"}),
        ("musicreclass train model=nothing_like_this", set()),
        ("musicreclass nosuch ", set()),
        ("musicreclass train seed=x,, [", set()),
    ],
)
def test_the_last_word_is_completed(here, line, some):
    offered = candidates(line)
    assert some <= set(offered)
    assert some or not offered
    start = line.rpartition(" ")[2]
    assert all(text.startswith(start) for text in offered)


def test_folders_and_own_options_are_completed(here):
    (here / "my_conf" / "model").mkdir(parents=True)
    (here / "my_conf" / "model" / "tiny.yaml").write_text("_target_: a.B\ninput: table\n")
    (here / "music").mkdir()
    (here / "music.csv").touch()
    assert candidates("musicreclass train --config-dir my_conf model=t") == ["model=tiny"]
    assert set(candidates("musicreclass train data.root=mu")) == {"data.root=music/", "data.root=music.csv"}


def in_bash(folder: Path, script: str) -> str:
    """What a bash prints, in which `musicreclass` is this checkout's."""
    program = folder / "bin" / "musicreclass"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m musicreclass "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(folder)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    environment.pop("XDG_DATA_HOME", None)
    command = ["bash", "--noprofile", "--norc", "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


COMPLETE = """
source {script}
complete -p musicreclass
press_tab() {{
    COMP_LINE="$1" COMP_POINT=${{#1}}
    COMP_WORDS=(musicreclass)
    COMPREPLY=()
    _musicreclass
    echo "${{COMPREPLY[*]}}"
}}
press_tab "musicreclass train model=ml"
press_tab "musicreclass ev"
COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}
press_tab "musicreclass train model=ml"
"""


def test_a_real_bash_completes(here):
    script = COMPLETE.format(script=SCRIPTS / "completion.bash")
    lines = in_bash(here, script).splitlines()
    assert lines[0].endswith("-F _musicreclass musicreclass")
    assert lines[1:] == ["mlp", "evaluate", "model=mlp"]  # bash completes what follows =, unless = does not break words


def test_installation_is_repeatable_and_read_by_new_shells(here):
    (here / ".bashrc").write_text("alias ll='ls -l'")
    for _ in range(2):
        in_bash(here, "musicreclass completion bash --install")
    text = (here / ".bashrc").read_text()
    assert text.startswith("alias ll='ls -l'\n")
    assert text.count("musicreclass/completion.bash") == 2  # one line, which tests and reads the file
    assert "_musicreclass" in in_bash(here, 'source "$HOME/.bashrc"; complete -p musicreclass')


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed(run, shell):
    result = run("completion", shell)
    assert result.code == 0
    assert result.out == (SCRIPTS / f"completion.{shell}").read_text()
    assert "musicreclass completion --line" in result.out.replace('"${COMP_WORDS[0]}"', "musicreclass").replace(
        "${words[1]}", "musicreclass"
    )
