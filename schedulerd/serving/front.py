"""What a message asks for: decoded, admitted or refused, and handed to the queue or to the control loop.

Called by the gateway on the thread that holds the baton, so nothing here waits. Whatever is wrong with a message, its
sender gets a `Failure` with a code, and the daemon goes on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog

from blockstore.block import Model
from schedulerd.clock import Clock
from schedulerd.errors import BadValue, NotPermitted, SchedulerdError, ShuttingDown
from schedulerd.serving.admission import admit_camera, admit_frame
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.defaults import Defaults
from schedulerd.serving.engines.base import as_batch
from schedulerd.serving.events import Asked, Event, Joined, Left
from schedulerd.serving.gateway import Gateway
from schedulerd.serving.handlers import Frame, Handlers, Peer
from schedulerd.serving.job import Job
from schedulerd.serving.operators import only_asks
from schedulerd.serving.prefix import Prefixes, StreamFrame
from schedulerd.serving.queue import DeadlineQueue
from schedulerd.wire.codec import array_of, decode_request, encode
from schedulerd.wire.envelope import WireError
from schedulerd.wire.messages import Code, Failure, Infer, Ping, Pong, Register, Request, Unregister, Unregistered

log = structlog.get_logger(__name__)

STOPPING = "the daemon is stopping; connect again when it is back"


class Front:
    """The handlers of the two sockets."""

    def __init__(
        self,
        models: Mapping[str, Model],
        registry: Registry,
        queue: DeadlineQueue,
        post: Callable[[Event], None],
        control_users: frozenset[int],
        clock: Clock,
        prefixes: Prefixes | None = None,
        defaults: Defaults = Defaults(),  # noqa: B008 - frozen, so sharing the default is safe
    ) -> None:
        """A front that has seen nobody.

        Args: models; registry; queue; post: to the control loop; control_users; clock; prefixes: the lanes'; defaults:
        of registrations.
        """
        self._models = models
        self._registry = registry
        self._queue = queue
        self._post = post
        self.control_users = control_users
        """Who may use the control socket; replaced as a whole."""
        self.defaults = defaults
        """Of registrations; replaced as a whole."""
        self._clock = clock
        self._prefixes = prefixes or Prefixes()
        self._gateway: Gateway | None = None
        self.refused: Counter[str] = Counter()
        """By wire code, what was refused here of those who are no app: registrations, strangers and operators."""
        self._counting = threading.Lock()
        """Whoever holds the baton counts, and the thread of remote operators."""
        self.stopping = threading.Event()
        """Set once: from then on registrations and frames are refused with `shutting_down`."""

    def attach(self, gateway: Gateway) -> None:
        """The gateway calls us and we answer through it, so one of the two must learn of the other later."""
        self._gateway = gateway

    def handlers(self) -> Handlers:
        """What the gateway is to call."""
        return Handlers(self.on_infer, self.on_control, self.on_gone, self.on_unfit, self.on_lost)

    def on_infer(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """A message on the inference socket, or on the local one."""
        arrived_s = self._clock.now_s()
        message_id = 0
        try:
            request, buffers = decode_request(frames)
            message_id = request.id
            if isinstance(request, Infer):
                self._infer(identity, request, buffers, arrived_s)
            elif isinstance(request, Register):
                self._register(identity, request)
            elif isinstance(request, Unregister):
                self._unregister(identity, message_id)
            elif isinstance(request, Ping):
                self._reply(identity, encode(Pong(message_id)))
            else:
                raise BadValue(f"{type(request).__name__} belongs on the control socket")
        except WireError as error:
            self._refuse(identity, error.id, error.code, str(error))
        except SchedulerdError as error:
            self._refuse(identity, message_id, error.code, str(error))
        except Exception as error:
            self._reply(identity, encode(self._internal(message_id, error)))

    def on_control(self, identity: bytes, peer: Peer, frames: Sequence[Frame]) -> None:
        """A message on the control socket: checked here, answered by the control thread."""
        message_id = 0
        try:
            request, _ = decode_request(frames)
            message_id = request.id
            self._check_permitted(peer, request)
            if isinstance(request, Infer | Register | Unregister):
                raise BadValue(f"{type(request).__name__} belongs on the inference socket")
            if isinstance(request, Ping):
                self._answer(identity, encode(Pong(message_id)))
            elif self.stopping.is_set():
                raise ShuttingDown(STOPPING)
            else:
                self._post(Asked(request, identity))
        except WireError as error:
            self._turn_down(identity, error.id, error.code, str(error))
        except SchedulerdError as error:
            self._turn_down(identity, message_id, error.code, str(error))
        except Exception as error:
            self._answer(identity, encode(self._internal(message_id, error)))

    def _check_permitted(self, peer: Peer, request: Request) -> None:
        if peer.operator is None:
            if peer.uid is None:
                raise NotPermitted("it is not known, or not any more, who is at the other end of this connection")
            if peer.uid not in self.control_users:
                raise NotPermitted(f"user id {peer.uid} may not control this daemon; add it to [access] control_users")
        elif not only_asks(request):
            if not peer.may_edit:
                raise NotPermitted(
                    f"the key of {peer.operator!r} may look, and change nothing; add the name to [remote] control"
                )
            log.info("remote_edit", operator=peer.operator, request=type(request).__name__)

    def refuse(self, events: Sequence[Event]) -> None:
        """Answer those whose events no control loop will take in any more."""
        stopping = ShuttingDown(STOPPING)
        for event in events:
            if isinstance(event, Joined):
                self._reply(event.app.identity, encode(Failure(event.message_id, stopping.code, STOPPING)))
            elif isinstance(event, Asked):
                self._answer(event.identity, encode(Failure(event.request.id, stopping.code, STOPPING)))

    def on_gone(self, identity: bytes) -> None:
        """A client cannot be reached any more: its waiting requests and its registration go."""
        self._leave(identity, "connection lost")

    def _leave(self, identity: bytes, reason: str) -> None:
        app = self._registry.of(identity)
        if app is not None and self._registry.remove(app):
            self._queue.forget(app)
            self._prefixes.forget(app)
            self._post(Left(app, reason))

    def on_unfit(self, identity: bytes, header: Frame, code: Code, message: str) -> None:
        """A message, or a ring, whose memory cannot be had: refused under the id that its header gives."""
        try:
            message_id = decode_request([header])[0].id
        except WireError as error:
            message_id = error.id
        self._refuse(identity, message_id, code, message)

    def on_lost(self) -> None:
        """Somebody's connection has ended: ask every app whether it was its own."""
        for app in self._registry.all():
            self._forget_if_dead(app)

    def _infer(self, identity: bytes, request: Infer, buffers: Sequence[Frame], arrived_s: float) -> None:
        if self.stopping.is_set():
            raise ShuttingDown(STOPPING)
        app = admit_frame(self._registry.of(identity), request)
        frame = as_batch(array_of(request.tensors[0], buffers[0]), app.input.shape)
        stream, number = request.stream, request.frame
        picture = None if stream is None or number is None else StreamFrame(stream, number)
        job = Job(app, request.id, frame, arrived_s, request.exits, picture)
        least = self._queue.put(job)
        if least is not None:
            refusal = self._queue.displaced(least, by=job)
            self._refuse(least.app.identity, least.message_id, refusal.code, str(refusal))

    def _register(self, identity: bytes, request: Register) -> None:
        if self.stopping.is_set():
            raise ShuttingDown(STOPPING)
        assert self._gateway is not None, "attach() comes before the first message"
        holder = self._registry.find(request.app) if request.app is not None else None
        if holder is not None:
            # A client that was killed and started again finds its name free at once, not after the next probe.
            self._forget_if_dead(holder)
        name = request.app or self._registry.free_name(request.model)
        spec = self.defaults.admitted(request, name, self._models)
        model = self._models[spec.model]
        app = LiveApp(
            spec,
            identity,
            model.input,
            model.output,
            model.outputs,
            camera=request.camera,
            preparation=admit_camera(request, model),
            uid=self._gateway.peer(identity).uid,
            credit=self._queue.per_app,
        )
        self._registry.add(app)
        self._post(Joined(app, request.id))

    def _forget_if_dead(self, app: LiveApp) -> None:
        assert self._gateway is not None, "attach() comes before the first message"
        if not self._gateway.reachable(app.identity):
            self.on_gone(app.identity)

    def _unregister(self, identity: bytes, message_id: int) -> None:
        self._leave(identity, "unregistered")
        self._reply(identity, encode(Unregistered(message_id)))

    def _refuse(self, identity: bytes, message_id: int, code: Code, message: str) -> None:
        app = self._registry.of(identity)
        if app is not None:
            app.meter.refuse(code)
        else:
            self._count(code)
        log.debug("refused", code=code, message=message)
        self._reply(identity, encode(Failure(message_id, code, message)))

    def _turn_down(self, identity: bytes, message_id: int, code: Code, message: str) -> None:
        """Refuse an operator."""
        self._count(code)
        self._answer(identity, encode(Failure(message_id, code, message)))

    def _count(self, code: Code) -> None:
        with self._counting:
            self.refused[code] += 1

    def _internal(self, message_id: int, error: Exception) -> Failure:
        """A fault of ours: logged with its trace, and still an answer to whoever sent the message."""
        log.exception("message_failed")
        self._count(Code.INTERNAL)
        why = f"the message failed: {type(error).__name__}; see the daemon's log"
        return Failure(message_id, Code.INTERNAL, why)

    def _reply(self, identity: bytes, frames: Sequence[Frame]) -> None:
        assert self._gateway is not None, "attach() comes before the first message"
        self._gateway.reply(identity, frames)

    def _answer(self, identity: bytes, frames: Sequence[Frame]) -> None:
        assert self._gateway is not None, "attach() comes before the first message"
        self._gateway.answer(identity, frames)
