"""What the sockets call when something arrives: the seam between whoever receives and whoever understands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from schedulerd.wire.messages import Code

Frame = bytes | memoryview


class Peer(NamedTuple):
    """Who is at the other end of a connection, from the kernel (SO_PEERCRED, unix(7)); None where it does not say.

    An operator on another machine has neither user nor process here, but a name, which his key is known by.
    """

    uid: int | None
    pid: int | None
    operator: str | None = None
    may_edit: bool = False
    """Whether that operator may change something."""


class Handlers(NamedTuple):
    """All are called on the thread that holds the baton (see `gateway`), and none waits.

    `control` is also called on the thread of `curve`, for operators on other machines.
    """

    infer: Callable[[bytes, Sequence[Frame]], None]
    """A message of an app, over ZeroMQ or on the local socket: identity, frames."""
    control: Callable[[bytes, Peer, Sequence[Frame]], None]
    """A message of an operator: identity, peer, frames."""
    gone: Callable[[bytes], None]
    """The app with that identity cannot be reached any more."""
    unfit: Callable[[bytes, Frame, Code, str], None]
    """A message whose frames could not be had: identity, header (empty where there is none), why."""
    lost: Callable[[], None]
    """Some ZeroMQ connection has ended; only asking each app shows whose it was."""
