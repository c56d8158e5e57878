"""The documents point at files and headings that exist, and their figures are those of the pages that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for pattern in ("*.md", "docs/*.md", "clients/*.md") for path in ROOT.glob(pattern))
METHODS = ROOT / "docs" / "methods.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" not in target:
            file, _, heading = target.partition("#")
            found = page.parent / file if file else page
            assert found.exists(), f"{page.name} links to {target}"
            assert not heading or heading in anchors(found), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_figures_of_the_methods_stand_on_their_pages() -> None:
    for section in re.split(r"^## ", METHODS.read_text(), flags=re.MULTILINE)[1:]:
        page = re.search(r"\]\(([\w.]+)", section)
        assert page is not None, section
        text = (METHODS.parent / page[1]).read_text()
        for row in re.findall(r"^\|(.*)\|$", section, re.MULTILINE)[2:]:
            here, command = (cell.strip() for cell in row.split("|")[2:])
            for figure in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", here):
                assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d])", text), f"{page[1]} has no {figure}: {here}"
            assert command.strip("`") in text, f"{page[1]} has no {command}"
