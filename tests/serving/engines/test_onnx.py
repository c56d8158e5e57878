"""The onnxruntime engine on real files."""

from __future__ import annotations

import math
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from blockprofiles.allocator import allocated_bytes_reader
from schedulerd.errors import EngineError
from schedulerd.serving.engines.onnx import OnnxBlock, OnnxEngine, OnnxHead
from tests.profiles import tiny


@pytest.fixture
def engine() -> OnnxEngine:
    """One thread, as in a lane on a small board."""
    return OnnxEngine(threads=1)


FEATURES = np.random.default_rng(5).standard_normal((1, *tiny.FEATURES.shape)).astype(np.float32)


def load_head(engine: OnnxEngine, folder: Path, data: bytes) -> OnnxHead:
    """The head of an ONNX file of these bytes."""
    path = folder / "head"
    path.write_bytes(data)
    return engine.load_head(path)


def load(engine: OnnxEngine, folder: Path, data: bytes) -> OnnxBlock:
    """The block of an ONNX file of these bytes."""
    path = folder / "blob"
    path.write_bytes(data)
    return engine.load(path)


def threads() -> int:
    """How many threads this process has (proc_pid_task(5))."""
    return len(list(Path("/proc/self/task").iterdir()))


def test_computes_what_the_graph_says_for_any_batch(engine: OnnxEngine, tmp_path: Path) -> None:
    """A 3x3 kernel with only its centre set scales its input, whatever the batch."""
    weights = np.zeros((1, 1, 3, 3), np.float32)
    weights[0, 0, 1, 1] = 3.0
    block = load(engine, tmp_path, tiny.convolution(weights))
    for batch in (1, 5):
        array = np.random.default_rng(0).standard_normal((batch, 1, 8, 8), np.float32)
        assert np.allclose(engine.fetch(block.run(engine.feed(array))), 3.0 * array)


def test_takes_arrays_that_are_read_only_or_strided(engine: OnnxEngine, tmp_path: Path) -> None:
    """A frame is a view of the message it came in, and a client may send a slice."""
    block = load(engine, tmp_path, tiny.identity((4,)))
    read_only = np.frombuffer(np.arange(4, dtype=np.float32).tobytes(), np.float32).reshape(1, 4)
    strided = np.arange(8, dtype=np.float32).reshape(1, 8)[:, ::2]
    assert engine.fetch(block.run(engine.feed(read_only))).tolist() == [[0, 1, 2, 3]]
    assert engine.fetch(block.run(engine.feed(strided))).tolist() == [[0, 2, 4, 6]]


def test_a_frame_in_mapped_memory_is_read_where_it_is(engine: OnnxEngine, tmp_path: Path) -> None:
    """Of a graph that takes the first rows only, no other pages are touched: nothing copies the frame before."""
    side = 1024
    helper, numbers = tiny.onnx.helper, tiny.onnx.TensorProto
    ends = [tiny.onnx.numpy_helper.from_array(np.array([n]), name) for name, n in (("from", 0), ("to", 4), ("axis", 1))]
    graph = helper.make_graph(
        [helper.make_node("Slice", ["input", "from", "to", "axis"], ["output"])],
        "rows",
        [helper.make_tensor_value_info("input", numbers.UINT8, ["batch", side, side])],
        [helper.make_tensor_value_info("output", numbers.UINT8, ["batch", 4, side])],
        ends,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    block = load(engine, tmp_path, model.SerializeToString())
    file = os.memfd_create("frame")
    try:
        os.truncate(file, side * side)
        frame = np.frombuffer(mmap.mmap(file, 0, prot=mmap.PROT_READ), np.uint8).reshape(1, side, side)
        assert engine.fetch(block.run(engine.feed(frame))).shape == (1, 4, side)
        assert 0 < os.fstat(file).st_blocks * 512 < side * side / 4
    finally:
        os.close(file)


def test_an_output_outlives_the_block_that_made_it(engine: OnnxEngine, tmp_path: Path) -> None:
    """A block may be evicted while its output is on its way to the client."""
    block = load(engine, tmp_path, tiny.identity((1000,)))
    output = engine.fetch(block.run(engine.feed(np.full((1, 1000), 7, np.float32))))
    del block
    other = load(engine, tmp_path, tiny.identity((1000,)))
    other.run(engine.feed(np.zeros((1, 1000), np.float32)))
    assert (output == 7).all()


def test_one_block_runs_from_several_threads_at_once(engine: OnnxEngine, tmp_path: Path) -> None:
    """Lanes share the blocks of a route."""
    block = load(engine, tmp_path, tiny.head(32))
    arrays = [np.random.default_rng(i).standard_normal((1, 4, 8, 8), np.float32) for i in range(40)]
    alone = [block.run(array) for array in arrays]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(block.run, arrays))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_blocks_of_one_thread_start_no_threads(engine: OnnxEngine, tmp_path: Path) -> None:
    """A block runs in the lane's own thread; pools would fight the other lanes for the cores."""
    before = threads()
    blocks = [load(engine, tmp_path, tiny.stem(8)) for _ in range(4)]
    for block in blocks:
        block.run(np.zeros((1, 8, 8, 1), np.uint8))
    assert threads() <= before  # fewer where a test before this one had threads that are only now gone


