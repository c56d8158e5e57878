"""An app's options and policies as arrays, and the blobs that several places share by number.

What a route costs is `cost.route_cost`; here the same is worked out for thousands of routes at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schedulerd.optimizer.accuracy import damages_of, losses
from schedulerd.optimizer.cost import POLICY_SWAP, UNREAD_W, Swapping, policies_of
from schedulerd.optimizer.percentile import MEASURED, exponent
from schedulerd.optimizer.problem import AppOptions, Head, Option, PolicyOption, Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One app's options [blocks, places] and policies [policies, blocks]; blocks with fewer options are padded.

    Padding repeats the block's first option; `counts` says how many places are real.
    """

    app: AppOptions
    structure: object
    """The same for tables that differ in `swap` and `policy_swap` alone, or in what of `app` is in no array."""
    counts: Ints
    """Options left in each block."""
    index: Ints
    """Of the option in the problem."""
    median_ms: Floats
    tail_ms: Floats
    damage: Floats
    """What `accuracy.losses` joins."""
    energy_mj: Floats
    swap: Floats
    """Weighted accuracy that taking the option costs because something else runs."""
    arena_bytes: Floats
    own_bytes: Floats
    """Of blobs that nothing else can load, else 0."""
    blob: Ints
    """Number of a blob that other places may load too, among this app's `shared`; -1 for others."""
    shared: tuple[str, ...]
    """Blobs that are loadable at more than one place of the problem, by digest."""
    shared_bytes: Floats
    numbers: Ints
    """Of the policies that are left, in the problem."""
    depth: Ints
    reach: Floats
    heads_ms: Floats
    heads_tail_ms: Floats
    heads_mj: Floats
    policy_drop: Floats
    policy_swap: Floats
    heads_arena_bytes: Floats
    heads_own_bytes: Floats
    heads_blobs: Bools
    """[policies, shared]: which shared blobs are loaded as heads."""

    def allowed_loss(self) -> float:
        """How much accuracy the app's floor lets go; as `cost.floor_of` says, never less than has to go anyway."""
        app = self.app
        least = np.where(np.arange(self.index.shape[1]) < self.counts[:, None], self.damage, np.inf).min(axis=1)
        damages = np.where(np.arange(self.blocks) < self.depth[:, None], least, 0.0)
        unavoidable = float((losses(app.accuracy, damages) + self.policy_drop).min())
        return max(0.0, unavoidable, app.full_accuracy - app.app.accuracy_floor)

    @property
    def blocks(self) -> int:
        """How many blocks the model has."""
        return len(self.counts)


def shared_digests(problem: Problem) -> frozenset[str]:
    """Blobs that more than one block may run, of one app or of several, or more than one app may load as a head."""
    places: Counter[str] = Counter()
    for app in problem.apps:
        for block in app.blocks:
            places.update({option.digest for option in block})
        places.update({head.digest for policy in app.policies for head in policy.heads})
    return frozenset(digest for digest, count in places.items() if count > 1)


def table_of(app: AppOptions, shared: frozenset[str]) -> Table:
    """The arrays of one app, with every option and policy; swaps cost nothing, see `swapped`.

    Args:
        app: its options and policies.
        shared: `shared_digests` of the whole problem.
    """
    counts = [len(block) for block in app.blocks]
    width = max(counts)
    index = np.array([[*range(count), *[0] * (width - count)] for count in counts], np.intp)
    rows = [[*block, *[block[0]] * (width - len(block))] for block in app.blocks]
    policies = policies_of(app)
    sizes = _shared_sizes(rows, policies, shared)
    numbers = {digest: number for number, digest in enumerate(sizes)}
    return Table(
        app=app,
        structure=object(),
        counts=np.array(counts, np.intp),
        index=index,
        shared=tuple(sizes),
        shared_bytes=np.array(list(sizes.values()), np.float64),
        **_of_options(app, rows, index, numbers),
        **_of_policies(app, policies, numbers),
    )


def _of_options(
    app: AppOptions,
    rows: Sequence[Sequence[Option]],
    index: Ints,
    numbers: Mapping[str, int],
) -> dict[str, Any]:
    """The columns about options; `numbers` are of the shared blobs."""
    measured = np.array(
        [[(o.latency_ms, o.latency_p95_ms, o.memory_bytes, o.arena_bytes) for o in row] for row in rows]
    )
    median_ms, p95_ms, memory_bytes, arena_bytes = np.moveaxis(measured.astype(np.float64), 2, 0)
    energies = [[np.nan if o.energy_mj is None else o.energy_mj for o in row] for row in rows]
    energy_mj = np.array(energies, np.float64)
    damages = [[row[i] for i in places] for row, places in zip(damages_of(app), index, strict=True)]
    blob = np.array([[numbers.get(o.digest, -1) for o in row] for row in rows], np.intp)
    return {
        "median_ms": median_ms,
        "tail_ms": _at_percentile(median_ms, p95_ms, app.app.percentile),
        "damage": np.array(damages, np.float64),
        "energy_mj": np.where(np.isnan(energy_mj), UNREAD_W * median_ms, energy_mj),
        "swap": np.zeros(index.shape),
        "arena_bytes": arena_bytes,
        "own_bytes": np.where(blob < 0, memory_bytes, 0.0),
        "blob": blob,
    }


