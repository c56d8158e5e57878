"""Everything that the SDK raises on purpose.

SchedulerdClientError
  +-- TransportError               no answer could be had
  |     +-- Unreachable            no daemon behind the endpoint (also a ConnectionError)
  |     +-- HandshakeFailed        over tcp: not the daemon whose key was given (also a ConnectionError)
  |     +-- TimedOut               a daemon, but no answer in time (also a TimeoutError)
  |     +-- ProtocolError          an answer that this version cannot read
  |     +-- Closed                 the client was closed
  +-- Refusal                      the daemon answered no; `code` says why
        +-- BadMessage             bad_message, unsupported_version, unknown_op, too_large
        +-- BadTensor              bad_tensor
        +-- BadValue               bad_value
        +-- UnknownModel           unknown_model
        +-- AlreadyRegistered      already_registered
        +-- NameTaken              name_taken
        +-- NotRegistered          not_registered
        +-- UnknownApp             unknown_app
        +-- Overloaded             overloaded         send slower, then try again
        +-- DeadlinePassed         deadline_passed    the next frame may do
        +-- ShuttingDown           shutting_down      no new daemon came within the time-out
        +-- Drained                drained            after an operator's `schedctl resume`
        +-- NotPermitted           not_permitted
        +-- StoreFault             store_fault
        +-- EngineFault            engine_fault       the next frame may do
        +-- InternalError          internal
"""

from __future__ import annotations

from typing import ClassVar

from schedulerd.wire.messages import Code


class SchedulerdClientError(Exception):
    """Base of everything that the SDK raises on purpose."""


class TransportError(SchedulerdClientError):
    """No answer could be had."""


class Unreachable(TransportError, ConnectionError):
    """No daemon behind the endpoint; the message names it and says what to do."""


class HandshakeFailed(TransportError, ConnectionError):
    """Over tcp: what answers is not the daemon whose public key was given, or takes no keys at all."""


class TimedOut(TransportError, TimeoutError):
    """A daemon is there, but gave no answer in time."""


class ProtocolError(TransportError):
    """An answer that this version of the SDK cannot read."""


class Closed(TransportError):
    """The client was closed."""


class Refusal(SchedulerdClientError):
    """The daemon answered no."""

    codes: ClassVar[tuple[Code, ...]] = ()

    def __init__(self, message: str, code: Code | None = None) -> None:
        super().__init__(message)
        self.code = code or self.codes[0]
        """The code as it came over the wire."""


class BadMessage(Refusal):
    """The daemon could not read the request: most often its version is another one."""

    codes = (Code.BAD_MESSAGE, Code.UNSUPPORTED_VERSION, Code.UNKNOWN_OP, Code.TOO_LARGE)


class BadTensor(Refusal):
    """The frame has not the dtype or the shape that the model takes."""

    codes = (Code.BAD_TENSOR,)


class BadValue(Refusal):
    """A budget, rate, priority ... that makes no sense."""

    codes = (Code.BAD_VALUE,)


class UnknownModel(Refusal):
    """The daemon's store has no such model."""

    codes = (Code.UNKNOWN_MODEL,)


class AlreadyRegistered(Refusal):
    """This client has an app; unregister first."""

    codes = (Code.ALREADY_REGISTERED,)


class NameTaken(Refusal):
    """Another live client has that app name."""

    codes = (Code.NAME_TAKEN,)


class NotRegistered(Refusal):
    """Register before the first frame."""

    codes = (Code.NOT_REGISTERED,)


class UnknownApp(Refusal):
    """No live app has that name."""

    codes = (Code.UNKNOWN_APP,)


class Overloaded(Refusal):
    """Too many requests wait; send slower, then try again."""

    codes = (Code.OVERLOADED,)


class DeadlinePassed(Refusal):
    """The frame waited past its deadline, and the app asked to have such frames dropped."""

    codes = (Code.DEADLINE_PASSED,)


class ShuttingDown(Refusal):
    """The daemon is stopping, and no new one came within the time-out."""

    codes = (Code.SHUTTING_DOWN,)


class Drained(Refusal):
    """An operator holds this app, or every app: try again after `schedctl resume`. The registration stands."""

    codes = (Code.DRAINED,)


class NotPermitted(Refusal):
    """This user may not do that."""

    codes = (Code.NOT_PERMITTED,)


class StoreFault(Refusal):
    """A block that the route needs is missing from the daemon's store, or damaged."""

    codes = (Code.STORE_FAULT,)


class EngineFault(Refusal):
    """A block failed while it ran; the next frame may meet another variant of it."""

    codes = (Code.ENGINE_FAULT,)


class InternalError(Refusal):
    """A fault of the daemon; its log has the trace."""

    codes = (Code.INTERNAL,)


_CLASSES = {code: refusal for refusal in Refusal.__subclasses__() for code in refusal.codes}


def refusal(code: Code, message: str) -> Refusal:
    """The exception for a wire code."""
    return _CLASSES[code](message, code)
