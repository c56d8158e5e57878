"""The door to the network: two TCP ports, and how many may be inside. Whoever is let through talks to libzmq.

libzmq takes every connection that the kernel has, and each costs a descriptor and the arithmetic of a handshake, which
whoever has no key can ask for as often as he likes. So it listens to no network: it is behind two sockets of the
runtime directory, and a thread of its own passes bytes on, of as many connections at once, and of as many new ones a
second, as stand here. Others wait in the kernel's queue, which is short. It reads nothing of what it passes on: keys
are checked, and all is encrypted, between libzmq and the client.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from select import EPOLLIN, epoll
from typing import Final, NamedTuple

import structlog

from schedulerd.clock import Clock
from schedulerd.errors import ConfigError
from schedulerd.serving.pace import Pace
from schedulerd.serving.refusals import Refusals
from schedulerd.serving.relay import Relay
from schedulerd.wire.peer import host_and_port

log = structlog.get_logger(__name__)

QUEUE: Final = 32
"""Connections that the kernel keeps for us."""
GONE_MS: Final = 20_000
"""After which time without an acknowledgement the kernel gives a connection up (TCP_USER_TIMEOUT, tcp(7))."""
PORT_TRIES: Final = 20
IDLE_S: Final = 60.0
LAST_WORDS_S: Final = 2.0
"""At most: the daemon's sockets are closed by then, and so each connection ends by itself."""


class Limits(NamedTuple):
    """Of connections."""

    most: int = 64
    """At once: `schedctl` has one, listening to events another."""
    most_of_one: int = 24
    """Of them from one address."""
    a_second: float = 10.0
    """New ones in the long run; a handshake takes about 0.3 ms of a core, and passing it on as much."""
    at_once: int = 20
    """New ones after a quiet while."""


