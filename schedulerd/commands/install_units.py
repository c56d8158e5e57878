"""`schedulerd install-units`: put the systemd service in its place, or take it away again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulerd.units import Step

HELP = "install the systemd service: unit, drop-ins, user, directories and a configuration if there is none"
EXIT_CODES = "Exit codes: 0 done, 1 a file could not be read, written or removed, 2 wrong usage."
STORE = """\
    {program} store import --store /var/lib/schedulerd/store YOUR-MODELS.tar
    chown --recursive schedulerd: /var/lib/schedulerd"""
AFTER = f"""\
next, as root:
    systemd-sysusers schedulerd.conf
    systemd-tmpfiles --create schedulerd.conf
    systemctl daemon-reload
{STORE}
    systemctl enable schedulerd
    systemctl restart schedulerd
users of client apps join the group:  usermod --append --groups schedulerd USER"""
AFTER_ROOT = f"""\
{{root}} is the root of another system; once that runs, there, as root:
{STORE}
    systemctl enable --now schedulerd"""
AFTER_REMOVAL = """\
next, as root:
    systemctl disable --now schedulerd
    systemctl daemon-reload
the user schedulerd and /var/lib/schedulerd stay; who wants neither:
    userdel schedulerd
    rm -r /var/lib/schedulerd"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `install-units` and its options."""
    from schedulerd.units import PROFILES

    parser = subparsers.add_parser("install-units", help=HELP, description=f"{HELP}. {EXIT_CODES}")
    parser.add_argument(
        "--profile",
        nargs="+",
        choices=PROFILES,
        default=["default"],
        help="the board (jetson, pi), and who may reach the daemon by TCP: programs of this machine (loopback), other "
        "machines too (network), operators there with keys (remote); several may "
        "be given, and a drop-in that is not given is removed",
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="root of another system, or a package"
    )
    parser.add_argument(
        "--program", metavar="FILE", help="what the unit starts; default: this installation's `schedulerd`"
    )
    parser.add_argument("--uninstall", action="store_true", help="remove what this has installed")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Install or remove, a line a file; then what to do next."""
    from schedulerd import units

    folder = units.files_folder()
    configuration = (folder / "schedulerd.toml").read_text()
    root = args.root.absolute()
    if args.uninstall:
        for step in units.uninstall(root, configuration):
            _show(step)
        if root == Path("/"):
            print(AFTER_REMOVAL)
        return 0
    program = PurePosixPath(args.program) if args.program else own_program(sys.executable)
    for step in units.install(root, units.files_of(folder, args.profile, program), configuration):
        _show(step)
    print((AFTER if root == Path("/") else AFTER_ROOT).format(program=program, root=root))
    return 0


def own_program(python: str) -> PurePosixPath:
    """`schedulerd` beside the interpreter that runs this; raises where the service could not start the two."""
    from schedulerd.errors import SchedulerdError
    from schedulerd.units import SHIPPED_PROGRAM, check_visible

    program = Path(python).parent / "schedulerd"
    if not program.is_file():
        raise SchedulerdError(
            f"there is no {program}; say what the unit is to start, such as --program {SHIPPED_PROGRAM}"
        )
    # A virtual environment's interpreter is a link to the one that it was made with.
    check_visible(PurePosixPath(Path(python).resolve()))
    return PurePosixPath(program)


def _show(step: Step) -> None:
    print(f"{step.done:<10} {step.path}")
