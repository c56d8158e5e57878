"""What the configuration says in place of an app: the model that a name stands for, and a budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blockstore.block import Model
from schedulerd.errors import UnknownModel
from schedulerd.plan import App
from schedulerd.serving.admission import admit_app
from schedulerd.wire.messages import Register


@dataclass(frozen=True, slots=True)
class Defaults:
    """For apps that register from now on."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    """Names that stand for models."""
    budgets_ms: Mapping[str, float] = field(default_factory=dict)
    """By alias or model."""
    budget_ms: float | None = None
    """Of any other."""

    def filled(self, request: Register) -> Register:
        """The registration with the model that is meant, and with a budget where there is one for it."""
        model = self.aliases.get(request.model, request.model)
        budget_ms = request.budget_ms
        if budget_ms is None:
            of_model_ms = self.budgets_ms.get(model, self.budget_ms)
            budget_ms = self.budgets_ms.get(request.model, of_model_ms)
        return request._replace(model=model, budget_ms=budget_ms)

    def admitted(self, request: Register, app_id: str, models: Mapping[str, Model]) -> App:
        """The app that a registration asks for, with what is configured in its place; raises as `admit_app` does."""
        meant = self.filled(request)
        try:
            return admit_app(meant, app_id, models)
        except UnknownModel as error:
            if meant.model == request.model:
                raise
            raise UnknownModel(f"{request.model!r} stands for {meant.model!r} ([models] aliases): {error}") from error
