"""What values a setting takes: each kind parses a TOML value, and says in words what is legal."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from schedulerd.errors import ConfigError
from schedulerd.typed import did_you_mean, parse_duration_ms, parse_size
from schedulerd.wire.messages import MAX_NAME_CHARACTERS
from schedulerd.wire.peer import host_and_port

LOOPBACK = "127.0.0.1"
_PROCESSOR = re.compile(r"cpu|cuda(:\d{1,3})?", re.ASCII)


class Kind(Protocol):
    """What values a setting takes."""

    def parse(self, value: object) -> Any:
        """The value as the field holds it; ConfigError names the value and the limit."""
        ...

    def range(self) -> str:
        """The legal values in words, for messages and the reference page."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer within two limits, both included; the word that stands for none, where there is one, is None."""

    minimum: int
    maximum: int
    word: str = ""

    def parse(self, value: object) -> int | None:
        """TOML integers only: 2.0 and true are refused. None for the word."""
        if self.word and value == self.word:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{value!r} is not {self.range()}")
        if not self.minimum <= value <= self.maximum:
            raise ConfigError(f"{value} is out of range: it takes {self.range()}")
        return value

    def range(self) -> str:
        """The limits in words."""
        return f"a whole number from {self.minimum} to {self.maximum}" + (f', or "{self.word}"' if self.word else "")


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number within two limits, both included; the word that stands for none, where there is one, is None."""

    minimum: float
    maximum: float
    word: str = ""

    def parse(self, value: object) -> float | None:
        """TOML integers and floats; `nan` and `inf` are outside every range. None for the word."""
        if self.word and value == self.word:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{value!r} is not {self.range()}")
        if not self.minimum <= value <= self.maximum:
            raise ConfigError(f"{value} is out of range: it takes {self.range()}")
        return float(value)

    def range(self) -> str:
        """The limits in words."""
        return f"a number from {self.minimum:g} to {self.maximum:g}" + (f', or "{self.word}"' if self.word else "")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    names: tuple[str, ...]

    def parse(self, value: object) -> str:
        """The word itself; a typing mistake is answered with the nearest one."""
        if isinstance(value, str) and value in self.names:
            return value
        raise ConfigError(f"{value!r} is not {self.range()}{did_you_mean(str(value), self.names)}")

    def range(self) -> str:
        """The words."""
        return "one of " + ", ".join(f'"{name}"' for name in self.names)


@dataclass(frozen=True, slots=True)
class Processor:
    """What torch calls a device that runs blocks."""

    def parse(self, value: object) -> str:
        """The name itself; whether there is such a device, the engine says."""
        if isinstance(value, str) and _PROCESSOR.fullmatch(value):
            return value
        raise ConfigError(f"{value!r} is not {self.range()}")

    def range(self) -> str:
        """The names."""
        return '"cpu", "cuda", or one GPU of several, such as "cuda:1"'


@dataclass(frozen=True, slots=True)
class Choices:
    """Any of a few words, each once."""

    names: tuple[str, ...]

    def parse(self, value: object) -> tuple[str, ...]:
        """The words in the order given; a typing mistake is answered with the nearest one."""
        if not isinstance(value, list):
            raise ConfigError(f"{value!r} is not {self.range()}")
        one = Choice(self.names)
        return tuple(dict.fromkeys(map(one.parse, value)))

    def range(self) -> str:
        """How the words are written."""
        return "a list of " + ", ".join(f'"{name}"' for name in self.names)


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    def parse(self, value: object) -> bool:
        """TOML booleans only: 1 and "yes" are refused."""
        if not isinstance(value, bool):
            raise ConfigError(f"{value!r} is not {self.range()}")
        return value

    def range(self) -> str:
        """The two values."""
        return "true or false"


@dataclass(frozen=True, slots=True)
class Size:
    """A size with a unit; the word that stands for none, where there is one, becomes None."""

    word: str = ""

    def parse(self, value: object) -> int | None:
        """Bytes, or None for the word."""
        if self.word and value == self.word:
            return None
        if not isinstance(value, str):
            raise ConfigError(f"{value!r} is not {self.range()}")
        return parse_size(value)

    def range(self) -> str:
        """How a size is written."""
        return 'a size such as "80MB" or "64MiB"' + (f', or "{self.word}"' if self.word else "")


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration with a unit, within two limits; the word that stands for none, where there is one, becomes None."""

    minimum_ms: float
    maximum_ms: float
    word: str = ""

    def parse(self, value: object) -> float | None:
        """Milliseconds, or None for the word."""
        if self.word and value == self.word:
            return None
        if not isinstance(value, str):
            raise ConfigError(f"{value!r} is not {self.range()}")
        duration_ms = parse_duration_ms(value)
        if not self.minimum_ms <= duration_ms <= self.maximum_ms:
            raise ConfigError(f"{value!r} is out of range: it takes {self.range()}")
        return duration_ms

    def range(self) -> str:
        """How a duration is written, and the limits."""
        limits = f'a duration such as "25ms", {self.minimum_ms:g} to {self.maximum_ms:g} ms'
        return limits + (f', or "{self.word}"' if self.word else "")


