"""Tracks that belong together: those of an artist, and those of an album if some of its tracks are of unknown artist."""

from __future__ import annotations

import pandas as pd

from musicreclass.data.names import artist_key, spelled_alike


def artists_of(tracks: pd.DataFrame) -> pd.Series[str]:
    """Each track's artist; None if unknown.

    Names that are equal in their normal form (see `names.artist_key`) are one artist, in the most frequent spelling.
    """
    return spelled_alike(tracks.group, artist_key)


def albums_of(tracks: pd.DataFrame) -> pd.Series[str]:
    """Each track's album, spelled as in `artists_of`; None if unknown."""
    return spelled_alike(tracks.album, artist_key)


def group_of(tracks: pd.DataFrame) -> pd.Series[str]:
    """Each track's group: the artist, else the album; None if neither is known."""
    artist = artists_of(tracks)
    album = albums_of(tracks).map(lambda name: f"album:{name}", na_action="ignore")
    return artist.where(artist.notna(), album).astype(object).where(lambda s: s.notna(), None)


def albums_of_unknown_artists(tracks: pd.DataFrame) -> pd.Series[str]:
    """Each track's album, if the artist of any track of that album is unknown; else None.

    The unknown artist may be the known artist of another track of the album, so no such album may be in two splits.
    """
    album = albums_of(tracks)
    if album.notna().any():
        of_unknown = set(album[artists_of(tracks).isna()].dropna())
        album = album.where(album.isin(of_unknown), None)
    return album
