"""The jobs that Hydra runs with a composed configuration, in this process or in one that a launcher starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from musicreclass.cli.messages import report_error, report_stop, show_notices
from musicreclass.cli.terminal import say, show
from musicreclass.errors import TrialPruned

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicreclass.classifiers.base import LogEpoch
    from musicreclass.config.settings.tasks import TrainSettings
    from musicreclass.runs.folder import Run


def prepare_job(cfg: DictConfig) -> None:
    """Prepare the data and features of a configuration."""

    def work() -> None:
        from musicreclass.config.check import settings_of
        from musicreclass.config.settings.tasks import PrepareSettings
        from musicreclass.tasks.prepare import prepare

        settings = settings_of("prepare", with_hydra_choices(cfg))
        assert isinstance(settings, PrepareSettings)
        for line in prepare(settings):
            say(line)

    end_process_on_error(work)


def analyze_job(cfg: DictConfig) -> None:
    """Analyze the data of a configuration, and print tables and the path of the page."""

    def work() -> None:
        from musicreclass.config.check import settings_of
        from musicreclass.config.settings.tasks import AnalyzeSettings

        settings = settings_of("analyze", with_hydra_choices(cfg))
        assert isinstance(settings, AnalyzeSettings)
        say("starting ...")  # importing the libraries takes seconds
        from musicreclass.analysis.terminal import render_analysis
        from musicreclass.tasks.analyze import analyze

        folder, analysis = analyze(settings)
        show(render_analysis(analysis.summary))
        say(f"wrote {folder / 'report.html'}; open it in a browser")

    end_process_on_error(work)


def train_job(cfg: DictConfig) -> float | None:
    """Train once, or one job of a sweep.

    Returns:
        the macro-F1 on validation for a sweep, which a sweeper may maximise.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    show_notices()  # also in the process of a launcher
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        from musicreclass.cli.sweep_output import print_job_end
        from musicreclass.sweep.sweep import Sweep

        sweep = Sweep.of(hydra)
        overrides = list(hydra.overrides.task)
        say(f"job {hydra.job.num}: {' '.join(overrides)}")
        outcome = sweep.run_job(lambda: settings_of_job(cfg), hydra.job.num, overrides, hydra.launcher, train_one)
        if isinstance(outcome.error, TrialPruned):
            say(f"job {hydra.job.num}: {outcome.error}")
        elif outcome.error is not None:
            report_error(outcome.error)
        elif sweep.is_local(record := sweep.record(hydra.job.num)):
            print_job_end(record, sweep.seconds_left())
        return outcome.score
    end_process_on_error(lambda: train_and_show(settings_of_job(cfg)))
    return None


def settings_of_job(cfg: DictConfig) -> TrainSettings:
    """The settings of a composed configuration, while Hydra runs the job.

    Raises:
        ConfigError: with every value that breaks its rule.
    """
    from musicreclass.config.check import settings_of
    from musicreclass.config.settings.tasks import TrainSettings

    settings = settings_of("train", with_hydra_choices(cfg))
    assert isinstance(settings, TrainSettings)
    return settings


def train_one(settings: TrainSettings, on_epoch: LogEpoch | None = None) -> Run:
    """Find or train the run of some settings; say if it was finished before.

    Args:
        settings: checked.
        on_epoch: called after each epoch that is trained; what it raises ends the run.
    """
    from musicreclass.hardware.launch import is_worker_rank
    from musicreclass.tasks.find_or_train import find_or_train

    run, trained_before = find_or_train(settings, on_epoch)
    if trained_before and not is_worker_rank(settings.hardware):
        say(f"already finished: {run.folder} (force=true trains it again)")
    return run


def train_and_show(settings: TrainSettings) -> None:
    """Train one run and print its scores; of several processes of one launch only the first prints."""
    from musicreclass.hardware.launch import is_worker_rank
    from musicreclass.report.summary import summary

    quiet = is_worker_rank(settings.hardware)
    if not quiet:
        say("starting ...")  # importing the libraries takes seconds
    try:
        run = train_one(settings)
    except KeyboardInterrupt:
        if quiet:
            raise SystemExit(130) from None
        raise
    except SystemExit as leaving:
        raise RuntimeError(f"the code of the model or the data ended the process ({leaving.code})") from None
    if not quiet:
        show(summary(run))


def end_process_on_error(work: Callable[[], None]) -> None:
    """Run a single job; end the process on an error, since Hydra would print more about it."""
    try:
        work()
    except KeyboardInterrupt as error:
        raise SystemExit(report_stop(error)) from None
    except Exception as error:
        raise SystemExit(report_error(error)) from None


def with_hydra_choices(cfg: DictConfig) -> DictConfig:
    """The configuration with the chosen options, while Hydra runs the job."""
    from hydra.core.hydra_config import HydraConfig

    from musicreclass.config.tree import with_choices

    runtime = HydraConfig.get().runtime
    folders = [source.path for source in runtime.config_sources if source.schema == "file"]
    return with_choices(cfg, dict(runtime.choices), [Path(folder) for folder in folders])
