"""NVIDIA's GPUs by way of their program, where there is no binding of NVML: what `nvidia-smi -q -x` prints.

The tags are those of its document types nvsmi_device_v10 to v13, as far as they were recorded. Values that a GPU or a
permission withholds read `N/A`, `[Not Supported]` or another phrase, and are None here.
"""

from __future__ import annotations

import re
import subprocess
from typing import Final
from xml.etree import ElementTree

from schedulerd.control.readings import Gpu
from schedulerd.control.sources.base import Readings

MAX_CHARACTERS: Final = 16 * 2**20
"""More than a hundred GPUs with a thousand processes each print."""
# It asks the driver for everything there is, which takes tens of milliseconds to seconds.
_EVERY_S: Final = 5.0
_TIMEOUT_S: Final = 4.0

_QUANTITY: Final = re.compile(r"(-?\d{1,9}(?:\.\d{1,6})?) (\S+)", re.ASCII)
_POWER: Final = (
    "power_readings/power_draw",
    "gpu_power_readings/power_draw",
    # Newer drivers tell these two apart; the average is over a second.
    "gpu_power_readings/average_power_draw",
    "gpu_power_readings/instant_power_draw",
)


class NvidiaSmiSource:
    """Runs the program and reads what it prints. It may block for `_TIMEOUT_S`: only for use in an `Aside`."""

    name = "nvidia-smi"
    every_s = _EVERY_S

    def __init__(self, program: str = "nvidia-smi", timeout_s: float = _TIMEOUT_S) -> None:
        self._program = program
        self._timeout_s = timeout_s

    def read(self) -> Readings:
        """`gpus`. Raises OSError where the program fails or takes too long, ValueError where it prints nonsense."""
        try:
            ended = subprocess.run(
                [self._program, "-q", "-x"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self._program} did not end within {self._timeout_s:g} s") from None
        printed = ended.stdout.decode(errors="replace")
        if ended.returncode:
            # It says what is wrong on either of the two.
            words = (printed + ended.stderr.decode(errors="replace")).strip()[:200] or "no message"
            raise OSError(f"{self._program} ended with code {ended.returncode}: {words}")
        return {"gpus": parse(printed)}


def parse(text: str) -> tuple[Gpu, ...]:
    """The GPUs in the order of the document; ValueError where it is none."""
    # A document type that names a file is not followed by this parser; entities could grow without end.
    if len(text) > MAX_CHARACTERS or "<!ENTITY" in text:
        raise ValueError(f"{len(text)} characters of XML with entities or above {MAX_CHARACTERS}, not of nvidia-smi")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (see above; the program is the driver's own)
    except ElementTree.ParseError as error:
        raise ValueError(f"nvidia-smi printed no XML: {error}") from error
    if root.tag != "nvidia_smi_log":
        raise ValueError(f"nvidia-smi printed <{root.tag[:40]}>, expected <nvidia_smi_log>")
    return tuple(map(_gpu, root.findall("gpu")))


def _gpu(gpu: ElementTree.Element) -> Gpu:
    busy = _quantity(gpu, "utilization/gpu_util", "%")
    if busy is not None and not 0 <= busy <= 100:
        raise ValueError(f"gpu_util is {busy:g} %, expected 0 to 100")
    powers = (_quantity(gpu, path, "W") for path in _POWER)
    clock_mhz = _quantity(gpu, "clocks/sm_clock", "MHz")
    return Gpu(
        gpu.findtext("product_name", "").strip() or gpu.get("id") or "gpu",
        busy=None if busy is None else busy / 100,
        memory_total_bytes=_bytes(gpu, "fb_memory_usage/total"),
        memory_used_bytes=_bytes(gpu, "fb_memory_usage/used"),
        clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
        celsius=_quantity(gpu, "temperature/gpu_temp", "C"),
        power_w=next((power for power in powers if power is not None), None),
        uuid=gpu.findtext("uuid", "").strip() or None,
    )


def _bytes(gpu: ElementTree.Element, path: str) -> int | None:
    amount = _quantity(gpu, path, "MiB")
    return None if amount is None else int(amount * 2**20)


def _quantity(gpu: ElementTree.Element, path: str, unit: str) -> float | None:
    """Of text such as `25.58 W`; None where the tag is missing or holds a phrase. ValueError for another unit."""
    match = _QUANTITY.fullmatch(gpu.findtext(path, "").strip())
    if match is None:
        return None
    if match[2] != unit:
        raise ValueError(f"{path} is {match[0]}, expected {unit}")
    return float(match[1])
