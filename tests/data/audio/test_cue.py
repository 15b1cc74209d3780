"""CUE sheets: encodings, commands, and sheets that cannot be used."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.data.audio.cue import CueError, decode_sheet, parse_sheet

TITLES = st.text(
    st.characters(codec="utf-8", exclude_characters='"', exclude_categories=("C", "Z")), min_size=1, max_size=20
)
STARTS = st.lists(st.integers(0, 75 * 60 * 99), min_size=1, max_size=30, unique=True).map(sorted)


def time(frames: int) -> str:
    return f"{frames // 4500:02d}:{frames // 75 % 60:02d}:{frames % 75:02d}"


def sheet(tracks: list[tuple[str, str, int]], name: str = "CDImage.wav", artist: str = "A", title: str = "Disc") -> str:
    """A sheet with title, performer and start of each track."""
    lines = ["REM GENRE Pop", f'PERFORMER "{artist}"', f'TITLE "{title}"', f'FILE "{name}" WAVE']
    for number, (track, performer, start) in enumerate(tracks, start=1):
        lines += [f"  TRACK {number:02d} AUDIO", f'    TITLE "{track}"', f'    PERFORMER "{performer}"']
        lines += [f"    INDEX 01 {time(start)}"]
    return "\r\n".join(lines) + "\r\n"


@given(STARTS, st.data())
def test_a_sheet_is_read_as_it_was_written(starts, data):
    tracks = [(data.draw(TITLES), data.draw(TITLES), start) for start in starts]
    (file,) = parse_sheet(sheet(tracks)).files
    assert file.name == "CDImage.wav"
    assert [(t.title, t.performer, t.start) for t in file.tracks] == tracks
    assert [t.number for t in file.tracks] == list(range(1, len(tracks) + 1))


@pytest.mark.parametrize(("encoding", "names"), [
    ("gb18030", ["周杰伦", "晴天", "以父之名", "东风破"]),
    ("gb18030", ["群星", "红豆"]),
    ("gb18030", ["Beyond", "海阔天空", "光辉岁月"]),
    ("gb2312", ["邓丽君", "月亮代表我的心"]),
    ("shift_jis", ["宇多田ヒカル", "時間がたつにつれ", "甘いワナ"]),
    ("shift_jis", ["椎名林檎", "正しい街", "歌舞伎町の女王"]),
    ("latin-1", ["Édith Piaf", "Hymne à l'amour", "La Vie en rose"]),
    ("latin-1", ["João Gilberto", "Chega de Saudade"]),
    ("latin-1", ["Motörhead", "Ace of Spades"]),
    ("cp1251", ["Кино", "Группа крови", "Звезда по имени Солнце"]),
    ("big5", ["鄧麗君", "甜蜜蜜", "月亮代表我的心"]),
    ("cp949", ["아이유", "좋은 날", "밤편지"]),
])  # fmt: skip
def test_encodings_are_detected(encoding, names):
    text = sheet([(name, names[0], 75 * i) for i, name in enumerate(names[1:])], artist=names[0])
    assert decode_sheet(text.encode(encoding)) == text
    assert decode_sheet(text.encode()) == text
    for mark, form in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        assert decode_sheet(mark + text.encode(form)) == text


def test_files_tracks_and_pregaps():
    text = """
        FILE 01.wav WAVE
          TRACK 01 AUDIO
            FLAGS DCP
            INDEX 00 00:00:00
            INDEX 01 00:02:00
          TRACK 02 AUDIO
            TITLE Two Words
            INDEX 00 03:00:00
        FILE "02 \"b\".wav" WAVE
            INDEX 01 00:00:00
            INDEX 02 00:10:00
          TRACK 03 MODE1/2352
            INDEX 01 05:00:74
    """
    first, second = parse_sheet(text).files
    assert (first.name, [t.start for t in first.tracks]) == ("01.wav", [150])
    assert (second.name, [t.start for t in second.tracks]) == ('02 "b".wav', [0, 300 * 75 + 74])
    assert [t.is_audio for t in second.tracks] == [True, False]
    assert second.tracks[0].title == "Two Words"


@pytest.mark.parametrize("text", [
    "",
    "TITLE x",
    'FILE "a.wav" WAVE',
    "TRACK 01 AUDIO\nINDEX 01 00:00:00",
    'FILE "a.wav" WAVE\nTRACK 01 AUDIO\nINDEX 00 00:00:00',
    'FILE "a.wav" WAVE\nTRACK 01 AUDIO\nTRACK 02 AUDIO\nINDEX 01 00:00:00',
    'FILE "a.wav" WAVE\nTRACK xx AUDIO\nINDEX 01 00:00:00',
    'FILE "a.wav" WAVE\nTRACK 01 AUDIO\nINDEX 01 00:61:00',
    'FILE "a.wav" WAVE\nTRACK 01 AUDIO\nINDEX 01 00:00:75',
    'FILE "a.wav" WAVE\nTRACK 01 AUDIO\nINDEX 01 -1:00:00',
    sheet([("a", "b", 750), ("c", "d", 75)]),
    sheet([("a", "b", 75), ("c", "d", 75)]),
    sheet([("a", "b", i) for i in range(1000)]),
])  # fmt: skip
def test_malformed_sheets_are_rejected(text):
    with pytest.raises(CueError):
        parse_sheet(text)


WORDS = st.sampled_from(['FILE "a" WAVE', "TRACK 01 AUDIO", "TRACK", "INDEX 01 00:00:00", "INDEX 01 9999:59:74", "INDEX", "INDEX \u0661 0",
                         'TITLE "', "PERFORMER", "\x00", "\u2028", "FILE", '"', "REM"])  # fmt: skip


@given(st.one_of(st.binary(max_size=300), st.lists(WORDS, max_size=12).map(lambda lines: "\n".join(lines).encode())))
def test_any_bytes_give_a_sheet_or_an_error(content):
    text = decode_sheet(content)
    assert decode_sheet(content) == text
    try:
        files = parse_sheet(text).files
    except CueError:
        return
    starts = [[track.start for track in file.tracks] for file in files]
    assert any(starts)
    assert all(None not in several and several == sorted(set(several)) for several in starts)


def test_titles_have_no_escape_sequences():
    (file,) = parse_sheet(sheet([("\x1b[31mRed\x07", "\x00A", 0)])).files
    assert (file.tracks[0].title, file.tracks[0].performer) == ("[31mRed", "A")
