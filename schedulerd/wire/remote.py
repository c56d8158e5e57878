"""Where a daemon on another machine is reached: two TCP ports, one after the other."""

from __future__ import annotations

from typing import Final, NamedTuple

from schedulerd.wire.peer import host_and_port

TCP: Final = "tcp://"
DEFAULT_PORT: Final = 9478


class Place(NamedTuple):
    """Where a daemon answers, and where its events are: addresses of ZeroMQ."""

    control: str
    events: str
    host: str = ""
    """Of one on another machine, without the brackets of IPv6."""

    @staticmethod
    def of(address: str) -> Place:
        """Of `tcp://host:port`, or of a host alone; events are at the port after. ValueError for anything else."""
        bare = address.removeprefix(TCP)
        if "://" in bare:
            raise ValueError(f"{address!r} is no address of a daemon; write tcp://HOST:{DEFAULT_PORT}, or HOST")
        host, port = host_and_port(bare if _has_port(bare) else f"{bare}:{DEFAULT_PORT}")
        if not 0 < port < 2**16 - 1:
            raise ValueError(f"port {port} of {address!r} and the one after it must be from 1 to {2**16 - 1}")
        shown = f"[{host}]" if ":" in host else host
        return Place(f"{TCP}{shown}:{port}", f"{TCP}{shown}:{port + 1}", host)


def _has_port(bare: str) -> bool:
    """An IPv6 address has its colons in brackets."""
    return ":" in bare.rpartition("]")[2]
