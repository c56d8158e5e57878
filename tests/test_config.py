"""Configuration: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

import math
import os
import pwd
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.config import (
    SECTIONS,
    BoardConfig,
    Config,
    EngineConfig,
    ServiceManager,
    load,
    parse,
    service_manager,
    settings,
)
from schedulerd.config_remote import RemoteConfig
from schedulerd.errors import ConfigError
from schedulerd.typed import parse_duration_ms, parse_rate_hz, parse_size

FULL = """
[paths]
state = "/srv/state"
runtime = "/srv/run"
[engine]
name = "onnxruntime"
also = ["torch"]
device = "cuda:1"
lanes = 2
threads_per_lane = 3
merge = false
preempt = false
[limits]
memory = "80MB"
memory_share = 0.25
memory_reserve = "32MiB"
memory_floor = "8MB"
utilisation = 1
power_w = 6.5
battery_power_w = 2.5
heat_margin_c = "off"
queue_length = 8
[solver]
name = "cbc"
time_limit_s = 0.25
objective = "min-latency"
record = "4MB"
[control]
tick_s = 0.1
decide_within_s = 0.25
min_dwell_s = 0
min_gain = 0.01
remember = false
prefetch = false
[board]
proc = "/srv/board/proc"
sys = "/srv/board/sys"
cgroup = "/srv/board/cgroup"
peer = "10.0.0.2:5201"
[profile]
seconds = 3
background = false
silence_s = 5
[log]
level = "debug"
format = "json"
burst = 5
lines_per_s = 0.5
[metrics]
listen = "[::]:9477"
[access]
control_users = ["root", 4242]
[remote]
listen = "0.0.0.0:9478"
secret_key = "/srv/keys/remote.secret"
operators = "/srv/keys/operators"
control = ["anna"]
[models]
aliases = { gate = "digits-residual" }
budgets = { gate = "25ms", digits-plain = "0.5s" }
budget = "40ms"
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "board.toml")
    return str(caught.value)


def test_every_key_reaches_its_field() -> None:
    config = parse(FULL, "board.toml")
    assert config.paths.store == Path("/srv/state/store"), "the store follows its state directory"
    assert config.paths.runtime == Path("/srv/run")
    assert (config.engine.name, config.engine.also) == ("onnxruntime", ("torch",))
    assert (config.engine.lanes, config.engine.threads_per_lane, config.engine.merge) == (2, 3, False)
    assert config.engine.device == "cuda:1"
    assert not config.engine.preempt
    assert (config.limits.memory_bytes, config.limits.memory_reserve_bytes) == (80_000_000, 32 * 2**20)
    assert (config.limits.memory_share, config.limits.utilisation) == (0.25, 1.0)
    assert (config.limits.power_w, config.limits.battery_power_w) == (6.5, 2.5)
    assert (config.limits.memory_floor_bytes, config.limits.heat_margin_c) == (8_000_000, None)
    assert config.limits.queue_length == 8
    assert (config.solver.name, config.solver.time_limit_s) == ("cbc", 0.25)
    assert config.solver.objective == "min-latency"
    assert config.solver.record_bytes == 4_000_000
    assert (config.control.tick_s, config.control.min_dwell_s, config.control.min_gain) == (0.1, 0, 0.01)
    assert (config.control.decide_within_s, config.control.prefetch) == (0.25, False)
    assert not config.control.remember
    assert config.board == BoardConfig(
        Path("/srv/board/proc"), Path("/srv/board/sys"), Path("/srv/board/cgroup"), "10.0.0.2:5201"
    )
    assert (config.profile.seconds, config.profile.background, config.profile.silence_s) == (3, False, 5)
    assert (config.log.level, config.log.format) == ("debug", "json")
    assert (config.log.burst, config.log.lines_per_s) == (5, 0.5)
    assert config.metrics.listen == "[::]:9477"
    assert config.access.control_uids == {0, 4242, os.geteuid()}
    assert config.remote == RemoteConfig(
        "0.0.0.0:9478", Path("/srv/keys/remote.secret"), Path("/srv/keys/operators"), frozenset({"anna"})
    )
    assert config.models.aliases == {"gate": "digits-residual"}
    assert config.models.budgets_ms == {"gate": 25.0, "digits-plain": 500.0}
    assert config.models.budget_ms == 40.0


