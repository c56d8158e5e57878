"""Variants that fail on some frames: a real daemon answers, runs another one, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockstore.block import Model
from schedulerd_client import Client, EngineFault, Reply
from tests.integration.daemons import Daemon, until
from tests.profiles import tiny

BLACK = np.zeros(tiny.FRAME.shape, np.uint8)
GREY = np.full(tiny.FRAME.shape, 128, np.uint8)


def with_flaw(files: tiny.Files, *, raises: bool) -> Model:
    """A model whose second block has a variant that is much quicker, as accurate, and fails on black frames."""
    model = tiny.model_of(
        "flawed",
        {
            "stem": (tiny.FRAME, tiny.FEATURES, [files.put(tiny.stem(16))]),
            "head": (
                tiny.FEATURES,
                tiny.LOGITS,
                [files.put(tiny.head(4096)), files.put(tiny.flawed_head(raises=raises))],
            ),
        },
    )
    head = model.blocks[1]
    quick = replace(head.variants[1], accuracy_drop=0.0)
    return replace(model, blocks=(model.blocks[0], replace(head, variants=(head.variants[0], quick))))


@pytest.fixture(params=["gives NaN", "raises"])
def flawed(request: pytest.FixtureRequest, tmp_path: Path, make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon on a store with such a model."""
    (tmp_path / "blobs").mkdir()
    files = tiny.Files(tmp_path / "blobs")
    tiny.stored(with_flaw(files, raises=request.param == "raises"), files, tmp_path / "store")
    daemon = make_daemon(tmp_path / "store")
    daemon.start()
    return daemon


def answered(client: Client, frame: Any) -> Reply | None:
    """The answer; None where a block failed on it."""
    try:
        return client.infer(frame)
    except EngineFault:
        return None


def test_a_frame_on_which_a_variant_fails_is_refused_and_the_next_ones_run_on_another(flawed: Daemon) -> None:
    with (
        Client(flawed.runtime) as client,
        flawed.control() as control,
        control.events(("fault",), timeout_s=30) as events,
    ):
        registration = client.register("flawed", budget_ms=1000, rate_hz=10, app="cam")
        assert registration.route == ("original", "pruned-1")
        assert np.isfinite(client.infer(GREY).outputs).all()
        with pytest.raises(EngineFault, match=r"block 1 \(pruned-1\) of 'flawed' failed"):
            client.infer(BLACK)
        reply = until("another variant", lambda: answered(client, BLACK))
        assert reply.route == ("original", "original")
        assert np.isfinite(reply.outputs).all()
        told = next(events)
        (app,) = control.apps()["apps"]
    assert (told.body["what"], told.body["retry_s"]) in (("variant", 10.0), ("variant", 600.0))
    assert told.body["cause"] == "block 1 (head) of flawed, variant pruned-1, for cam"
    assert app["refused"]["engine_fault"] >= 1


def test_what_a_slower_board_would_need_is_in_memory_before_it_is_one(
    store: Path, make_daemon: Callable[..., Daemon]
) -> None:
    """Of a route that is just quick enough."""
    daemon = make_daemon(store)
    daemon.start()
    with Client(daemon.runtime) as client, daemon.control() as control:
        client.register("digits-residual", budget_ms=1000, rate_hz=10, app="cam")
        (planned,) = control.plan()["apps"]
        control.set_budget("cam", 1.2 * planned["latency_p95_ms"])
        until("blocks that nobody runs", lambda: control.status()["states"].get("warm"))
        status = control.status()
    assert status["resident_bytes"] <= status["memory_limit_bytes"]
