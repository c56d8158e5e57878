"""The shipped scenes: as schedulerd plays them, with full models always, with the smallest always.

They run on the demo's store, and where memory is taken away on larger networks for CIFAR. All three play the same
roles: budgets, rates and played memory are cast once, on the whole store. A baseline has no choice, and knows nothing
of what cannot be met, so beside them every frame counts (`..._frames_in_budget`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.control_stores import STORES, cifar_store, only_choice
from benchmarks.harness import Figure, Options, Target
from schedulerd.demo.stock import demo_store
from schedulerd.scenes.figures import Figures, figures
from schedulerd.scenes.hindsight import weighted
from schedulerd.scenes.house import Setting
from schedulerd.scenes.library import find
from schedulerd.scenes.player import play
from schedulerd.scenes.record import Story
from schedulerd.scenes.script import KilledForMemory, Ramp, Scene, scaled
from schedulerd.scenes.view import PlainView

SCENES = ("calm", "cpu-hogs", "memory-squeeze", "heat-ramp", "app-churn", "budget-storm")
MEMORY_SCENE = "memory-squeeze"
"""Played on larger networks than the demo's."""
QUICK_SCALE = 0.2
AT_ONCE_MS, TREND_MS = 500.0, 1000.0
_OURS = ("in_budget", "react_p95_ms", "swaps_per_min", "accuracy_gap", "frames_in_budget", "accuracy")
_BASELINES = tuple(f"{store}_{name}" for store in STORES for name in ("frames_in_budget", "accuracy"))


def _names(scene: str) -> tuple[str, ...]:
    prefix = _prefix(scene)
    squeeze = ("squeeze_oom", "squeeze_lost") if scene == MEMORY_SCENE else ()
    return (*(f"{prefix}_{name}" for name in (*_OURS, *_BASELINES)), *squeeze)


def _prefix(scene: str) -> str:
    return scene.replace("-", "_")


BY_SCENE = {scene: _names(scene) for scene in SCENES}


def measure(name: str, options: Options, folder: Path) -> dict[str, Figure]:
    """One scene, and those of its baselines that were asked for."""
    scene = scaled(find(name), QUICK_SCALE if options.quick else 1.0)
    setting = _setting(name, folder)
    try:
        story = play(scene, setting, PlainView(_silent))
    except KilledForMemory as error:
        reason = str(error).splitlines()[0]
        return {
            **{figure: Figure(None, "-", reason=reason) for figure in BY_SCENE[name]},
            "squeeze_oom": Figure(1, "kills", Target("<=", 0)),
        }
    found = _ours(story, figures(story))
    for store in STORES:
        if options.wants(*(f"{_prefix(name)}_{store}_{figure}" for figure in ("frames_in_budget", "accuracy"))):
            found |= _baseline(scene, setting, story, store, folder)
    prefixed = {f"{_prefix(name)}_{figure}": value for figure, value in found.items()}
    return {**prefixed, **(_squeeze(story) if name == MEMORY_SCENE else {})}


def _setting(name: str, folder: Path) -> Setting:
    if name == MEMORY_SCENE:
        state = folder / "cifar"
        state.mkdir(exist_ok=True)
        return Setting(cifar_store(folder / "cifar-store"), state)
    state = folder / "demo"
    return Setting(demo_store(state), state, "digits")


def _ours(story: Story, counted: Figures) -> dict[str, Figure]:
    shares = {p.name: [p.feasible.share] for p in counted.phases if p.feasible.share is not None}
    reactions = [r.ms for r in counted.reactions if r.ms is not None]
    # The target is that of its disturbances: what is detectable at once, or a trend.
    trend = any(isinstance(deed.action, Ramp) for deed in story.deeds)
    target_ms = TREND_MS if trend else AT_ONCE_MS
    gaps = {p.name: [p.accuracy_given_up] for p in counted.phases if p.accuracy_given_up is not None}
    none = "nothing happens in this scene" if not story.deeds else "no plan followed"
    steady = "it has no steady phase"
    return {
        "in_budget": _figure(counted.in_budget, "share", Target(">=", 0.99), shares, "no frame had a plan to meet it"),
        "react_p95_ms": _figure(counted.react_p95_ms, "ms", Target("<=", target_ms), {"react": reactions}, none),
        "swaps_per_min": _figure(counted.swaps_per_min, "1/min", Target("<=", 1), {}, steady),
        "accuracy_gap": _figure(counted.accuracy_gap, "accuracy", Target("<=", 0.01), gaps, "no plan was made"),
        **_beside(story),
    }


def _baseline(scene: Scene, setting: Setting, story: Story, store: str, folder: Path) -> dict[str, Figure]:
    """The same roles on a store that leaves no choice. Floors, which it could not keep, are left out."""
    roles = tuple(replace(role, exits={}, accuracy_floor=0.0) for role in story.roles)
    which = f"{setting.state.name}-{store}"
    place, state = only_choice(setting.store, folder / f"store-{which}", store), folder / f"state-{which}"
    state.mkdir(exist_ok=True)
    told = replace(setting, store=place, state=state, roles=roles, start_use_bytes=story.start_use_bytes)
    return {f"{store}_{name}": figure for name, figure in _beside(play(scene, told, PlainView(_silent))).items()}


def _beside(story: Story) -> dict[str, Figure]:
    """What can be compared: every frame, and what accuracy was expected of the answers."""
    counted = figures(story)
    frames, met = sum(p.all.frames for p in counted.phases), sum(p.all.met for p in counted.phases)
    shares = {p.name: [p.all.share] for p in counted.phases if p.all.share is not None}
    return {
        "frames_in_budget": _figure(met / frames if frames else None, "share", None, shares, "no frame was answered"),
        "accuracy": Figure(_accuracy(story), "accuracy"),
    }


def _accuracy(story: Story) -> float:
    """Expected of the answers, weighted by the apps' priorities."""
    means = {
        record.app: sum(s.accuracy for s in record.samples) / len(record.samples)
        for record in story.records
        if record.samples
    }
    return weighted(means, story.priorities)


def _squeeze(story: Story) -> dict[str, Figure]:
    return {
        "squeeze_oom": Figure(story.out_of_memory, "kills", Target("<=", 0)),
        "squeeze_lost": Figure(sum(record.lost for record in story.records), "requests", Target("<=", 0)),
    }


def _figure(
    value: float | None, unit: str, target: Target | None, samples: Mapping[str, Sequence[float]], reason: str
) -> Figure:
    return Figure(value, unit, target, samples, None if value is not None else reason)


def _silent(_text: str) -> None:
    """Figures alone are printed."""
