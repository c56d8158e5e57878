"""What the tests of the SDK share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory; `tmp_path` can be too long for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="sd-"))
    yield directory
    shutil.rmtree(directory)
