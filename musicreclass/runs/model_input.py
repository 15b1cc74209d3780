"""What the model of a run can label: recordings, or rows of a table alone."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from musicreclass.features.fma518.columns import COLUMNS
from musicreclass.runs.files import MEMBERS
from musicreclass.storage.regular import read_regular_text


def labels_recordings(folder: Path) -> bool:
    """Whether a model reads waveforms, or features that are computed from them; of an ensemble, each of its members.

    Small files are read, and nothing is checked: a run that this function accepts may still be damaged.

    Args:
        folder: of a finished run.
    """
    if (folder / MEMBERS).is_dir():
        members = [path for path in (folder / MEMBERS).iterdir() if path.is_dir()]
        return bool(members) and all(map(labels_recordings, members))
    with suppress(OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError):
        card = json.loads(read_regular_text(folder / "model" / "meta.json"))
        is_computed = choice(folder, "features") not in ("", "none")
        return is_computed or card["input"] == "waveform" or set(card["columns"]) <= set(COLUMNS)
    return False


def scoring_arguments(folder: Path) -> str:
    """What follows the name of a run over a table in `musicreclass evaluate`: another file, or its own test split."""
    return "data.path=TABLE --split all" if choice(folder, "data") == "table" else "--split test"


def choice(folder: Path, group: str) -> str:
    """The option of a group that a run was trained with; empty if it is not recorded."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        identity = json.loads(read_regular_text(folder / "identity.json"))
        return str(identity.get("choices", {}).get(group) or "")
    return ""
