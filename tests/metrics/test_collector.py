"""What a scrape reads: every family where there is something to tell, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from schedulerd.control.readings import Battery, Gpu, PeerPath, Pressure, Rail, Stall, Throttle, Trip, Zone
from schedulerd.control.snapshot import Unread
from schedulerd.metrics.collector import Exposition, plain
from schedulerd.metrics.families import FAMILIES
from schedulerd.metrics.viewer import FRESH_S
from schedulerd.serving.events import Left
from schedulerd.wire.messages import Code
from tests.control.stage import MB, Stage
from tests.metrics.parts import OPENMETRICS, Played, names, samples_of, value, viewer_of

GPU = Gpu("NVIDIA T1000", 0.65, 8_000_000_000, 3 * 2**30, 1.41e9, 41.0, 67.03, "GPU-11")
EVERYTHING = {
    "memory_available_bytes": 500 * MB,
    "cpu_busy": 0.5,
    "cpu_own": 0.25,
    "pressure": Pressure(cpu=Stall(0.5), memory=Stall(0.25, 0.125)),
    "zones": (Zone("cpu-thermal", 61.25, (Trip("passive", 90.0), Trip("passive", 99.0), Trip("hot", 105.0))),),
    "throttle": Throttle(("heat",), 0.75),
    "gpus": (GPU, Gpu("ga10b", busy=0.5)),
    "power_w": 6.5,
    "rails": (Rail("VDD_IN", 6.5),),
    "peer": PeerPath("10.0.0.2:5201", round_trip_ms=1.5),
    "battery": Battery(0.8, discharging=True),
}

MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage() -> Iterator[MakeStage]:
    """Stages on a board with these readings."""
    made: list[Stage] = []

    def make(**readings: object) -> Stage:
        made.append(Stage(sources=[Played(**readings)] if readings else ()))
        return made[-1]

    yield make
    for stage in made:
        stage.switcher.close()


def test_every_family_is_there_on_a_board_that_has_everything(make_stage: MakeStage) -> None:
    stage = make_stage(**EVERYTHING)
    app = stage.join("cam")
    stage.frame(app, 20.0)
    told = names(samples_of(viewer_of(stage, {Code.NAME_TAKEN: 1}).view))
    expected = {f"{f.name}_bucket" if f.kind == "histogram" else f.name for f in FAMILIES}
    elsewhere = {
        "schedulerd_app_predicted_energy_joules",  # the stage's profile has no energy
        "schedulerd_power_limit_watts",  # nor is power limited
        "schedulerd_dropped_total",  # nor has it sockets
        "schedulerd_unread",  # and nothing fails
    }
    assert expected - told == elsewhere


def test_what_cannot_be_read_is_absent_and_not_zero(make_stage: MakeStage) -> None:
    told = names(samples_of(viewer_of(make_stage()).view))
    absent = {f.name for f in FAMILIES if f.name.startswith(("nv_gpu", "schedulerd_zone", "schedulerd_throttled"))}
    absent |= {"schedulerd_memory_available_bytes", "schedulerd_cpu_busy_ratio", "schedulerd_clock_ratio"}
    absent |= {"schedulerd_pressure_ratio", "schedulerd_board_power_watts", "schedulerd_plan_accuracy_ratio"}
    assert not absent & told
    assert "schedulerd_apps" in told


def test_an_app_without_requests_has_no_measured_latency(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.join("cam")
    told = samples_of(viewer_of(stage).view)
    assert value(told, "schedulerd_app_requests_total", app="cam") == 0
    assert value(told, "schedulerd_app_measured_latency_p95_seconds", app="cam") is None
    assert value(told, "schedulerd_app_predicted_energy_joules", app="cam") is None


def test_what_requests_did_is_counted_in_seconds(make_stage: MakeStage) -> None:
    stage = make_stage()
    app = stage.join("cam", budget_ms=50.0)
    for run_ms in (2.0, 20.0, 60.0):
        stage.frame(app, run_ms)
    told = samples_of(viewer_of(stage).view)
    assert value(told, "schedulerd_app_requests_total", app="cam") == 3
    assert value(told, "schedulerd_app_misses_total", app="cam") == 1
    assert value(told, "schedulerd_app_budget_seconds", app="cam") == 0.05
    assert value(told, "schedulerd_app_run_seconds_total", app="cam") == 0.082
    assert value(told, "schedulerd_app_latency_seconds_sum", app="cam") == 0.082
    assert value(told, "schedulerd_app_latency_seconds_count", app="cam") == 3
    assert value(told, "schedulerd_app_latency_seconds_bucket", app="cam", le="0.001") == 0
    assert value(told, "schedulerd_app_latency_seconds_bucket", app="cam", le="0.002") == 1
    assert value(told, "schedulerd_app_latency_seconds_bucket", app="cam", le="0.05") == 2
    assert value(told, "schedulerd_app_latency_seconds_bucket", app="cam", le="+Inf") == 3
    assert value(told, "schedulerd_app_measured_latency_p50_seconds", app="cam") == 0.02


def test_refusals_are_by_known_codes_and_the_usual_ones_are_told_from_zero_on(make_stage: MakeStage) -> None:
    stage = make_stage()
    app = stage.join("cam")
    for code in (Code.BAD_TENSOR, Code.OVERLOADED, Code.OVERLOADED, "anything"):
        app.meter.refuse(code)
    told = samples_of(viewer_of(stage, {Code.NAME_TAKEN: 3, "anything": 1}).view)
    codes = {dict(labels)["code"]: n for (name, labels), n in told.items() if name == "schedulerd_app_refusals_total"}
    assert codes == {
        "bad_tensor": 1,
        "overloaded": 2,
        "deadline_passed": 0,
        "store_fault": 0,
        "engine_fault": 0,
        "internal": 0,
    }
    others = {
        dict(labels)["code"]: n for (name, labels), n in told.items() if name == "schedulerd_other_refusals_total"
    }
    assert others == {"name_taken": 3}


def test_the_series_of_an_app_end_when_it_leaves_and_the_sums_go_on(make_stage: MakeStage) -> None:
    stage = make_stage()
    app, viewer = stage.join("cam"), viewer_of(stage)
    stage.frames(app, 20.0, count=2)
    assert value(samples_of(viewer.view), "schedulerd_app_requests_total", app="cam") == 2
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "gone")])
    stage.clock.advance(FRESH_S)
    told = samples_of(viewer.view)
    assert not any(dict(labels).get("app") for _, labels in told)
    assert value(told, "schedulerd_requests_total") == 2


def test_decisions_are_counted_with_their_time(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.join("cam")
    stage.join("door")
    told = samples_of(viewer_of(stage).view)
    assert value(told, "schedulerd_decision_seconds_count") == stage.loop.decisions == 2
    assert value(told, "schedulerd_apply_seconds_count") == 2
    assert value(told, "schedulerd_plan_gap_ratio") == 0
    assert value(told, "schedulerd_plan_info", objective="max-accuracy", status="optimal") == 1
    assert value(told, "schedulerd_plan_exceeded_limits") == 0


def test_a_budget_that_cannot_be_kept_shows(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.join("cam", budget_ms=1.0)
    told = samples_of(viewer_of(stage).view)
    assert value(told, "schedulerd_plan_exceeded_limits") == 1
    excess_s = value(told, "schedulerd_app_predicted_excess_seconds", app="cam")
    assert excess_s is not None
    assert excess_s > 0


def test_readings_of_the_board_are_in_base_units(make_stage: MakeStage) -> None:
    told = samples_of(viewer_of(make_stage(**EVERYTHING)).view)
    assert value(told, "schedulerd_pressure_ratio", resource="memory", tasks="full") == 0.125
    assert value(told, "schedulerd_pressure_ratio", resource="cpu", tasks="full") is None
    assert value(told, "schedulerd_pressure_ratio", resource="io", tasks="some") is None
    assert value(told, "schedulerd_zone_celsius", zone="cpu-thermal") == 61.25
    assert value(told, "schedulerd_zone_trip_celsius", zone="cpu-thermal", kind="passive") == 90.0
    assert value(told, "schedulerd_throttled", cause="heat") == 1
    assert value(told, "schedulerd_throttled", cause="voltage") == 0
    assert value(told, "schedulerd_clock_ratio") == 0.75
    assert value(told, "schedulerd_peer_round_trip_seconds") == 0.0015
    assert value(told, "schedulerd_battery_ratio") == 0.8


def test_a_gpu_has_tritons_names_and_one_without_an_id_its_number(make_stage: MakeStage) -> None:
    told = samples_of(viewer_of(make_stage(**EVERYTHING)).view)
    assert value(told, "nv_gpu_utilization", gpu_uuid="GPU-11") == 0.65
    assert value(told, "nv_gpu_utilization", gpu_uuid="1") == 0.5
    assert value(told, "nv_gpu_memory_used_bytes", gpu_uuid="GPU-11") == 3 * 2**30
    assert value(told, "nv_gpu_memory_used_bytes", gpu_uuid="1") is None
    assert value(told, "nv_gpu_power_usage", gpu_uuid="GPU-11") == 67.03
    assert value(told, "schedulerd_gpu_info", gpu_uuid="1", name="ga10b") == 1


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_eight_gigabytes_are_written_with_all_their_digits(make_stage: MakeStage, accept: str) -> None:
    _, body = Exposition(viewer_of(make_stage(**EVERYTHING)).view).text(accept)
    assert b'nv_gpu_memory_total_bytes{gpu_uuid="GPU-11"} 8000000000\n' in body
    assert b"e+" not in body


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a 8e+09\n", b"a 8000000000\n"),
        (b"a 1.2345675e+06\n", b"a 1234567.5\n"),
        (b"a 5e-05\n", b"a 0.00005\n"),
        (b"a -1e+07\n", b"a -10000000\n"),
        (b"a 12.5\nb +Inf\nc NaN\n", b"a 12.5\nb +Inf\nc NaN\n"),
        (b'a{app="is 8e+09"} 1.0\n', b'a{app="is 8e+09"} 1.0\n'),
    ],
)
def test_values_have_no_exponents_and_labels_are_left_alone(line: bytes, expected: bytes) -> None:
    assert plain(line) == expected


def test_a_name_of_any_characters_stays_one_label(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.join(awkward := 'a"b\\c\nd} 8e+09')
    assert value(samples_of(viewer_of(stage).view), "schedulerd_app_requests_total", app=awkward) == 0


def test_openmetrics_is_given_to_who_asks_for_it(make_stage: MakeStage) -> None:
    stage = make_stage(**EVERYTHING)
    stage.frame(stage.join("cam"), 20.0)
    assert names(samples_of(viewer_of(stage).view, OPENMETRICS)) >= {
        "schedulerd_app_requests_total",
        "schedulerd_app_latency_seconds_bucket",
        "process_resident_memory_bytes",
    }


def test_before_the_daemon_knows_anything_only_its_process_is_told() -> None:
    assert {name.split("_")[0] for name in names(samples_of(lambda: None))} == {"process"}


def test_a_source_that_fails_is_named(make_stage: MakeStage) -> None:
    class Failing(Played):
        def read(self) -> dict[str, object]:
            raise OSError("no such device")

    stage = Stage(sources=[Failing()])
    told = samples_of(viewer_of(stage).view)
    stage.switcher.close()
    assert value(told, "schedulerd_unread", source=Unread("played", "").source) == 1


def test_names_and_units_are_as_prometheus_has_them() -> None:
    for family in FAMILIES:
        assert family.help.endswith("."), family.name
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert not {"ms", "mb", "percent", "mj", "hz", "mhz"} & set(family.name.split("_")), family.name
        assert not {"le", "quantile"} & set(family.labels), family.name
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
