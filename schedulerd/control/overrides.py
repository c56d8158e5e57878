"""What operators have set over what apps and the configuration ask for: values, and the file that they outlive us in.

The file is small JSON and appears whole or not at all. One that makes no sense is set aside under another name, so that
nobody's settings are lost, and the daemon goes on without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from blockstore.durable import durable_file, make_folder
from blockstore.errors import BlockStoreError
from schedulerd.control.checks import check_memory_bytes, check_objective
from schedulerd.errors import BadValue
from schedulerd.plan import NO_PINS, App, Pins
from schedulerd.serving.admission import check_budget_ms, check_priority
from schedulerd.wire.messages import MAX_NAME_CHARACTERS

FILE_NAME: Final = "overrides.json"
"""In the state directory."""
MAX_FILE_BYTES: Final = 2**20
MOST_APPS: Final = 1000
"""Names that may have overrides; each is one that an operator has typed."""
MOST_PINS: Final = 4096
"""Blocks that may be pinned, of all apps together: the file has an end."""
_VERSION: Final = 1
_ASIDE: Final = 100
"""Files that are set aside before the last name is used again."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AppOverride:
    """Of one app, whenever it is there; None leaves what it registers with."""

    budget_ms: float | None = None
    priority: int | None = None
    pins: Pins = NO_PINS


NOTHING: Final = AppOverride()


@dataclass(frozen=True, slots=True)
class Overrides:
    """Of the daemon and of apps by name."""

    objective: str | None = None
    memory_bytes: int | None = None
    apps: Mapping[str, AppOverride] = field(default_factory=dict)

    def with_app(self, app_id: str, **values: Any) -> Overrides:
        """As this, with other values for one app. `BadValue` where too many apps have some, or too much is pinned."""
        app = replace(self.app(app_id), **values)
        if app == NOTHING:
            return self.without_app(app_id)
        apps = {**self.apps, app_id: app}
        if len(apps) > MOST_APPS:
            raise BadValue(f"{len(apps) - 1} apps have overrides, and that is the limit; drop those of apps long gone")
        pins = sum(len(one.pins.variants) for one in apps.values())
        if pins > MOST_PINS:
            raise BadValue(f"{pins} blocks would be pinned, {MOST_PINS} can be; unpin those of apps long gone")
        changed = replace(self, apps=dict(sorted(apps.items())))
        size_bytes = len(document_of(changed))
        if size_bytes > MAX_FILE_BYTES:
            raise BadValue(
                f"what is set would take {size_bytes} bytes to keep, the limit is {MAX_FILE_BYTES}; drop what is set "
                "for apps long gone"
            )
        return changed

    def app(self, app_id: str) -> AppOverride:
        """What is set for one app, which may be nothing."""
        return self.apps.get(app_id, NOTHING)

    def without_app(self, app_id: str) -> Overrides:
        """As this, with nothing for one app."""
        return replace(self, apps={name: one for name, one in self.apps.items() if name != app_id})

    def of(self, wishes: App) -> App:
        """What an app gets that registers with `wishes`."""
        override = self.apps.get(wishes.app_id)
        if override is None:
            return wishes
        return replace(
            wishes,
            budget_ms=wishes.budget_ms if override.budget_ms is None else override.budget_ms,
            priority=wishes.priority if override.priority is None else override.priority,
            pins=override.pins,
        )


NONE: Final = Overrides()


