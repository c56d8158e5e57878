"""`schedulerd install-units` as an administrator types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schedulerd.cli import main
from schedulerd.commands.install_units import own_program
from schedulerd.config import Config, load
from schedulerd.errors import SchedulerdError

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ("--program", "/opt/schedulerd/bin/schedulerd")


def test_it_says_what_it_did_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-units", "--root", str(tmp_path), "--profile", "pi", "network", *PROGRAM]) == 0
    printed = capsys.readouterr().out
    assert f"written    {tmp_path}/usr/lib/systemd/system/schedulerd.service\n" in printed
    assert f"written    {tmp_path}/usr/lib/systemd/system/schedulerd.service.d/50-pi.conf\n" in printed
    assert "systemctl enable --now schedulerd" in printed


def test_the_configuration_that_it_installs_is_read_and_changes_nothing(tmp_path: Path) -> None:
    assert main(["install-units", "--root", str(tmp_path), *PROGRAM]) == 0
    assert load(tmp_path / "etc/schedulerd/schedulerd.toml") == Config()


def test_what_is_removed_is_said_and_that_users_and_state_stay_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["install-units", "--root", str(tmp_path), *PROGRAM])
    capsys.readouterr()
    assert main(["install-units", "--root", str(tmp_path), "--uninstall"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("removed ") for line in lines)


def test_a_profile_that_does_not_exist_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["install-units", "--root", str(tmp_path), "--profile", "jetsn"])
    assert ended.value.code == 2
    assert "jetson" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_not_there_is_answered_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-units", "--root", str(tmp_path / "typo"), *PROGRAM]) == 1
    assert capsys.readouterr().err == f"schedulerd: --root {tmp_path}/typo: there is no such directory; make it first\n"


def test_somebody_without_permission_is_told_to_be_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o555)
    # Root may write anywhere, unless that is taken away.
    plain = [] if os.geteuid() else ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"]
    ended = subprocess.run(
        [*plain, sys.executable, "-m", "schedulerd", "install-units", "--root", root, *PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "profiles", ROOT / "clients/python")))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert f"cannot write {root}/usr/lib/systemd/system/schedulerd.service: Permission denied" in ended.stderr
    assert "run it as root" in ended.stderr


def test_without_a_program_of_its_own_it_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(SchedulerdError, match=r"there is no .*schedulerd; say what the unit is to start"):
        own_program(str(tmp_path / "python"))


def test_a_python_that_the_service_could_not_see_is_refused(tmp_path: Path) -> None:
    """pyenv and uv keep their interpreters in a home directory, and a virtual environment links to them."""
    (tmp_path / "schedulerd").write_text("")
    (tmp_path / "python").symlink_to("/home/pi/.pyenv/bin/python3.11")
    with pytest.raises(SchedulerdError, match=r"cannot see /home/pi/\.pyenv/bin/python3\.11: its unit hides /home"):
        own_program(str(tmp_path / "python"))
