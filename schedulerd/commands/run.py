"""`schedulerd run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

import argparse
import faulthandler
from dataclasses import replace
from pathlib import Path

from schedulerd.config import Config


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run` and its options."""
    parser = subparsers.add_parser("run", help="run the daemon in the foreground")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="block store, instead of paths.store")
    parser.add_argument("--state", type=Path, metavar="DIR", help="profiles, instead of paths.state")
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="sockets, instead of paths.runtime")
    parser.add_argument("--engine", choices=("onnxruntime", "torch"), help="instead of engine.name")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    # A watchdog ends a daemon by SIGABRT: the journal then shows where each thread was.
    faulthandler.enable()
    from schedulerd import config as configuration
    from schedulerd import logs

    def read() -> Config:
        return _with_options(configuration.load(args.config), args)

    config = read()
    logs.follow(config.log, configuration.service_manager().journal_stream)
    # After the configuration, so that a typing mistake in it is answered without importing an engine's libraries.
    from schedulerd.daemon import Daemon

    Daemon(config, read).run()
    return 0


def _with_options(config: Config, args: argparse.Namespace) -> Config:
    given = {key: getattr(args, key).absolute() for key in ("store", "state", "runtime") if getattr(args, key)}
    if args.engine:
        config = replace(config, engine=replace(config.engine, name=args.engine))
    return replace(config, paths=replace(config.paths, **given))