def test_two_threads_compute_the_same(engine: OnnxEngine, tmp_path: Path) -> None:
    """The number of threads changes the time, not the result."""
    array = np.random.default_rng(0).integers(0, 255, (1, 8, 8, 1), np.uint8)
    one, two = (load(e, tmp_path, tiny.stem(8)).run(array) for e in (engine, OnnxEngine(threads=2)))
    assert np.allclose(one, two, rtol=1e-4, atol=1e-4)


def test_blocks_share_their_scratch_memory(engine: OnnxEngine, tmp_path: Path) -> None:
    """Twenty blocks with activations of 4 MB each take no more than one does: they take turns in one arena."""
    allocated_bytes = allocated_bytes_reader()
    if allocated_bytes is None:
        pytest.skip("this C library does not tell what it has handed out")
    array = np.zeros((1, 16, 256, 256), np.float32)
    weights = np.zeros((16, 16, 3, 3), np.float32)
    data = tiny.convolution(weights, side=256)
    load(engine, tmp_path, data).run(array)
    before = allocated_bytes()
    blocks = [load(engine, tmp_path, data) for _ in range(20)]
    for block in blocks:
        block.run(array)
    assert allocated_bytes() - before < 5_000_000


def test_packed_weights_are_weighed_and_not_lost_in_the_arena(engine: OnnxEngine, tmp_path: Path) -> None:
    """A convolution of 0.6 MB of bytes, packed anew for the kernel."""
    allocated_bytes = allocated_bytes_reader()
    if allocated_bytes is None:
        pytest.skip("this C library does not tell what it has handed out")
    (tmp_path / "blob").write_bytes(tiny.integer_convolution(256))
    array = np.ones((1, 256, 8, 8), np.float32)

    def kept_bytes() -> int:
        before = allocated_bytes()
        block = engine.load_apart(tmp_path / "blob")
        block.run(array)
        return allocated_bytes() - before

    assert kept_bytes() == pytest.approx(256 * 256 * 9, rel=0.2)


@pytest.mark.parametrize("data", [b"", b"no model" * 100, tiny.stem(8)[:-100]], ids=["empty", "other", "cut off"])
def test_a_file_that_is_no_model_is_refused_by_name(engine: OnnxEngine, tmp_path: Path, data: bytes) -> None:
    """The error says which file and what onnxruntime found."""
    with pytest.raises(EngineError, match=f"cannot load {tmp_path}/blob: "):
        load(engine, tmp_path, data)


def test_a_missing_file_is_refused_by_name(engine: OnnxEngine, tmp_path: Path) -> None:
    """As any other file that cannot be loaded."""
    with pytest.raises(EngineError, match="absent"):
        engine.load(tmp_path / "absent")


def test_a_graph_of_two_outputs_is_no_block(engine: OnnxEngine, tmp_path: Path) -> None:
    """A block has one tensor out."""
    with pytest.raises(EngineError, match="has 2 outputs; a block has 1"):
        load(engine, tmp_path, tiny.two_outputs())


