"""The captured board."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

CAPTURED = Path(__file__).resolve().parents[2] / "proc"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A copy of the captured tree that a test may change."""
    return Path(shutil.copytree(CAPTURED, tmp_path / "proc"))
