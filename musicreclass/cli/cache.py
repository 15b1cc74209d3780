"""`musicreclass cache`: what the store of decoded audio and features holds, and deletion of what is no longer used."""

from __future__ import annotations

import argparse
import math
import os

from rich.filesize import decimal
from rich.table import Table

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say, show
from musicreclass.errors import UserError
from musicreclass.plurals import counted
from musicreclass.storage.inventory import StoredEntry, delete, inventory
from musicreclass.storage.store import room


def main(arguments: list[str]) -> int:
    """`musicreclass cache [DIR] [--kind KIND] [--source TEXT] [--unused-for DAYS] [--prune [--yes]]`."""
    args = parse(arguments)
    if args.prune and not (args.kind or args.source or args.unused_for is not None or args.all):
        line = "cache: --prune needs --kind, --source or --unused-for, or --all for everything"
        raise UserError(line, "missing_argument", "--prune")
    root = args.folder or user_path(os.environ.get("MUSICRECLASS_CACHE", "outputs/cache"))
    if not root.is_dir():
        say(f"{root}: nothing is stored")
        return 0
    entries = [entry for entry in inventory(root) if is_chosen(entry, args)]
    show(entry_table(entries))
    total = sum(entry.size for entry in entries)
    say(f"{counted(len(entries), 'entry')}, {decimal(total)} in {root}; {decimal(round(room(root) * 2**20))} are free")
    if args.prune and entries:
        prune(entries, args.yes)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = Options(
        "musicreclass cache",
        description="List what is stored of datasets: decoded audio, features, vectors of encoders. Everything can be computed again.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=user_path,
        metavar="DIR",
        help="the store (default MUSICRECLASS_CACHE, else outputs/cache)",
    )
    parser.add_argument("--kind", metavar="KIND", help="only entries of this kind: waveforms, vectors, fma518, ...")
    parser.add_argument("--source", metavar="TEXT", help="only entries with this text in their source, such as GTZAN")
    parser.add_argument("--unused-for", type=days, metavar="DAYS", help="only entries not used for so many days")
    parser.add_argument("--prune", action="store_true", help="delete the entries listed; without --yes only show them")
    parser.add_argument("--all", action="store_true", help="with --prune: everything")
    parser.add_argument("--yes", action="store_true", help="with --prune: delete")
    return parser.parse_args(arguments)


def days(text: str) -> float:
    """A number of days."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return value


def is_chosen(entry: StoredEntry, args: argparse.Namespace) -> bool:
    """Whether an entry fits the filters."""
    return (
        args.kind in (None, entry.kind)
        and (args.source is None or args.source.lower() in entry.source.lower())
        and (args.unused_for is None or entry.days_unused() >= args.unused_for)
    )


def entry_table(entries: list[StoredEntry]) -> Table:
    """A row for each entry, largest first."""
    table = Table(box=None, pad_edge=False)
    for heading in ("kind", "source", "size", "unused for"):
        numeric = heading in ("size", "unused for")
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for entry in entries:
        unused = f"{counted(int(entry.days_unused()), 'day')}"
        source = entry.source + (" (interrupted)" if entry.state == "interrupted" else "")
        table.add_row(entry.kind, source.strip(), decimal(entry.size), unused)
    return table


def prune(entries: list[StoredEntry], confirmed: bool) -> None:
    """Delete entries, or say what would be deleted."""
    if not confirmed:
        say("nothing was deleted; add --yes to delete these entries")
        return
    deleted = [entry for entry in entries if delete(entry)]
    for entry in entries:
        if entry not in deleted:
            say(f"in use: {entry.path}")
    say(f"deleted: {counted(len(deleted), 'entry')}, {decimal(sum(entry.size for entry in deleted))}")
