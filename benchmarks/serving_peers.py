"""Requests a second and their latencies at 1, 4 and 8 clients, beside Triton, LitServe and MLServer.

Round after round, side after side: a server starts alone on the machine, its clients, each a process of its own,
connect and rest for as long as the daemon takes to settle, then send the same frame in a closed loop, first warm, then
for some seconds that count, and all end. So no server idles beside another. Every client checks that its side computes
the network. A ratio is against Triton where Triton is best for that figure, of both protocols and of one and two
instances; our daemon has one configuration for all. Beside the servers stands the network without one, in one session
that each client runs itself on one thread: where that is hardly faster than Triton, serving adds little there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import Figure, Options, Target
from benchmarks.processes import Helper
from benchmarks.serving_networks import NAMES, Network, network
from benchmarks.serving_sides import KINDS, SIDES, Kind
from benchmarks.serving_venvs import PeerMissing
from schedulerd.serving.meter import percentile

CLIENTS = (1, 4, 8)
FASTER = {1: 1.15, 4: 1.3, 8: 1.3}
"""Than Triton, at so many clients."""
P99_SHARE = 0.7
RATIOS = ("over_triton", "p99_over_triton", "in_process_over_triton")
"""To the peer's best; the last is of the network without any server, and shows what there is to be gained by one."""
WARM_S = 0.7
REST_S = 20.0
"""Before the first window of a turn, for every side: the daemon merges blocks of routes that have stood for a while."""
DIRECT = {**os.environ, "no_proxy": "*"}
"""Environment of clients: whatever proxy is named is not for the loopback."""
START_TIMEOUT_S = 60.0
"""Of a client, with eight of them loading their libraries at once."""
ANSWER_TIMEOUT_S = 45.0
"""Beyond the end of a window: the request in flight may run into the client's own time-out."""


def _names(network_name: str) -> tuple[str, ...]:
    ratios = tuple(f"{network_name}_{what}_c{c}" for what in RATIOS for c in CLIENTS)
    sides = tuple(
        f"{network_name}_{kind}_c{c}_{what}"
        for kinds in KINDS.values()
        for kind in kinds
        for c in CLIENTS
        for what in ("rps", "p50_ms", "p99_ms")
    )
    return (*ratios, *sides)


FIGURES = tuple(name for network_name in NAMES for name in _names(network_name))


@dataclass
class Measured:
    """What one kind of request came to at one number of clients."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    failed: int = 0
    error: str = ""

    @property
    def rate_hz(self) -> float:
        """Answers a second, of all clients together."""
        return len(self.latencies_ms) / self.seconds

    def at(self, share: float) -> float:
        """A percentile of the latencies."""
        return percentile(self.latencies_ms, share) or 0.0


Best = Callable[[Iterable[float]], float]
Table = Mapping[tuple[str, int], Measured]
"""By kind and number of clients."""


def measure(options: Options, folder: Path) -> dict[str, Figure]:
    """The figures of every network of which any was asked for."""
    found: dict[str, Figure] = {}
    for name in NAMES:
        if options.wants(*_names(name)):
            found |= _of_network(network(name, folder), folder, options)
    return found


def _of_network(served: Network, folder: Path, options: Options) -> dict[str, Figure]:
    rounds, seconds = (1, 1.0) if options.quick else (3, 4.0)
    table = {(kind, c): Measured() for kinds in KINDS.values() for kind in kinds for c in CLIENTS}
    reasons: dict[str, str] = {}
    for number in range(rounds):
        for side in list(SIDES) if number % 2 == 0 else list(reversed(SIDES)):
            if side not in reasons:
                try:
                    _turn(side, served, folder / side / served.name, seconds, table, quick=options.quick)
                except (PeerMissing, RuntimeError, OSError) as error:
                    reasons[side] = f"{error}"
                    print(f"{side}: {error}", file=sys.stderr, flush=True)
    for side in reasons:
        for kind in KINDS[side]:
            for c in CLIENTS:
                table.pop((kind, c))
    return figures(served.name, table, reasons)


def _turn(side: str, served: Network, folder: Path, seconds: float, table: Table, *, quick: bool) -> None:
    """One side's turn: its server, its clients, a window for each number of them."""
    with SIDES[side](served, folder) as kinds, ExitStack() as stack:
        clients: dict[tuple[str, ...], list[Helper]] = {}
        for kind in kinds:
            if kind.client not in clients:
                started = [stack.enter_context(Helper(kind.client, DIRECT)) for _ in range(max(CLIENTS))]
                clients[kind.client] = started
                for client in started:
                    if not served.agrees(client.hear(START_TIMEOUT_S)):
                        raise RuntimeError(f"{kind.name} computes something else than {served.whole.name}")
        time.sleep(0.0 if quick else REST_S)
        for c in CLIENTS:
            for kind in kinds:
                _window(kind, clients[kind.client][:c], seconds, table[kind.name, c])


