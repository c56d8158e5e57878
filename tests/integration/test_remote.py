"""A running daemon and operators who come by tcp: as many things as schedctl does, and keys that come and go."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schedulerd_client import Client, ControlClient, NotPermitted, OperatorKeys, Unreachable
from tests.integration.daemons import CONFIG, Daemon, until
from tests.serving.remotes import ANNA, BOB, SERVER, key_files


class Remote:
    """A daemon with a door on loopback; anna is in control, bob looks, whose file is not there yet."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.operators = folder / "operators"
        self.own = key_files(folder / "own", {"anna": ANNA, "bob": BOB})
        self.server = key_files(folder, {"remote": SERVER})["remote"]
        self.operators.mkdir()
        self.allow("anna")
        self.settings = (
            f'{CONFIG}[remote]\nlisten = "127.0.0.1:0"\nsecret_key = "{self.server.secret}"\n'
            f'operators = "{self.operators}"\n'
        )
        daemon.configure(f'{self.settings}control = ["anna"]\n')

    def allow(self, name: str) -> None:
        (self.operators / f"{name}.public").write_text(self.own[name].public.read_text())

    @property
    def address(self) -> str:
        """As the log says it, which may be a moment after local apps are served."""

        def said() -> str | None:
            lines = (line for line in self.daemon.logged().splitlines() if '"event": "remote",' in line)
            return next(lines, None)

        return until("the address for operators elsewhere", said).split('"address": "')[1].split('"')[0]

    def control(self, name: str) -> ControlClient:
        keys = OperatorKeys.from_files(self.server.public, self.own[name].secret)
        return ControlClient(self.address, keys=keys, timeout_s=20.0)

    def schedctl(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        keys = ("--server-key", str(self.server.public), "--key", str(self.own[name].secret))
        return subprocess.run(
            [sys.executable, "-m", "schedulerd.ctl", *arguments, "--connect", self.address, *keys],
            env={**os.environ, "TERM": "dumb"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def remote(store: Path, make_daemon: Callable[..., Daemon], tmp_path: Path) -> Remote:
    made = Remote(make_daemon(store), tmp_path / "keys")
    made.daemon.start()
    return made


def test_an_operator_elsewhere_sees_and_changes_what_one_here_does(remote: Remote) -> None:
    with Client(remote.daemon.runtime) as client, remote.daemon.control() as local, remote.control("anna") as control:
        client.register("digits-residual", app="cam", budget_ms=1000, rate_hz=10)
        with control.events(["budget"], 20.0) as events:
            assert control.set_budget("cam", 900.0)["budget_ms"] == 900.0
            assert next(events).body["budget_ms"] == 900.0
        assert local.apps()["apps"][0]["budget_ms"] == 900.0
        assert control.status()["pid"] == local.status()["pid"]
        shown = remote.schedctl("anna", "why", "cam")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "cam" in shown.stdout
        page = remote.schedctl("anna", "top", "--looks", "1")
        assert (page.returncode, page.stderr) == (0, "")
        assert "cam" in page.stdout
        assert remote.schedctl("anna", "limit", "memory", "auto").returncode == 0
    logged = remote.daemon.logged()
    assert '"operator": "anna", "request": "SetBudget"' in logged
    assert SERVER.secret not in logged
    assert ANNA.secret not in logged


def test_keys_come_and_go_with_a_reload(remote: Remote) -> None:
    with remote.daemon.control() as local:
        stranger = remote.schedctl("bob", "status")
        assert stranger.returncode == 1
        assert "does not let this key in" in stranger.stderr
        remote.allow("bob")
        local.reload()
        with remote.control("bob") as bob, remote.control("anna") as anna:
            assert bob.status()["ready"]
            with pytest.raises(NotPermitted, match="'bob' may look"):
                bob.reload()
            remote.daemon.configure(f'{remote.settings}control = ["bob"]\n')
            assert [change["key"] for change in anna.reload()["applied"]] == ["control"]
            with pytest.raises(NotPermitted, match="'anna' may look"):
                anna.reload()
            assert bob.reload()["applied"] == []
            with bob.events(["plan"], None) as events:
                (remote.operators / "bob.public").unlink()
                remote.daemon.configure(f'{remote.settings}control = ["anna"]\n')
                local.reload()
                with pytest.raises(Unreachable, match="went away"):
                    next(events)
            with pytest.raises(NotPermitted, match="not any more"):
                bob.status()
            assert anna.reload()["applied"] == []
        with remote.control("bob") as bob, pytest.raises(NotPermitted, match="does not let this key in"):
            bob.status()


def test_a_bad_key_leaves_everybody_as_he_was_and_says_which(remote: Remote) -> None:
    (remote.operators / "carl.public").write_text("half a k")
    with remote.control("anna") as anna:
        refusal = remote.schedctl("anna", "reload")
        assert refusal.returncode == 1
        assert "carl.public has no line public-key" in refusal.stderr
        assert anna.status()["ready"]


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_a_daemon_whose_secret_others_may_read_does_not_start(
    store: Path, make_daemon: Callable[..., Daemon], tmp_path: Path, mode: int
) -> None:
    remote = Remote(make_daemon(store), tmp_path / "keys")
    remote.server.secret.chmod(mode)
    assert remote.daemon.spawn().wait(60) == 1
    assert f"has mode {mode:04o}" in remote.daemon.logged()
    assert f"chmod 600 {remote.server.secret}" in remote.daemon.logged()
