"""What `nvidia-smi -q -x` prints: recorded, written by hand, and nonsense; and a program that fails or hangs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schedulerd.control.readings import Gpu
from schedulerd.control.sources.nvidia_smi import NvidiaSmiSource, parse

# As the recordings are, cut to what is read; the second one tells nothing.
TWO = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
    <attached_gpus>2</attached_gpus>
    <gpu id="00000000:01:00.0">
        <product_name>NVIDIA T1000</product_name>
        <uuid>GPU-8f2a</uuid>
        <fb_memory_usage>
            <total>4096 MiB</total>
            <reserved>70 MiB</reserved>
            <used>42 MiB</used>
        </fb_memory_usage>
        <utilization>
            <gpu_util>37 %</gpu_util>
        </utilization>
        <temperature>
            <gpu_temp>-4 C</gpu_temp>
        </temperature>
        <gpu_power_readings>
            <power_draw>25.58 W</power_draw>
        </gpu_power_readings>
        <clocks>
            <graphics_clock>1140 MHz</graphics_clock>
            <sm_clock>1125 MHz</sm_clock>
        </clocks>
    </gpu>
    <gpu id="00000000:02:00.0">
        <utilization><gpu_util>N/A</gpu_util></utilization>
        <temperature><gpu_temp>[Not Supported]</gpu_temp></temperature>
        <power_readings><power_draw>Insufficient Permissions</power_draw></power_readings>
        <clocks/>
    </gpu>
</nvidia_smi_log>
"""
FIRST = Gpu("NVIDIA T1000", 0.37, 4096 * 2**20, 42 * 2**20, 1.125e9, -4.0, 25.58, "GPU-8f2a")

# By file: share, memory in MiB, SM clock in MHz, degrees and watts, each as the document has it.
RECORDED = {
    "a100-sxm4-v12": ("NVIDIA A100-SXM4-80GB", None, 81920, 50, 1275, 27, 67.03),
    "a10g": ("NVIDIA A10G", 0.0, 23028, 22, 210, 17, 25.58),
    "gtx-1070-ti": ("GeForce GTX 1070 Ti", 0.0, 4096, 42, 135, 39, None),
    "gtx-1660-ti": ("Graphics Device", 0.0, 5912, 0, 300, 40, 8.93),
    "quadro-p2000-v12": ("Quadro P2000", 0.0, 5120, 1, 139, 34, 4.61),
    "quadro-p400": ("Quadro P400", 0.0, 1998, 0, 139, 33, None),
    "rtx-3060-v12": ("NVIDIA GeForce RTX 3060", 0.0, 12288, 116, 210, 42, 11.60),
    "rtx-3080-v12": ("NVIDIA GeForce RTX 3080", 0.0, 10240, 1128, 210, 31, 22.78),
    "rtx-3080-v13": ("NVIDIA GeForce RTX 3080", 0.65, 10240, 9184, 1950, 27, 139.62),
    "rtx-3090-v12": ("NVIDIA GeForce RTX 3090", 0.0, 24576, 1, 0, 37, 27.23),
    "rtx-4000-sff-ada-v13": ("NVIDIA RTX 4000 SFF Ada Generation", 0.0, 20475, 3534, 210, 38, 8.81),
    "tesla-t4": ("Tesla T4", 0.0, 15360, 1032, 585, 40, 26.78),
}


def program(folder: Path, script: str) -> str:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.shared
def test_every_recording_is_read(shared: Path) -> None:
    files = sorted((shared / "data" / "hardware" / "nvidia-smi").glob("*.xml"))
    assert {file.stem for file in files} == set(RECORDED)
    for file in files:
        name, busy, total_mib, used_mib, clock_mhz, celsius, power_w = RECORDED[file.stem]
        expected = Gpu(name, busy, total_mib * 2**20, used_mib * 2**20, clock_mhz * 1e6, celsius, power_w)
        (gpu,) = parse(file.read_text())
        assert replace(gpu, uuid=None) == expected, file.name
        assert gpu.uuid, file.name


def test_every_gpu_is_read_and_what_is_not_told_is_none() -> None:
    assert parse(TWO) == (FIRST, Gpu("00000000:02:00.0"))


@pytest.mark.parametrize(
    ("readings", "power_w"),
    [
        ("<power_readings><power_draw>9.5 W</power_draw></power_readings>", 9.5),
        ("<gpu_power_readings><power_draw>9.5 W</power_draw></gpu_power_readings>", 9.5),
        (
            "<gpu_power_readings><average_power_draw>9.5 W</average_power_draw>"
            "<instant_power_draw>12 W</instant_power_draw></gpu_power_readings>",
            9.5,
        ),
        (
            "<gpu_power_readings><average_power_draw>N/A</average_power_draw>"
            "<instant_power_draw>12 W</instant_power_draw></gpu_power_readings>",
            12.0,
        ),
        ("<module_power_readings><power_draw>50 W</power_draw></module_power_readings>", None),
    ],
)
def test_power_is_found_under_the_tags_of_all_schemas(readings: str, power_w: float | None) -> None:
    assert parse(f"<nvidia_smi_log><gpu>{readings}</gpu></nvidia_smi_log>")[0].power_w == power_w


def test_no_gpu_is_none_of_them() -> None:
    assert parse("<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no XML"),
        ("No devices were found\n", "no XML"),
        (TWO[:400], "no XML"),
        ("<html></html>", "expected <nvidia_smi_log>"),
        (TWO.replace("37 %", "137 %"), "gpu_util is 137 %, expected 0 to 100"),
        (TWO.replace("-4 C", "25 F"), "gpu_temp is 25 F, expected C"),
        (TWO.replace("42 MiB", "42 GiB"), "used is 42 GiB, expected MiB"),
        ("\x00\x01\x02", "no XML"),
    ],
)
def test_nonsense_raises(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(text)


def test_entities_are_refused_before_they_are_read() -> None:
    """Ten that hold ten each, ten deep, are gigabytes."""
    bomb = '<!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><nvidia_smi_log>&b;</nvidia_smi_log>'
    with pytest.raises(ValueError, match="entities"):
        parse(bomb)


def test_the_program_is_run_and_read(tmp_path: Path) -> None:
    (tmp_path / "printed").write_text(TWO)
    command = program(tmp_path, f'[ "$*" = "-q -x" ] && cat {tmp_path}/printed')
    assert NvidiaSmiSource(command).read()["gpus"][0] == FIRST


def test_a_program_that_fails_is_said_in_its_words(tmp_path: Path) -> None:
    command = program(tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9")
    with pytest.raises(OSError, match="ended with code 9: NVIDIA-SMI has failed"):
        NvidiaSmiSource(command).read()


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    command = program(tmp_path, "exec sleep 3600")
    with pytest.raises(TimeoutError, match=r"did not end within 0\.2 s"):
        NvidiaSmiSource(command, timeout_s=0.2).read()


def test_a_program_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NvidiaSmiSource(str(tmp_path / "nvidia-smi")).read()


def test_bytes_that_are_no_text_raise(tmp_path: Path) -> None:
    command = program(tmp_path, r"printf '\377\376\000'")
    with pytest.raises(ValueError, match="no XML"):
        NvidiaSmiSource(command).read()
