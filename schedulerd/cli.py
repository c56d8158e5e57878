"""`schedulerd`: one program, a sub-command for each task, which imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from blockprofiles.errors import BlockProfilesError
from blockstore.errors import BlockStoreError
from schedulerd import __version__
from schedulerd.commands import (
    build,
    check_config,
    completion,
    demo,
    install_units,
    keys,
    peer,
    profile,
    recipe,
    replay,
    run,
    scene,
    store,
)
from schedulerd.errors import SchedulerdError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; exit codes: 0 done, 1 failed with a message, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="schedulerd", description="Several vision networks on one small board.")
    parser.add_argument("--version", action="version", version=f"schedulerd {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, check_config, demo, scene, store):
        command.add_parser(subparsers)
    known = recipe.options_of(build.add_parser(subparsers))
    profile.add_parser(subparsers)
    replay.add_parser(subparsers)
    peer.add_parser(subparsers)
    keys.add_parser(subparsers)
    install_units.add_parser(subparsers)
    completion.add_parser(subparsers, parser)
    try:
        chosen = parser.parse_args(recipe.expanded(sys.argv[1:] if arguments is None else arguments, known))
        return int(chosen.run(chosen))
    except KeyboardInterrupt:
        print("schedulerd: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `schedulerd store ls | head`: the reader has left; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SchedulerdError, BlockStoreError, BlockProfilesError, OSError) as error:
        # An OSError says what and which file: a directory that may not be written, a disk that is full.
        print(f"schedulerd: {error}", file=sys.stderr)
        return 1
