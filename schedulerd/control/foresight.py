"""What the next plans are likely to want in memory, so that it can be there before they are made. Pure.

Nobody knows what comes, but a board slows down, memory runs short, and both pass. So the problem of this moment is
solved for a slower board and for less memory, and what recent plans ran is likely to be wanted when they pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from schedulerd.control.holdings import Form
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.variations import slower

SLOWER: Final = 1.5
"""A core that is shared or throttled; what one more process on every core does is about twice that."""
LESS_MEMORY: Final = 0.8


def imagined(problem: Problem) -> Iterator[Problem]:
    """The problem as it may be soon: on a slower board, and with less memory."""
    yield slower(problem, SLOWER)
    less_bytes = int(LESS_MEMORY * problem.limits.memory_bytes)
    yield replace(problem, limits=replace(problem.limits, memory_bytes=less_bytes))


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that is absent and may be wanted."""

    form: Form
    plans: int
    """How many likely plans want it."""
    load_ms: float
    """What loading it takes."""
    size_bytes: int

    @property
    def benefit(self) -> float:
        """Of having it: the time that is saved, for each byte."""
        return self.plans * self.load_ms / max(1, self.size_bytes)


def candidates(
    wanted: Sequence[Iterable[Form]], known_ms: Mapping[Form, float], size_bytes: Callable[[str], int]
) -> list[Candidate]:
    """What likely plans want that is absent.

    Args: wanted: of each plan what is absent; known_ms: what loading took, of what was ever loaded; size_bytes: by
    digest. What was never loaded is taken to load as quickly, for its size, as all that was.
    """
    of_plans = Counter(form for forms in wanted for form in set(forms))
    bytes_known = sum(size_bytes(form.digest) for form in known_ms)
    ms_per_byte = sum(known_ms.values()) / max(1, bytes_known)
    return [
        Candidate(form, plans, known_ms.get(form, ms_per_byte * size), size)
        for form, plans in of_plans.items()
        for size in (size_bytes(form.digest),)
    ]


def ranked(absent: Iterable[Candidate], room_bytes: int) -> list[Candidate]:
    """Those that are worth most for their bytes, as many as there is room for."""
    taken: list[Candidate] = []
    for candidate in sorted(absent, key=lambda c: (-c.benefit, -c.plans, c.size_bytes, c.form)):
        if candidate.size_bytes <= room_bytes:
            taken.append(candidate)
            room_bytes -= candidate.size_bytes
    return taken
