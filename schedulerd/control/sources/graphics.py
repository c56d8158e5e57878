"""Which source tells about the GPUs of this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from schedulerd.clock import Clock
from schedulerd.control.sources.aside import Aside
from schedulerd.control.sources.base import PROC, SYS, Source
from schedulerd.control.sources.devfreq import DevfreqSource
from schedulerd.control.sources.nvidia_smi import NvidiaSmiSource
from schedulerd.control.sources.nvml import NvmlSource


def gpu_sources(clock: Clock, proc: Path = PROC, sys: Path = SYS, program: str = "nvidia-smi") -> tuple[Source, ...]:
    """The source of `gpus`, as one element; none on a board without a GPU that is known here.

    A Jetson before Thor has NVIDIA's driver too, but NVML knows there little beyond a name.
    """
    of_board = DevfreqSource(sys)
    if of_board.tells_load():
        return (of_board,)
    if os.access(proc / "driver" / "nvidia" / "version", os.F_OK):
        return (Aside(_of_nvidia(program), clock),)
    return (of_board,) if of_board.is_there() else ()


def _of_nvidia(program: str) -> Source:
    """Where there is neither binding nor program, the one whose error says what to install."""
    if importlib.util.find_spec("pynvml") is None and shutil.which(program):
        return NvidiaSmiSource(program)
    return NvmlSource()
