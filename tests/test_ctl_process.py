"""`schedctl` as the process that an operator starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.fakedaemon import FakeDaemon

ROOT = Path(__file__).resolve().parent.parent
SLOW = {
    *("torch", "onnxruntime", "pulp", "highspy", "numpy", "rich", "structlog", "psutil", "prometheus_client"),
    *("asyncio", "logging", "ssl", "email", "dataclasses", "inspect", "shutil", "zmq.asyncio", "zmq.auth"),
    *("blockstore", "blockprofiles", "schedulerd.kinds", "schedulerd.plan", "schedulerd.wire.codec"),
}


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


def test_status_is_asked_and_shown_without_what_takes_long_to_import(runtime: Path) -> None:
    """What it loads decides how long an operator waits: a clock would say the same of a quiet machine only."""
    ask = (
        "import sys; from schedulerd.ctl import main; code = main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    with FakeDaemon(runtime):
        ended = subprocess.run(
            [sys.executable, "-c", ask, "--runtime", str(runtime), "status"],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    assert ended.stdout.startswith("schedulerd")
    loaded = set(ended.stderr.split())
    assert {"zmq", "schedulerd_client._control"} <= loaded
    assert loaded & SLOW == set()


@pytest.fixture
def runtime() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sd-") as directory:
        yield Path(directory)
