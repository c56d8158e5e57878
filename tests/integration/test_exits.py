"""Models with exits over real sockets: real heads on real features, swapped under load, and a whole daemon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockprofiles.record import Row
from blockstore.block import Model
from blockstore.exits import FINAL, NO_EXITS, ExitPolicy
from schedulerd.clock import SystemClock
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.switcher import Switcher
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan, Route, difference
from schedulerd.serving.engines.onnx import OnnxEngine
from schedulerd.serving.events import Joined
from schedulerd.wire.codec import encode
from schedulerd.wire.messages import Registered, TensorHeader
from schedulerd_client import BadValue, Client, Reply
from tests.control.tables import table_of
from tests.integration.daemons import Daemon
from tests.profiles import tiny
from tests.serving.board import TIMEOUT_MS, Board

FRAMES = np.random.default_rng(0).integers(0, 256, (12, *tiny.FRAME.shape), np.uint8)
LIMIT_BYTES = 1_000_000_000


class Stand:
    """The request path with a real engine; the test makes the plans that the control loop would make."""

    def __init__(self, directory: Path, model: Model, files: tiny.Files, late: str = "run") -> None:
        self.engine = OnnxEngine()
        self.model = model
        self.path = files.path
        self.late = late
        self.board = Board(directory, models={model.name: model}, engine=self.engine)
        self._catalogue = Catalogue(
            {model.name: model},
            table_of(*(Row(digest, "onnxruntime", 1, 1.0, 1.0, 1000) for digest in model.digests())),
            "onnxruntime",
        )
        load = lambda digest, _: self.engine.load(files.path(digest))  # noqa: E731 - one line each
        load_head = lambda digest: self.engine.load_head(files.path(digest))  # noqa: E731
        self.switcher = Switcher(load, load_head, SystemClock(), lambda: None)
        self.plan = EMPTY_PLAN

    @contextmanager
    def client(self, policy: ExitPolicy) -> Iterator[Client]:
        """A client that is registered as `cam` and has a route with this policy."""
        with Client(self.board.endpoints.infer) as client, ThreadPoolExecutor(1) as pool:
            joining = pool.submit(client.register, self.model.name, 1000.0, 10.0, app="cam", late=self.late)
            event = self.board.events.get(timeout=TIMEOUT_MS / 1e3)
            assert isinstance(event, Joined)
            self.put(policy)
            header = TensorHeader("uint8", tiny.FRAME.shape)
            answer = Registered(event.message_id, "cam", self.model.name, header, header, (), (), 1, 1, 1, 0, 1)
            self.board.gateway.reply(event.app.identity, encode(answer))
            self.board.gateway.wake()
            joining.result(TIMEOUT_MS / 1e3)
            yield client

    def put(self, policy: ExitPolicy, variant: str = "original") -> None:
        """A plan in which `cam` has this policy, and this variant of the first block."""
        depth = self.model.depths().get(policy.last, len(self.model.blocks) - 1)
        variants = [b.variant(variant if b.index == 0 else "original") for b in self.model.blocks[: depth + 1]]
        route = Route(
            self.model.name,
            tuple(v.name for v in variants),
            tuple(v.artifacts[0].digest for v in variants),
            policy,
            tuple(e.artifacts[0].digest for e in self.model.exits if e.block <= depth),
        )
        shares = (*(0.0 for _ in route.policy.steps[1:]), 1.0)
        app = AppPlan("cam", route, 1.0, 1.0, 0.9, 1000, 0.1, (1.0,) * len(variants), exit_shares=shares)
        plan: Plan = replace(EMPTY_PLAN, number=self.plan.number + 1, apps=(app,))
        apps = {a.spec.app_id: a for a in self.board.registry.all()}
        self.switcher.apply(plan, difference(self.plan, plan), apps, LIMIT_BYTES, self._catalogue)
        self.plan = plan

    def by_hand(self, frame: np.ndarray, exit_: str, variant: str = "original") -> tuple[np.ndarray, float]:
        """Output and confidence of an exit, from the blocks before it and its head alone."""
        tensor: Any = self.engine.feed(frame[None])
        features = []
        for block in self.model.blocks:
            chosen = block.variant(variant if block.index == 0 else "original")
            tensor = self.engine.load(self.path(chosen.artifacts[0].digest)).run(tensor)
            features.append(tensor)
        if exit_ == FINAL:
            return tensor, 0.0
        (found,) = (e for e in self.model.exits if e.name == exit_)
        head = self.engine.load_head(self.path(found.artifacts[0].digest))
        return head.run([features[block] for block in found.inputs])

    def close(self) -> None:
        self.board.close()
        self.switcher.close()


@pytest.fixture
def make_stand(tmp_path: Path) -> Iterator[Callable[..., Stand]]:
    """Stands on a model with the given heads, or with heads of random weights."""
    made: list[Stand] = []

    def make(*heads: bytes, late: str = "run") -> Stand:
        (tmp_path / "run").mkdir()
        files = tiny.Files(tmp_path)
        made.append(Stand(tmp_path / "run", tiny.model_with_exits(files, heads=heads), files, late))
        return made[-1]

    yield make
    for stand in made:
        stand.close()


def policy(exit1: float | None, exit2: float | None, final: bool = True) -> ExitPolicy:
    steps = [(n, t) for n, t in (("exit1", exit1), ("exit2", exit2)) if t is not None]
    return ExitPolicy("test", (*steps, *([(FINAL, 0.0)] if final else [])))


def test_every_answer_is_that_of_the_head_on_the_same_features(make_stand: Callable[..., Stand]) -> None:
    """Frames leave at all three places, and where they do is what the confidences by hand say."""
    stand = make_stand()
    confidences = [[stand.by_hand(frame, name)[1] for name in ("exit1", "exit2")] for frame in FRAMES]
    first, second = np.median(confidences, axis=0)
    left = []
    with stand.client(policy(first, second)) as client:
        for frame, sure in zip(FRAMES, confidences, strict=True):
            reply = client.infer(frame)
            expected = "exit1" if sure[0] >= first else "exit2" if sure[1] >= second else FINAL
            assert reply.exit == expected
            np.testing.assert_array_equal(reply.outputs, stand.by_hand(frame, expected)[0])
            left.append((reply.exit, reply.left))
            if expected != FINAL:
                assert reply.confidence == pytest.approx(sure[int(expected[-1]) - 1])
    assert set(left) == {("exit1", "confident"), ("exit2", "confident"), (FINAL, "end")}


def test_all_exits_in_one_pass_are_those_of_separate_requests(make_stand: Callable[..., Stand]) -> None:
    """And the model's exits that the policy does not use can be had all the same."""
    stand = make_stand()
    names = ("exit2", FINAL, "exit1")
    with stand.client(NO_EXITS) as client:
        together = client.infer(FRAMES[0], exits=names)
        separate = [client.infer(FRAMES[0], exits=[name]) for name in names]
    assert (together.exits, together.exit, together.left) == (names, FINAL, "asked")
    for name, output, alone in zip(names, together.outputs, separate, strict=True):
        np.testing.assert_array_equal(output, alone.outputs[0])
        np.testing.assert_array_equal(output, stand.by_hand(FRAMES[0], name)[0])
    assert [reply.exit for reply in separate] == ["exit2", FINAL, "exit1"]


