"""Who is compared: our daemon and its peers, each with the servers' processes, and how its clients are started.

All run blocks or networks on one thread an inference, two at a time at most. Peers listen on the loopback only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemons import daemon
from benchmarks.processes import ROOT, ended
from benchmarks.serving_networks import Network
from benchmarks.serving_venvs import SAME_RUNTIME, PeerMissing, python_of

WORKERS = 2
OUR_CONFIG = f"[engine]\nlanes = {WORKERS}\nthreads_per_lane = 1\n\n[profile]\nbackground = false\n"
"""Two lanes of one thread; what is left as it comes merges blocks where that is faster."""
TRITON_CLIENT = "tritonclient[http,grpc]==2.73.0"
READY_TIMEOUT_S = 60.0
PEERS_DIRECTORY = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to ask a server that runs."""

    name: str
    client: tuple[str, ...]
    """Command of a client process (`peers.closed_loop`)."""
    model: str
    """What the client is to ask for."""


Side = Callable[[Network, Path], AbstractContextManager[Sequence[Kind]]]
"""A server that serves a network while it is entered; the folder is for whatever it writes. Raises `PeerMissing`."""


@contextmanager
def ours(network: Network, folder: Path) -> Iterator[Sequence[Kind]]:
    """The daemon, over the transport that its client chooses."""
    runtime = folder / "run"
    client = (sys.executable, "-m", "benchmarks.peers.our_client", str(runtime), network.name, str(network.frame))
    with daemon(network.store, folder / "state", runtime, OUR_CONFIG):
        yield (Kind("ours", client, network.name),)


@contextmanager
def triton(network: Network, folder: Path) -> Iterator[Sequence[Kind]]:
    """Tritonserver with its Python backend, with one instance and with two, over both of its protocols."""
    # Of the package only the server is used, so what its Python part depends on is left out; but for NumPy: the outputs
    # of a newer one arrive empty.
    python = python_of("tritonserver", (TRITON_CLIENT, SAME_RUNTIME, "numpy<2"), bare=("nvidia-pytriton==0.7.0",))
    site = python.parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    backends, models = _backends(site, folder), folder / "models"
    shutil.rmtree(models, ignore_errors=True)
    for count in (1, WORKERS):
        _triton_model(models / f"{network.name}_x{count}", network, count)
    ports = {protocol: free_port() for protocol in ("http", "grpc")}
    command = [
        str(site / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
        *("--model-repository", str(models), "--backend-directory", str(backends), "--allow-metrics", "false"),
        *(f"--{protocol}-address=127.0.0.1" for protocol in ports),
        *(f"--{protocol}-port={port}" for protocol, port in ports.items()),
    ]
    # The backend's own process is the `python3` of the path.
    environment = _environment(python) | {"LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs")}
    with serving("tritonserver", command, environment, f"http://127.0.0.1:{ports['http']}/v2/health/ready", folder):
        kinds = []
        for protocol, port in ports.items():
            for count in (1, WORKERS):
                model = f"{network.name}_x{count}"
                client = _v2_client(python, protocol, port, f"{network.name}_x1", network)
                kinds.append(Kind(f"triton_{protocol}_x{count}", client, model))
        yield kinds


@contextmanager
def litserve(network: Network, folder: Path) -> Iterator[Sequence[Kind]]:
    """LitServe with two workers."""
    python, port = python_of("litserve", ("litserve==0.2.19", "python-multipart", SAME_RUNTIME)), free_port()
    server = (str(python), "-m", "benchmarks.peers.litserve_server", str(port), str(network.whole), str(WORKERS))
    client = (str(python), "-m", "benchmarks.peers.litserve_client", str(port), str(network.frame))
    size = map(str, network.shape[1:])
    with serving("litserve", [*server, *size], _environment(python), f"http://127.0.0.1:{port}/health", folder):
        yield (Kind("litserve", client, network.name),)


@contextmanager
def mlserver(network: Network, folder: Path) -> Iterator[Sequence[Kind]]:
    """MLServer with two workers, over gRPC, asked by Triton's client."""
    # Its workers fail to start with a newer uvloop.
    python = python_of("mlserver", ("mlserver==1.7.1", "uvloop<0.22", SAME_RUNTIME))
    asking = python_of("tritonclient", (TRITON_CLIENT, "numpy"))
    ports = [free_port() for _ in range(3)]
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    (models / "settings.json").write_text(
        f'{{"host": "127.0.0.1", "http_port": {ports[0]}, "grpc_port": {ports[1]}, "metrics_port": {ports[2]},'
        f' "parallel_workers": {WORKERS}, "metrics_endpoint": null}}'
    )
    (models / "model-settings.json").write_text(
        f'{{"name": "{network.name}", "implementation": "benchmarks.peers.mlserver_model.Network",'
        f' "parameters": {{"uri": "{network.whole}"}}}}'
    )
    command = [str(python.parent / "mlserver"), "start", str(models)]
    ready = f"http://127.0.0.1:{ports[0]}/v2/health/ready"
    with serving("mlserver", command, _environment(python), ready, folder):
        yield (Kind("mlserver", _v2_client(asking, "grpc", ports[1], network.name, network), network.name),)


