"""What Prometheus reads of a whole daemon; and that the dashboard and the alert rules ask for nothing else."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schedulerd.config import BoardConfig
from schedulerd.demo.digits import held_out
from schedulerd_client import BadTensor, Client, NameTaken
from tests.control.whole_board import whole_board
from tests.integration.daemons import CONFIG, PATIENCE_S, Daemon, until

DOCS = Path(__file__).resolve().parents[2] / "docs"
MODEL = "digits-residual"
NOT_OURS = {"up", "instance"}
OF_OTHER_BOARDS = {
    "nv_gpu_memory_used_bytes",  # the played GPU computes in the board's memory
    "nv_gpu_memory_total_bytes",
}
"""What the played board does not have; tests/metrics has it."""

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


class Scraped:
    """A daemon with an endpoint, and what it told last."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        listening = until("the address in the log", lambda: re.search(r'"address": "([\d.]+):(\d+)"', daemon.logged()))
        self.address = listening[1], int(listening[2])
        self.body = ""
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def scrape(self) -> None:
        connection = HTTPConnection(*self.address, timeout=10.0)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        self.body = response.read().decode()
        connection.close()
        assert response.status == 200
        families = text_string_to_metric_families(self.body)  # type: ignore[no-untyped-call]
        self.samples = {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}

    def value(self, name: str, /, **labels: str) -> float | None:
        """Of one series at a scrape of now."""
        self.scrape()
        return self.samples.get((name, frozenset(labels.items())))

    def names(self) -> set[str]:
        """At the last scrape."""
        return {name for name, _ in self.samples}


def config_of(board: BoardConfig, more: str = "") -> str:
    folders = f'proc = "{board.proc}"\nsys = "{board.sys}"\ncgroup = "{board.cgroup}"\n'
    return f"{CONFIG}{more}[limits]\npower_w = 50.0\n[metrics]\nlisten = 0\n[board]\n{folders}"