@pytest.mark.parametrize("array", [np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 9, 9, 1), np.uint8)])
def test_a_wrong_tensor_is_refused(engine: OnnxEngine, tmp_path: Path, array: np.ndarray) -> None:
    """The error says what was given."""
    block = load(engine, tmp_path, tiny.stem(8))
    with pytest.raises(EngineError, match=rf"cannot run {array.dtype}\(1, "):
        block.run(array)


@pytest.mark.parametrize("takes", [1, 2])
def test_a_head_gives_logits_and_how_sure_it_is(engine: OnnxEngine, tmp_path: Path, takes: int) -> None:
    """Of one tensor of features, or of two whose sum counts."""
    output, confidence = load_head(engine, tmp_path, tiny.exit_head(takes)).run([FEATURES] * takes)
    assert output.shape == (1, *tiny.LOGITS.shape)
    powers = np.exp(engine.fetch(output)[0])
    assert confidence == pytest.approx(powers.max() / powers.sum(), rel=1e-5)


def test_a_head_of_two_tensors_takes_them_in_order(engine: OnnxEngine, tmp_path: Path) -> None:
    """The first minus the second."""
    nodes = [
        tiny.node("Sub", ["first", "second"], "difference"),
        tiny.node("GlobalAveragePool", ["difference"], "means"),
        tiny.node("Flatten", ["means"], "output"),
        tiny.node("ReduceMax", ["output", "axis"], "confidence", keepdims=0),
    ]
    head = load_head(engine, tmp_path, tiny.head_graph(nodes, ["first", "second"], {"axis": np.array([1])}))
    output, confidence = head.run([np.full_like(FEATURES, 5), np.full_like(FEATURES, 2)])
    assert (output.tolist(), confidence) == ([[3, 3, 3, 3]], 3)


def test_logits_that_are_no_numbers_are_never_confident(engine: OnnxEngine, tmp_path: Path) -> None:
    """Whatever confidence the head makes of them."""
    _, confidence = load_head(engine, tmp_path, tiny.steady_head(1.0, logits=np.nan)).run([FEATURES])
    assert math.isnan(confidence)


def test_infinite_logits_may_be_confident(engine: OnnxEngine, tmp_path: Path) -> None:
    """They are numbers."""
    _, confidence = load_head(engine, tmp_path, tiny.steady_head(0.75, logits=-np.inf)).run([FEATURES])
    assert confidence == 0.75


def test_a_head_of_other_outputs_is_refused_with_those_it_must_have(engine: OnnxEngine, tmp_path: Path) -> None:
    """Here a block."""
    with pytest.raises(EngineError, match="gives output; a head gives output and confidence: export it again"):
        load_head(engine, tmp_path, tiny.head(4))


def test_a_head_of_three_inputs_is_refused_with_the_limit(engine: OnnxEngine, tmp_path: Path) -> None:
    """Its own features and those of the exit before it are all that a head takes."""
    with pytest.raises(EngineError, match="has 3 inputs; a head has 1 or 2: export it again"):
        load_head(engine, tmp_path, tiny.exit_head(3))


@pytest.mark.parametrize("given", [[FEATURES], [FEATURES, FEATURES[:, :3]]], ids=["too few", "other shape"])
def test_a_head_that_does_not_fit_what_the_blocks_give_is_refused_with_both(
    engine: OnnxEngine, tmp_path: Path, given: list[np.ndarray]
) -> None:
    """What it takes, and what it was given."""
    head = load_head(engine, tmp_path, tiny.exit_head(2))
    took = r"takes tensor\(float\)\['batch', 4, 8, 8\], .*cannot run float32\[1, 4, 8, 8\]"
    with pytest.raises(EngineError, match=took):
        head.run(given)


def test_no_threads_are_too_few() -> None:
    """Zero would mean one per core to onnxruntime."""
    with pytest.raises(EngineError, match="at least 1 thread, not 0"):
        OnnxEngine(threads=0)
