"""TOML becomes frozen dataclasses once; wrong keys and values are refused by name, with the remedy.

The only file of the daemon that reads the environment, but for where keys are (`config_remote`). Each setting is a
field whose metadata holds its `Kind`, its one-line help and its TOML key; `settings()` lists them all, and
`schedulerd.reference` renders that list as the table of docs/configuration.md and as the example file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from schedulerd import config_files
from schedulerd.config_about import about as _about
from schedulerd.config_files import Found
from schedulerd.config_log import LogConfig
from schedulerd.config_remote import RemoteConfig
from schedulerd.errors import ConfigError
from schedulerd.kinds import (
    Address,
    Choice,
    Choices,
    Directory,
    Duration,
    Flag,
    Kind,
    Listen,
    Name,
    Number,
    Processor,
    Size,
    Table,
    Users,
    Whole,
    always_in_control,
)
from schedulerd.optimizer.objectives import MAX_ACCURACY, OBJECTIVES
from schedulerd.wire import endpoints
from schedulerd.wire.messages import MAX_BUDGET_MS, MIN_BUDGET_MS

SYSTEM_FILE = Path("/etc/schedulerd/schedulerd.toml")
SYSTEM_STATE = Path("/var/lib/schedulerd")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the file, as the reference page shows it."""

    section: str
    key: str
    name: str
    """The field's name, which carries the unit where the key's value does (`memory` is `memory_bytes`)."""
    kind: Kind
    help: str
    default: str
    """The default as it is written in TOML, or in words where it depends on the machine."""
    live: bool
    """Whether a reload applies it; else it takes a restart."""


def default_state_directory() -> Path:
    """Where profiles are kept: systemd's StateDirectory, else root's, else the user's (XDG)."""
    given = _service_directory("STATE_DIRECTORY")
    if given is not None:
        return given
    if os.geteuid() == 0:
        return SYSTEM_STATE
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "schedulerd"


def default_store_directory() -> Path:
    """Where the block store is: `store` in the state directory."""
    return default_state_directory() / "store"


def default_runtime_directory() -> Path:
    """Where the sockets are: systemd's RuntimeDirectory, else the one that clients look in too."""
    given = _service_directory("RUNTIME_DIRECTORY")
    if given is not None:
        return given
    try:
        return endpoints.default_directory(os.environ, os.geteuid())
    except endpoints.EndpointError as error:
        raise ConfigError(str(error)) from error


def _service_directory(variable: str) -> Path | None:
    """The first directory that systemd made for this service (systemd.exec(5), RuntimeDirectory=)."""
    first = os.environ.get(variable, "").split(":")[0]
    return Path(first) if first.startswith("/") else None


