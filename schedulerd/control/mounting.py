"""A planned route and what was loaded for it, put together as what the executor runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blockstore.assembly import LoadedBlock, LoadedHead
from blockstore.block import Exit
from blockstore.exits import NO_EXITS
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.policies import forecast_of
from schedulerd.plan import AppPlan, Route
from schedulerd.serving.route import Expected, ExpectedBlock, LoadedExit, LoadedRoute, RouteExits


def mounted(
    planned: AppPlan,
    plan: int,
    blocks: Sequence[LoadedBlock],
    heads: Mapping[str, LoadedHead],
    catalogue: Catalogue,
) -> LoadedRoute:
    """The route of `planned` in memory.

    Args: planned; plan: number of its plan; blocks: in order; heads: of `Route.heads`, by digest; catalogue: profile,
    and the models' exits.
    """
    route = planned.route
    rows = [catalogue.table.row(digest) for digest in route.digests]
    p95_ms = [row.latency_p95_ms for row in rows]
    exits = tuple(_exits(planned, p95_ms, heads, catalogue)) if heads else ()
    depths = {e.name: e.block for e in exits}
    first = depths.get(route.policy.steps[0][0], len(rows) - 1)
    return LoadedRoute(
        route=route,
        blocks=tuple(blocks),
        plan=plan,
        accuracy=_end_accuracy(planned, exits),
        expected=expected_of(route.digests, catalogue),
        exits=RouteExits.of(exits, len(rows)) if exits else None,
        full_accuracy=min(1.0, planned.accuracy + _policy_drop(route, catalogue)),
        soonest_s=1e-3 * sum(row.latency_ms for row in rows[: first + 1]),
    )


def expected_of(digests: Sequence[str], catalogue: Catalogue) -> Expected:
    """What the profile says of the blocks of a route that runs these blobs."""
    rows = (catalogue.table.row(digest) for digest in digests)
    return tuple(
        ExpectedBlock(
            first=n,
            digests=(row.digest,),
            engine=row.engine,
            median_ms=row.latency_ms,
            cold_ms=row.after_others_ms,
            p95_ms=row.latency_p95_ms,
            batch_ms=catalogue.table.batches_ms(row),
        )
        for n, row in enumerate(rows)
    )


def _policy_drop(route: Route, catalogue: Catalogue) -> float:
    """What the exit policy takes off the accuracy of the variants."""
    if route.policy.steps == NO_EXITS.steps:
        return 0.0
    return forecast_of(catalogue.models[route.model], route.policy).accuracy_drop


def _end_accuracy(planned: AppPlan, exits: Sequence[LoadedExit]) -> float:
    """Of the frames that no exit is sure of: what is left of the accuracy of all when the others have theirs."""
    confident = {e.name: e.curve.at(e.threshold).precision for e in exits if e.threshold}
    shares = planned.shares_by_exit()
    *_, (last, _) = planned.route.policy.steps
    if shares[last] <= 0:
        return planned.accuracy
    right = sum(share * confident.get(name, 0.0) for name, share in shares.items() if name != last)
    return min(1.0, max(0.0, (planned.accuracy - right) / shares[last]))


def _exits(
    planned: AppPlan,
    block_p95_ms: Sequence[float],
    heads: Mapping[str, LoadedHead],
    catalogue: Catalogue,
) -> Iterator[LoadedExit]:
    """The exits that were loaded, by rising depth."""
    route = planned.route
    thresholds = dict(route.policy.steps)
    loaded = [(e, a.digest) for e in catalogue.models[route.model].exits if (a := e.artifact(catalogue.engine))]
    loaded = [(e, digest) for e, digest in loaded if digest in heads and e.block < len(route.variants)]
    ends = [*((e.block, _p95_ms(digest, catalogue)) for e, digest in loaded[1:]), (len(route.variants) - 1, 0.0)]
    for (exit_, digest), (next_block, next_head_ms) in zip(loaded, ends, strict=True):
        upstream = route.variants[: exit_.block + 1]
        onward_ms = sum(block_p95_ms[exit_.block + 1 : next_block + 1]) + next_head_ms
        yield LoadedExit(
            name=exit_.name,
            block=exit_.block,
            inputs=exit_.inputs,
            head=heads[digest],
            threshold=_threshold(exit_, thresholds, upstream),
            curve=exit_.curves.of(upstream),
            onward_s=onward_ms * 1e-3,
            digest=digest,
        )


def _threshold(exit_: Exit, thresholds: Mapping[str, float], upstream: Sequence[str]) -> float | None:
    """The policy's threshold as it is behind these variants; None where the policy does not name the exit."""
    general = thresholds.get(exit_.name)
    return None if general is None else exit_.curves.threshold(general, upstream)


def _p95_ms(digest: str, catalogue: Catalogue) -> float:
    return catalogue.table.row(digest).latency_p95_ms