class OverridesFile:
    """The file. Never raises what a disk does."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: the state directory; it is made when there is something to keep."""
        self._path = folder / FILE_NAME

    def load(self) -> Overrides:
        """What was kept; nothing where there is no file, or one that cannot be used."""
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return NONE
        except OSError as error:
            log.warning("overrides_unread", file=str(self._path), reason=str(error), remedy="it is left as it is")
            return NONE
        try:
            return overrides_from(content)
        except (ValueError, RecursionError, BadValue) as error:
            log.warning("overrides_unusable", file=str(self._path), reason=str(error), kept_as=self._set_aside())
            return NONE

    def save(self, overrides: Overrides) -> str | None:
        """Keep these; else why they will not outlive this process."""
        try:
            make_folder(self._path.parent)
            with durable_file(self._path, self._path.parent, 0o640) as file:
                file.write(document_of(overrides))
        except (OSError, BlockStoreError) as error:
            log.warning("overrides_not_kept", file=str(self._path), reason=str(error))
            return str(error)
        return None

    def _set_aside(self) -> str:
        """The name that the file has from now on; its own where it cannot be moved, until it is written over."""
        names = (self._path.with_name(f"{FILE_NAME}.bad-{number}") for number in range(1, _ASIDE + 1))
        free = next((name for name in names if not name.exists()), self._path.with_name(f"{FILE_NAME}.bad-{_ASIDE}"))
        try:
            self._path.replace(free)
        except OSError:
            return str(self._path)
        return str(free)


def document_of(overrides: Overrides) -> bytes:
    """The content of the file."""
    whole = {
        "version": _VERSION,
        "objective": overrides.objective,
        "memory_bytes": overrides.memory_bytes,
        "apps": {name: _app_document(one) for name, one in overrides.apps.items()},
    }
    return json.dumps(whole, indent=1).encode() + b"\n"


def _app_document(app: AppOverride) -> dict[str, Any]:
    """Only what is set: a daemon from before there was more than budgets can read the file where no more is set."""
    values = {
        "budget_ms": app.budget_ms,
        "priority": app.priority,
        "pins": dict(app.pins.variants) or None,
        "exits": dict(app.pins.exits) or None,
    }
    return {key: value for key, value in values.items() if value is not None}


def overrides_from(content: bytes) -> Overrides:
    """What the content of a file says; ValueError or `BadValue` where it is none."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
    document = _keys(json.loads(content), "it", ("version", "objective", "memory_bytes", "apps"))
    if document["version"] != _VERSION:
        raise ValueError(f"its version is {document['version']!r}; this daemon reads {_VERSION}")
    apps = document["apps"]
    if not isinstance(apps, dict) or len(apps) > MOST_APPS:
        raise ValueError(f"apps is no object of at most {MOST_APPS} names")
    return Overrides(
        _checked(document["objective"], str, check_objective),
        _checked(document["memory_bytes"], int, check_memory_bytes),
        {_name(name): _app(one, f"apps.{name}") for name, one in sorted(apps.items())},
    )


def _app(document: object, place: str) -> AppOverride:
    given = _keys(document, place, ("budget_ms", "priority", "pins", "exits"))
    return AppOverride(
        _checked(given["budget_ms"], float, check_budget_ms),
        _checked(given["priority"], int, check_priority),
        Pins(_pairs(given["pins"], place, _variant), _pairs(given["exits"], place, _threshold)),
    )


def _pairs(document: object, place: str, value: Callable[[object], Any]) -> tuple[tuple[str, Any], ...]:
    """What is pinned; nothing where the file does not say."""
    if document is None:
        return ()
    if not isinstance(document, dict) or len(document) > MOST_PINS:
        raise ValueError(f"{place} pins no object of at most {MOST_PINS} names")
    # Of a model, which may have longer names than what travels.
    return tuple((name, value(one)) for name, one in document.items())


def _variant(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no name of a variant")
    return value


def _threshold(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no threshold of an exit")
    return float(value)


def _name(name: str) -> str:
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise ValueError(f"{name!r} is no name")
    return name


def _keys(document: object, place: str, names: tuple[str, ...]) -> dict[str, Any]:
    """An object of known keys; one that is not there is None."""
    if not isinstance(document, dict) or not document.keys() <= set(names):
        raise ValueError(f"{place} is no object of {', '.join(names)}")
    return {name: document.get(name) for name in names}


def _checked(value: Any, wanted: type, check: Callable[[Any], None]) -> Any:
    """None, or a value of the type that passes the check."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float if wanted is float else wanted):
        raise ValueError(f"{value!r} is not of the type {wanted.__name__}")
    check(value)
    return wanted(value)
