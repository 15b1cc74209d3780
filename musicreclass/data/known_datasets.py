"""Published datasets, recognised by their files, so that overlaps with pretraining data are marked under any source."""

from __future__ import annotations

import re

import pandas as pd

from musicreclass.evaluation.tag_sets import target_text

GTZAN_STEM = re.compile(
    r"(?:.*/)?(?P<genre>blues|classical|country|disco|hiphop|jazz|metal|pop|reggae|rock)\.000\d\d(?:\.(?:wav|au|mp3|flac|ogg))?"
)
GTZAN_SECONDS = 31.0  # length of its clips, rounded up; excerpts of them are shorter
MIN_CLIPS = 10
MIN_GENRES = 2


def datasets_in(tracks: pd.DataFrame) -> list[str]:
    """The published datasets that a Tracks table contains clips of: `gtzan`.

    GTZAN's clips have names such as `blues.00042`, their genre as target, and a length of 30 s. At least `MIN_CLIPS` clips of
    `MIN_GENRES` genres must match; excerpts count. The content is not compared, since copies exist in several encodings.
    """
    match = tracks.track_id.str.extract(f"^{GTZAN_STEM.pattern}$")
    target = tracks.target.map(target_text).str.casefold().str.replace(r"[^a-z]", "", regex=True)
    genres = match.genre[(match.genre == target) & (tracks.duration <= GTZAN_SECONDS)]
    return ["gtzan"] if len(genres) >= MIN_CLIPS and genres.nunique() >= MIN_GENRES else []
