"""What makes a run the run it is: the part of its configuration that can change the result, and the data's content.

Nothing heavy is imported here, so that a finished run is found again in a moment. The data's fingerprint needs the data, but
it is remembered with the files it was read from, by their path, size and time.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicreclass.config.science import (
    CLIPS,
    FETCHED,
    HANDLING,
    PLACES,
    SCIENCE,
    SPEED,
    TRAINING,
    WEIGHTS,
    is_estimator,
    weights_file,
)
from musicreclass.runs.code_version import code_version
from musicreclass.storage.atomic import write_json
from musicreclass.storage.store import Store, file_digest


def scientific(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that identifies a run."""
    kept = {key: config[key] for key in SCIENCE if key in config and not (key in TRAINING and is_estimator(config))}
    if config.get("model", {}).get("input") == "table":
        kept.pop("augmentation", None)  # there is nothing to augment
    for section, left_out in (("data", (*PLACES, *HANDLING)), ("model", SPEED), ("features", FETCHED)):
        if isinstance(kept.get(section), dict):
            kept[section] = {key: value for key, value in kept[section].items() if key not in left_out}
    for section in ("model", "features"):
        weights = weights_file(config, section)
        if weights is not None:
            kept[section][WEIGHTS] = file_digest(weights, Store(Path(config["paths"]["cache"]).expanduser()))
    if kept.get("features", {}).get("_target_"):
        kept["data"] = {key: value for key, value in kept["data"].items() if key not in CLIPS}
    else:
        kept.pop("features", None)
    return kept


def signature(config: dict[str, Any], fingerprint: str) -> str:
    """A hash of what was asked for and of the data it was asked of: 12 hexadecimal digits."""
    return hashed({"config": scientific(config), "data": fingerprint})[:12]


def run_folder(config: dict[str, Any], fingerprint: str) -> Path:
    """Where a run goes: `run_dir`, or a name that a person can read, of data, model, seed and signature."""
    if config.get("run_dir"):
        return Path(config["run_dir"]).expanduser()
    choices = config.get("choices", {})
    parts = [choices.get("data"), choices.get("model"), f"s{config.get('seed')}", signature(config, fingerprint)]
    return Path(config["paths"]["outputs"]).expanduser() / "-".join(
        str(part).replace("/", "_") for part in parts if part
    )


def located(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose data is found from any working directory; its signature is the same.

    Only a path of something that is there is made absolute: one's own data may call something else a root.
    """
    data = dict(config["data"])
    for name in PLACES:
        if isinstance(data.get(name), str) and (place := Path(data[name]).expanduser()).exists():
            data[name] = str(place.absolute())
    found = {**config, "data": data}
    for section in ("model", "features"):
        weights = weights_file(config, section)
        if weights is not None:
            found[section] = {**config[section], WEIGHTS: str(weights.absolute())}
    folder = (found.get("features") or {}).get("folder")
    if isinstance(folder, str) and (place := Path(folder).expanduser()).is_dir():
        found["features"] = {**found["features"], "folder": str(place.absolute())}
    return found


def hashed(value: Any) -> str:
    """The SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def remember_fingerprint(config: dict[str, Any], files: list[Path], fingerprint: str) -> None:
    """Note the fingerprint of a configuration's data beside the files it was read from."""
    marks = [mark(file) for file in files]
    if files and None not in marks:
        with suppress(OSError):  # it will be computed again
            place = _memo(config)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, {"files": marks, "fingerprint": fingerprint})


def known_fingerprint(config: dict[str, Any]) -> str | None:
    """The fingerprint of a configuration's data, if it was noted and no file has changed since."""
    try:
        noted = json.loads(_memo(config).read_text(encoding="utf-8"))
        if all(mark(Path(file[0])) == file for file in noted["files"]):
            return str(noted["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        pass
    return None


def _memo(config: dict[str, Any]) -> Path:
    asked = {
        "data": config["data"],
        "features": config.get("features"),
        "cwd": str(Path.cwd()),
        "code": code_version(config),
    }
    return Path(config["paths"]["cache"]).expanduser() / "fingerprints" / f"{hashed(asked)[:24]}.json"


def mark(file: Path) -> list[Any] | None:
    """What tells whether a file, or a folder's list of files, has changed; None if it is not there."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return [str(file.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino]