@dataclass(frozen=True, slots=True)
class PathsConfig:
    """Where things are."""

    state: Path = field(
        default_factory=default_state_directory,
        metadata=_about(
            Directory(),
            "Profiles of this device; the store, unless `store` says otherwise.",
            shown="`/var/lib/schedulerd` for root and the service, else `~/.local/state/schedulerd`",
        ),
    )
    store: Path = field(
        default_factory=default_store_directory,
        metadata=_about(
            Directory(),
            "The block store.",
            shown="`/var/lib/schedulerd/store` for root and the service, else `store` in the state directory",
        ),
    )
    runtime: Path = field(
        default_factory=default_runtime_directory,
        metadata=_about(
            Directory(),
            "The sockets; clients and `schedctl` must look in the same place.",
            shown="`/run/schedulerd` for root or where it exists, else `$XDG_RUNTIME_DIR/schedulerd`",
        ),
    )


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What executes blocks, and on how many cores."""

    name: str = field(
        default="onnxruntime",
        metadata=_about(Choice(("onnxruntime", "torch")), "The engine; `torch` needs the extra of that name."),
    )
    also: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            Choices(("torch",)),
            "Engines that are measured beside onnxruntime; a block runs on the one that is quickest for it here.",
            shown="`[]`",
        ),
    )
    device: str = field(
        default="cpu",
        metadata=_about(Processor(), "What the torch engine computes on; with onnxruntime it is the CPU."),
    )
    lanes: int | None = field(
        default=1,
        metadata=_about(
            Whole(1, 64, "auto"),
            "Executor threads. More lanes run more apps at once, each with fewer cores. "
            '"auto" measures the store with several numbers of threads and takes what serves most frames on all cores.',
        ),
    )
    threads_per_lane: int = field(
        default=0,
        metadata=_about(Whole(0, 256), "Threads inside one operator; 0 shares all cores but one among the lanes."),
    )
    merge: bool = field(
        default=True,
        metadata=_about(
            Flag(),
            "Merge neighbouring blocks of a settled route into one onnxruntime session where that measures faster; "
            "needs the package `onnx` (extra `build`).",
            shown="`true`",
        ),
    )
    preempt: bool = field(
        default=True,
        metadata=_about(
            Flag(),
            "Ask at every block boundary who is most urgent; `false` runs a request to its end once it has started.",
            shown="`true`",
        ),
    )

    def threads(self, cores: int) -> int:
        """Threads per lane on a board of `cores`; where lanes are chosen by the profile, the most there may be.

        One core is left to the clients and the control loop, because more threads than free cores are
        ruinous: four processes of two threads on two cores made 5 inferences a second, with one thread each
        21 to 46.
        """
        if self.threads_per_lane:
            return self.threads_per_lane
        return cores if self.lanes is None else max(1, (cores - 1) // self.lanes)


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What the apps may use."""

    memory_bytes: int | None = field(
        default=None,
        metadata=_about(
            Size("auto"),
            'Memory for blocks and their activations. "auto" takes `memory_share` of what the board has free.',
            key="memory",
            shown='`"auto"`',
            live=True,
        ),
    )
    memory_share: float = field(
        default=0.5,
        metadata=_about(
            Number(0.01, 1),
            'Share of the free memory that `memory = "auto"` takes.',
            live=True,
        ),
    )
    memory_reserve_bytes: int = field(
        default=64 * 10**6,
        metadata=_about(
            Size(),
            "Memory that is left free for the rest of the board, whatever `memory` says.",
            key="memory_reserve",
            shown='`"64MB"`',
            live=True,
        ),
    )
    memory_floor_bytes: int | None = field(
        default=None,
        metadata=_about(
            Size("off"),
            "However short the board's memory is, the apps keep so much of what `memory` allows them.",
            key="memory_floor",
            shown='`"off"`',
            live=True,
        ),
    )
    utilisation: float = field(
        default=0.8,
        metadata=_about(
            Number(0.05, 1),
            "Share of the lanes' time that a plan may use; the rest absorbs bursts.",
            live=True,
        ),
    )
    power_w: float | None = field(
        default=None,
        metadata=_about(
            Number(0.01, 1000, "off"),
            "Watts that the apps together may draw on average, above the idle board, for heat or a battery. A block "
            "whose energy could not be measured is taken to draw 2 W while it runs.",
            shown='`"off"`',
            live=True,
        ),
    )
    battery_power_w: float | None = field(
        default=None,
        metadata=_about(
            Number(0.01, 1000, "off"),
            "The same while a battery discharges.",
            shown='`"off"`',
            live=True,
        ),
    )
    heat_margin_c: float | None = field(
        default=5.0,
        metadata=_about(
            Number(0, 50, "off"),
            "Degrees below the temperature at which the board lowers its clocks: apps use less before a zone gets "
            'there. "off" waits for the clocks to fall.',
            live=True,
        ),
    )
    queue_length: int = field(
        default=64,
        metadata=_about(
            Whole(1, 65536),
            "Requests that may be open at once, a quarter of them for one app; further ones are refused with a code.",
        ),
    )


