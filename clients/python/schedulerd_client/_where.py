"""Which sockets a client means, and what to say when nobody listens there."""

from __future__ import annotations

import os
from pathlib import Path

from schedulerd.wire.endpoints import Endpoints, default_directory


def endpoints_of(endpoint: str | Path | None) -> Endpoints:
    """The daemon's sockets from its runtime directory, from one of its ipc:// addresses, or from nothing.

    Raises ValueError (`EndpointError` where the directory is at fault) with the remedy.
    """
    if endpoint is None:
        return Endpoints.within(default_directory(os.environ, os.getuid()))
    address = str(endpoint)
    if address.startswith("ipc://"):
        return Endpoints.within(Path(address.removeprefix("ipc://")).parent)
    if "://" in address:
        raise ValueError(
            f"endpoint {address!r}: only ipc:// is served to apps; give the daemon's runtime directory or address"
        )
    return Endpoints.within(Path(address))


def absence(address: str) -> str:
    """Why there is no connection to an address, with the remedy."""
    if address.startswith("tcp://"):
        return (
            f"no daemon at {address}; it must run with [remote] listen, and a firewall let its port and the one after "
            "it through"
        )
    path = Path(address.removeprefix("ipc://"))
    try:
        forbidden = path.exists() and not os.access(path, os.W_OK)
    except PermissionError:
        forbidden = True
    if forbidden:
        return f"no permission to open {address}; join the group that owns {path}"
    return f"no daemon at {address}; start it with `schedulerd run`, or name its runtime directory: Client(DIR)"
