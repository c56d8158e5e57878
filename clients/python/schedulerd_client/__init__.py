"""Talk to schedulerd: register an app, send frames, get outputs.

    with Client() as client:
        client.register("digits-residual", budget_ms=25, rate_hz=30)
        reply = client.infer(frame)

`Client` is for ordinary code, `AsyncClient` for asyncio, `ControlClient` for operators' tools, and `MockTransport`
for tests of apps without a daemon. Needs only pyzmq, msgpack and numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_NAMES = {
    "schedulerd.wire.messages": "EVENT_KINDS Addition Camera Code Event TensorHeader",
    "schedulerd_client._async_client": "AsyncClient",
    "schedulerd_client._client": "Client",
    "schedulerd_client._control": "ControlClient",
    "schedulerd_client._errors": (
        "AlreadyRegistered BadMessage BadTensor BadValue Closed DeadlinePassed Drained EngineFault "
        "HandshakeFailed InternalError NameTaken NotPermitted NotRegistered Overloaded ProtocolError Refusal "
        "SchedulerdClientError ShuttingDown StoreFault TimedOut TransportError UnknownApp UnknownModel Unreachable"
    ),
    "schedulerd_client._events": "EventStream",
    "schedulerd_client._mock": "MockTransport",
    "schedulerd_client._remote": "OperatorKeys new_key_pair",
    "schedulerd_client._transport": "Silence Transport",
    "schedulerd_client._values": "Registration Reply",
}
"""Where the public names come from. Each is imported when it is first asked for (PEP 562): an operator's tool, which
takes `ControlClient`, starts without numpy and asyncio."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a checker that sees it takes every name for a public one

    def __getattr__(name: str) -> Any:
        """A public name that was not asked for before."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