def test_logits_that_are_no_numbers_leave_nowhere(make_stand: Callable[..., Stand]) -> None:
    """Though the head says that it is quite sure of them."""
    stand = make_stand(tiny.steady_head(1.0, logits=float("nan")), tiny.steady_head(0.75, logits=2.0))
    with stand.client(policy(0.5, 0.5)) as client:
        reply = client.infer(FRAMES[0])
    assert (reply.exit, reply.confidence, reply.outputs.tolist()) == ("exit2", 0.75, [[2.0] * 4])


def test_a_capped_route_answers_at_its_exit_and_has_no_end_to_ask_for(make_stand: Callable[..., Stand]) -> None:
    stand = make_stand()
    with stand.client(policy(None, 0.0, final=False)) as client:
        reply = client.infer(FRAMES[0])
        with pytest.raises(BadValue, match="no exit 'final'; it has exit1, exit2, as its policy ends at 'exit2'"):
            client.infer(FRAMES[0], exits=[FINAL])
    assert (reply.exit, reply.left, len(reply.route)) == ("exit2", "end", 2)
    np.testing.assert_array_equal(reply.outputs, stand.by_hand(FRAMES[0], "exit2")[0])


def test_swaps_under_load_lose_no_frame_and_mix_no_two_routes(make_stand: Callable[..., Stand]) -> None:
    """Each answer is that of one route that was in place, whole: its variants, its policy and its exits."""
    stand = make_stand()
    plans = [(policy(0.0, None, final=False), "original"), (NO_EXITS, "pruned-1"), (policy(None, 1e-6), "original")]
    wanted = {
        ("exit1", "original"): stand.by_hand(FRAMES[0], "exit1")[0],
        (FINAL, "pruned-1"): stand.by_hand(FRAMES[0], FINAL, "pruned-1")[0],
        ("exit2", "original"): stand.by_hand(FRAMES[0], "exit2")[0],
    }
    seen: list[Reply] = []
    with stand.client(plans[0][0]) as client, ThreadPoolExecutor(1) as pool:
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                seen.append(client.infer(FRAMES[0]))

        asking = pool.submit(ask)
        try:
            for number in range(1, 31):
                stand.put(*plans[number % 3])
                stand.switcher.tidy(0, lambda digest: 1000)
                count = len(seen)
                while len(seen) == count and not asking.done():
                    ended.wait(0.001)
        finally:
            ended.set()
        asking.result(TIMEOUT_MS / 1e3)
    assert {(reply.exit, reply.route[0]) for reply in seen} == set(wanted)
    for reply in seen:
        np.testing.assert_array_equal(reply.outputs, wanted[reply.exit, reply.route[0]])


def test_a_daemon_serves_a_store_with_exits(tmp_path: Path, make_daemon: Callable[..., Daemon]) -> None:
    """A policy of the app's own, one that the daemon chooses, outputs of all exits, and what is refused."""
    files = tiny.Files(tmp_path)
    tiny.stored(tiny.model_with_exits(files), files, tmp_path / "store")
    daemon = make_daemon(tmp_path / "store")
    daemon.start()
    with Client(daemon.runtime) as client:
        with pytest.raises(BadValue, match="no exit 'exit9'"):
            client.register("exiting", 500, 10, exits={"exit9": 0.5, FINAL: 0})
        own = client.register("exiting", 500, 10, late="exit", exits={"exit1": 1e-6, FINAL: 0})
        reply = client.infer(FRAMES[0])
        both = client.infer(FRAMES[0], exits=["exit1", FINAL])
    assert (own.policy, own.exits) == ({"exit1": 1e-6, FINAL: 0.0}, ("exit1", "exit2"))
    assert sum(own.exit_shares.values()) == pytest.approx(1)
    assert (reply.exit, reply.left) == ("exit1", "confident")
    np.testing.assert_array_equal(both.outputs[0], reply.outputs)
    with Client(daemon.runtime) as client:
        chosen = client.register("exiting", 500, 10)
        assert client.infer(FRAMES[0]).exit in {*chosen.policy}