def test_the_full_example_names_every_key_but_one() -> None:
    """Guards the test above against settings that it forgets."""
    missing = {s.key for s in settings()} - {line.split(" =")[0] for line in FULL.splitlines()}
    assert missing == {"store"}


def test_an_empty_file_is_the_default() -> None:
    assert parse("", "board.toml") == Config()


def test_memory_is_auto_unless_it_is_given() -> None:
    assert Config().limits.memory_bytes is None
    assert parse('[limits]\nmemory = "auto"', "board.toml").limits.memory_bytes is None


def test_the_profile_chooses_lanes_only_where_it_is_to() -> None:
    assert Config().engine.lanes == 1
    assert parse('[engine]\nlanes = "auto"', "board.toml").engine.lanes is None


def test_decisions_are_recorded_only_where_a_size_is_given() -> None:
    assert Config().solver.record_bytes is None
    assert parse('[solver]\nrecord = "off"', "board.toml").solver.record_bytes is None


@pytest.mark.parametrize("address", ["10.0.0.2:5201", "edge.local:1", "[fe80::2%eth0]:65535"])
def test_a_peer_is_probed_only_where_one_is_named(address: str) -> None:
    assert Config().board.peer is None
    assert parse('[board]\npeer = "off"', "board.toml").board.peer is None
    assert parse(f'[board]\npeer = "{address}"', "board.toml").board.peer == address


@pytest.mark.parametrize(
    ("written", "listen"),
    [
        ('"off"', None),
        ("9477", "127.0.0.1:9477"),
        ("0", "127.0.0.1:0"),
        ('"localhost:9477"', "127.0.0.1:9477"),
        ('"0.0.0.0:9477"', "0.0.0.0:9477"),
        ('"[::1]:0"', "[::1]:0"),
    ],
)
def test_metrics_are_served_only_where_it_is_said_and_a_port_alone_is_this_machines(
    written: str, listen: str | None
) -> None:
    assert Config().metrics.listen is None
    assert parse(f"[metrics]\nlisten = {written}", "board.toml").metrics.listen == listen


def test_a_store_may_be_placed_apart_from_its_state() -> None:
    config = parse('[paths]\nstate = "/srv/state"\nstore = "/ssd/store"', "board.toml")
    assert config.paths.store == Path("/ssd/store")


def test_home_is_expanded_in_paths() -> None:
    assert parse('[paths]\nstate = "~/state"', "board.toml").paths.state == Path.home() / "state"


def test_an_unknown_key_is_refused_with_the_nearest_one_and_all_of_them() -> None:
    message = refusal("[limits]\nutilization = 0.5")
    assert message.startswith("board.toml: [limits] has no key 'utilization'; did you mean \"utilisation\"?")
    known = "memory, memory_share, memory_reserve, memory_floor, utilisation, power_w, battery_power_w, heat_margin_c"
    assert f"{known}, queue_length" in message