@pytest.fixture
def scraped(make_daemon: Callable[..., Daemon], store: Path, tmp_path: Path) -> Scraped:
    """On a played board that has zones, a throttle, rails, a battery and a GPU."""
    (tmp_path / "board").mkdir()
    daemon = make_daemon(store, config=config_of(whole_board(tmp_path / "board", None)))
    daemon.start()
    return Scraped(daemon)


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of the dashboard and of the alert rules, by where it stands."""
    for panel in json.loads((DOCS / "grafana-dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    rules = (DOCS / "alerts.yml").read_text()
    yield from re.findall(r"- alert: (\w+)\n +expr: (.+)\n", rules)
    assert rules.count("- alert:") == len(re.findall(r"expr: ", rules))


def asked_for(expression: str) -> set[str]:
    """The metrics that an expression names: words outside of strings, labels and ranges that are no function."""
    bare = re.sub(
        r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|ignoring|group_left|group_right)\s*\([^)]*\)', " ", expression
    )
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    return {word for word in words if "_" in word or word in NOT_OURS} - NOT_OURS - {"group_left", "group_right"}


def test_the_metrics_of_an_expression_are_found() -> None:
    expression = 'sum by (app, le) (rate(a_b_bucket{app=~"$x"}[5m])) / on() group_left() c_d > 0 and up{job="x"} == 0'
    assert asked_for(expression) == {"a_b_bucket", "c_d"}


def test_dashboard_and_alerts_name_only_what_is_there(scraped: Scraped, tmp_path: Path) -> None:
    with Client(scraped.daemon.runtime) as client, Client(scraped.daemon.runtime) as other:
        client.register(MODEL, budget_ms=5000, rate_hz=1, app="cam")
        client.infer(held_out().images[0])
        with pytest.raises(NameTaken):
            other.register(MODEL, budget_ms=5000, rate_hz=1, app="cam")
        asked = {where: asked_for(expression) - OF_OTHER_BOARDS for where, expression in expressions()}
        absent, pause = asked, threading.Event()
        for _ in range(200):
            let_processors_work(tmp_path / "board" / "proc" / "stat")
            scraped.scrape()
            absent = {where: names for where, of in asked.items() if (names := of - scraped.names())}
            if not absent:
                break
            pause.wait(0.05)
    assert len(asked) > 25
    assert absent == {}


def let_processors_work(stat: Path) -> None:
    """A second or so of every kind of work since the last time, on the played board."""
    first, rest = stat.read_text().split("\n", 1)
    label, *counts = first.split()
    newer = stat.with_suffix(".newer")
    newer.write_text(" ".join((label, *(str(int(count) + 100) for count in counts))) + "\n" + rest)
    newer.replace(stat)


def test_requests_misses_and_refusals_are_counted_and_an_app_that_leaves_is_gone(scraped: Scraped) -> None:
    image = held_out().images[0]
    with Client(scraped.daemon.runtime) as client, scraped.daemon.control() as control:
        client.register(MODEL, budget_ms=5000, rate_hz=1, app="cam")
        for _ in range(3):
            client.infer(image)
        control.set_budget("cam", 0.001)
        client.infer(image)
        with pytest.raises(BadTensor):
            client.infer(np.zeros((1, 2, 3), np.float32))
        until("the app", lambda: scraped.value("schedulerd_app_requests_total", app="cam") == 4)
        assert scraped.value("schedulerd_app_latency_seconds_count", app="cam") == 4
        assert scraped.value("schedulerd_app_latency_seconds_bucket", app="cam", le="+Inf") == 4
        assert scraped.value("schedulerd_app_misses_total", app="cam") == 1
        assert scraped.value("schedulerd_app_refusals_total", app="cam", code="bad_tensor") == 1
        assert scraped.value("schedulerd_app_refusals_total", app="cam", code="overloaded") == 0
        assert scraped.value("schedulerd_app_budget_seconds", app="cam") == pytest.approx(1e-6)
        assert scraped.value("schedulerd_plan_exceeded_limits") == 1
        assert scraped.value("schedulerd_app_info", app="cam", model=MODEL, late="run") == 1
        status = control.status()
        assert scraped.value("schedulerd_requests_total") == status["requests"]
        assert scraped.value("schedulerd_resident_bytes") == pytest.approx(control.status()["resident_bytes"])
    until("the app's end", lambda: scraped.value("schedulerd_app_requests_total", app="cam") is None)
    assert not any(dict(labels).get("app") for _, labels in scraped.samples)
    assert scraped.value("schedulerd_requests_total") == 4


def test_an_endpoint_serves_while_others_misuse_it_and_a_stop_does_not_wait_for_them(scraped: Scraped) -> None:
    silent = [socket.create_connection(scraped.address, PATIENCE_S) for _ in range(4)]
    for connection in silent:
        connection.sendall(b"GET /met")
    assert scraped.value("schedulerd_apps") == 0
    assert scraped.daemon.stop() == 0
    for connection in silent:
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(scraped.address, PATIENCE_S)


def test_a_port_that_is_taken_is_told_before_anything_is_measured(
    make_daemon: Callable[..., Daemon], store: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = make_daemon(store, config=f'{CONFIG}[metrics]\nlisten = "{address}"\n')
        assert daemon.spawn().wait(PATIENCE_S) == 1
    assert f"schedulerd: [metrics] listen: cannot listen on {address}" in daemon.logged()
    assert "measur" not in daemon.logged()


def test_without_a_place_to_listen_the_library_is_not_even_imported() -> None:
    code = "import sys, schedulerd.daemon; sys.exit('prometheus_client' in sys.modules or 'http.server' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE_S, check=False).returncode == 0


@needs_promtool
def test_promtool_accepts_the_rules_and_the_dashboards_queries(tmp_path: Path) -> None:
    promtool("check", "rules", "--lint-fatal", str(DOCS / "alerts.yml"))
    promtool("test", "rules", str(Path(__file__).resolve().parents[1] / "metrics" / "alerts_test.yml"))
    queries = [
        {"record": f"q:{number}", "expr": re.sub(r"\$__\w+", "5m", expression)}
        for number, (_, expression) in enumerate(expressions())
    ]
    as_rules = tmp_path / "queries.yml"
    as_rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": queries}]}))
    promtool("check", "rules", str(as_rules))


@needs_promtool
def test_promtool_accepts_what_is_told(scraped: Scraped) -> None:
    with Client(scraped.daemon.runtime) as client:
        client.register(MODEL, budget_ms=5000, rate_hz=1, app="cam")
        client.infer(held_out().images[0])
        until("the app", lambda: scraped.value("schedulerd_app_requests_total", app="cam"))
    promtool("check", "metrics", told=scraped.body)


def promtool(*arguments: str, told: str = "") -> None:
    checked = subprocess.run(
        ["promtool", *arguments], input=told, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
