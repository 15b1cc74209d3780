"""Fonts that have the characters of a figure's text, such as class names in Chinese."""

from __future__ import annotations

from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from musicreclass.errors import notices

DEFAULT = "DejaVu Sans"
FALLBACKS = (  # in this order, those that are installed
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Arial Unicode MS",
)  # fmt: skip
PLACEHOLDERS = "Last Resort High-Efficiency"  # part of matplotlib; has a box for every character


def choose_fonts(figure: Figure) -> None:
    """Let a figure's text use installed fonts that have its characters; print once which characters none has."""
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and not text.get_text().isascii()]
    missing = {character for text in texts for character in text.get_text()} - characters_of(DEFAULT) - {"\n"}
    families = [DEFAULT]
    for family in FALLBACKS:
        if missing & characters_of(family):
            families.append(family)
            missing -= characters_of(family)
    if missing:
        warn_of("".join(sorted(missing)))
        families.append(PLACEHOLDERS)
    for text in texts if len(families) > 1 else []:
        text.set_fontfamily(families)


@cache
def characters_of(family: str) -> frozenset[str]:
    """The characters that a font has; empty if it is not installed."""
    files = [font.fname for font in font_manager.fontManager.ttflist if font.name == family]
    return frozenset(map(chr, FT2Font(files[0]).get_charmap())) if files else frozenset()


@cache
def warn_of(characters: str) -> None:
    """Print that some characters are drawn as boxes; once for the same ones."""
    shown = characters[:20] + ("..." if len(characters) > 20 else "")
    notices.warning("figures: no installed font has %s; install one, such as Noto Sans CJK", shown)