@dataclass(frozen=True, slots=True)
class SolverConfig:
    """What decides."""

    name: str = field(
        default="highs",
        metadata=_about(
            Choice(("highs", "cbc")),
            "The solver of the integer program; `cbc` runs as its own process, and in place of a missing `highs`.",
        ),
    )
    time_limit_s: float = field(
        default=0.5,
        metadata=_about(Number(0.01, 2), "Seconds for one decision; then the best plan found so far stands."),
    )
    objective: str = field(
        default=MAX_ACCURACY,
        metadata=_about(
            Choice(OBJECTIVES),
            "What is best among the plans that keep the limits, until `schedctl objective` says otherwise.",
            live=True,
        ),
    )
    record_bytes: int | None = field(
        default=None,
        metadata=_about(
            Size("off"),
            "Keep the latest decisions, up to this size in all, in `decisions.jsonl` of the state directory for "
            "`schedulerd replay`. Ten apps of eight blocks and ten variants take 0.2 MB a decision.",
            key="record",
            shown='`"off"`',
            live=True,
        ),
    )


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """How often the board is looked at, and how eagerly plans change."""

    tick_s: float = field(
        default=0.2,
        metadata=_about(
            Number(0.02, 10),
            "Seconds between two looks at the board, 1 at least while no app is there. Joins and edits do not wait.",
            live=True,
        ),
    )
    decide_within_s: float = field(
        default=0.5,
        metadata=_about(
            Number(0.02, 10),
            "Seconds from a look at the board to a decision. What the look took, the solver has less.",
            live=True,
        ),
    )
    min_dwell_s: float = field(
        default=2.0,
        metadata=_about(
            Number(0, 3600),
            "Seconds that a plan stands before another may replace it for accuracy alone.",
            live=True,
        ),
    )
    min_gain: float = field(
        default=0.005,
        metadata=_about(
            Number(0, 1),
            "What a new plan must gain, beyond what the swap costs, to replace a plan that holds: by the objective, as "
            "a share of accuracy (0.01 is one point), of the budgets or of power.",
            live=True,
        ),
    )
    remember: bool = field(
        default=True,
        metadata=_about(
            Flag(),
            "Keep what operators set (budgets, priorities, pins, the memory limit, the objective) in the state "
            "directory, so that it holds after a restart too, until `schedctl overrides drop`.",
            shown="`true`",
        ),
    )
    prefetch: bool = field(
        default=True,
        metadata=_about(
            Flag(),
            "Load what the next plans are likely to want before they are made, where memory is left.",
            shown="`true`",
        ),
    )


