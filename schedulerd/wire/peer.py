"""What goes between a daemon that measures the way to a peer and `schedulerd peer` there: one TCP connection a probe.

peer     the greeting, so that nobody sends to a service that knows nothing of this
daemon   up to `MAX_BYTES` of any bytes, for up to `MAX_S`; then it says that it ends (shutdown, SHUT_WR)
peer     one line: bytes that arrived after its first read, and microseconds from the first read to the last
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

GREETING: Final = b"schedulerd-peer 1\n"
MAX_BYTES: Final = 256 * 1024
MAX_S: Final = 0.25
MAX_ANSWER_BYTES: Final = 32

_ANSWER: Final = re.compile(rb"(\d{1,9}) (\d{1,9})\n")
_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})", re.ASCII)


class Arrived(NamedTuple):
    """What a peer saw of one probe."""

    size_bytes: int
    """After its first read, whose bytes came before there was a time to measure from."""
    took_us: int

    def line(self) -> bytes:
        """As the peer answers."""
        return b"%d %d\n" % self

    @staticmethod
    def of_line(line: bytes) -> Arrived:
        """What `line` wrote; ValueError for anything else."""
        match = _ANSWER.fullmatch(line)
        if match is None:
            raise ValueError(f"the peer answered {line!r}, expected bytes and microseconds")
        return Arrived(int(match[1]), int(match[2]))


def host_and_port(address: str) -> tuple[str, int]:
    """Of `host:port`, IPv6 addresses in brackets; ValueError for anything else."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) >= 2**16:
        raise ValueError(f"{address!r} is no address; write host:port, such as 10.0.0.2:5201 or [fe80::2]:5201")
    return match["v6"] or match["host"], int(match["port"])
