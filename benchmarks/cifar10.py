"""CIFAR-10 ResNet-20, built by `schedulerd build` and served by the daemon: accuracy at three budgets.

Needs ../shared beside the checkout (weights and images). The store is kept in out/cifar10-store; the first run
builds it, which takes some minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.daemons import daemon
from benchmarks.harness import Figure, Options, main
from blockstore.store import Store
from schedulerd.serving.meter import percentile
from schedulerd_client import Client

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
STORE = ROOT / "out" / "cifar10-store"
MODEL = "resnet20-cifar10"
MEAN, STD = "0.485,0.456,0.406", "0.229,0.224,0.225"
BUDGETS = {"roomy": 1.0, "middle": 0.5, "tight": 0.0}
"""Where the budget lies between the p95 of the fastest route (0) and that of the quickest lossless one (1)."""
OVERHEAD_MS = 0.35
"""What the optimizer adds to a route for serving, and a little room."""
FIGURES = tuple(
    f"{name}_{what}" for name in BUDGETS for what in ("accuracy", "predicted_accuracy", "budget_ms", "p95_ms")
)
BUILD_TIMEOUT_S = 3600


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure, or the reason why there is none."""
    if not (SHARED / "data" / "cifar10").is_dir():
        reason = "needs ../shared beside the checkout"
        return {f: Figure(None, "-", reason=reason) for f in FIGURES if options.wants(f)}
    if not _built():
        _build()
    images, labels = _test_images(500 if options.quick else 0)
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="schedulerd-bench-") as name:
        folder = Path(name)
        with daemon(STORE, folder / "state", folder / "run") as control, Client(folder / "run") as client:
            model = next(m for m in control.models()["models"] if m["model"] == MODEL)
            client.register(MODEL, budget_ms=1000, rate_hz=10, app="cifar")
            for budget, share in BUDGETS.items():
                fastest_ms, lossless_ms = model["fastest_p95_ms"], model["lossless_p95_ms"]
                budget_ms = OVERHEAD_MS + fastest_ms + share * (lossless_ms - fastest_ms)
                control.set_budget("cifar", budget_ms)
                found |= _served(client, budget, budget_ms, images, labels)
    return {name: figure for name, figure in found.items() if options.wants(name)}


def _served(client: Client, name: str, budget_ms: float, images: Any, labels: Any) -> dict[str, Figure]:
    """Send every image, one after the other."""
    replies = [client.infer(image) for image in images]
    right = [float(np.argmax(r.outputs[0]) == label) for r, label in zip(replies, labels, strict=True)]
    served_ms = [r.queue_ms + r.run_ms for r in replies]
    return {
        f"{name}_accuracy": Figure(sum(right) / len(right), "of 1", None, {"right": right}),
        f"{name}_predicted_accuracy": Figure(sum(r.accuracy for r in replies) / len(replies), "of 1"),
        f"{name}_budget_ms": Figure(budget_ms, "ms"),
        f"{name}_p95_ms": Figure(percentile(served_ms, 0.95), "ms", None, {"served": served_ms}),
    }


def _built() -> bool:
    if not STORE.is_dir():
        return False
    with Store.open(STORE) as store:
        return MODEL in store.models()


def _build() -> None:
    data = f"blockstore.zoo.datasets:cifar10?path={SHARED / 'data' / 'cifar10'}&train_limit=10000"
    command = [sys.executable, "-m", "schedulerd", "build", "--name", MODEL, "--store", str(STORE)]
    command += [
        "--model",
        "blockstore.zoo.resnet:cifar_resnet?depth=20",
        "--input",
        "32x32x3",
        "--mean",
        MEAN,
        "--std",
        STD,
    ]
    command += ["--weights", str(SHARED / "models" / "resnet20-cifar10.safetensors"), "--data", data]
    command += ["--blocks", "5", "--epochs", "4", "--variants", "prune:0.25", "prune:0.5", "prune:0.75"]
    subprocess.run([*command, "--batch-size", "32", "--learning-rate", "0.001"], check=True, timeout=BUILD_TIMEOUT_S)


def _test_images(limit: int) -> tuple[Any, Any]:
    from blockstore.zoo.datasets import cifar10

    held_out = cifar10(str(SHARED / "data" / "cifar10"), test_limit=limit).held_out()
    return held_out.images, held_out.labels


if __name__ == "__main__":
    sys.exit(main("cifar10", FIGURES, measure))
