"""CBC as a process that is really ended when its time is up, with what became of it in words.

PuLP's own way waits without end, says the same of every way to fail, and leaves its files behind then.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pulp

from schedulerd.optimizer.watch import GRACE_S


class CbcFault(Exception):
    """CBC is missing, hung, crashed, or wrote nothing."""


class CbcProcess(pulp.COIN_CMD):  # type: ignore[misc]  # PuLP has no types
    """PuLP's solver for one program; programs and solutions are files in a folder of their own."""

    def __init__(self, path: str, time_limit_s: float, grace_s: float = GRACE_S) -> None:
        """Args: path: the program, the first found where it is empty; time_limit_s; grace_s: beyond that, to end."""
        super().__init__(path=path or bundled(), msg=False)
        self._time_limit_s = time_limit_s
        self._grace_s = grace_s

    def actualSolve(self, lp: pulp.LpProblem) -> Any:  # noqa: N802 - PuLP's name
        """Solve, and assign values and status. Raises `CbcFault`."""
        with tempfile.TemporaryDirectory(prefix="cbc-") as folder:
            program, solution = Path(folder, "program.mps"), Path(folder, "solution")
            variables, names, rows, _ = lp.writeMPS(str(program), rename=1)
            self._run(program, solution)
            if not solution.exists():
                raise CbcFault(f"{self.path} wrote no solution")
            status, values, *_, sol_status = self.readsol_MPS(str(solution), lp, variables, names, rows)
        lp.assignVarsVals(values)
        lp.assignStatus(status, sol_status)
        return status

    def _run(self, program: Path, solution: Path) -> None:
        """Gaps of 0, so that equal problems have one answer."""
        options = f"-sec {self._time_limit_s} -timeMode elapsed -ratio 0.0 -allow 1e-9 -solve -printingOptions all"
        command = [self.path, str(program), *options.split(), "-solution", str(solution)]
        quiet = subprocess.DEVNULL
        timeout_s = self._time_limit_s + self._grace_s
        try:
            ended = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise CbcFault(f"{self.path} had not ended after {timeout_s:g} s, and was killed") from None
        except OSError as error:
            raise CbcFault(f"cannot run {self.path}: {error.strerror}; install CBC, or choose highs") from error
        if ended.returncode < 0:
            raise CbcFault(f"{self.path} crashed with {signal.Signals(-ended.returncode).name}")
        if ended.returncode > 0:
            raise CbcFault(f"{self.path} ended with exit code {ended.returncode}")


def bundled() -> str:
    """The CBC that comes with PuLP; where it has none for this machine, that on the search path."""
    own = str(pulp.PULP_CBC_CMD.pulp_cbc_path)
    return own if shutil.which(own) else shutil.which("cbc") or own
