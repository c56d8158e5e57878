"""Options of `schedulerd build` about exits: heads between blocks, at which easy frames leave."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from blockstore.build.exits.settings import METHODS, POOLINGS, ExitSettings
from blockstore.errors import CannotBuild


@dataclass(frozen=True, slots=True, eq=False)
class _Option:
    """An option for the field `name` of `ExitSettings`; what it takes stands in `how`, for argparse."""

    name: str
    help: str
    how: dict[str, Any]
    default: str = ""
    """What the help says of the default, where the field's own value does not say it."""
    prefix: str = "exit"

    @property
    def long(self) -> str:
        return f"--{self.prefix}-{self.name.replace('_', '-')}"


def add(group: argparse._ArgumentGroup) -> None:
    """Add `--exits` and what else is said of them."""
    group.add_argument(
        "--exits",
        choices=METHODS,
        help="branchynet: given heads; flexdnn: pruned heads, only where they pay; mxn: the same with features"
        " aggregated from exit to exit, and focal loss (default: no exits)",
    )
    defaults = {field.name: field.default for field in dataclasses.fields(ExitSettings)}
    for option in _OPTIONS:
        default = option.default or defaults[option.name]
        # Left out is told from given by None: an option about exits without --exits is a mistake.
        group.add_argument(option.long, default=None, help=f"{option.help} (default {default})", **option.how)


def settings(args: argparse.Namespace) -> ExitSettings | None:
    """What `args` ask for; None: no exits. `CannotBuild` for what cannot be meant."""
    given = {
        option: value
        for option in _OPTIONS
        if (value := getattr(args, option.long.removeprefix("--").replace("-", "_"))) is not None
    }
    if args.exits is None:
        if given:
            raise CannotBuild(
                f"{', '.join(option.long for option in given)} without exits: say which with --exits"
                f" {'|'.join(METHODS)}, or leave {'it' if len(given) == 1 else 'them'} out"
            )
        return None
    return ExitSettings(args.exits, **{option.name: _flat(value) for option, value in given.items()})


def _flat(value: Any) -> Any:
    """Numbers given as several words, each of which may be a list as a recipe writes it, in one row."""
    return tuple(itertools.chain.from_iterable(value)) if isinstance(value, list) else value


def _several(kind: Callable[[str], float]) -> dict[str, Any]:
    """One or more numbers: `0 2`, or `0,2`."""

    def parsed(text: str) -> tuple[float, ...]:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError as error:
            what = "whole numbers, as in 0 2" if kind is int else "numbers, as in 1 0.5"
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of {what}") from error

    return {"nargs": "+", "type": parsed, "metavar": "N" if kind is int else "X"}


_WHOLE: Final = {"type": int, "metavar": "N"}
_NUMBER: Final = {"type": float, "metavar": "X"}
_OPTIONS: Final = (
    _Option("after", "blocks after which an exit is tried", _several(int), default="each but the last", prefix="exits"),
    _Option(
        "confidence",
        "max_probability, entropy, or your own package.module:function of the outputs, [batch, ...] to [batch] from 0"
        " to 1",
        {"metavar": "MEASURE"},
        default="entropy for branchynet, else max_probability",
    ),
    _Option("precision", "accuracy that what leaves keeps, relative to the whole network, in the plan", _NUMBER),
    _Option("epochs", "passes of the heads over the training images", _WHOLE),
    _Option("batch_size", "images of a step", _WHOLE),
    _Option("learning_rate", "highest learning rate of the heads", _NUMBER),
    _Option("gamma", "of focal loss; 0 is cross entropy", _NUMBER, default="2 for mxn, else 0"),
    _Option("weights", "of the exits' losses in joint training, by depth", _several(float), default="all 1"),
    _Option("pooling", "of pruned heads behind their convolutions", {"choices": POOLINGS}),
    _Option("augment", "shift and mirror training images that have labels", {"action": "store_true"}, default="do not"),
    _Option("sampled", "share of the batches that come through variants drawn from the store", _NUMBER),
    _Option("rounds", "of pruning heads, at most", _WHOLE),
    _Option("joint", "epochs in which network and exits learn together first", _WHOLE, prefix="exits"),
)