class Door:
    """Listening from the start; connections are passed on after `open`."""

    def __init__(self, address: str, clock: Clock, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        """Listen at `host:port` and at the port after it; port 0 takes two that are free.

        Raises `ConfigError` where one cannot be had.
        """
        host, port = host_and_port(address)
        self._listeners = _pair(host, port) if port else _free_pair(host)
        self.port: int = self._listeners[0].getsockname()[1]
        """The first of the two."""
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.lately: deque[str] = deque(maxlen=8)
        """Addresses of the latest connections."""
        self._clock = clock
        self._limits = limits
        self._refusals = Refusals(clock)
        self._pace = Pace(limits.a_second, limits.at_once, clock.now_s())
        self._behind: Mapping[int, str] = {}
        """By the descriptor of a listener, the path of the socket behind it."""
        self._connections: dict[int, Relay] = {}
        """By the descriptor of either side."""
        self._of: Counter[str] = Counter()
        """Connections by address."""
        self._watcher = epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watcher.register(self._wake, EPOLLIN)
        self._listening = False
        """Whether the watcher looks at the listeners."""
        self._ending = False
        self._hanging_up: deque[int] = deque()
        """Ports of which all connections are to end."""
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    # For other threads.

    def open(self, first: Path, second: Path) -> None:
        """Pass on what comes to the first port, and to the second, to the sockets at these paths."""
        self._behind = dict(zip((one.fileno() for one in self._listeners), (str(first), str(second)), strict=True))
        self._thread.start()

    def hang_up(self, which: int) -> None:
        """End every connection that there is now of the first port (0) or the second (1); others may come."""
        self._hanging_up.append(which)
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def close(self, timeout_s: float) -> None:
        """Stop listening, end every connection. Safe to call before `open`, and twice."""
        if self._wake < 0:
            return
        self._ending = True
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return  # its descriptors end with the process
        for listener in self._listeners:
            listener.close()
        self._watcher.close()
        os.close(self._wake)
        self._wake = -1

    # The thread.

    def _run(self) -> None:
        while not self._ending:
            try:
                self._turn(self._heed_listeners())
            except Exception:
                log.exception("door_failed")
                self._clock.wait(threading.Event(), 1.0)
        self._say_last_words()
        self._end_all()

    def _say_last_words(self) -> None:
        """What libzmq has sent before it closed its sockets leaves; the end of each is the end of a connection."""
        self._look_at_listeners(False)
        until_s = self._clock.now_s() + LAST_WORDS_S
        while self._connections and self._clock.now_s() < until_s:
            self._turn(LAST_WORDS_S / 40)

    def _turn(self, wait_s: float) -> None:
        arrived = []
        for descriptor, events in self._watcher.poll(wait_s):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif descriptor in self._behind:
                arrived.append(descriptor)
            elif (connection := self._connections.get(descriptor)) is not None and not connection.stirred(
                descriptor, events
            ):
                self._end(connection)
        # Last: a new connection may have the descriptor of one that has ended, and of that there may be more to hear.
        for descriptor in arrived:
            self._let_in(descriptor)
        while self._hanging_up:
            self._end_all(self._listeners[self._hanging_up.popleft()].fileno())

    def _heed_listeners(self) -> float:
        """Look at the listeners only while another connection may come; for how long this can be left so."""
        wait_s = self._pace.wait_s(self._clock.now_s())
        self._look_at_listeners(wait_s <= 0 and len(self._connections) < 2 * self._limits.most)
        return wait_s if wait_s > 0 else IDLE_S

    def _look_at_listeners(self, wanted: bool) -> None:
        if wanted is self._listening:
            return
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                self._watcher.register(listener.fileno(), EPOLLIN)
            else:
                self._watcher.unregister(listener.fileno())

    def _let_in(self, descriptor: int) -> None:
        """Take the next connection, and connect it with the socket behind."""
        listener = next(one for one in self._listeners if one.fileno() == descriptor)
        try:
            outer, (host, *_) = listener.accept()
        except OSError as error:
            # Whoever it was has gone again, or no descriptor is free: the next turn is a moment later.
            self._pace.take(self._clock.now_s())
            log.debug("remote_not_accepted", reason=error.strerror)
            return
        self._pace.take(self._clock.now_s())
        self.lately.append(host)
        if self._of[host] >= self._limits.most_of_one:
            self._refusals.note(f"its address has {self._limits.most_of_one} connections already", [host])
            outer.close()
            return
        try:
            _prepare(outer)
            inner = _connected(self._behind[descriptor])
        except OSError as error:
            log.warning("remote_not_served", reason=error.strerror)
            outer.close()
            return
        connection = Relay(descriptor, host, outer, inner, self._watcher)
        self._of[host] += 1
        for side in connection.sides:
            self._connections[side.fileno()] = connection

    def _end(self, connection: Relay) -> None:
        for side in connection.sides:
            del self._connections[side.fileno()]
        self._of[connection.host] -= 1
        if not self._of[connection.host]:
            del self._of[connection.host]
        connection.close()

    def _end_all(self, listener: int | None = None) -> None:
        """Of one listener, or of both."""
        for connection in {id(one): one for one in self._connections.values()}.values():
            if listener in (None, connection.listener):
                self._end(connection)


def _prepare(outer: socket.socket) -> None:
    outer.setblocking(False)
    outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    outer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)


def _connected(path: str) -> socket.socket:
    inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        inner.setblocking(False)
        inner.connect(path)
    except OSError:
        inner.close()
        raise
    return inner


def _free_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Two ports, one after the other, that nobody has."""
    for _ in range(PORT_TRIES):
        with contextlib.suppress(ConfigError):
            first = _listener(host, 0)
            try:
                return first, _listener(host, first.getsockname()[1] + 1)
            except ConfigError:
                first.close()
    raise ConfigError(f"[remote] listen: no two ports in a row are free at {host}; give one, such as {host}:9478")


def _pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    if port + 1 >= 2**16:
        raise ConfigError(f"[remote] listen: port {port} has none after it, where events would be; take a lower one")
    first = _listener(host, port)
    try:
        return first, _listener(host, port + 1)
    except ConfigError:
        first.close()
        raise


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Whoever says [::] means all of this machine's addresses.
        both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server((host, port), family=family, backlog=QUEUE, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigError(
            f"[remote] listen: cannot listen at {host} port {port}: {error.strerror}; this port and the one after it "
            "must be free, and the address this machine's"
        ) from error
    listener.setblocking(False)
    return listener
