"""What serving adds to a request of one client: the daemon beside two loops that do nothing else, on the same route.

Five sides take turns: the route in this process, a bare ZeroMQ loop, a bare loop of packets, the daemon over its local
socket (what `Client` takes by itself), the daemon over ZeroMQ. Frames too large for a packet lie where a camera would
write them: on the local socket in the client's ring (`Client.frame_buffer`), elsewhere in an array of the client's own,
which `copied` sends over the local socket as well. Overhead is what a side's request takes beyond the median in this
process, so `_p99` is what 99 of 100 requests stay under. Networks are small and their weights random: beside a long
inference the overhead would drown in its jitter. One client, blocks on one thread, nothing merged.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import zmq

from benchmarks.bare_packets import Packets, connected_to
from benchmarks.bare_route import original_chain
from benchmarks.daemons import daemon
from benchmarks.harness import Figure, Options, Target
from benchmarks.networks import CLASSES, add_network
from benchmarks.processes import ROOT, ended
from blockstore.store import Store
from schedulerd.serving.meter import percentile
from schedulerd.wire.local import MAX_INLINE_BYTES
from schedulerd_client import Client

Frame = npt.NDArray[np.uint8]
Samples = Mapping[str, list[float]]


class Size(NamedTuple):
    """A kind of frame, with what is wanted of it."""

    height: int
    width: int
    stride: int
    """Of the network's first convolution: large frames are thinned out, or the network would take long."""
    most: float
    """Overhead over that of the bare ZeroMQ loop."""

    @property
    def is_large(self) -> bool:
        """Whether a frame travels in shared memory."""
        return self.height * self.width * 3 > MAX_INLINE_BYTES


SIZES = {"32": Size(32, 32, 2, 1.0), "224": Size(224, 224, 2, 1.0), "vga": Size(480, 640, 8, 0.5)}
PACES = {"": 0.0, "paced_": 0.01}
"""Seconds of rest before a request: paced, the client's core and the server's have gone idle, as between two frames of
a camera."""
CONFIG = "[engine]\nthreads_per_lane = 1\nmerge = false\n\n[profile]\nseconds = 1\nbackground = false\n"
"""The same route on every side, and nothing beside it: it is never changed, so a rough profile does."""
KINDS = ("over_bare", "over_packets", "zmq_over_bare", "ms", "zmq_ms", "bare_ms", "packets_ms")
LARGE_KINDS = ("copied_over_bare", "copied_ms")
"""Further ones of frames that do not travel inside a packet."""
ANSWER_TIMEOUT_MS = 10_000


def names_of(size: str) -> tuple[str, ...]:
    """Figures of one size of frames."""
    kinds = (*KINDS, *LARGE_KINDS) if SIZES[size].is_large else KINDS
    return tuple(f"overhead_{size}_{pace}{kind}{tail}" for pace in PACES for kind in kinds for tail in ("", "_p99"))


FIGURES = tuple(name for size in SIZES for name in names_of(size))


def measure(options: Options, folder: Path) -> dict[str, Figure]:
    """The figures of each size that any figure was asked of."""
    found: dict[str, Figure] = {}
    for name, size in SIZES.items():
        if options.wants(*names_of(name)):
            found |= _of_size(folder, name, size, options)
    return found


def _of_size(folder: Path, name: str, size: Size, options: Options) -> dict[str, Figure]:
    root, runtime = folder / "networks", folder / f"run-{name}"
    with Store.open(root, create=True) as store:
        model = add_network(store, f"net{name}", size.height, size.width, stride=size.stride)
    frame = np.random.default_rng(0).integers(0, 256, model.input.shape, np.uint8)
    found: dict[str, Figure] = {}
    # The store has the networks of all sizes; only one is asked in a run.
    with (
        daemon(root, folder / f"state-{name}", runtime, CONFIG),
        Client(runtime) as local,
        Client(f"ipc://{runtime}/infer.sock") as zeromq,
        _bare_loop(root, model.name, folder / f"bare-{name}.sock") as bare,
        _bare_packets(root, model.name, folder / f"packets-{name}.sock") as packets,
    ):
        local.register(model.name, budget_ms=1000, rate_hz=10)
        zeromq.register(model.name, budget_ms=1000, rate_hz=10)
        shared = local.frame_buffer()
        shared[...] = frame
        sides: dict[str, Callable[[], object]] = {
            "in_process": partial(original_chain(root, model.name).run, frame[None]),
            "bare": lambda: bare(frame),
            "packets": lambda: packets(frame),
            "ours": lambda: local.infer(shared),
            "zmq": lambda: zeromq.infer(frame),
        }
        if size.is_large:
            sides["copied"] = lambda: local.infer(frame)
        for pace, pause_s in PACES.items():
            if options.wants(*(f for f in names_of(name) if ("paced" in f) == bool(pause_s))):
                rounds = (2 if pause_s else 5) if options.quick else (20 if pause_s else 80)
                samples = in_turns(sides, rounds, repeats=25, pause_s=pause_s)
                found |= overheads(f"overhead_{name}_{pace}", samples, None if pause_s else Target("<=", size.most))
    return found


