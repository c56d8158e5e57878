"""Talk to schedulerd: register an app, send frames, get outputs.

    with Client() as client:
        client.register("digits-residual", budget_ms=25, rate_hz=30)
        reply = client.infer(frame)

`Client` is for ordinary code, `AsyncClient` for asyncio, `ControlClient` for operators' tools, and `MockTransport`
for tests of apps without a daemon. Needs only pyzmq, msgpack and numpy.
"""

from schedulerd.wire.messages import EVENT_KINDS, Addition, Camera, Code, Event, TensorHeader
from schedulerd_client._async_client import AsyncClient
from schedulerd_client._client import Client
from schedulerd_client._control import ControlClient
from schedulerd_client._errors import (
    AlreadyRegistered,
    BadMessage,
    BadTensor,
    BadValue,
    Closed,
    DeadlinePassed,
    Drained,
    EngineFault,
    HandshakeFailed,
    InternalError,
    NameTaken,
    NotPermitted,
    NotRegistered,
    Overloaded,
    ProtocolError,
    Refusal,
    SchedulerdClientError,
    ShuttingDown,
    StoreFault,
    TimedOut,
    TransportError,
    UnknownApp,
    UnknownModel,
    Unreachable,
)
from schedulerd_client._events import EventStream
from schedulerd_client._mock import MockTransport
from schedulerd_client._remote import OperatorKeys, new_key_pair
from schedulerd_client._transport import Silence, Transport
from schedulerd_client._values import Registration, Reply

__all__ = [
    "EVENT_KINDS",
    "Addition",
    "AlreadyRegistered",
    "AsyncClient",
    "BadMessage",
    "BadTensor",
    "BadValue",
    "Camera",
    "Client",
    "Closed",
    "Code",
    "ControlClient",
    "DeadlinePassed",
    "Drained",
    "EngineFault",
    "Event",
    "EventStream",
    "HandshakeFailed",
    "InternalError",
    "MockTransport",
    "NameTaken",
    "NotPermitted",
    "NotRegistered",
    "OperatorKeys",
    "Overloaded",
    "ProtocolError",
    "Refusal",
    "Registration",
    "Reply",
    "SchedulerdClientError",
    "ShuttingDown",
    "Silence",
    "StoreFault",
    "TensorHeader",
    "TimedOut",
    "Transport",
    "TransportError",
    "UnknownApp",
    "UnknownModel",
    "Unreachable",
    "new_key_pair",
]
