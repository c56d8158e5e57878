"""The parts of a snapshot that are more than a number, all frozen. What could not be read is None, never zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Core:
    """One processor core."""

    number: int
    busy: float | None = None
    """Share of its time in use by anybody, 0 to 1, during the last second or so."""
    clock_hz: float | None = None
    """Its present clock, as the hardware counts it where that is known, else as it was set."""
    wanted_hz: float | None = None
    """What the governor asked for; above `clock_hz` where something holds the clock down."""
    most_hz: float | None = None
    """Of what the hardware can do."""
    governor: str | None = None
    """Of cpufreq, e.g. `schedutil`."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Share of time, 0 to 1, in which work stood still for want of one resource (PSI, Documentation/accounting/psi)."""

    some: float
    """At least one task waited."""
    full: float | None = None
    """All of them did; None where the kernel does not say."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """Stalls during the last second or so, the larger ones of the board and of our own cgroup."""

    cpu: Stall | None = None
    memory: Stall | None = None
    io: Stall | None = None


@dataclass(frozen=True, slots=True)
class Trip:
    """A temperature at which the kernel or the firmware acts."""

    kind: str
    """As the kernel names it: `passive` (clocks are lowered), `active` (a fan), `hot`, `critical` (switched off)."""
    celsius: float


@dataclass(frozen=True, slots=True)
class Zone:
    """A thermal zone."""

    name: str
    """Its type, e.g. `cpu-thermal`."""
    celsius: float
    trips: tuple[Trip, ...] = ()
    """By rising temperature."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """Whether something holds the clocks down at this moment."""

    causes: tuple[str, ...] = ()
    """Of `heat`, `voltage`, `current`, `cap` (a limit that was set); empty while nothing does."""
    clock_share: float | None = None
    """Lowest of the cores' `clock_hz` over `wanted_hz`, at most 1; None where either is not known."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor that blocks could run on."""

    name: str
    busy: float | None = None
    """Share of the last moment in which it computed, 0 to 1."""
    memory_total_bytes: int | None = None
    """None where it is the board's own memory, as on a Jetson."""
    memory_used_bytes: int | None = None
    clock_hz: float | None = None
    celsius: float | None = None
    power_w: float | None = None
    uuid: str | None = None
    """By which NVIDIA's tools know this very GPU."""


@dataclass(frozen=True, slots=True)
class Rail:
    """One measured power supply."""

    name: str
    """As the board names it, e.g. `VDD_IN`."""
    power_w: float


@dataclass(frozen=True, slots=True)
class Interface:
    """What a network interface carried during the last second or so."""

    name: str
    received_bps: float
    """Bits a second."""
    sent_bps: float


@dataclass(frozen=True, slots=True)
class PeerPath:
    """The way to a named peer, as it was last probed."""

    peer: str
    """`host:port`."""
    round_trip_ms: float | None = None
    bandwidth_bps: float | None = None
    """Bits a second from us to the peer; None where it was not measured."""
    reason: str | None = None
    """Why it was not."""


@dataclass(frozen=True, slots=True)
class Battery:
    """What is left."""

    charge: float
    """Share of what it can hold, 0 to 1."""
    discharging: bool
    power_w: float | None = None
    """That flows in or out."""
