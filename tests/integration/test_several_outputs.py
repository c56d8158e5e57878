"""A detector with two outputs, from the builder through the daemon to the client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from blockstore.block import TensorSpec
from blockstore.build import pipeline
from blockstore.build.progress import silent
from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from blockstore.zoo.datasets import digit_boxes
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.small_detector import small_detector
from schedulerd_client import Client
from tests.integration.daemons import Daemon

SETTINGS = BuildSettings(
    name="detector",
    input=TensorSpec("uint8", (96, 96, 1)),
    mean=(0.5,),
    std=(0.25,),
    blocks=2,
    # It has no residual unit: originals are all that there is to serve.
    variants=("skip:1",),
    epochs=0,
    task="detection?decode=blockstore.zoo.small_detector:boxes",
    fit_routes=0,
    check_routes=0,
)


def test_a_client_gets_every_output_as_the_network_gives_it(tmp_path: Path, make_daemon: Callable[..., Daemon]) -> None:
    torch.manual_seed(0)
    network, data = small_detector().eval(), digit_boxes(16, 8)
    with Store.open(tmp_path / "store", create=True) as store:
        pipeline.build(network, data, SETTINGS, store, tmp_path / "work", silent)
    frame = data.held_out().images[:1]
    with torch.no_grad():
        expected = network(Preprocess(SETTINGS.mean, SETTINGS.std)(torch.from_numpy(frame)))
    daemon = make_daemon(tmp_path / "store")
    daemon.start()
    with Client(daemon.runtime) as client:
        client.register("detector", budget_ms=1000, rate_hz=1)
        reply = client.infer(frame[0])
    assert set(reply.route) == {"original"}
    assert isinstance(reply.outputs, tuple)
    assert [o.shape for o in reply.outputs] == [(1, 15, 12, 12), (1, 15, 6, 6)]
    for got, wanted in zip(reply.outputs, expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-3)
