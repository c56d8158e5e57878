"""What tegrastats prints on several boards, recorded and written by hand, and a program that fails or hangs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schedulerd.control.readings import Core, Gpu, Rail, Zone
from schedulerd.control.sources.tegrastats import Tegrastats, TegrastatsSource, instead_of_files, parse
from tests.control.sources.trees import add_hwmon, add_program, add_zone, write

MB = 2**20

# A form of each generation, with values of our own.
ORIN = (
    "01-02-2026 03:04:05 RAM 6000/7620MB (lfb 8x2MB) SWAP 800/3810MB (cached 1MB) CPU [15%@729,0%@1510,off,off] "
    "EMC_FREQ 43%@2133 GR3D_FREQ 63%@[305,621] NVDEC off APE 200 cpu@53.968C cv0@-256C soc0@-4.5C tj@54C "
    "VDD_IN 12479mW/12001mW VDD_SOC 2817mW/2700mW"
)
TX2 = (
    "RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) CPU [44%@1421,off] EMC_FREQ 1%@1866 "
    "GR3D_FREQ 7%@114 APE 150 MTS fg 1% bg 1% PLL@42.5C PMIC@100C Tboard@38C VDD_SYS_GPU 182/180 VDD_IN 5297/5200"
)
NANO = "RAM 2020/3964MB (lfb 19x4MB) CPU [100%@1479] EMC_FREQ 0% GR3D_FREQ 99% CPU@48C POM_5V_IN 3227/3086"


def test_a_line_of_an_orin() -> None:
    assert parse(ORIN) == Tegrastats(
        memory_used_bytes=6000 * MB,
        memory_total_bytes=7620 * MB,
        swap_used_bytes=800 * MB,
        swap_total_bytes=3810 * MB,
        cores=(Core(0, 0.15, 729e6), Core(1, 0.0, 1510e6), Core(2), Core(3)),
        gpus=(Gpu("GR3D", busy=0.63, clock_hz=621e6),),
        memory_busy=0.43,
        zones=(Zone("cpu", 53.968), Zone("soc0", -4.5), Zone("tj", 54.0)),
        rails=(Rail("VDD_IN", 12.479), Rail("VDD_SOC", 2.817)),
        mean_rails=(Rail("VDD_IN", 12.001), Rail("VDD_SOC", 2.7)),
    )


def test_a_line_of_a_tx2_has_powers_without_a_unit() -> None:
    parsed = parse(TX2)
    assert parsed.rails == (Rail("VDD_SYS_GPU", 0.182), Rail("VDD_IN", 5.297))
    assert parsed.power_w == 5.297
    assert parsed.gpus == (Gpu("GR3D", busy=0.07, clock_hz=114e6),)
    assert [zone.name for zone in parsed.zones] == ["PLL", "Tboard"], "that of the PMIC is a constant"


def test_a_line_of_a_nano_has_shares_without_clocks() -> None:
    parsed = parse(NANO)
    assert (parsed.memory_busy, parsed.gpus) == (0.0, (Gpu("GR3D", busy=0.99),))
    assert (parsed.swap_used_bytes, parsed.power_w) == (None, 3.227)


def test_a_gpu_all_parts_of_which_are_off_has_no_clock() -> None:
    assert parse("GR3D_FREQ 0%@[0,0]").gpus == (Gpu("GR3D", busy=0.0),)


@pytest.mark.parametrize("line", [ORIN, TX2, NANO])
def test_each_field_may_be_missing(line: str) -> None:
    """Whatever is cut off at the end, what is in front of it is read as before."""
    whole, words = parse(line), line.split(" ")
    for count in range(line[: line.index("CPU")].count(" ") + 2, len(words)):
        parsed = parse(" ".join(words[:count]))
        assert parsed.memory_total_bytes == whole.memory_total_bytes
        assert parsed.zones == whole.zones[: len(parsed.zones)]
        assert parsed.rails == whole.rails[: len(parsed.rails)]


@pytest.mark.parametrize("line", ["", "\n", "garbage", "RAM a/bMB CPU []x", "cpu@hotC VDD_IN 5/", "\x00\xff", "CPU 5"])
def test_garbage_raises(line: str) -> None:
    with pytest.raises(ValueError, match="is not a line of tegrastats"):
        parse(line)


@pytest.mark.shared
def test_all_recorded_lines_parse(shared: Path) -> None:
    recordings = sorted((shared / "data" / "hardware" / "jetson").glob("*.log"))
    assert recordings
    for recording in recordings:
        for line in recording.read_text().splitlines():
            parsed = parse(line)
            assert parsed.memory_total_bytes, line
            assert parsed.cores, line
            assert len(parsed.cores) == line[line.index("[") : line.index("]")].count(",") + 1, line
            assert len(parsed.zones) == len(re.findall(r"@[\d.]+C\b", line)) - line.count("PMIC@"), line
            assert len(parsed.rails) == line.count("VDD_") + line.count("VIN_") + line.count("POM_"), line
            assert bool(parsed.gpus) == ("GR3D_FREQ" in line), line
            assert (parsed.memory_busy is None) == ("EMC_FREQ" not in line), line
            assert all(20 < zone.celsius < 70 for zone in parsed.zones), line
            assert all(0 <= rail.power_w < 20 for rail in (*parsed.rails, *parsed.mean_rails)), line


def test_the_program_is_run_for_one_line_and_ended(tmp_path: Path) -> None:
    program = add_program(tmp_path, f"echo '{ORIN}'\nexec sleep 600")
    assert TegrastatsSource(["rails", "power_w"], [program]).read() == {
        "rails": (Rail("VDD_IN", 12.479), Rail("VDD_SOC", 2.817)),
        "power_w": 12.479,
    }


def test_fields_that_the_line_has_not_are_none(tmp_path: Path) -> None:
    program = add_program(tmp_path, "echo 'RAM 1/2MB'")
    assert TegrastatsSource(["zones", "power_w"], [program]).read() == {"zones": None, "power_w": None}


@pytest.mark.parametrize("script", ["exec sleep 600", "exit 3"])
def test_a_program_that_says_nothing_is_a_reason(tmp_path: Path, script: str) -> None:
    program = add_program(tmp_path, script)
    with pytest.raises(TimeoutError, match="without a line"):
        TegrastatsSource(["rails"], [program], timeout_s=0.5).read()


def test_a_program_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TegrastatsSource(["rails"], [str(tmp_path / "absent")]).read()


def test_a_program_that_prints_nonsense_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a line of tegrastats"):
        TegrastatsSource(["rails"], [add_program(tmp_path, "printf '\\377\\376 no\\n'")]).read()


def test_it_is_asked_for_what_no_file_tells(tmp_path: Path) -> None:
    program = add_program(tmp_path, f"echo '{ORIN}'")
    source = instead_of_files(tmp_path, program)
    assert source is not None
    assert sorted(source.read()) == ["gpus", "power_w", "rails", "zones"]
    add_zone(tmp_path, 0, "cpu-thermal", 40000)
    write(tmp_path / "devices" / "gpu.0", {"load": 0})
    source = instead_of_files(tmp_path, program)
    assert source is not None
    assert sorted(source.read()) == ["power_w", "rails"]
    add_hwmon(tmp_path, 0, "ina3221", in1_label="VDD_IN", in1_input=5000, curr1_input=900)
    assert instead_of_files(tmp_path, program) is None


def test_without_the_program_nothing_is_asked(tmp_path: Path) -> None:
    assert instead_of_files(tmp_path, str(tmp_path / "absent")) is None
