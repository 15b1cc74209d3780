"""HTML built from elements, so that no text is ever parsed as markup."""

from __future__ import annotations

from xml.etree import ElementTree

from musicreclass.errors import printable

Element = ElementTree.Element


def tag(name: str, *children: Element | str | None, **attributes: object) -> Element:
    """Create an element.

    Args:
        name: the HTML tag.
        children: elements, and text to be escaped; None is skipped.
        attributes: `class_` becomes `class`, `data_v` becomes `data-v`; None is skipped.
    """
    element = Element(
        name,
        {
            key.rstrip("_").replace("_", "-"): printable(str(value))
            for key, value in attributes.items()
            if value is not None
        },
    )
    last: Element | None = None
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            if last is None:
                element.text = (element.text or "") + printable(child)
            else:
                last.tail = (last.tail or "") + printable(child)
        else:
            element.append(child)
            last = child
    return element


def to_html(element: Element) -> str:
    """Serialize an element."""
    return ElementTree.tostring(element, encoding="unicode", method="html")


def scroll_box(table: Element, label: str, tall: bool = False) -> Element:
    """Wrap a table in a box that scrolls sideways; a tall one has a limited height too.

    Args:
        table: the table.
        label: its name for screen readers.
        tall: whether to limit the height.
    """
    return tag("div", table, class_="scroll tall" if tall else "scroll", tabindex="0", role="region", aria_label=label)
