"""The builder on CIFAR-10: what a store of ResNet-20 and of ResNet-56 costs to make, and how good its routes are.

Needs ../shared beside the checkout (weights and images). Beside the store's best route at each share of the original's
latency stand whole-network pruning (`wholemodel`) and the peer's rule: inner widths only, blocks timed alone, drops
added up. The accuracy that is reported is of 6000 test images that retraining and the accuracy model have not seen.
Stores and reports are left in out/builder.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, Options, Target, main
from benchmarks.routes import Chain, Routes, accuracy, frame_of, share_of
from benchmarks.search import peers_choice
from benchmarks.storebuild import (
    BUILD_TIMEOUT_S,
    OUT,
    RECIPES,
    SHARED,
    TOLERANCE,
    Build,
    accuracy_model_mae,
    build,
    measured,
    route_within,
)
from benchmarks.wholemodel import Lesson, Task, onnx_of, pruned, retrained
from blockstore.accuracy_model import Route
from blockstore.block import TensorSpec
from blockstore.build import pipeline, weights
from blockstore.build.images import Labelled
from blockstore.build.progress import shown
from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from blockstore.zoo.datasets import cifar10
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.resnet import CifarResNet
from schedulerd.serving.engines.onnx import OnnxBlock, OnnxEngine

IMAGES = SHARED / "data" / "cifar10"
DEPTHS = (20, 56)
OVERALL = ("accuracy_model_mae", "peak_rss_mb")
SHARES = (100, 80, 60, 50, 40)
HELD_OUT = 2000
"""Test images from the front that the accuracy model is made with; all others are for the figures."""
TRAINING_IMAGES = 10000
RECIPE = RECIPES / "resnet.toml"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = {20: 5, 56: 6}
PEER_BLOCKS = {20: 9, 56: 27}
PEER_CPU_S = {20: 11 + 278 + 240, 56: 30 + 809 + 929}
"""What the peer's own code took on one core: to generate, retrain and profile accuracy."""


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure, or the reason why there is none."""
    if not IMAGES.is_dir():
        reason = "needs ../shared beside the checkout"
        return {f: Figure(None, "-", reason=reason) for f in FIGURES if options.wants(f)}
    found: dict[str, Figure] = {}
    for depth in DEPTHS:
        if options.wants(*figures_of(depth), *OVERALL):
            found |= measured(f"resnet{depth}", figures_of(depth), partial(_network, depth, options.quick))
    found |= _overall(found)
    return {name: figure for name, figure in found.items() if options.wants(name)}


def _overall(found: Mapping[str, Figure]) -> dict[str, Figure]:
    """The worse of the two networks; none where one has none."""
    overall = {}
    for name in OVERALL:
        parts = [f for depth in DEPTHS if (f := found.get(f"resnet{depth}_{name}")) and f.value is not None]
        if len(parts) == len(DEPTHS):
            overall[name] = max(parts, key=lambda f: f.value or 0.0)
    return overall


def _network(depth: int, quick: bool) -> dict[str, Figure]:
    """The figures of one network, without its name."""
    made = build(f"resnet{depth}", ["--recipe", str(RECIPE), "--blocks", str(BLOCKS[depth]), *_what(depth, quick)])
    unseen = cifar10(str(IMAGES), test_first=HELD_OUT, test_limit=500 if quick else 0).held_out()
    with Store.open(OUT / f"resnet{depth}") as store:
        routes = Routes(store, f"resnet{depth}")
    peer, peers_alone_ms = _peer(depth, quick)
    whole = _whole(depth, routes, made.cpu_s["craft"], quick)
    return {**_costs(depth, routes, made), **_compared(routes, whole, peer, peers_alone_ms, unseen)}


def _costs(depth: int, routes: Routes, made: Build) -> dict[str, Figure]:
    variants = [len(block.variants) for block in routes.model.blocks]
    return {
        "variants": Figure(made.variants, "count", Target(">=", 5 * PEER_BLOCKS[depth])),
        "variants_kept": Figure(sum(variants), "count"),
        "combinations": Figure(float(np.prod(variants)), "count"),
        "build_s": Figure(sum(made.cpu_s.values()), "CPU s", Target("<=", PEER_CPU_S[depth])),
        **{f"{stage}_s": Figure(cpu_s, "CPU s") for stage, cpu_s in made.cpu_s.items()},
        "peak_rss_mb": Figure(made.peak_rss_mb, "MB"),
        "accuracy_model_mae": accuracy_model_mae(routes, Target("<=", 1.5)),
    }


def _compared(
    routes: Routes,
    whole: Mapping[int, Chain],
    peer: Routes,
    peers_alone_ms: Sequence[Sequence[float]],
    unseen: Labelled,
) -> dict[str, Figure]:
    """Accuracy and measured share of latency of each side at each share."""
    labels = unseen.class_labels()
    drops = [[v.accuracy_drop for v in block.variants] for block in peer.model.blocks]
    chosen: dict[str, Chain] = {}
    for share in SHARES:
        chosen[f"acc_{share}"] = routes.chain(_route(routes, share, floats_only=False))
        chosen[f"float_acc_{share}"] = routes.chain(_route(routes, share, floats_only=True))
        chosen[f"peer_acc_{share}"] = peer.chain(peers_choice(drops, peers_alone_ms, share / 100))
        if share in whole:
            chosen[f"whole_acc_{share}"] = whole[share]
    frame = frame_of(routes.model)
    whole_accuracy = accuracy(routes.chain(routes.original), unseen.images, labels)
    found = {"original_acc": Figure(100 * whole_accuracy, "%")}
    for name, chain in chosen.items():
        what, _, percent = name.rpartition("_")
        own = peer if what == "peer_acc" else routes
        latency, samples_ms = share_of(chain, own.chain(own.original), frame)
        # Baselines are held to their own rules, which may be wrong; what they come to is shown.
        target = Target("<=", TOLERANCE * float(percent)) if what == "acc" else None
        found[f"{what}_at_{percent}"] = Figure(100 * accuracy(chain, unseen.images, labels), "%")
        found[f"{what.removesuffix('acc')}latency_at_{percent}"] = Figure(100 * latency, "%", target, samples_ms)
    return {**found, **_gains(found)}


def _gains(found: Mapping[str, Figure]) -> dict[str, Figure]:
    def value(name: str) -> float:
        figure = found[name].value
        assert figure is not None
        return figure

    over_peer = min(value(f"acc_at_{share}") - value(f"peer_acc_at_{share}") for share in SHARES)
    whole = value("whole_acc_at_50")
    return {
        "gain_over_whole_at_50": Figure(value("acc_at_50") - whole, "points", Target(">=", 10)),
        "float_gain_over_whole_at_50": Figure(value("float_acc_at_50") - whole, "points"),
        "gain_over_peer_min": Figure(over_peer, "points", Target(">=", 0)),
    }


def _route(routes: Routes, share: int, floats_only: bool) -> Route:
    """The best within the share, of all variants or without those in INT8."""

    def allowed(block: int, variant: int) -> bool:
        return not (floats_only and "int8" in routes.model.blocks[block].variants[variant].kind)

    return route_within(routes, share, allowed)


def _what(depth: int, quick: bool) -> list[str]:
    images = 500 if quick else TRAINING_IMAGES
    data = f"blockstore.zoo.datasets:cifar10?path={IMAGES}&train_limit={images}&test_limit={200 if quick else HELD_OUT}"
    weights = SHARED / "models" / f"resnet{depth}-cifar10.safetensors"
    return ["--model", f"blockstore.zoo.resnet:cifar_resnet?depth={depth}", "--weights", str(weights), "--data", data]


def _peer(depth: int, quick: bool) -> tuple[Routes, list[list[float]]]:
    """The peer's variants, made by our builder as the peer's code makes them.

    A unit a block, exact widths, two epochs of 5000 images, Adam at 3e-4.
    """
    settings = BuildSettings(
        name="peer",
        input=TensorSpec("uint8", (32, 32, 3)),
        mean=MEAN,
        std=STD,
        blocks=PEER_BLOCKS[depth],
        variants=tuple(f"prune:{ratio}" for ratio in (0.2, 0.4, 0.6, 0.8)),
        width_multiple=1,
        epochs=2,
        batch_size=16,
        learning_rate=3e-4,
        fit_routes=60,
        check_routes=0,
        processes=2,
    )
    data = cifar10(str(IMAGES), 500 if quick else 5000, test_limit=200 if quick else HELD_OUT)
    folder = OUT / f"peer{depth}"
    shutil.rmtree(folder, ignore_errors=True)
    with Store.open(folder, create=True) as store, shown() as progress:
        pipeline.build(_original(depth), data, settings, store, folder / "build", progress)
        routes = Routes(store, "peer")
    return routes, routes.alone_ms()


def _whole(depth: int, routes: Routes, cpu_s: float, quick: bool) -> dict[int, Chain]:
    """For each share below 100 a retrained network, pruned as a whole to the largest widths that measure within it."""
    network = _original(depth)
    preprocess = Preprocess(MEAN, STD)
    shares = SHARES[1:]
    data = OUT / "images.npz"
    images = cifar10(str(IMAGES), 500 if quick else TRAINING_IMAGES).train()
    np.savez(data, images=images.images, labels=images.class_labels())
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        widths = _widths(network, preprocess, routes, Path(folder))
        # The same processor time as all variants of the store together took.
        lesson = Lesson(2.0 if quick else cpu_s / len(shares), batch_size=16, learning_rate=3e-3)
        tasks = [Task(network, widths[share], preprocess, data, lesson) for share in shares]
        chains: dict[int, Chain] = {}
        for share, (onnx, epochs) in zip(shares, pool.map(retrained, tasks, timeout=BUILD_TIMEOUT_S), strict=True):
            print(f"whole resnet{depth} at {share}%: widths {widths[share]}, {epochs:.1f} epochs", file=sys.stderr)
            chains[share] = [_loaded(onnx, Path(folder) / f"whole{share}.onnx")]
    return chains


def _widths(network: CifarResNet, preprocess: Preprocess, routes: Routes, folder: Path) -> dict[int, tuple[int, ...]]:
    """For each share the largest widths whose network measures within it, or the smallest."""
    original, frame = routes.chain(routes.original), frame_of(routes.model)
    latencies: dict[int, float] = {}
    for narrow in range(1, 16):
        onnx = onnx_of(pruned(network, _stages(narrow)), preprocess)
        latencies[narrow], _ = share_of([_loaded(onnx, folder / f"{narrow}.onnx")], original, frame)
    return {
        share: _stages(max((n for n, latency in latencies.items() if latency <= TOLERANCE * share / 100), default=1))
        for share in SHARES[1:]
    }


def _stages(narrow: int) -> tuple[int, ...]:
    return narrow, 2 * narrow, 4 * narrow


def _loaded(onnx: bytes, path: Path) -> OnnxBlock:
    path.write_bytes(onnx)
    return OnnxEngine(threads=1).load(path)


def _original(depth: int) -> CifarResNet:
    network = CifarResNet(depth)
    weights.load_weights(network, SHARED / "models" / f"resnet{depth}-cifar10.safetensors")
    return network.eval()


def figures_of(depth: int) -> tuple[str, ...]:
    """Names of the figures of one network."""
    costs = ("variants", "variants_kept", "combinations", "build_s", "cut_s", "craft_s", "evaluate_s", "time_s")
    sides = ("", "float_", "peer_", "whole_")
    measured = [
        f"{side}{what}_at_{share}"
        for side in sides
        for what in ("acc", "latency")
        for share in SHARES
        if side != "whole_" or share < 100
    ]
    gains = ("original_acc", "gain_over_whole_at_50", "float_gain_over_whole_at_50", "gain_over_peer_min")
    return tuple(f"resnet{depth}_{name}" for name in (*costs, *OVERALL, *gains, *measured))


FIGURES = (*(name for depth in DEPTHS for name in figures_of(depth)), *OVERALL)

if __name__ == "__main__":
    sys.exit(main("builder", FIGURES, measure))
