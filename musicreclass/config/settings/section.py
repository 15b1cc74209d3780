"""The base of all sections of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from musicreclass.config.fields import (
    Text,
    setting,
)


def section(kind: type[Section], help_line: str) -> Any:
    """A field with further settings below it; if no YAML file has the section, none of them is set."""
    return Field(default_factory=kind, description=help_line)


class Section(BaseModel):
    """Settings under one key; a key that is not declared is an error.

    Attributes:
        complete: whether the YAML files must set every key that has no default.
        each: the class of the sections under names that the user chooses, beside the declared ones; None if there are no such sections.
    """

    complete: ClassVar[bool] = False
    each: ClassVar[type[Section] | None] = None
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def as_dict(self) -> dict[str, Any]:
        """The settings that were set, as plain values under their names in the YAML files."""
        return self.model_dump(by_alias=True, exclude_unset=True, serialize_as_any=True)

    def signed(self) -> dict[str, Any]:
        """The values that can change a result, declared defaults included."""
        fields = type(self).model_fields
        unsigned = {
            name
            for name, field in fields.items()
            if isinstance(field.json_schema_extra, dict) and not field.json_schema_extra.get("signed", True)
        }
        defaults = {name: field.default for name, field in fields.items() if field.default is not None}
        return {name: value for name, value in {**defaults, **self.as_dict()}.items() if name not in unsigned}


class Target(Section):
    """Settings of a class; keys that are not declared are passed to the class.

    Attributes:
        about: the declared keys that apply to users' classes too, which take any other argument as it is; None: all.
    """

    about: ClassVar[tuple[str, ...] | None] = None
    model_config = ConfigDict(extra="allow")

    target: str | None = Field(None, alias="_target_", description="the class that these settings create")

    def arguments(self, *without: str) -> dict[str, Any]:
        """The arguments of the class: all settings that were set but `_target_` and those named."""
        return {name: value for name, value in self.as_dict().items() if name != "_target_" and name not in without}


class Weighted(Target):
    """Settings of a class that may load pretrained weights.

    Attributes:
        names_folder: whether `checkpoint` is a folder.
    """

    names_folder: ClassVar[bool] = False
    checkpoint: Text | None = setting("file or name of the pretrained weights; random: untrained weights")

    def weights_files(self) -> list[Path]:
        """The file that `checkpoint` names, or the files of the folder; none for a published network's name, or `random`."""
        name: Any = self.checkpoint  # a user's class may take anything
        if not isinstance(name, str) or not (self.names_folder or "/" in name or Path(name).suffix):
            return []
        path = Path(name).expanduser()
        if self.names_folder:
            return sorted(
                file for pattern in ("*.json", "*.safetensors") for file in path.glob(pattern) if file.is_file()
            )
        return [path] if path.is_file() else []
