"""`musicreclass ensemble`: combine finished runs by their validation predictions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say, show
from musicreclass.evaluation.combining import only_member
from musicreclass.evaluation.metric_names import METRIC_LABELS, main_metrics
from musicreclass.plurals import counted
from musicreclass.runs.folder import Run

if TYPE_CHECKING:
    from musicreclass.tasks.cascade import CascadeOptions

METHODS = ("mean", "weighted", "greedy", "stacking", "cascade")


def main(arguments: list[str]) -> int:
    """`musicreclass ensemble RUN RUN ... [--method METHOD] [--output DIR] [--split test]`."""
    args = parse(arguments)
    for folder in args.runs:
        Run.open(folder)  # a wrong path is reported before anything heavy is imported

    from musicreclass.report.summary import summary
    from musicreclass.tasks.ensemble import ensemble

    built = ensemble(args.runs, args.method, args.output, cascade_options(args))
    if built.existed:
        say("this ensemble has already been built")
    if args.split:
        from musicreclass.tasks.evaluate import evaluate

        evaluate(built.run.folder, args.split, trust=tuple(args.trust))
    metrics = built.run.metrics
    show(Group(comparison(metrics["ensemble"], metrics["valid"]), Text()))
    show(summary(built.run, [args.split or "valid"]))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = Options(
        "musicreclass ensemble",
        description="Combine finished runs by their predictions of the same validation tracks. What is fitted is scored by "
        "cross-validation over artists.",
    )
    parser.add_argument("runs", nargs="+", type=user_path, metavar="RUN", help="a finished run, scored on validation")
    parser.add_argument(
        "--method",
        default="greedy",
        choices=METHODS,
        help="mean: of the probabilities, fits nothing | weighted: mean with fitted weights | greedy (default): selection with "
        "replacement (Caruana et al. 2004) | stacking: logistic regression on log-probabilities | cascade: from the cheapest run "
        "to the most expensive one, which labels only tracks of which the others are unsure",
    )
    parser.add_argument("--output", type=user_path, metavar="DIR", help="the run folder to write")
    parser.add_argument("--split", choices=("test",), help="also score the ensemble on test")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="a module of your own that a model needs"
    )
    cascade = parser.add_argument_group(
        "of a cascade", "by default, thresholds give the accuracy of the last run alone at the lowest cost"
    )
    cascade.add_argument(
        "--target-accuracy", type=float, metavar="A", help="reach this accuracy, as 0.8, at the lowest cost"
    )
    cascade.add_argument("--max-cost", type=float, metavar="S", help="the highest accuracy at S seconds per track")
    cascade.add_argument(
        "--recordings",
        nargs="+",
        type=user_path,
        metavar="PATH",
        help="files or folders on which seconds are measured, as of your own library (default: the validation tracks)",
    )
    cascade.add_argument(
        "--seconds",
        nargs="+",
        type=float,
        metavar="S",
        help="seconds per track that each run adds, instead of measuring",
    )
    return parser.parse_args(arguments)


def cascade_options(args: argparse.Namespace) -> CascadeOptions | None:
    """The options of a cascade; None if none is set.

    Raises:
        DataError: if recordings do not exist.
    """
    options = (args.target_accuracy, args.max_cost, args.recordings, args.seconds)
    if args.method != "cascade" and all(value is None for value in options):
        return None
    from musicreclass.evaluation.cascade import Goal
    from musicreclass.tasks.cascade import CascadeOptions
    from musicreclass.tasks.predict import find_recordings

    recordings = None if args.recordings is None else find_recordings(args.recordings, option="--recordings")[0]
    goal = Goal(args.target_accuracy, args.max_cost)
    return CascadeOptions(goal, args.seconds, recordings, tuple(args.trust))


def comparison(record: dict[str, Any], valid: dict[str, Any]) -> RenderableType:
    """The members with their weights, the ensemble, and its difference from the best member.

    Args:
        record: `ensemble` in metrics.json.
        valid: the scores of the ensemble on validation.
    """
    if "cascade" in record:
        return cascade_report(record, valid)
    names = [METRIC_LABELS[metric] for metric in main_metrics(valid)]
    table = Table("", "weight", *names, box=None, header_style="dim", pad_edge=False)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    labels = [member["model"] for member in record["members"]]
    for label, member in zip(labels, record["members"], strict=True):
        name = Text(label if labels.count(label) == 1 else member["name"])
        table.add_row(name, f"{member['weight']:.3f}", *scores_text(member))
    table.add_row("best member, chosen in each fold", "", *scores_text(record["best_member"]))
    table.add_row(f"ensemble: {escape(record['method'])}", "", *scores_text(valid), style="bold")
    single = only_member(record)
    alone = f"no combination was better on validation than {single} alone: it has all the weight, and the ensemble predicts the same"
    fitted = (
        "nothing is fitted" if record["method"] == "mean" else "the weights shown are fitted on all validation tracks"
    )
    return Group(
        table,
        Text(f"percent, 95 % intervals over {record['over']}; {fitted}", style="dim"),
        *([Text(alone)] if single else []),
        Text(f"ensemble - best member: {differences(record)}"),
        Text(
            f"Both are cross-validated in {counted(record['folds'], 'fold')} over artists: neither the fit nor the choice of the best member sees "
            "the tracks it is scored on. The highest score of a member in this table is too high, since it is the highest of several.",
            style="dim",
        ),
    )


def differences(record: dict[str, Any]) -> str:
    """The differences of the paired test, with intervals and p."""
    return "; ".join(
        f"{METRIC_LABELS[metric]} {100 * d['difference']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}], p = {d['p']:.2g} ({d['test']})"
        for metric, d in record["difference"].items()
    )


def cascade_report(record: dict[str, Any], valid: dict[str, Any]) -> RenderableType:
    """The stages of a cascade, its difference from the last run alone, and whether it pays; arguments as in `comparison`."""
    cascade = record["cascade"]
    table = Table(
        "", "from", "seconds", "tracks", "accuracy", "last run", "alone", box=None, header_style="dim", pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    *early_stages, last = record["members"]
    for stage in record["members"]:
        threshold = "" if stage is last else "never" if stage["threshold"] is None else f"{stage['threshold']:.3f}"
        alone = f"{100 * stage['accuracy']:.1f}"
        table.add_row(Text(stage["model"]), threshold, f"+{stage['seconds']:.3g}", *stopped_text(stage), alone)
    if len(early_stages) > 1:
        table.add_row("all that stop early", "", "", *stopped_text(cascade["early"]), "")
    alone = record["last_member"]
    table.add_row("cascade", "", f"{cascade['seconds']:.3g}", "", scores_text(valid)[0], "", "", style="bold")
    table.add_row("last run alone", "", f"{cascade['seconds_alone']:.3g}", "", scores_text(alone)[0], "", "")
    return Group(
        table,
        Text(
            "from: the confidence from which tracks stop at a run; accuracy and last run: percent right among these tracks, of the "
            f"cascade and of the last run; alone: of the run on all tracks. 95 % intervals over {record['over']}; shares and accuracies "
            f"are cross-validated in {counted(record['folds'], 'fold')} over artists, the thresholds shown are fitted on all validation tracks. "
            f"Seconds per track: {cascade['seconds_source']}.",
            style="dim",
        ),
        Text(f"cascade - last run alone: {differences(record)}"),
        Text(verdict_text(record, valid), style="bold"),
    )


def stopped_text(scores: dict[str, Any]) -> list[str]:
    """The share of tracks that stop at some stages, the accuracy among them, and that of the last run; dashes without tracks."""
    fraction = f"{100 * scores['fraction']:.0f} %"
    if scores["stopped_accuracy"] is None:
        return [fraction, "-", "-"]
    accuracy, interval = f"{100 * scores['stopped_accuracy']:.1f}", scores["stopped_accuracy_ci95"]
    if interval:
        accuracy += f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return [fraction, accuracy, f"{100 * scores['last_accuracy']:.1f}"]


def verdict_text(record: dict[str, Any], valid: dict[str, Any]) -> str:
    """Whether a cascade pays, as a sentence; arguments as in `comparison`."""
    cascade, difference = record["cascade"], record["difference"]["accuracy"]
    saving, points = 100 * cascade["saving"], 100 * difference["difference"]
    saves = f"saves {saving:.0f} % of the time of the last run alone"
    interval = f"[{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
    match cascade["verdict"]:
        case "slower":
            return f"The cascade does not pay: it takes {-saving:.0f} % more time than the last run alone, with {points:+.1f} points of accuracy."
        case "lower_accuracy":
            return f"The cascade does not pay: accuracy is lower by {-points:.1f} points {interval}; it {saves}."
        case "target_missed":
            target = 100 * cascade["target_accuracy"]
            return f"The cascade does not pay: accuracy is {100 * valid['accuracy']:.1f} % instead of {target:.1f} %; it {saves}."
    if cascade["target_accuracy"] is not None:
        saves += f", and reaches {100 * valid['accuracy']:.1f} % (target {100 * cascade['target_accuracy']:.1f} %)"
    return f"The cascade pays: it {saves}, with {points:+.1f} points of accuracy {interval}."


def scores_text(scores: dict[str, Any]) -> list[str]:
    """The main metrics in percent, with their intervals."""
    return [
        f"{100 * scores[m]:.1f} [{100 * scores[f'{m}_ci95'][0]:.1f}, {100 * scores[f'{m}_ci95'][1]:.1f}]"
        for m in main_metrics(scores)
    ]
