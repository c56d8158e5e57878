"""Memory that a block keeps, and memory that it needs while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blockprofiles.bench import Bench, Key, Setting, set_up
from blockprofiles.listener import Silent
from blockprofiles.resident import BYTES_PER_BLOCK, arena_bytes, grown_bytes
from blockprofiles.touched import touched_bytes
from blockstore.block import Model, TensorSpec
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.alone import alone
from tests.profiles import tiny

UNTOLD = touched_bytes(lambda: None) is None
MB = 1_000_000


TOUCHING = """
import mmap
from blockprofiles.touched import touched_bytes

with mmap.mmap(-1, 8 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
    pages.write(b"1" * len(pages))
    run = lambda: sum(pages[start] for start in range(0, 3 * 2**20, mmap.PAGESIZE))
    nothing = min(touched_bytes(lambda: None) for _ in range(5))
    some = min(touched_bytes(run) for _ in range(5))
print(some - nothing)
"""
"""A mapping of 8 MB of which a run touches 3, whoever has touched it before."""


@pytest.mark.skipif(UNTOLD, reason="this kernel does not tell which pages are used")
def test_pages_that_are_read_or_written_are_counted_whoever_touched_them_before() -> None:
    """In a process of its own, as a worker is: what other threads and libraries touch would be counted as well."""
    done = subprocess.run([sys.executable, "-c", TOUCHING], capture_output=True, text=True, timeout=60, check=True)
    # The kernel may have put them on huge pages of 2 MB, which are touched whole.
    assert 2.9 * 2**20 < int(done.stdout) < 6.3 * 2**20


def test_without_growth_the_size_of_the_file_is_what_is_known() -> None:
    """A copy that takes nothing from the allocator, such as one in a file mapping."""
    assert grown_bytes(lambda: None, 5000) == BYTES_PER_BLOCK + 5000


def bench_of(folder: Path, side: int) -> Bench:
    """One convolution on frames of so many pixels a side, with 8 channels of 4 bytes."""
    folder.mkdir()
    files = tiny.Files(folder)
    spec = TensorSpec("float32", (8, side, side))
    artifact = files.put(tiny.convolution(np.ones((8, 8, 3, 3), np.float32), side))
    return set_up_here(tiny.model_of("net", {"only": (spec, spec, [artifact])}), files)


def needs_of_one(folder: Path, side: int) -> list[int]:
    """What the only block of `bench_of` needs while it runs."""
    return [*arena_bytes(bench_of(folder, side), Silent()).values()]


def set_up_here(model: Model, files: tiny.Files) -> Bench:
    """All of a model, loaded."""
    setting = Setting((OnnxEngine(),), files.path, lambda key: True, lambda digest: False, Silent())
    bench = set_up(model, setting)
    assert bench is not None
    return bench


def test_what_a_block_needs_while_it_runs_grows_with_its_tensors(tmp_path: Path) -> None:
    """At least what it takes and gives: 8 channels of 16 and of 256 pixels a side, 4 bytes each."""
    (small,) = alone(needs_of_one, tmp_path / "small", 16)
    (large,) = alone(needs_of_one, tmp_path / "large", 256)
    assert 2 * 8 * 16 * 16 * 4 <= small < 0.5 * MB
    assert 2 * 8 * 256 * 256 * 4 <= large < 8 * MB


def test_each_block_of_a_bench_has_its_own_need(tmp_path: Path) -> None:
    """By what it is run by as well."""
    files = tiny.Files(tmp_path)
    model = tiny.model_with_exits(files)
    needs = arena_bytes(set_up_here(model, files), Silent())
    assert set(needs) == {Key(digest, "onnxruntime", 1) for digest in model.digests()}