@contextmanager
def in_process(network: Network, folder: Path) -> Iterator[Sequence[Kind]]:  # noqa: ARG001 (a `Side`)
    """No server: every client has the network, and runs it itself."""
    client = (sys.executable, "-m", "benchmarks.peers.in_process", str(network.whole), str(network.frame))
    yield (Kind("in_process", client, network.name),)


SIDES: Mapping[str, Side] = {
    "ours": ours,
    "in_process": in_process,
    "triton": triton,
    "litserve": litserve,
    "mlserver": mlserver,
}
KINDS: Mapping[str, tuple[str, ...]] = {
    "ours": ("ours",),
    "in_process": ("in_process",),
    "triton": tuple(f"triton_{protocol}_x{count}" for protocol in ("http", "grpc") for count in (1, WORKERS)),
    "litserve": ("litserve",),
    "mlserver": ("mlserver",),
}
"""Names of the ways to ask each, which are known before it is installed."""


def _v2_client(python: Path, protocol: str, port: int, model: str, network: Network) -> tuple[str, ...]:
    address = f"127.0.0.1:{port}"
    return (str(python), "-m", "benchmarks.peers.v2_client", protocol, address, model, str(network.frame))


def _backends(site: Path, folder: Path) -> Path:
    """Triton's Python backend with the stub of this Python: the package has one for each version."""
    root = site / "pytriton" / "tritonserver"
    stub = root / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}" / "triton_python_backend_stub"
    if not stub.exists():
        raise PeerMissing(f"the package has no stub of Triton's Python backend for Python {sys.version_info[:2]}")
    made = folder / "backends" / "python"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(root / "backends" / "python", made)
    shutil.copy2(stub, made)
    return made.parent


def _triton_model(folder: Path, network: Network, instances: int) -> None:
    (folder / "1").mkdir(parents=True)
    shutil.copy2(PEERS_DIRECTORY / "triton_model.py", folder / "1" / "model.py")
    # The stub knows of no other path than this folder.
    (folder / "1" / "benchmarks" / "peers").mkdir(parents=True)
    shutil.copy2(PEERS_DIRECTORY / "session.py", folder / "1" / "benchmarks" / "peers")
    classes = len(network.output)
    shape = ", ".join(map(str, network.shape))
    (folder / "config.pbtxt").write_text(
        'backend: "python"\n'
        f'input [ {{ name: "input" data_type: TYPE_UINT8 dims: [ {shape} ] }} ]\n'
        f'output [ {{ name: "output" data_type: TYPE_FP32 dims: [ 1, {classes} ] }} ]\n'
        f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]\n"
        f'parameters {{ key: "path" value: {{ string_value: "{network.whole}" }} }}\n'
    )


def _environment(python: Path) -> dict[str, str]:
    """Of a peer's server: its own Python first, this checkout for `benchmarks.peers`, one thread a library."""
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "no_proxy": "*"}


@contextmanager
def serving(
    name: str, command: Sequence[str], environment: Mapping[str, str], ready: str, folder: Path
) -> Iterator[None]:
    """A server as a process, from its first good answer at the address `ready`; its log is `folder/server.log`."""
    log_path = folder / "server.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        try:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=folder
            )
        except OSError as error:
            raise PeerMissing(f"{name} does not start: {error}") from None
        try:
            if not _answers(process, ready):
                said = log_path.read_text(errors="replace").strip().splitlines() or ["nothing"]
                raise PeerMissing(
                    f"{name} was not ready within {READY_TIMEOUT_S:g} s, or ended; its last words: {said[-1]}"
                )
            yield
        finally:
            ended(process, terminate=True)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait for the server; False where it ends or is late."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    # Whatever proxy the environment names is not for the loopback.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until_s and process.poll() is None:
        try:
            with direct.open(url, timeout=1.0) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            time.sleep(0.1)
    return False


def free_port() -> int:
    """One of the loopback's that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
