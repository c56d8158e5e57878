"""Apps on one camera stream, on real sockets with real ONNX blocks: what is shared, and that nobody can tell."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockstore.block import Model, TensorSpec
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.prepare import preparation_of
from schedulerd.serving.route import ExpectedBlock, LoadedRoute
from schedulerd.wire.codec import decode_reply, encode, header_of
from schedulerd.wire.messages import Camera, Code, Failure, Infer, Ping, Register, Result, Unregister, Unregistered
from tests.profiles import tiny
from tests.serving.board import MODELS, TIMEOUT_MS, Board, Peer
from tests.serving.parts import FRAME, AddBlock, route_of

onnx = pytest.importorskip("schedulerd.serving.engines.onnx", reason="runs ONNX files")

INPUT = TensorSpec("float32", (3, 8, 8))
MODEL = Model("m", INPUT, tiny.LOGITS, 0.95, 100, MODELS["m"].blocks)
CAMERA = Camera(20, 30, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), bgr=True)


class Counted:
    """A `LoadedBlock` that counts its runs."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self.runs = 0

    def run(self, tensor: Any) -> Any:
        self.runs += 1
        return self._block.run(tensor)


class Zoo:
    """Three ONNX blocks of one network, the last in two variants, each loaded once as the switcher does."""

    def __init__(self, directory: Path) -> None:
        self.engine = onnx.OnnxEngine()
        weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
        blobs = {
            "stem": tiny.convolution(weights),
            "relu": tiny.identity((4, 8, 8)),
            "head": tiny.head(6),
            "small": tiny.head(3, seed=4),
        }
        self.blocks: dict[str, Counted] = {}
        for name, blob in blobs.items():
            path = directory / f"{name}.onnx"
            path.write_bytes(blob)
            self.blocks[name] = Counted(self.engine.load(path))

    def route(self, *names: str) -> LoadedRoute:
        expected = tuple(ExpectedBlock(n, (name,), "onnxruntime", 1.0, 1.0, 1.0) for n, name in enumerate(names))
        return route_of(*(self.blocks[name] for name in names), expected=expected)

    def runs(self) -> list[int]:
        """Of each block since the last call."""
        found = [block.runs for block in self.blocks.values()]
        for block in self.blocks.values():
            block.runs = 0
        return found


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path)


@pytest.fixture
def board(tmp_path: Path, zoo: Zoo) -> Iterator[Board]:
    made = Board(tmp_path, models={"m": MODEL}, engine=zoo.engine)
    yield made
    made.close()


class Client:
    """An app with a camera."""

    def __init__(self, board: Board, name: str, route: LoadedRoute, camera: Camera | None = CAMERA) -> None:
        self.peer = Peer(board.endpoints.infer, name.encode())
        self.peer.socket.send_multipart(encode(Register(1, "m", 5000.0, 10.0, app=name, camera=camera)))
        self.app: LiveApp = board.app(name.encode(), route)
        self._id = 1

    def infer(self, frame: Any, number: int | None = None, stream: str = "door") -> Any:
        """The output, or the failure."""
        self.send(frame, number, stream)
        return self.answer()

    def send(self, frame: Any, number: int | None, stream: str = "door") -> None:
        self._id += 1
        named = {} if number is None else {"stream": stream, "frame": number}
        self.peer.socket.send_multipart(encode(Infer(self._id, (header_of(frame),), **named), (frame,)))

    def answer(self) -> Any:
        reply: Any = Ping(0)
        while isinstance(reply, Ping):
            assert self.peer.socket.poll(TIMEOUT_MS), "no answer"
            reply, buffers = decode_reply(self.peer.socket.recv_multipart())
        return np.frombuffer(buffers[0], np.float32) if isinstance(reply, Result) else reply


@pytest.fixture
def clients(board: Board, zoo: Zoo) -> Iterator[list[Client]]:
    """Two apps with one route, one with another last block, one that never names a stream."""
    routes = [("stem", "relu", "head")] * 2 + [("stem", "relu", "small"), ("stem", "relu", "head")]
    made = [Client(board, f"cam{n}", zoo.route(*names)) for n, names in enumerate(routes)]
    yield made
    for client in made:
        client.peer.close()


def picture(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)


