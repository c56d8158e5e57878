"""What the figures of the serving benchmark hang on: statistics, loads, helper processes; and that it runs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serving
from benchmarks.bare_packets import PIECE_BYTES, Packets
from benchmarks.bare_route import input_shape, original_chain
from benchmarks.harness import Target
from benchmarks.networks import add_network
from benchmarks.peers.litserve_client import HEADERS, form
from benchmarks.processes import ROOT, Helper
from benchmarks.serving_overhead import in_turns, overheads
from benchmarks.serving_peers import CLIENTS, Measured
from benchmarks.serving_peers import figures as peer_figures
from benchmarks.serving_preempt import CAMERAS, SIDES, UTILISATION, Seen
from benchmarks.serving_preempt import figures as preempt_figures
from benchmarks.serving_sides import KINDS
from benchmarks.serving_sides import serving as served
from benchmarks.serving_soak import MIB, Reading, growth
from benchmarks.serving_soak import figures as soak_figures
from benchmarks.serving_swaps import Streamed, worst_extra_ms
from benchmarks.serving_venvs import PeerMissing
from blockstore.store import Store
from schedulerd_client import Reply

DEADLINE_S = 60.0
REPLY = Reply(None, ("original",), 1.0, 1, 0.1, 1.0, 10.0, True, 2.0)


def test_every_figure_that_was_asked_for_is_there() -> None:
    networks = ("resnet20", "mobilenetv2")
    assert {
        *(f"overhead_{size}_over_bare{tail}" for size in ("32", "224", "vga") for tail in ("", "_p99")),
        *(f"{n}_{what}_c{c}" for n in networks for what in ("over_triton", "p99_over_triton") for c in (1, 4, 8)),
        *("preempt_misses", "nopreempt_misses", "swap_p99_ratio", "cold_swap_worst_ms"),
        *("soak_lost", "soak_rss_growth_mb"),
    } <= set(serving.FIGURES)
    assert len(serving.FIGURES) == len(set(serving.FIGURES))


# Overhead.


def test_sides_take_turns_in_an_order_that_alternates() -> None:
    called: list[str] = []
    samples = in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2, repeats=2)
    assert called == ["b"] * 3 + ["a"] * 6 + ["b"] * 3, "one call of each turn is a rehearsal"
    assert {name: len(times) for name, times in samples.items()} == {"a": 4, "b": 4}


def test_overhead_is_what_a_side_takes_beyond_the_median_of_the_route_alone() -> None:
    samples = {
        "in_process": [1.0, 1.0, 9.0],
        "bare": [1.4] * 3,
        "packets": [1.2] * 3,
        "ours": [1.3, 1.3, 1.8],
        "zmq": [1.6] * 3,
    }
    found = overheads("x_", samples, Target("<=", 1.0))
    values = {name: figure.value for name, figure in found.items()}
    assert values["x_over_bare"] == pytest.approx(0.75)
    assert values["x_over_bare_p99"] == pytest.approx(2.0)
    assert values["x_zmq_over_bare"] == pytest.approx(1.5)
    assert values["x_over_packets"] == pytest.approx(1.5)
    assert values["x_ms"] == pytest.approx(0.3)
    assert found["x_over_bare"].samples == samples


def test_a_floor_that_took_no_longer_than_the_route_alone_gives_no_ratio() -> None:
    samples = {"in_process": [1.0], "bare": [0.9], "packets": [1.2], "ours": [1.3], "zmq": [1.6]}
    figure = overheads("x_", samples, Target("<=", 1.0))["x_over_bare"]
    assert figure.value is None
    assert figure.reason is not None
    assert "-0.100 ms" in figure.reason


@pytest.mark.parametrize("size", [40, PIECE_BYTES, PIECE_BYTES + 1, 640 * 480 * 3])
def test_frames_of_any_size_go_over_packets_whole(size: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sent, into = np.random.default_rng(0).integers(0, 256, size, np.uint8), np.zeros(size, np.uint8)
    with ours, theirs:
        sender = threading.Thread(target=Packets(ours).send, args=(sent.data,))
        sender.start()
        assert Packets(theirs).receive_into(into.data)
        sender.join(DEADLINE_S)
    assert np.array_equal(sent, into)


def test_an_end_of_packets_is_told() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.close()
        assert not Packets(theirs).receive_into(memoryview(bytearray(4)))


def test_networks_of_any_form_run(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        model = add_network(store, "wide", 48, 64, stride=8, blocks=3)
    assert [b.output.shape for b in model.blocks] == [(16, 6, 8), (16, 6, 8), (10,)]
    assert input_shape(tmp_path, "wide") == (1, 48, 64, 3)
    assert original_chain(tmp_path, "wide").run(np.zeros((1, 48, 64, 3), np.uint8)).shape == (1, 10)


# Peers.


def table(**rates_hz: float) -> dict[tuple[str, int], Measured]:
    """One second of each kind at every number of clients, at so many requests a second."""
    return {
        (kind, c): Measured(1.0, [1e3 / rate_hz] * int(rate_hz)) for kind, rate_hz in rates_hz.items() for c in CLIENTS
    }


def all_kinds(rate_hz: float) -> dict[str, float]:
    """Every kind at one rate."""
    return dict.fromkeys((kind for kinds in KINDS.values() for kind in kinds), rate_hz)


def test_triton_is_compared_where_it_is_best() -> None:
    measured = table(**{**all_kinds(100.0), "ours": 300.0, "in_process": 400.0, "triton_grpc_x2": 200.0})
    # The quickest of Triton is not the steadiest.
    measured["triton_grpc_x2", 1].latencies_ms[:10] = [50.0] * 10
    found = peer_figures("net", measured, {})
    assert found["net_over_triton_c1"].value == pytest.approx(1.5)
    assert found["net_p99_over_triton_c1"].value == pytest.approx((1000 / 300) / 10)
    assert found["net_p99_over_triton_c4"].value == pytest.approx((1000 / 300) / 5)
    assert str(found["net_over_triton_c1"].target) == ">=1.15"
    assert str(found["net_over_triton_c8"].target) == ">=1.3"
    assert found["net_in_process_over_triton_c8"].value == pytest.approx(2.0)
    assert found["net_mlserver_c4_rps"].value == 100


def test_rounds_add_up_before_anything_is_divided() -> None:
    measured = Measured(2.0, [1.0] * 300 + [3.0] * 100)
    assert (measured.rate_hz, measured.at(0.5), measured.at(0.99)) == (200.0, 1.0, 3.0)


def test_a_peer_that_is_missing_has_its_reason_and_so_has_what_needs_it() -> None:
    measured = {key: value for key, value in table(**all_kinds(100.0)).items() if not key[0].startswith("triton")}
    found = peer_figures("net", measured, {"triton": "no stub"})
    missing = {name for name, figure in found.items() if figure.value is None}
    assert missing == {name for name in found if "triton" in name}
    assert {found[name].reason for name in missing} == {"no stub"}


def test_a_ratio_without_a_side_has_the_reason_of_that_side() -> None:
    measured = {key: value for key, value in table(**all_kinds(100.0)).items() if key[0] != "in_process"}
    found = peer_figures("net", measured, {"in_process": "cannot load"})
    assert found["net_in_process_over_triton_c1"].reason == "cannot load"
    assert found["net_over_triton_c1"].value == 1.0


def test_a_side_that_answered_nothing_says_what_its_clients_heard() -> None:
    measured = table(**all_kinds(100.0))
    measured["litserve", 4] = replace(measured["litserve", 4], latencies_ms=[], failed=3, error="500: oh")
    assert peer_figures("net", measured, {})["net_litserve_c4_rps"].reason == "500: oh"


def test_a_form_is_read_as_one_file() -> None:
    data = bytes(range(256))
    whole = message_from_bytes(f"Content-Type: {HEADERS['Content-Type']}\r\n\r\n".encode() + form(data))
    parts = whole.get_payload()
    assert isinstance(parts, list)
    (part,) = parts
    assert isinstance(part, type(whole))
    assert part.get_filename() == "frame"
    assert part.get_payload(decode=True) == data


def test_a_server_that_ends_at_once_is_a_missing_peer_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such library')"]
    with (
        pytest.raises(PeerMissing, match="no such library"),
        served("peer", command, {}, "http://127.0.0.1:1/", tmp_path),
    ):
        pass


# Processes.

CLIENT = """
import numpy as np
from benchmarks.peers.closed_loop import drive
calls = []
def call(model):
    calls.append(model)
    if model == "broken":
        raise OSError("gone")
    return np.array([len(calls)])
