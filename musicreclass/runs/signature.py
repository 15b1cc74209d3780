"""The identity of a run: a hash of the settings that can change the result and of the data's content.

No heavy import here, so that a finished run is found fast. Computing the data's fingerprint needs the data, so it is remembered
with the files it was read from: their paths and versions.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from musicreclass.config.auto import Sizes
from musicreclass.config.class_maps import content_digest, find_class_map, is_path
from musicreclass.config.settings.data import CLIPS
from musicreclass.config.settings.section import Section
from musicreclass.config.settings.tasks import SIGNED, TRAINING, TrainSettings
from musicreclass.config.settings.training import DEBUGGING
from musicreclass.runs.code_version import NAME, code_version, user_code
from musicreclass.storage.atomic import write_json
from musicreclass.storage.store import Store, file_digest
from musicreclass.storage.versions import FileVersion

PATHS = ("root", "path", "store")  # in `data`
YOUNG_KEYS = (
    "class_map",
    "label_separator",
    "label_columns",
)  # of `data`, younger than many runs: not signed if they are null


def signed_settings(settings: TrainSettings) -> dict[str, Any]:
    """The settings that identify a run; weights are identified by the content of their file."""
    sections = [key for key in SIGNED if not (key in TRAINING and settings.model.is_estimator)]
    if settings.model.input == "table":
        sections.remove("augmentation")  # it applies to audio only
    if settings.features.target is None:
        sections.remove("features")
    configured = settings.model_fields_set
    values = {key: getattr(settings, key) for key in sections if key in configured}
    signed = {key: value.signed() if isinstance(value, Section) else value for key, value in values.items()}
    for key, section in settings.weighted().items():
        if key.partition(".")[0] in signed and (files := section.weights_files()):
            store = Store(Path(settings.paths.cache).expanduser())
            digests = {file.name: file_digest(file, store) for file in files}
            section_of(signed, key)["checkpoint"] = hashed(digests) if section.names_folder else digests[files[0].name]
    for key, source in settings.data.sources().items() if "data" in signed else ():
        for name in YOUNG_KEYS:
            if section_of(signed, key).get(name) is None:
                section_of(signed, key).pop(name, None)
        if source.class_map is not None:
            section_of(signed, key)["class_map"] = content_digest(source.class_map) or source.class_map
    for name in ("focal_gamma", *DEBUGGING) if "trainer" in signed else ():
        if getattr(settings.trainer, name) is None:
            signed["trainer"].pop(name, None)  # so are these
    if not settings.callbacks.by_key():
        signed.pop("callbacks", None)  # and so are these
    if "features" in signed:
        signed["data"] = {key: value for key, value in signed["data"].items() if key not in CLIPS}
    return signed


def signature(settings: TrainSettings, fingerprint: str) -> str:
    """A hash of the signed settings and the data's fingerprint: 12 hexadecimal digits."""
    return hashed({"config": signed_settings(settings), "data": fingerprint})[:12]


def experiment_settings(settings: TrainSettings) -> dict[str, Any]:
    """The settings that define an experiment, without seed and fold."""
    signed = signed_settings(settings)
    data = {name: value for name, value in signed["data"].items() if name != "fold"}
    if isinstance(data.get("split"), dict):
        data["split"] = {name: value for name, value in data["split"].items() if name != "fold"}
    return {**signed, "data": data, "model": without_random_states(signed["model"], settings.seed), "seed": None}


def fold_of(settings: TrainSettings) -> int | str | None:
    """The fold of a run, None where the data has none: of folds that are drawn `data.split.fold`, else `data.fold`."""
    data = settings.data.as_dict()
    fold = data["split"].get("fold") if data.get("split", {}).get("protocol") == "folds" else data.get("fold")
    return fold if fold is None or isinstance(fold, int) else str(fold)


def without_random_states(node: Any, seed: int) -> Any:
    """Settings of a model without any `random_state` that follows the seed of the run."""
    if isinstance(node, dict):
        items = {name: value for name, value in node.items() if not (name == "random_state" and value == seed)}
        return {name: without_random_states(value, seed) for name, value in items.items()}
    return node


