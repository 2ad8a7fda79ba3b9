"""Charts as SVG that every viewer of notebooks shows alike, and that weighs little."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "eye of newt",
    "path.simplify_threshold": 0.2,
}
# Of the course's figures; Verdana, whose letters are as wide, is where DejaVu is not.
FONTS = "DejaVu Sans, Verdana, sans-serif"
POINTS_PER_PIXEL = 0.75  # of CSS
CIRCLE_CURVES = 8  # in Matplotlib's path of a circle
NUMBERS = {"d", "transform", "x", "y", "cx", "cy", "r", "width", "height"}
INHERITED = {"fill", "stroke", "stroke-width", "stroke-linecap", "font-size"}

Element = ElementTree.Element


def svg_of(fig: Figure, alt: str) -> str:
    """A figure as SVG. The same figure gives the same text.

    GitHub and nbviewer put the SVG into their page, and take from it what could do harm: style
    sheets, the values of `style`, and `use`, with which Matplotlib repeats a marker. Here looks are
    attributes, and each marker is a path of its own.

    Args:
        fig: without pictures.
        alt: what it shows, in words.
    """
    file = io.StringIO()
    with mpl.rc_context(SETTINGS):
        fig.savefig(file, format="svg", metadata={"Date": None})
    page = ElementTree.fromstring(file.getvalue())
    _draw_markers(page)
    _drop_unused(page)
    for element in page.iter():
        _write_plainly(element)
    for group in page.iter(f"{SVG}g"):
        _share_looks(group)
    width, height = fig.get_size_inches() * 72
    page.attrib = {
        "width": f"{width / POINTS_PER_PIXEL:.0f}",
        "height": f"{height / POINTS_PER_PIXEL:.0f}",
        "viewBox": f"0 0 {width:.2f} {height:.2f}",
        "role": "img",
        "aria-label": alt,
        "font-family": FONTS,
        "stroke-linejoin": "round",
    }
    ElementTree.register_namespace("", SVG.strip("{}"))
    return ElementTree.tostring(page, encoding="unicode")


def _draw_markers(page: Element) -> None:
    """Put the marker itself in the place of each `use`."""
    markers = {path.get("id"): path for path in page.iter(f"{SVG}path") if path.get("id")}
    for use in list(page.iter(f"{SVG}use")):
        marker = markers[use.attrib.pop(HREF).removeprefix("#")]
        shape = marker.get("d", "")
        x, y = use.attrib.pop("x"), use.attrib.pop("y")
        use.set("style", f"{use.get('style', '')};{marker.get('style', '')}")
        if shape.count("C") == CIRCLE_CURVES:
            radius = shape.split()[2]  # it begins "M 0 radius"
            use.tag = f"{SVG}circle"
            use.attrib |= {"cx": x, "cy": y, "r": radius}
        else:
            use.tag = marker.tag
            use.attrib |= {"d": shape, "transform": f"translate({x} {y})"}


def _drop_unused(page: Element) -> None:
    """Drop what is not seen: metadata, style sheets, definitions but those of clipping."""
    for parent in list(page.iter()):
        for child in list(parent):
            is_clip = child.find(f"{SVG}clipPath") is not None
            if child.tag == f"{SVG}metadata" or (child.tag == f"{SVG}defs" and not is_clip):
                parent.remove(child)


def _write_plainly(element: Element) -> None:
    """Looks as attributes, two decimals, no names that nobody reads, no space between elements."""
    for part in element.attrib.pop("style", "").split(";"):
        name, _, value = part.partition(":")
        if value and name.strip() != "font-family":  # the page has one
            element.set(name.strip(), value.strip())
    if element.tag != f"{SVG}clipPath":
        element.attrib.pop("id", None)
    for name in NUMBERS & set(element.attrib):
        element.set(name, _shorten(element.attrib[name]))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if not (element.text or "").strip():
        element.text = None
    element.tail = None


def _share_looks(group: Element) -> None:
    """Say once what all elements of a group say."""
    first, *others = group or [group]
    for name in INHERITED & set(first.attrib):
        value = first.attrib[name]
        if others and all(other.get(name) == value for other in others):
            group.set(name, value)
            for element in group:
                del element.attrib[name]


def _shorten(numbers: str) -> str:
    """Coordinates, or a transform, with two decimals at most and without needless space.

    Examples:
        >>> _shorten("M 69.711099 235.6 \\nL 0.004 7 \\nz\\n")
        'M69.71 235.6L0 7z'
    """
    short = re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), 2):g}", numbers)
    short = re.sub(r"\s*([A-Za-z])\s*", r"\1", short) if "(" not in short else short
    return short.strip()
