"""Imports point one way. A new arrow is a decision: change this table and say why in the commit."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    "blockstore": ROOT / "blockstore",
    "blockprofiles": ROOT / "profiles" / "blockprofiles",
    "schedulerd": ROOT / "schedulerd",
    "schedulerd_client": ROOT / "clients" / "python" / "schedulerd_client",
}
OURS = (*PACKAGES, "profiles", "clients", "tests", "benchmarks")

# Longest matching prefix of the importing module decides what of ours it may import.
ALLOWED: dict[str, tuple[str, ...]] = {
    "blockstore": ("blockstore",),
    "blockprofiles": ("blockprofiles", "blockstore"),
    "schedulerd": ("schedulerd", "blockprofiles", "blockstore"),
    "schedulerd.wire": ("schedulerd.wire",),
    # Values in, values out: a decision can be made again anywhere, from a file.
    "schedulerd.optimizer": (
        "schedulerd.optimizer",
        "schedulerd.errors",
        "schedulerd.plan",
        "schedulerd.sizes",
        "blockstore",
    ),
    # The request path knows nothing of who decides: it tells by events, and is told by `app.route`.
    "schedulerd.serving": (
        "schedulerd.serving",
        "schedulerd.wire",
        "schedulerd.clock",
        "schedulerd.errors",
        "schedulerd.plan",
        "blockstore",
    ),
    "schedulerd_client": ("schedulerd_client", "schedulerd.wire"),
    # Programs that are clients of the daemon, shipped in its package.
    "schedulerd.ctl": ("schedulerd", "schedulerd_client"),
    "schedulerd.ctl_control": ("schedulerd", "schedulerd_client"),
    "schedulerd.ctl_commands": ("schedulerd", "schedulerd_client"),
    "schedulerd.ctl_parser": ("schedulerd", "schedulerd_client"),
    "schedulerd.ctl_remote": ("schedulerd", "schedulerd_client"),
    "schedulerd.top": ("schedulerd", "schedulerd_client", "blockstore"),
    "schedulerd.demo": ("schedulerd", "schedulerd_client", "blockprofiles", "blockstore"),
    "schedulerd.scenes": ("schedulerd", "schedulerd_client", "blockprofiles", "blockstore"),
}
ZMQ_USERS = (
    "schedulerd.serving.zmqport",
    # Operators on other machines: sockets, keys and a thread of their own, so that no lane is kept from its blocks.
    *("schedulerd.serving.curve", "schedulerd.serving.zap"),
    "schedulerd_client",
)
# Neither a clock, nor a socket, a log or a device: equal problems have equal plans, whenever and wherever.
SURROUNDINGS = (
    *("time", "datetime", "sched", "asyncio", "selectors", "socket", "ssl", "http", "urllib", "zmq", "msgpack"),
    *("logging", "structlog", "syslog", "psutil", "resource", "platform", "os", "sys", "pynvml", "jtop"),
    *("onnxruntime", "torch", "secrets", "random"),
)
# What importing must stay cheap, and where the heavy packages may be named at the top of a file.
TORCH_USERS = (
    *("blockstore.build", "blockstore.zoo", "blockstore.torchform"),
    *("schedulerd.serving.engines.torch", "schedulerd.serving.engines.torch_graph"),
)


def modules() -> list[tuple[str, Path]]:
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            found.append((".".join(p for p in parts if p != "__init__"), path))
    return found


def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the package in full"
            found.add(node.module or "")
    return found


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in prefixes)


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_follow_the_arrows(module: str, path: Path) -> None:
    rule = max((p for p in ALLOWED if within(module, (p,))), key=len)
    for imported in imports_of(path):
        if within(imported, OURS):
            assert within(imported, ALLOWED[rule]), f"{module} may not import {imported}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_the_optimizer_reads_no_clock_socket_log_or_device(module: str, path: Path) -> None:
    """A solver in its hands may: it is a process or native code, and keeps a time limit."""
    if within(module, ("schedulerd.optimizer",)):
        for imported in imports_of(path):
            assert not within(imported, SURROUNDINGS), f"{module} imports {imported}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_one_file_of_the_daemon_and_the_sdk_speak_zeromq(module: str, path: Path) -> None:
    if any(within(imported, ("zmq",)) for imported in imports_of(path)):
        assert within(module, ZMQ_USERS), f"{module} imports zmq"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_torch_is_imported_only_where_a_torch_engine_or_the_builder_is(module: str, path: Path) -> None:
    if any(within(imported, ("torch", "torch_pruning")) for imported in imports_of(path, top_level_only=True)):
        assert within(module, TORCH_USERS), f"{module} imports torch when it is imported"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_every_file_opens_with_a_caption(module: str, path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_one_file_knows_the_library_of_prometheus(module: str, path: Path) -> None:
    """The table of metrics does not, nor does a daemon import it that serves none."""
    if any(within(imported, ("prometheus_client",)) for imported in imports_of(path)):
        assert module == "schedulerd.metrics.collector"


def test_nothing_of_ours_unpickles() -> None:
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for module, path in modules():
        assert not banned & {name.split(".")[0] for name in imports_of(path)}, module
