"""Kinds by name, and a variant's recipe as text: `prune:0.5,l2+int8`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from blockstore.block import ORIGINAL
from blockstore.build.kinds import dpruner, fp16, fp16_greedy, int8, prune, skip, tucker2
from blockstore.build.kinds.base import Encoding, Kind, Reshaping
from blockstore.errors import CannotBuild

KINDS: Final[Mapping[str, Callable[[Sequence[str]], Kind]]] = {
    "prune": prune.parse,
    "skip": skip.parse,
    "dpruner": dpruner.parse,
    "tucker2": tucker2.parse,
    "fp16": fp16.parse,
    "fp16-greedy": fp16_greedy.parse,
    "int8": int8.parse,
}
"""Name -> what makes the kind of its arguments; raises `CannotBuild` for arguments that mean nothing."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one variant of a block is made."""

    text: str
    """As it was written, which is the name of the variant: `prune:0.5+int8`."""
    kind: str
    """Names of the kinds without their arguments: `prune+int8`."""
    reshapings: tuple[Reshaping, ...]
    encoding: Encoding | None

    @property
    def shape(self) -> str:
        """The part of `text` that decides the operators: recipes that share it are one module, retrained once."""
        steps = self.text.split("+")
        shape = steps[:-1] if self.encoding else steps
        return "+".join(shape) or ORIGINAL


def parse(text: str) -> Recipe:
    """The recipe of `kind:argument,argument+kind+...`; `CannotBuild` says what is wrong with it."""
    steps = [_step(step, text) for step in text.split("+")]
    encodings = [kind for _, kind in steps if isinstance(kind, Encoding)]
    if len(encodings) > 1 or (encodings and steps[-1][1] is not encodings[0]):
        raise CannotBuild(f"variant {text!r}: at most one kind sets the precision, and it comes last")
    return Recipe(
        text,
        "+".join(name for name, _ in steps),
        tuple(kind for _, kind in steps if isinstance(kind, Reshaping)),
        encodings[0] if encodings else None,
    )


def parse_all(texts: Sequence[str]) -> tuple[Recipe, ...]:
    """Recipes in order; `CannotBuild` for one that is given twice."""
    twice = sorted({t for t in texts if texts.count(t) > 1})
    if twice:
        raise CannotBuild(f"variant {twice[0]!r} is given twice")
    return tuple(map(parse, texts))


def _step(step: str, text: str) -> tuple[str, Kind]:
    name, colon, arguments = step.partition(":")
    if name not in KINDS:
        raise CannotBuild(f"variant {text!r}: there is no kind {name!r}, only {', '.join(KINDS)}")
    try:
        return name, KINDS[name](arguments.split(",") if colon else [])
    except CannotBuild as error:
        raise CannotBuild(f"variant {text!r}: {error}") from error
