"""The builder on networks that come as ONNX files: FastestDet and MobileFaceNet, at 80 and 60% of their latency.

Needs ../shared beside the checkout (networks, videos, faces) and PyAV, which reads the videos. Each is built by
`schedulerd build --model FILE.onnx`, without labels. Reported is how far the store's best route at each share agrees
with the ONNX file, run whole by onnxruntime, on frames and on persons that neither retraining nor the accuracy model
has seen. 100% of the latency is that of the store's original blocks. Stores and reports are left in out/builder.
"""

from __future__ import annotations

import statistics
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Figure, Options, main
from benchmarks.routes import Array, Chain, Routes, frame_of, in_turns_ms, run
from benchmarks.storebuild import OUT, RECIPES, SHARED, Build, accuracy_model_mae, build, measured, route_within
from blockstore.build import named
from blockstore.build.evaluate import route_tallies
from blockstore.build.images import Labelled
from blockstore.build.tasks.registry import parse_task
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxEngine

SHARES = (80, 60)
BATCH = 8


@dataclass(frozen=True)
class Subject:
    """One network, with what its store is built from and judged by."""

    name: str
    """Also that of its recipe."""
    file: Path
    data: str
    """What the build may see, its own held-out part too."""
    unseen: str
    """Its held-out part is what the build has not seen."""
    scores: Mapping[str, tuple[str, str]]
    """Figures by name: a score of the recipe's task, and the unit."""


VIDEOS = f"blockstore.zoo.datasets:video?path={SHARED / 'data' / 'video'}&order=bgr"
FACES = f"blockstore.zoo.datasets:faces?path={SHARED / 'data' / 'faces'}"
SUBJECTS = (
    Subject(
        "fastestdet",
        SHARED / "models" / "fastestdet-coco.onnx",
        f"{VIDEOS}&every=4&held_out_from=60&held_out_to=80",
        f"{VIDEOS}&every=4&held_out_from=80",
        {"agreement": ("agreement_f1", "%")},
    ),
    Subject(
        "mobilefacenet",
        SHARED / "models" / "mobilefacenet.onnx",
        f"{FACES}&labelled=0&mirrored=1&held_out_from=24&held_out_to=30",
        f"{FACES}&held_out_from=30",
        {"cosine": ("cosine", "1"), "rank1": ("rank1", "%")},
    ),
)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure, or the reason why there is none."""
    if not SHARED.is_dir():
        reason = "needs ../shared beside the checkout"
        return {f: Figure(None, "-", reason=reason) for f in FIGURES if options.wants(f)}
    found: dict[str, Figure] = {}
    for subject in SUBJECTS:
        if options.wants(*figures_of(subject)):
            found |= measured(subject.name, figures_of(subject), partial(_network, subject, options.quick))
    return {name: figure for name, figure in found.items() if options.wants(name)}


def _network(subject: Subject, quick: bool) -> dict[str, Figure]:
    """The figures of one network, without its name."""
    less = ["--epochs", "1", "--fit-routes", "8", "--check-routes", "4"] if quick else []
    recipe = RECIPES / f"{subject.name}.toml"
    options = ["--recipe", str(recipe), "--model", str(subject.file), "--data", subject.data]
    made = build(subject.name, [*options, *less])
    with Store.open(OUT / subject.name) as store:
        routes = Routes(store, subject.name)
    chains = {100: routes.chain(routes.original)}
    for share in SHARES:
        route = route_within(routes, share)
        print(f"{subject.name} at {share}%: {routes.names(route)}", file=sys.stderr)
        chains[share] = routes.chain(route)
    original = _Original(subject)
    return {
        **_costs(routes, made),
        **_latencies(chains, original, frame_of(routes.model)),
        **_scores(subject, chains, original),
    }


def _costs(routes: Routes, made: Build) -> dict[str, Figure]:
    return {
        "blocks": Figure(len(routes.model.blocks), "count"),
        "variants": Figure(made.variants, "count"),
        "variants_kept": Figure(sum(len(b.variants) for b in routes.model.blocks), "count"),
        "build_s": Figure(sum(made.cpu_s.values()), "CPU s"),
        "peak_rss_mb": Figure(made.peak_rss_mb, "MB"),
        "accuracy_model_mae": accuracy_model_mae(routes),
    }


def _latencies(chains: Mapping[int, Chain], original: _Original, frame: Array) -> dict[str, Figure]:
    """Each route's share of the latency of the original blocks, and that of the file on a frame made ready for it."""
    routes = {str(share): partial(run, chain, frame) for share, chain in chains.items()}
    times = in_turns_ms({**routes, "file": partial(original.network.run, original.ready(frame))})
    whole_ms = statistics.median(times["100"])
    shares = {n: Figure(100 * statistics.median(t) / whole_ms, "%", None, {"ms": t}) for n, t in times.items()}
    return {
        "original_ms": Figure(whole_ms, "ms", None, {"ms": times["100"]}),
        "file_latency": shares["file"],
        **{f"latency_at_{share}": shares[str(share)] for share in SHARES},
    }


def _scores(subject: Subject, chains: Mapping[int, Chain], original: _Original) -> dict[str, Figure]:
    """How far each route agrees with the file on the unseen images."""
    unseen: Labelled = named.call(subject.unseen).held_out()
    reference = parse_task(original.recipe["task"]).reference(original.outputs(unseen.images), unseen)
    found = {}
    for share, chain in chains.items():
        blocks = [[block.run] for block in chain]
        route = (0,) * len(chain)
        tally = route_tallies(blocks, [route], unseen.images, 0, reference, BATCH)[route]
        for name, (score, unit) in subject.scores.items():
            found[f"{name}_at_{share}"] = Figure((100 if unit == "%" else 1) * tally.score().figures[score], unit)
    return found


class _Original:
    """The ONNX file as it came, run whole on one thread, frame by frame: its batch may be fixed."""

    def __init__(self, subject: Subject) -> None:
        self.recipe: dict[str, Any] = tomllib.loads((RECIPES / f"{subject.name}.toml").read_text())
        self.network = OnnxEngine(threads=1).load(subject.file)

    def outputs(self, frames: Array) -> Iterator[Array]:
        """What it gives for each of `frames`, uint8 `[n, h, w, c]`."""
        for start in range(len(frames)):
            yield self.network.run(self.ready(frames[start : start + 1]))

    def ready(self, frames: Array) -> Array:
        """`frames` normalised, float32 `[n, c, h, w]`."""
        mean, std = np.array(self.recipe.get("mean", 0.0)), np.array(self.recipe.get("std", 1.0))
        return np.ascontiguousarray(((frames / 255 - mean) / std).transpose(0, 3, 1, 2), np.float32)


def figures_of(subject: Subject) -> tuple[str, ...]:
    """Names of the figures of one network."""
    counted = ("blocks", "variants", "variants_kept", "build_s", "peak_rss_mb", "accuracy_model_mae")
    timed = ("original_ms", "file_latency", *(f"latency_at_{share}" for share in SHARES))
    judged = (f"{name}_at_{share}" for name in subject.scores for share in (100, *SHARES))
    return tuple(f"{subject.name}_{name}" for name in (*counted, *timed, *judged))


FIGURES = tuple(figure for subject in SUBJECTS for figure in figures_of(subject))

if __name__ == "__main__":
    sys.exit(main("onnx_models", FIGURES, measure))
