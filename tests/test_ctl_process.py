"""`schedctl` as the process that an operator starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def schedctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), str(ROOT / "clients" / "python")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-m", "schedulerd.ctl", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_without_a_daemon_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    ended = schedctl("status", "--runtime", str(tmp_path))
    assert ended.returncode == 3
    assert f"no daemon at ipc://{tmp_path}/control.sock" in ended.stderr
    assert "schedulerd run" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_runtime_directory_that_no_socket_fits_in_is_wrong_usage() -> None:
    ended = schedctl("status", "--runtime", "/tmp/" + "x" * 200)  # noqa: S108 (nothing is made there)
    assert ended.returncode == 2
    assert "choose a shorter directory" in ended.stderr


def test_it_starts_without_the_heavy_packages() -> None:
    check = (
        "import sys, schedulerd.ctl; "
        "assert not {'torch', 'onnxruntime', 'pulp', 'structlog', 'psutil'} & sys.modules.keys()"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    subprocess.run([sys.executable, "-c", check], env={**os.environ, "PYTHONPATH": paths}, check=True, timeout=30)
