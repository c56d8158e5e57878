"""GPUs, under the names that NVIDIA's Triton gives them, so that dashboards and scrapers made for it go on.

Triton's documentation, user_guide/metrics.md, `nv_gpu_*`: watts and shares without a unit in the name, `gpu_uuid` as
the label. A GPU without such an id, as a Jetson's, has its number in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from schedulerd.control.readings import Gpu
from schedulerd.metrics.family import Family, Sample
from schedulerd.metrics.view import View

LABEL: Final = "gpu_uuid"


def _known(view: View) -> Iterator[tuple[str, Gpu]]:
    for number, gpu in enumerate(view.now.snapshot.gpus or ()):
        yield gpu.uuid or str(number), gpu


def _each(name: str, help_: str, read: Callable[[Gpu], float | None]) -> Family:
    def samples(view: View) -> Iterator[Sample]:
        return (Sample((uuid,), read(gpu)) for uuid, gpu in _known(view))

    return Family(name, "gauge", help_, samples, (LABEL,))


def _info(view: View) -> Iterator[Sample]:
    return (Sample((uuid, gpu.name), 1.0) for uuid, gpu in _known(view))


FAMILIES: Final = (
    _each("nv_gpu_utilization", "Share of the last moment in which the GPU computed.", lambda gpu: gpu.busy),
    _each("nv_gpu_memory_total_bytes", "Memory of the GPU.", lambda gpu: gpu.memory_total_bytes),
    _each("nv_gpu_memory_used_bytes", "Memory of the GPU that is in use.", lambda gpu: gpu.memory_used_bytes),
    _each("nv_gpu_power_usage", "Watts that the GPU draws.", lambda gpu: gpu.power_w),
    _each("schedulerd_gpu_celsius", "Temperature of the GPU.", lambda gpu: gpu.celsius),
    _each("schedulerd_gpu_clock_hertz", "Clock of the GPU.", lambda gpu: gpu.clock_hz),
    Family("schedulerd_gpu_info", "gauge", "1 for each GPU, with its name.", _info, (LABEL, "name")),
)
