"""`musicreclass import`: weights that were trained elsewhere become a run folder."""

from __future__ import annotations

from pathlib import Path

from musicreclass.cli.options import Options
from musicreclass.cli.terminal import say


def main(arguments: list[str]) -> int:
    """`musicreclass import FILE [--output DIR]`."""
    parser = Options(
        "musicreclass import",
        description="Turn the weights of a genre classifier that was trained elsewhere into a run folder, which predict, evaluate"
        " and inspect take. No code from the file is executed.",
    )
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="an MLP over the 518 features (model, scaler_mean, scaler_scale, genres) or a CNN (model_state_dict, label_encoder)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="the run folder; default: outputs/imported-NAME-HASH"
    )
    args = parser.parse_args(arguments)
    from musicreclass.tasks.import_weights import import_weights, reason

    output = None if args.output is None else args.output.expanduser()
    run, weights, already = import_weights(args.file.expanduser(), output)
    say(f"{run.folder}: {'had already been imported' if already else 'imported'}; {len(weights.genres)} genres")
    say(reason(weights))
    say(f"measure it on your own tracks: musicreclass evaluate {run.folder} data.root=DIR --split all")
    return 0
