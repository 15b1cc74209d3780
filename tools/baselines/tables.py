"""The record as tables: between markers in experiments/README.md, README.md and docs/approaches.md, and on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from musicreclass.compare.render.text import head, line
from musicreclass.compare.wording import count, seconds
from musicreclass.errors import UserError
from musicreclass.storage.atomic import write_text
from tools.baselines.facts import Baseline, Facts
from tools.baselines.record import Result, load

Record = dict[str, list[Result]]  # by experiment
LEAKS = {"yes": "leaky", "unknown": "leaks unknown"}


def write_tables(folder: Path, facts: Facts) -> None:
    """Write every table anew, from what is recorded alone.

    Args:
        folder: of the experiments; README.md and docs/approaches.md lie beside it.
        facts: what is known of them.

    Raises:
        UserError: if a file lacks its markers.
    """
    record = {name: load(folder / name) for name in facts.baselines}
    root = folder.absolute().parent
    replace_between(folder / "README.md", "baselines", full_table(facts, record))
    replace_between(folder / "README.md", "partial", partial_table(facts, record))
    replace_between(folder / "README.md", "expectations", expectations_table(facts, record))
    replace_between(root / "README.md", "baselines", short_table(facts, record))
    replace_between(root / "docs" / "approaches.md", "approaches", cost_table(facts, record))


def replace_between(path: Path, name: str, lines: list[str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        UserError: if the file is not there or lacks the markers.
    """
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run this in the project's own folder") from error
    before, begun, rest = text.partition(first)
    _, ended, after = rest.partition(last)
    if not (begun and ended):
        raise UserError(f"{path}: lacks the lines {first.strip()} and {last}, between which a table goes")
    new = "".join([before, first, *(f"{line}\n" for line in lines), last, after])
    if new != text:
        write_text(path, new)


def full_table(facts: Facts, record: Record) -> list[str]:
    """Every experiment: our figures on complete data, or why there are none, beside published ones, and the command."""
    lines = head(
        "experiment", "protocol", "on", "accuracy", "macro-F1", "n", "seeds", "published, test accuracy", "command"
    )
    for name, known in facts.baselines.items():
        whole = [result for result in record[name] if result.whole]
        for result in whole:
            told = [name, protocol(known, result), on(result), *figures(result), result["n"], seeds(result)]
            lines.append(line(*told) + beside(known, result["scored on"]))
        if not whole:
            lines.append(line(name, known.protocol, "", not_run(known), "", "", "") + beside(known))
        elif "test" in known.sizes and all(result["scored on"] != "test" for result in whole):
            told = [name, known.protocol, "test", f"not run: needs its {known.sizes['test']} test tracks", "", "", ""]
            lines.append(line(*told) + beside(known))
    return lines


def partial_table(facts: Facts, record: Record) -> list[str]:
    """Figures on data that is not complete, apart from all published ones."""
    lines = head("experiment", "what there was of the data", "on", "accuracy", "macro-F1", "n", "seeds", "command")
    for name, known in facts.baselines.items():
        for result in record[name]:
            if not result.whole:
                told = [name, there(known, result), on(result), *figures(result), result["n"], seeds(result)]
                lines.append(f"{line(*told)} `{result['command']}` |")
    return lines if len(lines) > 2 else ["None."]


def expectations_table(facts: Facts, record: Record) -> list[str]:
    """What was expected, row by row, and what came out."""
    lines = head("what", "expected", "experiment", "accuracy on complete data")
    for row in facts.expectations:
        known = facts.baselines[row.experiment]
        whole = {result["scored on"]: result for result in record[row.experiment] if result.whole}
        result = whole.get("test") or whole.get("valid")
        answer = f"{figures(result)[0]} on {on(result)}, n = {result['n']}" if result else not_run(known)
        lines.append(line(row.what, row.expected, row.experiment, answer))
    return lines


def short_table(facts: Facts, record: Record) -> list[str]:
    """What has been run on complete data."""
    lines = head("experiment", "protocol", "accuracy", "n", "seeds", "published, test accuracy", "command")
    for name, known in facts.baselines.items():
        for result in record[name]:
            if result.whole:
                where = f"{protocol(known, result)}; {on(result)}"
                lines.append(
                    line(name, where, figures(result)[0], result["n"], seeds(result))
                    + beside(known, result["scored on"])
                )
    left = [name for name in facts.baselines if not any(result.whole for result in record[name])]
    return [*lines, "", f"Not run on complete data: {', '.join(left)}."] if left else lines


