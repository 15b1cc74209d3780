"""`musicreclass ensemble`: combine finished runs by their validation predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from musicreclass.cli.options import Options
from musicreclass.cli.terminal import say, show
from musicreclass.runs.folder import Run

METHODS = ("mean", "weighted", "greedy", "stacking")
NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def main(arguments: list[str]) -> int:
    """`musicreclass ensemble RUN RUN ... [--method METHOD] [--output DIR] [--split test]`."""
    parser = Options(
        "musicreclass ensemble",
        description="Combine finished runs by their predictions of the same validation tracks. What is fitted is scored by "
        "cross-validation over artists.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a finished run, scored on validation")
    parser.add_argument(
        "--method",
        default="greedy",
        choices=METHODS,
        help="mean: of the probabilities, fits nothing | weighted: mean with fitted weights | greedy (default): selection with "
        "replacement (Caruana et al. 2004) | stacking: logistic regression on log-probabilities",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="the run folder to write")
    parser.add_argument("--split", choices=("test",), help="also score the ensemble on test")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="with --split: a module that a model needs"
    )
    args = parser.parse_args(arguments)
    for folder in args.runs:
        Run.open(folder)  # a wrong path is reported before anything heavy is imported

    from musicreclass.report.summary import summary
    from musicreclass.tasks.ensemble import ensemble

    built = ensemble(args.runs, args.method, args.output)
    if built.existed:
        say("this ensemble has already been built")
    if args.split:
        from musicreclass.tasks.evaluate import evaluate

        evaluate(built.run.folder, args.split, trust=tuple(args.trust))
    show(Group(comparison(built.run.metrics["ensemble"], built.run.metrics["valid"]), Text()))
    show(summary(built.run, [args.split or "valid"]))
    return 0


def comparison(record: dict[str, Any], valid: dict[str, Any]) -> RenderableType:
    """The members with their weights, the ensemble, and its difference from the best member.

    Args:
        record: `ensemble` in metrics.json.
        valid: the scores of the ensemble on validation.
    """
    table = Table("", "weight", "accuracy", "macro-F1", box=None, header_style="dim", pad_edge=False)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    labels = [member["model"] for member in record["members"]]
    for label, member in zip(labels, record["members"], strict=True):
        name = Text(label if labels.count(label) == 1 else member["name"])
        table.add_row(name, f"{member['weight']:.3f}", *scores_text(member))
    table.add_row("best member, chosen in each fold", "", *scores_text(record["best_member"]))
    table.add_row(f"ensemble: {escape(record['method'])}", "", *scores_text(valid), style="bold")
    lines = [
        f"{NAMES[metric]} {100 * d['difference']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}], p = {d['p']:.2g} ({d['test']})"
        for metric, d in record["difference"].items()
    ]
    fitted = (
        "nothing is fitted" if record["method"] == "mean" else "the weights shown are fitted on all validation tracks"
    )
    return Group(
        table,
        Text(f"percent, 95 % intervals over {record['over']}; {fitted}", style="dim"),
        Text("ensemble - best member: " + "; ".join(lines)),
        Text(
            f"Both are cross-validated in {record['folds']} folds over artists: neither the fit nor the choice of the best member sees "
            "the tracks it is scored on. The highest score of a member in this table is too high, since it is the highest of several.",
            style="dim",
        ),
    )


def scores_text(scores: dict[str, Any]) -> list[str]:
    """Accuracy and macro-F1 in percent, with their intervals."""
    return [
        f"{100 * scores[m]:.1f} [{100 * scores[f'{m}_ci95'][0]:.1f}, {100 * scores[f'{m}_ci95'][1]:.1f}]" for m in NAMES
    ]