def test_an_unknown_section_is_refused_with_the_nearest_one() -> None:
    message = refusal("[engines]\nlanes = 1")
    assert 'unknown section [engines]; did you mean "engine"?' in message
    assert "paths, engine, limits" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine]\nlanes = 0", "[engine] lanes: 0 is out of range: it takes a whole number from 1 to 64"),
        ("[engine]\nlanes = 2.0", "2.0 is not a whole number from 1 to 64"),
        ('[engine]\nlanes = "many"', "'many' is not a whole number from 1 to 64, or \"auto\""),
        ('[engine]\nthreads_per_lane = ""', "'' is not a whole number from 0 to 256"),
        ('[engine]\ndevice = "gpu"', '[engine] device: \'gpu\' is not "cpu", "cuda", or one GPU of several'),
        ('[engine]\ndevice = "cuda:x"', "'cuda:x' is not"),
        ("[engine]\ndevice = 0", "0 is not"),
        ("[engine]\nlanes = true", "True is not a whole number"),
        ('[engine]\nname = "onnx"', 'is not one of "onnxruntime", "torch"'),
        ('[engine]\nalso = "torch"', "[engine] also: 'torch' is not a list of \"torch\""),
        ('[engine]\nalso = ["troch"]', 'did you mean "torch"?'),
        ("[engine]\nmerge = 1", "[engine] merge: 1 is not true or false"),
        ("[limits]\nutilisation = 1.5", "1.5 is out of range: it takes a number from 0.05 to 1"),
        ("[limits]\nutilisation = nan", "nan is out of range"),
        ("[limits]\npower_w = 0", '0 is out of range: it takes a number from 0.01 to 1000, or "off"'),
        ('[limits]\npower_w = "of"', "'of' is not a number from 0.01 to 1000, or \"off\""),
        ("[control]\ntick_s = inf", "inf is out of range"),
        ("[control]\ntick_s = true", "True is not a number from 0.02 to 10"),
        ("[limits]\nmemory = 80", '80 is not a size such as "80MB"'),
        ('[limits]\nmemory = "80"', "needs one of the units B, KB, MB"),
        ('[limits]\nmemory_reserve = "auto"', "'auto' is not a number with a unit"),
        ('[solver]\nobjective = "max-latency"', 'did you mean "min-latency"?'),
        ('[solver]\nrecord = "auto"', "'auto' is not a number with a unit"),
        ("[solver]\nrecord = true", 'True is not a size such as "80MB" or "64MiB", or "off"'),
        ('[board]\nsys = "sys"', "[board] sys: 'sys' is not an absolute path"),
        ('[board]\npeer = "edge"', "[board] peer: 'edge' is not host:port, such as"),
        ('[board]\npeer = "edge:65536"', "'edge:65536' is not host:port"),
        ('[board]\npeer = "edge:0"', "'edge:0' is not host:port"),
        ('[board]\npeer = "fe80::2:5201"', "'fe80::2:5201' is not host:port"),
        ("[board]\npeer = 5201", "5201 is not host:port"),
        ('[paths]\nstate = "state"', "'state' is not an absolute path"),
        ('[paths]\nstate = ""', "'' is not an absolute path"),
        ('[paths]\nstate = "/a\\u0000b"', "is not an absolute path"),
        ('[paths]\nstate = "~no-such-user-here/state"', "[paths] state"),
        ('[log]\nlevel = "warn"', 'did you mean "warning"?'),
        ("[metrics]\nlisten = 65536", "[metrics] listen: 65536 is not a port, which only this machine reaches"),
        ("[metrics]\nlisten = -1", "-1 is not a port"),
        ("[metrics]\nlisten = true", "True is not a port"),
        ("[metrics]\nlisten = 1.5", "1.5 is not a port"),
        ('[metrics]\nlisten = "9477"', "'9477' is not a port"),
        ('[metrics]\nlisten = ":9477"', "':9477' is not a port"),
        ('[metrics]\nlisten = "10.0.0.300:9477"', "'10.0.0.300:9477' is not a port"),
        ('[metrics]\nlisten = "board.local:9477"', "'board.local:9477' is not a port"),
        ('[metrics]\nlisten = "of"', "'of' is not a port"),
        ('[access]\ncontrol_users = "root"', "'root' is not a list of user names"),
        ('[access]\ncontrol_users = ["no-such-user-here"]', "there is no user 'no-such-user-here'"),
        ("[access]\ncontrol_users = [-1]", "-1 is neither a user name nor a user id"),
        ("[access]\ncontrol_users = [true]", "True is neither a user name nor a user id"),
        ('[models]\naliases = "gate"', "[models] aliases: 'gate' is not a table such as"),
        ("[models.aliases]\ngate = 3", "gate: 3 is not a name of 1 to 128 printable characters"),
        ('[models.aliases]\ngate = ""', "gate: '' is not a name"),
        ("[models.budgets]\ngate = 25", "[models] budgets: gate: 25 is not a duration such as"),
        (
            '[models]\nbudget = "0.5us"',
            "'0.5us' is out of range: it takes a duration such as \"25ms\", 0.001 to 60000 ms",
        ),
        ("limits = 3", "write [limits] on a line of its own"),
        ("[[limits]]\nmemory = 3", "write [limits] on a line of its own"),
        ("[limits\n", "is not TOML"),
        ("[limits]\nqueue_length = 1\nqueue_length = 2", "is not TOML"),
        (f"[engine]\nlanes = {'9' * 5000}", "is not TOML"),
        (f"a = {'[' * 5000}", "is not TOML"),
    ],
)
def test_a_wrong_value_is_refused_with_file_key_and_limit(text: str, said: str) -> None:
    message = refusal(text)
    assert message.startswith("board.toml: ")
    assert said in message


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "absent.toml")


def test_a_file_that_nobody_named_need_not_exist(tmp_path: Path) -> None:
    assert load(None, tmp_path / "absent.toml") == Config()