drive("first", call)
"""


def test_a_client_counts_what_lies_in_its_window() -> None:
    with Helper([sys.executable, "-c", CLIENT]) as client:
        assert client.hear(DEADLINE_S) == [1.0]
        # A window that is over: the client sends nothing for it.
        client.tell(f"go first {time.monotonic() - 2.0} 1.0")
        assert client.hear(DEADLINE_S) == {"latencies_ms": [], "failed": 0, "error": ""}
        # One that is warm-up alone: many calls, none of which counts.
        client.tell(f"go first {time.monotonic() + 0.2} 0.0")
        assert client.hear(DEADLINE_S)["latencies_ms"] == []
        client.tell(f"go first {time.monotonic()} 0.1")
        assert len(client.hear(DEADLINE_S)["latencies_ms"]) > 0


def test_a_client_gives_up_on_a_server_that_is_gone() -> None:
    with Helper([sys.executable, "-c", CLIENT]) as client:
        client.hear(DEADLINE_S)
        client.tell(f"go broken {time.monotonic()} 3600")
        assert client.hear(DEADLINE_S) == {"latencies_ms": [], "failed": 100, "error": "OSError: gone"}


def test_a_helper_that_says_nothing_is_ended() -> None:
    with Helper([sys.executable, "-c", "import time; time.sleep(3600)"]) as helper:
        with pytest.raises(RuntimeError, match="no answer within"):
            helper.hear(0.2)
        assert helper.process.wait(DEADLINE_S) != 0


# Preemption.


def test_three_cameras_fill_what_they_should() -> None:
    assert pytest.approx(0.85) == UTILISATION
    assert {camera.rate_hz for camera in CAMERAS.values()} == {30.0, 15.0, 5.0}


def test_frames_without_an_answer_are_late_too() -> None:
    seen = Seen([10.0, 30.0, 34.0], unanswered=1)
    assert (seen.frames, seen.late(100 / 3)) == (4, 2)


def test_misses_are_shares_of_all_frames_that_were_sent() -> None:
    rows = {name: [Seen([1.0] * 8, 0), Seen([1e4], 1)] for name in CAMERAS}
    rows["slow"] = [Seen([1.0] * 10, 0), Seen([], 0)]
    found = preempt_figures(dict.fromkeys(SIDES, rows))
    assert found["preempt_misses"].value == pytest.approx(100 * 4 / 30)
    assert found["nopreempt_misses_quick"].value == pytest.approx(20.0)
    assert found["nopreempt_misses_slow"].value == 0


# Swaps.


def test_a_request_is_late_beside_others_of_its_route() -> None:
    slow = [REPLY._replace(latency_ms=ms) for ms in (8.0, 8.0, 9.0)]
    quick = [REPLY._replace(route=("pruned",), latency_ms=ms) for ms in (4.0, 4.0, 4.0, 7.5)]
    assert worst_extra_ms(slow + quick) == pytest.approx(3.5)
    assert worst_extra_ms([]) == 0
    assert Streamed(slow + quick + slow, 0).changes == 2


# Soak.


def test_growth_is_from_after_the_warm_up_to_the_end_by_medians() -> None:
    rss = [0.0, 0.0, *(100.0, 100.0), *(120.0,) * 4, *(130.0, 130.0)]
    readings = [Reading(mib * MIB, 40.0, 9.0) for mib in rss]
    assert growth(readings) == Reading(30.0 * MIB, 0.0, 0.0)
    spike = [replace_rss(r, 900.0) if n == 5 else r for n, r in enumerate(readings)]
    assert growth(spike) == growth(readings)


def replace_rss(reading: Reading, mib: float) -> Reading:
    """The same with other memory."""
    return reading._replace(rss_bytes=mib * MIB)


def test_frames_that_were_lost_are_counted_apart_from_refused_ones() -> None:
    answers = [
        {"latencies_ms": [1.0] * 99, "refused": 2, "lost": 0, "error": "overloaded"},
        {"latencies_ms": [5.0], "refused": 0, "lost": 1, "error": "no answer within 10 s"},
    ]
    found = soak_figures(answers, [Reading(1.0, 2.0, 3.0)] * 2, visitors=7)
    assert (found["soak_lost"].value, found["soak_refused"].value, found["soak_frames"].value) == (1, 2, 101)
    assert found["soak_lost"].reason == "no answer within 10 s"
    assert found["soak_p99_ms"].value == 5.0


# All of it, for the part that is quickest.


def test_the_overhead_of_small_frames_is_measured(tmp_path: Path) -> None:
    """One figure from start to file: daemon, both bare loops and their ends."""
    written = tmp_path / "serving.json"
    command = [sys.executable, "-m", "benchmarks.serving", "--quick", "--json", str(written)]
    done = subprocess.run(
        [*command, "--only", "overhead_32_ms", "overhead_32_packets_ms"],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(written.read_text())["figures"]
    assert set(figures) == {"overhead_32_ms", "overhead_32_packets_ms"}
    assert all(figure["value"] is not None for figure in figures.values()), figures
