"""Engines beside the main one: which there are, and that they compute what the main one does."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from schedulerd.errors import ConfigError, EngineError
from schedulerd.serving.engines.alternates import engine_of, engines_for
from schedulerd.serving.engines.base import Array, Engine
from tests.profiles import tiny
from tests.serving.engines.test_factory import python

TOLERANCE = 1e-4
"""Of an output's largest number: what float32 sums in another order may differ by."""


def kinds(engines: Sequence[Engine]) -> list[tuple[str, int]]:
    """Name and threads of each."""
    return [(engine.name, engine.threads) for engine in engines]


@pytest.mark.parametrize(("threads", "expected"), [(1, [1]), (2, [2, 1]), (3, [3, 1]), (4, [4, 2, 1]), (6, [6, 3, 1])])
def test_onnxruntime_is_tried_with_fewer_threads_as_well(threads: int, expected: list[int]) -> None:
    """The main engine comes first, and no thread count twice."""
    assert kinds(engines_for("onnxruntime", threads)) == [("onnxruntime", count) for count in expected]


def test_a_row_is_run_by_the_engine_and_threads_that_it_names() -> None:
    """Which the profile found to be the quickest."""
    engines = engines_for("onnxruntime", 4)
    assert engine_of(engines, "onnxruntime", 2) is engines[1]


def test_a_row_of_another_board_is_run_by_the_main_engine() -> None:
    """It has a thread count that no lane has here."""
    engines = engines_for("onnxruntime", 2)
    assert engine_of(engines, "onnxruntime", 16) is engines[0]


def test_a_row_of_an_engine_that_is_not_running_is_refused() -> None:
    """The table is older than the configuration."""
    with pytest.raises(EngineError, match="asks for the engine torch, and onnxruntime is running"):
        engine_of(engines_for("onnxruntime", 1), "torch", 1)


def test_fewer_threads_give_the_same_output(tmp_path: Path) -> None:
    """Of a convolution that is large enough to be shared out."""
    weights = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    (tmp_path / "blob").write_bytes(tiny.convolution(weights, side=32))
    array = np.random.default_rng(1).standard_normal((1, 16, 32, 32)).astype(np.float32)
    expected, *others = (e.fetch(e.load(tmp_path / "blob").run(array)) for e in engines_for("onnxruntime", 4))
    assert len(others) == 2
    for other in others:
        assert_close(other, expected)


def assert_close(output: Array, expected: Array) -> None:
    """Equal within `TOLERANCE`."""
    assert output.shape == expected.shape
    assert np.abs(output - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_torch_cannot_stand_beside_itself() -> None:
    """Its thread count is of the whole process."""
    with pytest.raises(ConfigError, match=r"leave it out of \[engine\] also"):
        engines_for("torch", 1, also=("torch",))


def test_without_torch_the_message_says_how_to_get_it() -> None:
    """Only where it was configured: without it, nothing is said."""
    program = """
import sys
sys.modules["torch"] = None
from schedulerd.errors import ConfigError
from schedulerd.serving.engines.alternates import engines_for
assert len(engines_for("onnxruntime", 1)) == 1
try:
    engines_for("onnxruntime", 1, also=("torch",))
except ConfigError as error:
    print(error)
"""
    assert "needs torch, which is not installed: pip install 'schedulerd[torch]'" in python(program)


class TestTorchBesideOnnxruntime:
    """Blocks of one route on two engines."""

    WEIGHTS = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float32)
    ARRAY = np.random.default_rng(1).standard_normal((1, 8, 8, 8)).astype(np.float32)

    @pytest.fixture
    def engines(self) -> tuple[Engine, ...]:
        pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")
        return engines_for("onnxruntime", 1, also=("torch",))

    @pytest.fixture
    def files(self, tmp_path: Path) -> Path:
        """One convolution for each engine."""
        from tests.serving.engines.test_torch import convolution

        (tmp_path / "torch").write_bytes(convolution(self.WEIGHTS))
        (tmp_path / "onnxruntime").write_bytes(tiny.convolution(self.WEIGHTS))
        return tmp_path

    @pytest.mark.parametrize("order", ["oto", "tto", "ott", "ttt"])
    def test_a_route_may_change_engines_at_any_block(
        self, engines: tuple[Engine, ...], files: Path, order: str
    ) -> None:
        """Each engine takes what the other one gives, in whatever order it lies in memory."""
        main = engines[0]
        by_letter = {"o": main, "t": engine_of(engines, "torch", 1)}
        mixed = expected = main.feed(self.ARRAY)
        for letter in order:
            engine = by_letter[letter]
            mixed = engine.load(files / engine.name).run(mixed)
            expected = main.load(files / "onnxruntime").run(expected)
        output = main.fetch(mixed)
        assert_close(output, expected)
        assert output.flags.c_contiguous, "it goes to the client as bytes"

    def test_torch_blocks_hand_on_their_memory(self, engines: tuple[Engine, ...], files: Path) -> None:
        """Nothing is copied between two of them: the order is channels-last, which a C-contiguous copy would not be."""
        block = engine_of(engines, "torch", 1).load(files / "torch")
        features = block.run(self.ARRAY)
        assert not features.flags.c_contiguous
        assert not features.flags.owndata, "it is the tensor's memory"

    def test_a_read_only_frame_is_taken_without_a_warning(self, engines: tuple[Engine, ...], files: Path) -> None:
        """A frame is a view of the message that it came in."""
        frame = np.frombuffer(self.ARRAY.tobytes(), np.float32).reshape(self.ARRAY.shape)
        block = engine_of(engines, "torch", 1).load(files / "torch")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            output = block.run(frame)
        assert_close(output, engines[0].load(files / "onnxruntime").run(self.ARRAY))

    def test_a_head_takes_and_gives_arrays(self, engines: tuple[Engine, ...], tmp_path: Path) -> None:
        """With the confidence as a number."""
        import torch

        from blockstore import torchform
        from tests.serving.engines.test_torch import HeadOfOne

        path = tmp_path / "head"
        path.write_bytes(torchform.save(torch.fx.symbolic_trace(HeadOfOne().eval())))
        features = np.ones((1, 4, 8, 8), np.float32)
        output, confidence = engine_of(engines, "torch", 1).load_head(path).run([features])
        assert isinstance(output, np.ndarray)
        assert 0 < confidence <= 1