@dataclass(frozen=True, slots=True)
class Name:
    """What a model or an app is called."""

    def parse(self, value: object) -> str:
        """The name itself."""
        if isinstance(value, str) and 1 <= len(value) <= MAX_NAME_CHARACTERS and value.isprintable():
            return value
        raise ConfigError(f"{value!r} is not {self.range()}")

    def range(self) -> str:
        """What makes a name."""
        return f"a name of 1 to {MAX_NAME_CHARACTERS} printable characters"


@dataclass(frozen=True, slots=True)
class Table:
    """Values of one kind by name."""

    kind: Kind
    example: str
    """As it is written in TOML."""

    def parse(self, value: object) -> dict[str, Any]:
        """The values as the kind has them; what is wrong with one names it."""
        if not isinstance(value, dict):
            raise ConfigError(f"{value!r} is not {self.range()}")
        values = {}
        for name, one in value.items():
            try:
                values[Name().parse(name)] = self.kind.parse(one)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from error
        return values

    def range(self) -> str:
        """How a table is written."""
        return f"a table such as {self.example}, of names and each {self.kind.range()}"


@dataclass(frozen=True, slots=True)
class Directory:
    """A folder, not required to exist yet; `~` is the home of the user who starts the daemon."""

    def parse(self, value: object) -> Path:
        """The path, with `~` expanded."""
        if not isinstance(value, str) or "\0" in value:
            raise ConfigError(f"{value!r} is not {self.range()}")
        try:
            path = Path(value).expanduser()
        except RuntimeError as error:  # ~ of a user who does not exist
            raise ConfigError(f"{value!r}: {error}") from error
        if not path.is_absolute():
            raise ConfigError(f"{value!r} is not {self.range()}")
        return path

    def range(self) -> str:
        """What a path must be."""
        return "an absolute path, or one that begins with ~"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to connect to; the word that stands for none is None."""

    word: str

    def parse(self, value: object) -> str | None:
        """The text itself; whether somebody answers there, whoever connects finds out."""
        if value == self.word:
            return None
        try:
            if isinstance(value, str) and host_and_port(value)[1] > 0:
                return value
        except ValueError:
            pass  # refused below, in the words of all settings
        raise ConfigError(f"{value!r} is not {self.range()}")

    def range(self) -> str:
        """How an address is written."""
        return f'host:port, such as "10.0.0.2:5201" or "[fe80::2]:5201", or "{self.word}"'


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: a port alone is open to this machine only; the word that stands for nowhere is None."""

    word: str

    def parse(self, value: object) -> str | None:
        """`host:port`; no host name but `localhost`, for what another resolves to may change."""
        if value == self.word:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**16:
            return f"{LOOPBACK}:{value}"
        try:
            host, port = host_and_port(value) if isinstance(value, str) else ("", 0)
            if host == "localhost":
                return f"{LOOPBACK}:{port}"
            ip_address(host)
        except ValueError:
            raise ConfigError(f"{value!r} is not {self.range()}") from None
        return str(value)

    def range(self) -> str:
        """How a place to listen is written."""
        return (
            "a port, which only this machine reaches, or an address with a port, such as "
            f'"192.168.1.20:9477" or "[::]:9477", or "{self.word}"'
        )


@dataclass(frozen=True, slots=True)
class Users:
    """User names and numeric ids; root and the daemon's own user are always among them."""

    def parse(self, value: object) -> frozenset[int]:
        """Numeric user ids; an unknown name is refused."""
        if not isinstance(value, list):
            raise ConfigError(f"{value!r} is not {self.range()}")
        return frozenset(map(self._uid, value)) | always_in_control()

    def _uid(self, user: object) -> int:
        if isinstance(user, int) and not isinstance(user, bool) and user >= 0:
            return user
        if not isinstance(user, str):
            raise ConfigError(f"{user!r} is neither a user name nor a user id")
        try:
            return pwd.getpwnam(user).pw_uid
        except KeyError:
            raise ConfigError(f"there is no user {user!r} on this machine; create it or remove it") from None

    def range(self) -> str:
        """How users are written."""
        return 'a list of user names and numeric ids, such as ["camera", 1000]'


def always_in_control() -> frozenset[int]:
    """Users whom no configuration shuts out: root and the one that runs the daemon."""
    return frozenset((0, os.geteuid()))
