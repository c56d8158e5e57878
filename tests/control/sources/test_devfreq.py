"""The board's own GPU: trees as Jetsons and Mali boards have them, and nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.readings import Gpu
from schedulerd.control.sources.devfreq import DevfreqSource


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """Orin: the load is the device's, in per mille; other devices scale their clocks too."""
    write(tmp_path / "class/devfreq/17000000.ga10b/cur_freq", "1300500000\n")
    write(tmp_path / "class/devfreq/17000000.ga10b/device/load", "427\n")
    write(tmp_path / "class/devfreq/15340000.vic/cur_freq", "115200000\n")
    return tmp_path


def test_a_jetson_tells_its_clock_and_its_load_in_per_mille(orin: Path) -> None:
    assert DevfreqSource(orin).read() == {"gpus": (Gpu("17000000.ga10b", busy=0.427, clock_hz=1300500000.0),)}
    assert DevfreqSource(orin).tells_load()


@pytest.mark.parametrize("folder", ["devices/gpu.0", "devices/platform/gpu.0"])
@pytest.mark.parametrize("name", ["57000000.gpu", "17000000.gp10b", "17000000.gv11b"])
def test_older_jetsons_have_the_load_elsewhere(tmp_path: Path, folder: str, name: str) -> None:
    write(tmp_path / "class/devfreq" / name / "cur_freq", "76800000\n")
    write(tmp_path / folder / "load", "1000\n")
    assert DevfreqSource(tmp_path).read() == {"gpus": (Gpu(name, busy=1.0, clock_hz=76800000.0),)}


def test_a_load_without_devfreq_is_read(tmp_path: Path) -> None:
    write(tmp_path / "devices/gpu.0/load", "0\n")
    assert DevfreqSource(tmp_path).is_there()
    assert DevfreqSource(tmp_path).read() == {"gpus": (Gpu("gpu.0", busy=0.0),)}


@pytest.mark.parametrize("load", ["23@300000000Hz\n", "23\n"])
def test_a_mali_on_a_rockchip_tells_its_load_in_per_cent(tmp_path: Path, load: str) -> None:
    write(tmp_path / "class/devfreq/fb000000.gpu/cur_freq", "300000000\n")
    write(tmp_path / "class/devfreq/fb000000.gpu/load", load)
    assert DevfreqSource(tmp_path).read() == {"gpus": (Gpu("fb000000.gpu", busy=0.23, clock_hz=3e8),)}
    assert not DevfreqSource(tmp_path).tells_load(), "that is a Jetson's"


def test_panfrost_tells_a_clock_only(tmp_path: Path) -> None:
    write(tmp_path / "class/devfreq/ff9a0000.gpu/cur_freq", "200000000\n")
    assert DevfreqSource(tmp_path).read() == {"gpus": (Gpu("ff9a0000.gpu", clock_hz=2e8),)}


def test_the_video_units_of_thor_are_no_gpu(tmp_path: Path) -> None:
    write(tmp_path / "class/devfreq/gpu-gpc-0/cur_freq", "1575000000\n")
    write(tmp_path / "class/devfreq/gpu-nvd-0/cur_freq", "1692000000\n")
    assert [gpu.name for gpu in DevfreqSource(tmp_path).read()["gpus"]] == ["gpu-gpc-0"]


@pytest.mark.parametrize("other", ["devfreq/dmc", "devfreq/15340000.vic", "thermal/thermal_zone0"])
def test_a_board_without_one_has_none(tmp_path: Path, other: str) -> None:
    write(tmp_path / "class" / other / "cur_freq", "5\n")
    source = DevfreqSource(tmp_path)
    assert not source.is_there()
    with pytest.raises(FileNotFoundError, match="no GPU at"):
        source.read()


def test_one_that_vanishes_is_said_and_not_read_as_idle(orin: Path) -> None:
    source = DevfreqSource(orin)
    source.read()
    (orin / "class/devfreq/17000000.ga10b").rename(orin / "gone")
    with pytest.raises(FileNotFoundError, match="no GPU at"):
        source.read()


@pytest.mark.parametrize("text", ["", "-1\n", "1001\n", "many\n", "4.5\n", "1\n2\n", "\x00\x01", "9" * 5000])
def test_a_load_that_makes_no_sense_raises(orin: Path, text: str) -> None:
    write(orin / "class/devfreq/17000000.ga10b/device/load", text)
    with pytest.raises(ValueError, match="expected a load from 0 to 1000"):
        DevfreqSource(orin).read()


@pytest.mark.parametrize("text", ["", "-1\n", "fast\n", "1 2\n", "9" * 5000])
def test_a_clock_that_makes_no_sense_raises(orin: Path, text: str) -> None:
    write(orin / "class/devfreq/17000000.ga10b/cur_freq", text)
    with pytest.raises(ValueError, match="expected a clock in Hz"):
        DevfreqSource(orin).read()


def test_files_that_cannot_be_read_raise(orin: Path) -> None:
    """A directory in place of the file fails as a file without permission does, also for root."""
    (orin / "class/devfreq/17000000.ga10b/cur_freq").unlink()
    (orin / "class/devfreq/17000000.ga10b/cur_freq").mkdir()
    with pytest.raises(IsADirectoryError):
        DevfreqSource(orin).read()
