"""`musicreclass import`: weights that were trained elsewhere become a run folder."""

from __future__ import annotations

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say


def main(arguments: list[str]) -> int:
    """`musicreclass import FILE [--output DIR]`."""
    parser = Options(
        "musicreclass import",
        description="Turn the weights of a classifier that was trained elsewhere into a run folder, which predict, evaluate"
        " and inspect take. No code from the file is executed.",
    )
    parser.add_argument(
        "file",
        type=user_path,
        metavar="FILE",
        help="an MLP over the 518 features (model, scaler_mean, scaler_scale, genres), a CNN (model_state_dict, label_encoder), or"
        " MTT_musicnn, MTT_vgg, MSD_musicnn, MSD_vgg: a tagger of musicnn, which musicreclass prepare features=musicnn installs",
    )
    parser.add_argument(
        "--output", type=user_path, metavar="DIR", help="the run folder; default: outputs/imported-NAME-HASH"
    )
    args = parser.parse_args(arguments)
    from musicreclass.tasks.import_weights import import_weights

    run, classes, reason, already = import_weights(args.file, args.output)
    is_multi = run.classifier().card.is_multi
    kind = "tags" if is_multi else "genres"
    say(f"{run.folder}: {'had already been imported' if already else 'imported'}; {len(classes)} {kind}")
    say(reason)
    data = "data=csv data.path=FILE data.label_column=tags 'data.label_separator=|'" if is_multi else "data.root=DIR"
    say(f"measure it on your own tracks: musicreclass evaluate {run.folder} {data} --split all")
    return 0
