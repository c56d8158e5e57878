"""The files for systemd: complete, accepted by systemd's own checkers where they are installed, and hardened."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from schedulerd.config import Config, parse

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
EXPOSURE_LIMIT = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists, because `verify` looks for it."""
    text = (SYSTEMD / "schedulerd.service").read_text()
    assert "/opt/schedulerd/bin/schedulerd run" in text
    path = tmp_path / "schedulerd.service"
    path.write_text(text.replace("/opt/schedulerd/bin/schedulerd", str(shutil.which("true"))))
    return path


def settings_of(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in lines}


@needs_systemd
def test_systemd_accepts_the_unit(unit: Path) -> None:
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd
def test_the_units_exposure_is_low(unit: Path) -> None:
    checked = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={int(EXPOSURE_LIMIT * 10)}", unit],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout.splitlines()[-1:]


def test_the_unit_sets_what_the_daemon_relies_on() -> None:
    settings = settings_of((SYSTEMD / "schedulerd.service").read_text())
    assert settings["Type"] == "notify"
    assert settings["Environment"] == "OMP_WAIT_POLICY=PASSIVE"
    assert settings["RuntimeDirectory"] == settings["StateDirectory"] == settings["User"] == "schedulerd"


def test_the_unit_leaves_out_what_would_break_the_daemon() -> None:
    settings = settings_of((SYSTEMD / "schedulerd.service").read_text())
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
