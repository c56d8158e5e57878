"""The GPU that is part of the board: its clock from devfreq, and how busy it is where its driver says so.

`cur_freq` is the kernel's (Documentation/ABI/testing/sysfs-class-devfreq). NVIDIA's driver for the Jetsons adds `load`
to the device, in per mille; those for Mali on Rockchip and other boards add one to devfreq, in per cent. Such a GPU
computes in the board's own memory, its temperature is one of the board's zones and its power one of the rails, so none
of them is read here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.control.readings import Gpu
from schedulerd.control.sources.base import SYS, Readings, read_optional

# In names of devices: the word of device trees, Arm's, and those of Jetsons from the TX2 to Orin.
_WORDS: Final = ("gpu", "mali", "gp10b", "gv11b", "ga10b")
_VIDEO: Final = "nvd"  # `gpu-nvd-0` of the Jetson Thor is the clock of its video units
_OF_JETSON: Final = ("devices/gpu.0", "devices/platform/gpu.0")
_PER_CENT: Final = re.compile(r"(\d{1,3})(?:@\d+Hz)?", re.ASCII)
_PER_MILLE: Final = re.compile(r"(\d{1,4})", re.ASCII)
_HERTZ: Final = re.compile(r"\d{1,12}", re.ASCII)


class _Device(NamedTuple):
    """Where a GPU may have what, whether there is such a file or not."""

    name: str
    clock: Path
    per_cent: Path
    per_mille: tuple[Path, ...]


class DevfreqSource:
    """Clock and load of the GPUs that the board has when this is made."""

    name = "devfreq"
    every_s = 0.0

    def __init__(self, sys: Path = SYS) -> None:
        folder = sys / "class" / "devfreq"
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 (names alone are wanted)
        except OSError:  # whatever is wrong with it, the daemon starts without
            names = []
        jetson = tuple(sys / device / "load" for device in _OF_JETSON)
        # An old kernel may have the load without devfreq.
        found = [name for name in names if _is_gpu(name)] or ["gpu.0"]
        self._devices = [_device(folder / name, jetson) for name in found]

    def read(self) -> Readings:
        """`gpus`. Raises FileNotFoundError where none has anything to read, ValueError where a file makes no sense."""
        gpus = tuple(gpu for gpu in map(_gpu, self._devices) if gpu is not None)
        if not gpus:
            raise FileNotFoundError(f"no GPU at {self._devices[0].clock.parent}, and no load of a Jetson's")
        return {"gpus": gpus}

    def is_there(self) -> bool:
        """Whether the board has such a GPU."""
        return self.tells_load() or any(os.access(device.clock, os.F_OK) for device in self._devices)

    def tells_load(self) -> bool:
        """Whether it is a Jetson's, whose driver tells here how busy it is, and NVML at most its name."""
        return any(os.access(path, os.F_OK) for device in self._devices for path in device.per_mille)


def _is_gpu(name: str) -> bool:
    return any(word in name.lower() for word in _WORDS) and _VIDEO not in name.lower()


def _device(folder: Path, jetson: tuple[Path, ...]) -> _Device:
    return _Device(folder.name, folder / "cur_freq", folder / "load", (folder / "device" / "load", *jetson))


def _gpu(device: _Device) -> Gpu | None:
    """None where there is no file of it any more."""
    clock_hz = _clock_hz(device.clock)
    busy = _share(device.per_cent, _PER_CENT, 100)
    if busy is None:
        shares = (_share(path, _PER_MILLE, 1000) for path in device.per_mille)
        busy = next((share for share in shares if share is not None), None)
    return None if clock_hz is None and busy is None else Gpu(device.name, busy=busy, clock_hz=clock_hz)


def _share(path: Path, form: re.Pattern[str], whole: int) -> float | None:
    """0 to 1; None where there is no such file."""
    text = read_optional(path)
    if text is None:
        return None
    match = form.fullmatch(text.strip())
    if match is None or int(match[1]) > whole:
        raise ValueError(f"{path} holds {text[:40]!r}, expected a load from 0 to {whole}")
    return int(match[1]) / whole


def _clock_hz(path: Path) -> float | None:
    text = read_optional(path)
    if text is None:
        return None
    if not _HERTZ.fullmatch(text.strip()):
        raise ValueError(f"{path} holds {text[:40]!r}, expected a clock in Hz")
    return float(text)
