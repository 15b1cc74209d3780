"""Downloads one file over HTTP: resumable, from several mirrors, verified by its published checksum."""

from __future__ import annotations

import errno
import hashlib
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from musicreclass.data.parallel import show_progress
from musicreclass.errors import DataError
from musicreclass.plurals import counted

CHUNK = 1 << 20
RETRIED = (408, 425, 429, 500, 502, 503, 504)  # HTTP status codes after which a later attempt may succeed
LONGEST_PAUSE = 30.0  # seconds between two attempts
EXCESS = 1.5  # a server may send at most this many times the expected size


class MirrorError(Exception):
    """A mirror does not deliver the file; the next one may."""


class AttemptError(Exception):
    """An attempt failed; a later one may succeed."""


def download(
    urls: Sequence[str], path: Path, checksums: Sequence[str], size: int, attempts: int = 5, timeout: float = 60.0
) -> None:
    """Download a file from the first mirror that delivers it.

    An interrupted download is stored as `path` with the suffix `.part` and resumed by the next call, also from another mirror.

    Args:
        urls: the mirrors, in order.
        path: the file to write; its folder must exist.
        checksums: any of which the file must have: `sha1:...`, `sha256:...` or `md5:...`, in hexadecimal digits.
        size: the approximate size in bytes.
        attempts: consecutive attempts without a received byte before a mirror is given up.
        timeout: seconds without an answer after which an attempt fails.

    Raises:
        DataError: if no mirror delivers the file with this checksum, or if the disk is full; nothing is written to `path`.
    """
    part = path.with_name(f"{path.name}.part")
    failures, wrong = [], False
    for url in urls:
        resumed = True
        while resumed:  # what was downloaded earlier may belong to another version of the file
            resumed = part.exists()
            try:
                fetch(url, part, size, attempts, timeout)
            except MirrorError as error:
                failures.append(f"{_host(url)}: {error}")
                break
            if has_checksum(part, checksums):
                part.replace(path)
                return
            received = part.stat().st_size
            part.unlink()
            if not resumed:
                wrong = True
                text = (
                    f"the file ({counted(received, 'byte')}) does not have the checksum {checksums[0]}; it was deleted"
                )
                failures.append(f"{_host(url)}: {text}")
    kind = "wrong_checksum" if wrong else "download_failed"
    raise DataError(f"{path.name}: cannot be downloaded ({'; '.join(failures)})", kind, path.name, list(urls))


def fetch(url: str, part: Path, size: int, attempts: int, timeout: float) -> None:
    """Append the rest of a file to what was downloaded of it before.

    Raises:
        MirrorError: if the server does not deliver it.
        DataError: if it cannot be written.
    """
    failed, longest = 0, _size(part)  # a server without ranges starts over: only a longer part is progress
    while True:
        try:
            _request(url, part, size, timeout)
            return
        except AttemptError as error:
            failed = 1 if _size(part) > longest else failed + 1
            longest = max(longest, _size(part))
            if failed >= attempts:
                raise MirrorError(str(error)) from error
            time.sleep(min(2.0 ** (failed - 1), LONGEST_PAUSE))


