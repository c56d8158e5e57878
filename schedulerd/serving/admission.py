"""Accept or refuse a message, and why: pure decisions on what a client asks for.

Every refusal is an exception of `schedulerd.errors` that owns its wire code and says value, limit and remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from blockstore.block import Model
from schedulerd.errors import BadTensor, BadValue, NotRegistered, UnknownModel
from schedulerd.plan import LATE_POLICIES, App
from schedulerd.serving.apps import LiveApp
from schedulerd.wire.messages import Infer, Register

MAX_BUDGET_MS = 60_000.0
MAX_RATE_HZ = 1_000.0
MIN_PRIORITY, MAX_PRIORITY = 1, 10


def admit_app(request: Register, app_id: str, models: Mapping[str, Model]) -> App:
    """The app that a registration asks for. Raises `UnknownModel` or `BadValue`."""
    model = models.get(request.model)
    if model is None:
        raise UnknownModel(_unknown_model(request.model, models))
    check_budget_ms(request.budget_ms)
    if not 0 < request.rate_hz <= MAX_RATE_HZ:
        raise BadValue(f"rate_hz is {request.rate_hz:g}; it must be above 0 and at most {MAX_RATE_HZ:g}")
    if not MIN_PRIORITY <= request.priority <= MAX_PRIORITY:
        raise BadValue(f"priority is {request.priority}; it must be {MIN_PRIORITY} to {MAX_PRIORITY} (most urgent)")
    if not 0.0 <= request.accuracy_floor <= model.accuracy:
        raise BadValue(
            f"accuracy_floor is {request.accuracy_floor:g}; {request.model!r} reaches {model.accuracy:.4f} at its "
            f"best, so ask for 0 to {model.accuracy:.4f}"
        )
    if request.late not in LATE_POLICIES:
        raise BadValue(f"late is {request.late!r}; it must be one of {', '.join(LATE_POLICIES)}")
    return App(
        app_id=app_id,
        model=request.model,
        budget_ms=request.budget_ms,
        rate_hz=request.rate_hz,
        priority=request.priority,
        accuracy_floor=request.accuracy_floor,
        late=request.late,
    )


def check_budget_ms(budget_ms: float) -> None:
    """`BadValue` unless above 0 and at most a minute (NaN fails both comparisons)."""
    if not 0 < budget_ms <= MAX_BUDGET_MS:
        raise BadValue(f"budget_ms is {budget_ms:g}; it must be above 0 and at most {MAX_BUDGET_MS:g}")


def admit_frame(app: LiveApp | None, request: Infer) -> LiveApp:
    """The app that a request belongs to. Raises `NotRegistered` or `BadTensor`."""
    if app is None or app.route is None:
        raise NotRegistered("register a model and wait for the answer before sending frames")
    if len(request.tensors) != 1:
        raise BadTensor(f"{len(request.tensors)} tensors; a request carries one frame")
    tensor = request.tensors[0]
    wanted = app.input
    if tensor.dtype != wanted.dtype or (tensor.shape != wanted.shape and tensor.shape != (1, *wanted.shape)):
        given = f"{tensor.dtype}[{'x'.join(map(str, tensor.shape))}]"
        raise BadTensor(f"frame is {given}; {app.spec.model!r} takes {wanted}, one frame a request")
    return app


def _unknown_model(name: str, models: Mapping[str, Model]) -> str:
    if not models:
        return f"no model {name!r}: the store is empty; build one with `schedulerd build`, then restart the daemon"
    near = difflib.get_close_matches(name, models, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"no model {name!r}{hint} the daemon has {', '.join(sorted(models))} since it was started"
