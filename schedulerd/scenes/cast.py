"""Who plays: budgets, rates and floors as numbers, from what the models cost on this board. Pure.

Fixed numbers would be far too easy on one board and impossible on another; relative ones scale with the profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blockstore.exits import FINAL
from schedulerd.scenes.script import ClientScript, SceneFailed
from schedulerd.typed import did_you_mean


@dataclass(frozen=True, slots=True)
class Role:
    """One client, as it registers."""

    app: str
    model: str
    budget_ms: float
    rate_hz: float
    priority: int
    accuracy_floor: float
    seed: int
    late: str = "run"
    exits: Mapping[str, float] = field(default_factory=dict)
    """The exit policy that it insists on; empty leaves it to the daemon."""
    joins: bool = True
    """Whether it is there from the beginning."""


def cast(clients: Sequence[ClientScript], models: Sequence[Mapping[str, Any]]) -> tuple[Role, ...]:
    """Roles for all clients, from the daemon's answer to `models`; `SceneFailed` where a model is not there."""
    usable = sorted((m for m in models if m["lossless_p95_ms"] is not None), key=lambda m: str(m["model"]))
    return tuple(_role(client, _model(client, usable), seed) for seed, client in enumerate(clients))


def _model(client: ClientScript, usable: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    names = [str(m["model"]) for m in usable]
    if isinstance(client.model, int) and client.model <= len(usable):
        return usable[client.model - 1]
    if client.model in names:
        return usable[names.index(str(client.model))]
    hint = did_you_mean(str(client.model), names)
    there = ", ".join(names) or "none; `make demo-store` builds those of the demo"
    raise SceneFailed(f"{client.app} wants model {client.model!r}{hint}; the store's usable models are {there}")


def _role(client: ClientScript, model: Mapping[str, Any], seed: int) -> Role:
    lossless_ms = float(model["lossless_p95_ms"])
    budget_ms = client.budget_ms or max(1.0, round(client.budget_over_lossless * lossless_ms))
    share_hz = round(client.lane_share * 1e3 / lossless_ms)
    floor = round(max(0.0, model["accuracy"] - client.floor_below_full), 2) if client.floor is None else client.floor
    return Role(
        app=client.app,
        model=str(model["model"]),
        budget_ms=budget_ms,
        rate_hz=client.rate_hz or max(1.0, min(client.most_hz, share_hz)),
        priority=client.priority,
        accuracy_floor=floor,
        seed=seed,
        late=client.late,
        exits=_early(model) if client.exits == "early" else {},
        joins=client.joins,
    )


def _early(model: Mapping[str, Any]) -> Mapping[str, float]:
    """The model's policy of least loss that lets easy frames leave and runs hard ones to the end; empty where none."""
    early = [p for p in model.get("policies", ()) if FINAL in p["exits"]]
    return min(early, key=lambda p: float(p["accuracy_drop"]))["exits"] if early else {}
