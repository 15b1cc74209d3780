"""The summary of a finished run on the terminal, and its hyperparameters and final metrics for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from musicreclass.config.settings.tasks import TRAINING, TrainSettings
from musicreclass.evaluation.intervals import few_tracks
from musicreclass.evaluation.metric_names import METRIC_LABELS, main_metrics
from musicreclass.evaluation.tag_metrics import prior_scores
from musicreclass.plurals import counted
from musicreclass.runs.folder import Run

LEAK_MARKUP = {
    "yes": "[bold red]leaky[/]",
    "unknown": "[dark_orange3]leaks unknown[/]",
    "no": "[green4]no shared artist or identical recording[/]",
}
MORE = ("balanced_accuracy", "micro_roc_auc", "micro_pr_auc", "micro_f1", "log_loss")  # besides the main metrics


def hyperparameters(settings: TrainSettings) -> dict[str, Any]:
    """The settings to compare, flat: `model`, `data`, `seed`, `optimizer.lr`, ..."""
    values: dict[str, Any] = {
        **settings.choices,
        "seed": settings.seed,
        "class_weight": settings.class_weight,
    }
    sections = ["model"]
    if not settings.model.is_estimator:
        sections += TRAINING
    if settings.model.input == "waveform":
        sections.append("augmentation")
    if settings.features.target is not None:
        sections.append("features")
    for section in sections:
        values.update(flat(getattr(settings, section).as_dict(), section))
    values.pop("model.random_state", None)  # equals the seed
    return {n: str(v).lower() if isinstance(v, bool) else v for n, v in values.items() if v is not None}


def flat(node: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The leaves of a tree under dotted names; lists become text."""
    values: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            values.update(flat(value, f"{prefix}.{name}"))
        elif name != "_target_":
            values[f"{prefix}.{name}"] = str(value) if isinstance(value, list) else value
    return values


def final_results(metrics: dict[str, Any]) -> dict[str, float]:
    """The final metrics by name: `final/valid_accuracy`, ..., `more/valid_log_loss`, ..."""
    splits = [split for split in ("valid", "test") if split in metrics]
    return {
        f"{'final' if name in main_metrics(metrics[split]) else 'more'}/{split}_{name}": value
        for split in splits
        for name, value in final_scores(metrics[split]).items()
    }


def final_scores(scores: dict[str, Any]) -> dict[str, float]:
    """The main metrics of a split, and a few more; those that are undefined are left out."""
    return {name: scores[name] for name in (*main_metrics(scores), *MORE) if scores.get(name) is not None}


def main_scores(scores: dict[str, Any]) -> str:
    """The main metrics of a split with their intervals, as rich markup: `accuracy 81.2 [74.0, 88.1] macro-F1 ...`."""
    texts = []
    for metric in main_metrics(scores):
        interval = scores[f"{metric}_ci95"] if scores["n"] > 1 else None
        value = "undefined" if scores[metric] is None else percent(scores[metric], interval)
        texts.append(f"{METRIC_LABELS[metric]} {value}")
    return "  ".join(texts)


def percent(value: float, interval: list[float] | None) -> str:
    """A share as a percentage with its interval, if it has one, as rich markup: `81.2 [74.0, 88.1]`."""
    bounds = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"[bold]{100 * value:.1f}{bounds}[/]"


def summary(run: Run, splits: Sequence[str] = ("train", "valid", "test")) -> RenderableType:
    """Scores, classes and frequent confusions of a finished run, its protocol, and its folder.

    Args:
        run: the run.
        splits: the splits to include if they were scored, or names of other data under `elsewhere` in metrics.json.
    """
    metrics = run.metrics
    own_split = any(split in metrics for split in splits)
    parts: list[RenderableType] = [Text.from_markup(headline(run))] if own_split else []
    scored = {**metrics.get("elsewhere", {}), **metrics}
    protocol = metrics.get("protocol", {})
    for split in splits:
        if split in scored:
            selected = split == "valid" and run.is_selected_on_valid
            parts += split_parts(f"{split} (selected)" if selected else split, scored[split])
            if split == "valid" and "calibration" in metrics:
                parts.append(Text(calibration_line(metrics["calibration"])))
            protocol = scored[split].get("protocol", protocol)
    parts += protocol_lines(protocol)
    if own_split:
        parts += training_parts(run)
    return Group(*parts)


def brief_scores(run: Run, name: str) -> Text:
    """A line with the scores of a run and whether they leak.

    Args:
        run: the run.
        name: of what was scored: a split, or other data under `elsewhere` in metrics.json.
    """
    metrics = run.metrics
    scores = metrics[name] if name in metrics else metrics["elsewhere"][name]
    protocol = scores.get("protocol", metrics.get("protocol", {}))
    leaks = {"no": "", "yes": ", [bold red]leaky[/]"}.get(protocol.get("leaky"), ", [dark_orange3]leaks unknown[/]")
    return Text.from_markup(f"  {name} n={scores['n']} {main_scores(scores).replace('  ', ' ')}{leaks}")


def split_parts(name: str, scores: dict[str, Any]) -> list[RenderableType]:
    """The scores of one split: overall, by class, and the most frequent confusions."""
    absent = scores.get("absent_classes")
    present = (
        f"\nmacro-F1 {100 * scores['macro_f1_present']:.1f} over the classes present; "
        f"no tracks of {escape(', '.join(absent))}, whose F1 counts as 0"
        if absent
        else ""
    )
    few = few_tracks(int(scores["n"]))
    over = f", 95 % intervals over {scores['ci95_over']}" if scores["n"] > 1 else ""
    parts: list[RenderableType] = [
        Text.from_markup(
            f"[bold]{name}[/]  {main_scores(scores)}{present}\n"
            f"[dim]percent{over}[/]" + (f"\n[dark_orange3]{few}[/]" if few else "")
        ),
        tag_table(scores) if "per_tag" in scores else class_table(scores["per_class"]),
    ]
    if "per_tag" in scores:
        parts.append(Text(tag_line(scores)))
    if scores.get("most_confused"):
        confusions = "; ".join(f"{true} as {pred} {n} of {total}" for true, pred, n, total in scores["most_confused"])
        parts.append(Text(f"most confused: {confusions}\n"))
    return parts


