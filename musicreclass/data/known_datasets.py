"""Published datasets, recognised by their files, so that overlaps with pretraining data are marked under any source."""

from __future__ import annotations

import re

import pandas as pd

GTZAN_STEM = re.compile(
    r"(?:.*/)?(?P<genre>blues|classical|country|disco|hiphop|jazz|metal|pop|reggae|rock)\.000\d\d(?:\.(?:wav|au|mp3|flac|ogg))?"
)
GTZAN_SECONDS = (29.0, 31.0)  # length of its clips; decoders differ in the last samples
MIN_CLIPS = 10


def datasets_in(tracks: pd.DataFrame) -> list[str]:
    """The published datasets that a Tracks table contains clips of: `gtzan`.

    GTZAN's clips have names such as `blues.00042`, their genre as target, and a length of 30 s; at least `MIN_CLIPS` must match. The
    content is not compared, since copies exist in several encodings.
    """
    match = tracks.track_id.str.extract(f"^{GTZAN_STEM.pattern}$")
    target = tracks.target.str.casefold().str.replace(r"[^a-z]", "", regex=True)
    clips = (match.genre == target) & tracks.duration.between(*GTZAN_SECONDS)
    return ["gtzan"] if int(clips.sum()) >= MIN_CLIPS else []
