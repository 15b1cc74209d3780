"""Reproducible, leak-checked music genre classification.

The Python API does what the command line does, with the same options, overrides and run folders.

Examples:
    >>> import musicreclass as mrc
    >>> run = mrc.train(["data=demo", "model=logreg"])
    >>> run.metrics["valid"]["n"]
    36
    >>> mrc.compare(run.folder).loc[0, "model"]
    'logreg'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicreclass.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from musicreclass.prediction.file_classifier import FileClassifier

__all__ = [
    "Run",
    "__version__",
    "analyze",
    "cite",
    "compare",
    "ensemble",
    "evaluate",
    "export",
    "file_classifier",
    "import_weights",
    "load",
    "organize",
    "predict",
    "review",
    "train",
    "undo_organize",
]


def __dir__() -> list[str]:
    return sorted(__all__)


class Run:
    """A run folder, to read; it has metrics and a model once the run is finished. `train` and `load` return it.

    Args:
        folder: the run folder.
        trust: your own modules that the model needs, one or several; no code of other modules is executed.

    Raises:
        RunError: if the folder is not a run folder.

    Examples:
        >>> run = mrc.train(["data=demo", "model=logreg"])
        >>> sorted(run.predictions("valid").columns)[:3]
        ['group', 'p/ambient', 'p/chiptune']
    """

    def __init__(self, folder: str | Path, trust: str | Sequence[str] = ()) -> None:
        from musicreclass.runs.folder import Run as RunFolder
        from musicreclass.tasks.python_arguments import as_list, as_path

        self._run = RunFolder.open(as_path(folder, "folder"))
        self._trust = tuple(as_list(trust))
        self._classifier: Any = None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._run.folder

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return self._run.config

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: the metrics of each scored split, `classes` and `protocol`."""
        return self._run.metrics

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the probabilities.

        Raises:
            RunError: if the run was not scored yet.
        """
        from musicreclass.errors import RunError

        if "classes" not in self.metrics:
            line = f"{self.folder}: the run is {self._run.state} and was not scored; the same command finishes it"
            raise RunError(line, "unfinished_run", self.folder)
        return list(self.metrics["classes"])

    def predictions(self, split: str) -> pd.DataFrame:
        """The predictions of a split, one row per track.

        Args:
            split: `train`, `valid` or `test`, if the run was scored on it.

        Returns:
            `track_id`, `target`, `group` (None if unknown) and one column `p/<class>` per class; probabilities sum to 1.

        Raises:
            RunError: if the run was not scored on the split.
        """
        from musicreclass.tasks.python_arguments import check_predictions

        check_predictions(self.folder, split)
        return self._run.predictions(split).table

    def mistakes(self, split: str) -> pd.DataFrame:
        """The tracks of a split with a wrong class, the most confident mistakes first.

        Args:
            split: as in `predictions`.

        Returns:
            `track_id`, `target`, `predicted`, `confidence` (the probability of the predicted class) and `group`.

        Raises:
            RunError: if the run was not scored on the split, or predicts sets of tags.
        """
        from musicreclass.errors import RunError
        from musicreclass.evaluation.predictions import PREFIX

        table = self.predictions(split)
        if "target" not in table:
            line = f"{self.folder}: the run predicts sets of tags, which are not right or wrong as a whole; see predictions()"
            raise RunError(line, "several_labels", self.folder)
        probability = table.filter(regex=f"^{PREFIX}")
        predicted = [str(name).removeprefix(PREFIX) for name in probability.idxmax(axis=1)]
        table = table.assign(predicted=predicted, confidence=probability.max(axis=1))
        wrong = table[table.predicted != table.target].sort_values("confidence", ascending=False, kind="stable")
        return wrong[["track_id", "target", "predicted", "confidence", "group"]].reset_index(drop=True)

    @property
    def history(self) -> pd.DataFrame:
        """The values by epoch or round, such as `train/loss` and `valid/macro_f1`; empty for models without epochs and rounds."""
        import pandas as pd

        from musicreclass.runs.history import read_history

        return pd.DataFrame(read_history(self.folder))

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Class probabilities of arrays.

        Args:
            x: features (n, F) float32 with NaN where missing, in the order of the model's columns; or for a model over
                waveforms clips (n, samples) or several clips of each track (n, crops, samples), int16 or float32 in [-1, 1].

        Returns:
            (n, C) float64, in the order of `classes`; rows sum to 1.

        Raises:
            RunError: if the model is missing or damaged, or needs code that is not trusted.
            DataError: if the arrays have another shape; or if the members of an ensemble do not all read the same.

        Examples:
            >>> run = mrc.train(["data=demo", "model=logreg"])
            >>> import numpy as np
            >>> run.predict_proba(np.zeros((2, 518), np.float32)).shape
            (2, 6)
        """
        combination = self._run.combination
        if combination is not None:
            import numpy as np

            members = [Run(member.folder, self._trust) for member in self._run.members]
            return combination.combine(np.stack([member.predict_proba(x) for member in members]))
        if self._classifier is None:
            self._classifier = self._run.classifier(self._trust)
        return self._classifier.predict_proba(self._classifier.checked(x))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"


