"""The service's files: where they come from, where systemd looks for them, how they are put there and taken away.

`install` and `uninstall` are what `schedulerd install-units` does. A file is whole or not there: it is written beside
its place and renamed. The configuration is the operator's as soon as it differs from the one that ships.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from schedulerd.errors import SchedulerdError

PROFILES: Final = ("default", "jetson", "pi", "loopback", "network", "remote")
"""`default` is the unit alone; every other one is a drop-in of that name."""

SHIPPED_PROGRAM: Final = PurePosixPath("/opt/schedulerd/bin/schedulerd")
"""What the unit's file starts as it ships; `schedctl` is beside it."""

_SHIPPED_CTL: Final = str(SHIPPED_PROGRAM.with_name("schedctl"))

CONFIGURATION: Final = PurePosixPath("etc/schedulerd/schedulerd.toml")
_UNIT: Final = PurePosixPath("usr/lib/systemd/system/schedulerd.service")
_DROP_INS: Final = PurePosixPath("usr/lib/systemd/system/schedulerd.service.d")
_SYSUSERS: Final = PurePosixPath("usr/lib/sysusers.d/schedulerd.conf")
_TMPFILES: Final = PurePosixPath("usr/lib/tmpfiles.d/schedulerd.conf")

_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (named, not used)
"""What ProtectHome= and PrivateTmp= keep from the service."""
_SPECIAL: Final = frozenset("%$;\\'\"")
"""What ExecStart= does not take as it stands (systemd.service(5), "Command lines"), besides blanks."""


class Step(NamedTuple):
    """What was done about one file."""

    done: str
    """`written`, `replaced`, `unchanged`, `kept` or `removed`."""
    path: Path


def files_folder() -> Path:
    """The folder of the shipped files: beside this file in an installed package, in a checkout at its top."""
    here = Path(__file__).resolve().parent
    for folder in (here / "systemd", here.parent / "systemd"):
        if (folder / "schedulerd.service").is_file():
            return folder
    raise SchedulerdError(f"the unit files are missing from {here}; install schedulerd again")


def files_of(folder: Path, profiles: Sequence[str], program: PurePosixPath) -> dict[PurePosixPath, str]:
    """Path below the root and text of every file of a service that starts `program`, without the configuration."""
    check_program(program)
    unit = (folder / "schedulerd.service").read_text()
    found = {
        _UNIT: unit.replace(str(SHIPPED_PROGRAM), str(program)).replace(
            _SHIPPED_CTL, str(program.with_name("schedctl"))
        ),
        _SYSUSERS: (folder / "schedulerd.sysusers").read_text(),
        _TMPFILES: (folder / "schedulerd.tmpfiles").read_text(),
    }
    chosen = (profile for profile in profiles if profile != "default")
    return found | {_drop_in(profile): (folder / "drop-ins" / f"{profile}.conf").read_text() for profile in chosen}


def check_program(program: PurePosixPath) -> None:
    """Raises SchedulerdError for a path that the service could not start."""
    text = str(program)
    if not program.is_absolute():
        raise SchedulerdError(
            f"the program {text!r} is no absolute path; give one, such as --program {SHIPPED_PROGRAM}"
        )
    if any(c.isspace() or c in _SPECIAL for c in text):
        raise SchedulerdError(f"a unit cannot start {text!r}: blanks and {' '.join(sorted(_SPECIAL))} are not taken")
    check_visible(program)


def check_visible(path: PurePosixPath) -> None:
    """Raises SchedulerdError for a file that the service would not see."""
    for folder in _HIDDEN:
        if path.is_relative_to(folder):
            raise SchedulerdError(
                f"the service cannot see {path}: its unit hides {folder}; install schedulerd in "
                f"{SHIPPED_PROGRAM.parents[1]}, with a Python that is not there either"
            )


def install(root: Path, files: Mapping[PurePosixPath, str], configuration: str) -> Iterator[Step]:
    """Put `files` below `root`, and the configuration where there is none; take drop-ins away that are not in `files`.

    Raises SchedulerdError where that is not possible; what was done before stays, and another call goes on.
    """
    _check_root(root)
    for path, text in files.items():
        yield _put(root / path, text)
    for path in _all_drop_ins():
        if path not in files and (root / path).exists():
            yield _remove(root / path)
    place = root / CONFIGURATION
    if os.path.lexists(place) and _text_of(place) != configuration:
        yield Step("kept", place)
    else:
        yield _put(place, configuration)


def uninstall(root: Path, configuration: str) -> Iterator[Step]:
    """Take away what `install` puts there; a configuration that was changed stays."""
    _check_root(root)
    for path in (*_all_drop_ins(), _UNIT, _SYSUSERS, _TMPFILES):
        if os.path.lexists(root / path):
            yield _remove(root / path)
    _remove_if_empty(root / _DROP_INS)
    place = root / CONFIGURATION
    if os.path.lexists(place):
        yield Step("kept", place) if _text_of(place) != configuration else _remove(place)
    for folder in (place.parent / "conf.d", place.parent / "operators", place.parent):
        _remove_if_empty(folder)


def _all_drop_ins() -> list[PurePosixPath]:
    return [_drop_in(profile) for profile in PROFILES if profile != "default"]


def _drop_in(profile: str) -> PurePosixPath:
    return _DROP_INS / f"50-{profile}.conf"


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise SchedulerdError(f"--root {root}: there is no such directory; make it first")


def _put(path: Path, text: str) -> Step:
    before = _text_of(path)
    if before == text:
        return Step("unchanged", path)
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        _discard(beside)
        raise _refused("write", path, error) from error
    return Step("written" if before is None else "replaced", path)


def _text_of(path: Path) -> str | None:
    """None where there is no such file; what is not text is nobody's default."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused("read", path, error) from error


def _remove(path: Path) -> Step:
    try:
        path.unlink()
    except OSError as error:
        raise _refused("remove", path, error) from error
    return Step("removed", path)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # it is not empty, or not there
        return


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the error that brought us here says more
        return


def _refused(what: str, path: Path, error: OSError) -> SchedulerdError:
    remedy = "; run it as root, or into a directory of yours with --root" if isinstance(error, PermissionError) else ""
    return SchedulerdError(f"cannot {what} {path}: {error.strerror}{remedy}")
