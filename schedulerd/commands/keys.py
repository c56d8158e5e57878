"""`schedulerd keys`: make the daemon's pair of keys for operators on other machines, or show whose keys there are."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "the daemon's keys for operators on other machines: make a pair, or show whose there are"
NEXT = """\
{public}  is for operators: the file HOST.public in their ~/.config/schedulerd/servers
{secret}  is the daemon's alone
next: a folder for the public keys of operators, and the address in {folder}/schedulerd.toml
    mkdir -p {folder}/operators
    [remote]
    listen = "0.0.0.0:9478"
then restart the daemon; as a service it also needs: schedulerd install-units --profile remote"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `keys` and what it takes."""
    parser = subparsers.add_parser(
        "keys", help=HELP, description=HELP, epilog="exit codes: 0 done, 1 a key cannot be made or read, 2 wrong usage"
    )
    parser.add_argument("what", choices=("new", "show"), help="make the daemon's pair; show its key and the operators'")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="instead of /etc/schedulerd, or of ~/.config/schedulerd for a user"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make or show. Nothing that there is is written over."""
    from schedulerd.config_remote import default_folder
    from schedulerd.errors import SchedulerdError
    from schedulerd.wire.keys import KeyFileError

    folder = (args.folder or default_folder()).absolute()
    try:
        print(_new(folder) if args.what == "new" else _shown(folder))
    except KeyFileError as error:
        raise SchedulerdError(str(error)) from error
    return 0


def _new(folder: Path) -> str:
    from schedulerd.config_remote import KEY_NAME
    from schedulerd.serving.curve import new_pair
    from schedulerd.wire.keys import write_pair

    files = write_pair(folder, KEY_NAME, new_pair())
    return NEXT.format(public=files.public, secret=files.secret, folder=folder)


def _shown(folder: Path) -> str:
    """The daemon's public key, then those of the operators who are let in."""
    from schedulerd.commands.tables import table
    from schedulerd.config_remote import KEY_NAME
    from schedulerd.wire.keys import PUBLIC, read_public

    # No hidden ones, as the daemon: an editor's, or a copy that is under way.
    operators = sorted((folder / "operators").glob(f"[!.]*{PUBLIC}"))
    files = [folder / f"{KEY_NAME}{PUBLIC}", *operators]
    return "\n".join(table(("KEY", "FILE"), [(read_public(path), str(path)) for path in files]))
