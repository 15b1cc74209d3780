"""The analyze task: open data as training does, without training, and describe it."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from musicreclass.analysis.dataset import Analysis, Options, analyze_data
from musicreclass.analysis.figures import draw_figures, is_figure
from musicreclass.analysis.page import render_page
from musicreclass.config.settings.tasks import AnalyzeSettings
from musicreclass.data.track_data import TrackData
from musicreclass.errors import DataError, DatasetNotFoundError, Problem, UserError
from musicreclass.hardware.profile import Profile
from musicreclass.report.figures import save_for_print
from musicreclass.runs.folder import BAD_FILES, write_bad_files
from musicreclass.storage.atomic import write_json, write_text
from musicreclass.storage.regular import read_regular_text
from musicreclass.storage.writing import writing
from musicreclass.tasks.find_or_train import check_files
from musicreclass.tasks.machine import for_one_process, use_machine
from musicreclass.tasks.open_data import open_data

SUMMARY, PAGE, FIGURES = "analysis.json", "report.html", "figures"


class Analyzed(NamedTuple):
    """The folder that was written, and what is in it."""

    folder: Path
    analysis: Analysis


def analyze(settings: AnalyzeSettings) -> Analyzed:
    """Analyze the data that the settings name; write analysis.json, figures/ and report.html.

    Raises:
        UserError: if the data does not exist or cannot be used at all, or the folder contains something else.
    """
    check_files(settings)
    folder = output_folder(settings)
    if settings.features.target is None:
        settings = for_one_process(settings)  # nothing that a GPU computes
    settings, profile = use_machine(settings)
    data, refusal = open_anyway(settings, profile)
    options = Options(settings.tracks_per_class, settings.example_seconds, settings.seed)
    keys = settings.data.as_dict().keys()
    analysis = analyze_data(data, settings.choices, keys, options, refusal)
    write(analysis, folder)
    return Analyzed(folder, analysis)


def output_folder(settings: AnalyzeSettings) -> Path:
    """The folder to write to.

    Raises:
        UserError: if it is a file, or contains something else than an analysis.
    """
    if settings.output is None:
        names = [settings.choices.get("data", "data"), settings.choices.get("features", "none")]
        name = "-".join(re.sub(r"[^\w.+-]+", "+", name).strip("+") for name in names if name != "none")
        return Path(settings.paths.outputs).expanduser() / "analysis" / name
    folder = Path(settings.output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={folder}: is a file; name a folder", "not_a_folder", "output", str(folder))
    if folder.is_dir() and any(folder.iterdir()) and not is_analysis(folder):
        line = f"output={folder}: contains files that are no analysis; name a new folder"
        raise UserError(line, "foreign_folder", "output", str(folder))
    return folder


def is_analysis(folder: Path) -> bool:
    """Whether this task has written the analysis.json of a folder."""
    with suppress(OSError, ValueError, RecursionError):
        summary = json.loads(read_regular_text(folder / SUMMARY))
        return isinstance(summary, dict) and {"version", "data", "protocol", "suggestions"} <= summary.keys()
    return False


def open_anyway(settings: AnalyzeSettings, profile: Profile) -> tuple[TrackData, Problem | None]:
    """The data, also if training refuses it, and why.

    Raises:
        UserError: if it does not exist, or cannot be opened for scoring either.
    """
    try:
        return open_data(settings, profile), None
    except DatasetNotFoundError:
        raise
    except DataError as error:
        refusal = error.problems[0]
    limits = {"max_bad_fraction": 1.0} if refusal.kind == "too_many_bad_files" else {}
    relaxed = settings.model_copy(update={"data": settings.data.model_copy(update=limits)})
    return open_data(relaxed, profile, needs=()), refusal


def write(analysis: Analysis, folder: Path) -> None:
    """Write the files of an analysis; those of an earlier one are replaced.

    Raises:
        UserError: if they cannot be written.
    """
    with writing(folder, remedy="choose another output=DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        figures = draw_figures(analysis)
        for old in [*(folder / FIGURES).glob("*.png"), *(folder / FIGURES).glob("*.pdf")]:
            if is_figure(old.stem) and old.stem not in figures:
                old.unlink()
        for name, figure in figures.items():
            save_for_print(figure, folder / FIGURES / f"{name}.png")
        images = {name: (folder / FIGURES / f"{name}.png").read_bytes() for name in figures}
        write_text(folder / PAGE, render_page(analysis, images))
        (folder / BAD_FILES).unlink(missing_ok=True)
        if analysis.summary["bad_files"]:
            write_bad_files(folder, analysis.summary["bad_files"])
        write_json(folder / SUMMARY, analysis.summary)
