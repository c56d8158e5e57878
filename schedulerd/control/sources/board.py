"""Which sources a board has: those of every Linux board, and what this one has beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from schedulerd.clock import Clock
from schedulerd.config import BoardConfig
from schedulerd.control.sources import tegrastats, vcgencmd
from schedulerd.control.sources.aside import Aside
from schedulerd.control.sources.base import SYS, Source
from schedulerd.control.sources.battery import BatterySource
from schedulerd.control.sources.cgroup import CgroupSource
from schedulerd.control.sources.cores import CoreSource
from schedulerd.control.sources.graphics import gpu_sources
from schedulerd.control.sources.memory import MemorySource
from schedulerd.control.sources.network import NetworkSource
from schedulerd.control.sources.peer import PATIENCE_S, PeerSource
from schedulerd.control.sources.power import PowerSource
from schedulerd.control.sources.pressure import PressureSource
from schedulerd.control.sources.process import ProcessSource
from schedulerd.control.sources.processor import ProcessorSource
from schedulerd.control.sources.thermal import ThermalSource
from schedulerd.control.sources.throttle import ThrottleSource


class Programs(NamedTuple):
    """What makers of boards tell through programs of theirs, by name or path; empty where none is to be asked."""

    tegrastats: str = tegrastats.PROGRAM
    vcgencmd: str = vcgencmd.PROGRAM


def sources_of(clock: Clock, board: BoardConfig, programs: Programs | None = None) -> Iterator[Source]:
    """Each reads where the configuration says; what may block is read aside. Nothing is read yet, and no thread runs.

    `programs`: those that are asked for what no file tells; None for those on the PATH. They tell about the machine
    that they run on, so none of them is where another board is played. Raises ValueError where the peer is no address.
    """
    if programs is None:
        programs = Programs() if board.sys == SYS else Programs("", "")
    yield ProcessorSource(clock, board.proc)
    yield ProcessSource(clock)
    yield MemorySource(board.proc)
    yield CgroupSource(board.proc, board.cgroup)
    yield PressureSource(clock, board.proc, board.cgroup)
    yield CoreSource(clock, board.proc, board.sys)
    yield NetworkSource(clock, board.proc)
    yield from gpu_sources(clock, board.proc, board.sys)
    yield from _sensors(clock, board.sys, programs)
    if board.peer is not None:
        yield Aside(PeerSource(board.peer, clock), clock, PATIENCE_S)


def _sensors(clock: Clock, sys: Path, programs: Programs) -> Iterator[Source]:
    """Heat, clocks, power and battery; no two of the sources give the same field."""
    yield ThermalSource(clock, sys)
    yield PowerSource(clock, sys)
    yield BatterySource(sys)
    firmware = vcgencmd.firmware_program(sys, programs.vcgencmd)
    throttle = ThrottleSource(clock, sys, firmware)
    yield throttle if firmware is None else Aside(throttle, clock)
    asked = (vcgencmd.instead_of_files(sys, programs.vcgencmd), tegrastats.instead_of_files(sys, programs.tegrastats))
    yield from (Aside(source, clock) for source in asked if source is not None)
