"""Tells the service manager how the daemon is: ready, what it does, alive, stopping.

The protocol is one datagram of `NAME=value` lines to an AF_UNIX socket (sd_notify(3); systemd publishes a
self-contained example, man/notify-selfcontained-example.py). Without a service manager a call does nothing.
"""

from __future__ import annotations

import socket

from schedulerd.errors import ConfigError


class Notifier:
    """Sends states to the address that the service manager gave in NOTIFY_SOCKET."""

    def __init__(self, address: str | None) -> None:
        """Args: address: a path, `@name` for an abstract socket, or None for no service manager."""
        if address is not None and not address.startswith(("/", "@")):
            raise ConfigError(f"NOTIFY_SOCKET {address!r} is neither a path nor an abstract socket (@name)")
        self._address = address

    def ready(self, status: str) -> bool:
        """Start-up is done: units that come after this one may start."""
        return self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> bool:
        """Keep the watchdog from ending this process; see `watchdog_interval_s` for how often."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Shutdown has begun."""
        return self._send("STOPPING=1")

    def _send(self, *lines: str) -> bool:
        """True when the manager took the datagram. A manager that is gone or slow never delays the daemon."""
        if self._address is None:
            return False
        # An abstract name begins with a zero byte, which the environment cannot carry: "@" stands for it.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.setblocking(False)
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
