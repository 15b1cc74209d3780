"""Tables of the recorded results: between markers in experiments/README.md, README.md and docs/approaches.md, and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table
from rich.text import Text

from musicreclass.comparison.render.text import table_head, table_line
from musicreclass.comparison.wording import SPLIT_LABELS, count_text, duration_text
from musicreclass.errors import UserError
from musicreclass.storage.atomic import write_text
from tools.baselines.catalog import Baseline, Catalog
from tools.baselines.record import Result, load_results

Record = dict[str, list[Result]]  # experiment -> results
AREAS = {"accuracy": "ROC-AUC", "macro-F1": "PR-AUC"}  # what tags have in place of a score of classes
LEAK_MARKS = {"yes": "leaky", "unknown": "leaks unknown"}


def write_tables(folder: Path, catalog: Catalog) -> None:
    """Write every table from the recorded results.

    Args:
        folder: of the experiments; README.md and docs/ are next to it.
        catalog: of the experiments.

    Raises:
        UserError: if a file is missing or lacks its markers.
    """
    record = {name: load_results(folder / name) for name in catalog.baselines}
    root = folder.absolute().parent
    replace_between(folder / "README.md", "baselines", full_table(catalog, record))
    replace_between(folder / "README.md", "partial", partial_table(catalog, record))
    replace_between(folder / "README.md", "expectations", expectations_table(catalog, record))
    replace_between(root / "README.md", "baselines", short_table(catalog, record))
    replace_between(root / "docs" / "approaches.md", "approaches", cost_table(catalog, record))


def replace_between(path: Path, name: str, lines: list[str]) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        UserError: if the file is missing or lacks the markers.
    """
    begin_marker, end_marker = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); run this in the root of the repository"
        raise UserError(message, "unreadable", path) from error
    before, begin, rest = text.partition(begin_marker)
    _, end, after = rest.partition(end_marker)
    if not (begin and end):
        message = f"{path}: add the lines {begin_marker.strip()} and {end_marker} where the table should go"
        raise UserError(message, "missing_markers", path, name)
    new = "".join([before, begin_marker, *(f"{line}\n" for line in lines), end_marker, after])
    if new != text:
        write_text(path, new)


def full_table(catalog: Catalog, record: Record) -> list[str]:
    """Every experiment: our scores on complete data or what is missing, published scores, and the command."""
    columns = ("experiment", "protocol", "scored on", "accuracy", "macro-F1", "n", "seeds")
    lines = table_head(*columns, "published test accuracy", "command")
    for name, baseline in catalog.baselines.items():
        complete = [result for result in record[name] if result.is_complete]
        for result in complete:
            cells = [name, protocol_text(baseline, result), *score_cells(result)]
            lines.append(table_line(*cells) + published_and_command(baseline, result["scored on"]))
        if not complete:
            cells = [name, baseline.protocol, "", not_run_text(baseline), "", "", ""]
            lines.append(table_line(*cells) + published_and_command(baseline))
        elif "test" in baseline.sizes and all(result["scored on"] != "test" for result in complete):
            reason = f"not run: needs the {baseline.sizes['test']} test tracks"
            cells = [name, baseline.protocol, "test", reason, "", "", ""]
            lines.append(table_line(*cells) + published_and_command(baseline))
    return lines


def partial_table(catalog: Catalog, record: Record) -> list[str]:
    """Scores on partial data, which are not comparable with published ones."""
    columns = ("experiment", "available data", "scored on", "accuracy", "macro-F1", "n", "seeds", "command")
    lines = table_head(*columns)
    for name, baseline in catalog.baselines.items():
        for result in record[name]:
            if not result.is_complete:
                cells = [name, available_data(baseline, result), *score_cells(result)]
                lines.append(f"{table_line(*cells)} `{result['command']}` |")
    return lines if len(lines) > 2 else ["None."]


def expectations_table(catalog: Catalog, record: Record) -> list[str]:
    """Expected and measured accuracies."""
    lines = table_head("what", "expected", "experiment", "accuracy on complete data")
    for expectation in catalog.expectations:
        baseline = catalog.baselines[expectation.experiment]
        by_split = {r["scored on"]: r for r in record[expectation.experiment] if r.is_complete}
        result = by_split.get("test") or by_split.get("valid")
        if result:
            measured = f"{score_text(result, 'accuracy')} on {split_label(result)}, n = {result['n']}"
        else:
            measured = not_run_text(baseline)
        lines.append(table_line(expectation.what, expectation.expected, expectation.experiment, measured))
    return lines


def short_table(catalog: Catalog, record: Record) -> list[str]:
    """Scores on complete data, in short lines; published scores are without their sources, which the full table has."""
    lines = table_head("experiment", "data, scored split", "accuracy in percent", "n", "published")
    for name, baseline in catalog.baselines.items():
        for result in record[name]:
            if result.is_complete:
                data = f"{protocol_text(baseline, result)}, {split_label(result)}"
                comparable = is_comparable(baseline, result["scored on"])
                published = ", ".join(map(str, baseline.published)) if comparable else ""
                lines.append(table_line(name, data, score_text(result, "accuracy"), result["n"], published or "-"))
    return lines


