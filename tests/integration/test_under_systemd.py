"""The installed unit under a real systemd: it starts, hangs, is stopped under load and is taken away again.

One machine is booted for all tests, which take what the one before has left: a service that runs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.booted import ENVIRONMENT, SOURCES, Machine
from tests.integration.daemons import PATIENCE_S, until

PYTHON = "/opt/python/bin/python3"
SCHEDULERD = "/opt/schedulerd/bin/schedulerd"
SCHEDCTL = "/opt/schedulerd/bin/schedctl"
HERE = f"""\
# The checkout is where PYTHONPATH says; and what hangs is to be found out sooner.
[Service]
Environment=PYTHONPATH={ENVIRONMENT["PYTHONPATH"]}
WatchdogSec=4
"""
CONFIG = "[profile]\nseconds = 1.0\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine on which the service was installed as docs/install.md says."""
    with Machine() as booted:
        booted.done(SCHEDULERD, "install-units", "--program", SCHEDULERD)
        booted.write("/etc/systemd/system/schedulerd.service.d/90-tests.conf", HERE)
        booted.write("/etc/schedulerd/schedulerd.toml", CONFIG)
        booted.done("systemd-sysusers", "schedulerd.conf")
        booted.done("systemd-tmpfiles", "--create", "schedulerd.conf")
        booted.done("systemctl", "daemon-reload")
        archive = f"{SOURCES}/schedulerd/demo/demo-store.tar"
        booted.done(SCHEDULERD, "store", "import", "--store", "/var/lib/schedulerd/store", archive)
        booted.done("chown", "--recursive", "schedulerd:", "/var/lib/schedulerd")
        booted.done("systemctl", "enable", "schedulerd")
        booted.done("systemctl", "restart", "schedulerd")
        yield booted


def asking(machine: Machine) -> subprocess.Popen[str]:
    """A client on the machine that has had its first answer, and goes on."""
    load = machine.begun(PYTHON, "-m", "tests.integration.load", "/run/schedulerd", "digits-residual")
    assert load.stdout is not None
    assert load.stdout.readline() == "asking\n"
    return load


def fared(load: subprocess.Popen[str]) -> dict[str, Any]:
    """Let it end; what it says of itself."""
    out, _ = load.communicate("", timeout=PATIENCE_S)
    assert load.returncode == 0
    told: dict[str, Any] = json.loads(out)
    return told


def test_the_service_is_active_when_the_daemon_is_ready(machine: Machine) -> None:
    assert machine.shown("ActiveState") == "active"
    assert machine.shown("StatusText") == "serving 3 models"
    status = json.loads(machine.done(SCHEDCTL, "status", "--json"))
    assert status["pid"] > 1
    assert machine.done("stat", "--format=%U:%G %a", "/run/schedulerd").strip() == "schedulerd:schedulerd 750"


def test_the_hardened_daemon_reads_its_board_and_serves(machine: Machine) -> None:
    status = json.loads(machine.done(SCHEDCTL, "status", "--json"))
    assert status["rss_bytes"] > 0
    assert fared(asking(machine))["failures"] == []


