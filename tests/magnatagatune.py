"""A planted MagnaTagATune in the published file forms, with their irregularities."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musicreclass.config.class_maps import read_mapping
from musicreclass.config.locations import CONF
from musicreclass.data.sources.magnatagatune_clips import FAULTY_CLIPS
from tests.library import write_tone

TAGS = sorted(read_mapping(CONF / "class_map" / "mtt_to_merged.yaml"))
KINDS = {"guitar": 300, "techno": 2000}  # a tag and the frequency of its clips
FOLDERS = "0005abccdef"  # of the artists; the first three have the same
CLIPS_PER_ARTIST = 4
NO_TOP_TAG, NO_TAG, EMPTY, GONE, NOT_IN_INFO = (f"5/artist_3-album-0{i}-{name}-0-29.mp3" for i, name in enumerate(
    ("no_top_tag", "no_tag", "empty", "gone", "not_in_info"), 1))  # fmt: skip
NOT_ANNOTATED = "5/artist_3-album-06-not_annotated-0-29.mp3"


def tags_of_clips() -> dict[str, list[str]]:
    """The tags of each annotated clip."""
    clips = {}
    for number, folder in enumerate(FOLDERS):
        for clip in range(CLIPS_PER_ARTIST):
            kind = list(KINDS)[(number + clip) % 2]
            path = f"{folder}/artist_{number}-album_{clip // 2}-0{clip}-song-{29 * clip}-{29 * clip + 29}.mp3"
            clips[path] = [kind, "electro" if kind == "techno" else "acoustic", *(["opera"] if number == 0 else [])]
    shared = "f/artist_0-album_9-01-song-0-29.mp3"  # in train too
    return clips | {
        shared: ["guitar"], NO_TOP_TAG: ["irish"], NO_TAG: [], EMPTY: ["guitar"], GONE: ["guitar"], NOT_IN_INFO: ["techno"],
        FAULTY_CLIPS[0]: ["guitar"],
    }  # fmt: skip


def write_annotations(folder: Path, clips: dict[str, list[str]], names: Sequence[str] = TAGS) -> None:
    """annotations_final.csv with these tags."""
    folder.mkdir(parents=True, exist_ok=True)
    column = {tag: i for i, tag in enumerate(names)}
    lines = ["\t".join(f'"{name}"' for name in ("clip_id", *names, "mp3_path"))]
    for number, (path, tags) in enumerate(clips.items(), 2):
        cells = ['"0"'] * len(names)
        for tag in tags:
            cells[column[tag]] = '"1"'
        lines.append("\t".join((f'"{number}"', *cells, f'"{path}"')))
    (folder / "annotations_final.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_clip_info(folder: Path, clips: list[str]) -> None:
    """clip_info_final.csv."""
    columns = [
        "clip_id",
        "track_number",
        "title",
        "artist",
        "album",
        "url",
        "segmentStart",
        "segmentEnd",
        "original_url",
        "mp3_path",
    ]
    with (folder / "clip_info_final.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for number, path in enumerate(clips, 2):
            artist, _, rest = path.rpartition("/")[2].partition("-")
            album = rest.partition("-")[0]
            writer.writerow([number, 1, "A \tsong", artist.replace("_", " ").title(), album, "", 0, 29, "", path])


def plant(root: Path, audio: bool = True) -> dict[str, list[str]]:
    """Write the dataset, with clips of a second; returns the tags of each annotated clip."""
    clips = tags_of_clips()
    write_annotations(root, clips)
    write_clip_info(
        root, [*(path for path in clips if path != NOT_IN_INFO), "0/artist_0-album_0-09-other-0-29.mp3", ""]
    )
    if audio:
        for number, path in enumerate([*clips, NOT_ANNOTATED]):
            file = root / "mp3" / path
            if path in (EMPTY, FAULTY_CLIPS[0]):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"")
            elif path != GONE:
                kind = next((k for k in KINDS if k in clips.get(path, [])), "guitar")
                write_tone(file, KINDS[kind], number, seconds=1, rate=16000)
        (root / "mp3" / "0" / "._artist_0.mp3").write_bytes(b"Mac OS X")
    return clips


def analysis(seed: int, segments: int = 5, timbre: float = 0, **attributes: object) -> str:
    """An analysis of The Echo Nest, as in mp3_echonest_xml.zip, with this mean timbre; an attribute that is None is left out."""
    rng = np.random.default_rng(seed)
    values = {
        "duration": 29.1 + seed / 100, "endOfFadeIn": 0.2, "startOfFadeOut": 28.5, "loudness": -12.5 - seed / 10, "tempo": 100 + 7 * seed % 31,
        "tempoConfidence": 0.5, "timeSignature": 4, "timeSignatureConfidence": 1.0, "key": seed % 12, "keyConfidence": 0.3,
        "mode": seed % 2, "modeConfidence": 0.4,
    }  # fmt: skip
    values |= attributes
    text = " ".join(f'{name}="{value}"' for name, value in values.items() if value is not None)
    parts = []
    for i in range(segments):
        pitches = "".join(f'<pitch class="{j}">{rng.random():.4f}</pitch>' for j in reversed(range(12)))
        coefficients = "".join(f'<coeff dim="{j}">{rng.normal(timbre):.4f}</coeff>' for j in range(12))
        loudness = '<loudness><dB time="0">-60</dB><dB type="max" time="0.1">-9</dB></loudness>'
        parts.append(
            f'<segment start="{i}" duration="1">{loudness}<pitches>{pitches}</pitches><timbre>{coefficients}</timbre></segment>'
        )
    sections = '<sections><section start="0"><bar><beat><tatum>0.1</tatum></beat></bar></section></sections>'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<analysis decoder="mp3"><track {text}>{sections}'
        f"<segments>{''.join(parts)}</segments></track></analysis>"
    )
