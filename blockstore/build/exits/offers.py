"""From thresholds to the policies of a manifest: which ones are offered, and what each does to unseen images. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blockstore.build.exits.descent import OFF, Thresholds
from blockstore.build.exits.insertion import Costs
from blockstore.build.exits.policies import Outcome, by_precision, cheapest, most_accurate, outcome
from blockstore.build.exits.seen import Seen
from blockstore.exits import FINAL, ExitPolicy, Forecast, OfferedPolicy

DROPS: Final = (0.0, 0.005, 0.02)
"""Accuracy that a policy may cost, as an absolute fraction; few, for the optimizer weighs each with every variant."""
SHARES: Final = (0.75, 0.5)
"""Expected cost that a policy may have, as a share of the whole network's."""
CAP_DROP: Final = 0.005
"""What the exits before a cap may cost, beside the accuracy at the cap."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A policy by thresholds: those of the first exits, and where all the others leave."""

    name: str
    thresholds: Thresholds
    """Of the exits before the last step."""
    last: int
    """Number of the exit that caps the depth; that of exits in all for the network's own end."""


def searched(seen: Seen, costs: Costs, precision: float) -> Iterator[Searched]:
    """Policies for one precision, several drops of accuracy, several costs, and every depth."""
    exits = len(costs.heads)
    yield Searched(f"precision-{100 * precision:g}", by_precision(seen, precision), exits)
    for drop in DROPS:
        yield Searched(f"drop-{100 * drop:g}", cheapest(seen, costs, seen.full_accuracy - drop), exits)
    for share in SHARES:
        found = most_accurate(seen, costs, share * costs.whole)
        if found is not None:
            yield Searched(f"cost-{100 * share:g}", found, exits)
    for exit_ in range(exits):
        capped, short = seen.ending_at(exit_), Costs(costs.upto[: exit_ + 1], costs.heads[:exit_])
        thresholds = cheapest(capped, short, capped.full_accuracy - CAP_DROP) if exit_ else ()
        yield Searched(f"cap-{exit_ + 1}", thresholds, exit_)


def offers(found: Sequence[Searched], names: Sequence[str], unseen: Seen, costs: Costs) -> tuple[OfferedPolicy, ...]:
    """The policies of `found` that enable an exit, with what they do to images that nothing was searched on.

    Of equal ones the first stays; one that another with the same end beats in cost and in accuracy is left out.
    """
    rows: list[tuple[Outcome, OfferedPolicy]] = []
    for one in found:
        policy = _policy(one, names)
        if (len(policy.steps) == 1 and policy.last == FINAL) or any(policy.steps == o.policy.steps for _, o in rows):
            continue
        rows.append(_forecast(one, policy, unseen, costs))
    return tuple(o for result, o in rows if not any(_beats(r, p, result, o) for r, p in rows))


def _policy(one: Searched, names: Sequence[str]) -> ExitPolicy:
    enabled = [(name, t) for name, t in zip(names, one.thresholds, strict=False) if t != OFF]
    last = names[one.last] if one.last < len(names) else FINAL
    return ExitPolicy(one.name, (*enabled, (last, 0.0)))


def _forecast(one: Searched, policy: ExitPolicy, unseen: Seen, costs: Costs) -> tuple[Outcome, OfferedPolicy]:
    capped = one.last < len(costs.heads)
    seen = unseen.ending_at(one.last) if capped else unseen
    own = Costs(costs.upto[: one.last + 1], costs.heads[: one.last]) if capped else costs
    result = outcome(seen, own, one.thresholds)
    if capped:
        # The head where everybody leaves is evaluated for all that come there.
        result = Outcome(result.shares, result.accuracy, result.cost + result.shares[-1] * costs.heads[one.last])
    enabled = [share for share, t in zip(result.shares, one.thresholds, strict=False) if t != OFF]
    drop = round(unseen.full_accuracy - result.accuracy, 5)
    return result, OfferedPolicy(policy, Forecast((*enabled, result.shares[-1]), drop))


def _beats(one: Outcome, its: OfferedPolicy, other: Outcome, others: OfferedPolicy) -> bool:
    better = one.cost <= other.cost and its.forecast.accuracy_drop <= others.forecast.accuracy_drop
    equal = one.cost == other.cost and its.forecast.accuracy_drop == others.forecast.accuracy_drop
    return its.policy.last == others.policy.last and better and not equal
