"""The files of a board that are played, as the kernel would write them.

thermal: Documentation/driver-api/thermal/sysfs-api; clocks: admin-guide/pm/cpufreq; meminfo: proc_meminfo(5);
pressure: accounting/psi; cgroup: admin-guide/cgroup-v2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from schedulerd.control.sources.base import CGROUP, PROC, SYS
from schedulerd.scenes import script
from schedulerd.scenes.overlay import Overlay

HIGHEST_HZ: Final = 1.5e9
LOWEST_HZ: Final = 0.6e9
CRITICAL_ABOVE_TRIP_C: Final = 20.0
_UNLIMITED: Final = "max"
_CPUFREQ: Final = "devices/system/cpu/cpufreq"
_POLICY: Final = f"{_CPUFREQ}/policy0"


class Sensors:
    """Three folders to read in place of /proc, /sys and /sys/fs/cgroup, in which the named sensors are played."""

    def __init__(self, folder: Path, played: frozenset[str], *, trip_c: float, cores: int) -> None:
        self._cores = cores
        self._stalled_us = 0.0
        self._proc = Overlay(folder / "proc", PROC)
        self._sys = Overlay(folder / "sys", SYS)
        self._cgroup = Overlay(folder / "cgroup", None) if script.CGROUP in played else None
        # They are there before the daemon is: it looks only once in a while for zones and clocks.
        if {script.TEMPERATURE, script.AMBIENT} & played:
            self._make_zone(trip_c)
        if script.CLOCK in played:
            self._make_clocks()
        if script.CGROUP in played:
            self._proc.write("self/cgroup", "0::/scene\n")
            self.limit(None, 0.0)
        if script.STALL in played:
            self.stall(script.RESTING[script.STALL], 0.0)

    def roots(self) -> dict[str, str]:
        """Keys of `[board]`."""
        cgroup = CGROUP if self._cgroup is None else self._cgroup.folder
        return {"proc": str(self._proc.folder), "sys": str(self._sys.folder), "cgroup": str(cgroup)}

    # What the board shows from now on.

    def temperature(self, celsius: float) -> None:
        """Of the only thermal zone."""
        self._sys.write("class/thermal/thermal_zone0/temp", f"{celsius * 1e3:.0f}\n")

    def clock(self, share: float) -> None:
        """Of all cores, as a share of the highest; what the governor asked for stays the highest."""
        self._sys.write(f"{_POLICY}/cpuinfo_cur_freq", _khz(share * HIGHEST_HZ))

    def available(self, available_bytes: float | None) -> None:
        """MemAvailable of meminfo, and MemFree no more than that; the machine's own where it is None."""
        if available_bytes is None:
            self._proc.restore("meminfo")
            return
        self._proc.write("meminfo", meminfo((PROC / "meminfo").read_text(), available_bytes))

    def limit(self, limit_bytes: float | None, usage_bytes: float) -> None:
        """A memory limit above the daemon, of which it uses so much; no limit where it is None."""
        assert self._cgroup is not None
        text = _UNLIMITED if limit_bytes is None else f"{max(0.0, limit_bytes):.0f}"
        files = {"cgroup.controllers": "cpu memory", "memory.high": _UNLIMITED, "memory.max": text}
        counts = {"memory.current": f"{usage_bytes:.0f}", "memory.stat": f"anon {usage_bytes:.0f}\ninactive_file 0"}
        for name, value in {**files, **counts}.items():
            self._cgroup.write(f"scene/{name}", value + "\n")

    def stall(self, share: float, passed_s: float) -> None:
        """Memory pressure: tasks waited for this share of the time since the last call."""
        self._stalled_us += share * passed_s * 1e6
        average = f"avg10={100 * share:.2f} avg60={100 * share:.2f} avg300={100 * share:.2f}"
        lines = (f"{kind} {average} total={self._stalled_us:.0f}\n" for kind in ("some", "full"))
        self._proc.write("pressure/memory", "".join(lines))

    def _make_zone(self, trip_c: float) -> None:
        self._sys.empty("class/thermal")
        zone = "class/thermal/thermal_zone0"
        trips = {"passive": trip_c, "critical": trip_c + CRITICAL_ABOVE_TRIP_C}
        self._sys.write(f"{zone}/type", "cpu-thermal\n")
        for number, (kind, celsius) in enumerate(trips.items()):
            self._sys.write(f"{zone}/trip_point_{number}_type", f"{kind}\n")
            self._sys.write(f"{zone}/trip_point_{number}_temp", f"{celsius * 1e3:.0f}\n")
        self.temperature(script.RESTING[script.TEMPERATURE])

    def _make_clocks(self) -> None:
        """One policy for all cores, as on a Raspberry Pi."""
        self._sys.empty(_CPUFREQ)
        cores = " ".join(map(str, range(self._cores)))
        highest, lowest = _khz(HIGHEST_HZ), _khz(LOWEST_HZ)
        set_hz = {"cur": highest, "max": highest, "min": lowest}
        files = {f"scaling_{name}_freq": text for name, text in set_hz.items()}
        files |= {"cpuinfo_max_freq": highest, "cpuinfo_min_freq": lowest, "cpuinfo_cur_freq": highest}
        files |= {"affected_cpus": f"{cores}\n", "related_cpus": f"{cores}\n", "scaling_governor": "performance\n"}
        for name, text in files.items():
            self._sys.write(f"{_POLICY}/{name}", text)


def meminfo(real: str, available_bytes: float) -> str:
    """The text of /proc/meminfo with so much available."""
    available_kb = max(0, int(available_bytes // 1024))
    lines = []
    for line in real.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable" or (name == "MemFree" and int(rest.split()[0]) > available_kb):
            line = f"{name + ':':<16}{available_kb:>8} kB"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _khz(hz: float) -> str:
    return f"{hz / 1e3:.0f}\n"
