"""The frozen values that pass between the stages of the control loop: apps, routes, plans, and their differences.

A `Plan` says what every app runs and why; `difference(old, new)` turns two plans into the route changes that the
switcher performs. Nothing here reads a clock, a device or a socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blockstore.exits import NO_EXITS, ExitPolicy
from schedulerd.wire.messages import MAX_PRIORITY as MAX_PRIORITY
from schedulerd.wire.messages import MIN_PRIORITY as MIN_PRIORITY

MIN_PERCENTILE, MAX_PERCENTILE = 50.0, 99.9
LATE_POLICIES = ("run", "drop", "exit")
"""What happens to a request that is late. `run`: it runs all the same. `drop`: it is refused where it can no longer be
in time when it is to start. `exit`: it leaves at the last exit that still meets the deadline, at the first one where
none does."""


@dataclass(frozen=True, slots=True)
class Pins:
    """What of an app's route the operator holds, whatever would be better."""

    variants: tuple[tuple[str, str], ...] = ()
    """`(block, variant)`, by name."""
    exits: tuple[tuple[str, float], ...] = ()
    """The steps of the exit policy; empty where that is left open."""

    def __bool__(self) -> bool:
        return bool(self.variants or self.exits)


NO_PINS = Pins()


@dataclass(frozen=True, slots=True)
class App:
    """What one registered client asked for, and what the operator wants of it."""

    app_id: str
    """Unique among live apps; chosen by the client or made from the model's name."""
    model: str
    budget_ms: float
    """Wanted time from arrival of a request to its reply being ready, > 0."""
    rate_hz: float
    """Frames a second that the app means to send, > 0."""
    priority: int = 5
    """`MIN_PRIORITY` (least) to `MAX_PRIORITY` (most); budgets are given up in order of priority, lowest first."""
    accuracy_floor: float = 0.0
    """Least acceptable predicted accuracy, 0 to 1."""
    late: str = "run"
    exits: ExitPolicy | None = None
    """The exit policy that the client insists on; None leaves it to the optimizer."""
    percentile: float = 95.0
    """Of its latencies, which the budget is about: `MIN_PERCENTILE` to `MAX_PERCENTILE`."""
    prepare_ms: float = 0.0
    """What making the model's input of a camera's frame takes, before the first block and on its lane."""
    pins: Pins = NO_PINS


@dataclass(frozen=True, slots=True)
class Route:
    """One variant per block plus an exit policy: what really runs for an app."""

    model: str
    variants: tuple[str, ...]
    """Variant names in block order, up to the block where the policy's last frame leaves."""
    digests: tuple[str, ...]
    """Blobs of these variants for the engine in use, in block order."""
    policy: ExitPolicy = NO_EXITS
    heads: tuple[str, ...] = ()
    """Blobs of the model's exits after these blocks, by rising depth, whether or not the policy enables them."""

    def __str__(self) -> str:
        blocks = "|".join(self.variants)
        return blocks if self.policy == NO_EXITS else f"{blocks} [{self.policy}]"


