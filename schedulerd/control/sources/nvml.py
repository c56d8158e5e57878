"""NVIDIA's GPUs by NVML, the library that comes with their driver, through its binding `pynvml` (nvidia-ml-py).

What a GPU does not support or a user may not see is None (NVML API Reference, nvmlReturn_t). After any other error the
library is opened anew at the next read: a driver that was reloaded, or a GPU that fell off the bus, leaves handles that
never work again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from schedulerd.control.readings import Gpu
from schedulerd.control.sources.base import Readings

T = TypeVar("T")

# The GPU itself averages over a sixth of a second to a second.
_EVERY_S: Final = 0.5
_NOT_TOLD: Final = (3, 4)
"""NVML_ERROR_NOT_SUPPORTED and NVML_ERROR_NO_PERMISSION."""
_SM_CLOCK: Final = 1
_GPU_TEMPERATURE: Final = 0


class Nvml(Protocol):
    """What is used of `pynvml`; names and units are NVML's. A handle is whatever it gives. All raise `NVMLError`."""

    NVMLError: type[Exception]
    """Its `value` is the code."""

    def nvmlInit(self) -> object:  # noqa: N802
        """Open the library; as many calls of `nvmlShutdown` close it."""
        ...

    def nvmlShutdown(self) -> object:  # noqa: N802
        """Close the library; handles end."""
        ...

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """GPUs that this user may see."""
        ...

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Any:  # noqa: N802
        """The GPU of that number."""
        ...

    def nvmlDeviceGetName(self, handle: Any, /) -> str | bytes:  # noqa: N802
        """Bytes in older versions of the binding."""
        ...

    def nvmlDeviceGetUUID(self, handle: Any, /) -> str | bytes:  # noqa: N802
        """Bytes in older versions of the binding."""
        ...

    def nvmlDeviceGetUtilizationRates(self, handle: Any, /) -> Any:  # noqa: N802
        """`gpu`: per cent of the last moment in which it computed."""
        ...

    def nvmlDeviceGetMemoryInfo(self, handle: Any, /) -> Any:  # noqa: N802
        """`total` and `used`, in bytes."""
        ...

    def nvmlDeviceGetClockInfo(self, handle: Any, type_: int, /) -> int:  # noqa: N802
        """MHz."""
        ...

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int, /) -> int:  # noqa: N802
        """Degrees Celsius."""
        ...

    def nvmlDeviceGetPowerUsage(self, handle: Any, /) -> int:  # noqa: N802
        """mW."""
        ...


def binding() -> Nvml:
    """The binding; OSError with the remedy where it is not installed."""
    try:
        import pynvml
    except ImportError as error:
        raise OSError(f"{error}; install it with `pip install 'schedulerd[nvml]'`") from error
    library: Nvml = pynvml
    return library


class NvmlSource:
    """All GPUs that NVML shows. A driver in trouble may block: only for use in an `Aside`."""

    name = "nvml"
    every_s = _EVERY_S

    def __init__(self, load: Callable[[], Nvml] = binding) -> None:
        self._load = load
        self._library: Nvml | None = None
        self._handles: tuple[Any, ...] = ()

    def read(self) -> Readings:
        """`gpus`. Raises OSError where the library or the driver is missing or fails."""
        library = self._library or self._open()
        try:
            return {"gpus": tuple(_gpu(library, handle) for handle in self._handles)}
        except library.NVMLError as error:
            self._close(library)
            raise OSError(f"NVML: {error}") from error

    def _open(self) -> Nvml:
        library = self._load()
        try:
            library.nvmlInit()
            numbers = range(library.nvmlDeviceGetCount())
            self._handles = tuple(map(library.nvmlDeviceGetHandleByIndex, numbers))
        except library.NVMLError as error:
            self._close(library)
            raise OSError(f"NVML: {error}") from error
        self._library = library
        return library

    def _close(self, library: Nvml) -> None:
        self._library, self._handles = None, ()
        # Where it could not even be opened, it cannot be closed.
        with contextlib.suppress(library.NVMLError):
            library.nvmlShutdown()


def _gpu(library: Nvml, handle: Any) -> Gpu:
    def told(ask: Callable[..., T], *about: int) -> T | None:
        try:
            return ask(handle, *about)
        except library.NVMLError as error:
            if getattr(error, "value", None) in _NOT_TOLD:
                return None
            raise

    name, uuid = told(library.nvmlDeviceGetName) or "gpu", told(library.nvmlDeviceGetUUID)
    rates = told(library.nvmlDeviceGetUtilizationRates)
    memory = told(library.nvmlDeviceGetMemoryInfo)
    clock_mhz = told(library.nvmlDeviceGetClockInfo, _SM_CLOCK)
    celsius = told(library.nvmlDeviceGetTemperature, _GPU_TEMPERATURE)
    power_mw = told(library.nvmlDeviceGetPowerUsage)
    return Gpu(
        _text(name),
        busy=None if rates is None else _share(rates.gpu),
        memory_total_bytes=None if memory is None else int(memory.total),
        memory_used_bytes=None if memory is None else int(memory.used),
        clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
        celsius=None if celsius is None else float(celsius),
        power_w=None if power_mw is None else power_mw / 1000,
        uuid=None if uuid is None else _text(uuid),
    )


def _text(told: str | bytes) -> str:
    return told.decode(errors="replace") if isinstance(told, bytes) else told


def _share(per_cent: int) -> float:
    if not 0 <= per_cent <= 100:
        raise ValueError(f"NVML says that the GPU was busy for {per_cent}% of the time, expected 0 to 100")
    return per_cent / 100
