"""The identity of a run, as identity.json records it: what was trained on what, by which code and in which micro-batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Launch:
    """What the processes of one launch recognise the run by.

    Attributes:
        id: of the launch.
        lock: the token of the lock that the first process holds.
        resume: whether the run continues from its checkpoints.
    """

    id: str
    lock: str
    resume: bool


@dataclass(frozen=True)
class Identity:
    """The content of identity.json; a run that is missing or damaged has some default values.

    Attributes:
        signature: hash of the signed settings and the fingerprint.
        fingerprint: hash of the data.
        version: of this package.
        code: the code version.
        user_code: see `code_version.user_code`.
        libraries: see `code_version.library_versions`.
        checkpoint_libraries: versions of `code_version.CHECKPOINT_LIBRARIES`.
        choices: the chosen option of each group of the configuration.
        source: the name of the data within its dataset, or empty.
        encoder: the fingerprint of the encoder of `features`, or None.
        micro_batch: tracks per forward pass; as measured, or lowered after running out of memory.
        micro_batch_setting: tracks per forward pass that were set, or `auto`.
        processes: how many train the network.
        launch: of several processes.
        format: of the run folder; 0 before the first numbered format.
    """

    signature: str | None = None
    fingerprint: str | None = None
    version: str = "?"
    code: str | None = None
    user_code: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    checkpoint_libraries: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    source: str = ""
    encoder: str | None = None
    micro_batch: int | str | None = None
    micro_batch_setting: int | str | None = None
    processes: int = 1
    launch: Launch | None = None
    format: int = 0

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Identity:
        """The identity that a file holds; keys of other versions are ignored."""
        values = {f.name: content[f.name] for f in fields(cls) if f.name in content}
        launch = values.get("launch")
        values["launch"] = Launch(**launch) if isinstance(launch, dict) else None
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        values = asdict(self)
        if self.launch is None:
            del values["launch"]
        return values
