"""The organize task: genre folders, playlists and genre tags from a table of labels, and their undo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from musicreclass.data.parallel import show_progress
from musicreclass.errors import DataError, Stopped, UserError
from musicreclass.library.carry_out import carry_out, needs_portable_names, raise_if_no_room, reporting
from musicreclass.library.changes import Plan, Row, checked_file, labelled_rows
from musicreclass.library.journal import BESIDE, Journal, Step, journal_at
from musicreclass.library.journal_rules import NAME
from musicreclass.library.plan import Planner, make_plan
from musicreclass.library.playlists import write_playlists
from musicreclass.library.recovery import resolve, settle
from musicreclass.library.tagging import note_target, raise_if_organized, tag_all, taggable
from musicreclass.library.tags import require_mutagen
from musicreclass.library.undo import Undone, undo
from musicreclass.plurals import counted
from musicreclass.prediction.formats import FORMATS
from musicreclass.prediction.labels import UNKNOWN
from musicreclass.prediction.output import read_rows
from musicreclass.runs.signals import stoppable
from musicreclass.storage.file_parts import file_of

MODES = ("link", "copy", "move")


@dataclass(frozen=True)
class Options:
    """What to do.

    Attributes:
        mode: `link`, `copy` or `move`; None without a target folder.
        root: the target folder.
        confirmed: whether the user's recordings may be changed; otherwise a move and tags in place are only planned.
        with_unknown: whether recordings of unknown genre get a folder and a playlist too.
        playlists: the folder of the playlists.
        tags: whether to write genre tags: into the copied or moved files, or in place without a target folder.
    """

    mode: str | None = None
    root: Path | None = None
    confirmed: bool = False
    with_unknown: bool = True
    playlists: Path | None = None
    tags: bool = False

    @property
    def is_dry(self) -> bool:
        """Whether nothing is written."""
        return not self.confirmed and (self.mode == "move" or (self.tags and self.mode is None))


@dataclass
class Organized:
    """What was done, or would be.

    Attributes:
        plan: the changes.
        changed: files that were linked, copied or moved, companions included.
        tagged: files whose genre tag was written; with a dry run, those that would be checked.
        playlists: number of playlists.
        errors: rows without a genre.
    """

    plan: Plan
    changed: int = 0
    tagged: int = 0
    playlists: int = 0
    errors: int = 0


def organize(table: Path, options: Options) -> Organized:
    """Organize the recordings of a table of labels. The same command continues and changes only what is not done yet.

    Args:
        table: that `predict` wrote.
        options: what to do.

    Raises:
        UserError: for options that do not fit, a table that cannot be read, or a target that cannot be written.
        Stopped: after Ctrl-C or SIGTERM.
    """
    check(options)
    check_table(table)
    rows = read_rows(table)
    check_paths(table, rows, options)
    with stoppable() as signals:
        try:
            work = organize_in_place if options.root is None else organize_into
            result = work(table, rows, options)
        except KeyboardInterrupt:
            raise Stopped("continues", signals) from None
    result.errors = len(rows) - len(labelled_rows(rows))
    return result


def check(options: Options) -> None:
    """Check that options fit together.

    Raises:
        UserError: if not.
    """
    if (options.mode is None) != (options.root is None):
        line = "organize: --mode link|copy|move and --to DIR belong together"
        raise UserError(line, "invalid_arguments", "mode" if options.mode is None else "to")
    if options.mode is None and options.playlists is None and not options.tags:
        raise UserError("organize: nothing to do; add --mode and --to, --playlists or --tags", "missing_value", "mode")
    if options.tags and options.mode == "link":
        line = "--tags: would change the files that the links lead to; use --mode copy, or --tags alone"
        raise UserError(line, "invalid_arguments", "tags")
    if options.tags:
        require_mutagen()


def check_paths(table: Path, rows: Sequence[Row], options: Options) -> None:
    """Check that the recordings of a table are on this machine, and that the folder of the playlists can be created.

    Raises:
        DataError: if none of them exists, or the parent of that folder does not.
    """
    folder, root = options.playlists, options.root
    if (
        folder is not None
        and not folder.parent.is_dir()
        and (root is None or folder.resolve().parent != root.resolve())
    ):
        raise DataError(f"--playlists {folder}: {folder.parent} is no folder", "missing_folder", folder)
    paths = [row["path"] for row in labelled_rows(rows)]
    is_organized = root is not None and os.path.lexists(root / NAME)  # which has moved them
    if paths and not is_organized and not any(os.path.lexists(file_of(Path(path))) for path in paths):
        line = (
            f"{table}: none of its {counted(len(paths), 'recording')} exists, as {paths[0]}; use a table that was written on this machine, or, "
            "if organize has moved them, --mode move --to DIR"
        )
        raise DataError(line, "no_recordings", table, len(paths))


def check_table(table: Path) -> None:
    """Check that a table exists.

    Raises:
        DataError: if there is none, or it has no suffix of one.
    """
    if not table.is_file():
        raise DataError(f"{table}: no such file", "file_not_found", table)
    if table.suffix.lower() not in FORMATS:
        line = f"{table}: is no table of labels, which ends in {', '.join(FORMATS)}"
        raise DataError(line, "unsupported_format", table)


def journal_beside(table: Path) -> Path:
    """The journal of tags that are written in place: next to the table, or to the one that a link leads to."""
    table = Path(os.path.abspath(table))
    of_link = table.with_name(BESIDE.format(table.name))
    if table.is_symlink() and not os.path.lexists(of_link):  # version 0.2.0 wrote it next to the link
        table = Path(os.path.realpath(table))
    return table.with_name(BESIDE.format(table.name))


def organize_into(table: Path, rows: Sequence[Row], options: Options) -> Organized:
    """Link, copy or move recordings into genre folders."""
    assert options.root is not None
    assert options.mode is not None
    root = options.root.resolve()
    beside = Journal(journal_beside(table))  # knows which files have new tags
    if options.is_dry:
        journal = Journal(root / NAME)
        return Organized(planned(rows, root, options, [journal, beside]))
    is_new = make_root(root)
    with reporting(root), journal_at(root / NAME) as journal:
        if is_new:
            step = Step("folder", root)
            journal.begin(step)
            resolve(journal, step)
        settle(journal)
        plan = planned(rows, root, options, [journal, beside], needs_portable_names(root))
        raise_if_no_room(plan, root)
        result = Organized(plan)
        if plan.changes and options.mode != "link":
            note_target(beside.path, root)
        with show_progress(f"organizing {counted(len(plan.changes), 'file')}", len(plan.changes)) as advance:
            result.changed = carry_out(plan, journal, options.mode, root, advance)
        located = [(path, row) for path, row in plan.located if os.path.lexists(path)]
        if options.tags:
            result.tagged = tag_all(located, journal, plan)
        finish_playlists(located, options, result, journal)
    return result


def make_root(root: Path) -> bool:
    """Create the target folder; return whether it did not exist.

    Raises:
        DataError: if that is not possible.
    """
    if root.is_dir():
        return False
    if os.path.lexists(root) or not root.parent.is_dir():
        missing = root if os.path.lexists(root) else root.parent
        raise DataError(f"--to {root}: {missing} is no folder", "missing_folder", root)
    with reporting(root):
        root.mkdir()
    return True


def planned(rows: Sequence[Row], root: Path, options: Options, journals: list[Journal], portable: bool = False) -> Plan:
    """The plan for a target folder.

    Raises:
        DataError: if the folder was organized in another mode.
    """
    mode = journals[0].mode()
    if mode not in (None, options.mode):
        line = (
            f"{root}: was organized with --mode {mode}; undo that first (--undo --to {root}), or choose another folder"
        )
        raise DataError(line, "other_mode", root, mode)
    assert options.mode is not None
    return make_plan(rows, Planner(root, options.mode, journals, portable), options.with_unknown)


def organize_in_place(table: Path, rows: Sequence[Row], options: Options) -> Organized:
    """Write tags and playlists of recordings where they are."""
    path = journal_beside(table)
    if options.tags and not options.is_dry:
        with reporting(path), journal_at(path) as journal:
            settle(journal)
            result = Organized(located_in_place(rows, options, [journal]))
            result.tagged = tag_all(result.plan.located, journal, result.plan)
    else:
        result = Organized(located_in_place(rows, options, [Journal(path)]))
        result.tagged = len(taggable(result.plan.located)) if options.tags else 0
    if not options.is_dry:
        finish_playlists(result.plan.located, options, result, None)
    return result


def located_in_place(rows: Sequence[Row], options: Options, journals: list[Journal]) -> Plan:
    """The recordings that can be used, where they are."""
    plan = Plan()
    for row in labelled_rows(rows):
        if row["genre"] == UNKNOWN and not options.with_unknown:
            continue
        path, status, reason = checked_file(row, journals)
        if reason or status is None:
            plan.skipped.append((path, reason))
        else:
            plan.located.append((path, row))
            plan.genres[row["genre"]] += 1
    return plan


def finish_playlists(
    located: Sequence[tuple[Path, Row]], options: Options, result: Organized, journal: Journal | None
) -> None:
    """Write the playlists."""
    if options.playlists is not None:
        with reporting(options.playlists):
            folder = options.playlists.resolve()  # undo changes nothing through links
            result.playlists, skipped = write_playlists(folder, located, journal)
            result.plan.skipped += skipped


def undo_organize(table: Path | None = None, root: Path | None = None) -> Undone:
    """Undo all that `organize` did in a target folder, or all tags that it wrote in place.

    Args:
        table: whose recordings were tagged in place.
        root: the target folder.

    Raises:
        DataError: if there is nothing to undo.
    """
    path = journal_beside(table) if root is None and table is not None else Path(root or ".").resolve() / NAME
    if not path.is_file():
        line = f"{path.parent if root else table}: there is nothing to undo ({path.name} does not exist)"
        raise DataError(line, "nothing_to_undo", path)
    with stoppable() as signals:
        try:
            with reporting(path), journal_at(path) as journal:
                owned = [step.target for step in journal.active("folder") if step.target == path.parent]
                if root is None:
                    raise_if_organized(journal)
                result = undo(journal)
        except KeyboardInterrupt:
            raise Stopped("continues", signals) from None
    for folder in owned:
        with suppress(OSError):
            folder.rmdir()
    return result
