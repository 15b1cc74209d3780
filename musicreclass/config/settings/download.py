"""Settings of `download`: where published datasets come from."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ConfigDict, StringConstraints

from musicreclass.config.fields import (
    Positive,
    Rule,
    Text,
    setting,
)
from musicreclass.config.settings.section import Section, section

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+/(\S*/)?[^/\s?]+(\?\S*)?$")]
Checksum = Annotated[str, StringConstraints(pattern=r"^(sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")]


class ArchiveSettings(Section):
    """A published archive of a dataset."""

    complete = True
    dataset: Text = setting("name of the dataset's folder")
    urls: Annotated[
        list[Url], MinLen(1), Rule("a non-empty list of URLs of files that start with http:// or https://")
    ] = setting("the mirrors, in the order in which they are tried")
    checksums: Annotated[list[Checksum], MinLen(1), Rule("a list such as [sha1:DIGITS] (sha1, sha256 or md5)")] = (
        setting("checksums of the archive, any of which it must have")
    )
    gigabytes: Positive = setting("approximate size of the archive, in 10^9 bytes")
    unpacked_gigabytes: Positive = setting("approximate size of its files, in 10^9 bytes")
    folder: Text = setting("where it is unpacked, below the dataset's folder")
    contains: Text = setting("the folder that the dataset is read from, below `folder`")
    inside: Text | None = setting("the name of that folder in the archive, if it is another one", default=None)
    page: Text = setting("web page of the dataset, for a download by hand")

    @property
    def file(self) -> str:
        """The archive's file name."""
        return self.urls[0].partition("?")[0].rpartition("/")[2]

    @property
    def bytes(self) -> int:
        """The approximate size of the archive."""
        return int(self.gigabytes * 1e9)

    @property
    def unpacked_bytes(self) -> int:
        """The approximate size of its files."""
        return int(self.unpacked_gigabytes * 1e9)


class Archives(Section):
    """Archives by name."""

    each = ArchiveSettings
    model_config = ConfigDict(extra="allow")

    def by_name(self) -> dict[str, ArchiveSettings]:
        """The settings of each archive."""
        return dict(self.model_extra or {})


class DownloadSettings(Section):
    """Where published datasets come from."""

    complete = True
    enabled: bool = setting("false: never download; archives that exist are still unpacked")
    keep_archives: bool = setting("true: keep a downloaded archive after unpacking it")
    attempts: Annotated[int, Ge(1), Le(1000)] = setting("consecutive failures after which the next mirror is tried")
    timeout: Annotated[float, Gt(0), Le(3600)] = setting("seconds without an answer after which an attempt fails")
    archives: Archives = section(Archives, "the archives, by name")
