"""A board made of files, as a kernel shows one, and a control loop that looks at it five times a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schedulerd.config import LimitsConfig
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.learned_heat import Memory
from schedulerd.control.sources.base import Source
from schedulerd.control.sources.cgroup import CgroupSource
from schedulerd.control.sources.memory import MemorySource
from schedulerd.control.sources.pressure import PressureSource
from schedulerd.control.sources.thermal import ThermalSource
from schedulerd.control.sources.throttle import ThrottleSource
from tests.control.stage import MB, Stage
from tests.fakes import FakeClock

LOOK_S = 0.2
LIMITS = LimitsConfig(memory_share=1.0, memory_reserve_bytes=64 * MB)


class Tree:
    """What /proc and /sys say of it."""

    def __init__(self, root: Path) -> None:
        """A board with 900 MB of memory and 200 MB left, on which nothing ever stood still; no thermal zone."""
        self.root = root
        self._stalled_us = 0.0
        self._written: dict[str, str] = {}
        self.free(200 * MB)
        self.stall(0.0, 0.0)

    def free(self, available_bytes: float) -> None:
        """So much memory is left."""
        lines = f"MemTotal: {900 * MB // 1024} kB\nMemAvailable: {int(available_bytes) // 1024:8} kB\n"
        self.write("proc/meminfo", lines)

    def stall(self, share: float, for_s: float) -> None:
        """For so long, this share of the time some work stood still for memory."""
        self._stalled_us += share * for_s * 1e6
        line = "avg10=0.00 avg60=0.00 avg300=0.00 total="
        self.write("proc/pressure/memory", f"some {line}{int(self._stalled_us):012}\nfull {line}0\n")

    def heat(self, celsius: float, trip_c: float | None = 85.0) -> None:
        """The only zone is as warm as this."""
        zone = "sys/class/thermal/thermal_zone0"
        self.write(f"{zone}/type", "cpu-thermal\n")
        self.write(f"{zone}/temp", f"{int(celsius * 1000)}\n")
        if trip_c is not None:
            self.write(f"{zone}/trip_point_0_type", "passive\n")
            self.write(f"{zone}/trip_point_0_temp", f"{int(trip_c * 1000)}\n")

    def throttle(self, *, is_on: bool, clock_share: float = 1.0) -> None:
        """The kernel holds the clocks down, or no longer."""
        cooler, policy = "sys/class/thermal/cooling_device0", "sys/devices/system/cpu/cpufreq/policy0"
        self.write(f"{cooler}/type", "cpufreq-cpu0\n")
        self.write(f"{cooler}/cur_state", f"{int(is_on)}\n")
        most_khz = 1_500_000
        for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq"):
            self.write(f"{policy}/{name}", f"{most_khz}\n")
        self.write(f"{policy}/cpuinfo_cur_freq", f"{int(clock_share * most_khz)}\n")

    def write(self, name: str, text: str) -> None:
        """One file of the tree."""
        path, before = self.root / name, self._written.get(name, "")
        self._written[name] = text
        if len(text) != len(before):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif text != before:  # in place: to cut a file off first takes a disk milliseconds
            with path.open("r+") as file:
                file.write(text)


class Watched:
    """A control loop on such a board."""

    def __init__(self, tree: Tree, limits: LimitsConfig = LIMITS, state: Path | None = None, **parts: Any) -> None:
        """Args: tree; limits; state: directory for what heat teaches; parts: further ones of the stage."""
        self.tree = tree
        clock = FakeClock()
        proc, sys, cgroup = (tree.root / name for name in ("proc", "sys", "cgroup"))
        sources: list[Source] = [
            MemorySource(proc),
            CgroupSource(proc, cgroup),
            PressureSource(clock, proc, cgroup),
            ThermalSource(clock, sys),
            ThrottleSource(clock, sys),
        ]
        board = None if state is None else BoardWatch(limits, Memory(state))
        self.stage = Stage(sources=sources, limits=limits, board=board, clock=clock, **parts)

    def close(self) -> None:
        """End what the stage has begun."""
        self.stage.switcher.close()

    def look(self) -> None:
        """The next turn of the loop."""
        self.stage.clock.advance(LOOK_S)
        self.stage.loop.turn([])

    def looks(self, seconds: float) -> None:
        """So many seconds of turns, in which the board stays as it is."""
        for _ in range(round(seconds / LOOK_S)):
            self.look()

    @property
    def held_bytes(self) -> int:
        """What our blobs take."""
        return self.stage.switcher.resident_bytes(lambda digest: 4 * MB if digest.isupper() else MB)

    def events(self, kind: str) -> list[Any]:
        """What was told of a kind."""
        return [event.body for event in self.stage.events if event.kind == kind]

    @property
    def swaps(self) -> int:
        """Route changes of apps that were there already."""
        return sum(change["before"] is not None for plan in self.events("plan") for change in plan["changes"])
