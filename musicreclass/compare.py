"""One table of many runs, from what their folders say."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from musicreclass.errors import RunError, UserError
from musicreclass.files import write_text
from musicreclass.identity import hashed, scientific
from musicreclass.options import Options
from musicreclass.report.summary import MARKS, percent
from musicreclass.run import Run

COLUMNS = (
    "run",
    "data",
    "split",
    "leaky",
    "model",
    "seed",
    "scored on",
    "n",
    "accuracy",
    "macro-F1",
    "stale",
    "micro-batch",
)


def main(arguments: list[str]) -> int:
    """`musicreclass compare RUN_OR_DIR ... [--output FILE]`."""
    parser = Options("musicreclass compare", description="One table of runs, the best on validation first.")
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN_OR_DIR", help="a run folder, or a folder that holds some"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table too, as .csv or .md")
    args = parser.parse_args(arguments)
    if args.output is not None and args.output.suffix not in (".csv", ".md"):
        raise UserError(f"--output {args.output}: a table is written as .csv or .md")
    rows, left_out = table_rows([run for place in args.runs for run in find_runs(place)])
    if not rows:
        named = "".join(f"; {line}" for line in left_out[:3])
        raise UserError(f"no finished runs under {', '.join(map(str, args.runs))}; train one first{named}")
    Console(highlight=False).print(Group(*terminal_tables(rows)))
    for line in left_out:
        print(f"left out: {line}")
    if args.output is not None:
        try:
            write_text(args.output, as_csv(rows) if args.output.suffix == ".csv" else as_markdown(rows))
        except OSError as error:
            raise UserError(f"--output {args.output}: cannot be written ({error.strerror})") from error
    return 0


def find_runs(place: Path) -> list[Run]:
    """The run in a folder, or the runs below it.

    Raises:
        RunError: if there is no such folder.
    """
    if not place.is_dir() or (place / "status.json").is_file():
        return [Run.open(place)]
    if (place / "runs.csv").is_file():  # a sweep's list
        with (place / "runs.csv").open(encoding="utf-8", newline="") as file:
            return [Run.open(Path(row["run"])) for row in csv.DictReader(file) if row.get("run")]
    return [Run(file.parent) for file in sorted(place.rglob("status.json")) if not hidden(file.relative_to(place))]


def hidden(path: Path) -> bool:
    """Whether any part of a path starts with a dot."""
    return any(part.startswith(".") for part in path.parts)


def table_rows(runs: list[Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """A row per finished run and scored split; runs by validation macro-F1, the best first, a run's splits together.

    Returns:
        the rows, and a line for each run that is left out.
    """
    found: list[list[dict[str, Any]]] = []
    left_out = []
    for run in {run.folder.resolve(): run for run in runs}.values():
        try:
            if run.state != "done":
                left_out.append(f"{run.folder} ({run.state})")
            else:
                found.append(rows_of(run))
        except (RunError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            left_out.append(f"{run.folder} (damaged: {type(error).__name__}: {' '.join(str(error).split())[:120]})")
    found.sort(key=lambda rows: -max((row["macro-F1"] for row in rows if row["scored on"] == "valid"), default=-1.0))
    return [row for rows in found for row in rows], left_out


def rows_of(run: Run) -> list[dict[str, Any]]:
    """A run's rows.

    Raises:
        KeyError, TypeError, ValueError: if its files do not say what a run's files say.
    """
    metrics, identity, protocol = run.metrics, run.identity, run.metrics["protocol"]
    choices, config = dict(identity["choices"]), run.config
    science = scientific(config)
    settings = hashed({**science, "model": without_seeds(science.get("model")), "seed": None})
    rows = []
    for split in ("valid", "test"):
        if split in metrics:
            scores = metrics[split]
            row = {
                "settings": settings,
                "tracks": f"{identity['fingerprint']} {protocol['split']}",
                "run": run.folder.name,
                "data": " ".join(filter(None, (choices.get("data"), identity.get("source")))),
                "split": str(protocol["split"]),
                "leaky": str(protocol["leaky"]),
                "model": str(choices.get("model")),
                "seed": config.get("seed"),
                "scored on": split,
                "n": int(scores["n"]),
                "stale": "yes" if run.is_stale else "no",
                "micro-batch": micro_batch(run),
            }
            for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1")):
                low, high = scores[f"{key}_ci95"]
                row |= {name: 0.0 + scores[key], f"{name}_ci95": [0.0 + low, 0.0 + high]}
            rows.append(row)
    if not rows or rows[0]["leaky"] not in MARKS:
        raise ValueError("metrics.json holds no scores")
    return rows


def micro_batch(run: Run) -> str:
    """Tracks per forward pass of a network whose batch statistics they are; nothing where the whole batch passed at once, or
    where it makes no difference."""
    size = run.identity.get("micro_batch")
    matters = (run.provenance.get("model", {}).get("micro_batch") or {}).get("batch_statistics")
    return str(size) if matters and isinstance(size, int) else ""


def without_seeds(node: Any) -> Any:
    """A model's settings without its random states, which follow the run's seed."""
    if isinstance(node, dict):
        return {name: without_seeds(value) for name, value in node.items() if name != "random_state"}
    return node


def cells(row: dict[str, Any]) -> list[str]:
    """A row as text, in the order of COLUMNS."""
    shown = {name: percent(row[name], row[f"{name}_ci95"]) for name in ("accuracy", "macro-F1")}
    return [str(shown.get(name, row[name])) for name in COLUMNS]


def terminal_tables(rows: list[dict[str, Any]]) -> list[RenderableType]:
    """A table for each set of tracks, since only runs on the same tracks compare; percent with 95 % intervals."""
    found: list[RenderableType] = []
    for tracks in dict.fromkeys(row["tracks"] for row in rows):
        here = [row for row in rows if row["tracks"] == tracks]
        sizes = dict.fromkeys(f"{row['scored on']} n = {row['n']}" for row in here)
        first = here[0]
        title = f"[bold]{escape(first['data'])}[/], split {escape(first['split'])}: {MARKS[first['leaky']]}, {', '.join(sizes)}"
        table = Table(
            box=None, header_style="dim", pad_edge=False, title=title, title_justify="left", title_style="none"
        )
        for name in ("model", "seed", "on", "accuracy", "macro-F1", "run"):
            number = name in ("seed", "accuracy", "macro-F1")
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        last = None
        for row in here:
            again = row["run"] == last
            last = row["run"]
            line = dict(zip(COLUMNS, cells(row), strict=True))
            head = ["", ""] if again else [escape(line["model"]), line["seed"]]
            scores = [line["scored on"], line["accuracy"], line["macro-F1"]]
            name = short(line["run"]) + (" *" if row["stale"] == "yes" else "")
            table.add_row(*head, *scores, "" if again else Text(name, "dim"), style="dim" if again else "")
        found += [table, *footnotes(here), ""]
    return found


def footnotes(rows: list[dict[str, Any]]) -> list[RenderableType]:
    """What is to be known of a table: how often its test set was looked at, and which runs other code has made."""
    notes: list[RenderableType] = []
    looks = len({row["settings"] for row in rows if row["scored on"] == "test"})
    if looks > 1:
        notes.append(Text(f"{looks} configurations, seeds aside, have been scored on this test set", "dim"))
    for name, size in {row["run"]: row["micro-batch"] for row in rows if row["micro-batch"]}.items():
        notes.append(
            Text(f"{short(name)}: trained {size} tracks at a time, and its batch statistics are of so many", "dim")
        )
    if any(row["stale"] == "yes" for row in rows):
        notes.append(Text("* stale: made by other code than this; force=true trains it again", "yellow"))
    return notes


def short(name: str) -> str:
    """A run folder's name, or its end, which tells it apart, where it is long."""
    return name if len(name) <= 9 else "…" + name[-8:]


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; scores in percent with 95 % intervals."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows)]) + "\n"


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV; scores between 0 and 1, the intervals' ends in columns of their own."""
    text = io.StringIO()
    flat = []
    for row in rows:
        line = {name: row[name] for name in COLUMNS}
        for name in ("accuracy", "macro-F1"):
            line[f"{name} low"], line[f"{name} high"] = row[f"{name}_ci95"]
        flat.append(line)
    table = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(flat)
    return text.getvalue()
