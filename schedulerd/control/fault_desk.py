"""What failed as it ran is left out of plans for a while; an app for which nothing else is left is told why.

The control thread is the only caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from schedulerd.control.announcer import Announcer
from schedulerd.control.background import Background
from schedulerd.control.bans import Standing, after_fault
from schedulerd.control.occasions import Cause
from schedulerd.control.planner import Planner
from schedulerd.control.switcher import Switcher
from schedulerd.serving.apps import Registry
from schedulerd.serving.events import Faulted


class FaultDesk:
    """What is held against each blob."""

    def __init__(
        self,
        planner: Planner,
        switcher: Switcher,
        background: Background,
        registry: Registry,
        announcer: Announcer,
    ) -> None:
        """Nothing has failed.

        Args: planner: is told what not to offer; switcher: lets go of what failed; background: is told of merged blocks
        that failed; registry: of the live apps; announcer: tells listeners.
        """
        self._planner = planner
        self._switcher = switcher
        self._background = background
        self._registry = registry
        self._announcer = announcer
        self._standings: dict[str, Standing] = {}
        self._out: frozenset[str] = frozenset()
        """Blobs that are left out."""

    def taken_in(self, event: Faulted, now_s: float) -> Iterator[Cause]:
        """Something failed: why a plan has to be made, if it has to."""
        if len(event.digests) > 1:
            self._unmerge(event)
            return
        (digest,) = event.digests
        before = self._standings.get(digest, Standing())
        catalogue = self._planner.catalogue
        needed = catalogue.needed(digest, [app.spec for app in self._registry.all()])
        standing = after_fault(before, now_s, no_numbers=event.no_numbers, needed=needed)
        self._standings[digest] = standing
        if before.is_out(now_s):
            return
        is_out = standing.is_out(now_s)
        place = catalogue.place_of(digest)
        self._announcer.failed(f"{place}, for {event.app_id}", event.reason, standing.length_s if is_out else None)
        if is_out:
            self._leave_out(now_s)
            # What is in memory may be what is damaged: if it is wanted again, it is loaded again.
            self._switcher.let_go((digest,))
            yield Cause(f"{place} failed", urgent=True)

    def over(self, now_s: float) -> Iterator[Cause]:
        """Blobs whose time is over are offered again: why a plan may be made."""
        back = {digest for digest in self._out if not self._standings[digest].is_out(now_s)}
        if not back:
            return
        self._leave_out(now_s)
        for digest in sorted(back):
            yield Cause(f"{self._planner.catalogue.place_of(digest)} is tried again", urgent=False)

    def tell_stranded(self) -> None:
        """Requests of apps for which nothing can be run are answered with the reason from now on."""
        for app in self._registry.all():
            name = app.spec.app_id
            fault = self._planner.stranded.get(name)
            if fault is None or self._planner.plan.app(name) is not None:
                app.stranded = None
            else:
                if app.stranded is None:
                    self._announcer.stranded(name, str(fault))
                # The route goes last: whoever finds none finds the reason.
                app.stranded = partial(type(fault), str(fault))
                app.route = None

    def _leave_out(self, now_s: float) -> None:
        self._out = frozenset(digest for digest, standing in self._standings.items() if standing.is_out(now_s))
        self._planner.ban(self._out)

    def _unmerge(self, event: Faulted) -> None:
        """Blocks failed that run merged. By themselves they show which of them it is, if it is one of them."""
        planned, sessions = self._planner.plan.app(event.app_id), self._switcher.sessions(event.app_id)
        digests = () if planned is None else planned.route.digests
        failed = {run: form for run, form in sessions.items() if digests[run.first : run.end] == event.digests}
        if not failed:  # a request that was under way
            return
        self._background.distrust(failed.values(), event.reason)
        self._switcher.merge(event.app_id, ())
        for run in failed:
            self._announcer.failed(f"merged blocks {run}, for {event.app_id}", event.reason, None)
