"""Engines by name, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from schedulerd.errors import ConfigError
from schedulerd.serving.engines.factory import make_engine

ROOT = Path(__file__).resolve().parents[3]


def python(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_gives_the_engine_of_that_name() -> None:
    """The name is that of the artifacts it runs."""
    engine = make_engine("onnxruntime", threads=1)
    assert engine.name == "onnxruntime"
    assert engine.version()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    """A typing mistake in the configuration."""
    with pytest.raises(ConfigError, match="'onnx' is unknown; choose one of onnxruntime, torch"):
        make_engine("onnx")


def test_without_torch_the_message_says_how_to_get_it() -> None:
    """`None` in sys.modules makes the import fail as if the package were absent."""
    program = """
import sys
sys.modules["torch"] = None
from schedulerd.errors import ConfigError
from schedulerd.serving.engines.factory import make_engine
try:
    make_engine("torch")
except ConfigError as error:
    print(error)
"""
    assert "needs torch, which is not installed: pip install 'schedulerd[torch]'" in python(program)


def test_the_onnxruntime_engine_runs_without_torch() -> None:
    """Torch is 2 s and 220 MB that a board need not spend."""
    program = """
import sys
from schedulerd.serving.engines.factory import make_engine
make_engine("onnxruntime")
print("torch" in sys.modules)
"""
    assert python(program).strip() == "False"
