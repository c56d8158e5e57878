"""What holds clocks down: the firmware's bits, counters, cooling devices, limits, and clocks that fall short."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.readings import Throttle
from schedulerd.control.sources.clocks import share_of
from schedulerd.control.sources.seldom import LAYOUT_S
from schedulerd.control.sources.throttle import ThrottleSource, causes_of
from tests.control.sources.trees import add_hwmon, add_policy, refuse, write
from tests.fakes import FakeClock

DAYS_400_S = 400 * 86400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source(clock: FakeClock, tmp_path: Path) -> ThrottleSource:
    """Of a board in `tmp_path`, which has nothing yet."""
    return ThrottleSource(clock, tmp_path)


def read(source: ThrottleSource) -> Throttle | None:
    throttle: Throttle | None = source.read()["throttle"]
    return throttle


def causes(source: ThrottleSource) -> tuple[str, ...]:
    throttle = read(source)
    assert throttle is not None
    return throttle.causes


def add_firmware(sys: Path, bits: object, soc: str = "soc") -> Path:
    folder = write(sys / "devices" / "platform" / soc / f"{soc}:firmware", {"get_throttled": bits})
    return folder / "get_throttled"


def add_cooler(sys: Path, number: int, kind: str, state: object) -> Path:
    cooler = sys / "class" / "thermal" / f"cooling_device{number}"
    return write(cooler, {"type": kind, "cur_state": state, "max_state": 10}) / "cur_state"


def add_core(sys: Path, number: int, count: object) -> Path:
    folder = sys / "devices" / "system" / "cpu" / f"cpu{number}" / "thermal_throttle"
    return write(folder, {"core_throttle_count": count}) / "core_throttle_count"


def test_a_board_that_tells_nothing_is_none_and_not_free_of_throttling(source: ThrottleSource) -> None:
    assert read(source) is None


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x0, set()),
        (0x1, {"voltage"}),
        (0x5, {"voltage"}),
        (0x4, {"heat"}),
        (0x6, {"heat"}),
        (0x8, {"heat"}),
        (0x9, {"heat", "voltage"}),
        (0x2, {"cap"}),
        (0x50005, {"voltage"}),
        (0x50000, set()),
        (0xE0000, set()),
    ],
)
def test_bits_of_now_are_causes_and_those_of_earlier_are_none(bits: int, expected: set[str]) -> None:
    assert causes_of(bits, before=bits) == expected


def test_what_happened_between_two_reads_is_a_cause_once() -> None:
    assert causes_of(0x50000, before=0x0) == {"voltage"}
    assert causes_of(0x80000, before=0x0) == {"heat"}
    assert causes_of(0xD0000, before=0x50000) == {"heat"}


@pytest.mark.parametrize("soc", ["soc", "soc@107c000000"])
def test_the_kernel_shows_them_in_hexadecimal_without_a_prefix(
    tmp_path: Path, source: ThrottleSource, soc: str
) -> None:
    bits = add_firmware(tmp_path, "50000", soc)
    assert read(source) == Throttle(), "what happened before the daemon looked is over"
    bits.write_text("50005\n")
    assert read(source) == Throttle(("voltage",))
    bits.write_text("d0000\n")
    assert read(source) == Throttle(("heat",)), "the soft limit was reached and left between two looks"
    assert read(source) == Throttle()


@pytest.mark.parametrize("nonsense", ["garbage", "", "0x", "\x00"])
def test_bits_that_make_no_sense_are_a_reason_and_not_the_absence_of_causes(
    tmp_path: Path, source: ThrottleSource, nonsense: str
) -> None:
    add_firmware(tmp_path, nonsense)
    add_policy(tmp_path)
    with pytest.raises(ValueError, match=r"get_throttled says .* expected a number to base 16"):
        source.read()


def test_bits_that_may_not_be_read_are_a_reason(tmp_path: Path, source: ThrottleSource) -> None:
    refuse(add_firmware(tmp_path, 0))
    with pytest.raises(OSError, match="get_throttled"):
        source.read()


def test_a_program_may_tell_them_instead_and_is_asked_less_often(tmp_path: Path, clock: FakeClock) -> None:
    answers = iter([0x0, 0x4])
    source = ThrottleSource(clock, tmp_path, lambda: next(answers))
    assert causes(source) == ()
    assert causes(source) == ("heat",)
    assert source.every_s > ThrottleSource(clock, tmp_path).every_s


def test_without_the_firmware_a_kernel_tells_of_low_voltage(tmp_path: Path, source: ThrottleSource) -> None:
    alarm = add_hwmon(tmp_path, 0, "rpi_volt", in0_lcrit_alarm=0) / "in0_lcrit_alarm"
    assert causes(source) == ()
    alarm.write_text("1\n")
    assert causes(source) == ("voltage",)


def test_an_over_current_event_is_a_cause_at_the_look_after_it(tmp_path: Path, source: ThrottleSource) -> None:
    device = add_hwmon(tmp_path, 3, "soctherm_oc", oc1_event_cnt=5, oc1_throt_en=1, oc3_event_cnt=27390, oc3_throt_en=1)
    assert causes(source) == (), "those from before the daemon are over"
    (device / "oc3_event_cnt").write_text("27391\n")
    assert causes(source) == ("current",)
    assert causes(source) == ()


def test_events_that_do_not_throttle_are_none(tmp_path: Path, source: ThrottleSource) -> None:
    device = add_hwmon(tmp_path, 3, "soctherm_oc", oc1_event_cnt=5, oc1_throt_en=0, oc2_event_cnt=0, oc2_throt_en=1)
    causes(source)
    (device / "oc1_event_cnt").write_text("6\n")
    assert causes(source) == ()


def test_a_counter_that_wraps_or_is_set_back_has_not_risen(tmp_path: Path, source: ThrottleSource) -> None:
    counter = add_hwmon(tmp_path, 3, "soctherm_oc", oc1_event_cnt=2**32 - 1) / "oc1_event_cnt"
    causes(source)
    counter.write_text("3\n")
    assert causes(source) == ()
    counter.write_text("4\n")
    assert causes(source) == ("current",), "from there on it counts again"


def test_a_core_that_was_throttled_is_hot(tmp_path: Path, source: ThrottleSource) -> None:
    add_core(tmp_path, 0, 7)
    counter = add_core(tmp_path, 1, 7)
    assert causes(source) == ()
    counter.write_text("9\n")
    assert causes(source) == ("heat",)


def test_of_1024_cores_some_are_looked_at(tmp_path: Path, source: ThrottleSource) -> None:
    for number in range(1024):
        add_core(tmp_path, number, 0)
    source.read()
    add_core(tmp_path, 1023, 1)
    assert causes(source) == ()
    add_core(tmp_path, 0, 1)
    assert causes(source) == ("heat",)


def test_a_counter_that_cannot_be_read_leaves_the_others(tmp_path: Path, source: ThrottleSource) -> None:
    device = add_hwmon(tmp_path, 0, "soctherm_oc", oc1_event_cnt=0, oc2_event_cnt=0, oc3_event_cnt="garbage")
    assert causes(source) == ()
    (device / "oc1_event_cnt").unlink()
    (device / "oc2_event_cnt").write_text("1\n")
    assert causes(source) == ("current",)


def test_where_no_counter_can_be_read_that_is_a_reason(tmp_path: Path, source: ThrottleSource) -> None:
    refuse(add_hwmon(tmp_path, 0, "soctherm_oc", oc1_event_cnt=0) / "oc1_event_cnt")
    with pytest.raises(OSError, match="oc1_event_cnt"):
        source.read()


@pytest.mark.parametrize("jump_s", [DAYS_400_S, -DAYS_400_S])
def test_a_clock_that_jumps_by_400_days_makes_no_event(
    tmp_path: Path, clock: FakeClock, source: ThrottleSource, jump_s: float
) -> None:
    add_core(tmp_path, 0, 7)
    source.read()
    clock.advance(jump_s)
    assert causes(source) == ()


@pytest.mark.parametrize("kind", ["thermal-cpufreq-0", "cpufreq-cpu4", "devfreq-ff9a0000.gpu", "Processor"])
def test_a_processor_that_is_slowed_down_to_cool_is_hot(tmp_path: Path, source: ThrottleSource, kind: str) -> None:
    state = add_cooler(tmp_path, 0, kind, 0)
    assert causes(source) == ()
    state.write_text("3\n")
    assert causes(source) == ("heat",)


def test_a_fan_that_turns_holds_no_clock_down(tmp_path: Path, source: ThrottleSource) -> None:
    add_cooler(tmp_path, 0, "pwm-fan", 4)
    add_policy(tmp_path)
    assert causes(source) == ()


def test_a_limit_that_is_set_is_a_cap(tmp_path: Path, source: ThrottleSource) -> None:
    add_policy(tmp_path, 0)
    limited = add_policy(tmp_path, 4, scaling_max_freq=1200000, scaling_cur_freq=1200000, cpuinfo_cur_freq=1200000)
    assert read(source) == Throttle(("cap",), clock_share=1.0), "the governor asks for no more than the limit"
    (limited / "scaling_max_freq").write_text("1499999\n")
    assert causes(source) == (), "rounded"


def test_with_heat_it_is_the_heat_that_sets_the_limit(tmp_path: Path, source: ThrottleSource) -> None:
    add_policy(tmp_path, scaling_max_freq=1000000)
    add_cooler(tmp_path, 0, "cpufreq-cpu0", 2)
    assert causes(source) == ("heat",)


@pytest.mark.parametrize("nonsense", ["garbage", "-5", "0", ""])
def test_a_limit_that_makes_no_sense_is_none(tmp_path: Path, source: ThrottleSource, nonsense: str) -> None:
    add_policy(tmp_path, scaling_max_freq=nonsense)
    assert causes(source) == ()


def test_the_share_is_the_lowest_of_the_policies(tmp_path: Path, source: ThrottleSource) -> None:
    add_policy(tmp_path, 0, cpuinfo_cur_freq=1200000)
    add_policy(tmp_path, 4, cpuinfo_cur_freq=600000)
    assert read(source) == Throttle((), clock_share=0.4), "clocks below what was asked for are no cause"


def test_a_clock_above_what_was_asked_for_is_all_of_it(tmp_path: Path, source: ThrottleSource) -> None:
    add_policy(tmp_path, cpuinfo_cur_freq=1500032)
    assert read(source) == Throttle((), clock_share=1.0)


def test_a_governor_that_asks_for_another_clock_meanwhile_leaves_the_share_open() -> None:
    assert share_of(1500000, 600000, 1500000) == 0.4
    assert share_of(600000, 600000, 1500000) is None
    assert share_of(1500000, 600000, 600000) is None


def test_an_average_that_the_hardware_counts_goes_first(tmp_path: Path, source: ThrottleSource) -> None:
    add_policy(tmp_path, cpuinfo_avg_freq=750000)
    assert read(source) == Throttle((), clock_share=0.5)


@pytest.mark.parametrize("driver", ["intel_pstate", "intel_cpufreq", "acpi-cpufreq", "amd-pstate-epp"])
def test_where_what_was_asked_for_is_not_known_there_is_no_share(
    tmp_path: Path, source: ThrottleSource, driver: str
) -> None:
    """On x86 `scaling_cur_freq` is a measurement, and two of them differ by chance."""
    add_policy(tmp_path, scaling_driver=driver, cpuinfo_cur_freq=600000)
    assert read(source) == Throttle()


@pytest.mark.parametrize("name", ["cpuinfo_cur_freq", "scaling_cur_freq"])
@pytest.mark.parametrize("nonsense", ["garbage", "0", "-1500000", "<unknown>"])
def test_a_clock_that_makes_no_sense_has_no_share(
    tmp_path: Path, source: ThrottleSource, name: str, nonsense: str
) -> None:
    add_policy(tmp_path, **{name: nonsense})
    assert read(source) == Throttle()


def test_a_clock_that_cannot_be_read_now_leaves_the_others(tmp_path: Path, source: ThrottleSource) -> None:
    """EAGAIN of cores that idle, and a core that was taken off line."""
    asleep, gone = add_policy(tmp_path, 0, cpuinfo_cur_freq=1), add_policy(tmp_path, 1, cpuinfo_cur_freq=1)
    add_policy(tmp_path, 2, cpuinfo_cur_freq=900000)
    source.read()
    refuse(asleep / "cpuinfo_cur_freq")
    for path in gone.iterdir():
        path.unlink()
    assert read(source) == Throttle((), clock_share=0.6)


def test_signs_are_looked_for_again_now_and_then(tmp_path: Path, clock: FakeClock, source: ThrottleSource) -> None:
    """A driver may be loaded after the daemon."""
    assert read(source) is None
    add_policy(tmp_path)
    assert read(source) is None
    clock.advance(LAYOUT_S)
    assert read(source) == Throttle((), clock_share=1.0)