def train(overrides: str | Sequence[str] = (), config_dir: str | Path | None = None) -> Run:
    """Train a model, score it, and write a run folder; a finished run of the same configuration and data is returned as it is.

    Args:
        overrides: as on the command line, `["data=demo", "model=mlp", "seed=2"]`, or a single one.
        config_dir: your own configuration folder.

    Returns:
        the finished run.

    Raises:
        UserError: for invalid overrides, data or models.
        RunFailedError: for an error during training or scoring.

    Examples:
        >>> mrc.train(["data=demo", "model=logreg", "seed=2"]).metrics["protocol"]["split"]
        'grouped'
    """
    from musicreclass.config.check import train_settings
    from musicreclass.errors import ConfigError
    from musicreclass.tasks.find_or_train import find_or_train
    from musicreclass.tasks.python_arguments import as_list, check_flags, without_sweeps

    check_flags(as_list(overrides))
    try:
        settings = train_settings(as_list(overrides), None if config_dir is None else str(config_dir))
    except ConfigError as error:
        raise without_sweeps(error) from None
    features = [section.target for section in settings.features.sources().values()]
    targets = (settings.model.target, settings.data.target, *features)
    return Run(
        find_or_train(settings).run.folder, trust=[str(target).rpartition(".")[0] for target in targets if target]
    )


def analyze(overrides: str | Sequence[str] = (), config_dir: str | Path | None = None) -> dict[str, Any]:
    """Describe a dataset without training: counts, formats, leaks, feature columns, spectrograms. Writes a folder with a page.

    Args:
        overrides: as on the command line, `["data=folder", "data.root=MUSIC", "output=DIR"]`, or a single one.
        config_dir: your own configuration folder.

    Returns:
        the content of analysis.json, and the `folder` with it, report.html and figures/.

    Raises:
        UserError: for invalid overrides, or data that cannot be read.

    Examples:
        >>> mrc.analyze("data=demo")["balance"]["ratio"]
        1.0
    """
    from musicreclass.config.check import compose, settings_of
    from musicreclass.config.settings.tasks import AnalyzeSettings
    from musicreclass.tasks.analyze import analyze as analyze_settings
    from musicreclass.tasks.python_arguments import as_list, check_flags

    check_flags(as_list(overrides))
    cfg = compose("analyze", as_list(overrides), None if config_dir is None else str(config_dir))
    settings = settings_of("analyze", cfg)
    assert isinstance(settings, AnalyzeSettings)
    folder, analysis = analyze_settings(settings)
    return {"folder": folder, **analysis.summary}


def load(folder: str | Path, trust: str | Sequence[str] = ()) -> Run:
    """Load a run folder. No code from the folder is executed.

    Args:
        folder: the run folder.
        trust: your own modules that the model needs.

    Raises:
        RunError: if the folder is not a run folder.

    Examples:
        >>> run = mrc.train(["data=demo", "model=logreg"])
        >>> mrc.load(run.folder).classes[0]
        'ambient'
    """
    return Run(folder, trust)


