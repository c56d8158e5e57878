"""What vcgencmd prints, recorded and written by hand, and a program that fails or hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.readings import Rail
from schedulerd.control.sources.vcgencmd import Vcgencmd, VcgencmdSource, firmware_program, instead_of_files, parse
from tests.control.sources.trees import add_program, write
from tests.fakes import PATIENCE_S

METERS = """
  VDD_CORE_A current(7)=1.50000000A
      HDMI_A current(22)=0.02000000A
  VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.05716000V
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("throttled=0x50005\n", Vcgencmd(throttled=0x50005)),
        ("throttled=0x0\n", Vcgencmd(throttled=0)),
        ("temp=53.5'C\n", Vcgencmd(celsius=53.5)),
        ("temp=-12.0'C\n", Vcgencmd(celsius=-12.0)),
        ("frequency(48)=600117184\n", Vcgencmd(clocks_hz={48: 600117184.0})),
        ("volt=0.8900V\n", Vcgencmd(volts=0.89)),
        ("volt=0.8900V\nsomething=new\ntemp=50.0'C\n", Vcgencmd(celsius=50.0, volts=0.89)),
    ],
)
def test_single_values(text: str, expected: Vcgencmd) -> None:
    assert parse(text) == expected


def test_current_times_voltage_is_power_where_both_are_measured() -> None:
    assert parse(METERS).rails == (Rail("VDD_CORE", pytest.approx(1.2)),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "throttled=yes",
        "throttled=0x",
        "temp=hot'C",
        'error=1 error_msg="Command not registered"',
        "\x00",
    ],
)
def test_garbage_raises(text: str) -> None:
    with pytest.raises(ValueError, match="is no answer of vcgencmd"):
        parse(text)


@pytest.mark.shared
def test_all_that_was_recorded_parses(shared: Path) -> None:
    folder = shared / "data" / "hardware" / "rpi"
    for line in (folder / "rpi4b_vcgencmd.txt").read_text().splitlines():
        if not line.startswith(("#", "scaling_")):  # remarks, and files that were recorded along
            assert parse(line) != Vcgencmd()
    adc = (folder / "rpi5_vcgencmd_pmic_read_adc.txt").read_text()
    rails = {rail.name: rail.power_w for rail in parse(adc).rails}
    assert len(rails) == adc.count("_A current") == adc.count("_V volt") - 2, "EXT5V and BATT have no current"
    assert rails["VDD_CORE"] == pytest.approx(1.4288 * 0.9065925)
    assert sum(rails.values()) == pytest.approx(2.948, abs=0.001)


def test_the_rails_are_asked_for(tmp_path: Path) -> None:
    program = add_program(tmp_path, f'[ "$*" = pmic_read_adc ] && echo "{METERS}"')
    assert VcgencmdSource([program]).read() == {"rails": (Rail("VDD_CORE", pytest.approx(1.2)),)}


@pytest.mark.parametrize(
    ("script", "error", "reason"),
    [
        ("exec sleep 600", TimeoutError, "did not end within 0.5 s"),
        ("echo 'VCHI initialization failed' >&2; exit 255", OSError, "ended with code 255: VCHI initialization failed"),
        ("exit 1", OSError, "ended with code 1: no message"),
        ("echo 'error=2 error_msg=\"Invalid arguments\"'", ValueError, "is no answer of vcgencmd"),
    ],
)
def test_a_program_that_fails_is_a_reason(tmp_path: Path, script: str, error: type[Exception], reason: str) -> None:
    timeout_s = 0.5 if error is TimeoutError else PATIENCE_S
    with pytest.raises(error, match=reason):
        VcgencmdSource([add_program(tmp_path, script)], timeout_s=timeout_s).read()


@pytest.mark.parametrize(
    ("model", "is_asked"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0\0", True),
        ("Raspberry Pi Compute Module 5 Rev 1.0\0", True),
        ("Raspberry Pi 500 Rev 1.0\0", True),
        ("Raspberry Pi 4 Model B Rev 1.4\0", False),
        ("NVIDIA Jetson Nano\0", False),
    ],
)
def test_only_boards_that_measure_their_rails_are_asked_for_them(tmp_path: Path, model: str, is_asked: bool) -> None:
    write(tmp_path / "firmware" / "devicetree" / "base", {"model": model})
    program = add_program(tmp_path, "exit 1")
    assert (instead_of_files(tmp_path, program) is not None) == is_asked
    assert instead_of_files(tmp_path, str(tmp_path / "absent")) is None


def test_the_firmware_is_asked_by_program_where_no_file_tells(tmp_path: Path) -> None:
    program = add_program(tmp_path, '[ "$*" = get_throttled ] && echo throttled=0x50005')
    firmware = firmware_program(tmp_path, program)
    assert firmware is not None
    assert firmware() == 0x50005
    assert firmware_program(tmp_path, str(tmp_path / "absent")) is None
    write(tmp_path / "devices" / "platform" / "soc" / "soc:firmware", {"get_throttled": 0})
    assert firmware_program(tmp_path, program) is None
