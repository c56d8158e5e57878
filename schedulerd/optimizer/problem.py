"""The optimizer's input as one frozen value: everything that a decision depends on, and nothing else.

Times are what is expected at present: those of the profile, corrected by live timings (`Catalogue.options`). A problem
can be written to JSON and decided again elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blockstore.accuracy_model import AccuracyModel
from blockstore.exits import ExitPolicy
from schedulerd.optimizer.objectives import MAX_ACCURACY
from schedulerd.plan import App, Route

MAX_APPS: Final = 128
"""In one problem: every app may have to wait for every other, so work grows with their square."""


@dataclass(frozen=True, slots=True)
class Option:
    """One variant of one block, as the optimizer sees it."""

    variant: str
    digest: str
    """Blob for the engine in use: options of equal digest share their memory."""
    latency_ms: float
    """Median, inside a whole route."""
    latency_p95_ms: float
    memory_bytes: int
    """Resident while the blob is loaded, whether it runs or not."""
    arena_bytes: int
    """Most that its activations take while it runs, from the one arena that all blobs share."""
    accuracy_drop: float
    """Of the model when only this variant stands in; what several lose together is `AppOptions.accuracy`'s to say."""
    energy_mj: float | None = None
    """Of one run; None where it could not be measured."""
    engine: str = ""
    """Who runs the blob. A variant that several engines can run is several options."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one exit, as the optimizer sees it."""

    digest: str
    memory_bytes: int
    """As `Option.memory_bytes`."""
    arena_bytes: int
    """As `Option.arena_bytes`."""


@dataclass(frozen=True, slots=True)
class PolicyOption:
    """One exit policy of a model, as the optimizer sees it.

    Latency is promised for the worst path that the policy allows, lanes are shared out by the expected one.
    """

    policy: ExitPolicy
    shares: tuple[float, ...]
    """For each step of `policy`, the share of the frames that is expected to leave there."""
    reach: tuple[float, ...]
    """For each block of the model, the share of the frames that is expected to run it; 0 for blocks that no frame can
    reach, which need neither time nor memory. A block that some frame can reach has more than 0."""
    heads_ms: tuple[float, ...]
    """For each block of the model, the median of the enabled head that runs behind it; 0 where none does.
    Every frame that runs the block runs the head too."""
    heads_p95_ms: tuple[float, ...]
    """The same of the 95th percentiles."""
    heads: tuple[Head, ...]
    """Loaded with the route, by rising depth: every exit of the model within the depth."""
    accuracy_drop: float
    heads_mj: tuple[float, ...] = ()
    """Energy as `heads_ms`; empty where it could not be measured."""

    @property
    def depth(self) -> int:
        """How many blocks the longest path runs."""
        return len(self.reach) - self.reach.count(0)


@dataclass(frozen=True, slots=True)
class AppOptions:
    """An app and, for each block of its model, the variants to choose from."""

    app: App
    full_accuracy: float
    blocks: tuple[tuple[Option, ...], ...]
    policies: tuple[PolicyOption, ...] = ()
    """Exit policies to choose from; empty for a model without exits, whose frames run every block."""
    accuracy: AccuracyModel | None = None
    """Accuracy of variants together: `damages[b][i]` is that of `blocks[b][i]`. None where drops just add up."""
    running: Route | None = None
    """What the app runs now: leaving it costs something."""
    pins: tuple[str, ...] = ()
    """For each block the variant that the operator wants there, "" where he leaves it open; empty without any pin."""
    pinned_exits: tuple[tuple[str, float], ...] = ()
    """The steps of the exit policy that the operator wants; empty where he leaves it open."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the apps may use now."""

    memory_bytes: int
    """Resident bytes that the blocks of all routes may take, and their activations while they run."""
    utilisation_cap: float = 0.8
    """Share of the lanes that the apps together may use, 0 to 1; the rest absorbs bursts."""
    lanes: int = 1
    overhead_ms: float = 0.3
    """Serving overhead added to every request: admission, queue, reply."""
    power_cap_w: float | None = None
    """What the apps together may draw on average, for heat or a battery; None without a cap."""


@dataclass(frozen=True, slots=True)
class Problem:
    """All apps together, under the limits of this moment."""

    apps: tuple[AppOptions, ...]
    limits: Limits
    objective: str = MAX_ACCURACY
    """One of `objectives.OBJECTIVES`."""
    resident: frozenset[str] = frozenset()
    """Blobs that are in memory now, whoever runs them: those need not be loaded."""
    swap_cost: float = 0.0
    """Accuracy, as a share of an app's full one, that a change of all its blocks has to gain to be worth it; a change
    of some costs their share, and of a block whose new blob is resident half of that."""