def test_apps_with_one_route_run_it_once(clients: list[Client], zoo: Zoo) -> None:
    first, second, _, alone = clients
    for client in (first, second):
        client.infer(picture(0), 0)
    zoo.runs()
    for number in range(1, 4):
        answers = [client.infer(picture(number), number) for client in (first, second)]
        assert zoo.runs() == [1, 1, 1, 0]
        expected = alone.infer(picture(number))
        assert [answer.tobytes() for answer in answers] == [expected.tobytes()] * 2
        assert zoo.runs() == [1, 1, 1, 0]
    assert [client.app.meter.shared_blocks for client in (first, second, alone)] == [0, 9, 0]


def test_apps_whose_routes_part_share_what_comes_before(clients: list[Client], zoo: Zoo) -> None:
    first, _, small, _ = clients
    for client in (first, small):
        client.infer(picture(0), 0)
    zoo.runs()
    full = first.infer(picture(1), 1)
    assert zoo.runs() == [1, 1, 1, 0]
    cheap = small.infer(picture(1), 1)
    assert zoo.runs() == [0, 0, 0, 1]
    assert full.tobytes() == first.infer(picture(1)).tobytes()
    assert cheap.tobytes() == small.infer(picture(1)).tobytes()


def test_nothing_is_kept_once_every_app_has_had_its_answer(clients: list[Client], board: Board) -> None:
    first, second, *_ = clients
    for number in range(3):
        for client in (first, second):
            client.infer(picture(number), number)
    assert board.prefixes.size_bytes == 0


def test_an_app_that_is_alone_keeps_nothing(clients: list[Client], board: Board) -> None:
    for number in range(3):
        clients[0].infer(picture(number), number)
    assert board.prefixes.size_bytes == 0


def test_lanes_that_come_to_the_same_block_at_once_run_it_once(tmp_path: Path, zoo: Zoo) -> None:
    board = Board(tmp_path, lanes=2, models={"m": MODEL}, engine=zoo.engine)
    try:
        route = zoo.route("stem", "relu", "head")
        pair = [Client(board, name, route) for name in ("first", "second")]
        for client in pair:
            client.infer(picture(0), 0)
        for number in range(1, 20):
            zoo.runs()
            for client in pair:
                client.send(picture(number), number)
            answers = [client.answer().tobytes() for client in pair]
            assert zoo.runs() == [1, 1, 1, 0]
            assert answers == [pair[0].infer(picture(number)).tobytes()] * 2
        for client in pair:
            client.peer.close()
    finally:
        board.close()


def test_another_stream_is_another_picture(clients: list[Client]) -> None:
    first, second, _, alone = clients
    for number in range(2):
        for client in (first, second):
            client.infer(picture(0), number)
    assert second.infer(picture(9), 1, "window").tobytes() == alone.infer(picture(9)).tobytes()


def test_numbers_that_go_backwards_are_answered_rightly(clients: list[Client]) -> None:
    """They are computed whole, or shared where that is the same picture still."""
    first, second, _, alone = clients
    for number in (5, 9, 3, 4, 3, 0, 2**64 - 1, 1):
        expected = alone.infer(picture(number % 97)).tobytes()
        for client in (first, second):
            assert client.infer(picture(number % 97), number).tobytes() == expected


def test_an_app_that_leaves_ends_the_sharing(clients: list[Client], board: Board, zoo: Zoo) -> None:
    first, second, *_ = clients
    for number in range(2):
        for client in (first, second):
            client.infer(picture(number), number)
    first.infer(picture(2), 2)
    assert board.prefixes.size_bytes > 0
    second.peer.socket.send_multipart(encode(Unregister(99)))
    assert second.peer.answer() == Unregistered(99)
    assert board.prefixes.size_bytes == 0
    zoo.runs()
    assert first.infer(picture(2), 2).tobytes() == first.infer(picture(2)).tobytes()
    assert zoo.runs() == [2, 2, 2, 0]


def test_an_app_that_dies_while_its_frame_waits_costs_the_other_nothing(tmp_path: Path, zoo: Zoo) -> None:
    board = Board(tmp_path, models={"m": MODEL}, engine=zoo.engine)
    inside, free = threading.Event(), threading.Event()

    class Gate(Counted):
        def run(self, tensor: Any) -> Any:
            inside.set()
            assert free.wait(TIMEOUT_MS / 1e3)
            return super().run(tensor)

    try:
        route = zoo.route("stem", "relu", "head")
        dying, staying = Client(board, "dying", route), Client(board, "staying", route)
        for client in (dying, staying):
            client.infer(picture(0), 0)
        gated = replace(route, blocks=(Gate(zoo.blocks["stem"]), *route.blocks[1:]))
        dying.app.route = gated
        dying.peer.socket.send_multipart(
            encode(Infer(9, (header_of(picture(1)),), stream="door", frame=1), (picture(1),))
        )
        assert inside.wait(TIMEOUT_MS / 1e3)
        dying.peer.close()
        free.set()
        assert staying.infer(picture(1), 1).tobytes() == staying.infer(picture(1)).tobytes()
        staying.peer.close()
    finally:
        board.close()


