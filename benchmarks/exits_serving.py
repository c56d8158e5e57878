"""Exits in service: frames that would be late, what evaluating an exit costs the executor, heads behind variants.

The model is ResNet-56 with the exits of `exits_study`, in a store of its own and behind a real daemon. A frame of
ResNet-20 takes 0.5 ms, and serving it nearly half as much again: an overload of that is one of the daemon, and no exit
relieves it. Heads behind variants are those of ResNet-20.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.backbones import BACKBONES, MEAN, OUT, Backbone, parts, taught
from benchmarks.daemons import daemon
from benchmarks.exits_routes import routes_gain
from benchmarks.exits_study import EPOCHS, SETS, Study, study
from benchmarks.harness import Figure, Options
from blockstore.block import Artifact, Block, Model, TensorSpec, Variant
from blockstore.build.exits.finish import finish
from blockstore.build.progress import Progress, shown
from blockstore.exits import FINAL
from blockstore.store import Store
from schedulerd.clock import SystemClock
from schedulerd.plan import App, Route
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.engines.onnx import OnnxEngine
from schedulerd.serving.executor import Executor
from schedulerd.serving.job import Job
from schedulerd.serving.route import LoadedExit, LoadedRoute, RouteExits
from schedulerd_client import AsyncClient, SchedulerdClientError

POLICIES = ("exit", "drop", "run")
FIGURES = (
    *(f"overload_{what}_{late}" for what in ("in_time", "accuracy", "right_in_time") for late in POLICIES),
    "overload_rate_hz",
    "exit_overhead_us",
    "exit_head_us",
    "routes_gain",
)
OVERLOAD = 1.5
BUDGET = 6.0
"""Budget of a frame, in times of the whole route."""
PASSES = 4
"""In which the late policies take turns."""
SECONDS = 2.0
"""Of each."""
SERVED, VARIED = BACKBONES[1], BACKBONES[0]
NAME = "resnet56-exits"
CONFIG = "[engine]\nthreads_per_lane = 1\n"


def measure(options: Options) -> dict[str, Figure]:
    """The figures of this file; variants for `routes_gain` are made only where it is wanted."""
    threads = psutil.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="schedulerd-bench-") as scratch, shown() as progress:
        folder = Path(scratch)
        found: dict[str, Figure] = {}
        if options.wants(*(f for f in FIGURES if f != "routes_gain")):
            made = _study(SERVED, folder, options.quick, threads, progress)
            with Store.open(folder / "store", create=True) as store:
                store.put_model(_model(made, store))
                found |= _overhead(store, 50 if options.quick else 1500)
            found |= asyncio.run(_overload(folder, made, 0.5 if options.quick else SECONDS))
        if options.wants("routes_gain"):
            made = _study(VARIED, folder, options.quick, threads, progress)
            found |= routes_gain(made, folder / "routes", threads, options.quick, progress)
        return found


def _study(backbone: Backbone, folder: Path, quick: bool, threads: int, progress: Progress) -> Study:
    images = parts(quick)
    network = taught(backbone, images.learning, quick)
    return study(backbone, network, images, folder if quick else OUT, 1 if quick else EPOCHS, threads, progress)


def _model(made: Study, store: Store) -> Model:
    """The originals and every exit of the study: the deadline may choose among all."""
    heads = made.final["mxn"]
    # As given heads are, all of them kept.
    school = replace(made.school, settings=replace(SETS["branchynet"], confidence="max_probability"))
    attached = finish(school, heads.learners, store)
    blocks = []
    for finished, block in zip(made.finished, made.blocks, strict=True):
        forms = finished.forms()
        artifact = Artifact("onnxruntime", store.put_blob(forms.onnx), len(forms.onnx))
        original = Variant("original", "original", (artifact,), 0.0, forms.parameters, forms.multiply_adds)
        blocks.append(Block(block.index, block.name, block.input, block.output, (original,)))
    return Model(
        NAME,
        TensorSpec("uint8", (32, 32, len(MEAN))),
        blocks[-1].output,
        heads.test.full_accuracy,
        len(made.images.test),
        tuple(blocks),
        exits=attached.exits,
        policies=attached.policies,
    )


# Overload.


async def _overload(folder: Path, made: Study, seconds: float) -> dict[str, Figure]:
    frames, labels = made.images.test.images, made.images.test.class_labels()
    found: dict[str, Figure] = {}
    with daemon(folder / "store", folder / "state", folder / "run", CONFIG):
        frame_s = await _frame_s(folder / "run", frames)
        rate_hz = OVERLOAD / frame_s
        found["overload_rate_hz"] = Figure(rate_hz, "Hz")
        answers: dict[str, list[tuple[int, Any]]] = {late: [] for late in POLICIES}
        for _ in range(PASSES):
            for late in POLICIES:
                answers[late] += await _sent(folder / "run", late, 1e3 * BUDGET * frame_s, rate_hz, seconds, frames)
        for late in POLICIES:
            found |= _of_answers(late, answers[late], labels)
    return found


async def _frame_s(runtime: Path, frames: Any) -> float:
    """Time that the lane needs for a frame when it never waits: two are always in flight."""
    async with AsyncClient(runtime) as client:
        await client.register(NAME, budget_ms=1000, rate_hz=10, exits={FINAL: 0})

        async def stream(first: int) -> None:
            for index in range(first, first + 300):
                await client.infer(frames[index % len(frames)])

        await stream(0)
        began_s = time.perf_counter()
        await asyncio.gather(stream(0), stream(300))
        return (time.perf_counter() - began_s) / 600


async def _sent(
    runtime: Path, late: str, budget_ms: float, rate_hz: float, seconds: float, frames: Any
) -> list[tuple[int, Any]]:
    """Every frame that was sent, with its reply; None where it was refused."""
    answers: list[tuple[int, Any]] = []
    async with AsyncClient(runtime, timeout_s=20.0) as client:
        await client.register(
            NAME, budget_ms=budget_ms, rate_hz=min(1000.0, rate_hz), late=late, exits={FINAL: 0}, app=f"cam-{late}"
        )

        async def one(number: int) -> None:
            try:
                reply = await client.infer(frames[number % len(frames)])
            except SchedulerdClientError:
                reply = None
            answers.append((number % len(frames), reply))

        tasks, began_s = [], time.perf_counter()
        while (elapsed_s := time.perf_counter() - began_s) < seconds:
            tasks += [asyncio.create_task(one(number)) for number in range(len(tasks), int(elapsed_s * rate_hz) + 1)]
            await asyncio.sleep(0.0005)
        await asyncio.gather(*tasks)
    return answers


def _of_answers(late: str, answers: Sequence[tuple[int, Any]], labels: Any) -> dict[str, Figure]:
    """Shares of all frames that were sent; accuracy of those that were answered."""
    met = [reply is not None and reply.deadline_met for _, reply in answers]
    right = [reply is not None and int(np.argmax(reply.outputs[0])) == labels[index] for index, reply in answers]
    answered = sum(reply is not None for _, reply in answers)
    left = [reply.exit for _, reply in answers if reply is not None]
    at = {name: [float(left.count(name))] for name in sorted(set(left))}
    return {
        f"overload_in_time_{late}": Figure(100 * sum(met) / len(answers), "% of frames", None, at),
        f"overload_accuracy_{late}": Figure(100 * sum(right) / max(1, answered), "% of answers"),
        f"overload_right_in_time_{late}": Figure(
            100 * sum(m and r for m, r in zip(met, right, strict=True)) / len(answers), "% of frames"
        ),
    }


# What an exit costs the executor.


def _overhead(store: Store, rounds: int) -> dict[str, Figure]:
    """Time of a request on a route with one exit that nobody takes, less that without, less that of the head alone."""
    model = store.model(NAME)
    engine = OnnxEngine(threads=1)
    blocks = tuple(engine.load(store.path(b.variants[0].artifacts[0].digest)) for b in model.blocks)
    chosen = next(e for e in model.exits if len(e.inputs) == 1)
    head = engine.load_head(store.path(chosen.artifacts[0].digest))
    never = LoadedExit(chosen.name, chosen.block, chosen.inputs, head, 2.0, chosen.curves.of(()), 0.0)
    names = tuple(b.name for b in model.blocks)
    bare = LoadedRoute(Route(NAME, names, names), blocks, 1, 0.9, ())
    routes = {"with": replace(bare, exits=RouteExits.of([never], len(blocks))), "without": bare}
    executor = Executor(engine, SystemClock())
    frame = np.random.default_rng(0).integers(0, 256, (1, *model.input.shape), np.uint8)
    times_us: dict[str, list[float]] = {"with": [], "without": [], "head": []}
    tensor = frame
    for block in blocks[: chosen.block + 1]:
        tensor = block.run(tensor)
    for _ in range(rounds):
        for name, route in routes.items():
            times_us[name].append(_served_us(executor, route, model, frame))
        began_s = time.perf_counter()
        head.run([tensor])
        times_us["head"].append(1e6 * (time.perf_counter() - began_s))
    medians = {name: statistics.median(times) for name, times in times_us.items()}
    added_us = medians["with"] - medians["without"] - medians["head"]
    return {
        "exit_overhead_us": Figure(added_us, "us", None, times_us),
        "exit_head_us": Figure(medians["head"], "us"),
    }


def _served_us(executor: Executor, route: LoadedRoute, model: Model, frame: Any) -> float:
    app = LiveApp(App("bench", NAME, 1000.0, 10.0), b"bench", model.input, model.output)
    app.route = route
    job = Job(app, 1, frame, 0.0)
    began_s = time.perf_counter()
    executor.start(job)
    while not executor.step(job):
        pass
    executor.finish(job)
    return 1e6 * (time.perf_counter() - began_s)
