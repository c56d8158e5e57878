"""What daemon and clients say to each other, as frozen values: requests, replies, events, codes and limits.

clients/PROTOCOL.md is the same text for authors in other languages. `codec` turns these values into
frames and back; what each key may hold is in `schema`. Whether a value makes sense (a budget above zero,
a known model) is for the daemon's admission to say; here are only types.

Named tuples, because a frozen dataclass takes eight times as long to define, which is what `schedctl status` would
spend a third of its time on, and four times as long to make, which is what a frame would. Two messages of different
kinds may be equal, so what kind one is, its type says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

PROTOCOL_VERSION = 1

FINAL = "final"
"""The network's own end, where an exit is named."""

MAX_HEADER_BYTES = 64 * 1024
"""Header of a request."""
MAX_REPLY_HEADER_BYTES = 4 * 1024 * 1024
"""Header of a reply or an event: an answer may list every app, model and block."""
MAX_TENSORS = 4
"""In a request."""
MAX_REPLY_TENSORS = 32
MAX_TENSOR_BYTES = 64 * 1024 * 1024
MAX_RANK = 6
MAX_STRING_BYTES = 1024
MAX_NAME_CHARACTERS = 128
"""Model and app names."""
MAX_MAP_LENGTH = 32
MAX_ARRAY_LENGTH = 32
MAX_EXITS = 17
"""Named by one policy or asked for by one frame: the 16 that a model may have, and `final`."""
MAX_REPLY_LENGTH = 65_536
"""Entries of a map or an array, and bytes of a string, in a reply or an event."""

MIN_BUDGET_MS, MAX_BUDGET_MS = 0.001, 60_000.0
MIN_PRIORITY, MAX_PRIORITY = 1, 10

DEFAULT_PERCENTILE = 95.0
"""Of an app's latencies, which its budget is about where it does not say."""

DTYPES: Mapping[str, int] = {
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "bool": 1,
}
"""Bytes of one element of every dtype that may travel; little-endian, C order."""


class Code(StrEnum):
    """Why a request was refused. PROTOCOL.md says for each whether trying again helps."""

    BAD_MESSAGE = "bad_message"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_OP = "unknown_op"
    TOO_LARGE = "too_large"
    BAD_TENSOR = "bad_tensor"
    BAD_VALUE = "bad_value"
    UNKNOWN_MODEL = "unknown_model"
    ALREADY_REGISTERED = "already_registered"
    NAME_TAKEN = "name_taken"
    NOT_REGISTERED = "not_registered"
    UNKNOWN_APP = "unknown_app"
    OVERLOADED = "overloaded"
    DEADLINE_PASSED = "deadline_passed"
    SHUTTING_DOWN = "shutting_down"
    DRAINED = "drained"
    NOT_PERMITTED = "not_permitted"
    STORE_FAULT = "store_fault"
    ENGINE_FAULT = "engine_fault"
    INTERNAL = "internal"


class TensorHeader(NamedTuple):
    """Dtype and shape of one tensor frame."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Length of the frame: elements times the bytes of one. KeyError for a dtype that may not travel."""
        return math.prod(self.shape) * DTYPES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype}[{'x'.join(map(str, self.shape))}]"


# Requests on infer.sock.


class Camera(NamedTuple):
    """Frames as a camera gives them, uint8 `[height, width, 3]`, of which the daemon makes the model's input."""

    height: int
    width: int
    mean: tuple[float, ...] | None = None
    """Of each channel in the model's order, on a scale of 0 to 1; None takes 0. Only where the input is float32."""
    std: tuple[float, ...] | None = None
    """What is left is divided by it; None takes 1."""
    bgr: bool = False
    """The camera's channels come in the reverse of the model's order."""

    @property
    def frame(self) -> TensorHeader:
        """One frame."""
        return TensorHeader("uint8", (self.height, self.width, 3))


class Register(NamedTuple):
    """Make this connection an app."""

    id: int
    model: str
    budget_ms: float | None
    """None takes the configuration's for the model."""
    rate_hz: float
    priority: int = 5
    accuracy_floor: float = 0.0
    late: str = "run"
    """What becomes of a late frame: `run`, `drop` (where it can no longer be in time), or `exit`."""
    app: str | None = None
    """The name wanted; None lets the daemon make one from the model's."""
    exits: Mapping[str, float] | None = None
    """The exit policy wanted, exit -> confidence from which a frame leaves there; None lets the daemon choose."""
    percentile: float = DEFAULT_PERCENTILE
    """Of its latencies, which the budget is about."""
    camera: Camera | None = None
    """What its frames are, where they are not the model's own input."""


