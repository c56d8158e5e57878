"""Errors of the daemon. Whatever is refused over the wire is raised as the class that owns the code.

SchedulerdError                     internal, unless the class says otherwise
  +-- ConfigError                   bad_value            a configuration that cannot be used
  +-- AlreadyServing                internal             a live daemon holds these sockets
  +-- Refused                                            an answer to a client or an operator
        +-- BadTensor               bad_tensor           wrong dtype or shape for this model
        +-- BadValue                bad_value            a budget, rate or limit that makes no sense
        +-- UnknownModel            unknown_model        not in the store
        +-- AlreadyRegistered       already_registered   this connection has an app
        +-- NameTaken               name_taken           another live client has that app name
        +-- NotRegistered           not_registered       this connection has no app
        +-- UnknownApp              unknown_app          no live app of that name
        +-- Overloaded              overloaded           a queue is full, or the daemon is
        +-- DeadlinePassed          deadline_passed      dropped late, as the app asked
        +-- ShuttingDown            shutting_down        the daemon is stopping
        +-- Drained                 drained              an operator holds this app, or all
        +-- NotPermitted            not_permitted        this user may not do that
        +-- StoreFault              store_fault          a blob of the route is missing or damaged
        +-- EngineFault             engine_fault         a block failed while it ran
        +-- InternalError           internal             a fault of ours
              +-- EngineError       internal             an engine cannot load or run a block
"""

from __future__ import annotations

from typing import ClassVar

from schedulerd.wire.messages import Code


class SchedulerdError(Exception):
    """Base of everything that the daemon raises on purpose; the message gives value, limit and remedy."""

    code: ClassVar[Code] = Code.INTERNAL


class ConfigError(SchedulerdError):
    """A configuration that cannot be used: an unknown key, a value out of range."""

    code = Code.BAD_VALUE


class AlreadyServing(SchedulerdError):
    """A live daemon holds these sockets."""


class Refused(SchedulerdError):
    """Base of the answers that a client or an operator gets."""


class BadTensor(Refused):
    """Wrong dtype or shape for this model."""

    code = Code.BAD_TENSOR


class BadValue(Refused):
    """A value of the right type that makes no sense."""

    code = Code.BAD_VALUE


class UnknownModel(Refused):
    """The store has no such model."""

    code = Code.UNKNOWN_MODEL


class AlreadyRegistered(Refused):
    """This connection has an app."""

    code = Code.ALREADY_REGISTERED


class NameTaken(Refused):
    """Another live client has that app name."""

    code = Code.NAME_TAKEN


class NotRegistered(Refused):
    """This connection has no app."""

    code = Code.NOT_REGISTERED


class UnknownApp(Refused):
    """No live app has that name."""

    code = Code.UNKNOWN_APP


class Overloaded(Refused):
    """A queue is full, or as many apps are connected as can be planned together."""

    code = Code.OVERLOADED


class DeadlinePassed(Refused):
    """The deadline passed while the request waited, and the app wants such requests dropped."""

    code = Code.DEADLINE_PASSED


class ShuttingDown(Refused):
    """The daemon is stopping; what it has accepted is still answered."""

    code = Code.SHUTTING_DOWN


class Drained(Refused):
    """An operator holds this app, or all; `schedctl resume` lets it go on."""

    code = Code.DRAINED


class NotPermitted(Refused):
    """This user may not do that."""

    code = Code.NOT_PERMITTED


class StoreFault(Refused):
    """A blob that the route needs is missing or damaged."""

    code = Code.STORE_FAULT


class EngineFault(Refused):
    """A block failed while it ran or gave no numbers, or every variant of it has done so lately."""

    code = Code.ENGINE_FAULT


class InternalError(Refused):
    """A fault of ours; the daemon's log has the trace."""

    code = Code.INTERNAL


class EngineError(InternalError):
    """An engine cannot load or run a block."""