def test_the_system_file_is_read_when_no_other_is_named(tmp_path: Path) -> None:
    (tmp_path / "system.toml").write_text("[engine]\nlanes = 4")
    assert load(None, tmp_path / "system.toml").engine.lanes == 4


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(b"[engine]\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        load(path)


def test_the_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().engine.lanes = 2  # type: ignore[misc]  # the point of the test


def test_root_and_the_daemons_own_user_always_control() -> None:
    assert Config().access.control_uids == {0, os.geteuid()}
    own = pwd.getpwuid(os.geteuid()).pw_name
    assert parse(f'[access]\ncontrol_users = ["{own}"]', "board.toml") == Config()


@pytest.mark.parametrize(
    ("lanes", "threads_per_lane", "cores", "threads"),
    [
        (1, 0, 1, 1),
        (1, 0, 2, 1),
        (1, 0, 4, 3),
        (2, 0, 8, 3),
        (4, 0, 2, 1),
        (1, 4, 2, 4),
        (None, 0, 4, 4),
        (None, 2, 4, 2),
    ],
)
def test_threads_leave_a_core_free_unless_they_are_given_or_chosen(
    lanes: int | None, threads_per_lane: int, cores: int, threads: int
) -> None:
    assert EngineConfig(lanes=lanes, threads_per_lane=threads_per_lane).threads(cores) == threads


def test_every_setting_has_help_and_a_default() -> None:
    listed = list(settings())
    assert len(listed) == sum(len(fields(c)) for c in SECTIONS.values())
    assert all(s.help.endswith(".") and s.default.startswith("`") for s in listed)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("80MB", 80_000_000), ("80 MB", 80_000_000), ("1.5gib", 3 * 2**29), ("1B", 1), ("64KiB", 65536)],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert parse_size(text) == bytes_


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("25ms", 25.0), (" 0.5 s ", 500.0), ("1500us", 1.5), ("1e3ms", 1000.0)]
)
def test_durations(text: str, milliseconds: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(milliseconds)


@pytest.mark.parametrize(("text", "rate_hz"), [("15Hz", 15.0), ("0.5 hz", 0.5), ("1kHz", 1000.0)])
def test_rates(text: str, rate_hz: float) -> None:
    assert parse_rate_hz(text) == pytest.approx(rate_hz)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("25", "needs one of the units us, ms, s"),
        ("25 m", "needs one of the units us, ms, s"),
        ("0ms", "must be finite and above 0"),
        ("-5ms", "must be finite and above 0"),
        ("nanms", "must be finite and above 0"),
        ("infms", "must be finite and above 0"),
        ("1e308s", "must be finite and above 0"),
        ("1e-400ms", "must be finite and above 0"),
        ("", "is not a number with a unit"),
        ("soon", "is not a number with a unit"),
        ("25ms please", "is not a number with a unit"),
    ],
)
def test_a_wrong_duration_is_refused_with_the_remedy(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration_ms(text)
    assert said in str(caught.value)
    assert "write for example 25ms" in str(caught.value)


@given(st.text(max_size=20))
def test_no_text_makes_a_duration_that_is_not_positive(text: str) -> None:
    try:
        duration_ms = parse_duration_ms(text)
    except ConfigError:
        return
    assert 0 < duration_ms < math.inf


def test_systemds_directories_are_the_defaults_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one")
    paths = Config().paths
    assert (paths.state, paths.store) == (Path("/var/lib/one"), Path("/var/lib/one/store"))
    assert paths.runtime == Path("/run/one")


@pytest.mark.parametrize(
    ("environment", "notify_socket", "watchdog_s"),
    [
        ({}, None, None),
        ({"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "10000000"}, "/run/systemd/notify", 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, None, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None, None),
        ({"WATCHDOG_USEC": "0"}, None, None),
        ({"WATCHDOG_USEC": "soon", "NOTIFY_SOCKET": ""}, None, None),
    ],
    ids=["nobody", "systemd", "our-watchdog", "anothers-watchdog", "no-watchdog", "garbage"],
)
def test_what_the_service_manager_said(
    environment: dict[str, str],
    notify_socket: str | None,
    watchdog_s: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert service_manager() == ServiceManager(notify_socket, watchdog_s)


def test_which_stream_is_the_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "9:12345")
    assert service_manager().journal_stream == "9:12345"
    monkeypatch.setenv("JOURNAL_STREAM", "")
    assert service_manager().journal_stream is None
