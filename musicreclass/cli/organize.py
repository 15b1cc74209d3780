"""`musicreclass organize`: genre folders, playlists and tags from a table of labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say, show
from musicreclass.errors import UserError
from musicreclass.plurals import counted

if TYPE_CHECKING:
    from rich.table import Table

    from musicreclass.library.undo import Undone
    from musicreclass.tasks.organize import Options as Choices
    from musicreclass.tasks.organize import Organized

SHOWN = 10  # lines for each fact
FEW = 3  # files of one reason that are all named
VERBS = {"link": "linked", "copy": "copied", "move": "moved"}


def main(arguments: list[str]) -> int:
    """`musicreclass organize genres.csv --mode link|copy|move --to DIR`; the exit code is 1 if a change failed."""
    args = parse(arguments)
    if args.undo:
        return run_undo(args)
    if args.table is None:
        raise UserError("organize: needs the table that predict wrote, as genres.csv", "missing_value", "table")
    from musicreclass.tasks.organize import Options as Choices
    from musicreclass.tasks.organize import organize

    options = Choices(args.mode, args.to, args.yes, not args.skip_unknown, args.playlists, args.tags)
    result = organize(args.table, options)
    show(genre_table(result))
    for line in summary(result, options):
        say(line)
    return 1 if result.plan.failed else 0


def run_undo(args: argparse.Namespace) -> int:
    """Undo; the exit code is 1 if something was left.

    Raises:
        UserError: for arguments that do not fit.
    """
    from musicreclass.tasks.organize import undo_organize

    if (args.table is None) == (args.to is None) or args.mode or args.tags or args.playlists:
        line = "organize: --undo takes --to DIR, or the table whose recordings were tagged in place, and nothing else"
        raise UserError(line, "invalid_arguments", "undo")
    result = undo_organize(args.table, args.to)
    for line in undo_summary(result):
        say(line)
    return 1 if result.left else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = Options(
        "musicreclass organize",
        description="Sort recordings into genre folders by a table of labels, and write playlists and genre tags. Nothing is "
        "overwritten but unedited playlists of an earlier run. The same command continues where a stopped one ended. Changes are recorded "
        "in a journal, and --undo restores what was before; only playlists without --to are not recorded.",
    )
    parser.add_argument("table", nargs="?", type=user_path, metavar="TABLE", help="the output of predict: genres.csv")
    parser.add_argument(
        "--mode",
        choices=("link", "copy", "move"),
        help="symbolic links, verified copies, or moves; a move only shows what it would do without --yes",
    )
    parser.add_argument("--to", type=user_path, metavar="DIR", help="the folder of the genre folders")
    parser.add_argument("--yes", action="store_true", help="move files, or change tags of the recordings themselves")
    parser.add_argument("--skip-unknown", action="store_true", help="leave out recordings of unknown genre")
    parser.add_argument("--playlists", type=user_path, metavar="DIR", help="write a playlist (M3U8) for each genre")
    parser.add_argument(
        "--tags",
        action="store_true",
        help="write the genre tag: into the copied or moved files, or without --mode into the recordings themselves; needs "
        "mutagen (GPL): pip install 'musicreclass[tags]'",
    )
    parser.add_argument(
        "--undo", action="store_true", help="undo all in --to DIR; or, with TABLE, all tags written in place"
    )
    return parser.parse_args(arguments)


def genre_table(result: Organized) -> Table:
    """How many recordings each genre has."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("genre")
    table.add_column("files", justify="right")
    for genre, count in result.plan.genres.most_common():
        table.add_row(genre, f"{count:,}")
    return table


def summary(result: Organized, options: Choices) -> list[str]:
    """What was done, a line each."""
    plan, lines = result.plan, []
    if options.mode is not None:
        if options.is_dry:
            lines += listed("would be moved", [f"{c.source} -> {c.target}" for c in plan.changes])
            lines.append(f"space needed: {plan.bytes_needed / 2**20:,.1f} MiB")
        else:
            lines.append(f"{counted(result.changed, 'file')} {VERBS[options.mode]} to {options.root}")
        if plan.present:
            lines.append(f"{counted(plan.present, 'recording was', 'recordings were')} there already")
        lines += listed("get another name", [f"{c.source} -> {c.target.name}" for c in plan.renamed])
        lines += [f"{name}: the folder of {', '.join(genres)}" for name, genres in plan.merged.items()]
    if options.tags and not (options.is_dry and options.mode):
        lines.append(f"{counted(result.tagged, 'tag')} {'would be checked' if options.is_dry else 'written'}")
    if options.playlists and not options.is_dry:
        lines.append(f"wrote {options.playlists}: {counted(result.playlists, 'playlist')}")
    lines += listed("skipped", by_reason(plan.skipped), len(plan.skipped))
    if result.errors:
        lines.append(f"{counted(result.errors, 'row has', 'rows have')} no genre")
    if options.is_dry:
        lines.append("nothing was changed; add --yes to do it")
    return lines


def undo_summary(result: Undone) -> list[str]:
    """What was undone, a line each."""
    lines = [
        f"undone: {counted(count, 'cut track' if action == 'cut' else action)}"
        for action, count in result.counts.items()
    ]
    return [*lines, *listed("left as they are", by_reason(result.left), len(result.left))]


def by_reason(files: list[tuple[Path, str]]) -> list[str]:
    """Files with the reason why nothing was done; many of one reason are counted, and the first is named."""
    groups: dict[str, list[Path]] = {}
    for path, reason in files:
        groups.setdefault(reason, []).append(path)
    lines = []
    for reason, paths in groups.items():
        if len(paths) > FEW:
            lines.append(f"{counted(len(paths), 'file')}, as {paths[0]}: {reason}")
        else:
            lines += [f"{path}: {reason}" for path in paths]
    return lines


def listed(heading: str, items: list[str], count: int | None = None) -> list[str]:
    """A heading with a count, and the first items.

    Args:
        heading: of the list.
        items: a line each.
        count: of files, if an item may stand for several.
    """
    if not items:
        return []
    more = [f"  ... and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"{heading}: {counted(count or len(items), 'file')}", *(f"  {item}" for item in items[:SHOWN]), *more]
