"""`schedulerd peer` as a process: a daemon's source probes it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schedulerd import cli
from schedulerd.clock import SystemClock
from schedulerd.control.sources.peer import Limits, PeerSource
from tests.fakes import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
GENEROUS = Limits(PATIENCE_S, PATIENCE_S, PATIENCE_S, PATIENCE_S)


def test_it_says_where_it_listens_and_is_probed() -> None:
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "profiles", "clients/python"))
    with subprocess.Popen(
        [sys.executable, "-m", "schedulerd", "peer", "--listen", "127.0.0.1:0"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        said = server.stdout.readline()
        try:
            port = said.removeprefix("listening on 127.0.0.1 port ").strip()
            source, until_s = PeerSource(f"127.0.0.1:{port}", SystemClock(), GENEROUS), time.monotonic() + PATIENCE_S
            # Its time for a probe is short, and a machine that is busy may have let it pass.
            while (path := source.read()["peer"]).bandwidth_bps is None:
                assert time.monotonic() < until_s, path.reason
        finally:
            server.terminate()
    assert path.reason is None
    assert path.bandwidth_bps > 0


@pytest.mark.parametrize("address", ["5201", "10.0.0.2", "fe80::2:5201", "host:99999"])
def test_what_is_no_address_is_refused_with_the_remedy(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["peer", "--listen", address]) == 1
    assert f"--listen: '{address}' is no address; write host:port" in capsys.readouterr().err


def test_an_address_of_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """192.0.2.0/24 is nobody's (RFC 5737)."""
    assert cli.main(["peer", "--listen", "192.0.2.1:0"]) == 1
    assert "192.0.2.1" in capsys.readouterr().err