def _request(url: str, part: Path, size: int, timeout: float) -> None:
    """One request for what is missing; a server without ranges sends the whole file.

    Raises:
        AttemptError, MirrorError, DataError: as in `fetch`.
    """
    start = _size(part)
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            start, total = _check_response(response, start)
            _check_length(total, size)
            _write(response, part, start, total or size, size)
    except HTTPError as error:
        if error.code == 416 and start:  # nothing is missing, or the server's file is shorter
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
                return
            part.unlink(missing_ok=True)
            raise AttemptError("the partial download is longer than the file") from error
        kind = AttemptError if error.code in RETRIED else MirrorError
        raise kind(f"HTTP {error.code} {_one_line(error.reason)}") from error
    except TimeoutError as error:
        raise AttemptError(f"no answer within {timeout:g} s") from error
    except (URLError, HTTPException, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        text = (
            f"no answer within {timeout:g} s"
            if isinstance(reason, TimeoutError)
            else f"the connection failed ({_one_line(reason)})"
        )
        raise AttemptError(text) from error
    except ValueError as error:  # also of a redirection
        raise MirrorError(f"its URL is not valid ({_one_line(error)})") from error
    if _size(part) < total:
        raise AttemptError(f"the connection ended after {_size(part):,} of {counted(total, 'byte')}")


def _check_response(response: HTTPResponse, start: int) -> tuple[int, int]:
    """Where in the file a response starts, and the size of the file, 0 if unknown. Nothing is written before.

    Args:
        response: with the status of a success.
        start: of the requested range.

    Raises:
        MirrorError: if it is another range, or not the file.
    """
    span, media = response.headers.get("Content-Range", ""), response.headers.get_content_type()
    if response.status not in (200, 206) or media == "text/html":
        text = f"answers with a web page, or nothing (HTTP {response.status}, {media})"
        raise MirrorError(f"{text}; a login page, perhaps: open its URL in a browser")
    if response.status == 206 and (start or span) and not span.startswith(f"bytes {start}-"):
        raise MirrorError(
            f"answers with another range than bytes {start}-; without the .part file the download starts over"
        )
    length = response.headers.get("Content-Length", "")
    sent = int(length) if length.isdecimal() else 0
    if response.status == 206:
        return start, start + sent if sent else 0
    if 0 < sent < start:
        raise MirrorError(f"sends {counted(sent, 'byte')}, but {start:,} were downloaded before")
    return 0, sent


def _one_line(message: object) -> str:
    """A message of a server or a library on one line."""
    return " ".join(str(message).split())[:200]


def _write(response: HTTPResponse, part: Path, start: int, total: int, size: int) -> None:
    """Write a response's body behind the first `start` bytes of a file.

    Raises:
        DataError: if it cannot be written.
    """
    message = f"downloading {part.name.removesuffix('.part')} ({total / 1e9:.2f} GB)"
    message += f", resumed at {start / 1e9:.2f} GB" if start else ""
    with open_to_append(part, start) as file, show_progress(message, total - start, "B") as advance:
        while chunk := response.read1(CHUNK):
            rest = memoryview(chunk)
            try:
                while rest:
                    rest = rest[file.write(rest) :]  # a nearly full disk takes a part
            except OSError as error:
                raise _not_written(part, error) from error
            advance(len(chunk))
            _check_length(file.tell(), size)


def open_to_append(part: Path, start: int) -> FileIO:
    """Open a file behind its first `start` bytes, unbuffered, and delete the rest.

    Raises:
        DataError: if it cannot be opened.
    """
    try:
        file = part.open("r+b" if start else "wb", buffering=0)
    except OSError as error:
        raise _not_written(part, error) from error
    file.seek(start)
    file.truncate()
    return file


def _not_written(part: Path, error: OSError) -> DataError:
    if error.errno == errno.ENOSPC:
        line = f"{part.parent}: the disk is full after {_size(part) / 1e9:.1f} GB; the next call resumes the download"
        return DataError(line, "no_space", part.parent)
    return DataError(f"{part}: cannot be written ({error.strerror})", "unwritable", part)


def _check_length(length: int, size: int) -> None:
    """Stop a server that sends something much longer than the file."""
    if length > EXCESS * size:
        raise MirrorError(f"sends {length / 1e9:.2f} GB, expected about {size / 1e9:.2f} GB")


def has_checksum(path: Path, checksums: Sequence[str]) -> bool:
    """Whether a file has one of several checksums, such as `sha1:f0df49ff...`."""
    digests = {algorithm: hashlib.new(algorithm) for algorithm in (text.partition(":")[0] for text in checksums)}
    message = f"verifying {path.name.removesuffix('.part')}"
    with path.open("rb") as file, show_progress(message, path.stat().st_size, "B") as advance:
        while chunk := file.read(CHUNK):
            for digest in digests.values():
                digest.update(chunk)
            advance(len(chunk))
    return any(f"{name}:{digest.hexdigest()}" in checksums for name, digest in digests.items())


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return url


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
