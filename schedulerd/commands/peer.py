"""`schedulerd peer`: the far end for a daemon elsewhere that measures the way to this machine."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `peer` and its options."""
    help_ = "answer daemons that measure the bandwidth to this machine"
    protection = "Whoever can connect may send to it; it throws away what comes, at most 256 KiB a connection."
    needs = "A daemon probes it every 10 s where `peer` in [board] of its configuration names this address."
    parser = subparsers.add_parser("peer", help=help_, description=f"{help_}. {needs} {protection}")
    parser.add_argument(
        "--listen",
        required=True,
        metavar="HOST:PORT",
        help="address of this machine to listen on, such as 10.0.0.2:5201 or [::]:5201; port 0 takes a free one",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer until interrupted."""
    from schedulerd.clock import SystemClock
    from schedulerd.errors import ConfigError
    from schedulerd.peer_server import PeerServer, listen
    from schedulerd.wire.peer import host_and_port

    try:
        host, port = host_and_port(args.listen)
    except ValueError as error:
        raise ConfigError(f"--listen: {error}") from error
    listener = listen(host, port)
    print(f"listening on {host} port {listener.getsockname()[1]}", flush=True)
    PeerServer(listener, SystemClock()).serve()
    return 0