class Infer(NamedTuple):
    """Run this connection's model on one frame, `[*input]` or `[1, *input]`."""

    id: int
    tensors: tuple[TensorHeader, ...]
    exits: tuple[str, ...] = ()
    """Exits whose outputs are wanted, all of them, in this order; empty: that of the exit at which the frame leaves."""
    stream: str | None = None
    """The camera stream that the frame is of: apps of one model and user that send the same frame of one stream share
    the blocks that their routes begin with."""
    frame: int | None = None
    """Its number in that stream; None exactly where `stream` is."""


class Unregister(NamedTuple):
    """Give up this connection's app; right also where there is none."""

    id: int


class Ping(NamedTuple):
    """Are you there? From the daemon it has id 0 and wants no answer: it finds clients that are gone."""

    id: int


# Requests on control.sock.


class Status(NamedTuple):
    """How the daemon and its board are."""

    id: int


class Apps(NamedTuple):
    """Every app with its route, prediction and measured times."""

    id: int


class ShowPlan(NamedTuple):
    """The plan in force and why it is so (op `plan`)."""

    id: int


class Models(NamedTuple):
    """What the store holds."""

    id: int


class SetBudget(NamedTuple):
    """Change one app's budget."""

    id: int
    app: str
    budget_ms: float


class SetPriority(NamedTuple):
    """Change one app's priority."""

    id: int
    app: str
    priority: int


class Pin(NamedTuple):
    """Hold what an app runs, whatever would be better."""

    id: int
    app: str
    blocks: Mapping[str, str] = {}
    """Block -> variant; empty: the whole route that it runs now."""


class Unpin(NamedTuple):
    """Leave to the optimizer again what was pinned."""

    id: int
    app: str
    blocks: tuple[str, ...] = ()
    """Empty: all of them, and the exit policy."""


DRAIN_S, MAX_DRAIN_S = 4.0, 60.0
"""How long `Drain` waits for requests in flight where it does not say, and at most."""


class Drain(NamedTuple):
    """Give an app no new work, and answer when nothing of it is in flight."""

    id: int
    app: str | None = None
    """None: every app, and whoever registers later."""
    timeout_s: float = DRAIN_S
    """Answered then at the latest, with what is still in flight."""


class Resume(NamedTuple):
    """Let a drained app go on, and answer when its route runs."""

    id: int
    app: str | None = None
    """None: all."""


class SetLimit(NamedTuple):
    """Change what all apps together may use."""

    id: int
    what: str
    """`memory`."""
    value_bytes: int | None
    """None goes back to the configuration."""


class Why(NamedTuple):
    """Why an app runs what it runs, and what more of a limit would buy."""

    id: int
    app: str


class Addition(NamedTuple):
    """An app that `WhatIf` imagines: a client of these wishes, with everything else as `Register` has it."""

    model: str
    budget_ms: float
    rate_hz: float


class WhatIf(NamedTuple):
    """The plan that would follow from these edits, beside the present one; nothing is changed."""

    id: int
    budgets_ms: Mapping[str, float] = {}
    """By app."""
    memory_bytes: int | None = None
    """None leaves the limit as it is."""
    add: tuple[Addition, ...] = ()
    """Apps that would join."""
    objective: str | None = None
    """None leaves it as it is."""


class Objective(NamedTuple):
    """Change what is best among the plans that keep the limits, or ask for it."""

    id: int
    objective: str | None = None
    """None only asks."""


class LogLevel(NamedTuple):
    """Change which events are logged, at once and until the daemon ends or reads its configuration again."""

    id: int
    level: str | None = None
    """None only asks."""


class Reload(NamedTuple):
    """Read the configuration again, and apply what can change without a restart."""

    id: int


class ShowOverrides(NamedTuple):
    """What operators have set over what apps and the configuration ask for (op `overrides`)."""

    id: int


class DropOverrides(NamedTuple):
    """Go back to what an app, or the configuration, asks for."""

    id: int
    app: str | None = None
    """None drops everything."""


