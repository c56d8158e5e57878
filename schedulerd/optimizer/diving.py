"""From options in parts to whole ones: the program is solved again and again, with more and more of it settled.

Diving (Achterberg, Constraint Integer Programming, 2007, section 9.2), with limits that may be exceeded at a price.
What comes out may exceed some by a little; the search over routes mends that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from schedulerd.optimizer.linear import LinearProgram
from schedulerd.optimizer.tables import Floats, Ints

_DIVES: Final = 9
"""Rounds in which parts become whole."""
_FREE_DIVES: Final = 3
"""Rounds in which what is whole may come apart again."""
_ITERATIONS: Final = 250
"""Of the simplex method in one round: those that take more have no solution, mostly."""
_CUT_ROUNDS: Final = 1
_WHOLE: Final = 1.0 - 1e-6

Rounded = tuple[int, list[int]]
"""Places of an app's policy and of its option in each block."""


def dive(program: LinearProgram, values: Floats) -> tuple[Rounded, ...]:
    """For each app a route near the solution `values` [columns]; afterwards the limits of the program are soft.

    Of what is in parts a third is made whole each time. Where that leaves no solution only the first of it is, and
    where that leaves none, what it would have taken is left out.
    """
    fixed: list[Ints] = []
    count = 0
    program.lp.set_costs(program.soften())
    program.lp.set_limits(iterations=_ITERATIONS)
    for number in range(_DIVES):
        parts, whole = _in_parts(program, values)
        if not parts:
            break
        count = count or -(-len(parts) // 3)
        now = [others for others, _ in parts[:count]]
        if number >= _FREE_DIVES:
            # Else other blocks would be taken in parts for each that is made whole.
            now.append(whole)
        found = _without(program, now)
        if found is None and count == 1:
            now = [np.array([parts[0][1]])]
            found = _without(program, now)
        if found is not None:
            fixed += now
            values, count = found, 0
        elif count == 1:
            break
        else:
            count = 1
    program.lp.bound(np.unique(np.concatenate([np.zeros(0, np.intp), *fixed])), np.inf)
    return rounded_at(program, values)


def rounded_at(program: LinearProgram, values: Floats) -> tuple[Rounded, ...]:
    """For each app the policy and the options that are taken most in `values` [columns]."""
    return tuple(_rounded(program, position, values) for position in range(len(program.tables)))


def _without(program: LinearProgram, left_out: Sequence[Ints]) -> Floats | None:
    """The solution without these columns; None where there is none, and they are let in again."""
    columns = np.concatenate(left_out)
    program.lp.bound(columns, 0.0)
    found = program.solution(_CUT_ROUNDS)
    if found is None:
        program.lp.bound(columns, np.inf)
    return found


def _in_parts(program: LinearProgram, values: Floats) -> tuple[list[tuple[Ints, int]], Ints]:
    """What is taken in parts, and what is whole.

    Of the former, the most decided first, the most taken column after the others; an app's policy comes before its
    blocks. Of the latter all others.
    """
    found: list[tuple[float, Ints, int]] = []
    settled = []
    for takes, policies, table in zip(program.takes, program.policies, program.tables, strict=True):
        place = int(np.argmax(values[policies]))
        share = float(values[policies[place]])
        if share < _WHOLE:
            found.append((share + 1.0, np.delete(policies, place), int(policies[place])))
            continue
        columns = takes[place, : int(table.depth[place])]
        shares = np.where(columns >= 0, values[columns], -1.0)
        most = np.argmax(shares, axis=1)
        top = shares[np.arange(len(most)), most]
        for block in np.flatnonzero(top < _WHOLE):
            others = np.delete(columns[block], most[block])
            found.append((float(top[block]), others[others >= 0], int(columns[block, most[block]])))
        others = columns[(np.arange(columns.shape[1]) != most[:, None]) & (top >= _WHOLE)[:, None] & (columns >= 0)]
        settled += [others, np.delete(policies, place)]
    whole = np.concatenate(settled) if settled else np.zeros(0, np.intp)
    return [(others, most) for _, others, most in sorted(found, key=lambda of: -of[0])], whole


def _rounded(program: LinearProgram, position: int, values: Floats) -> Rounded:
    takes, table = program.takes[position], program.tables[position]
    place = int(np.argmax(values[program.policies[position]]))
    shares = np.where(takes[place] >= 0, values[takes[place]], -1.0)
    shares[int(table.depth[place]) :] = [[1.0] + [0.0] * (shares.shape[1] - 1)]
    return place, [int(most) for most in np.argmax(shares, axis=1)]