# What a camera gives.


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((30, 20, 3), np.uint8),
        np.zeros((20, 30, 4), np.uint8),
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30, 3), np.float32),
        np.zeros((3, 8, 8), np.float32),
    ],
    ids=["turned", "four channels", "grey", "float", "the model's input"],
)
def test_a_frame_that_is_not_the_cameras_is_refused(clients: list[Client], frame: Any) -> None:
    refused = clients[0].infer(frame)
    assert isinstance(refused, Failure)
    assert refused.code is Code.BAD_TENSOR
    assert "the camera of 'cam0' gives uint8[20x30x3]" in refused.message
    assert clients[0].app.meter.refused == {Code.BAD_TENSOR: 1}


def test_a_camera_frame_may_have_a_batch_dimension(clients: list[Client]) -> None:
    assert clients[0].infer(picture(1)[np.newaxis]).tobytes() == clients[0].infer(picture(1)).tobytes()


def test_the_model_runs_on_what_is_made_of_the_frame(clients: list[Client], board: Board, zoo: Zoo) -> None:
    preparation = preparation_of(CAMERA, INPUT, "m")
    assert preparation is not None
    plain = Client(board, "plain", zoo.route("stem", "relu", "head"), camera=None)
    expected = plain.infer(preparation.run(picture(1)[np.newaxis]))
    assert clients[0].infer(picture(1)).tobytes() == expected.tobytes()
    plain.peer.close()


@pytest.mark.parametrize(
    ("model", "camera", "said"),
    [
        (MODELS["m"], CAMERA, "takes uint8[2x2x1]"),
        (MODEL, CAMERA._replace(std=(0.0, 1.0, 1.0)), "std of the camera for 'm' is 0, 1, 1"),
        (replace(MODEL, input=TensorSpec("uint8", (8, 8, 3))), CAMERA, "without mean and std"),
    ],
    ids=["grey model", "std 0", "scale for bytes"],
)
def test_a_camera_that_does_not_suit_is_refused(tmp_path: Path, model: Model, camera: Camera, said: str) -> None:
    board = Board(tmp_path, models={"m": model})
    peer = Peer(board.endpoints.infer)
    try:
        refused = peer.ask(*encode(Register(1, "m", 50.0, 10.0, camera=camera)))
        assert (refused.id, refused.code) == (1, Code.BAD_VALUE)
        assert said in refused.message
        assert board.registry.all() == ()
    finally:
        peer.close()
        board.close()


# Credit.


def test_requests_beyond_the_credit_are_refused_one_by_one_and_counted(tmp_path: Path) -> None:
    """No lane runs: the test takes in what arrives, and nothing is answered but refusals."""
    board = Board(tmp_path, lanes=0)
    peer = Peer(board.endpoints.infer)

    def take_in(messages: int, taken: Callable[[], int]) -> None:
        until_s = time.monotonic() + TIMEOUT_MS / 1e3
        while taken() < messages and time.monotonic() < until_s:
            board.gateway.turn(0.1)
        assert taken() == messages

    board.gateway.baton.acquire()
    try:
        peer.socket.send_multipart(encode(Register(1, "m", 50.0, 10.0)))
        take_in(1, lambda: len(board.registry.all()))
        app = board.app(b"peer", route_of(AddBlock()))
        frame = np.zeros(FRAME.shape, np.uint8)
        for number in range(2, 2 + app.credit + 5):
            peer.socket.send_multipart(encode(Infer(number, (header_of(frame),)), (frame,)))
        take_in(app.credit + 5, lambda: app.queued + app.meter.refused.total())
        board.gateway.turn()
        refused = [peer.answer() for _ in range(5)]
        assert [reply.id for reply in refused] == [*range(2 + app.credit, 2 + app.credit + 5)]
        assert {reply.code for reply in refused} == {Code.OVERLOADED}
        assert app.meter.refused == {Code.OVERLOADED: 5}
        assert app.queued == app.credit
    finally:
        board.gateway.baton.release()
        peer.close()
        board.close()
