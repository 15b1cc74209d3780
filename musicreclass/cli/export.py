"""`musicreclass export`: the model of a finished run as an ONNX file."""

from __future__ import annotations

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say


def main(arguments: list[str]) -> int:
    """`musicreclass export RUN [--format onnx] [--output FILE] [--force]`."""
    parser = Options(
        "musicreclass export",
        description="Write the model of a finished run as an ONNX file, with its preprocessing, and compare it with the run's own"
        " predictions. Needs the extra: pip install 'musicreclass[export]'.",
    )
    parser.add_argument("run", type=user_path, metavar="RUN", help="a run folder")
    parser.add_argument("--format", default="onnx", choices=("onnx",), help="default: onnx")
    parser.add_argument("--output", type=user_path, metavar="FILE", help="default: RUN/model/model.onnx")
    parser.add_argument("--force", action="store_true", help="replace a file that is not an exported model")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="a module of your own that the model needs"
    )
    args = parser.parse_args(arguments)
    from musicreclass.tasks.export import export

    file, difference, compared, notes = export(args.run, args.output, args.force, tuple(args.trust))
    say(
        f"wrote {file}: {file.stat().st_size / 2**20:.1f} MiB; probabilities differ by at most {difference:.1g} on {compared}"
    )
    for line in notes:
        say(line)
    return 0
