"""`musicreclass analyze`: show what a dataset contains, without training."""

from __future__ import annotations

from musicreclass.cli.hydra_options import checked
from musicreclass.cli.jobs import analyze_job
from musicreclass.config import hydra_adapter
from musicreclass.config.locations import CONF
from musicreclass.errors import UserError


def main(arguments: list[str]) -> int:
    """`musicreclass analyze [OVERRIDES]`."""
    args, check = checked("analyze", arguments, analyze_job)
    if check is None:
        return 0
    if args.multirun:
        raise UserError("analyze: -m is not supported; analyze one data= per command", "no_multirun", "-m")
    hydra_adapter.run_job(CONF, "analyze", args, analyze_job)
    return 0
