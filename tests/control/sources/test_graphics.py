"""Which source tells about the GPUs, by what there is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from schedulerd.control.sources.aside import Aside
from schedulerd.control.sources.graphics import gpu_sources
from tests.fakes import FakeClock

ABSENT = "/nonexistent/nvidia-smi"


def names(root: Path, program: str = ABSENT) -> list[str]:
    return [source.name for source in gpu_sources(FakeClock(), root / "proc", root / "sys", program)]


def put(path: Path, text: str = "1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def with_driver(tmp_path: Path) -> Path:
    put(tmp_path / "proc/driver/nvidia/version")
    return tmp_path


def test_a_board_without_a_gpu_has_no_source(tmp_path: Path) -> None:
    assert names(tmp_path) == []


def test_a_board_with_a_gpu_of_its_own_is_read_from_sysfs(tmp_path: Path) -> None:
    put(tmp_path / "sys/class/devfreq/fb000000.gpu/cur_freq")
    assert names(tmp_path) == ["devfreq"]


def test_nvidias_driver_is_asked_aside(with_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    (source,) = gpu_sources(FakeClock(), with_driver / "proc", with_driver / "sys", ABSENT)
    assert isinstance(source, Aside)
    assert source.name == "nvml"


def test_the_program_serves_where_the_binding_is_not_installed(
    with_driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert names(with_driver, str(put(with_driver / "nvidia-smi"))) == ["nvidia-smi"]
    assert names(with_driver) == ["nvml"], "neither: it says what to install"


def test_a_jetson_is_read_from_sysfs_though_it_has_nvidias_driver(with_driver: Path) -> None:
    put(with_driver / "sys/class/devfreq/17000000.ga10b/device/load")
    assert names(with_driver) == ["devfreq"]
    put(with_driver / "sys/class/devfreq/17000000.ga10b/device/load").unlink()
    assert names(with_driver) == ["nvml"]