def evaluate(
    run: Run | str | Path,
    split: str = "test",
    overrides: str | Sequence[str] = (),
    trust: str | Sequence[str] = (),
    config_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Score a finished run on a split of its data, or on other data with the same classes.

    Args:
        run: the run or its folder.
        split: `train`, `valid`, `test` or `all`.
        overrides: of `data`, for other data: `["data.path=other.csv"]`.
        trust: your own modules that the model needs, besides those that `run` trusts.
        config_dir: your own folder of configuration.

    Returns:
        the metrics, as in metrics.json; empty for other data in which all tracks have one label, of which only the
        probabilities are written.

    Raises:
        UserError: for a run or data that cannot be used.

    Examples:
        >>> run = mrc.train(["data=demo", "model=logreg"])
        >>> sorted(mrc.evaluate(run, "test"))[1:4]
        ['accuracy', 'accuracy_ci95', 'balanced_accuracy']
    """
    from musicreclass.tasks.evaluate import evaluate as evaluate_run
    from musicreclass.tasks.python_arguments import as_list, as_path, check_flags, check_split

    check_split(split)
    check_flags(as_list(overrides))
    folder, trusted = (run.folder, run._trust) if isinstance(run, Run) else (as_path(run, "run"), ())
    config_folder = None if config_dir is None else str(config_dir)
    scored = evaluate_run(folder, split, as_list(overrides), config_folder, (*trusted, *as_list(trust)))
    metrics = scored.run.metrics
    if not scored.is_score:
        return {}
    return dict(metrics.get(scored.name) or metrics["elsewhere"][scored.name])


def export(
    run: Run | str | Path,
    output: str | Path | None = None,
    format: str = "onnx",
    force: bool = False,
    trust: str | Sequence[str] = (),
) -> Path:
    """Write the model of a finished run as an ONNX file, with its preprocessing. Needs the extra `export`.

    Args:
        run: the run or its folder.
        output: the file; by default model/model.onnx in the run folder.
        format: `onnx`.
        force: whether to replace a file that is not an exported model.
        trust: your own modules that the model needs, besides those that `run` trusts.

    Returns:
        the file. Its probabilities were compared with the run's.

    Raises:
        UserError: if a package is missing, or the model cannot be exported.

    Examples:
        >>> mrc.export("outputs/RUN", "model.onnx")  # doctest: +SKIP
        PosixPath('model.onnx')
    """
    from musicreclass.errors import UserError
    from musicreclass.tasks.export import export as export_run
    from musicreclass.tasks.python_arguments import as_list, as_path, as_path_or_none

    if format != "onnx":
        raise UserError(f"format={format}: is not supported; use onnx", "invalid_value", "format", format, "onnx")
    folder, trusted = (run.folder, run._trust) if isinstance(run, Run) else (as_path(run, "run"), ())
    return export_run(folder, as_path_or_none(output, "output"), force, (*trusted, *as_list(trust))).file


def file_classifier(
    run: Run | str | Path | Sequence[Run | str | Path],
    calibrated: bool = True,
    precision: float | None = None,
    trust: str | Sequence[str] = (),
    overrides: str | Sequence[str] = (),
    top_k: int = 3,
    class_map: str | Path | None = None,
    config_dir: str | Path | None = None,
    time_limit: float = 300.0,
) -> FileClassifier:
    """Open a finished run to label recordings one by one; `predict` labels many.

    Args:
        run: the run or its folder; the probabilities of several runs are averaged. Or `musicnn`, which needs no training.
        calibrated: whether the probabilities are calibrated on the validation tracks.
        precision: the share of labels that should be right, as on the validation tracks; others become `unknown`.
        trust: your own modules that the model needs, besides those that `run` trusts.
        overrides: `paths.cache=DIR`, or where the weights of an encoder are now, as `features.checkpoint=FILE`.
        top_k: classes that each label lists.
        class_map: name or file of a map from the classes of the run to those of the labels, as `gtzan_to_fma`.
        config_dir: your own configuration folder, which may have class maps.
        time_limit: seconds to read a recording, or twice its duration if that is longer.

    Returns:
        a classifier of files, whose `predict_proba(path)` gives (C,) in the order of its `classes`.

    Raises:
        UserError: for a run that cannot label recordings, a precision that it does not reach, or options that do not fit it.

    Examples:
        >>> run = mrc.train(["data=demo_audio", "features=fma518", "model=logreg"])
        >>> mrc.file_classifier(run).classes[0]
        'ambient'
    """
    from musicreclass.tasks.open_classifier import LabelOptions, open_classifier
    from musicreclass.tasks.python_arguments import as_list, as_paths, check_flags

    runs = list(run) if isinstance(run, Iterable) and not isinstance(run, (str, Path)) else [run]
    trusted = [name for one in runs if isinstance(one, Run) for name in one._trust]
    folders = as_paths([one.folder if isinstance(one, Run) else one for one in runs], "run")
    check_flags(as_list(overrides))
    options = LabelOptions(
        calibrated,
        precision,
        top_k,
        None if class_map is None else str(class_map),
        None if config_dir is None else str(config_dir),
        tuple(as_list(overrides)),
        (*trusted, *as_list(trust)),
        time_limit,
    )
    return open_classifier(folders, options)


def predict(
    run: Run | str | Path | Sequence[Run | str | Path],
    paths: str | Path | Sequence[str | Path],
    calibrated: bool = True,
    precision: float | None = None,
    trust: str | Sequence[str] = (),
    overrides: str | Sequence[str] = (),
    top_k: int | None = None,
    class_map: str | Path | None = None,
    config_dir: str | Path | None = None,
    corrections: str | Path | None = None,
    time_limit: float = 300.0,
) -> pd.DataFrame:
    """Label recordings. The files are only read.

    Args:
        run: as in `file_classifier`.
        paths: files, or folders that are searched at any depth.
        calibrated: as in `file_classifier`.
        precision: as in `file_classifier`.
        trust: as in `file_classifier`.
        overrides: as in `file_classifier`.
        top_k: how many classes `top_predictions` lists; None leaves this column out.
        class_map: as in `file_classifier`.
        config_dir: as in `file_classifier`.
        corrections: a CSV file of labels that were checked, as the review page exports it; they replace those of the run.
        time_limit: as in `file_classifier`.

    Returns:
        one row per file in the order of `paths`: `path`, `genre` (or `unknown`), `confidence`, `reason` (of `unknown`),
        `duration` (s), `error` (why a file could not be used), and `p/<class>` for each class; with several labels a track
        `tags`, with `corrections` `checked` (`yes` or empty), with `top_k` `top_predictions`, a list of dictionaries.

    Raises:
        UserError: as `file_classifier`, for paths that do not exist or contain no recordings, and for invalid corrections.

    Examples:
        >>> run = mrc.train(["data=demo_audio", "features=fma518", "model=logreg"])
        >>> list(mrc.predict(run, "songs").columns)[:3]  # doctest: +SKIP
        ['path', 'genre', 'confidence']
    """
    from musicreclass.data.corrections import read_corrections
    from musicreclass.tasks.predict import label_frame
    from musicreclass.tasks.python_arguments import as_path_or_none, as_paths

    files, file = as_paths(paths, "paths"), as_path_or_none(corrections, "corrections")
    checked = None if file is None else read_corrections(file, "corrections")
    limit = 3 if top_k is None else top_k
    classifier = file_classifier(run, calibrated, precision, trust, overrides, limit, class_map, config_dir, time_limit)
    return label_frame(classifier, files, checked, with_top=top_k is not None)


def review(
    table: str | Path,
    output: str | Path,
    select: int | None = None,
    space: str | Path | None = None,
    seed: int = 0,
    overrides: str | Sequence[str] = (),
    trust: str | Sequence[str] = (),
) -> int:
    """Write a page to check a table of labels by ear; or choose the recordings to label first.

    Args:
        table: that `musicreclass predict --output` has written.
        output: the page, `.html`; with `select` also a table.
        select: how many recordings to label first; None for all of the table.
        space: with `select`, a run or tagger over whose stored features they are spread; by default musicnn.
        seed: of the selection.
        overrides: with `select`, as `["paths.cache=DIR"]`.
        trust: your own modules that the run needs.

    Returns:
        the number of recordings in it.

    Raises:
        UserError: for a table that cannot be read, an output that cannot be written, or options that do not fit.

    Examples:
        >>> mrc.review("genres.csv", "review.html")  # doctest: +SKIP
        25
    """
    from musicreclass.tasks.python_arguments import as_list, as_path, check_flags
    from musicreclass.tasks.review import review as write_page
    from musicreclass.tasks.review import suggestions_of

    check_flags(as_list(overrides))
    name = None if space is None else str(space)
    suggestions = suggestions_of(select, name, seed, tuple(as_list(overrides)), tuple(as_list(trust)))
    return write_page(as_path(table, "table"), as_path(output, "output"), suggestions)


def organize(
    table: str | Path,
    mode: str | None = None,
    to: str | Path | None = None,
    confirmed: bool = False,
    playlists: str | Path | None = None,
    tags: bool = False,
    skip_unknown: bool = False,
) -> dict[str, Any]:
    """Sort recordings into genre folders by a table of labels, and write playlists and genre tags. Nothing is overwritten.

    Args:
        table: that `musicreclass predict --output` has written.
        mode: `link`, `copy` or `move`, with `to`.
        to: the folder of the genre folders.
        confirmed: whether the recordings themselves may be moved or tagged; otherwise this is only planned.
        playlists: the folder of the playlists, one for each genre.
        tags: whether to write genre tags: into the copied or moved files, or without `mode` into the recordings.
        skip_unknown: whether to leave out recordings of unknown genre.

    Returns:
        `changes`, the source and target of each file, planned or made; `genres`, the number of recordings of each; `skipped`, a
        reason for each file; and the numbers of `changed`, `present` and `tagged` files and of `playlists`.

    Raises:
        UserError: for a table that cannot be read, options that do not fit, or a folder that cannot be written.

    Examples:
        >>> mrc.organize("genres.csv", "link", to="GENRES")["changed"]  # doctest: +SKIP
        25
    """
    from musicreclass.errors import UserError
    from musicreclass.tasks.organize import MODES, Options
    from musicreclass.tasks.organize import organize as organize_table
    from musicreclass.tasks.python_arguments import as_path, as_path_or_none

    if mode not in (None, *MODES):
        raise UserError(f"mode={mode}: must be one of {', '.join(MODES)}", "invalid_value", "mode", mode)
    folder, lists = as_path_or_none(to, "to"), as_path_or_none(playlists, "playlists")
    result = organize_table(as_path(table, "table"), Options(mode, folder, confirmed, not skip_unknown, lists, tags))
    return {
        "changes": [(change.source, change.target) for change in result.plan.changes],
        "genres": dict(result.plan.genres),
        "skipped": dict(result.plan.skipped),
        "changed": result.changed,
        "present": result.plan.present,
        "tagged": result.tagged,
        "playlists": result.playlists,
    }


def undo_organize(to: str | Path | None = None, table: str | Path | None = None) -> dict[Path, str]:
    """Undo all that `organize` did in a folder, or the tags that it wrote into the recordings of a table.

    Args:
        to: the folder of the genre folders.
        table: of labels, instead of a folder.

    Returns:
        the files that were left as they are, with the reason.

    Raises:
        UserError: if there is nothing to undo, or neither or both are named.

    Examples:
        >>> mrc.undo_organize("GENRES")  # doctest: +SKIP
        {}
    """
    from musicreclass.errors import UserError
    from musicreclass.tasks.organize import undo_organize as undo
    from musicreclass.tasks.python_arguments import as_path_or_none

    if (to is None) == (table is None):
        raise UserError("undo_organize: needs either to=DIR or table=FILE", "invalid_arguments", "to")
    return dict(undo(as_path_or_none(table, "table"), as_path_or_none(to, "to")).left)


def import_weights(file: str | Path, output: str | Path | None = None) -> Run:
    """Turn the weights of a genre classifier that was trained elsewhere into a run folder. No code from the file is executed.

    Args:
        file: an MLP over the 518 features, or a CNN over the waveform; docs/import_and_export.md describes both.
        output: the run folder; by default one below `outputs`.

    Returns:
        the run, which has a model but neither data nor scores of its own.

    Raises:
        UserError: for a file that cannot be used, or a folder that contains something else.

    Examples:
        >>> mrc.import_weights("best_model.pth").classes[:2]  # doctest: +SKIP
        ['Blues', 'Classical']
    """
    from musicreclass.tasks.import_weights import import_weights as import_file
    from musicreclass.tasks.python_arguments import as_path, as_path_or_none

    return Run(import_file(as_path(file, "file"), as_path_or_none(output, "output")).run.folder)


def compare(*runs: Run | str | Path | Sequence[Run | str | Path], each: bool = False) -> pd.DataFrame:
    """Compare finished runs, ranked by validation; seeds of one configuration share a row.

    Args:
        runs: runs, run folders, or folders that contain run folders; also as lists.
        each: one row per run instead.

    Returns:
        the table that `musicreclass compare --output table.csv` writes.

    Raises:
        UserError: if there are no finished runs.

    Examples:
        >>> run = mrc.train(["data=demo", "model=logreg"])
        >>> len(mrc.compare(run))
        1
    """
    from musicreclass.tasks.compare import compare as compare_runs
    from musicreclass.tasks.compare import frame

    return frame(compare_runs(_run_folders(runs), each))


def cite(*runs: Run | str | Path | Sequence[Run | str | Path]) -> str:
    """References of what finished runs and their comparison used.

    Args:
        runs: as in `compare`.

    Returns:
        BibTeX of the project, and of the datasets, encoders, models and statistical tests; a comment names the reason for each
        entry, and things of which no reference is known.

    Raises:
        UserError: if there are no finished runs.

    Example:
        >>> run = mrc.train(["data=demo", "model=logreg"])
        >>> "@misc{musicreclass," in mrc.cite(run)
        True
    """
    from musicreclass.tasks.cite import cite as cite_runs

    return cite_runs(_run_folders(runs))


def _run_folders(runs: Sequence[Run | str | Path | Sequence[Run | str | Path]]) -> list[Path]:
    """The folders of runs, given singly or in lists."""
    from musicreclass.tasks.python_arguments import as_path

    single: list[Run | str | Path] = []
    for run in runs:
        single += [run] if isinstance(run, (Run, str, Path)) else run
    return [run.folder if isinstance(run, Run) else as_path(run, "runs") for run in single]


def ensemble(
    runs: Sequence[Run | str | Path],
    method: str = "greedy",
    output: str | Path | None = None,
    trust: str | Sequence[str] = (),
    target_accuracy: float | None = None,
    max_cost: float | None = None,
    seconds: Sequence[float] | None = None,
    recordings: str | Path | Sequence[str | Path] | None = None,
) -> Run:
    """Combine finished runs by their validation predictions of the same tracks; test is not read.

    Args:
        runs: runs or run folders, in any order; of a cascade, from the cheapest to the most expensive.
        method: `mean` fits nothing; `weighted`, `greedy`, `stacking` and `cascade` are fitted on validation, and scored by
            cross-validation over artists. A cascade uses a later run only for tracks of which the earlier ones are unsure.
        output: the run folder to write; by default one next to the best run.
        trust: your own modules that the models need.
        target_accuracy: of a cascade, to be reached at the lowest cost; by default that of the last run.
        max_cost: seconds per track at which the accuracy of a cascade is to be highest.
        seconds: per track, that each run of a cascade adds; by default they are measured.
        recordings: files or folders to measure them on; by default the validation tracks.

    Returns:
        the ensemble as a run: `evaluate` and `compare` take it.

    Raises:
        UserError: for runs that cannot be combined.

    Examples:
        >>> runs = [mrc.train(["data=demo", "model=logreg"]), mrc.train(["data=demo", "model=mlp"])]
        >>> mrc.ensemble(runs, "greedy").metrics["ensemble"]["method"]
        'greedy'
    """
    from musicreclass.tasks.ensemble import ensemble as build_ensemble
    from musicreclass.tasks.python_arguments import as_list, as_path_or_none, as_paths

    members = list(runs) if isinstance(runs, Iterable) and not isinstance(runs, (str, Path)) else [runs]
    trusted = [module for run in members if isinstance(run, Run) for module in run._trust]
    folders = as_paths([run.folder if isinstance(run, Run) else run for run in members], "runs")
    trusted += as_list(trust)
    cascade = None
    if method == "cascade" or any(value is not None for value in (target_accuracy, max_cost, seconds, recordings)):
        from musicreclass.evaluation.cascade import Goal
        from musicreclass.tasks.cascade import CascadeOptions
        from musicreclass.tasks.predict import find_recordings

        paths = (
            None if recordings is None else find_recordings(as_paths(recordings, "recordings"), option="recordings")[0]
        )
        cascade = CascadeOptions(Goal(target_accuracy, max_cost), seconds, paths, tuple(trusted))
    built = build_ensemble(folders, method, as_path_or_none(output, "output"), cascade)
    return Run(built.run.folder, trust=trusted)
