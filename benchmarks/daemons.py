"""Real daemons for benchmarks: started as a process on a runtime directory of their own, ended by their handle."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from schedulerd_client import ControlClient, SchedulerdClientError

READY_TIMEOUT_S = 120.0
END_TIMEOUT_S = 15.0


@contextmanager
def daemon(store: Path, state: Path, runtime: Path, config: str = "") -> Iterator[ControlClient]:
    """A daemon that has answered once; `config` is TOML, its log is `state/daemon.log`."""
    runtime.mkdir(parents=True, exist_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    settings = state / "schedulerd.toml"
    settings.write_text(config)
    drop_ins = state / "conf.d"
    drop_ins.mkdir(exist_ok=True)
    # What one measurement sets is not for the next one on this state directory.
    (drop_ins / "forget.toml").write_text("[control]\nremember = false\n")
    arguments = ["--config", str(settings), "--store", str(store), "--state", str(state), "--runtime", str(runtime)]
    with (state / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "schedulerd", "run", *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        with ControlClient(runtime, timeout_s=5.0) as control:
            wait_until_ready(control, process)
            yield control
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_TIMEOUT_S)


def process_of(runtime: Path) -> psutil.Process:
    """The daemon that serves a runtime directory, by the process number in its lock file."""
    return psutil.Process(int((runtime / "schedulerd.lock").read_text()))


def wait_until_ready(control: ControlClient, process: subprocess.Popen[bytes]) -> None:
    """Ask until the daemon answers."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            control.status()
            return
        except SchedulerdClientError:
            if process.poll() is not None or time.monotonic() > until_s:
                raise
            time.sleep(0.01)
