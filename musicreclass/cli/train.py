"""`musicreclass train`: check the configuration, then train once or as a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicreclass.cli.hydra_options import checked
from musicreclass.cli.jobs import train_job
from musicreclass.cli.messages import report_error, report_stop
from musicreclass.config import hydra_adapter
from musicreclass.config.locations import CONF

if TYPE_CHECKING:
    import argparse

    from musicreclass.config.check import Check


def main(arguments: list[str]) -> int:
    """`musicreclass train [OVERRIDES] [-m]`."""
    args, check = checked("train", arguments, train_job)
    if check is None:
        return 0
    if args.multirun:
        return run_sweep(args, check)
    hydra_adapter.run_job(CONF, "train", args, train_job)
    return 0


def run_sweep(args: argparse.Namespace, check: Check) -> int:
    """Run a multirun, print its summary and return the exit code."""
    from musicreclass.cli.sweep_output import print_job_end, print_search, print_summary
    from musicreclass.sweep.sweep import Sweep

    search = None
    if check.is_search():
        from musicreclass.sweep.search import Search, silence_optuna
        from musicreclass.sweep.sweeper import TpeSweeper

        search = Search.of(check, args.config_dir)
        silence_optuna()
        hydra_adapter.register_sweeper(TpeSweeper)
    sweep = Sweep.new(check.outputs(), check.jobs())
    args.overrides = [*check.per_job(), sweep.override()]
    exit_code = 0
    with sweep.watched(print_job_end):
        try:
            hydra_adapter.run_job(CONF, "train", args, train_job)
        except KeyboardInterrupt as error:
            exit_code = report_stop(error)
        except Exception as error:
            if any(record.state in ("lost", "not begun") for record in sweep.records()):  # else the records explain it
                report_error(error)
            exit_code = 1
    records = sweep.finish()
    failed = print_summary(records, sweep.folder, with_jobs=search is None)
    if search is not None:
        print_search(search, search.finish(sweep.folder, records), sweep.folder)
    return exit_code or failed
