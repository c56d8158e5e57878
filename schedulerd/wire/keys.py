"""Key files of CURVE: what daemon and operators read, and what `keys new` writes.

The format is the certificate text of libzmq and pyzmq, so that their files can be used, and ours by them:

    curve
        public-key = "40 characters of Z85"
        secret-key = "the same, in the secret file alone"

A secret that others could have read is none: such a file is refused, with the command that mends it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Final, NamedTuple

SECRET: Final = ".secret"  # noqa: S105 - a suffix
PUBLIC: Final = ".public"
MAX_FILE_BYTES: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
# https://rfc.zeromq.org/spec/32: 32 bytes are 40 characters of this alphabet, each five the number of four bytes.
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_KEY_CHARACTERS: Final = 40
_LINE: Final = re.compile(r"""\s*(public|secret)-key\s*=\s*["']?([^"'\s]*)["']?\s*""", re.ASCII)
_TEXT: Final = {
    PUBLIC: "# Public CURVE key of {name}: may be given to anybody.\n",
    SECRET: "# SECRET CURVE key of {name}: nobody else may read this file, nor have a copy.\n",
}


Check = Callable[[Path, os.stat_result], None]


class KeyFileError(ValueError):
    """A key file that cannot be used, or not be made, with the remedy."""


class Pair(NamedTuple):
    """A public key and its secret one, each as 40 characters of Z85."""

    public: str
    secret: str


class Files(NamedTuple):
    """Where a pair is kept."""

    public: Path
    secret: Path


def check_name(name: str) -> str:
    """The name of a key, which is that of its files; `KeyFileError` for one that no file should have."""
    if not _NAME.fullmatch(name):
        raise KeyFileError(
            f"{name!r} is no name for a key: it takes 1 to 64 letters, digits, dots, dashes and underscores, and "
            "begins with a letter or a digit"
        )
    return name


def read_public(path: Path) -> str:
    """The public key in a file; of a file with both keys, too."""
    return _key("public", _read(path), path)


def read_secret(path: Path, *, guarded: bool = False) -> str:
    """The secret key in a file that only this user, or root, can have written and read.

    Args: path; guarded: whether the service manager keeps the file, which it shows to its service by an access list.
    """
    return _key("secret", _read(path, None if guarded else _refuse_shared), path)


def write_pair(folder: Path, name: str, pair: Pair) -> Files:
    """Write both files of a key; those that there are stay as they are, and nothing else is written then."""
    files = Files(folder / f"{check_name(name)}{PUBLIC}", folder / f"{name}{SECRET}")
    for path in files:
        if path.is_symlink() or path.exists():
            raise KeyFileError(f"{path} is there already and stays; choose another name, or move it away")
    try:
        folder.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        _write(files.secret, _certificate(name, SECRET, pair), 0o600)
        try:
            _write(files.public, _certificate(name, PUBLIC, pair), 0o644)
        except OSError:
            files.secret.unlink()
            raise
    except OSError as error:
        # A write that fails names no file.
        raise KeyFileError(f"{error.filename or folder}: {error.strerror}; no key was made") from error
    return files


def _certificate(name: str, kind: str, pair: Pair) -> str:
    lines = [_TEXT[kind].format(name=name), "curve\n", f'    public-key = "{pair.public}"\n']
    return "".join([*lines, f'    secret-key = "{pair.secret}"\n'] if kind == SECRET else lines)


def _write(path: Path, text: str, mode: int) -> None:
    """A new file, on the disk when this returns; none where it cannot be written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            # Whatever the umask says of the public one.
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def _read(path: Path, check: Check | None = None) -> str:
    try:
        # A pipe would keep us waiting for who writes to it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise KeyFileError(f"{path} is no file")
            if check is not None:
                check(path, state)
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(f"there is no key file {path}; `keys new` makes one") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise KeyFileError(f"{path} is larger than {MAX_FILE_BYTES} bytes: it is no key file")
    return content.decode("utf-8", "replace")


def _refuse_shared(path: Path, state: os.stat_result) -> None:
    """Refuse a secret that is not this user's, or root's, alone."""
    if state.st_uid not in (0, os.geteuid()):
        raise KeyFileError(
            f"{path} belongs to user {state.st_uid}, who may read it; make a key of your own with `keys new`, or: "
            f"chown {os.geteuid()} {path}"
        )
    if state.st_mode & 0o077:
        raise KeyFileError(
            f"{path} has mode {stat.S_IMODE(state.st_mode):04o}, so others may have read it; if nobody has: "
            f"chmod 600 {path}; else make a new key"
        )


def _key(kind: str, text: str, path: Path) -> str:
    lines = (_LINE.fullmatch(line) for line in text.splitlines())
    keys = [line[2] for line in lines if line is not None and line[1] == kind]
    if not keys:
        raise KeyFileError(f'{path} has no line {kind}-key = "..."; {_instead(kind)}')
    if len(keys) > 1 or not _is_key(keys[0]):
        raise KeyFileError(f"{path}: its {kind}-key is not one key of 40 characters; copy the file once more")
    return keys[0]


def _is_key(text: str) -> bool:
    """Whether libzmq takes it."""
    if len(text) != _KEY_CHARACTERS or not set(text) <= set(_DIGITS):
        return False
    groups = (text[start : start + 5] for start in range(0, _KEY_CHARACTERS, 5))
    return all(reduce(lambda number, digit: 85 * number + _DIGITS.index(digit), group, 0) < 2**32 for group in groups)


def _instead(kind: str) -> str:
    return f"take the file whose name ends in {SECRET if kind == 'secret' else PUBLIC}"
