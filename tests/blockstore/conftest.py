"""Fixtures of the store's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blockstore.samples import quick_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder in memory: hundreds of fsyncs on a disk that others use too would take minutes."""
    with quick_folder() as made:
        yield made
