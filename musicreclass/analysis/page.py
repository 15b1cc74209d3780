"""The analysis as one self-contained HTML page: figures and example recordings are inside, and there is no script."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from musicreclass.analysis.clips import encode_clip
from musicreclass.analysis.dataset import Analysis
from musicreclass.analysis.page_tables import (
    alone_table,
    association_table,
    correlated_table,
    formats_table,
    genre_table,
    missing_table,
    suspicious_table,
)
from musicreclass.analysis.spectrograms import Spectra
from musicreclass.analysis.wording import (
    LEAKS,
    NOT_READ,
    association_text,
    balance_text,
    data_text,
    duration_text,
    format_lines,
    labels_name,
    leak_lines,
    left_out_lines,
    split_text,
)
from musicreclass.comparison.render.document import html_document
from musicreclass.comparison.render.markup import Element, scroll_box, tag
from musicreclass.comparison.render.overview import LEAK_COLOURS
from musicreclass.comparison.render.page_tables import badge
from musicreclass.plurals import agreeing, counted
from musicreclass.version import __version__

STYLE = Path(__file__).with_name("page.css")
MAX_BAD_FILES = 50


def render_page(analysis: Analysis, images: dict[str, bytes]) -> str:
    """The HTML of the page.

    Args:
        analysis: of a dataset.
        images: the figures as PNG, by the name of their file.
    """
    summary = analysis.summary
    sections = [
        overview(summary),
        suggestion_section(summary),
        genre_section(summary),
        leak_section(summary),
        left_out_section(summary),
        duration_section(summary, images),
        format_section(summary),
        column_section(summary, images),
        *spectrogram_sections(analysis.spectra, images),
    ]
    body = tag("main", *sections, tag("p", f"musicreclass {__version__}. {NOT_READ}", class_="note"))
    return html_document(f"Analysis of {summary['data']}", body, styles=(STYLE,))


def section(name: str, title: str, *children: Element | str | None) -> Element:
    """A section with an id and a heading."""
    return tag("section", tag("h2", title), *children, id=name)


def lines(texts: list[str]) -> Element | None:
    """A list of lines; None if there are none."""
    return tag("ul", *(tag("li", text) for text in texts), class_="lines") if texts else None


def number(value: str, label: str) -> Element:
    """A number with its meaning."""
    return tag("div", tag("b", value), tag("span", label))


def figure(image: bytes, caption: str, description: str) -> Element:
    """A figure inside the page."""
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return tag("figure", tag("figcaption", caption), scroll_box(tag("img", src=source, alt=description), description))


def overview(summary: dict[str, Any]) -> Element:
    """The size of the data, and why training refuses it, if it does."""
    colour = LEAK_COLOURS[summary["protocol"]["leaky"]]
    balance, durations = summary["balance"], summary["durations"]
    numbers = [
        number(f"{summary['tracks']['total']:,}", agreeing(summary["tracks"]["total"], "track")),
        number(str(len(summary["classes"])), agreeing(len(summary["classes"]), labels_name(summary))),
    ]
    if balance["ratio"] is not None:
        numbers.append(number(f"{balance['ratio']:.3g}", "imbalance ratio"))
        numbers.append(number(f"{balance['effective_classes']:.2f}", "effective classes"))
    if durations is not None:
        numbers.append(number(f"{durations['hours']:.2f} h", "of train and valid"))
    if summary["columns"] is not None:
        numbers.append(
            number(str(summary["columns"]["columns"]), agreeing(summary["columns"]["columns"], "feature column"))
        )
    refusal = summary["refusal"]
    return tag(
        "header",
        tag("h1", data_text(summary)),
        tag("p", f"{split_text(summary)}; split {summary['protocol']['split']} ", badge(LEAKS[summary["protocol"]["leaky"]].partition(":")[0], colour)),
        tag("div", *numbers, class_="numbers"),
        None if refusal is None else tag("p", tag("b", "Training is refused: "), refusal["message"], class_="alert"),
    )  # fmt: skip


def suggestion_section(summary: dict[str, Any]) -> Element:
    """The overrides with their reasons."""
    items = [
        tag("li", tag("code", suggestion["override"]), tag("span", suggestion["reason"]))
        for suggestion in summary["suggestions"]
    ]
    content = tag("ul", *items, class_="suggestions") if items else tag("p", "None.", class_="muted")
    return section("suggestions", "Suggested overrides", content)


def genre_section(summary: dict[str, Any]) -> Element:
    """Counts per genre and split."""
    legend = tag("div", *(tag("span", split, class_=split) for split in ("train", "valid", "test")), class_="legend")
    table = scroll_box(genre_table(summary["classes"]), "tracks per genre and split", tall=len(summary["classes"]) > 20)
    return section(
        "genres", f"{labels_name(summary).capitalize()}s", tag("p", balance_text(summary), class_="note"), legend, table
    )


def leak_section(summary: dict[str, Any]) -> Element:
    """Whether the split leaks, and why."""
    first, *rest = leak_lines(summary["protocol"])
    checked = ", ".join(summary["protocol"]["checked"])
    note = tag("p", f"Compared between splits: {checked}.", class_="note") if checked else None
    return section("leaks", "Leaks between splits", tag("p", first), lines(rest), note)


def left_out_section(summary: dict[str, Any]) -> Element | None:
    """Tracks that are left out, bad files, and notes; None if there are none."""
    bad, reasons = summary["bad_files"], summary["bad_file_reasons"]
    rows = [
        tag("tr", tag("td", path, class_="text"), tag("td", reason))
        for path, reason in list(bad.items())[:MAX_BAD_FILES]
    ]
    parts: list[Element | None] = [lines(left_out_lines(summary))]
    if rows:
        head = tag("thead", tag("tr", tag("th", "file"), tag("th", "reason")))
        box = scroll_box(tag("table", head, tag("tbody", *rows)), "bad files", tall=len(rows) > 12)
        total = sum(reasons.values())
        more = f"; the first {len(rows)} are listed" if total > len(rows) else ""
        parts += [
            tag("h3", "Bad files"),
            tag("p", f"{counted(total, 'file')} cannot be used{more}.", class_="note"),
            box,
        ]
    if summary["notes"]:
        parts += [tag("h3", "Notes"), lines(summary["notes"])]
    present = [part for part in parts if part is not None]
    if len(present) == 2 and summary["notes"]:  # nothing is left out
        return section("left-out", "Notes", present[1])
    return section("left-out", "Left-out tracks and notes", *present) if present else None


def duration_section(summary: dict[str, Any], images: dict[str, bytes]) -> Element | None:
    """Durations by genre; None if they are not known."""
    if summary["durations"] is None:
        return None
    text = duration_text(summary["durations"])
    if "durations" not in images:
        return section("durations", "Durations", tag("p", text))
    return section(
        "durations", "Durations", figure(images["durations"], text, "box plots of the durations of each genre")
    )


def format_section(summary: dict[str, Any]) -> Element | None:
    """Formats by genre and their association with it; None for a table."""
    formats = summary["formats"]
    if formats is None:
        return None
    parts: list[Element | None] = [lines(format_lines(formats))]
    if formats["association"]:
        verdict = badge("yes", "bad") if formats["tells_genre"] else badge("no", "good")
        parts += [
            tag("h3", "Can the genre be predicted from the format? ", verdict),
            tag("p", association_text(formats), class_="note"),
        ]
        parts.append(scroll_box(association_table(formats), "association of the format with the genre"))
    for property_name in formats["per_class"]:
        table = formats_table(formats, property_name)
        if table is not None:
            box = scroll_box(table, f"{property_name} by genre", tall=len(summary["classes"]) > 20)
            parts += [tag("h3", f"{property_name.capitalize()} by genre"), box]
    return section("formats", "Formats of the files", *parts)


def column_section(summary: dict[str, Any], images: dict[str, bytes]) -> Element | None:
    """Columns of a table, and the projection; None for recordings without features."""
    columns = summary["columns"]
    if columns is None:
        return None
    tables = {
        "Suspicious columns": suspicious_table(columns),
        "Best columns alone": alone_table(columns),
        "Missing values": missing_table(columns),
        "Correlated pairs": correlated_table(columns),
    }
    shown = [
        tag("div", tag("h3", title), scroll_box(table, title, tall=True))
        for title, table in tables.items()
        if table is not None
    ]
    constant = columns["constant"]
    caption = (
        "First two principal components, fitted to standardised features of training tracks; train and valid are drawn, without "
        "the outermost percent of the points."
    )
    picture = (
        figure(images["projection"], caption, "scatter plot of tracks by genre") if "projection" in images else None
    )
    return section(
        "features",
        "Features",
        tag(
            "p",
            f"{counted(columns['columns'], 'column')}, {counted(columns['rows'], 'row')} of train and valid.",
            class_="note",
        ),
        tag("p", f"Constant columns: {', '.join(constant[:50])}{', ...' if len(constant) > 50 else ''}.")
        if constant
        else None,
        picture,
        tag("div", *shown, class_="columns"),
    )


def spectrogram_sections(spectra: Spectra | None, images: dict[str, bytes]) -> list[Element]:
    """Mean spectra and spectrograms of the genres, and an example of each with a player."""
    if spectra is None:
        return []
    limit = max(spectra.tracks.values())
    caption = f"Mean log-mel spectrum of each genre, less the mean of all genres (at most {limit} tracks per genre)."
    means = section(
        "spectrograms",
        "Spectra",
        figure(images["mean_spectra"], caption, "mean spectrum of each genre, as a heat map"),
        figure(
            images["mean_spectrograms"],
            "Mean spectrogram, with the number of tracks.",
            "mean spectrogram of each genre",
        ),
    )
    cards = []
    for i, example in enumerate(spectra.examples, start=1):
        kind, content = encode_clip(example.samples, spectra.sample_rate)
        source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        image = f"data:image/png;base64,{base64.b64encode(images[f'example_{i:02d}']).decode()}"
        cards.append(
            tag(
                "figure",
                tag("figcaption", tag("b", example.target), f" {example.track_id}"),
                tag("img", src=image, alt=f"spectrogram of {example.track_id}"),
                tag(
                    "audio",
                    src=source,
                    controls="",
                    preload="metadata",
                    aria_label=f"{example.target}: {example.track_id}",
                ),
            )
        )
    note = tag("p", "Of the tracks read, the one with the spectrum nearest to its genre's mean.", class_="note")
    return [means, section("examples", "Examples", note, tag("div", *cards, class_="examples"))]
