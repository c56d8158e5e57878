"""The choices of one app as columns of the integer program: a binary per option under each policy, and what it costs.

How much of an app's time a block is expected to take depends on the policy, so an app with several policies has its
options once for each: those of the policy that is taken add up to 1 in every block within its depth, the others to 0
(the disaggregated form of a disjunction, whose relaxation is the convex hull of one app's routes: Balas 1998). What a
policy loses itself hangs on the options of the first block, of which just one is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

import pulp

from schedulerd.control.choice import best_picks
from schedulerd.control.cost import RouteCost, policies_of
from schedulerd.control.problem import AppOptions, Option, PolicyOption

Terms = list[tuple[pulp.LpVariable, float]]


@dataclass(frozen=True, slots=True)
class Column:
    """One option of one block under one policy: its variable, and what taking it costs."""

    take: pulp.LpVariable
    pick: int
    """Index of the option in the problem."""
    option: Option
    median_ms: float
    """With the head behind the block, as `p95_ms`."""
    p95_ms: float
    expected_ms: float
    accuracy_drop: float
    """In the first block with that of the policy."""


Cost = Callable[[Column], float]
MEDIAN_MS: Final[Cost] = attrgetter("median_ms")
P95_MS: Final[Cost] = attrgetter("p95_ms")
EXPECTED_MS: Final[Cost] = attrgetter("expected_ms")
ACCURACY_DROP: Final[Cost] = attrgetter("accuracy_drop")


@dataclass(frozen=True, slots=True)
class Branch:
    """One policy, with the columns of the blocks within its depth."""

    number: int
    """Index of the policy in the problem."""
    policy: PolicyOption
    blocks: tuple[tuple[Column, ...], ...]
    taken: Terms
    """Comes to 1 where the policy is taken, else to 0."""

    @property
    def heads_arena_bytes(self) -> int:
        """What the activations of the head take that needs most."""
        return max((head.arena_bytes for head in self.policy.heads), default=0)

    @property
    def least_arena_bytes(self) -> int:
        """What the activations of no route undercut."""
        blocks_bytes = [min(column.option.arena_bytes for column in block) for block in self.blocks]
        return max(self.heads_arena_bytes, *blocks_bytes)


@dataclass(frozen=True, slots=True)
class AppColumns:
    """All that one app chooses from."""

    app: AppOptions
    branches: tuple[Branch, ...]

    def block(self, block: int) -> list[Column]:
        """The columns of one block under all policies that reach it."""
        reached = [branch.blocks[block] for branch in self.branches if block < len(branch.blocks)]
        return [column for columns in reached for column in columns]

    def each(self) -> Iterator[Column]:
        """All columns."""
        return (column for branch in self.branches for block in branch.blocks for column in block)

    def terms(self, cost: Cost, factor: float = 1.0) -> Terms:
        """What the route that is taken comes to."""
        return [(column.take, factor * cost(column)) for column in self.each()]

    def most(self, cost: Cost) -> float:
        """What no route exceeds."""
        return max(sum(max(map(cost, block)) for block in branch.blocks) for branch in self.branches)

    def least_longest_ms(self) -> float:
        """What the longest block of no route undercuts."""
        return min(max(min(map(MEDIAN_MS, block)) for block in branch.blocks) for branch in self.branches)

    def least_arena_bytes(self) -> int:
        """What the activations of no route undercut."""
        return min(branch.least_arena_bytes for branch in self.branches)

    def slowest(self) -> RouteCost:
        """What the cost of no route exceeds."""
        return RouteCost(
            median_ms=self.most(MEDIAN_MS),
            p95_ms=self.most(P95_MS),
            longest_ms=max(map(MEDIAN_MS, self.each())),
            expected_ms=self.most(EXPECTED_MS),
            accuracy_drop=self.most(ACCURACY_DROP),
            arena_bytes=max(int(arena_bytes) for place in self.arenas() for _, arena_bytes in place),
        )

    def loaded(self) -> Iterator[tuple[int | None, str, int, Terms]]:
        """Every blob with the block it is for (None for heads), its size and what loads it, of which one at most is 1.

        A blob comes once for every policy and option that loads it.
        """
        for branch in self.branches:
            for b, block in enumerate(branch.blocks):
                for column in block:
                    yield b, column.option.digest, column.option.memory_bytes, [(column.take, 1.0)]
            for digest, size_bytes in {head.digest: head.memory_bytes for head in branch.policy.heads}.items():
                yield None, digest, size_bytes, branch.taken

    def arenas(self) -> Iterator[Terms]:
        """For each block, and for the heads, what the activations there take; of each one term at most is not 0."""
        for b in range(len(self.app.blocks)):
            yield [(column.take, column.option.arena_bytes) for column in self.block(b)]
        heads = [(branch.taken, branch.heads_arena_bytes) for branch in self.branches if branch.policy.heads]
        yield [(taken, factor * arena_bytes) for terms, arena_bytes in heads for taken, factor in terms]

    def solution(self) -> tuple[list[int], int]:
        """Index of the option that is taken for each block of the problem, and of the policy.

        The best options stand for blocks that no frame reaches.
        """
        branch = max(self.branches, key=lambda branch: _value(branch.taken))
        picks = [max(block, key=lambda column: column.take.varValue or 0.0).pick for block in branch.blocks]
        return picks + best_picks(self.app)[len(picks) :], branch.number


def columns_of(
    lp: pulp.LpProblem, name: str, app: AppOptions, options: Sequence[Sequence[int]], policies: Sequence[int]
) -> AppColumns:
    """Add to `lp` the columns of `app`, and the rows by which one policy and its options are taken.

    Args:
        lp: the program.
        name: of the app within it.
        app: its options and policies.
        options: for each block, indices of those that are left.
        policies: indices of those that are left.
    """
    branches = tuple(_branch(lp, f"{name}_{number}", app, number, options) for number in policies)
    if len(branches) == 1:
        for b, block in enumerate(branches[0].blocks):
            _exactly(lp, _takes(block), 1.0, f"one_of:{name}:{b}")
        return AppColumns(app, branches)
    branches = tuple(replace(b, taken=[(_binary(lp, f"policy_{name}_{b.number}"), 1.0)]) for b in branches)
    _exactly(lp, [term for branch in branches for term in branch.taken], 1.0, f"one_of:{name}")
    for branch in branches:
        for b, block in enumerate(branch.blocks):
            terms = [*_takes(block), *((taken, -1.0) for taken, _ in branch.taken)]
            _exactly(lp, terms, 0.0, f"one_of:{name}:{branch.number}:{b}")
    return AppColumns(app, branches)


def _branch(lp: pulp.LpProblem, name: str, app: AppOptions, number: int, options: Sequence[Sequence[int]]) -> Branch:
    policy = policies_of(app)[number]
    blocks = tuple(
        tuple(
            _column(app, policy, b, pick, _binary(lp, f"take_{name}_{b}_{place}"))
            for place, pick in enumerate(options[b])
        )
        for b in range(policy.depth)
    )
    return Branch(number, policy, blocks, _takes(blocks[0]))


def _column(app: AppOptions, policy: PolicyOption, b: int, pick: int, take: pulp.LpVariable) -> Column:
    option = app.blocks[b][pick]
    time_ms = option.latency_ms + policy.heads_ms[b]
    return Column(
        take=take,
        pick=pick,
        option=option,
        median_ms=time_ms,
        p95_ms=option.latency_p95_ms + policy.heads_p95_ms[b],
        expected_ms=policy.reach[b] * time_ms,
        accuracy_drop=option.accuracy_drop + (policy.accuracy_drop if b == 0 else 0.0),
    )


def _takes(columns: Sequence[Column]) -> Terms:
    return [(column.take, 1.0) for column in columns]


def _binary(lp: pulp.LpProblem, name: str) -> pulp.LpVariable:
    return lp.add_variable(name, 0, 1, pulp.LpInteger)


def _exactly(lp: pulp.LpProblem, terms: Terms, value: float, name: str) -> None:
    lp.addConstraint(pulp.LpConstraint(pulp.LpAffineExpression(terms), pulp.LpConstraintEQ, name, value))


def _value(terms: Terms) -> float:
    """What the terms come to in the solution; variables that the solver left alone are 0."""
    return sum(factor * (variable.varValue or 0.0) for variable, factor in terms)
