"""`musicreclass new`: a dataset, model or encoder of the user's own, from a template."""

from __future__ import annotations

from pathlib import Path

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say
from musicreclass.tasks.new import GROUPS, write_new


def main(arguments: list[str]) -> int:
    """`musicreclass new dataset|model|encoder NAME [--kind audio|table] [--to DIR]`."""
    parser = Options(
        "musicreclass new",
        description="Write a class, its YAML file and its test, which run as they are, to be adapted. Nothing is overwritten.",
    )
    parser.add_argument("what", choices=list(GROUPS), help="what to write")
    parser.add_argument("name", metavar="NAME", help="its name on the command line, as in data=NAME")
    parser.add_argument(
        "--kind", choices=["audio", "table"], help="over recordings or a table of features; by default a dataset of audio, a model of tables"
    )  # fmt: skip
    parser.add_argument(
        "--to", type=user_path, default=Path(), metavar="DIR", help="folder to write to; default: this one"
    )
    args = parser.parse_args(arguments)
    written = write_new(args.what, args.name, args.kind, args.to)
    say("wrote " + ", ".join(str(args.to / file) for file in written.files))
    say("next: adapt the class, the YAML file and the test to your files; as they are, these commands work already")
    for command in ([] if args.to == Path() else [f"cd {args.to}"]) + list(written.commands):
        say(f"  {command}")
    return 0
