"""Shell completion: what is offered, in a real bash, and its installation."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
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
        ("  musicreclass tr", {"train"}),
        ("TZ=UTC time /usr/bin/musicreclass tr", {"train"}),
        ("musicreclass train 'features=[fma518,mu", {"features=[fma518,musicnn"}),
        ("musicreclass train features=\\[fma518,mu", {"features=[fma518,musicnn"}),
        ("musicreclass train seed=x,, [", set()),
    ],
)
def test_the_last_word_is_completed(here, line, some):
    offered = candidates(line)
    assert some <= set(offered)
    assert some or not offered
    start = re.sub(r"[\\']", "", line.rpartition(" ")[2])
    assert all(text.startswith(start) for text in offered)


def test_folders_and_own_options_are_completed(here):
    (here / "my_conf" / "model").mkdir(parents=True)
    (here / "my_conf" / "model" / "tiny.yaml").write_text("_target_: a.B\ninput: table\n")
    (here / "music").mkdir()
    (here / "music.csv").touch()
    assert candidates("musicreclass train --config-dir my_conf model=t") == ["model=tiny"]
    assert set(candidates("musicreclass train data.root=mu")) == {"data.root=music/", "data.root=music.csv"}


def needs(shell: str):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"requires {shell}: apt-get install {shell}")


SHELLS = [pytest.param(shell, marks=needs(shell)) for shell in ("bash", "zsh", "fish")]


def environment_in(folder: Path) -> dict[str, str]:
    """Variables of a shell in which a folder is the home, and `musicreclass` is this checkout's."""
    program = folder / "bin" / "musicreclass"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m musicreclass "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "xterm"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        environment.pop(name, None)
    return environment


def in_shell(folder: Path, script: str, shell: str = "bash") -> str:
    """What a shell without start files prints."""
    command = [*{"bash": ["bash", "--noprofile", "--norc"], "zsh": ["zsh", "-f"]}.get(shell, [shell]), "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment_in(folder), capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def press_tab(folder: Path, shell: str, line: str, expected: str) -> str:
    """The text on the terminal of an interactive shell after a line and TAB, as soon as it contains what is expected."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe(shell, [shell, "-i"], environment_in(folder))
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        read_until(terminal, PROMPT)
        os.write(terminal, f"{line}\t".encode())
        return read_until(terminal, expected)
    finally:
        os.close(terminal)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def read_until(terminal: int, expected: str, seconds: float = 60) -> str:
    """Text from a terminal without control sequences; it ends when it contains what is expected, or after some time."""
    output, end = b"", time.monotonic() + seconds
    text = ""
    while expected not in text and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            output += os.read(terminal, 65536)
            text = re.sub(
                r"\x1b\[[?>\d;]*[a-zA-Z]|\x1b\][^\x07]*\x07|\x1b[=>]|\x07", "", output.decode("utf-8", "replace")
            )
    return text


PROMPT = "READY> "
LINES = [
    ("musicreclass ev", "musicreclass evaluate "),
    ("musicreclass train model=ml", "musicreclass train model=mlp "),
    ("musicreclass train trainer.max_ep", "musicreclass train trainer.max_epochs="),
    ("true; musicreclass cit", "musicreclass cite "),
    ("musicreclass train data.root=tw", "musicreclass train data.root=two\\ words/"),
    ("musicreclass compare one", "musicreclass compare one_file.txt "),  # the shell's own completion of files
]


@pytest.mark.parametrize(("line", "completed"), LINES)
@pytest.mark.parametrize("shell", SHELLS[:2])
def test_an_interactive_shell_completes(shell, line, completed, here):
    (here / "two words").mkdir()
    (here / "one_file.txt").touch()
    (here / f".{shell}rc").write_text(f"PS1='{PROMPT}'\nPROMPT='{PROMPT}'\n")
    in_shell(here, f"musicreclass completion {shell} --install")
    assert completed in press_tab(here, shell, line, completed)


@needs("fish")
def test_fish_completes(here):
    (here / "two words").mkdir()
    (here / "one_file.txt").touch()
    (here / "model=file").touch()
    in_shell(here, "musicreclass completion fish --install", "fish")
    for line, completed in [*LINES, ("musicreclass train model=mlp,xg", "model=mlp,xgboost")]:
        lines = in_shell(here, f"complete -C '{line}'", "fish").splitlines()
        last = completed.replace("\\ ", "_").split()[-1].replace("_words", " words")
        assert [text.partition("\t")[0] for text in lines] == [last]
    models = in_shell(here, "complete -C 'musicreclass train model='", "fish").splitlines()
    assert "model=xgboost" in models
    assert "model=file" not in models


COMPLETE = """
source {script}
COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}
COMP_LINE="musicreclass train model=ml" COMP_POINT=27 COMP_WORDS=(musicreclass train model=ml) COMP_CWORD=2
_musicreclass
echo "${{COMPREPLY[*]}}"
"""


def test_bash_completes_if_the_equals_sign_breaks_no_words(here):
    assert in_shell(here, COMPLETE.format(script=SCRIPTS / "completion.bash")) == "model=mlp\n"


@pytest.mark.parametrize("shell", SHELLS[:2])
def test_installation_is_repeatable_and_read_by_new_shells(shell, here):
    start_file = here / f".{shell}rc"
    start_file.write_text("alias ll='ls -l'")
    for _ in range(2):
        in_shell(here, f"musicreclass completion {shell} --install")
    text = start_file.read_text()
    assert text.startswith("alias ll='ls -l'\n")
    assert text.count(f"musicreclass/completion.{shell}") == 2  # one line, which tests and reads the file
    registered = {"bash": "complete -p musicreclass", "zsh": 'print -r -- "$_comps[musicreclass]"'}[shell]
    assert "_musicreclass" in in_shell(here, f'source "$HOME/.{shell}rc"; {registered}', shell)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed(run, shell):
    result = run("completion", shell)
    assert result.code == 0
    assert result.out == (SCRIPTS / f"completion.{shell}").read_text()
    assert "completion --line" in result.out