def overheads(prefix: str, samples: Samples, target: Target | None) -> dict[str, Figure]:
    """Figures of one size and pace, from the milliseconds of each side's requests."""
    alone_ms = statistics.median(samples["in_process"])
    found: dict[str, Figure] = {}
    for tail, share in (("", 0.5), ("_p99", 0.99)):
        added_ms = {side: (percentile(times, share) or 0.0) - alone_ms for side, times in samples.items()}
        found |= {
            f"{prefix}over_bare{tail}": _ratio(added_ms, "ours", "bare", target, {} if tail else samples),
            f"{prefix}over_packets{tail}": _ratio(added_ms, "ours", "packets"),
            f"{prefix}zmq_over_bare{tail}": _ratio(added_ms, "zmq", "bare"),
            f"{prefix}ms{tail}": Figure(added_ms["ours"], "ms"),
            **{f"{prefix}{side}_ms{tail}": Figure(added_ms[side], "ms") for side in ("zmq", "bare", "packets")},
        }
        if "copied" in samples:
            found |= {
                f"{prefix}copied_over_bare{tail}": _ratio(added_ms, "copied", "bare", target),
                f"{prefix}copied_ms{tail}": Figure(added_ms["copied"], "ms"),
            }
    return found


def _ratio(
    added_ms: Mapping[str, float], side: str, floor: str, target: Target | None = None, samples: Samples | None = None
) -> Figure:
    """Of two overheads; none where the machine was so uneven that the floor took no longer than its route alone."""
    if added_ms[floor] <= 0:
        reason = f"{floor} added {added_ms[floor]:.3f} ms: the route itself moved by more than that"
        return Figure(None, "ratio", target, samples or {}, reason)
    return Figure(added_ms[side] / added_ms[floor], "ratio", target, samples or {})


def in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, repeats: int, pause_s: float = 0.0
) -> dict[str, list[float]]:
    """Milliseconds of each call; every side gets `repeats` calls a round, in an order that alternates."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 else list(reversed(sides))
        for name in order:
            call = sides[name]
            call()  # the first after another side has run finds cold caches
            for _ in range(repeats):
                if pause_s:
                    time.sleep(pause_s)
                began_s = time.perf_counter()
                call()
                samples[name].append((time.perf_counter() - began_s) * 1e3)
    return samples


@contextmanager
def _bare_loop(root: Path, model: str, socket_path: Path) -> Iterator[Callable[[Frame], object]]:
    endpoint = f"ipc://{socket_path}"
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(endpoint)

    def call(frame: Frame) -> object:
        dealer.send(frame, copy=False)
        if not dealer.poll(ANSWER_TIMEOUT_MS):
            raise TimeoutError(f"the bare loop did not answer within {ANSWER_TIMEOUT_MS} ms")
        return np.frombuffer(dealer.recv(copy=False).buffer, np.float32)

    with _served("bare_loop", root, model, endpoint):
        try:
            yield call
        finally:
            context.destroy(linger=0)


@contextmanager
def _bare_packets(root: Path, model: str, socket_path: Path) -> Iterator[Callable[[Frame], object]]:
    output = np.zeros(CLASSES, np.float32)

    def call(packets: Packets, frame: Frame) -> object:
        packets.send(memoryview(frame).cast("B"))
        if not packets.receive_into(memoryview(output).cast("B")):
            raise ConnectionError("the bare loop of packets went away")
        return output

    with _served("bare_packets", root, model, str(socket_path)):
        packets = connected_to(socket_path)
        try:
            yield partial(call, packets)
        finally:
            packets.close()


@contextmanager
def _served(loop: str, root: Path, model: str, endpoint: str) -> Iterator[None]:
    """One of the bare loops as a process, which ends when its input does."""
    command = [sys.executable, "-m", f"benchmarks.{loop}", str(root), model, endpoint]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        ended(process)
