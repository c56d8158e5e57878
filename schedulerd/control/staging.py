"""How much of a plan can be loaded at once without the board running out of memory. Pure.

What a plan wants is loaded while the old routes still run, and making a session takes several times what it holds
afterwards: the file, its parsed graph, and the weights laid out anew for the kernels are in memory together. Of blocks
of 0.4 to 4.7 MB each took 3.6 to 4.8 times its file at its peak (onnxruntime 1.31). The limit of the plan knows nothing
of that moment; a kernel that is short of memory kills in it.

So where memory is short the apps move one after the other, those first that free most. What they free is free at the
next look, and the rest of the plan follows then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from schedulerd.plan import AppPlan, Plan

LOAD_PEAK: Final = 4.8
"""Memory that making a session of a blob takes at its peak, by what it holds afterwards."""


def needed_bytes(sizes_bytes: Collection[int]) -> int:
    """What has to be free to load blobs of these sizes one after the other."""
    return sum(sizes_bytes) + int((LOAD_PEAK - 1) * max(sizes_bytes, default=0))


def largest_loadable_bytes(free_bytes: int) -> int:
    """The largest single blob that can be loaded where so much is free."""
    return int(free_bytes / LOAD_PEAK)


def affordable(
    running: Plan,
    wanted: Plan,
    absent: Mapping[str, frozenset[str]],
    stays: Collection[str],
    free_bytes: int,
    size_bytes: Callable[[str], int],
) -> Plan:
    """`wanted`, less the moves of those apps for which there is no memory now: they keep what they run.

    Apps that cannot stay always move: whoever joins is to be served, and the optimizer has found room for it.

    Args: running: the present routes as they are predicted now; wanted; absent: by app, the blobs of its wanted route
    that have to be loaded; stays: apps that could keep what they run; free_bytes: on the board; size_bytes: of a blob.
    """
    moving = [app for app in wanted.apps if _changes(running, app)]
    coming: set[str] = set()
    kept: set[str] = set()
    for app in sorted(moving, key=lambda app: (app.app_id in stays, _taken_bytes(running, app, size_bytes))):
        more = coming | absent[app.app_id]
        if app.app_id not in stays or needed_bytes(list(map(size_bytes, more))) <= free_bytes:
            coming = more
        elif absent[app.app_id]:
            kept.add(app.app_id)
    return wanted if not kept else replace(wanted, apps=tuple(_parts(running, wanted, kept)))


def _changes(running: Plan, app: AppPlan) -> bool:
    before = running.app(app.app_id)
    return before is None or before.route != app.route


def _taken_bytes(running: Plan, app: AppPlan, size_bytes: Callable[[str], int]) -> int:
    """What a move takes; below 0 where it frees something."""
    before = running.app(app.app_id)
    taken_bytes = sum(map(size_bytes, {*app.route.digests, *app.route.heads}))
    if before is None:
        return taken_bytes
    return taken_bytes - sum(map(size_bytes, {*before.route.digests, *before.route.heads}))


def _parts(running: Plan, wanted: Plan, kept: Collection[str]) -> Sequence[AppPlan]:
    parts = []
    for app in wanted.apps:
        before = running.app(app.app_id) if app.app_id in kept else None
        parts.append(before or app)
    return parts
