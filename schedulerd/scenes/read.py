"""A scene's file: TOML, whose keys and values are checked once, with messages that say what is wrong and where."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schedulerd import config
from schedulerd.errors import ConfigError
from schedulerd.kinds import Choice, Flag, Kind, Number, Size, Whole
from schedulerd.plan import LATE_POLICIES, MAX_PRIORITY, MIN_PRIORITY
from schedulerd.scenes import script
from schedulerd.scenes.script import Action, ClientScript, Cue, Phase, Scene
from schedulerd.typed import did_you_mean

LONGEST_S: Final = 86_400.0
MAX_HOGS: Final = 256
_SET_BY_THE_PLAYER: Final = ("paths", "board")


class SceneError(ConfigError):
    """A scene's file that cannot be played."""


@dataclass(frozen=True, slots=True)
class Words:
    """Text that is not empty."""

    def parse(self, value: object) -> str:
        """The text itself."""
        if isinstance(value, str) and value.strip():
            return value
        raise ConfigError(f"{value!r} is not {self.range()}")

    def range(self) -> str:
        """In words."""
        return "text that is not empty"


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model, by name or by its place."""

    def parse(self, value: object) -> str | int:
        """The name or the place."""
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 128:
            return value
        raise ConfigError(f"{value!r} is not {self.range()}")

    def range(self) -> str:
        """In words."""
        return "a model's name, or its place among the store's models in order of name, from 1 to 128"


_RATE, _BUDGET, _SECONDS = Number(0.001, 1000), Number(0.001, 60_000), Number(0, LONGEST_S)
_SENSOR_VALUE: Final[Mapping[str, Kind]] = {
    script.TEMPERATURE: Number(-50, 150),
    script.AMBIENT: Number(-50, 150),
    script.CLOCK: Number(0.01, 1),
    script.MEMORY: Number(0, 1000),
    script.CGROUP: Number(0, 1000),
    script.STALL: Number(0, 1),
}
_SCENE: Final[Mapping[str, Kind]] = {
    "title": Words(),
    "store": Words(),
    "trip_c": Number(0, 150),
    "per_core_c": Number(0, 200),
    "heats_up_s": Number(0.1, 3600),
}
_CLIENT: Final[Mapping[str, Kind]] = {
    "app": Words(),
    "model": ModelName(),
    "budget_ms": _BUDGET,
    "budget_over_lossless": Number(0.01, 1000),
    "rate_hz": _RATE,
    "lane_share": Number(0.001, 100),
    "most_hz": _RATE,
    "floor": Number(0, 1),
    "floor_below_full": Number(0, 1),
    "priority": Whole(MIN_PRIORITY, MAX_PRIORITY),
    "late": Choice(LATE_POLICIES),
    "exits": Choice(("open", "early")),
    "joins": Flag(),
}
_PHASE: Final[Mapping[str, Kind]] = {
    "name": Words(),
    "seconds": Number(0.1, LONGEST_S),
    "what": Words(),
    "steady": Flag(),
}


@dataclass(frozen=True, slots=True)
class _Verb:
    """An action as a file names it."""

    make: Callable[..., Action]
    kinds: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    """Of which at most one may be given."""


_APP: Final[Mapping[str, Kind]] = {"app": Words()}
_WHAT: Final[Mapping[str, Kind]] = {"what": Choice(script.SENSORS)}
_VERBS: Final[Mapping[str, _Verb]] = {
    "budget": _Verb(
        script.Budget,
        {**_APP, "budget_ms": _BUDGET, "times": Number(0.001, 1000)},
        required=("app",),
        one_of=("budget_ms", "times"),
    ),
    "join": _Verb(script.Join, _APP, required=("app",)),
    "leave": _Verb(script.Leave, _APP, required=("app",)),
    "hogs": _Verb(
        script.Hogs,
        {"count": Whole(0, MAX_HOGS), "per_core": Number(0, 16), "matters": Flag()},
        one_of=("count", "per_core"),
    ),
    "limit": _Verb(script.Limit, {"memory": Size("auto"), "squeeze": Number(0, 1)}, one_of=("memory", "squeeze")),
    "ramp": _Verb(
        script.Ramp,
        {**_WHAT, **dict.fromkeys(("to", "from", "matters"), Number(-50, 1000)), "over_s": _SECONDS},
        required=("what", "to"),
    ),
    "restore": _Verb(script.Restore, _WHAT, required=("what",)),
}
_FIELDS: Final = {"memory": "memory_bytes", "from": "start"}
"""Keys that are called otherwise than what they fill."""


def parse(text: str, source: str) -> Scene:
    """The scene of a file's text; `source` is the name that messages give it. Raises `SceneError`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{source}: is not TOML: {error}") from error
    try:
        return _scene(document)
    except ConfigError as error:
        raise SceneError(f"{source}: {error}") from error