def calibration_line(calibration: dict[str, Any]) -> str:
    """How far confidences are from accuracies, before and after the temperature is applied."""
    before, after = (f"{100 * calibration[f'ece_{when}']:.1f}" for when in ("before", "after"))
    if calibration["temperature"] == 1:
        return f"calibration error {before} %; no temperature lowers the log loss of held-out folds\n"
    return f"calibration error {before} %, {after} % with temperature {calibration['temperature']:.2f}\n"


def training_parts(run: Run) -> list[RenderableType]:
    """Dropped tracks, notes, fit time, best epoch or round, and the run folder."""
    provenance = run.provenance
    parts: list[RenderableType] = []
    dropped = {reason: n for reason, n in provenance.get("dropped", {}).items() if n}
    if dropped:
        parts.append(Text("dropped tracks: " + ", ".join(f"{n} {reason}" for reason, n in dropped.items())))
    parts += [Text(note) for note in provenance.get("notes", [])]
    fit = provenance.get("model", {})
    selected = " by validation" if run.is_selected_on_valid else ""
    best = [
        f", best {unit} {fit[f'best_{unit}'] + 1} of {fit[f'{unit}s']}{selected}"
        for unit in ("epoch", "round")
        if f"best_{unit}" in fit
    ]
    seconds = provenance.get("seconds", {}).get("fit", 0)
    parts.append(Text.from_markup(f"fit {seconds:.1f} s{best[0] if best else ''}   [bold]{escape(str(run.folder))}[/]"))
    return parts


def headline(run: Run) -> str:
    """Model, data and number of tracks, as rich markup."""
    identity, provenance = run.identity, run.provenance
    choices = identity.choices
    data = " ".join(filter(None, (choices.get("data"), identity.source)))
    tracks = ", ".join(f"{n} {split}" for split, n in provenance.get("tracks", {}).items())
    features = f", {counted(provenance['features'], 'feature')}" if provenance.get("features") else ""
    return f"{escape(str(choices.get('model')))} on {escape(data)}: {tracks} tracks{features}"


def protocol_lines(protocol: dict[str, Any]) -> list[RenderableType]:
    """The split and whether it leaks, and each reason, indented."""
    leak = LEAK_MARKUP.get(protocol.get("leaky", "unknown"), "")
    overlap = protocol.get("pretraining_overlap", [])
    cautions = protocol.get("cautions", {})
    marks = [f"[dark_orange3]{escape(mark)}[/]" for mark in cautions] + (
        ["[bold red]pretraining overlap[/]"] if overlap else []
    )
    details = [f"{mark}: {text}" for mark, text in cautions.items()]
    checked = protocol.get("checked", [])
    compared = [f"compared between splits: {', '.join(checked)}"] if checked else []
    reasons = [*protocol.get("why", []), *details, *overlap, *compared]
    return [
        Text.from_markup(", ".join([f"split {escape(str(protocol.get('split')))}: {leak}", *marks])),
        *(Padding(Text(reason), (0, 0, 0, 2), expand=False) for reason in reasons),
    ]


def tag_table(scores: dict[str, Any]) -> Table:
    """The areas, F1 and support, a row per tag."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("tag")
    for name in ("ROC-AUC", "PR-AUC", "F1", "support"):
        table.add_column(name, justify="right")
    for name, values in scores["per_tag"].items():
        cells = ["-" if values[k] is None else f"{100 * values[k]:.1f}" for k in ("roc_auc", "pr_auc", "f1")]
        table.add_row(Text(name), *cells, str(values["support"]))
    return table


def tag_line(scores: dict[str, Any]) -> str:
    """The micro averages, F1 with its thresholds, and the tags that are in no mean."""
    micro = ", ".join(
        f"{label} {100 * scores[key]:.1f}"
        for key, label in (("micro_roc_auc", "ROC-AUC"), ("micro_pr_auc", "PR-AUC"))
        if scores[key] is not None
    )
    macro_f1 = "-" if scores["macro_f1"] is None else f"{100 * scores['macro_f1']:.1f}"
    lines = [
        f"micro averages: {micro}" if micro else "",
        f"F1: macro {macro_f1}, micro {100 * scores['micro_f1']:.1f}; thresholds from {scores['f1_thresholds']}",
    ]
    if prior := prior_scores(scores):
        lines.append(
            f"the same answer for all tracks has ROC-AUC {100 * prior['roc_auc']:.1f}, PR-AUC {100 * prior['pr_auc']:.1f}, "
            f"F1: macro {100 * prior['macro_f1']:.1f}, micro {100 * prior['micro_f1']:.1f}"
        )
    if unscored := scores["unscored_tags"]:
        lines.append(f"not in the means, since all or no tracks have them: {', '.join(unscored)}")
    return "\n".join(filter(None, lines)) + "\n"


def class_table(per_class: dict[str, dict[str, float]]) -> Table:
    """Precision, recall, F1 and support, a row per class."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("class")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    for name, scores in per_class.items():
        table.add_row(
            Text(name), *(f"{100 * scores[k]:.1f}" for k in ("precision", "recall", "f1")), str(int(scores["support"]))
        )
    return table
