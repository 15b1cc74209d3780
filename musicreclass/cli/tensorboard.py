"""`musicreclass tensorboard`: open runs in TensorBoard, under readable names."""

from __future__ import annotations

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say
from musicreclass.tasks.tensorboard import serve


def main(arguments: list[str]) -> int:
    """`musicreclass tensorboard RUN_OR_DIR ... [--port PORT] [--host HOST]`."""
    parser = Options("musicreclass tensorboard", description="Open runs in TensorBoard, under readable names.")
    parser.add_argument(
        "runs",
        nargs="+",
        type=user_path,
        metavar="RUN_OR_DIR",
        help="a run folder, or a folder that contains run folders",
    )
    parser.add_argument("--port", default="6006", help="default: 6006")
    parser.add_argument(
        "--host", default="localhost", help="default: localhost; 0.0.0.0 accepts connections from other machines"
    )
    args = parser.parse_args(arguments)
    say("press Ctrl-C to stop; new runs are added automatically")
    return serve(args.runs, args.host, args.port)
