"""The page of metrics says what the code says."""

from __future__ import annotations

from pathlib import Path

from schedulerd.metrics import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_page_lists_every_metric_as_it_is() -> None:
    assert reference.markdown() in PAGE.read_text(), "run: python -m schedulerd.metrics.reference"
