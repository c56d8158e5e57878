"""A machine of its own for tests: systemd as the first process, over a copy-on-write view of this file system.

Possible for root where namespaces, overlayfs and cgroup v2 are. Where systemd itself runs nothing is booted: there the
cgroups are its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.integration.daemons import PATIENCE_S, until

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = Path(__file__).with_name("booted.sh")
SYSTEMD = Path("/lib/systemd/systemd")
SOURCES = "/opt/sources"
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONPATH": ":".join(f"{SOURCES}{part}" for part in ("", "/profiles", "/clients/python")) + ":/opt/packages",
}
Result = subprocess.CompletedProcess[str]


def reason_against() -> str | None:
    """Why no machine can be booted here; None where one might."""
    if os.geteuid() != 0:
        return "only root may boot one"
    if Path("/proc/1/comm").read_text().strip() == "systemd":
        return "this machine's own systemd has its cgroups"
    missing = [p for p in ("unshare", "nsenter", "pivot_root", "systemctl") if shutil.which(p) is None]
    if missing or not SYSTEMD.exists():
        return f"without {', '.join(missing) or SYSTEMD}"
    return None if _cgroup_folder() else "there is no cgroup v2 to write to"


class Machine:
    """Boots when it is entered; skips the test where that fails."""

    def __init__(self) -> None:
        reason = reason_against()
        if reason:
            pytest.skip(f"no systemd can be booted: {reason}")
        self._scratch = Path(tempfile.mkdtemp(prefix="schedulerd-machine-"))
        folder = _cgroup_folder()
        assert folder is not None
        self._cgroup = folder / f"schedulerd-tests-{os.getpid()}"
        self._process: subprocess.Popen[str] | None = None
        self._first = 0

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        kinds = ("--mount", "--cgroup", "--uts", "--ipc", "--net", "--pid")
        boot = ["unshare", *kinds, "--fork", "--kill-child", "--propagation", "private", "bash", str(SCRIPT)]
        self._process = subprocess.Popen(
            ["bash", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self._cgroup), *boot],
            env={
                "PATH": os.environ["PATH"],
                "SCRATCH": str(self._scratch),
                "SOURCES": str(ROOT),
                "PYTHON": sys.base_prefix,
                "PACKAGES": sysconfig.get_path("purelib"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            until("the machine is up", self._is_up)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, *command: str, timeout_s: float = PATIENCE_S) -> Result:
        """A command of root on the machine."""
        return subprocess.run(
            self._inside(command), env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def done(self, *command: str) -> str:
        """What a command that must succeed prints."""
        ended = self.run(*command)
        assert ended.returncode == 0, f"{command}: {ended.stderr}{ended.stdout}{self.journal()}"
        return ended.stdout

    def begun(self, *command: str) -> subprocess.Popen[str]:
        """The same without waiting; its input and output are pipes."""
        return subprocess.Popen(
            self._inside(command), env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def journal(self) -> str:
        """What the unit has logged."""
        return self.run("journalctl", "--no-pager", "--unit=schedulerd", "--output=cat").stdout

    def shown(self, name: str) -> str:
        """A property of the unit (`systemctl show`)."""
        return self.done("systemctl", "show", "schedulerd", f"--property={name}", "--value").strip()

    def write(self, path: str, text: str) -> None:
        """A file of the machine."""
        place = Path(f"/proc/{self._first}/root") / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--target={self._first}", "--all", "env", "--chdir=/", *command]

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            assert self._process.stdout is not None
            pytest.skip(f"no systemd can be booted: {self._process.stdout.read().strip()[-300:]}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
            return False
        self._first = int(children[0])
        return self.run("systemctl", "is-active", "tests.target").stdout.strip() == "active"

    def _end(self) -> None:
        assert self._process is not None
        # With it ends the first process of its namespace, and with that every other one of them.
        self._process.kill()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        until("the machine's processes are gone", lambda: _removed(self._cgroup))
        self._scratch.rmdir()


def _removed(cgroup: Path) -> bool:
    """Whether the cgroup, and what systemd has made below it, could be removed."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):  # somebody is ending in it
            Path(folder).rmdir()
    return not cgroup.exists()


def _cgroup_folder() -> Path | None:
    """This process's cgroup of version 2, where it may make others."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    for _, place, kind, *_ in mounts:
        if kind == "cgroup2" and own:
            folder = Path(place) / own[0].lstrip("/")
            return folder if os.access(folder, os.W_OK) else None
    return None
