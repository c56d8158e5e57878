"""A running daemon is given another configuration: by signal, by `schedctl reload`, good and bad."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schedulerd_client import BadValue, Client
from tests.integration.daemons import CONFIG, Daemon, until


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager's socket, which the daemons of the test are told of."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def heard(notices: socket.socket, start: str) -> str:
    """The next notice that starts so."""
    for _ in range(100):
        text = notices.recv(4096).decode()
        if text.startswith(start):
            return text
    raise AssertionError(f"no notice {start!r}")


def schedctl(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "schedulerd.ctl", *arguments, "--runtime", str(daemon.runtime)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_signal_applies_what_can_be_and_the_manager_is_told(
    store: Path, make_daemon: Callable[..., Daemon], notices: socket.socket
) -> None:
    daemon = make_daemon(store)
    daemon.start()
    heard(notices, "READY=1")
    (daemon.drop_ins / "10.toml").write_text("[limits]\nutilisation = 0.5")
    daemon.signal(signal.SIGHUP)
    heard(notices, "RELOADING=1\nMONOTONIC_USEC=")
    assert heard(notices, "READY=1") == "READY=1\nSTATUS=configuration reloaded"
    with daemon.control() as control:
        assert control.status()["utilisation_limit"] == 0.5


def test_a_bad_file_leaves_everything_as_it_was_and_a_good_one_is_taken_then(
    store: Path, make_daemon: Callable[..., Daemon], notices: socket.socket
) -> None:
    daemon = make_daemon(store)
    daemon.start()
    heard(notices, "READY=1")
    with daemon.control() as control, control.events(["reload"], 10.0) as events, Client(daemon.runtime) as client:
        client.register("digits-residual", app="cam", budget_ms=1000, rate_hz=10)
        daemon.configure("[limits]\nutilisation = 7\nqueue_length = 0")
        daemon.signal(signal.SIGHUP)
        heard(notices, "RELOADING=1")
        assert "the new one is bad" in heard(notices, "READY=1")
        assert "utilisation: 7 is out of range" in next(events).body["error"]
        with pytest.raises(BadValue, match=r"utilisation: 7 is out of range.*and 1 more"):
            control.reload()
        assert control.status()["utilisation_limit"] == 0.8
        refused = schedctl(daemon, "reload")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "7 is out of range: it takes a number from 0.05 to 1" in refused.stderr
        daemon.configure(f"{CONFIG}[limits]\nutilisation = 0.6\n[engine]\nlanes = 2")
        done = schedctl(daemon, "reload")
        assert (done.returncode, done.stderr) == (4, "")
        assert done.stdout.splitlines()[:2] == [
            "applied        [limits] utilisation: 0.8 -> 0.6",
            "needs restart  [engine] lanes: 1 -> 2",
        ]
        assert control.status()["utilisation_limit"] == 0.6


def test_who_may_control_and_what_is_logged_change_at_once(store: Path, make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(store)
    daemon.start()
    with daemon.control() as control:
        daemon.configure(f'{CONFIG}level = "error"\n[access]\ncontrol_users = [4242]')
        assert [change["key"] for change in control.reload()["applied"]] == ["level", "control_users"]
        control.set_limit("memory", 500_000_000)
        daemon.configure(CONFIG)
        assert [change["key"] for change in control.reload()["applied"]] == ["level", "control_users"]
        control.set_limit("memory", 600_000_000)
    assert "600.0 MB" in until("the second plan", lambda: daemon.logged() if "600.0 MB" in daemon.logged() else None)
    assert "500.0 MB" not in daemon.logged()


def test_an_operators_log_level_is_in_force_at_once_and_until_a_reload(
    store: Path, make_daemon: Callable[..., Daemon]
) -> None:
    daemon = make_daemon(store)
    daemon.start()
    with daemon.control() as control:
        assert control.log_level()["level"] == "info"
        assert control.log_level("error")["level"] == "error"
        control.set_limit("memory", 500_000_000)
        with pytest.raises(BadValue, match=r"level is 'wraning'; it must be one of debug, info, warning, error; did"):
            control.log_level("wraning")
        assert schedctl(daemon, "log-level").stdout == "log level error; there are debug, info, warning, error\n"
        assert control.reload()["applied"] == []
        assert control.log_level()["level"] == "info"
        control.set_limit("memory", 600_000_000)
    assert "600.0 MB" in until("the second plan", lambda: daemon.logged() if "600.0 MB" in daemon.logged() else None)
    assert "500.0 MB" not in daemon.logged()


def test_options_of_the_command_line_stand_over_a_reload(daemon: Daemon) -> None:
    with daemon.control() as control:
        assert control.reload() == {"applied": [], "restart": [], "notes": [], "plan": 0, "sentence": ""}


def test_an_app_that_registers_after_a_reload_gets_the_network_that_its_name_stands_for_then(
    store: Path, make_daemon: Callable[..., Daemon]
) -> None:
    daemon = make_daemon(store)
    daemon.start()
    for model, budget in (("digits-residual", "500ms"), ("digits-plain", "700ms")):
        daemon.configure(f'{CONFIG}[models]\naliases = {{ gate = "{model}" }}\nbudget = "{budget}"')
        with Client(daemon.runtime) as client, daemon.control() as control:
            control.reload()
            assert client.register("gate", None, 10).model == model
            (app,) = control.apps()["apps"]
            assert (app["app"], app["model"], f"{app['budget_ms']:g}ms") == ("gate", model, budget)
