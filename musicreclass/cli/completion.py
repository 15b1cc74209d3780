"""`musicreclass completion bash|zsh|fish`: shell completion of tasks, options, groups, settings and their values."""

from __future__ import annotations

import os
from pathlib import Path

from musicreclass.cli.options import Options
from musicreclass.cli.terminal import say
from musicreclass.config.locations import PACKAGE
from musicreclass.errors import UserError

SCRIPTS = PACKAGE / "cli" / "shell"
LINE = "--line"  # in the scripts: the command line up to the cursor
START_FILES = {"bash": "~/.bashrc", "zsh": "~/.zshrc"}
MARK = "# musicreclass completion"


def main(arguments: list[str]) -> int:
    """`musicreclass completion bash|zsh|fish [--install]`."""
    if arguments[:1] == [LINE]:
        from musicreclass.cli.candidates import candidates

        for text in candidates(arguments[1] if len(arguments) > 1 else ""):
            say(text)
        return 0
    parser = Options(
        "musicreclass completion",
        description="Complete tasks, options, groups such as model=, settings and their values with the TAB key. Prints the script "
        "of a shell; --install installs it for new shells.",
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell")
    parser.add_argument("--install", action="store_true", help="install it, instead of printing it")
    args = parser.parse_args(arguments)
    script = (SCRIPTS / f"completion.{args.shell}").read_text(encoding="utf-8")
    if not args.install:
        say(script.rstrip("\n"))
        return 0
    try:
        for file in install(args.shell, script):
            say(f"wrote {file}")
    except OSError as error:
        line = f"{error.filename}: cannot be written ({error.strerror}); make it writable, or add the script to it yourself"
        raise UserError(line, "unwritable", "--install") from error
    say(f"new {args.shell} shells complete musicreclass; in this one: exec {args.shell}")
    return 0


def install(shell: str, script: str) -> list[Path]:
    """Write the script, and for bash and zsh a line in the start file that reads it; return the files that changed."""
    if shell == "fish":
        file = folder_of("XDG_CONFIG_HOME", "~/.config") / "fish" / "completions" / "musicreclass.fish"
    else:
        file = folder_of("XDG_DATA_HOME", "~/.local/share") / "musicreclass" / f"completion.{shell}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(script, encoding="utf-8")
    if shell == "fish":
        return [file]
    start_file = Path(START_FILES[shell]).expanduser()
    text = start_file.read_text(encoding="utf-8", errors="surrogateescape") if start_file.exists() else ""
    if MARK in text:
        return [file]
    with start_file.open("a", encoding="utf-8") as stream:
        newline = "\n" if text and not text.endswith("\n") else ""
        stream.write(f'{newline}[ -r "{file}" ] && . "{file}"  {MARK}\n')
    return [file, start_file]


def folder_of(variable: str, default: str) -> Path:
    """A folder of the XDG specification."""
    return Path(os.environ.get(variable) or default).expanduser()