@dataclass(frozen=True, slots=True)
class BoardConfig:
    """Where the board is read. Other folders than the kernel's play a board that is not there."""

    proc: Path = field(
        default=Path("/proc"),
        metadata=_about(Directory(), "The kernel's figures of processors, memory and pressure.", shown="`/proc`"),
    )
    sys: Path = field(
        default=Path("/sys"),
        metadata=_about(Directory(), "Clocks, temperatures, power rails, GPUs and batteries.", shown="`/sys`"),
    )
    cgroup: Path = field(
        default=Path("/sys/fs/cgroup"),
        metadata=_about(Directory(), "Memory limits that stand above the daemon.", shown="`/sys/fs/cgroup`"),
    )
    peer: str | None = field(
        default=None,
        metadata=_about(
            Address("off"),
            "A machine that round trips, and bandwidth where it takes part, are measured to now and then.",
            shown='`"off"`',
        ),
    )


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """How the board is measured."""

    seconds: float = field(
        default=10.0,
        metadata=_about(Number(0.5, 3600), "Time for the quick measuring of the store at the first start on a board."),
    )
    background: bool = field(
        default=True,
        metadata=_about(
            Flag(),
            "Measure the rest, and longer, while no app wants the board; an app that comes ends it at once.",
            shown="`true`",
        ),
    )
    silence_s: float = field(
        default=20.0,
        metadata=_about(
            Number(1, 3600),
            "Seconds that loading a variant or one run of it may take while it is measured; one that takes longer "
            "hangs, and is not used.",
        ),
    )


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """What Prometheus may read."""

    listen: str | None = field(
        default=None,
        metadata=_about(
            Listen("off"),
            "Where Prometheus reads metrics over HTTP, at `/metrics`; nobody is asked for a password. Port 0 takes any "
            "that is free, and the log says which.",
            shown='`"off"`',
        ),
    )


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who may do what."""

    control_uids: frozenset[int] = field(
        default_factory=always_in_control,
        metadata=_about(
            Users(),
            "Who may use the control socket besides root and the daemon's own user.",
            key="control_users",
            shown="`[]`",
            live=True,
        ),
    )


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """What apps mean that register from now on: names of models, and budgets of those that ask for none."""

    aliases: Mapping[str, str] = field(
        default_factory=dict,
        metadata=_about(
            Table(Name(), '{ gate = "digits-residual" }'),
            "Other names of models in the store, which count more than a model of the same name.",
            shown="`{}`",
            live=True,
        ),
    )
    budgets_ms: Mapping[str, float] = field(
        default_factory=dict,
        metadata=_about(
            Table(Duration(MIN_BUDGET_MS, MAX_BUDGET_MS), '{ gate = "25ms" }'),
            "Budgets of apps that register without one, by the name of their model that they give, or by its own.",
            key="budgets",
            shown="`{}`",
            live=True,
        ),
    )
    budget_ms: float | None = field(
        default=None,
        metadata=_about(
            Duration(MIN_BUDGET_MS, MAX_BUDGET_MS, "off"),
            'The same for any other model. "off" refuses an app that asks for no budget.',
            key="budget",
            shown='`"off"`',
            live=True,
        ),
    )


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured; `Config()` is the default."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    board: BoardConfig = field(default_factory=BoardConfig)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    log: LogConfig = field(default_factory=LogConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)


SECTIONS: dict[str, type] = get_type_hints(Config)
"""The sections of the file: the fields of `Config`."""


def settings() -> Iterator[Setting]:
    """Every key there is, in the order of the file."""
    for section, class_ in SECTIONS.items():
        for item in fields(class_):
            yield _describe(section, item)


def _describe(section: str, item: Field[Any]) -> Setting:
    meta = item.metadata
    shown = meta["shown"] or f"`{_toml(item.default)}`"
    return Setting(section, meta["key"] or item.name, item.name, meta["kind"], meta["help"], shown, meta["live"])


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def known() -> dict[str, dict[str, Kind]]:
    """By section and key, what it takes."""
    kinds: dict[str, dict[str, Kind]] = {section: {} for section in SECTIONS}
    for setting in settings():
        kinds[setting.section][setting.key] = setting.kind
    return kinds


def load(path: Path | None = None, system_file: Path = SYSTEM_FILE) -> Config:
    """Read and check the configuration, with the `conf.d/*.toml` beside it.

    Args:
        path: the file; None takes `system_file` where it exists, else the defaults.
        system_file: where a system-wide configuration is.

    Raises:
        ConfigError: a file cannot be read, is not TOML, or has a key or value that is not legal.
            The message names file, key, legal values and, for a typing mistake, the nearest one.
    """
    return configured(read(path, system_file))


def read(path: Path | None = None, system_file: Path = SYSTEM_FILE) -> Found:
    """What the files of `load` say, mistakes included."""
    return config_files.read(path or system_file, known(), must_exist=path is not None)


def parse(text: str, source: str) -> Config:
    """`load` for text already read; `source` is the name that messages give it."""
    return configured(config_files.parsed([(source, text)], known()))


def configured(found: Found) -> Config:
    """The configuration that files come to. Raises ConfigError where something is wrong with them."""
    found.refuse_mistakes()
    names = {(s.section, s.key): s.name for s in settings()}
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for place, given in found.given.items():
        values[place[0]][names[place]] = given.value
    return Config(**{name: SECTIONS[name](**_complete(name, values[name])) for name in SECTIONS})


def _complete(section: str, values: dict[str, Any]) -> dict[str, Any]:
    """A store follows its state directory unless it is placed on its own."""
    if section == "paths" and "state" in values:
        return {"store": values["state"] / "store", **values}
    return values


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """What systemd told the process that it started; both None when nobody did."""

    notify_socket: str | None = None
    """Address for `notify.Notifier`: sd_notify(3)'s NOTIFY_SOCKET."""
    watchdog_s: float | None = None
    """Silence after which systemd ends this process: sd_watchdog_enabled(3)'s WATCHDOG_USEC."""
    journal_stream: str | None = None
    """Device and inode of what it connected to the journal: systemd.exec(5)'s JOURNAL_STREAM."""


def service_manager() -> ServiceManager:
    """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; a watchdog of another process does not count."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    meant_for_us = pid in ("", str(os.getpid()))
    watchdog_s = int(usec) / 1e6 if usec.isdecimal() and int(usec) > 0 and meant_for_us else None
    journal_stream = os.environ.get("JOURNAL_STREAM") or None
    return ServiceManager(os.environ.get("NOTIFY_SOCKET") or None, watchdog_s, journal_stream)
