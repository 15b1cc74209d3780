"""What a run comes down to: the lines on the terminal, the rows TensorBoard compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from musicreclass.config.science import TRAINING, is_estimator
from musicreclass.runs.folder import Run

MARKS = {"yes": "[bold red]leaky[/]", "unknown": "[yellow]leaks unknown[/]", "no": "[green]no leak found[/]"}
FINAL = ("accuracy", "macro_f1", "balanced_accuracy", "log_loss")
FIRST = ("accuracy", "macro_f1")  # TensorBoard shows the first few of all names in the order of the alphabet


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """The settings worth comparing, flat: `model`, `data`, `seed`, `optimizer.lr`, ..."""
    found: dict[str, Any] = {
        **config.get("choices", {}),
        "seed": config["seed"],
        "class_weight": config["class_weight"],
    }
    heard: tuple[str, ...] = ("augmentation",) if config["model"].get("input") == "waveform" else ()
    heard += ("features",) if config.get("features", {}).get("_target_") else ()
    for section in ("model", *(() if is_estimator(config) else TRAINING), *heard):
        found.update(flat(config[section], section))
    found.pop("model.random_state", None)  # the seed again
    return {n: str(v).lower() if isinstance(v, bool) else v for n, v in found.items() if v is not None}


def flat(node: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The leaves of a tree under dotted names; lists as text."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}.{name}"))
        elif name != "_target_":
            found[f"{prefix}.{name}"] = str(value) if isinstance(value, list) else value
    return found


def final_results(metrics: dict[str, Any]) -> dict[str, float]:
    """The final metrics by name: `final/valid_accuracy`, ..., `more/valid_log_loss`, ..."""
    splits = [split for split in ("valid", "test") if split in metrics]
    return {f"{'final' if m in FIRST else 'more'}/{s}_{m}": metrics[s][m] for s in splits for m in FINAL}


def percent(value: float, interval: list[float] | None = None) -> str:
    """A share as a percentage, with its interval: `81.2 [74.0, 88.1]`."""
    text = f"{100 * value:.1f}"
    return text if interval is None else f"{text} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def show(run: Run, console: Console, splits: Sequence[str] = ("train", "valid", "test")) -> None:
    """Print a finished run: scores, classes, mistakes, protocol, folder.

    Args:
        run: the run.
        console: where to print.
        splits: what to show of what was scored; records of other data are named as metrics.json names them.
    """
    metrics, provenance = run.metrics, run.provenance
    own = any(split in metrics for split in splits)
    parts: list[RenderableType] = [Text.from_markup(headline(run))] if own else []
    scored = {**metrics.get("elsewhere", {}), **metrics}
    protocol = metrics.get("protocol", {})
    for split in splits:
        if split not in scored:
            continue
        found = scored[split]
        protocol = found.get("protocol", protocol)
        parts.append(Text.from_markup(
            f"[bold]{split}[/]  accuracy [bold]{percent(found['accuracy'], found['accuracy_ci95'])}[/]  "
            f"macro-F1 [bold]{percent(found['macro_f1'], found['macro_f1_ci95'])}[/]  "
            f"[dim]%, {found['ci95_over']}[/]"
        ))  # fmt: skip
        parts.append(class_table(found["per_class"]))
        confused = found.get("most_confused")
        if confused:
            told = "; ".join(f"{true} as {y_pred} {n} of {of}" for true, y_pred, n, of in confused)
            parts.append(Text(f"most confused: {told}\n"))
    parts.append(Text.from_markup(protocol_lines(protocol)))
    if not own:
        console.print(Group(*parts))
        return
    dropped = {reason: n for reason, n in provenance.get("dropped", {}).items() if n}
    if dropped:
        parts.append(Text("left out: " + ", ".join(f"{n} {reason}" for reason, n in dropped.items())))
    parts += [Text(note) for note in provenance.get("notes", [])]
    seconds = provenance.get("seconds", {})
    facts = provenance.get("model", {})
    best = [
        f"best after {facts[f'best_{kind}'] + 1} of {facts[f'{kind}s']} {kind}s"
        for kind in ("epoch", "round")
        if f"best_{kind}" in facts
    ]
    parts.append(
        Text.from_markup(
            f"fit in {seconds.get('fit', 0):.1f} s{', ' + best[0] if best else ''}   [bold]{escape(str(run.folder))}[/]"
        )
    )
    console.print(Group(*parts))


def headline(run: Run) -> str:
    """What was trained on what, as rich markup."""
    identity, provenance = run.identity, run.provenance
    choices = identity.get("choices", {})
    data = " ".join(filter(None, (choices.get("data"), identity.get("source"))))
    tracks = ", ".join(f"{n} {split}" for split, n in provenance.get("tracks", {}).items())
    features = f", {provenance['features']} features" if provenance.get("features") else ""
    return f"{escape(str(choices.get('model')))} on {escape(data)}: {tracks} tracks{features}"


def protocol_lines(protocol: dict[str, Any]) -> str:
    """The split and its leak mark, with a line for each reason, as rich markup."""
    mark = MARKS.get(protocol.get("leaky", "unknown"), "")
    heard = protocol.get("pretraining_overlap", [])
    return "\n".join(
        [
            f"split {protocol.get('split')}: {mark}" + (", [bold red]pretraining overlap[/]" if heard else ""),
            *(f"  {escape(reason)}" for reason in [*protocol.get("why", []), *heard]),
        ]
    )


def class_table(per_class: dict[str, dict[str, float]]) -> Table:
    """Precision, recall, F1 and support, a row per class."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("class")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    for name, found in per_class.items():
        table.add_row(
            Text(name), *(f"{100 * found[k]:.1f}" for k in ("precision", "recall", "f1")), str(int(found["support"]))
        )
    return table
