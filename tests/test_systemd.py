"""The files for systemd: complete, accepted by systemd's own checkers where they are installed, and hardened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.operate_units import assessed, installed, verified
from schedulerd.config import Config, parse
from schedulerd.daemon import BEAT_S
from schedulerd.units import PROFILES

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
EXPOSURE_LIMIT = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings_of(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in lines}


@needs_systemd
@pytest.mark.parametrize("profile", PROFILES)
def test_systemd_accepts_every_profile_and_says_that_little_is_exposed(tmp_path: Path, profile: str) -> None:
    unit = installed(tmp_path, profile)
    assert verified(unit) == ""
    exposure, open_ = assessed(unit)
    assert 0 < exposure <= EXPOSURE_LIMIT, open_


@needs_systemd
def test_all_profiles_go_together(tmp_path: Path) -> None:
    assert verified(installed(tmp_path, *PROFILES)) == ""


@needs_systemd
def test_what_systemd_does_not_accept_is_found(tmp_path: Path) -> None:
    unit = installed(tmp_path, "default")
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHom=yes"))
    assert "ProtectHom" in verified(unit)


@needs_systemd
@pytest.mark.parametrize(
    ("profile", "network", "devices"),
    [
        ("default", False, False),
        ("pi", False, True),
        ("jetson", False, True),
        ("loopback", True, False),
        ("network", True, False),
        ("remote", True, False),
    ],
)
def test_a_profile_opens_what_it_is_for_and_nothing_else(
    tmp_path: Path, profile: str, network: bool, devices: bool
) -> None:
    _, open_ = assessed(installed(tmp_path, profile))
    assert ("PrivateNetwork=" in open_) is network
    assert ("RestrictAddressFamilies=~AF_(INET|INET6)" in open_) is network
    assert ("PrivateDevices=" in open_) is devices


@needs_systemd
def test_the_loopback_profile_talks_to_nobody_else(tmp_path: Path) -> None:
    (everybody,), (itself,) = (
        assessed(installed(tmp_path / profile, profile))[1]["IPAddressDeny="] for profile in ("network", "loopback")
    )
    assert itself < everybody


def test_the_unit_sets_what_the_daemon_relies_on() -> None:
    settings = settings_of((SYSTEMD / "schedulerd.service").read_text())
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) > 2 * BEAT_S, "it is fed that often"
    assert settings["Environment"] == "OMP_WAIT_POLICY=PASSIVE"
    assert settings["RuntimeDirectory"] == settings["StateDirectory"] == settings["User"] == "schedulerd"


def test_the_unit_leaves_out_what_would_break_the_daemon() -> None:
    for path in (SYSTEMD / "schedulerd.service", *(SYSTEMD / "drop-ins").glob("*.conf")):
        settings = settings_of(path.read_text())
        assert "MemoryDenyWriteExecute" not in settings, "it breaks oneDNN's convolutions"
        assert "PrivateUsers" not in settings, "it hides the uids that decide who may control"
        assert "ProcSubset" not in settings, "it hides /proc/stat and /proc/meminfo"


def test_the_example_configuration_changes_nothing() -> None:
    text = (SYSTEMD / "schedulerd.toml").read_text()
    assert parse(text, "schedulerd.toml") == Config()


def test_the_example_configuration_with_every_line_in_force_is_the_services() -> None:
    text = (SYSTEMD / "schedulerd.toml").read_text()
    in_force = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in text.splitlines()
    )
    config = parse(in_force, "schedulerd.toml")
    assert config.paths.store == Path("/var/lib/schedulerd/store")
    assert config.paths.runtime == Path("/run/schedulerd")
    defaults = Config()
    assert (config.engine, config.limits, config.solver) == (defaults.engine, defaults.limits, defaults.solver)
    assert (config.control, config.profile, config.log) == (defaults.control, defaults.profile, defaults.log)
    assert config.access == defaults.access
