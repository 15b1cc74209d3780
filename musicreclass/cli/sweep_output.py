"""What `train -m` prints: jobs as they end, the summary of a sweep, the result of a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from musicreclass.cli.terminal import say, show
from musicreclass.evaluation.metric_names import CLASS_METRICS, METRIC_LABELS
from musicreclass.plurals import counted
from musicreclass.sweep.search import ranking_metric
from musicreclass.sweep.sweep import ENDED_AS_PLANNED

if TYPE_CHECKING:
    from musicreclass.sweep.record import JobRecord
    from musicreclass.sweep.search import Search, SearchResult

STYLES = {"done": "green4", "pruned": "dim", "failed": "bold red"}
BEST_TRIALS = 5  # in the table of a search


def print_job_end(record: JobRecord, seconds_left: float = 0.0) -> None:
    """Print how a job ended, its scores, and about how long the remaining jobs will take."""
    if record.state in ENDED_AS_PLANNED:
        texts = [f"{METRIC_LABELS[name]} {100 * score:.1f}" for name, score in record.metrics.items()]
        valid = f", validation {' '.join(texts)}" if texts else ""
        left = f"; about {rough_duration(seconds_left)} left" if seconds_left else ""
        say(f"job {record.job}: {record.error or record.state}{valid}{left}")
    else:
        say(f"musicreclass: job {record.job} {record.state}: {record.error}", error=True)


def rough_duration(seconds: float) -> str:
    """A duration in the largest unit of which there are two."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


def print_summary(records: list[JobRecord], folder: Path, with_jobs: bool) -> int:
    """Print the summary of a sweep.

    Args:
        records: those of its jobs.
        folder: the sweep's.
        with_jobs: whether to print a line for each job.

    Returns:
        The exit code: 1 if any job failed.
    """
    if with_jobs:
        show(job_table(records))
    pruned = sum(record.state == "pruned" for record in records)
    failed = [record for record in records if record.state not in ENDED_AS_PLANNED]
    done = f"{len(records) - len(failed) - pruned} of {counted(len(records), 'job')} done" + (
        f", {pruned} pruned" if pruned else ""
    )
    say(f"{done}; the list is {folder / 'runs.csv'}")
    for record in failed:
        say(f"job {record.job} {record.state}: {record.error}")
    return 1 if failed else 0


def job_table(records: list[JobRecord]) -> Table:
    """A row per job, with the overrides that not all jobs share."""
    overrides = [set(record.arguments) for record in records if record.arguments]
    common = set.intersection(*overrides) if len(overrides) > 1 else set()
    table = Table(box=None, header_style="dim", pad_edge=False)
    metrics = list(dict.fromkeys(name for record in records for name in record.metrics)) or list(CLASS_METRICS)
    first, *others = (METRIC_LABELS[name] for name in metrics)
    for name in ("job", "state", f"valid {first}", *others):
        table.add_column(name, justify="right" if name != "state" else "left")
    table.add_column("overrides", overflow="fold")
    for record in records:
        scores = (record.metrics.get(name) for name in metrics)
        table.add_row(
            str(record.job),
            f"[{STYLES.get(record.state, 'dark_orange3')}]{record.state}[/]",
            *("" if score is None else f"{100 * score:.1f}" for score in scores),
            Text(" ".join(argument for argument in record.arguments if argument not in common)),
        )
    return table


def print_search(search: Search, result: SearchResult | None, folder: Path) -> None:
    """Print the best trials, the importance of each setting and the winner's command."""
    if result is None:
        say("search: no trial was finished, so there is no winner")
        return
    show(trial_table(search, result))
    best = result.scored[0]
    metric = METRIC_LABELS[ranking_metric(result.scored)]
    line = f"best validation {metric}: {100 * (best.score or 0):.2f}, of trial {best.job} among {len(result.scored)}"
    say(f"{line}; see {folder}/search.csv, importance.csv, search.png")
    say("The best score of a search is optimistic: the trial was chosen for it. To run its settings with other seeds")
    say("and score them on test:")
    say(f"  {result.command}")
    if search.has_folds:
        say(
            "Its folds share tracks: those that chose this trial are the test tracks of another fold. Test it on this fold only."
        )


def trial_table(search: Search, result: SearchResult) -> Table:
    """The best trials, with a column for each key, the most important first."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    keys = sorted(search.space, key=lambda key: -result.importance.get(key, 0.0))
    names = [key.lstrip("+").rpartition(".")[2] for key in keys]
    metric = METRIC_LABELS[ranking_metric(result.scored)]
    for name in ("trial", metric, *names):
        table.add_column(name, justify="right", no_wrap=name == metric, overflow="fold")
    for record in result.scored[:BEST_TRIALS]:
        drawn = search.drawn(record)
        values = [Text(rounded(drawn.get(key, ""))) for key in keys]
        table.add_row(str(record.job), f"{100 * (record.score or 0):.2f}", *values)
    if result.importance:
        shares = (f"{100 * result.importance.get(key, 0.0):.0f} %" for key in keys)
        table.add_row("importance", "", *shares, style="bold")
    return table


def rounded(text: str) -> str:
    """A number with four digits; any other text unchanged."""
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
