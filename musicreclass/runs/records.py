"""The types of what a run's JSON files contain. A file of other types is damaged, or was written by another program.

Keys may be missing: a run writes them one after the other, and an older version may have written fewer.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

Size = Annotated[int, Ge(1), Le(2**31)]


class Record(BaseModel):
    """A JSON object whose known keys have the right type; other keys are not checked."""

    model_config = ConfigDict(strict=True, extra="allow")


class ClassScores(Record):
    """The scores of one class."""

    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    support: int = 0


class Protocol(Record):
    """How tracks were split."""

    split: str = ""
    leaky: Literal["no", "yes", "unknown"] = "unknown"
    why: list[str] = Field(default_factory=list)
    cautions: dict[str, str] = Field(default_factory=dict)
    pretraining_overlap: list[str] = Field(default_factory=list)
    checked: list[str] = Field(default_factory=list)


class Scores(Record):
    """The scores of one split."""

    n: int
    accuracy: float
    macro_f1: float
    macro_f1_present: float | None = None
    absent_classes: list[str] = Field(default_factory=list)
    accuracy_ci95: list[float] = Field(min_length=2, max_length=2)
    macro_f1_ci95: list[float] = Field(min_length=2, max_length=2)
    ci95_over: str
    per_class: dict[str, ClassScores]
    most_confused: list[Any] = Field(default_factory=list)
    protocol: Protocol | None = None


class RankedTag(Record):
    """The scores of one tag; None where they are undefined."""

    roc_auc: float | None = None
    pr_auc: float | None = None
    f1: float | None = None
    support: int = 0


class TagScores(Record):
    """The scores of one split whose tracks have sets of tags."""

    n: int
    roc_auc: float | None
    pr_auc: float | None
    roc_auc_ci95: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    pr_auc_ci95: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    micro_f1: float
    macro_f1: float | None
    ci95_over: str
    unscored_tags: list[str] = Field(default_factory=list)
    per_tag: dict[str, RankedTag]
    protocol: Protocol | None = None


def kind_of_scores(content: Any) -> str:
    """Which record the scores of a split are."""
    return "tags" if isinstance(content, dict) and "per_tag" in content else "classes"


SplitScores = Annotated[
    Annotated[Scores, Tag("classes")] | Annotated[TagScores, Tag("tags")], Discriminator(kind_of_scores)
]


class Calibration(Record):
    """The temperature of a model, fitted on its validation tracks, and what it achieves."""

    temperature: Annotated[float, Ge(0.01), Le(1000)]
    ece_before: float
    ece_after: float
    log_loss_before: float
    log_loss_after: float
    n: int
    folds: int
    over: str


Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class MemberAlone(Record):
    """The validation scores of a member of an ensemble by itself: the main metrics of its task."""

    accuracy: float | None = None
    accuracy_ci95: Interval | None = None
    macro_f1: float | None = None
    macro_f1_ci95: Interval | None = None
    roc_auc: float | None = None
    roc_auc_ci95: Interval | None = None
    pr_auc: float | None = None
    pr_auc_ci95: Interval | None = None


class MemberScores(MemberAlone):
    """A member of an ensemble, its scores and its weight."""

    name: str
    model: str
    weight: float


class Difference(Record):
    """The ensemble's score minus that of the member that it is compared with."""

    difference: float
    low: float
    high: float
    p: float
    test: str


class EnsembleScores(Record):
    """How an ensemble compares with its members on validation; `best_member` is chosen in each fold on the other folds."""

    method: str
    folds: int
    over: str
    members: list[MemberScores]
    best_member: MemberAlone
    difference: dict[Literal["accuracy", "macro_f1", "roc_auc", "pr_auc"], Difference]


class StoppedTracks(Record):
    """The tracks that stop at some stages of a cascade, and the accuracies among them; None without tracks."""

    tracks: int
    fraction: float
    stopped_accuracy: float | None
    stopped_accuracy_ci95: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    last_accuracy: float | None


class StageScores(MemberAlone, StoppedTracks):
    """A stage of a cascade."""

    name: str
    model: str
    seconds: float
    temperature: float
    threshold: float | None


class CascadeRecord(Record):
    """What a cascade costs and whether it pays."""

    target_accuracy: float | None
    max_cost: float | None
    seconds: float
    seconds_alone: float
    seconds_source: str
    saving: float
    early: StoppedTracks
    verdict: Literal["pays", "slower", "lower_accuracy", "target_missed"]


class CascadeScores(Record):
    """How a cascade compares with its last member alone on validation."""

    method: str
    folds: int
    over: str
    members: list[StageScores]
    last_member: MemberAlone
    difference: dict[Literal["accuracy", "macro_f1"], Difference]
    cascade: CascadeRecord


def kind_of_ensemble(content: Any) -> str:
    """Which record an `ensemble` section is."""
    return "cascade" if isinstance(content, dict) and content.get("method") == "cascade" else "ensemble"


class Metrics(Record):
    """metrics.json."""

    ensemble: (
        Annotated[
            Annotated[EnsembleScores, Tag("ensemble")] | Annotated[CascadeScores, Tag("cascade")],
            Discriminator(kind_of_ensemble),
        ]
        | None
    ) = None

    train: SplitScores | None = None
    valid: SplitScores | None = None
    test: SplitScores | None = None
    elsewhere: dict[str, SplitScores] = Field(default_factory=dict)
    classes: list[str] = Field(default_factory=list)
    calibration: Calibration | None = None
    thresholds: dict[str, float] = Field(default_factory=dict)
    protocol: Protocol | None = None


class IdentityRecord(Record):
    """identity.json."""

    signature: str | None = None
    fingerprint: str | None = None
    version: str = ""
    code: str | None = None
    user_code: dict[str, str] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)
    checkpoint_libraries: dict[str, str] = Field(default_factory=dict)
    choices: dict[str, str | None] = Field(default_factory=dict)
    source: str = ""
    encoder: str | None = None
    micro_batch: Size | Literal["auto"] | None = None
    micro_batch_setting: Size | Literal["auto"] | None = None
    processes: int = 1
    launch: dict[str, Any] | None = None


class Status(Record):
    """status.json."""

    state: str = ""
    error: str | None = None


class Provenance(Record):
    """provenance.json."""

    versions: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    peak_memory_mib: float | None = None
    tracks: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    model: dict[str, Any] = Field(default_factory=dict)
    features: int | None = None
    profile: dict[str, Any] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    pretrained: dict[str, str] = Field(default_factory=dict)
    imported: dict[str, Any] | None = None


class Cost(Record):
    """cost.json, of a run that is not done."""

    seconds: dict[str, float] = Field(default_factory=dict)
    peak_memory_mib: float = 0


RECORDS: dict[str, type[Record]] = {
    "metrics.json": Metrics,
    "identity.json": IdentityRecord,
    "status.json": Status,
    "provenance.json": Provenance,
    "cost.json": Cost,
}


@cache
def adapter(name: str) -> TypeAdapter[Record]:
    """The validator of a file."""
    return TypeAdapter(RECORDS[name])


def record_problem(name: str, content: Any) -> str:
    """The first key of a JSON file with a value of another type, and what is wrong; empty if there is none."""
    try:
        adapter(name).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""
