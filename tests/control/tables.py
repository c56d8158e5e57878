"""Profiles for tests: a made-up device with the rows that a test wants."""

from __future__ import annotations

from blockprofiles.device import Device
from blockprofiles.record import Row
from blockprofiles.table import Table

DEVICE = Device(
    cpu_model="Test CPU",
    machine="x86_64",
    cores=2,
    governor=None,
    memory_bytes=1 << 30,
    engine="onnxruntime",
    engine_version="0",
    threads=1,
)


def table_of(*rows: Row) -> Table:
    """A table of `rows`."""
    return Table(DEVICE, rows, "2026-01-01T00:00:00+00:00")
