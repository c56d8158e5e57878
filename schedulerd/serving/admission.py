"""Accept or refuse a message, and why: pure decisions on what a client asks for.

Every refusal is an exception of `schedulerd.errors` that owns its wire code and says value, limit and remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from blockstore.block import Model
from blockstore.errors import BadPolicy
from blockstore.exits import FINAL, ExitPolicy, policy_of
from schedulerd.errors import BadTensor, BadValue, NotRegistered, UnknownModel
from schedulerd.plan import LATE_POLICIES, MAX_PERCENTILE, MAX_PRIORITY, MIN_PERCENTILE, MIN_PRIORITY, App
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.prepare import Preparation, preparation_of
from schedulerd.serving.route import LoadedRoute
from schedulerd.wire.messages import MAX_BUDGET_MS, MAX_REPLY_TENSORS, MIN_BUDGET_MS, Infer, Register

MIN_RATE_HZ, MAX_RATE_HZ = 0.001, 1_000.0


def admit_app(request: Register, app_id: str, models: Mapping[str, Model]) -> App:
    """The app that a registration asks for. Raises `UnknownModel` or `BadValue`."""
    model = models.get(request.model)
    if model is None:
        raise UnknownModel(_unknown_model(request.model, models))
    if request.budget_ms is None:
        raise BadValue(
            f"budget_ms is nil, and no budget of {request.model!r} is configured; give one, or set [models] budgets"
        )
    check_budget_ms(request.budget_ms)
    if not MIN_RATE_HZ <= request.rate_hz <= MAX_RATE_HZ:
        raise BadValue(f"rate_hz is {request.rate_hz:g}; it must be {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}")
    check_priority(request.priority)
    if not 0.0 <= request.accuracy_floor <= model.accuracy:
        raise BadValue(
            f"accuracy_floor is {request.accuracy_floor:g}; {request.model!r} reaches {model.accuracy:.4f} at its "
            f"best, so ask for 0 to {model.accuracy:.4f}"
        )
    if not MIN_PERCENTILE <= request.percentile <= MAX_PERCENTILE:
        raise BadValue(
            f"percentile is {request.percentile:g}; it must be {MIN_PERCENTILE:g} (the median) to {MAX_PERCENTILE:g}"
        )
    if request.late not in LATE_POLICIES:
        raise BadValue(f"late is {request.late!r}; it must be one of {', '.join(LATE_POLICIES)}")
    if request.late == "exit" and not model.exits:
        raise BadValue(f"late is 'exit', and {request.model!r} has no exits; use drop or run")
    return App(
        app_id=app_id,
        model=request.model,
        budget_ms=request.budget_ms,
        rate_hz=request.rate_hz,
        priority=request.priority,
        accuracy_floor=request.accuracy_floor,
        late=request.late,
        exits=_admit_policy(request, model),
        percentile=request.percentile,
    )


def _admit_policy(request: Register, model: Model) -> ExitPolicy | None:
    """The exit policy that a registration insists on."""
    if request.exits is None:
        return None
    if not model.exits:
        raise BadValue(f"{request.model!r} has no exits; register without the key `exits`")
    try:
        return policy_of(request.exits, model.depths())
    except BadPolicy as error:
        raise BadValue(str(error)) from error


def admit_camera(request: Register, model: Model) -> Preparation | None:
    """How the model's input is made of the frames; None where they are just that. Raises `BadValue`."""
    return None if request.camera is None else preparation_of(request.camera, model.input, model.name)


def check_budget_ms(budget_ms: float) -> None:
    """`BadValue` unless it is from a microsecond to a minute (NaN fails both comparisons)."""
    if not MIN_BUDGET_MS <= budget_ms <= MAX_BUDGET_MS:
        raise BadValue(f"budget_ms is {budget_ms:g}; it must be {MIN_BUDGET_MS:g} to {MAX_BUDGET_MS:g}")


def check_priority(priority: int) -> None:
    """`BadValue` unless it is from the least to the most."""
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise BadValue(f"priority is {priority}; it must be {MIN_PRIORITY} to {MAX_PRIORITY} (most urgent)")


def admit_frame(app: LiveApp | None, request: Infer) -> LiveApp:
    """The app that a request belongs to. Raises `NotRegistered`, `Drained`, `BadTensor` or `BadValue`."""
    if app is None:
        raise NotRegistered("register a model and wait for the answer before sending frames")
    route = app.route  # once, for the control loop may take it away meanwhile
    if route is None or app.drained:
        raise app.without_route()
    if len(request.tensors) != 1:
        raise BadTensor(f"{len(request.tensors)} tensors; a request carries one frame")
    tensor = request.tensors[0]
    wanted = app.input
    if tensor.dtype != wanted.dtype or (tensor.shape != wanted.shape and tensor.shape != (1, *wanted.shape)):
        given = f"{tensor.dtype}[{'x'.join(map(str, tensor.shape))}]"
        taker = f"the camera of {app.spec.app_id!r} gives" if app.preparation else f"{app.spec.model!r} takes"
        raise BadTensor(f"frame is {given}; {taker} {wanted}, one frame a request")
    if request.exits:
        admit_exits(request.exits, app.spec.model, route, len(app.outputs))
    return app


def admit_exits(asked: tuple[str, ...], model: str, route: LoadedRoute, outputs: int) -> None:
    """`BadValue` unless `route` has every exit that is asked for and one reply can carry what they give.

    `outputs`: how many the network has, 0 where it has one.
    """
    offered = route.offered()
    lacking = next((name for name in asked if name not in offered), None)
    if lacking is not None:
        raise BadValue(
            f"the route of {model!r} has no exit {lacking!r}; it has {', '.join(offered)}"
            + (f", as its policy ends at {route.route.policy.last!r}" if lacking == FINAL else "")
        )
    if len(set(asked)) < len(asked):
        raise BadValue(f"exits are {', '.join(asked)}; name each once")
    tensors = len(asked) * max(1, outputs)
    if tensors > MAX_REPLY_TENSORS:
        raise BadValue(
            f"{len(asked)} exits give {tensors} tensors; a reply carries {MAX_REPLY_TENSORS}: ask for fewer exits"
        )


def _unknown_model(name: str, models: Mapping[str, Model]) -> str:
    if not models:
        return f"no model {name!r}: the store is empty; build one with `schedulerd build`, then restart the daemon"
    near = difflib.get_close_matches(name, models, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"no model {name!r}{hint} the daemon has {', '.join(sorted(models))} since it was started"