def cost_table(catalog: Catalog, record: Record) -> list[str]:
    """Accuracy, time, memory and hardware of every recorded experiment."""
    columns = ("experiment", "data", "scored on", "accuracy", "fit, one run", "peak memory", "parameters", "hardware")
    lines = table_head(*columns)
    for name, baseline in catalog.baselines.items():
        for result in record[name]:
            if result.is_complete:
                data = protocol_text(baseline, result)
            else:
                data = f"partial data: {available_data(baseline, result)}"
            cores = f", {result['cores']} cores" if result["device"] == "CPU" and result["cores"] else ""
            cost = [
                duration_text(result.number("fit seconds")),
                count_text(result.number("peak memory MiB"), " MiB"),
                count_text(result.number("parameters")),
                result["device"] + cores,
            ]
            lines.append(table_line(name, data, split_label(result), score_text(result, "accuracy"), *cost))
        if not record[name]:
            lines.append(table_line(name, baseline.protocol, "", not_run_text(baseline), "", "", "", ""))
    return lines


def terminal_table(folder: Path, catalog: Catalog, names: list[str], states: Mapping[str, str]) -> Table:
    """The recorded results of some experiments, for the terminal.

    Args:
        folder: of the experiments.
        catalog: of the experiments.
        names: the experiments to show.
        states: shown for experiments without results.
    """
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("experiment", "leaky", "scored on", "accuracy", "macro-F1", "n", "seeds", "published"):
        table.add_column(name, no_wrap=name in ("experiment", "scored on", "accuracy"), overflow="fold")
    for name in names:
        results = load_results(folder / name)
        baseline = catalog.baselines[name]
        for result in results:
            macro_f1 = score_text(result, "macro-F1").partition(" [")[0]
            cells = [result["leaky"], split_label(result), score_text(result, "accuracy"), macro_f1]
            if not result.is_complete:
                published = "partial data"
            elif is_comparable(baseline, result["scored on"]):
                published = ", ".join(map(str, baseline.published))
            else:
                published = ""
            table.add_row(name, *(Text(cell) for cell in [*cells, result["n"], seeds_text(result), published]))
        if not results:
            table.add_row(name, "", "", Text(states.get(name, "not run")), style="dim")
    return table


def is_comparable(baseline: Baseline, split: str) -> bool:
    """Whether published test scores compare with ours on a split: test, or any split if the protocol has no test."""
    return split == "test" or "test" not in baseline.sizes


def published_and_command(baseline: Baseline, split: str = "test") -> str:
    """The last two cells of a line: published scores with their sources, and the command."""
    published = [f"{score} ({score.what}), {score.source}" for score in baseline.published]
    return f" {('; '.join(published) if is_comparable(baseline, split) else '') or '-'} | `{baseline.command}` |"


def not_run_text(baseline: Baseline) -> str:
    """The text that replaces a missing score."""
    return f"not run: needs {baseline.needs}"


def protocol_text(baseline: Baseline, result: Result) -> str:
    """Data and split, with marks."""
    return ", ".join([baseline.protocol, *result_marks(result)])


def available_data(baseline: Baseline, result: Result) -> str:
    """The available part of the data, with marks."""
    tracks = {name: int(result.number(f"{name} tracks") or 0) for name in baseline.sizes}
    classes = [f"{result['classes']} of {baseline.classes} classes"]
    parts = [
        baseline.missing_data(tracks),
        *(classes if str(baseline.classes) != result["classes"] else []),
        *result_marks(result),
    ]
    return f"instead of {baseline.protocol}: " + "; ".join(part for part in parts if part)


def result_marks(result: Result) -> list[str]:
    """What limits the meaning of a score: leaks, pretraining overlap, and the recorded note."""
    overlap = "pretraining overlap" if result["pretraining overlap"] == "yes" else ""
    return [mark for mark in (LEAK_MARKS.get(result["leaky"], ""), overlap, result["note"]) if mark]


def score_cells(result: Result) -> list[str]:
    """The scored split, accuracy and macro-F1, or the areas of tags with their names, number of tracks, and seeds."""
    scores = [score_text(result, metric) for metric in ("accuracy", "macro-F1")]
    return [split_label(result), *scores, result["n"], seeds_text(result)]


def split_label(result: Result) -> str:
    """`validation` or `test`."""
    return SPLIT_LABELS.get(result["scored on"], result["scored on"])


def score_text(result: Result, metric: str) -> str:
    """A score in percent with its deviation over seeds and its interval: `81.2 ±0.6 [74.0, 88.1]`.

    Tags have `ROC-AUC 90.1 [88.2, 91.7]` in place of the accuracy, and PR-AUC in place of macro-F1.
    """
    if not result[metric]:
        area = AREAS[metric]
        return f"{area} {score_text(result, area)}" if result[area] else "-"
    mean, low, high = (f"{100 * float(result[f'{metric}{end}']):.1f}" for end in ("", " low", " high"))
    sd = result.number(f"{metric} sd")
    return mean + ("" if sd is None else f" ±{100 * sd:.1f}") + f" [{low}, {high}]"


def seeds_text(result: Result) -> str:
    """The number of seeds, or the seed itself if there is one: `3`, `seed 0`."""
    return str(len(result.seeds)) if len(result.seeds) > 1 else f"seed {result['seeds']}"
