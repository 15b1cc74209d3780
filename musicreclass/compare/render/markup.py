"""HTML from elements, so that no text can become markup."""

from __future__ import annotations

from xml.etree import ElementTree

from musicreclass.errors import printable

Element = ElementTree.Element


def tag(name: str, *children: Element | str | None, **attributes: object) -> Element:
    """An element.

    Args:
        name: as in HTML.
        children: text, which is escaped, and elements; None is left out.
        attributes: `class_` is `class`, `data_v` is `data-v`; None is left out.
    """
    found = Element(
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
                found.text = (found.text or "") + printable(child)
            else:
                last.tail = (last.tail or "") + printable(child)
        else:
            found.append(child)
            last = child
    return found


def html(element: Element) -> str:
    """An element as HTML."""
    return ElementTree.tostring(element, encoding="unicode", method="html")


def scrolling(table: Element, label: str, tall: bool = False) -> Element:
    """A table in a box of its own to scroll; a tall one up and down too."""
    return tag("div", table, class_="scroll tall" if tall else "scroll", tabindex="0", role="region", aria_label=label)
