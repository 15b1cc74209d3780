"""Normal forms of names."""

from __future__ import annotations

import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.data.names import (
    NO_LABEL,
    UNKNOWN_NAMES,
    artist_key,
    artist_notes,
    class_key,
    class_names,
    folded,
    spelled_alike,
    tidy,
)

PARTS = st.sampled_from(
    ["the", "The ", ", The", " feat. ", " ft ", "(featuring ", "X", "é", "ß", "İ", "ﬁ", " ", "\u200b", "-1", "?"]
)
NAMES = st.one_of(st.text(max_size=12), st.lists(PARTS, max_size=6).map("".join))


@given(NAMES)
def test_normal_forms_are_idempotent(name):
    for form in (folded, artist_key, class_key, tidy):
        once = form(name)
        assert once is None or form(once) == once


@given(NAMES, st.sampled_from(["NFC", "NFD"]))
def test_normal_forms_ignore_unicode_form_and_blanks(name, form):
    other = "\u00a0" + unicodedata.normalize(form, name).replace(" ", " \u00a0 ") + "\u200b "
    assert artist_key(other) == artist_key(name)
    assert class_key(other) == class_key(name)


@given(st.text("abcXYZ ", min_size=1, max_size=8))
def test_normal_forms_ignore_case(name):
    assert artist_key(name.upper()) == artist_key(name.lower())
    assert class_key(name.upper()) == class_key(name.lower())


@pytest.mark.parametrize("names", [
    ["João Gilberto", "Joa\u0303o Gilberto", "JOÃO  GILBERTO", "João\u00a0Gilberto", "Jo\u200bão Gilberto"],
    ["The Supremes", "Supremes, The", "supremes", "The  Supremes", "Supremes,The"],
    ["Santana", "Santana feat. Rob Thomas", "Santana ft. X & Y", "Santana (featuring Z)", "Santana [feat. Q]", "santana Ft X"],
])  # fmt: skip
def test_spellings_of_an_artist_are_one(names):
    assert len({artist_key(name) for name in names}) == 1


@pytest.mark.parametrize("names", [
    ["The The", "Them", "Theme", "The", "Defeat", "Feat", "Soft Machine", "Kraft", "Daft Punk", "Swift", "NA", "Unknowns"],
    ["a1", "a2", "A-1", "1", "01", "-2"],
])  # fmt: skip
def test_different_artists_stay_different(names):
    assert None not in {artist_key(name) for name in names}
    assert len({artist_key(name) for name in names}) >= len(names) - ("The" in names)


@pytest.mark.parametrize(
    "name", ["Various Artists", "various  artists", "-1", "nan", "N/A", "None", "null", " ", "VA", "[Unknown]"]
)
def test_placeholders_are_no_artist(name):
    assert artist_key(name) is None


def test_placeholders_are_in_their_normal_form():
    assert all(folded(name) == name for name in UNKNOWN_NAMES | NO_LABEL)


def test_the_most_frequent_spelling_is_taken():
    names = pd.Series(["rock", "Rock", "Rock", None, "ROCK", "jazz", "nan"], dtype=object)
    assert spelled_alike(names, class_key).tolist() == ["Rock", "Rock", "Rock", None, "Rock", "jazz", None]


def test_merged_classes_and_placeholders_are_noted():
    labels = pd.Series(["Forró", "Forro\u0301", "Rock", "rock", "Rock", "nan", None, "Hip-Hop"], dtype=object)
    names, notes = class_names(labels)
    assert names.tolist() == ["Forró", "Forró", "Rock", "Rock", "Rock", None, None, "Hip-Hop"]
    assert [note.split()[0] for note in notes] == ["1", "2"]
    assert "nan" in notes[0]
    assert "rock" in notes[1]
    unchanged = pd.Series(["a", "b", None, "a"], dtype=object)
    names, notes = class_names(unchanged)
    assert (names.tolist(), notes) == (unchanged.tolist(), [])


def test_artists_written_in_several_ways_are_noted():
    artists = pd.Series(["X", "x", "X feat. Y", "Z", "VA", "-1", "VA", None], dtype=object)
    placeholders, spellings = artist_notes(artists)
    assert placeholders.split()[0] == "3"
    assert spellings.split()[0] == "1"
    assert artist_notes(pd.Series(["a", "b", None], dtype=object)) == []
