"""Six synthetic genres, with which everything can be tried in minutes, offline and free of copyright.

The clips are stored in GTZAN's layout: `Data/genres_original/<genre>/<genre>.00000.wav`, listed in `Data/tracks.csv`. Their
518 FMA features are another source, `musicreclass.features.demo`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.data.parallel import show_progress
from musicreclass.data.recording_files import Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.demo_synthesis import ARTISTS, GENRES, RATE, VERSION, synthesise_clip
from musicreclass.plurals import counted
from musicreclass.storage.atomic import replacing, write_text
from musicreclass.storage.store import Store

TRACKS = Path("Data") / "tracks.csv"


class DemoAudio(AudioData):
    """The clips of the synthetic genres.

    Args:
        root: the folder in which they are stored.
        split, options: as in `AudioData`.
        clips_per_artist: number of clips for each of the 16 artists of a genre.
    """

    def __init__(self, root: str, split: dict[str, Any], clips_per_artist: int = 3, **options: Any) -> None:
        super().__init__(split, **options)
        self.root, self.clips_per_artist = root, clips_per_artist

    def find(self) -> Recordings:
        """The clips, synthesised on first use."""
        folder = demo_clips(self.root, self.clips_per_artist)
        tracks = pd.read_csv(folder / TRACKS)
        return Recordings(
            paths=[clip_path(folder, track_id) for track_id in tracks.track_id],
            track_id=tracks.track_id.tolist(),
            target=tracks.genre.tolist(),
            metadata={"group": tracks.artist.tolist()},
            folders=[folder / "Data" / "genres_original"],
            sources=[folder / TRACKS],
        )


def demo_clips(root: str, clips_per_artist: int) -> Path:
    """The folder of the demo clips, synthesised on first use; an interrupted synthesis is resumed.

    Raises:
        DataError: if the folder cannot be written.
    """
    return demo_entry("clips", root, clips_per_artist, lambda folder: synthesise(folder, clips_per_artist))


def demo_entry(kind: str, root: str, clips_per_artist: int, build: Callable[[Path], None], **key: Any) -> Path:
    """A folder that is generated for the demo on first use.

    Args:
        kind: of the folder, as in `Store.entry`.
        root: contains the folders of all kinds.
        clips_per_artist: number of clips for each artist.
        build: fills the folder.
        key: what it depends on besides the clips.

    Raises:
        DataError: if the folder cannot be written.
    """
    store = Store(Path(root).expanduser(), remedy="data.root=DIR chooses another folder")
    return store.entry(kind, {"version": VERSION, "clips_per_artist": clips_per_artist, **key}, build)


def synthesise(folder: Path, clips_per_artist: int) -> None:
    """Write all clips that do not exist yet, and their list."""
    import soundfile

    rows = []
    total = len(GENRES) * ARTISTS * clips_per_artist
    with show_progress(f"synthesising the demo's {counted(total, 'clip')} (once)", total) as advance:
        for genre in GENRES:
            for number in range(ARTISTS * clips_per_artist):
                artist, name = number % ARTISTS, f"{genre}.{number:05d}.wav"
                rows.append([name, genre, f"{genre}-artist-{artist}"])
                path = clip_path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    with replacing(path) as scratch:
                        audio = synthesise_clip(genre, artist, take=number // ARTISTS)
                        soundfile.write(scratch, audio, RATE, subtype="PCM_16", format="WAV")
                advance(1)
    write_text(folder / TRACKS, pd.DataFrame(rows, columns=["track_id", "genre", "artist"]).to_csv(index=False))


def clip_path(folder: Path, track_id: str) -> Path:
    """The path of a clip in the demo folder."""
    return folder / "Data" / "genres_original" / track_id.partition(".")[0] / track_id