def test_the_journal_has_lines_for_people_and_fields_for_machines(machine: Machine) -> None:
    machine.done(SCHEDCTL, "limit", "memory", "500MB")
    found = machine.done("journalctl", "--no-pager", "--output=json", "--unit=schedulerd", "SCHEDULERD_EVENT=plan")
    entries = [json.loads(line) for line in found.splitlines()]
    entry = entries[-1]
    assert (entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"], entry["_TRANSPORT"]) == ("schedulerd", "6", "journal")
    assert "memory limit set to 500.0 MB" in entry["SCHEDULERD_CAUSE"]
    assert int(entry["SCHEDULERD_NUMBER"]) > 0
    assert entry["MESSAGE"].startswith(f"plan: number {entry['SCHEDULERD_NUMBER']}, cause memory limit set to 500.0 MB")
    (ready,) = machine.done(
        "journalctl", "--no-pager", "--output=json", "--unit=schedulerd", "SCHEDULERD_EVENT=ready"
    ).splitlines()
    assert len(json.loads(ready)["SCHEDULERD_MODELS"]) == 3
    machine.done(SCHEDCTL, "overrides", "drop", "all")


def test_a_reload_follows_the_configuration_and_a_bad_one_is_refused(machine: Machine) -> None:
    path = "/etc/schedulerd/schedulerd.toml"

    def limit() -> float:
        return float(json.loads(machine.done(SCHEDCTL, "status", "--json"))["utilisation_limit"])

    machine.write(path, f"{CONFIG}[limits]\nutilisation = 0.5\n")
    machine.done("systemctl", "reload", "schedulerd")
    assert limit() == 0.5
    machine.write(path, f"{CONFIG}[limits]\nutilisation = 5\n")
    assert machine.run("systemctl", "reload", "schedulerd").returncode != 0
    assert "5 is out of range" in machine.journal()
    assert (limit(), machine.shown("ActiveState")) == (0.5, "active")
    machine.write(path, f"{CONFIG}[engine]\nlanes = 2\n")
    machine.done("systemctl", "reload", "schedulerd")
    assert limit() == 0.8, "it is back, and more lanes wait for a restart"
    machine.write(path, CONFIG)
    machine.done("systemctl", "reload", "schedulerd")


def test_a_user_outside_the_group_does_not_reach_it(machine: Machine) -> None:
    ended = machine.run("runuser", "-u", "nobody", "--", SCHEDCTL, "status", "--runtime", "/run/schedulerd")
    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr


def test_a_daemon_that_hangs_is_ended_by_its_watchdog_and_comes_back(machine: Machine) -> None:
    before = machine.shown("MainPID")
    machine.done("kill", "-STOP", before)
    until("it was restarted", lambda: machine.shown("NRestarts") == "1")
    until("it serves again", lambda: machine.shown("ActiveState") == "active")
    assert machine.shown("MainPID") != before
    journal = machine.journal()
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal, "where each thread was"
    machine.done(SCHEDCTL, "status")


def test_nobody_goes_without_an_answer_when_it_is_stopped_under_load(machine: Machine) -> None:
    load = asking(machine)
    machine.done("systemctl", "stop", "schedulerd")
    assert machine.shown("Result") == "success"
    machine.done("systemctl", "start", "schedulerd")
    assert fared(load)["failures"] == []


def test_an_operator_comes_by_tcp_and_the_service_alone_is_shown_its_secret(machine: Machine) -> None:
    """As docs/remote.md says it."""
    machine.done(SCHEDULERD, "keys", "new")
    machine.done(SCHEDCTL, "keys", "new", "anna")
    machine.done("cp", "/root/.config/schedulerd/keys/anna.public", "/etc/schedulerd/operators/")
    machine.done("mkdir", "-p", "/root/.config/schedulerd/servers")
    machine.done("cp", "/etc/schedulerd/remote.public", "/root/.config/schedulerd/servers/127.0.0.1.public")
    machine.write("/etc/schedulerd/conf.d/remote.toml", '[remote]\nlisten = "0.0.0.0:9478"\ncontrol = ["anna"]\n')
    machine.done(SCHEDULERD, "install-units", "--program", SCHEDULERD, "--profile", "remote")
    machine.done("systemctl", "daemon-reload")
    machine.done("systemctl", "restart", "schedulerd")
    remote = (SCHEDCTL, "--connect", "127.0.0.1")
    assert json.loads(machine.done(*remote, "status", "--json"))["ready"]
    machine.done(*remote, "limit", "memory", "auto")
    assert machine.done("stat", "--format=%U %a", "/etc/schedulerd/remote.secret").strip() == "root 600"
    as_the_daemon = ("runuser", "-u", "schedulerd", "--", "cat")
    assert machine.run(*as_the_daemon, "/etc/schedulerd/remote.secret").returncode != 0
    machine.done("rm", "/etc/schedulerd/operators/anna.public")
    machine.done("systemctl", "reload", "schedulerd")
    refused = machine.run(*remote, "status")
    assert (refused.returncode, "does not let this key in" in refused.stderr) == (1, True)
    machine.done("rm", "/etc/schedulerd/conf.d/remote.toml")
    machine.done(SCHEDULERD, "install-units", "--program", SCHEDULERD)
    machine.done("systemctl", "daemon-reload")
    machine.done("systemctl", "restart", "schedulerd")


def test_the_service_is_taken_away_again(machine: Machine) -> None:
    machine.done(SCHEDULERD, "install-units", "--uninstall")
    machine.done("systemctl", "disable", "--now", "schedulerd")
    machine.done("systemctl", "daemon-reload")
    assert machine.run("systemctl", "cat", "schedulerd").returncode != 0
    assert machine.done("cat", "/etc/schedulerd/schedulerd.toml") == CONFIG, "it was changed, so it stays"
