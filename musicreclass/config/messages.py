"""Parts of messages about configuration."""

from __future__ import annotations

import difflib
import re

from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError


def nearest(name: str, names: list[str] | set[str]) -> str:
    """A clause naming the nearest valid name, or the valid names where none is near and they are few."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    known = sorted(names)
    return "there is " + ", ".join(known) if 0 < len(known) <= 12 else "--help lists them"


def one_line(error: BaseException) -> str:
    """What a Hydra, OmegaConf or YAML error says, on one line."""
    cause = error.__cause__ if isinstance(error.__cause__, (OmegaConfBaseException, YAMLError)) else None
    text = str(cause or error) or type(error).__name__
    text = re.sub(r"See https?://\S+.*", "", text)
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.strip().startswith(("full_key", "object_type"))
    ]
    return " ".join(lines)
