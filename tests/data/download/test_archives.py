"""`musicreclass prepare` gets published datasets from a server on loopback: downloads, verifies and unpacks them."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.config.check import compose, settings_of
from musicreclass.data.download import archives
from musicreclass.data.download.unpack import unpack
from musicreclass.errors import DataError
from musicreclass.tasks.prepare import install_datasets, prepare
from tests.data.sources.test_fma import features_frame, regular, tracks_frame
from tests.sounds import music, write
from tests.web_server import WebServer, serving

GENRES = ("blues", "rock", "jazz")


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> dict[str, bytes]:
    """Archives in the published forms, with a few tracks."""
    folder = tmp_path_factory.mktemp("packed")
    rows = regular(30)
    metadata = {
        "tracks.csv": tracks_frame(rows).to_csv(),
        "features.csv": features_frame([r[0] for r in rows]).to_csv(),
    }
    clip = write(folder / "clip.mp3", music(2, 22050), 22050).read_bytes()
    clips = {f"fma_small/000/{row[0]:06d}.mp3": clip + bytes([k]) for k, row in enumerate(rows)}
    clips |= {"fma_small/README.txt": b"FMA", "fma_small/checksums": b""}
    wav = write(folder / "clip.wav", music(1, 22050), 22050).read_bytes()
    songs = {f"genres/{genre}/{genre}.{k:05d}.wav": wav for genre in GENRES for k in range(4)}
    songs |= {f"genres/blues/._blues.0000{k}.wav": b"Mac OS X" for k in range(4)}
    return {
        "fma_metadata.zip": zipped({f"fma_metadata/{name}": text.encode() for name, text in metadata.items()}),
        "fma_small.zip": zipped(clips),
        "genres.tar.gz": tarred(songs),
    }


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            info.size = 0 if isinstance(content, tarfile.TarInfo) else len(content)
            archive.addfile(info, None if isinstance(content, tarfile.TarInfo) else io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def server(packed):
    with serving() as server:
        server.files = {f"/{name}": content for name, content in packed.items()}
        yield server


def source(server: WebServer, name: str, file: str, gigabytes: float = 0.01) -> list[str]:
    """Overrides that get an archive from the server."""
    checksum = f"sha1:{hashlib.sha1(server.files[f'/{file}']).hexdigest()}"
    archive = f"download.archives.{name}"
    return [
        f"{archive}.urls=[{server.url(f'/{file}')}]", f"{archive}.checksums=[{checksum}]",
        f"{archive}.gigabytes={gigabytes}", f"{archive}.unpacked_gigabytes={gigabytes}",
    ]  # fmt: skip


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_fma_is_downloaded_prepared_and_used(run, here, server):
    sources = source(server, "fma_metadata", "fma_metadata.zip") + source(server, "fma_small", "fma_small.zip")
    command = ["data=fma_audio", "data.subset=small", "data.root=FMA", "data.cache=none"]
    result = run("prepare", *command, *sources)
    assert result.code == 0, result.err
    assert "30 tracks" in result.out
    assert names(here / "FMA") >= {"Misc/fma_metadata/tracks.csv", "Data/fma_small/000/000010.mp3"}
    assert not [name for name in names(here / "FMA") if name.endswith((".zip", ".part"))]
    requests = len(server.requests)
    result = run("prepare", *command, *sources)
    assert (result.code, len(server.requests)) == (0, requests)


def test_gtzan_is_put_below_the_folder_of_all_datasets(run, here, server, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_DATA", str(here / "music"))
    sources = source(server, "gtzan", "genres.tar.gz")
    result = run(
        "prepare", "data=gtzan", "data/split=random", "data.min_seconds=0.5", *sources, "download.keep_archives=true"
    )
    assert result.code == 0, result.err
    expected = {f"GTZAN/Data/genres_original/{genre}/{genre}.{k:05d}.wav" for genre in GENRES for k in range(4)}
    assert names(here / "music") == expected | {"GTZAN/Data/genres.tar.gz"}


@pytest.mark.parametrize("folder", ["FMA", "FMA/Misc"])
def test_an_archive_from_a_browser_is_used(run, here, server, packed, folder):
    sources = source(server, "fma_metadata", "fma_metadata.zip")
    (here / folder).mkdir(parents=True)
    (here / folder / "fma_metadata.zip").write_bytes(packed["fma_metadata.zip"])
    result = run("prepare", "data=fma_features", "data.root=FMA", *sources, "download.enabled=false")
    assert (result.code, server.requests) == (0, [])
    assert (here / folder / "fma_metadata.zip").exists()


def test_a_damaged_archive_from_a_browser_is_named(run, here, server, packed):
    sources = source(server, "fma_metadata", "fma_metadata.zip")
    archive = here / "FMA" / "fma_metadata.zip"
    archive.parent.mkdir()
    archive.write_bytes(packed["fma_metadata.zip"][:-100])
    result = run("prepare", "data=fma_features", "data.root=FMA", *sources)
    assert (result.code, len(result.lines)) == (2, result.err.count("\n"))
    assert (result.problems[0].kind, result.problems[0].key) == ("wrong_checksum", "FMA/fma_metadata.zip")
    assert names(here / "FMA") == {"fma_metadata.zip"}


def test_downloads_can_be_switched_off(run, here, server):
    result = run("prepare", "data=fma_features", "data.root=FMA", "download.enabled=false")
    assert (result.code, result.problems[0].kind, list(here.iterdir())) == (2, "download_disabled", [])
    assert "https://github.com/mdeff/fma" in result.problems[0].message


@pytest.mark.parametrize(
    "root", ["disk", "disk/archive/Data/genres_original/blues", "disk/archive/Data/genres_original/rock"]
)
def test_a_folder_too_high_or_too_deep_is_named_and_nothing_downloaded(run, here, server, root):
    base = here / "disk" / "archive"
    for genre in ("blues", "rock"):
        folder = base / "Data" / "genres_original" / genre
        folder.mkdir(parents=True)
        for k in range(3):
            write(folder / f"{genre}.0000{k}.wav", music(1, 22050), 22050)
    result = run("prepare", "data=gtzan", f"data.root={root}", *source(server, "gtzan", "genres.tar.gz"))
    assert (result.code, server.requests) == (2, [])
    advised = result.problems[0].suggestion.removeprefix("data.root=")
    assert result.problems[0].kind == "wrong_root"
    assert run("prepare", "data=gtzan", "data/split=random", f"data.root={advised}", "data.min_seconds=0.5").code in (
        0,
        2,
    )
    assert server.requests == []


def test_fma_is_named_from_its_parts(run, here, server, packed):
    sources = [*source(server, "fma_metadata", "fma_metadata.zip"), *source(server, "fma_small", "fma_small.zip")]
    command = ["prepare", "data=fma_audio", "data.subset=small", *sources]
    assert run(*command, "data.root=a/FMA").code == 0
    before = len(server.requests)
    for root in ("a/FMA/Data", "a/FMA/Misc", "a/FMA/Misc/fma_metadata", "a/FMA/Data/fma_small"):
        result = run(*command, f"data.root={root}")
        assert (result.code, result.problems[-1].kind, len(server.requests)) == (2, "wrong_root", before)


def test_without_room_nothing_is_requested(run, here, server):
    sources = source(server, "fma_metadata", "fma_metadata.zip", gigabytes=1e9)
    result = run("prepare", "data=fma_features", "data.root=FMA", *sources)
    assert (result.code, result.problems[0].kind, server.requests) == (2, "no_space", [])


@pytest.mark.parametrize("root", ["file/FMA", "/proc/FMA"])
def test_a_folder_that_cannot_be_made_is_one_error(run, here, server, root):
    (here / "file").touch()
    sources = source(server, "fma_metadata", "fma_metadata.zip")
    result = run("prepare", "data=fma_features", f"data.root={root}", *sources)
    assert (result.code, result.problems[0].kind, server.requests) == (2, "unwritable", [])


def test_of_two_commands_at_once_one_downloads(here, server):
    sources = source(server, "fma_metadata", "fma_metadata.zip")
    arguments = settings_of("prepare", compose("prepare", ["data=fma_features", "data.root=FMA", *sources]))
    errors: list[BaseException] = []

    def install() -> None:
        try:
            list(install_datasets(arguments))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=install) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, len(server.requests)) == ([], 1)


def test_files_of_the_user_are_never_replaced(run, here, server):
    sources = source(server, "gtzan", "genres.tar.gz")
    other = here / "G" / "Data" / "genres_original" / "notes.txt"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    result = run("prepare", "data=gtzan", "data.root=G", *sources)
    assert (result.code, result.problems[0].kind, server.requests) == (2, "incomplete_dataset", [])
    assert names(here / "G") == {"Data/genres_original/notes.txt"}


@pytest.mark.parametrize("setting", [
    "download.archives.gtzan.urls=[ftp://host/x.zip]", "download.archives.gtzan.urls=[]",
    "download.archives.gtzan.checksums=[sha1:12]", "download.attempts=0", "download.archives.gtzan.size=1",
])  # fmt: skip
def test_wrong_sources_are_config_errors(run, here, setting):
    result = run("prepare", "data=gtzan", "data.root=G", setting)
    assert (result.code, result.problems[0].key) == (2, setting.partition("=")[0])


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def zip_link() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo("genres/blues/x")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return stream.getvalue()


HOSTILE = {
    "traversal": lambda: tarred({"genres/blues/../../../../evil.wav": b"x"}),
    "absolute": lambda: tarred({"/tmp/evil.wav": b"x"}),
    "backslash": lambda: zipped({"genres\\..\\..\\evil.wav": b"x"}),
    "drive": lambda: zipped({"C:/evil.wav": b"x"}),
    "zip traversal": lambda: zipped({"../evil.wav": b"x"}),
    "symlink": lambda: tarred({"genres": link(tarfile.SYMTYPE, "/tmp")}),
    "hard link": lambda: tarred({"genres/blues/x": link(tarfile.LNKTYPE, "/etc/passwd")}),
    "zip symlink": zip_link,
    "fifo": lambda: tarred({"genres/blues/x": link(tarfile.FIFOTYPE, "")}),
    "device": lambda: tarred({"genres/blues/x": link(tarfile.CHRTYPE, "")}),
    "bomb": lambda: zipped({"genres/blues/x.wav": bytes(20_000_000)}),
    "tar bomb": lambda: tarred({"genres/blues/x.wav": bytes(20_000_000)}),
    "twice": lambda: zipped({"genres/blues/x.wav": b"1", "genres/blues/./x.wav": b"2"}),
    "truncated": lambda: tarred({"genres/blues/x.wav": os.urandom(100_000)})[:50_000],
    "zip truncated": lambda: zipped({"genres/blues/x.wav": os.urandom(100_000)})[:-100],
    "zip encrypted": lambda: zipped({"genres/blues/x.wav": b"x"}).replace(
        b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"
    ),
    "file as folder": lambda: zipped({"genres/blues": b"x", "genres/blues/x.wav": b"x"}),
    "no archive": lambda: b"<html>login</html>",
    "other archive": lambda: zipped({"speech/x.wav": b"x"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_writes_nothing(run, here, server, name):
    server.files["/genres.tar.gz"] = HOSTILE[name]()
    result = run("prepare", "data=gtzan", "data.root=G", *source(server, "gtzan", "genres.tar.gz"))
    assert (result.code, len(result.problems)) == (2, 1)
    assert result.problems[0].kind in ("unsafe_archive", "damaged_file", "unknown_layout")
    assert names(here / "G") == {"Data/genres.tar.gz"}
    assert not list(here.rglob("evil*"))
    assert not Path("/tmp/evil.wav").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_damage_of_a_zip_is_one_error(tmp_path_factory, compression, data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("genres/blüs/0.wav", bytes(range(256)) * 2)
    content = bytearray(stream.getvalue())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("x")
    (folder / "x.zip").write_bytes(content)
    (folder / "out").mkdir()
    with suppress(DataError):
        unpack(folder / "x.zip", folder / "out", 10_000)
    assert {path.name for path in folder.iterdir()} == {"x.zip", "out"}


def test_the_number_of_files_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("musicreclass.data.download.unpack.MAX_FILES", 20)
    (tmp_path / "x.zip").write_bytes(zipped({f"genres/{i}": b"" for i in range(21)}))
    with pytest.raises(DataError) as caught:
        unpack(tmp_path / "x.zip", tmp_path, 10_000)
    assert caught.value.kind == "unsafe_archive"


def interrupt(archive: Path, folder: Path, size: int) -> None:
    (folder / "genres").mkdir()
    raise KeyboardInterrupt


def test_an_interrupted_unpacking_starts_over(run, here, server, monkeypatch):
    sources = source(server, "gtzan", "genres.tar.gz")
    rest = ["data=gtzan", "data/split=random", "data.root=G", "data.min_seconds=0.5", *sources]
    lines = prepare(settings_of("prepare", compose("prepare", rest)))
    with monkeypatch.context() as patch:
        patch.setattr(archives, "unpack", interrupt)
        assert next(lines).startswith("downloaded")
        with pytest.raises(KeyboardInterrupt):
            next(lines)
    assert names(here / "G") == {"Data/genres.tar.gz"}
    assert run("prepare", *rest).code == 0
    assert len(server.requests) == 1
    assert np.all([name.startswith("Data/genres_original/") for name in names(here / "G") - {"Data/genres.tar.gz"}])