def cost_table(facts: Facts, record: Record) -> list[str]:
    """Accuracy, time, memory and hardware of every recorded experiment."""
    lines = head("experiment", "data", "on", "accuracy", "fit, one run", "peak memory", "parameters", "hardware")
    for name, known in facts.baselines.items():
        for result in record[name]:
            data = protocol(known, result) if result.whole else f"partial data: {there(known, result)}"
            cores = f", {result['cores']} cores" if result["device"] == "CPU" and result["cores"] else ""
            took, memory = result.number("fit seconds"), result.number("peak memory MiB")
            cost = [seconds(took), count(memory, " MiB"), count(result.number("parameters")), result["device"] + cores]
            lines.append(line(name, data, on(result), figures(result)[0], *cost))
        if not record[name]:
            lines.append(line(name, known.protocol, "", not_run(known), "", "", "", ""))
    return lines


def beside(known: Baseline, scored: str = "test") -> str:
    """The last two cells of a row: what was published, with its source, and what reproduces ours.

    What was published on test stands beside no figure on validation, unless the protocol has no test.
    """
    published = [f"{p.accuracy:.1f} ({p.what}), {p.source}" for p in known.published]
    compares = scored == "test" or "test" not in known.sizes
    return f" {('; '.join(published) if compares else '') or '-'} | `{known.command}` |"


def not_run(known: Baseline) -> str:
    """Instead of a figure."""
    return f"not run: needs {known.needs}"


def protocol(known: Baseline, result: Result) -> str:
    """Data and split, with what is to be known of them."""
    return ", ".join([known.protocol, *marks(result)])


def there(known: Baseline, result: Result) -> str:
    """What there was of the data."""
    tracks = {name: int(result.number(f"{name} tracks") or 0) for name in known.sizes}
    classes = [f"{result['classes']} of {known.classes} classes"] if str(known.classes) != result["classes"] else []
    parts = [known.lacking(tracks), *classes, *marks(result)]
    return f"instead of {known.protocol}: " + "; ".join(part for part in parts if part)


def marks(result: Result) -> list[str]:
    """What is to be known of a figure."""
    overlap = "pretraining overlap" if result["pretraining overlap"] == "yes" else ""
    return [mark for mark in (LEAKS.get(result["leaky"], ""), overlap, result["note"]) if mark]


def on(result: Result) -> str:
    """What was scored."""
    return "validation" if result["scored on"] == "valid" else result["scored on"]


def figures(result: Result) -> list[str]:
    """Accuracy and macro-F1 in percent: `81.2 ±0.6 [74.0, 88.1]`."""
    found = []
    for name in ("accuracy", "macro-F1"):
        mean, low, high = (f"{100 * float(result[f'{name}{end}']):.1f}" for end in ("", " low", " high"))
        sd = result.number(f"{name} sd")
        found.append(mean + ("" if sd is None else f" ±{100 * sd:.1f}") + f" [{low}, {high}]")
    return found


def seeds(result: Result) -> str:
    """How many seeds, or which."""
    return str(len(result.seeds)) if len(result.seeds) > 1 else f"s{result['seeds']}"


def shown(folder: Path, facts: Facts, names: list[str], states: dict[str, str]) -> Table:
    """What is recorded of some experiments, for the terminal; of those without figures, how it went."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("experiment", "leaky", "on", "accuracy", "macro-F1", "n", "seeds", "published"):
        table.add_column(name, no_wrap=name in ("experiment", "on", "accuracy"), overflow="fold")
    for name in names:
        found = load(folder / name)
        published = ", ".join(f"{p.accuracy:.1f}" for p in facts.baselines[name].published)
        for result in found:
            accuracy, f1 = figures(result)
            cells = [result["leaky"], on(result), accuracy, f1.partition(" [")[0], result["n"], seeds(result)]
            compares = result["scored on"] == "test" or "test" not in facts.baselines[name].sizes
            last = "partial data" if not result.whole else published if compares else ""
            table.add_row(name, *(Text(cell) for cell in [*cells, last]))
        if not found:
            table.add_row(name, "", "", Text(states.get(name, "not run").partition(":")[0]), style="dim")
    return table
