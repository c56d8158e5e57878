"""Every run is announced, and everything else is as the engine does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schedulerd.profiling.announced import AnnouncedEngine
from tests.profiles.scripted import Clock, Ledger, engine_of


def test_loading_and_every_run_are_announced() -> None:
    """Of blocks, of copies of them, and of heads."""
    ledger, inner = Ledger(), engine_of(Clock(), {"a": 0.001, "h": 0.001})
    engine = AnnouncedEngine(inner, {Path("a"): "A", Path("h"): "H"}, ledger)
    frame = engine.feed(np.zeros((1, 2), np.uint8))
    for block in (engine.load(Path("a")), engine.load_apart(Path("a"))):
        block.run(frame)
        block.run(frame)
    _, confidence = engine.load_head(Path("h")).run([frame])
    assert ledger.begun == ["A", None] * 6 + ["H", None] * 2
    assert confidence == 0.5
    assert (engine.name, engine.threads, engine.version()) == (inner.name, inner.threads, inner.version())


def test_what_failed_is_over() -> None:
    """An error is no crash."""
    ledger, inner = Ledger(), engine_of(Clock(), {})
    engine = AnnouncedEngine(inner, {Path("a"): "A"}, ledger)
    with pytest.raises(ValueError, match="rotten"):
        engine.load(Path("a"))
    assert ledger.begun == ["A", None]
