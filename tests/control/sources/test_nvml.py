"""GPUs by NVML, whose binding a fake plays: there need be no GPU here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schedulerd.control.readings import Gpu
from schedulerd.control.sources.nvml import Nvml, NvmlSource, binding

NOT_SUPPORTED, NO_PERMISSION, GPU_IS_LOST, NOT_LOADED = 3, 4, 15, 9
ASKED = (
    *("nvmlDeviceGetName", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo"),
    *("nvmlDeviceGetUUID", "nvmlDeviceGetClockInfo", "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage"),
)


class FakeError(Exception):
    """As `pynvml.NVMLError`."""

    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


class FakeNvml:
    """GPUs in a list; `codes` are the errors that its functions raise now. Handles end when it is closed."""

    NVMLError = FakeError

    def __init__(self, *names: str | bytes) -> None:
        self.names = names
        self.codes: dict[str, int] = {}
        self.opened = 0
        self.closed = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self._may("nvmlInit")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if self.opened == self.closed:
            raise FakeError(1)
        self.closed += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._may("nvmlDeviceGetCount")
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Any:  # noqa: N802
        return (self.opened, index)

    def nvmlDeviceGetName(self, handle: Any, /) -> str | bytes:  # noqa: N802
        return self.names[self._may("nvmlDeviceGetName", handle)]

    def nvmlDeviceGetUtilizationRates(self, handle: Any, /) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=65 + self._may("nvmlDeviceGetUtilizationRates", handle))

    def nvmlDeviceGetUUID(self, handle: Any, /) -> str | bytes:  # noqa: N802
        number = self._may("nvmlDeviceGetUUID", handle)
        return f"GPU-{number}".encode() if number else f"GPU-{number}"

    def nvmlDeviceGetMemoryInfo(self, handle: Any, /) -> Any:  # noqa: N802
        self._may("nvmlDeviceGetMemoryInfo", handle)
        return SimpleNamespace(total=8 * 2**30, used=3 * 2**30)

    def nvmlDeviceGetClockInfo(self, handle: Any, type_: int, /) -> int:  # noqa: N802
        self._may("nvmlDeviceGetClockInfo", handle)
        return {1: 1410}[type_]

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int, /) -> int:  # noqa: N802
        self._may("nvmlDeviceGetTemperature", handle)
        return {0: 41}[sensor]

    def nvmlDeviceGetPowerUsage(self, handle: Any, /) -> int:  # noqa: N802
        self._may("nvmlDeviceGetPowerUsage", handle)
        return 67030

    def _may(self, function: str, handle: tuple[int, int] | None = None) -> int:
        if function in self.codes:
            raise FakeError(self.codes[function])
        if handle is not None and handle[0] != self.opened:
            raise FakeError(2)
        return 0 if handle is None else handle[1]


def source_of(library: Nvml) -> NvmlSource:
    return NvmlSource(lambda: library)


def test_everything_is_read_in_our_units() -> None:
    first = Gpu("Tesla T4", 0.65, 8 * 2**30, 3 * 2**30, 1.41e9, 41.0, 67.03, "GPU-0")
    second = Gpu("A10G", 0.66, 8 * 2**30, 3 * 2**30, 1.41e9, 41.0, 67.03, "GPU-1")
    assert source_of(FakeNvml("Tesla T4", b"A10G")).read() == {"gpus": (first, second)}


def test_no_gpu_is_none_of_them_and_no_error() -> None:
    assert source_of(FakeNvml()).read() == {"gpus": ()}


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION])
def test_what_a_gpu_does_not_tell_is_none(code: int) -> None:
    library = FakeNvml("Orin")
    library.codes = dict.fromkeys(ASKED, code)
    assert source_of(library).read() == {"gpus": (Gpu("gpu"),)}
    assert library.closed == 0


def test_the_library_is_opened_once() -> None:
    library = FakeNvml("Tesla T4")
    source = source_of(library)
    for _ in range(3):
        source.read()
    assert (library.opened, library.closed) == (1, 0)


@pytest.mark.parametrize("function", ASKED)
def test_after_an_error_it_is_opened_anew(function: str) -> None:
    """The handles of a driver that was reloaded never work again."""
    library = FakeNvml("Tesla T4")
    source = source_of(library)
    source.read()
    library.codes = {function: GPU_IS_LOST}
    with pytest.raises(OSError, match="NVML: code 15"):
        source.read()
    assert (library.opened, library.closed) == (1, 1)
    library.codes = {}
    assert source.read()["gpus"][0].power_w == 67.03
    assert (library.opened, library.closed) == (2, 1)


@pytest.mark.parametrize(("function", "opened"), [("nvmlInit", 0), ("nvmlDeviceGetCount", 1)])
def test_a_driver_that_is_not_loaded_is_said_and_asked_again(function: str, opened: int) -> None:
    library = FakeNvml("Tesla T4")
    library.codes = {function: NOT_LOADED}
    source = source_of(library)
    with pytest.raises(OSError, match="NVML: code 9"):
        source.read()
    assert (library.opened, library.closed) == (opened, opened), "nothing stays open"
    library.codes = {}
    assert source.read()["gpus"][0].name == "Tesla T4"


@pytest.mark.parametrize("per_cent", [-1, 101, 2**32 - 1])
def test_a_share_that_makes_no_sense_raises(per_cent: int) -> None:
    class Wild(FakeNvml):
        def nvmlDeviceGetUtilizationRates(self, handle: Any, /) -> Any:  # noqa: N802
            return SimpleNamespace(gpu=per_cent)

    with pytest.raises(ValueError, match=f"busy for {per_cent}% of the time"):
        source_of(Wild("Tesla T4")).read()


def test_a_binding_that_is_not_installed_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(OSError, match=r"pynvml.*install it with `pip install 'schedulerd\[nvml\]'`"):
        NvmlSource().read()


def test_the_binding_has_what_is_used_of_it() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    functions: list[Callable[..., object]] = [getattr(pynvml, name) for name in ASKED]
    assert all(map(callable, functions))
    assert (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION) == (NOT_SUPPORTED, NO_PERMISSION)
    assert (pynvml.NVML_CLOCK_SM, pynvml.NVML_TEMPERATURE_GPU) == (1, 0)
    assert pynvml.NVMLError(GPU_IS_LOST).value == GPU_IS_LOST


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="there is a driver here")
def test_a_machine_without_a_driver_is_said() -> None:
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    with pytest.raises(OSError, match=r"^NVML: "):
        NvmlSource(binding).read()
