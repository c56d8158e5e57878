"""Tells the service manager how the daemon is: starting, ready, alive, reloading, stopping, and what it does.

The protocol is one datagram of `NAME=value` lines to an AF_UNIX socket (sd_notify(3); systemd publishes a
self-contained example, man/notify-selfcontained-example.py). Without a service manager a call does nothing.
"""

from __future__ import annotations

import socket
import time

from schedulerd.errors import ConfigError

PATIENCE_S = 1.0
"""For a manager that is busy, where it waits for this very message: a unit whose READY=1 is lost fails to start."""


class Notifier:
    """Sends states to the address that the service manager gave in NOTIFY_SOCKET."""

    def __init__(self, address: str | None) -> None:
        """Args: address: a path, `@name` for an abstract socket, or None for no service manager."""
        if address is not None and not address.startswith(("/", "@")):
            raise ConfigError(f"NOTIFY_SOCKET {address!r} is neither a path nor an abstract socket (@name)")
        self._address = address

    def starting(self, status: str, more_s: float) -> bool:
        """Start-up goes on, and may take `more_s` from now, however little of TimeoutStartSec= is left."""
        return self._send(f"STATUS={_one_line(status)}", f"EXTEND_TIMEOUT_USEC={round(more_s * 1e6)}")

    def ready(self, status: str) -> bool:
        """Start-up is done: units that come after this one may start. Ends a `reloading` too, whatever came of it."""
        return self._send("READY=1", f"STATUS={_one_line(status)}", patience_s=PATIENCE_S)

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> bool:
        """Keep the watchdog from ending this process; see `watchdog_interval_s` for how often."""
        return self._send("WATCHDOG=1")

    def reloading(self, status: str = "reading the configuration again") -> bool:
        """A reload has begun; `ready` ends it.

        The time says which of several reloads this is (sd_notify(3), MONOTONIC_USEC=): Type=notify-reload, which
        systemd has from 253 on, needs it, and older ones pass over it.
        """
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        moment, text = f"MONOTONIC_USEC={now_usec}", f"STATUS={_one_line(status)}"
        return self._send("RELOADING=1", moment, text, patience_s=PATIENCE_S)

    def stopping(self, status: str) -> bool:
        """Shutdown has begun."""
        return self._send("STOPPING=1", f"STATUS={_one_line(status)}")

    def _send(self, *lines: str, patience_s: float = 0.0) -> bool:
        """True when the manager took the datagram. One that is slow or gone costs the daemon `patience_s` at most."""
        if self._address is None:
            return False
        # An abstract name begins with a zero byte, which the environment cannot carry: "@" stands for it.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(patience_s)
            try:
                manager.sendto("\n".join(lines).encode(), address)
            except OSError:
                return False
        return True


def watchdog_interval_s(watchdog_s: float | None) -> float | None:
    """Seconds between two `watchdog` calls: half the limit, as sd_watchdog_enabled(3) advises."""
    return None if watchdog_s is None else watchdog_s / 2


def _one_line(text: str) -> str:
    return " ".join(text.split())
