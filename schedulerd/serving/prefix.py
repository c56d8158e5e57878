"""Outputs of the first blocks of routes, computed once for apps that run the same model on the same camera stream.

A client says of which frame of which stream its tensor is, and equal streams and numbers are taken for equal pixels:
but only among clients of one user, so that nobody is served what another user's client made up. What a block gave is
kept where another app of the stream runs the same blocks up to there, by the same engine and merged in the same way: an
output is the one that the app's own blocks would have given, bit for bit. An app that is alone on a stream pays
nothing, and neither does one whose route differs from the first block on.

Where a frame reaches several apps at the same time, lanes come to the same block at the same time. One of them runs it
and the others wait for it: they would be done no sooner by themselves, and would take the cores from it meanwhile.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final, NamedTuple

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.route import LoadedRoute
from schedulerd.wire.messages import Camera

STREAMS: Final = 16
"""Known at a time; of the user who has most, the one that is not used for longest makes way."""
FRAMES: Final = 2
"""Of one stream, the newest: while one app is still at a frame, another may be at the next."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""Of all outputs that are kept."""
STALE_S: Final = 2.0
"""A frame is not shared beyond this: a camera that starts anew may begin to count anew."""
SEEN_S: Final = 10.0
"""An app that has not sent a stream for this long is none of its apps any more."""
WAIT_S: Final = 1.0
"""The longest that a lane waits for another one to run a block; then it runs it itself."""


_Key = tuple[int, str, Camera | None, str]
"""User, model, camera, and the stream's name."""


class StreamFrame(NamedTuple):
    """Which picture a request carries."""

    stream: str
    number: int


class _Frame:
    """What has been computed of one frame; changed under the lock, read without it."""

    __slots__ = ("arrived_s", "being_run", "closed", "had_by", "outputs", "size_bytes")

    def __init__(self, arrived_s: float) -> None:
        self.arrived_s = arrived_s
        """Of the first request that had it."""
        self.outputs: dict[str, Any] = {}
        """By what ran (`_ran`), with nothing left out in between."""
        self.being_run: set[str] = set()
        """What some request is about to add to these."""
        self.size_bytes = 0
        self.had_by: set[LiveApp] = set()
        """Apps that have run it to their end."""
        self.closed = False
        """Takes nothing more."""


class _Stream:
    """The apps that send a stream, and its newest frames by number."""

    __slots__ = ("apps", "frames")

    def __init__(self) -> None:
        self.apps: dict[LiveApp, float] = {}
        """When each was last seen to send it."""
        self.frames: dict[int, _Frame] = {}