@dataclass(frozen=True, slots=True)
class AppPlan:
    """An app's part of a plan: its route and what is predicted for it."""

    app_id: str
    route: Route
    latency_ms: float
    """Predicted median time of the route alone under the present load, for a frame that leaves at its last exit."""
    latency_p95_ms: float
    """Predicted 95th percentile, with the serving overhead and the longest wait for other apps."""
    accuracy: float
    memory_bytes: int
    """Resident bytes of this route alone, with its activations; what it shares with other apps is counted in full."""
    utilisation: float
    """Share of one lane that the app uses: rate times `expected_ms`."""
    block_ms: tuple[float, ...]
    """Predicted time of each block under the present load."""
    miss_ms: float = 0.0
    """By how much the predicted percentile that the budget is about exceeds it; 0 when it is met."""
    expected_ms: float = 0.0
    """Predicted mean over easy and hard frames; `latency_ms` where no frame leaves early."""
    exit_shares: tuple[float, ...] = (1.0,)
    """For each step of the route's exit policy, the share of the frames that is expected to leave there."""
    energy_mj: float | None = None
    """Predicted mean of a frame; None where it could not be measured."""

    def shares_by_exit(self) -> dict[str, float]:
        """`exit_shares` by the name of the exit."""
        names = [name for name, _ in self.route.policy.steps]
        return dict(zip(names, self.exit_shares, strict=True))


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit that a plan exceeds because no choice of routes keeps them all."""

    limit: str
    """As in `Plan.binding`."""
    share: float
    """By how much, as a share of the limit: 0.1 is a tenth too much."""
    rank: int
    """Those of a higher rank are given up first: floors, memory, utilisation, power, budgets by falling priority."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The routes of all apps, what is predicted, and the limits that bind."""

    number: int
    """Counts up from 1; 0 is the empty plan before any app has joined."""
    apps: tuple[AppPlan, ...]
    memory_bytes: int
    """Resident bytes of all routes: equal blobs counted once, activations once a lane for the block with the most."""
    memory_limit_bytes: int
    utilisation: float
    """Share of all lanes together, 0 to 1 (above 1 cannot be served)."""
    binding: tuple[str, ...] = ()
    """Names of the limits that bind, e.g. `budget:cam1`, `memory`, `utilisation`."""
    status: str = "optimal"
    """`optimal` (no plan is better), `bounded` (proven to be within `gap` of the best), `unproven` (the best that was
    found), `time_limit` (the same, cut short) or `greedy` (found without an answer of the solver; see `note`)."""
    gap: float | None = 0.0
    """By how much a plan could be better at most, as a share of what this one comes to; None: nothing is proven."""
    solve_ms: float = 0.0
    weighted_accuracy: float = 0.0
    """Mean of the apps' accuracies as shares of their models' full accuracies, weighted by priority."""
    broken: tuple[Excess, ...] = ()
    """The binding limits that are exceeded, in order of rank."""
    objective: str = "max-accuracy"
    """What was optimised, one of the optimizer's objectives."""
    note: str = ""
    """What kept the solver from finishing, or its answer from being used; empty when nothing did."""

    def app(self, app_id: str) -> AppPlan | None:
        """The part of one app, or None."""
        return next((a for a in self.apps if a.app_id == app_id), None)

    def without(self, app_id: str) -> Plan:
        """The same plan, less the part of one app; sums over all apps are left as they were predicted."""
        return replace(self, apps=tuple(a for a in self.apps if a.app_id != app_id))

    def digests(self) -> frozenset[str]:
        """Every blob that some route of this plan runs."""
        return frozenset(d for a in self.apps for d in (*a.route.digests, *a.route.heads))


EMPTY_PLAN = Plan(number=0, apps=(), memory_bytes=0, memory_limit_bytes=0, utilisation=0.0)


def relief(before: Sequence[Excess], after: Sequence[Excess], tolerance: float = 0.0) -> float:
    """How much less `after` exceeds its limits: the first rank whose sums of shares differ decides.

    Positive where `after` is the lighter one, negative where it is the heavier one, 0 where no rank differs by more
    than `tolerance`.
    """
    for rank in sorted({e.rank for e in (*before, *after)}):
        gained = sum(e.share for e in before if e.rank == rank) - sum(e.share for e in after if e.rank == rank)
        if abs(gained) > tolerance:
            return gained
    return 0.0


@dataclass(frozen=True, slots=True)
class RouteChange:
    """One app moves from one route to another (`old` is None when it joins, `new` is None when it leaves)."""

    app_id: str
    old: Route | None
    new: Route | None

    @property
    def swapped_blocks(self) -> int:
        """How many blocks differ: what the switcher really has to exchange."""
        if self.old is None or self.new is None or len(self.old.digests) != len(self.new.digests):
            return len((self.new or self.old or Route("", (), ())).digests)
        return sum(a != b for a, b in zip(self.old.digests, self.new.digests, strict=True))


def difference(old: Plan, new: Plan) -> tuple[RouteChange, ...]:
    """The route changes that lead from `old` to `new`, apps in order of name; apps that keep their route are absent."""
    before = {a.app_id: a.route for a in old.apps}
    after = {a.app_id: a.route for a in new.apps}
    return tuple(
        RouteChange(app_id, before.get(app_id), after.get(app_id))
        for app_id in sorted(before.keys() | after.keys())
        if before.get(app_id) != after.get(app_id)
    )
