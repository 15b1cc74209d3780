"""The Hydra sweeper of a search: Optuna's TPE proposes jobs by the scores of those before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from musicreclass.sweep.pruning import write_reference
from musicreclass.sweep.record import JobRecord
from musicreclass.sweep.space import read_space
from musicreclass.sweep.sweep import Sweep

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial


class TpeSweeper(Sweeper):
    """Proposes trials in batches, launches each batch, and reads the outcome from the sweep's records.

    The study is kept in memory, and its content comes from the records only. The same command therefore proposes the same
    trials again, whether their runs are found or trained.

    Args:
        n_trials: trials in all.
        n_jobs: trials in a batch.
        sampler: keyword arguments of `optuna.samplers.TPESampler`.
        pruner: keyword arguments of `optuna.pruners.MedianPruner`, or None to run every trial to its end.
        params: what is searched, by key; the command line overrides it.
    """

    config: DictConfig
    launcher: Launcher

    def __init__(
        self, n_trials: int, n_jobs: int, sampler: DictConfig, pruner: DictConfig | None, params: DictConfig
    ) -> None:
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.params: Any = params
        self.sampler: Any = OmegaConf.to_container(sampler, resolve=True)
        self.pruner: Any = None if pruner is None else OmegaConf.to_container(pruner, resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra calls it once, before `sweep`."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search.

        Args:
            arguments: the overrides of the command line.
        """
        import optuna

        settings = [f"{key}={value}" for key, value in self.params.items()]
        space, fixed = read_space([*settings, *arguments])
        fixed_overrides = [f"{key}={value}" for key, value in fixed.items()]
        records = Sweep(Path(self.config.hydra.sweep.dir))
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(**self.sampler))
        completed: list[dict[int, float]] = []
        for first in range(0, self.n_trials, self.n_jobs):
            trials = [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - first))]
            jobs = [[*(f"{key}={trial.params[key]}" for key in space), *fixed_overrides] for trial in trials]
            if self.pruner is not None:
                write_reference(records.folder, self.pruner, completed)
            self.launcher.launch(jobs, initial_job_idx=first)
            for trial in trials:
                record = records.record(trial.number)
                if report_trial(study, trial, record):
                    completed.append(record.scores)


def report_trial(study: Study, trial: Trial, record: JobRecord) -> bool:
    """Tell a study how a trial ended; return whether it has a value."""
    from optuna.trial import TrialState

    value = record.score
    if record.state == "done" and value is not None:
        study.tell(trial, value)
        return True
    if record.state == "pruned":
        for epoch, score in record.scores.items():
            trial.report(score, epoch)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, state=TrialState.FAIL)
    return False
