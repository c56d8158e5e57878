"""Operators on other machines: whose key is let in, who of them may change something, and what only asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schedulerd.wire.messages import (
    Apps,
    LogLevel,
    Models,
    Objective,
    Ping,
    Request,
    ShowOverrides,
    ShowPlan,
    Status,
    WhatIf,
    Why,
)

_QUESTIONS: Final = (Apps, Models, Ping, ShowOverrides, ShowPlan, Status, WhatIf, Why)
"""Whatever is not named here is taken to change something, so that a new request is not open to everybody."""


class Remote(bytes):
    """The identity of an operator on another machine. A local peer's is plain bytes, whatever name it chose itself."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Operators:
    """Who is let in."""

    names: Mapping[str, str] = field(default_factory=dict)
    """By public key, as 40 characters of Z85."""
    in_control: frozenset[str] = frozenset()
    """Names of those who may change something; the others may look."""

    def lack(self, others: Operators) -> bool:
        """Whether somebody among `others` is not let in here, or only under another name."""
        return any(self.names.get(key) != name for key, name in others.names.items())


def only_asks(request: Request) -> bool:
    """Whether nothing is different after this request."""
    if isinstance(request, Objective):
        return request.objective is None
    if isinstance(request, LogLevel):
        return request.level is None
    return isinstance(request, _QUESTIONS)