def load(path: Path) -> Scene:
    """The scene of a file; raises `SceneError`."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SceneError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def configuration(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of the daemon's configuration as TOML; JSON writes text, numbers, flags and lists as TOML does."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())
        for name, table in sections.items()
    )


def _scene(document: dict[str, Any]) -> Scene:
    tables = {name: document.pop(name, None) for name in ("client", "phase", "daemon")}
    values = _values(document, _SCENE, ("title",), "at the top of the file", also=tuple(tables))
    clients = tuple(_client(t, f"[[client]] {n}") for n, t in _numbered(tables["client"], "client"))
    _unique([client.app for client in clients], "[[client]]: app")
    phases = tuple(_phase(t, f"[[phase]] {n}") for n, t in _numbered(tables["phase"], "phase"))
    _unique([phase.name for phase in phases], "[[phase]]: name")
    _check_apps(clients, phases)
    return Scene(clients=clients, phases=phases, daemon=_daemon(tables["daemon"]), **values)


def _numbered(tables: object, name: str) -> Iterable[tuple[int, object]]:
    if not isinstance(tables, list) or not tables:
        raise ConfigError(f"a scene needs at least one [[{name}]]")
    return enumerate(tables, start=1)


def _client(table: object, place: str) -> ClientScript:
    values = _values(table, _CLIENT, ("app", "model"), place)
    for pair in (("budget_ms", "budget_over_lossless"), ("rate_hz", "lane_share"), ("floor", "floor_below_full")):
        _at_most_one(values, pair, place)
    return ClientScript(**values)


def _phase(table: object, place: str) -> Phase:
    values = dict(table) if isinstance(table, dict) else table
    deeds = values.pop("do", []) if isinstance(values, dict) else []
    phase = Phase(**_values(values, _PHASE, ("name", "seconds"), place, also=("do",)))
    if not isinstance(deeds, list):
        raise ConfigError(f'{place}: do is a list of actions, such as [{{ action = "hogs", count = 2 }}]')
    cues = [_cue(deed, phase, f"{place} ({phase.name}), action {n}") for n, deed in enumerate(deeds, start=1)]
    if phase.steady and cues:
        raise ConfigError(f"{place}: {phase.name} is steady, so nothing may be done in it; it has {len(cues)} actions")
    return Phase(phase.name, phase.seconds, phase.what, phase.steady, tuple(sorted(cues, key=lambda cue: cue.at_s)))


def _cue(table: object, phase: Phase, place: str) -> Cue:
    given = dict(table) if isinstance(table, dict) else {}
    name = given.pop("action", None)
    if name not in _VERBS:
        hint = did_you_mean(str(name), _VERBS)
        raise ConfigError(f"{place}: action is {name!r}; it is one of {', '.join(_VERBS)}{hint}")
    verb = _VERBS[name]
    values = _values(given, {**verb.kinds, "at_s": _SECONDS}, verb.required, place)
    _at_most_one(values, verb.one_of, place)
    at_s = values.pop("at_s", 0.0)
    if at_s >= phase.seconds:
        raise ConfigError(f"{place}: at_s is {at_s:g}, and the phase lasts {phase.seconds:g} s")
    if "to" in values:
        _check_ramp(values, phase, at_s, place)
    return Cue(at_s, verb.make(**{_FIELDS.get(key, key): value for key, value in values.items()}))


def _check_ramp(values: Mapping[str, Any], phase: Phase, at_s: float, place: str) -> None:
    """Each sensor has a range of its own, and a ramp ends with its phase."""
    for key in ("to", "from", "matters"):
        if key in values:
            _parsed(key, values[key], _SENSOR_VALUE[values["what"]], place)
    if at_s + values.get("over_s", 0.0) > phase.seconds:
        left_s = phase.seconds - at_s
        raise ConfigError(f"{place}: over_s is {values['over_s']:g}, and {left_s:g} s of the phase are left")


def _daemon(tables: object) -> Mapping[str, Mapping[str, Any]]:
    """Sections that the daemon itself understands."""
    if tables is None:
        return {}
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError("[daemon] holds sections of the daemon's configuration, such as [daemon.limits]")
    for name in _SET_BY_THE_PLAYER:
        if name in tables:
            raise ConfigError(f"[daemon.{name}] is set by the player; leave it out")
    config.parse(configuration(tables), "[daemon]")
    return tables


def _values(
    table: object, kinds: Mapping[str, Kind], required: Sequence[str], place: str, also: Sequence[str] = ()
) -> dict[str, Any]:
    """The given keys, checked; `also` are further keys that it may have had."""
    if not isinstance(table, dict):
        raise ConfigError(f"{place}: {table!r} is not a table of keys and values")
    for key in table:
        if key not in kinds:
            known = (*kinds, *also)
            raise ConfigError(
                f"{place}: unknown key {key!r}{did_you_mean(key, known)}; the keys are {', '.join(known)}"
            )
    for key in required:
        if key not in table:
            raise ConfigError(f"{place}: {key} is missing; it is {kinds[key].range()}")
    return {key: _parsed(key, value, kinds[key], place) for key, value in table.items()}


def _parsed(key: str, value: object, kind: Kind, place: str) -> Any:
    try:
        return kind.parse(value)
    except ConfigError as error:
        raise ConfigError(f"{place}: {key}: {error}") from error


def _at_most_one(values: Mapping[str, Any], keys: Sequence[str], place: str) -> None:
    given = [key for key in keys if key in values]
    if len(given) > 1:
        raise ConfigError(f"{place}: give {' or '.join(given)}, not both")


def _unique(names: Sequence[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{what} {name!r} is given {names.count(name)} times; choose another")


def _check_apps(clients: Sequence[ClientScript], phases: Sequence[Phase]) -> None:
    """Nobody is moved, joins or leaves who is not there, in the order of play."""
    known = [client.app for client in clients]
    there = {client.app for client in clients if client.joins}
    for phase in phases:
        for cue in phase.cues:
            app = getattr(cue.action, "app", None)
            if app is None:
                continue
            if app not in known:
                raise ConfigError(
                    f"{phase.name}: there is no client {app!r}{did_you_mean(app, known)}; there are {', '.join(known)}"
                )
            if (app in there) == isinstance(cue.action, script.Join):
                state = "is there already" if app in there else "is not there"
                raise ConfigError(f"{phase.name}, {cue.at_s:g} s: {app} {state}")
            if isinstance(cue.action, script.Join):
                there.add(app)
            elif isinstance(cue.action, script.Leave):
                there.remove(app)
