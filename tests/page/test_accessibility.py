"""Everybody can use it: axe-core finds nothing serious, it fits 400 px, colours are told apart."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.recordings import FIRST, LONG, SECOND
from tests.page.visiting import drawn
from tests.serving import require

AXE = Path(__file__).parents[2] / ".browser/node_modules/axe-core/axe.min.js"
VIEWS = {
    "list": "/?search=sft",
    "job": f"/?job={FIRST}",
    "comparison": f"/?job={FIRST}&job={SECOND}",
    "nothing": "/?search=nobody-has-this",
    "missing": "/?job=ft-nobody",
}


def shown(page: Page, view: str) -> None:
    page.goto(VIEWS[view])
    if view in ("job", "comparison"):
        drawn(page, "loss")
    expect(page.locator("main")).to_be_visible()
    expect(page.locator("h1").first).not_to_be_empty()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(page: Page, view: str, scheme: Any) -> None:
    require(AXE.is_file(), "axe-core is not there (scripts/browser)")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    shown(page, view)
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [400, 900])
def test_a_narrow_window_is_enough(page: Page, view: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    shown(page, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_is_reached_by_the_tab_key(page: Page) -> None:
    page.goto(f"/?job={LONG}")
    drawn(page, "loss")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                """() => { const e = document.activeElement;
                return e.getAttribute('aria-label') ?? e.textContent.trim() ?? ''; }"""
            )
        )
    assert reached >= {
        "Jobs", "Share", "Export", "Smoothing", "Chart of loss", "log: Logarithmic y axis, loss",
        "save: Download loss", "Chart of grad_norm",
    }  # fmt: skip


# ---------------------------------------------------------------- colours

SIMULATIONS = {
    "as most see": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""Machado, Oliveira and Fernandes (2009), severity 1, on linear sRGB."""
APART = 0.08
"""The least distance of two lines in OKLab; 0.02 is about what can just be told."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_stand_out_and_are_told_apart_by_the_colour_blind(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    palette = page.evaluate("import('/page/colours.js').then(colours => colours.palette())")
    ground = linear(palette["ground"])
    jobs = [linear(colour) for colour in palette["lines"]]
    pair = [linear(palette["train"]), linear(palette["eval"])]
    assert [
        contrast(colour, ground) for colour in jobs + pair if contrast(colour, ground) < 3
    ] == []
    for matrix in SIMULATIONS.values():
        for group in (jobs, pair):
            seen = [oklab(apply(matrix, colour)) for colour in group]
            assert min(math.dist(a, b) for a, b in itertools.combinations(seen, 2)) > APART


def linear(colour: str) -> tuple[float, ...]:
    """`#rrggbb` as linear red, green and blue."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """As WCAG 2 has it."""
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: tuple[float, ...]) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def apply(matrix: Any, colour: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sum(m * c for m, c in zip(row, colour, strict=True)) for row in matrix)


def oklab(colour: tuple[float, ...]) -> tuple[float, ...]:
    """Ottosson's OKLab."""
    cones = apply(
        (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        ),
        colour,
    )
    roots = tuple(math.copysign(abs(value) ** (1 / 3), value) for value in cones)
    return apply(
        (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        ),
        roots,
    )
