"""The model card of a run, `model/README.md`: data, protocol, scores with intervals, licences, and how to load it."""

from __future__ import annotations

from typing import Any

from musicreclass.errors import printable
from musicreclass.evaluation.metric_names import METRIC_LABELS, main_metrics
from musicreclass.runs.folder import Run
from musicreclass.runs.model_input import labels_recordings, scoring_arguments
from musicreclass.storage.atomic import write_text
from musicreclass.version import __version__

FILE = "README.md"
LEAKS = {"no": "none found", "yes": "**leaky**", "unknown": "unknown"}
LICENCES = {  # what a model is derived from, by the module of its `_target_`
    "musicreclass.data.sources.gtzan.": "GTZAN: its recordings have no licence; it is used for research.",
    "musicreclass.data.sources.fma_": "FMA: the recordings are under the Creative Commons licences of their artists, many NonCommercial.",
    "musicreclass.models.musicnn.": "musicnn's weights: ISC licence, Music Technology Group, Universitat Pompeu Fabra.",
    "musicreclass.models.huggingface": "The encoder's weights: see the model card of its checkpoint.",
    "musicreclass.models.openjmla": "OpenJMLA's weights: see their distribution.",
}


def write_model_card(run: Run) -> None:
    """Write the card of a scored run; one that cannot be written is not needed."""
    model = run.folder / "model"
    if model.is_dir() and not model.is_symlink():
        write_text(model / FILE, render_model_card(run))


def render_model_card(run: Run) -> str:
    """The card as Markdown."""
    metrics, config, choices = run.metrics, run.config, run.identity.choices
    protocol = metrics.get("protocol") or {}
    tracks = run.provenance.get("tracks") or {}
    features = choices.get("features")
    reads = f"features `{features}`" if features not in (None, "none") else f"a {config['model'].get('input')}"
    lines = [
        f"# {choices.get('model')} on {choices.get('data')}",
        "",
        f"A music genre classifier over {reads}, trained with musicreclass {run.identity.version}. Run `{run.folder.name}`, seed "
        f"{config['seed']}.",
        "",
        f"Classes: {', '.join(metrics.get('classes') or [])}.",
        "",
        "## Data and protocol",
        "",
        f"- split `{protocol.get('split')}`: " + ", ".join(f"{n} {split}" for split, n in tracks.items()),
        f"- leaks between splits: {LEAKS.get(str(protocol.get('leaky')), 'unknown')}",
        *(f"  - {line}" for line in protocol.get("why") or []),
        *(f"- caution, {mark}: {text}" for mark, text in (protocol.get("cautions") or {}).items()),
        *(f"- pretraining overlap: {text}" for text in protocol.get("pretraining_overlap") or []),
        "",
        "## Scores",
        "",
        *scores(metrics, run.is_selected_on_valid),
        "",
        "## Use",
        "",
        *(use_on_recordings(run.folder.name) if labels_recordings(run.folder) else use_on_tables(run)),
        "",
        *licence_lines(config),
        f"Written by musicreclass {__version__}.",
        "",
    ]
    return "\n".join(printable(line) for line in lines)


def use_on_recordings(name: str) -> list[str]:
    """How to label recordings with the run of a name."""
    return [
        "```",
        f"musicreclass predict {name} --input MUSIC --output genres.csv",
        "```",
        "",
        "```python",
        "import musicreclass as mrc",
        "",
        f'mrc.predict("{name}", "MUSIC")',
        "```",
        "",
        "Loading the run folder executes no code from it. It labels music like that of its training data; confidences are calibrated on the",
        "validation tracks, and recordings unlike the training tracks are `unknown`.",
    ]


def use_on_tables(run: Run) -> list[str]:
    """How to use a run over columns that cannot be computed from recordings."""
    name = run.folder.name
    return [
        "```",
        f"musicreclass evaluate {name} {scoring_arguments(run.folder)}",
        "```",
        "",
        "```python",
        "import musicreclass as mrc",
        "",
        f'mrc.load("{name}").predict_proba(x)  # (n, columns) float32',
        "```",
        "",
        "Loading the run folder executes no code from it. The columns of the table cannot be computed from recordings, so that",
        "`musicreclass predict` does not label recordings with this run.",
    ]


def scores(metrics: dict[str, Any], selected: bool) -> list[str]:
    """The table of scores with 95 % intervals."""
    names = main_metrics(next((metrics[split] for split in ("valid", "test") if split in metrics), {}))
    rows = [
        f"| split | tracks | {' | '.join(f'{METRIC_LABELS[name]} %' for name in names)} |",
        "| --- | --- | --- | --- |",
    ]
    for split in ("valid", "test"):
        if split in metrics:
            values = metrics[split]
            name = f"{split} (the epoch or round was chosen on it)" if split == "valid" and selected else split
            cells = [with_interval(values, metric) for metric in names]
            rows.append(f"| {name} | {values['n']} | {' | '.join(cells)} |")
    if "test" not in metrics:
        rows += ["", "Test was not scored."]
    if calibration := metrics.get("calibration"):
        before, after = (100 * calibration[f"ece_{when}"] for when in ("before", "after"))
        rows += [
            "",
            f"Calibration error: {before:.1f} %, with temperature {calibration['temperature']:.2f} {after:.1f} %.",
        ]
    return rows


def with_interval(values: dict[str, Any], metric: str) -> str:
    """A score with its interval: `81.2 [74.0, 88.1]`."""
    interval = values.get(f"{metric}_ci95")
    bounds = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return "undefined" if values[metric] is None else f"{100 * values[metric]:.1f}{bounds}"


def licence_lines(config: dict[str, Any]) -> list[str]:
    """A section on what the model is derived from; empty if nothing is known."""
    targets = set(targets_in({name: config.get(name) for name in ("data", "features", "model")}))
    notes = [note for module, note in LICENCES.items() if any(target.startswith(module) for target in targets)]
    return ["## Licences", "", *(f"- {note}" for note in notes), ""] if notes else []


def targets_in(node: Any) -> list[str]:
    """Every `_target_` in a configuration."""
    if not isinstance(node, dict):
        return []
    below = [target for value in node.values() for target in targets_in(value)]
    return [*([str(node["_target_"])] if node.get("_target_") else []), *below]
