"""The identity of a run: a hash of the part of its configuration that can change the result and of the data's content.

No heavy import here, so that a finished run is found fast. Computing the data's fingerprint needs the data, so it is remembered
with the files it was read from: their paths, sizes and modification times.
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
    science = {key: config[key] for key in SCIENCE if key in config and not (key in TRAINING and is_estimator(config))}
    if config.get("model", {}).get("input") == "table":
        science.pop("augmentation", None)  # it applies to audio only
    for section, excluded in (("data", (*PLACES, *HANDLING)), ("model", SPEED), ("features", FETCHED)):
        if isinstance(science.get(section), dict):
            science[section] = {key: value for key, value in science[section].items() if key not in excluded}
    for section in ("model", "features"):
        weights = weights_file(config, section)
        if weights is not None:
            science[section][WEIGHTS] = file_digest(weights, Store(Path(config["paths"]["cache"]).expanduser()))
    if science.get("features", {}).get("_target_"):
        science["data"] = {key: value for key, value in science["data"].items() if key not in CLIPS}
    else:
        science.pop("features", None)
    return science


def signature(config: dict[str, Any], fingerprint: str) -> str:
    """A hash of the scientific part of a configuration and the data's fingerprint: 12 hexadecimal digits."""
    return hashed({"config": scientific(config), "data": fingerprint})[:12]


def run_folder(config: dict[str, Any], fingerprint: str) -> Path:
    """A run's folder: `run_dir`, or a readable name made of data, model, seed and signature."""
    if config.get("run_dir"):
        return Path(config["run_dir"]).expanduser()
    choices = config.get("choices", {})
    parts = [choices.get("data"), choices.get("model"), f"s{config.get('seed')}", signature(config, fingerprint)]
    return Path(config["paths"]["outputs"]).expanduser() / "-".join(
        str(part).replace("/", "_") for part in parts if part
    )


def located(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with absolute paths, so that it works from any working directory; its signature is the same.

    Only existing paths are changed: a user's own dataset may use these keys for something else.
    """
    data = dict(config["data"])
    for name in PLACES:
        if isinstance(data.get(name), str) and (path := Path(data[name]).expanduser()).exists():
            data[name] = str(path.absolute())
    result = {**config, "data": data}
    for section in ("model", "features"):
        weights = weights_file(config, section)
        if weights is not None:
            result[section] = {**config[section], WEIGHTS: str(weights.absolute())}
    folder = (result.get("features") or {}).get("folder")
    if isinstance(folder, str) and (path := Path(folder).expanduser()).is_dir():
        result["features"] = {**result["features"], "folder": str(path.absolute())}
    return result


def hashed(value: Any) -> str:
    """The SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def remember_fingerprint(config: dict[str, Any], files: list[Path], fingerprint: str) -> None:
    """Store the fingerprint of a configuration's data with the versions of the files it was read from."""
    versions = [file_version(file) for file in files]
    if files and None not in versions:
        with suppress(OSError):  # it will be computed again
            memo = _memo_file(config)
            memo.parent.mkdir(parents=True, exist_ok=True)
            write_json(memo, {"files": versions, "fingerprint": fingerprint})


def remembered_fingerprint(config: dict[str, Any]) -> str | None:
    """The stored fingerprint of a configuration's data; None if there is none, or a file has changed since."""
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        memo = json.loads(_memo_file(config).read_text(encoding="utf-8"))
        if all(file_version(Path(version[0])) == version for version in memo["files"]):
            return str(memo["fingerprint"])
    return None


def _memo_file(config: dict[str, Any]) -> Path:
    key = {
        "data": config["data"],
        "features": config.get("features"),
        "cwd": str(Path.cwd()),
        "code": code_version(config),
    }
    return Path(config["paths"]["cache"]).expanduser() / "fingerprints" / f"{hashed(key)[:24]}.json"


def file_version(file: Path) -> list[Any] | None:
    """Path, size, time and inode, of which one differs once a file, or a folder's list, has changed; None if it is missing."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return [str(file.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino]