def _window(kind: Kind, clients: Sequence[Helper], seconds: float, into: Measured) -> None:
    start_s = time.monotonic() + WARM_S
    for client in clients:
        client.tell(f"go {kind.model} {start_s} {seconds}")
    for client in clients:
        result = client.hear(WARM_S + seconds + ANSWER_TIMEOUT_S)
        into.latencies_ms += result["latencies_ms"]
        into.failed += result["failed"]
        into.error = result["error"] or into.error
    into.seconds += seconds


def figures(name: str, table: Table, reasons: Mapping[str, str]) -> dict[str, Figure]:
    """All figures of one network; a side that is not in `table` has its reason, and so has what needs it."""
    found: dict[str, Figure] = {}
    for c in CLIENTS:
        found |= _ratios(name, c, table, reasons)
    for side, kinds in KINDS.items():
        for kind in kinds:
            for c in CLIENTS:
                found |= _of_kind(f"{name}_{kind}_c{c}", table.get((kind, c)), reasons.get(side, ""))
    return found


def _ratios(name: str, c: int, table: Table, reasons: Mapping[str, str]) -> dict[str, Figure]:
    peers = [m for kind in KINDS["triton"] if (m := _usable(table.get((kind, c))))]

    def ratio(side: str, target: Target | None, of: Callable[[Measured], float], best: Best) -> Figure:
        measured = _usable(table.get((side, c)))
        if measured is None or not peers:
            reason = reasons.get("triton") or reasons.get(side) or "no request was answered"
            return Figure(None, "ratio", target, reason=reason)
        return Figure(of(measured) / best(map(of, peers)), "ratio", target)

    values = (
        ratio("ours", Target(">=", FASTER[c]), lambda m: m.rate_hz, max),
        ratio("ours", Target("<=", P99_SHARE), lambda m: m.at(0.99), min),
        ratio("in_process", None, lambda m: m.rate_hz, max),
    )
    return {f"{name}_{what}_c{c}": figure for what, figure in zip(RATIOS, values, strict=True)}


def _of_kind(prefix: str, measured: Measured | None, reason: str) -> dict[str, Figure]:
    units = {"rps": "1/s", "p50_ms": "ms", "p99_ms": "ms"}
    if measured is None or _usable(measured) is None:
        said = reason or (measured.error if measured else "") or "no request was answered"
        return {f"{prefix}_{what}": Figure(None, unit, reason=said) for what, unit in units.items()}
    samples = {"latency_ms": measured.latencies_ms, "failed": [float(measured.failed)]}
    return {
        f"{prefix}_rps": Figure(measured.rate_hz, "1/s", None, samples),
        f"{prefix}_p50_ms": Figure(measured.at(0.5), "ms"),
        f"{prefix}_p99_ms": Figure(measured.at(0.99), "ms"),
    }


def _usable(measured: Measured | None) -> Measured | None:
    """What was measured, where that is anything."""
    return measured if measured is not None and measured.latencies_ms else None