InferRequest = Register | Infer | Unregister | Ping
ControlRequest = (
    Status
    | Apps
    | ShowPlan
    | Models
    | SetBudget
    | SetPriority
    | Pin
    | Unpin
    | Drain
    | Resume
    | SetLimit
    | Why
    | WhatIf
    | Objective
    | LogLevel
    | Reload
    | ShowOverrides
    | DropOverrides
    | Ping
)
Request = InferRequest | ControlRequest


# Replies.


class Registered(NamedTuple):
    """The app is planned for and its first route is warm."""

    id: int
    app: str
    model: str
    input: TensorHeader
    """One frame as `Infer` takes it, without a batch dimension: of the camera, where one was registered."""
    output: TensorHeader
    """What comes back for one frame, without a batch dimension."""
    labels: tuple[str, ...]
    route: tuple[str, ...]
    """Variant of each block."""
    accuracy: float
    """Predicted for this route, 0 to 1."""
    latency_ms: float
    """Predicted median."""
    latency_p95_ms: float
    miss_ms: float
    """By how much the predicted percentile that the budget is about exceeds it; 0 when it is met."""
    plan: int
    outputs: tuple[TensorHeader, ...] = ()
    """Of a network with several outputs: the tensors that come back in place of `output`, which holds them all."""
    policy: Mapping[str, float] = {}
    """Exits that are enabled -> confidence from which a frame leaves there; 0 for the last."""
    exit_shares: Mapping[str, float] = {}
    """Share of the frames that is expected to leave at each of these."""
    exits: tuple[str, ...] = ()
    """Every exit of the model, by rising depth, without `final`."""
    credit: int = 0
    """How many requests of the app may be open at once; 0: not said."""


LEFT = ("end", "confident", "deadline", "asked")
"""Why a frame ran no further. `end`: it ran to the last step of its policy. `confident`: an exit was sure enough.
`deadline`: the next exit would have been too late (late policy `exit`). `asked`: its request asked for given exits."""


class Result(NamedTuple):
    """The outputs for one frame, `[1, *output]`, and what they cost."""

    id: int
    tensors: tuple[TensorHeader, ...]
    plan: int
    route: tuple[str, ...]
    """Variant of each block of the route, up to its last exit; `exit` says how far this frame ran."""
    accuracy: float
    """Expected of this answer, 0 to 1: of the route, or of frames that leave at that exit with that confidence."""
    queue_ms: float
    """From arrival to reply, less `run_ms`."""
    run_ms: float
    """Inside blocks and exits, and preparing a camera's frame."""
    budget_ms: float
    """The budget in force when the frame arrived."""
    deadline_met: bool
    exit: str = FINAL
    """The deepest exit whose output this is."""
    left: str = "end"
    """One of `LEFT`."""
    confidence: float | None = None
    """Of `exit` in this output; None at `final`, and where it is no number."""
    exits: tuple[str, ...] = ()
    """Whose outputs `tensors` are, where exits were asked for: for each of them as many tensors, in order."""


class Unregistered(NamedTuple):
    """The connection has no app any more."""

    id: int


class Pong(NamedTuple):
    """Answer to a ping."""

    id: int


class Answer(NamedTuple):
    """Answer to a request on control.sock; PROTOCOL.md lists the keys of each."""

    id: int
    result: Mapping[str, Any]


class Failure(NamedTuple):
    """The request was refused; id 0 when the request's own could not be read."""

    id: int
    code: Code
    message: str
    """For a person: the value, the limit and the remedy."""


Reply = Registered | Result | Unregistered | Pong | Answer | Failure
Message = Request | Reply


# Events on events.sock.

EVENT_KINDS = (
    "plan",
    "kept",
    "app",
    "budget",
    "priority",
    "pin",
    "drain",
    "limit",
    "objective",
    "pressure",
    "miss",
    "exits",
    "merged",
    "fault",
    "reload",
)


class Event(NamedTuple):
    """Something that happened, told to everybody who listens."""

    kind: str
    """Also the topic: one of `EVENT_KINDS`, or a later daemon's."""
    seq: int
    """Counts every event of one daemon process; a gap means events were missed."""
    at: float
    """Unix seconds."""
    body: Mapping[str, Any]
