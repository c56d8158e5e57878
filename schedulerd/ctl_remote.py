"""`schedctl --connect`: which daemon on another machine is meant, where the keys for it are, and `schedctl keys`.

What an option does not say an environment variable may, and what neither says is looked for in ~/.config/schedulerd:
the daemon's public key in `servers/HOST.public`, one's own secret key in `keys`, where it must be the only one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from schedulerd.wire.remote import Place
    from schedulerd_client import OperatorKeys

CONNECT: Final = "SCHEDULERD_CONNECT"
SERVER_KEY: Final = "SCHEDULERD_SERVER_KEY"
KEY: Final = "SCHEDULERD_KEY"

NEXT = """\
{public}  may be given to anybody
{secret}  is yours alone
next, on the daemon's machine, as root:
    cp {name}.public /etc/schedulerd/operators/
    schedctl reload
and where {name} is to change something, not only to look: [remote] control = ["{name}"] in its configuration
next, here, with the daemon's own public key (there: /etc/schedulerd/remote.public):
    mkdir -p {servers}
    cp remote.public {servers}/HOST.public
    schedctl --connect HOST status"""


class Target(NamedTuple):
    """A daemon on another machine."""

    address: str
    keys: OperatorKeys


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add those that say which daemon."""
    parser.add_argument("--connect", metavar="HOST[:PORT]", help=f"a daemon on another machine ({CONNECT})")
    parser.add_argument("--server-key", type=Path, metavar="FILE", help=f"its public key ({SERVER_KEY})")
    parser.add_argument("--key", type=Path, metavar="FILE", help=f"your secret key for it ({KEY})")


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add what `keys` takes."""
    parser.add_argument("new", choices=("new",), help="make a pair of keys, to be an operator on other machines")
    parser.add_argument("name", metavar="NAME", help="what the daemon is to know you by")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to put them (~/.config/schedulerd/keys)")


def target(args: argparse.Namespace, environment: Mapping[str, str]) -> Target | None:
    """The daemon that is meant where it is on another machine. ValueError says what is missing."""
    given = getattr(args, "connect", None)
    if given is not None and hasattr(args, "runtime"):
        raise ValueError("--connect is for another machine and --runtime for this one; give one of them")
    address = given or environment.get(CONNECT)
    if not address or hasattr(args, "runtime"):
        return None
    # Here, because whoever asks a daemon on this machine is to have the answer before this has been imported.
    from schedulerd.wire.remote import Place
    from schedulerd_client import OperatorKeys

    place = Place.of(address)
    folder = home(environment)
    server_key = _given(args, "server_key", environment.get(SERVER_KEY)) or _known_server(folder, place)
    key = _given(args, "key", environment.get(KEY)) or _only_key(folder / "keys")
    return Target(place.control, OperatorKeys.from_files(server_key, key))


def new_keys(args: argparse.Namespace) -> str:
    """Make a pair, and say what to do with it. `KeyFileError` where it cannot be made."""
    from schedulerd.wire.keys import write_pair
    from schedulerd_client import new_key_pair

    environment = os.environ
    folder = (args.folder or home(environment) / "keys").absolute()
    files = write_pair(folder, args.name, new_key_pair())
    return NEXT.format(public=files.public, secret=files.secret, name=args.name, servers=home(environment) / "servers")


def home(environment: Mapping[str, str]) -> Path:
    """What is this user's (https://specifications.freedesktop.org/basedir-spec)."""
    configured = Path(environment.get("XDG_CONFIG_HOME", ""))
    return (configured if configured.is_absolute() else Path.home() / ".config") / "schedulerd"


def _given(args: argparse.Namespace, option: str, variable: str | None) -> Path | None:
    path: Path | None = getattr(args, option, None)
    return path or (Path(variable) if variable else None)


def _known_server(folder: Path, place: Place) -> Path:
    from schedulerd.wire.keys import PUBLIC, KeyFileError

    path = folder / "servers" / f"{place.host}{PUBLIC}"
    if not path.exists():
        raise KeyFileError(
            f"there is no key of the daemon at {place.host}: copy its /etc/schedulerd/remote.public to {path}, or give "
            "--server-key FILE"
        )
    return path


def _only_key(folder: Path) -> Path:
    from schedulerd.wire.keys import SECRET, KeyFileError

    found = sorted(folder.glob(f"*{SECRET}"))
    if not found:
        raise KeyFileError(f"there is no key of yours in {folder}; make one with `schedctl keys new NAME`")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise KeyFileError(f"there are several keys in {folder} ({names}); say which by --key FILE")
    return found[0]