class Shared:
    """One request's access to what is computed of its frame."""

    __slots__ = ("_frame", "_prefixes", "_ran", "_running", "_stream")

    def __init__(self, prefixes: Prefixes, stream: _Stream, frame: _Frame, ran: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._stream = stream
        self._frame = frame
        self._ran = ran
        """After none, one and more blocks, as many as some other app of the stream has in common with the route."""
        self._running: list[str] = []
        """What this request has said that it will run."""

    def output(self, blocks: int) -> Any | None:
        """What the route's first `blocks` blocks give of this frame; of 0, its prepared input.

        Waits while another request is computing it, for `WAIT_S` at most. None where it is not known: the request that
        asks is to compute it then, and `keep` it, or `release` it where it cannot.
        """
        if blocks >= len(self._ran):
            return None
        # A dictionary look-up is atomic under the interpreter lock.
        known = self._frame.outputs.get(self._ran[blocks])
        if known is None:
            known = self._prefixes.wait_for(self._frame, self._ran[blocks])
            if known is None:
                self._running.append(self._ran[blocks])
        return known

    def keep(self, blocks: int, tensor: Any) -> None:
        """`tensor` is what the route's first `blocks` blocks give; whoever has it must not change it any more."""
        if blocks < len(self._ran):
            self._prefixes.keep(self._frame, self._ran[blocks], tensor)

    def release(self) -> None:
        """What the request was to compute it does not, or has done: nobody need wait for it."""
        if self._running:
            self._prefixes.release(self._frame, self._running)
            self._running.clear()

    def end(self, app: LiveApp) -> None:
        """The request of `app` has ended."""
        self._prefixes.end(self._stream, self._frame, app)


class Prefixes:
    """What is kept of all streams; every method is atomic, and the lanes call all but `forget`."""

    def __init__(self, most_bytes: int = MOST_BYTES, wait_s: float = WAIT_S) -> None:
        """Nothing is kept yet, and there is room for `most_bytes`; `wait_s`: for what another request computes."""
        self._most_bytes = most_bytes
        self._wait_s = wait_s
        self._size_bytes = 0
        self._lock = threading.Condition()
        """Notified when somebody may have waited for an output."""
        self._streams: OrderedDict[_Key, _Stream] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """Of all outputs that are kept."""
        return self._size_bytes

    def begin(self, app: LiveApp, frame: StreamFrame, route: LoadedRoute, arrived_s: float) -> Shared | None:
        """A request of `app` is to run on `route`; None where it shares nothing with anybody."""
        if app.uid is None:
            return None
        with self._lock:
            if app.gone:
                return None
            stream = self._used((app.uid, app.spec.model, app.camera, frame.stream))
            stream.apps[app] = arrived_s
            for idle in [other for other, seen_s in stream.apps.items() if arrived_s - seen_s > SEEN_S]:
                del stream.apps[idle]
            others = [other for other in stream.apps if other is not app]
            app.shares_stream = bool(others)
            most = max((_in_common(route, other.route) for other in others), default=0)
            if not others or (not most and app.preparation is None):
                return None
            found = self._frame(stream, frame.number, arrived_s)
        return None if found is None else Shared(self, stream, found, _ran(route, most))

    def wait_for(self, frame: _Frame, ran: str) -> Any | None:
        """One output, when nobody computes it any more; None where it is not there and the caller is to compute it."""
        with self._lock:
            self._lock.wait_for(lambda: ran not in frame.being_run, self._wait_s)
            known = frame.outputs.get(ran)
            if known is None:
                frame.being_run.add(ran)
            return known

    def release(self, frame: _Frame, ran: Iterable[str]) -> None:
        """Nobody computes these any more."""
        with self._lock:
            frame.being_run.difference_update(ran)
            self._lock.notify_all()

    def keep(self, frame: _Frame, ran: str, tensor: Any) -> None:
        """Add one output, unless the frame has gone or there is no room even without all older frames."""
        with self._lock:
            frame.being_run.discard(ran)
            self._lock.notify_all()
            if frame.closed or ran in frame.outputs:
                return
            size_bytes = tensor.nbytes
            if self._size_bytes + size_bytes > self._most_bytes and not self._make_room(size_bytes, frame):
                # What comes after it would stand behind a gap.
                frame.closed = True
                return
            frame.outputs[ran] = tensor
            frame.size_bytes += size_bytes
            self._size_bytes += size_bytes

    def end(self, stream: _Stream, frame: _Frame, app: LiveApp) -> None:
        """A request has ended; what every app of the stream has had goes."""
        with self._lock:
            frame.had_by.add(app)
            if frame.had_by >= stream.apps.keys():
                self._drop(frame)

    def forget(self, app: LiveApp) -> None:
        """An app is gone: who is alone on a stream then shares no more."""
        with self._lock:
            for key, stream in tuple(self._streams.items()):
                stream.apps.pop(app, None)
                if len(stream.apps) < 2:
                    self._clear(stream)
                if not stream.apps:
                    del self._streams[key]

    def _used(self, key: _Key) -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            if len(self._streams) == STREAMS:
                self._clear(self._streams.pop(self._least()))
            stream = self._streams[key] = _Stream()
        self._streams.move_to_end(key)
        return stream

    def _least(self) -> _Key:
        """Whose turn it is to make way: who names a new stream with every frame displaces streams of his own."""
        of_user = Counter(uid for uid, *_ in self._streams)
        most = max(of_user.values())
        return next(key for key in self._streams if of_user[key[0]] == most)

    def _frame(self, stream: _Stream, number: int, arrived_s: float) -> _Frame | None:
        """A frame that is kept, or begins to be; None for one that is older than those that are."""
        frames = stream.frames
        for old in [n for n, frame in frames.items() if arrived_s - frame.arrived_s > STALE_S]:
            self._drop(frames.pop(old))
        if number not in frames:
            if len(frames) == FRAMES:
                oldest = min(frames)
                if number < oldest:
                    return None
                self._drop(frames.pop(oldest))
            frames[number] = _Frame(arrived_s)
        return frames[number]

    def _make_room(self, size_bytes: int, frame: _Frame) -> bool:
        """Whether there is room now, frames older than `frame` having gone for it."""
        kept = [f for stream in self._streams.values() for f in stream.frames.values() if f is not frame]
        for older in sorted(kept, key=lambda f: f.arrived_s):
            if self._size_bytes + size_bytes <= self._most_bytes:
                break
            if older.arrived_s <= frame.arrived_s:
                self._drop(older)
        return self._size_bytes + size_bytes <= self._most_bytes

    def _clear(self, stream: _Stream) -> None:
        for frame in stream.frames.values():
            self._drop(frame)
        stream.frames.clear()

    def _drop(self, frame: _Frame) -> None:
        """Requests that are at it go on by themselves."""
        self._size_bytes -= frame.size_bytes
        frame.size_bytes = 0
        frame.closed = True
        frame.outputs.clear()


def _ran(route: LoadedRoute, most: int) -> tuple[str, ...]:
    """What has run after none, one and so on up to `most` of the loaded blocks: blobs, how they are merged, engine."""
    steps = ("".join((" ", block.engine, ":", "+".join(block.digests))) for block in route.expected[:most])
    return tuple(accumulate(steps, initial=""))


def _in_common(route: LoadedRoute, other: LoadedRoute | None) -> int:
    """With how many equal blocks two routes begin."""
    count = 0
    for ours, theirs in zip(route.expected, () if other is None else other.expected, strict=False):
        if ours.digests != theirs.digests or ours.engine != theirs.engine:
            break
        count += 1
    return count
