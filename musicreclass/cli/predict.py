"""`musicreclass predict`: label a folder of recordings with finished runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from musicreclass.cli.options import Options, runs_and_overrides, user_path
from musicreclass.cli.terminal import say, show
from musicreclass.plurals import counted
from musicreclass.tasks.open_classifier import LabelOptions, open_classifier

if TYPE_CHECKING:
    from rich.table import Table

    from musicreclass.tasks.predict import Labelled

SHOWN = 5  # errors that are named


def main(arguments: list[str]) -> int:
    """`musicreclass predict RUN [RUN ...] --input DIR_OR_FILES --output genres.csv`; the exit code is 1 if no file could be used."""
    args = parse(arguments)
    runs, overrides = runs_and_overrides(args.runs)
    options = LabelOptions(
        not args.uncalibrated,
        args.precision,
        args.top_k,
        args.class_map,
        args.config_dir,
        tuple(overrides),
        tuple(args.trust),
        args.time_limit,
    )
    options.check()
    from musicreclass.data.audio.discs import Discs
    from musicreclass.data.corrections import read_corrections
    from musicreclass.prediction.output import check_suffix
    from musicreclass.tasks.predict import find_recordings

    check_suffix(args.output)
    discs = Discs()
    paths, notes = find_recordings(args.input, discs)
    corrections = {} if args.corrections is None else read_corrections(args.corrections, "--corrections")
    classifier = open_classifier(runs, options)
    from musicreclass.tasks.predict import predict

    for line in classifier.cautions:
        say(line, error=True)
    if classifier.promise:
        say(classifier.promise)
    labelled = predict(classifier, paths, args.output, args.force, corrections, discs.tracks)
    if labelled.genres:
        show(genre_table(labelled))
    for line in [*details(labelled), *notes]:
        say(line)
    say(f"wrote {args.output}: {counted(labelled.total, 'row')}")
    return 1 if len(labelled.errors) == labelled.total else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = Options(
        "musicreclass predict",
        description="Label recordings with finished runs. The files are only read. The same command continues where a stopped "
        "one ended, and labels only files that are new or have changed.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|OVERRIDE",
        help="run folders, the probabilities of several are averaged; or musicnn, which needs no training; paths.cache=DIR",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        type=user_path,
        required=True,
        metavar="PATH",
        help="files, or folders that are searched at any depth",
    )
    parser.add_argument(
        "--output", type=user_path, required=True, metavar="FILE", help="the table of labels: .csv, .jsonl or .parquet"
    )
    parser.add_argument(
        "--top-k", type=int, default=LabelOptions.top_k, metavar="K", help="classes listed for each file (default: 3)"
    )
    parser.add_argument(
        "--precision",
        type=float,
        metavar="P",
        help="label only as many files that a share of P is right on the validation tracks; others are unknown",
    )
    parser.add_argument(
        "--class-map", metavar="NAME|FILE", help="map the classes, as gtzan_to_fma; see conf/class_map/"
    )
    parser.add_argument("--config-dir", metavar="DIR", help="your own configuration folder")
    parser.add_argument("--uncalibrated", action="store_true", help="print the probabilities of the model as they are")
    parser.add_argument(
        "--corrections", type=user_path, metavar="FILE", help="labels that were checked, as review exports them"
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=LabelOptions.time_limit,
        metavar="SECONDS",
        help="a file that takes longer, and longer than twice its duration, gets an error (default: 300)",
    )
    parser.add_argument("--force", action="store_true", help="label all files again")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="a module of your own that a model needs"
    )
    return parser.parse_intermixed_args(arguments)


def genre_table(labelled: Labelled) -> Table:
    """How many files of each genre there are."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("tag" if labelled.has_tags else "genre")
    table.add_column("files", justify="right")
    table.add_column("share", justify="right")
    total = max(1, labelled.total - len(labelled.errors))
    for genre, count in labelled.genres.most_common():
        table.add_row(genre, f"{count:,}", f"{100 * count / total:.1f} %")
    return table


def details(labelled: Labelled) -> list[str]:
    """What is worth knowing besides the genres, a line each."""
    lines = [f"unknown: {count} {reason}" for reason, count in labelled.reasons.most_common()]
    if labelled.corrected:
        lines.append(f"{counted(labelled.corrected, 'genre was', 'genres were')} checked by a person")
    if labelled.before:
        lines.append(f"rows that were up to date: {labelled.before}")
    if labelled.errors:
        lines.append(f"files that could not be used, with the error in their rows: {len(labelled.errors)}")
        lines += [f"  {error}" for error in list(labelled.errors.values())[:SHOWN]]
    return lines
