"""Watches how measured times drift away from the profile, and knows by what factors to predict the present moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from blockprofiles.contention import Contention, Slowdown
from schedulerd.control.belief import Belief, believed, better, replanned, watched, worse
from schedulerd.control.block_factors import BlockFactors, drifted
from schedulerd.control.correction import (
    Correction,
    CorrectionSettings,
    Sample,
    corrected,
    remembered,
    settled,
)
from schedulerd.control.factors import Factors, promised
from schedulerd.control.prior import slowdown_by_company
from schedulerd.plan import Plan
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.meter import Observation

FIRST_LOOK_S = 15.0
"""How far back the requests count of an app that is seen for the first time."""
MOST_AT_ONCE = 16
"""Requests of one app that are looked at in one go: of more every second, third, ... of them. Hundreds a second tell no
more, and took the interpreter from the lanes for a tenth of the time."""


class DriftWatch:
    """What was seen of the board and of each app's blocks, and what the last problem assumed of them."""

    def __init__(self, settings: CorrectionSettings, lanes: int, now_s: float) -> None:
        """Args: settings; lanes: there are; now_s."""
        self._settings = settings
        self._lanes = lanes
        self._samples: list[Sample] = []
        self._seen_until_s: dict[str, float] = {}
        """By app: when the newest request was answered that has been taken in."""
        self._alone = True
        self._crowded_at_s: float | None = None
        """When other programs were last seen to take much, if they have not gone since."""
        self._correction = Correction(at_s=now_s)
        self._blocks = BlockFactors()
        self._belief = Belief()
        self._planned = Factors()

    def look(
        self, apps: Sequence[LiveApp], plan: Plan, contention: Contention, cpu_others: float | None, now_s: float
    ) -> None:
        """Take in what was measured since the last look, and tell the apps how slow they are.

        Args: apps: live; plan: running; contention: the profile's curves; cpu_others: share of all cores that other
        programs take, None where it cannot be read; now_s.
        """
        if now_s < self._correction.at_s:
            self._forget_times(now_s)
        self._alone = len(apps) <= 1
        prior = slowdown_by_company(
            contention, cpu_others, lanes=self._lanes, apps=len(apps), utilisation=plan.utilisation
        )
        new = {app.spec.app_id: self._new_of(app, now_s) for app in apps}
        found = [Sample(o.at_s, *self._ratios(o), prior) for observations in new.values() for o in observations]
        self._samples = remembered([*self._samples, *found], now_s, self._settings)
        self._correction = corrected(self._correction, self._samples, prior, now_s, self._settings)
        self._belief = watched(self._belief, self._planned.board, self._correction, self._settings)
        self._heed_company(cpu_others, now_s)
        if self._correction.live and (cpu_others or 0.0) < self._settings.crowded:
            for app_id, observations in new.items():
                for observation in observations:
                    self._blocks.add(app_id, observation, self.board.median, alone=self._alone)
        self._blocks.look(now_s)
        blobs = self._blocks.blobs()
        for app in apps:
            app.slowdown = self._slowdown_of(app, blobs)

    def _heed_company(self, cpu_others: float | None, now_s: float) -> None:
        """Where other programs have gone, a better board is believed in as soon as at first."""
        if cpu_others is None:
            return
        if cpu_others >= self._settings.crowded:
            self._crowded_at_s = now_s
        elif self._crowded_at_s is not None and now_s - self._crowded_at_s >= self._settings.gone_s:
            self._crowded_at_s = None
            self._belief = replace(self._belief, wait_s=0.0)

    @property
    def board(self) -> Slowdown:
        """How the board runs now against its profile."""
        return self._correction.board

    def factors(self) -> Factors:
        """By what times are scaled to predict this moment, rounded: small changes of the board say nothing new."""
        return Factors(settled(self.board), self._blocks.blobs(), self._blocks.engines(), self._alone)

    def factors_to_plan(self) -> Factors:
        """The same with the board that is believed in, for a problem that is to be solved."""
        board = believed(self._belief, self._planned.board, self._correction, self._settings)
        return replace(self.factors(), board=board)

    def causes(self) -> Iterator[str]:
        """What has moved away from what the last problem assumed, by more than is tolerated."""
        planned, settings = self._planned, self._settings
        if worse(planned.board, self.board, settings) or better(self._belief, self._correction.at_s, settings):
            yield _told(settled(self.board))
        moved: dict[str, dict[int, float]] = {}
        for (app_id, block, _), factor in drifted(planned.blobs, self._blocks.blobs()).items():
            moved.setdefault(app_id, {})[block] = factor
        for app_id, by_block in moved.items():
            yield _told_of_blocks(app_id, by_block)

    def planned(self, factors: Factors, now_s: float) -> None:
        """A problem with these factors was solved, whether or not its plan was taken."""
        self._belief = replanned(self._belief, self._planned.board, factors.board, now_s, self._settings)
        self._planned = factors

    def forget(self, app_id: str) -> None:
        """An app has left."""
        self._seen_until_s.pop(app_id, None)
        self._blocks.forget(app_id)

    def profiled_anew(self) -> None:
        """The profile is another one: what was seen of blocks was in relation to the old rows."""
        self._blocks.forget()

    def _new_of(self, app: LiveApp, now_s: float) -> tuple[Observation, ...]:
        """Requests of an app that have not been taken in, and of which something was expected; of many, some."""
        name = app.spec.app_id
        since = app.meter.since(self._seen_until_s.get(name, now_s - FIRST_LOOK_S))
        # Where the clock was set back, some were answered at times that are still to come.
        observations = tuple(o for o in since if o.at_s <= now_s and o.expected and o.blocks_ms)
        if observations:
            self._seen_until_s[name] = observations[-1].at_s
        return observations[:: 1 + len(observations) // MOST_AT_ONCE]

    def _ratios(self, observation: Observation) -> tuple[float, float]:
        """Measured over profiled time of the blocks that ran, typical and at worst."""
        ran = observation.expected[: len(observation.blocks_ms)]
        measured_ms = sum(observation.blocks_ms)
        return measured_ms / sum(b.usual_ms(alone=self._alone) for b in ran), measured_ms / sum(b.p95_ms for b in ran)

    def _slowdown_of(self, app: LiveApp, blobs: dict[tuple[str, int, str], float]) -> float:
        """Of the 95th percentile of an app's route."""
        expected = app.route.expected if app.route is not None else ()
        known = [(blobs.get((app.spec.app_id, b.first, b.digests[0]), 1.0), b.p95_ms) for b in expected]
        profiled_ms = sum(p95_ms for _, p95_ms in known)
        if profiled_ms <= 0:
            return promised(self.board.p95)
        return sum(promised(self.board.p95 * factor) * p95_ms for factor, p95_ms in known) / profiled_ms

    def _forget_times(self, now_s: float) -> None:
        """The clock was set back, so that nothing is known of when anything was."""
        self._samples.clear()
        self._seen_until_s.clear()
        self._blocks.forget()
        self._belief = Belief()
        self._crowded_at_s = None
        self._correction = Correction(self.board, now_s)


def _told(board: Slowdown) -> str:
    typical, worst = board.median, promised(board.p95)
    if typical <= 1 and worst <= 1:
        return "blocks run as profiled again"
    return f"blocks run {typical:g} times their profile, {worst:g} times at the 95th percentile"


def _told_of_blocks(app_id: str, by_block: dict[int, float]) -> str:
    """Of those that do not run as predicted, then of those that do so again."""
    off = {block: factor for block, factor in by_block.items() if factor != 1}
    back = [block for block in by_block if block not in off]
    factors = ", ".join(f"{factor:g}" for factor in off.values())
    said = [_told_of(app_id, list(off), f"{factors} times what")] if off else []
    return "; ".join([*said, *([_told_of(app_id, back, "again what")] if back else [])])


def _told_of(app_id: str, blocks: Sequence[int], how_much: str) -> str:
    one, numbers = len(blocks) == 1, ", ".join(map(str, blocks))
    return (
        f"block{'' if one else 's'} {numbers} of {app_id} take{'s' if one else ''} {how_much} "
        f"{'its' if one else 'their'} profile and the board's load come to"
    )