def _of_policies(app: AppOptions, policies: Sequence[PolicyOption], numbers: Mapping[str, int]) -> dict[str, Any]:
    """The columns about policies; `numbers` are of the shared blobs."""
    heads_ms = np.array([policy.heads_ms for policy in policies], np.float64)
    heads_p95_ms = np.array([policy.heads_p95_ms for policy in policies], np.float64)
    blobs = np.zeros((len(policies), len(numbers)), np.bool_)
    own_bytes = np.zeros(len(policies))
    for place, policy in enumerate(policies):
        for digest, size_bytes in {head.digest: head.memory_bytes for head in policy.heads}.items():
            if digest in numbers:
                blobs[place, numbers[digest]] = True
            else:
                own_bytes[place] += size_bytes
    return {
        "numbers": np.arange(len(policies)),
        "depth": np.array([policy.depth for policy in policies], np.intp),
        "reach": np.array([policy.reach for policy in policies], np.float64),
        "heads_ms": heads_ms,
        "heads_tail_ms": _at_percentile(heads_ms, heads_p95_ms, app.app.percentile),
        "heads_mj": np.array([p.heads_mj or [UNREAD_W * ms for ms in p.heads_ms] for p in policies], np.float64),
        "policy_drop": np.array([policy.accuracy_drop for policy in policies], np.float64),
        "policy_swap": np.zeros(len(policies)),
        "heads_arena_bytes": np.array([max([h.arena_bytes for h in p.heads], default=0) for p in policies], np.float64),
        "heads_own_bytes": own_bytes,
        "heads_blobs": blobs,
    }


def _at_percentile(median_ms: Floats, p95_ms: Floats, percentile: float) -> Floats:
    """`at_percentile` of arrays."""
    if percentile == MEASURED:
        return p95_ms
    ratio = np.divide(p95_ms, median_ms, out=np.ones_like(p95_ms), where=median_ms > 0)
    return np.where(median_ms > 0, median_ms * ratio ** exponent(percentile), p95_ms)


def keeping(table: Table, options: Bools, policies: Sequence[int]) -> Table:
    """The same app with some of its options [blocks, places] and policies, by place and in that order."""
    counts = options.sum(axis=1)
    places = np.argsort(~options, axis=1, kind="stable")[:, : counts.max()]
    places = np.where(np.arange(places.shape[1]) < counts[:, None], places, places[:, :1])
    blocks = np.arange(table.blocks)[:, None]
    changed: dict[str, Any] = {name: getattr(table, name)[blocks, places] for name in _BY_OPTION}
    changed |= {name: getattr(table, name)[list(policies)] for name in _BY_POLICY}
    return replace(table, structure=object(), counts=counts, **changed)


_BY_OPTION: Final = ("index", "median_ms", "tail_ms", "damage", "energy_mj", "swap", "arena_bytes", "own_bytes", "blob")
_BY_POLICY: Final = (
    *("numbers", "depth", "reach", "heads_ms", "heads_tail_ms", "heads_mj", "policy_drop", "policy_swap"),
    *("heads_arena_bytes", "heads_own_bytes", "heads_blobs"),
)


def _shared_sizes(
    rows: Sequence[Sequence[Option]], policies: Sequence[PolicyOption], shared: frozenset[str]
) -> dict[str, int]:
    """This app's shared blobs with their sizes."""
    blobs: list[Option | Head] = [option for row in rows for option in row]
    blobs += [head for policy in policies for head in policy.heads]
    return {blob.digest: blob.memory_bytes for blob in blobs if blob.digest in shared}


def swapped(table: Table, swapping: Swapping) -> Table:
    """The same with what leaving the app's running route costs."""
    running = table.app.running
    if running is None or not swapping.cost:
        return replace(table, swap=np.zeros(table.index.shape), policy_swap=np.zeros(len(table.numbers)))
    rows = zip(table.app.blocks, table.index, strict=True)
    shares = [
        [swapping.of_block(running, b, block[i].digest) for i in places] for b, (block, places) in enumerate(rows)
    ]
    others = [policies_of(table.app)[number].policy != running.policy for number in table.numbers]
    scale = swapping.scale(table.app)
    return replace(
        table,
        swap=scale * np.array(shares, np.float64),
        policy_swap=scale * POLICY_SWAP * np.array(others, np.float64),
    )
