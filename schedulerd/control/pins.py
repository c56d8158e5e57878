"""What an operator pins of an app's route: checked against its model, and what of it cannot be had now. Pure.

Pins hold for a name, and whoever registers under it may bring another model, or the model may have been built again.
What is pinned never keeps an app from running: what cannot be had is told, and the optimizer is free there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from blockstore.block import Model
from blockstore.exits import ExitPolicy
from schedulerd.errors import BadValue
from schedulerd.plan import Pins, Route
from schedulerd.typed import did_you_mean


def named(block: str, model: Model) -> str:
    """The name of a block that is given by its name, or by its number from 0; what is neither stays as it is."""
    names = [one.name for one in model.blocks]
    is_number = block not in names and block.isascii() and block.isdecimal() and int(block) < len(names)
    return names[int(block)] if is_number else block


def checked(wanted: Mapping[str, str], model: Model) -> Pins:
    """Pins of `wanted`, block -> variant, as the model has them; `BadValue` names the nearest and what there is."""
    blocks = {block.name: [variant.name for variant in block.variants] for block in model.blocks}
    pins = {named(block, model): variant for block, variant in wanted.items()}
    for block, variant in pins.items():
        if block not in blocks:
            raise BadValue(f"{model.name!r} has no block {block!r}{_instead(block, blocks)}")
        if variant not in blocks[block]:
            raise BadValue(
                f"block {block!r} of {model.name!r} has no variant {variant!r}{_instead(variant, blocks[block])}"
            )
    return Pins(_in_order(pins, model))


def whole(route: Route, model: Model) -> Pins:
    """Everything that a route is made of: its variants, and the exit policy where the model has exits."""
    names = (block.name for block in model.blocks)
    steps = route.policy.steps if model.exits else ()
    return Pins(tuple(zip(names, route.variants, strict=False)), steps)


def joined(known: Pins, more: Pins, model: Model) -> Pins:
    """`known`, with other variants where `more` has some; blocks that are not the model's stay at the end."""
    return Pins(_in_order({**dict(known.variants), **dict(more.variants)}, model), more.exits or known.exits)


def without(known: Pins, blocks: Iterable[str], app_id: str) -> Pins:
    """`known`, less these blocks; `BadValue` where one of them is not pinned."""
    held = dict(known.variants)
    for block in blocks:
        if held.pop(block, None) is None:
            raise BadValue(
                f"block {block!r} of {app_id!r} is not pinned{_instead(block, [name for name, _ in known.variants])}"
            )
    return replace(known, variants=tuple(held.items()))


def by_block(pins: Pins, model: Model) -> tuple[str, ...]:
    """`AppOptions.pins`: for each block of a model the variant that is pinned, "" where none is; empty without any."""
    held = dict(pins.variants)
    found = tuple(held.get(block.name, "") for block in model.blocks)
    return found if any(found) else ()


def unmet(pins: Pins, model: Model, route: Route | None = None) -> list[str]:
    """Of what is pinned, in sentences, what the model does not have, and what a route that it runs does not hold."""
    if not pins:
        return []
    names = (block.name for block in model.blocks)
    said = list(_unmet_variants(pins, model, dict(zip(names, route.variants if route else (), strict=False))))
    if route is not None and pins.exits not in ((), route.policy.steps):
        said.append(f"the exit policy {ExitPolicy('', pins.exits)} is not offered, {route.policy} is used")
    return said


def _unmet_variants(pins: Pins, model: Model, ran: Mapping[str, str]) -> Iterator[str]:
    blocks = {block.name: [variant.name for variant in block.variants] for block in model.blocks}
    for block, variant in pins.variants:
        if block not in blocks:
            yield f"{model.name} has no block {block}"
        elif variant not in blocks[block]:
            yield f"{block} of {model.name} has no variant {variant}"
        elif block in ran and ran[block] != variant:
            yield f"{block} runs {ran[block]} now, not {variant}"


def _in_order(pins: Mapping[str, str], model: Model) -> tuple[tuple[str, str], ...]:
    """By the blocks of a model, those that it does not have last."""
    places = {block.name: place for place, block in enumerate(model.blocks)}
    return tuple(sorted(pins.items(), key=lambda pin: (places.get(pin[0], len(places)), pin[0])))


def _instead(word: str, known: Collection[str]) -> str:
    return f"; there are: {', '.join(known) or 'none'}{did_you_mean(word, known)}"