def run_folder(settings: TrainSettings, fingerprint: str) -> Path:
    """A run's folder: `run_dir`, or a readable name made of data, model, seed and signature."""
    if settings.run_dir:
        return Path(settings.run_dir).expanduser()
    choices = settings.choices
    parts = [choices.get("data"), choices.get("model"), f"s{settings.seed}", signature(settings, fingerprint)]
    name = "-".join(part.replace("/", "_") for part in parts if part)
    return Path(settings.paths.outputs).expanduser() / name


def located(settings: TrainSettings) -> dict[str, Any]:
    """The configuration with absolute paths, so that it works from any working directory; its signature is the same.

    Only existing paths are changed: a user's own dataset may use these keys for something else.
    """
    config = settings.as_dict()
    for key, source in settings.data.sources().items():
        data = section_of(config, key)
        for name in PATHS:
            if isinstance(data.get(name), str):
                data[name] = absolute(data[name])
        if source.class_map is not None:
            data["class_map"] = (
                str(find_class_map(source.class_map).absolute()) if is_path(source.class_map) else source.class_map
            )
    for key, section in settings.weighted().items():
        if section.weights_files():
            section_of(config, key)["checkpoint"] = absolute(str(section.checkpoint))
    for key, features in settings.features.sources().items():
        if isinstance(features.folder, str):
            section_of(config, key)["folder"] = absolute(features.folder)
    return config


def section_of(config: dict[str, Any], key: str) -> dict[str, Any]:
    """The section at a dotted key."""
    for name in key.split("."):
        config = config[name]
    return config


def absolute(path: str) -> str:
    """An existing path as an absolute one; other text unchanged."""
    expanded = Path(path).expanduser()
    return str(expanded.absolute()) if expanded.exists() else path


def hashed(value: Any) -> str:
    """The SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def remember_data(settings: TrainSettings, files: list[Path], fingerprint: str, sizes: Sizes, opened: float) -> None:
    """Store the fingerprint and the sizes of the data with the versions of the files it was read from.

    Sources and encoders outside this package are always read again, since they may read files that `files` does not list. So is
    data of which a file has changed since it was opened: what was read may be older.

    Args:
        settings: of the run.
        files: that were read.
        fingerprint: of their content.
        sizes: of the training split.
        opened: when reading began, as `time.time()`.
    """
    sections = {**settings.data.sources(), **settings.features.sources()}
    targets = [section.target for section in sections.values()]
    listed = all(target is None or target.startswith(f"{NAME}.") for target in targets)
    versions = {str(file.absolute()): FileVersion.of(file) for file in files}
    if listed and files and all(version is not None and version.is_settled(opened) for version in versions.values()):
        with suppress(OSError):  # it will be computed again
            memo = _memo_file(settings)
            memo.parent.mkdir(parents=True, exist_ok=True)
            write_json(memo, {"files": versions, "fingerprint": fingerprint, "sizes": asdict(sizes)})


def remembered_data(settings: TrainSettings) -> tuple[str, Sizes] | None:
    """The stored fingerprint and sizes of the data; None if there are none, or a file has changed since."""
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        memo = json.loads(_memo_file(settings).read_text(encoding="utf-8"))
        if all(FileVersion.of(Path(path)) == tuple(version) for path, version in memo["files"].items()):
            return str(memo["fingerprint"]), Sizes(**memo["sizes"])
    return None


def _memo_file(settings: TrainSettings) -> Path:
    key = {
        "data": settings.data.as_dict(),
        "features": settings.features.as_dict(),
        "cwd": str(Path.cwd()),
        "code": code_version(settings.as_dict()),
        "user_code": user_code(settings.as_dict()),
    }
    class_maps = [source.class_map for source in settings.data.sources().values() if source.class_map is not None]
    if class_maps:
        key["class_maps"] = [str(content_digest(name)) for name in class_maps]
    return Path(settings.paths.cache).expanduser() / "fingerprints" / f"{hashed(key)[:24]}.json"
