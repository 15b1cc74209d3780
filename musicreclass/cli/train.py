"""`musicreclass train`: check the configuration, then train once or as a sweep."""

from __future__ import annotations

from musicreclass.cli.hydra_options import checked
from musicreclass.cli.jobs import train_job
from musicreclass.cli.messages import report_error, report_stop
from musicreclass.config import hydra_adapter
from musicreclass.config.locations import CONF


def main(arguments: list[str]) -> int:
    """`musicreclass train [OVERRIDES] [-m]`."""
    args, check = checked("train", arguments, train_job)
    if check is None:
        return 0
    if not args.multirun:
        hydra_adapter.run_job(CONF, "train", args, train_job)
        return 0

    from musicreclass.sweep.search import Search, quiet_optuna
    from musicreclass.sweep.sweep import Sweep

    sweep = Sweep.new(check.outputs(), check.jobs())
    search = Search.of(check, args.overrides, args.config_dir, sweep.folder) if check.is_search() else None
    if search is not None:
        quiet_optuna()
    args.overrides.append(sweep.override())
    ended = 0
    with sweep.watched():
        try:
            hydra_adapter.run_job(CONF, "train", args, train_job)
        except KeyboardInterrupt as error:
            ended = report_stop(error)
        except Exception as error:
            if any(record["state"] in ("lost", "not begun") for record in sweep.records()):  # else the records say it
                report_error(error)
            ended = 1
    code = sweep.finish(show=search is None)
    if search is not None:
        search.report(sweep.records())
    return ended or code
