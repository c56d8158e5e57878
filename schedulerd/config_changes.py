"""What differs between the configuration in force and one that was read again, and what of it can be had now. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from schedulerd.config import Config, settings
from schedulerd.config_files import toml_text
from schedulerd.kinds import Duration, Kind, Size, Table

_SIZES = (("GB", 10**9), ("MB", 10**6), ("KB", 10**3))


class Change(NamedTuple):
    """One key."""

    section: str
    key: str
    before: str
    """As it would be written in TOML."""
    after: str

    def __str__(self) -> str:
        return f"[{self.section}] {self.key} {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What comes of another configuration."""

    config: Config
    """In force from now on: the one before, with every live key of the other."""
    applied: tuple[Change, ...]
    restart: tuple[Change, ...]
    """Not in force before the daemon is started again."""


def compared(running: Config, wanted: Config) -> Changes:
    """What of `wanted` takes the place of `running`."""
    config, applied, restart = running, [], []
    for setting in settings():
        before, after = (getattr(getattr(one, setting.section), setting.name) for one in (running, wanted))
        if before == after:
            continue
        change = Change(setting.section, setting.key, _text(setting.kind, before), _text(setting.kind, after))
        if setting.live:
            applied.append(change)
            section = replace(getattr(config, setting.section), **{setting.name: after})
            config = replace(config, **{setting.section: section})
        else:
            restart.append(change)
    return Changes(config, tuple(applied), tuple(restart))


def _text(kind: Kind, value: Any) -> str:
    """A field's value as it would be written for a key of this kind."""
    if value is None:
        return f'"{getattr(kind, "word", "")}"'
    if isinstance(kind, Size):
        return _size(value)
    if isinstance(kind, Duration):
        return f'"{value:g}ms"'
    if isinstance(kind, Table):
        entries = ", ".join(f"{toml_text(name)} = {_text(kind.kind, one)}" for name, one in value.items())
        return f"{{ {entries} }}" if entries else "{}"
    if isinstance(value, frozenset):
        return toml_text(sorted(value))
    return toml_text(str(value) if isinstance(value, Path) else value)


def _size(size_bytes: int) -> str:
    """Exact, in the largest unit that divides it."""
    for unit, factor in _SIZES:
        if size_bytes % factor == 0:
            return f'"{size_bytes // factor}{unit}"'
    return f'"{size_bytes}B"'
