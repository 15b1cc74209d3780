"""`musicreclass prepare`: fetch weights, decode recordings and compute features before training."""

from __future__ import annotations

from musicreclass.cli.hydra_options import checked
from musicreclass.cli.jobs import prepare_job
from musicreclass.config import hydra_adapter
from musicreclass.config.locations import CONF
from musicreclass.errors import UserError


def main(arguments: list[str]) -> int:
    """`musicreclass prepare [OVERRIDES]`."""
    args, check = checked("prepare", arguments, prepare_job)
    if check is None:
        return 0
    if args.multirun:
        raise UserError(
            "prepare: -m is not supported; use one data= and one features= per command", "no_multirun", "-m"
        )
    hydra_adapter.run_job(CONF, "prepare", args, prepare_job)
    return 0
