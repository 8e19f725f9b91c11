"""The only file that names concrete classes: settings in, a running node out.

`Node` is everything a process runs, also for tests; `serve` is `Node` with a listener and signals.
"""

import asyncio
import contextlib
import gc
import os
import resource
import secrets
import signal
import socket
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from orderwire.api.app import create_app
from orderwire.api.hot import HotRoutes
from orderwire.api.listening import SWEEP_S, BoundedProtocol, sweep
from orderwire.clock import Clock, SystemClock
from orderwire.crypto import SecretBox
from orderwire.delivery.dispatcher import Dispatcher
from orderwire.delivery.egress import EgressPolicy, url_problem
from orderwire.delivery.http import Sender
from orderwire.delivery.upkeep import Upkeep
from orderwire.errors import OrderwireError
from orderwire.model import Destination
from orderwire.observe.live import Live
from orderwire.observe.logs import configure_logs
from orderwire.observe.metrics import Metrics
from orderwire.service.background import Background
from orderwire.service.configuration import Configuration
from orderwire.service.event_types import EventTypes
from orderwire.service.events import Events
from orderwire.service.rates import Rates
from orderwire.service.reactions import Reactions
from orderwire.service.receiving import Receiving
from orderwire.service.services import Services, build_services
from orderwire.service.tables import Configured
from orderwire.settings import ADMIN_KEY_FILE, SECRET_KEY_FILE, Settings, is_loopback
from orderwire.sources import KINDS
from orderwire.store.sqlite import SqliteStore
from orderwire.store.sqlite.store import FILE_NAME

GC_THRESHOLD = 50_000  # allocations; the default 700 costs the hot path a fifth
SWITCH_INTERVAL_S = 0.0005  # threads only wait for disks and names: let them have the lock soon
LISTEN_BACKLOG = 2_048
FILES_MAX = 65_536  # open at once: a connection is one, and many systems begin with 1,024
PRIVATE_UMASK = 0o077  # what a node writes is for its own user, whoever made the folder
TLS_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good
STOP_MARGIN_S = 1.5  # of the ten seconds a stop may take, kept for the store
log = structlog.get_logger("orderwire.node")


class Node:
    """One node: store, configuration, dispatcher, services and the application, put together."""

    def __init__(self, settings: Settings, clock: Clock | None = None, *, sweep_s: float = 5.0) -> None:
        """Nothing is opened yet. `clock` and `sweep_s` are for tests."""
        self.settings = settings
        self.clock = clock or SystemClock()
        self.admin_key, self.admin_key_made = _admin_key(settings)
        self.metrics = Metrics()
        self.store = SqliteStore(settings.data / FILE_NAME, self.clock)
        box = SecretBox.from_text(_secret_key(settings))
        self.configuration = Configuration(self.store, box, self.clock, self.admin_key)
        self.live = Live(settings.live_streams_max)
        self._background = Background()
        self.reactions = Reactions(self.configuration, self._background, self.metrics, self.live, self.clock)
        self._sweep_s = sweep_s
        self.dispatcher: Dispatcher
        self.services: Services
        self.app: ASGIApp

    async def start(self) -> None:
        """Open the store, load the configuration, begin to deliver. Raises OrderwireError."""
        settings, loop = self.settings, asyncio.get_running_loop()
        await self.store.open()
        await self.configuration.load()
        egress = _egress(settings)
        self.dispatcher = Dispatcher(
            self.store,
            self.clock,
            self.reactions,
            lambda take: Sender(
                egress, on_answers=take, loop=loop, ca_file=str(settings.egress_ca) if settings.egress_ca else None
            ),
            memory_events_max=settings.memory_events_max,
            memory_bytes_max=settings.memory_bytes_max,
            sweep_s=self._sweep_s,
        )
        event_types = EventTypes(self.configuration, self.clock)
        events = Events(self.store, self.configuration, event_types, self.dispatcher, self.live, self.clock)
        self.reactions.events = events
        self.upkeep = Upkeep(
            self.store,
            self.clock,
            lambda: list(self.configuration.tenants),
            settings.retention_days,
            self.dispatcher.wake,
            self.metrics.swallowed,
        )
        self.services = build_services(
            store=self.store,
            configuration=self.configuration,
            event_types=event_types,
            clock=self.clock,
            dispatcher=self.dispatcher,
            live=self.live,
            rates=Rates(
                self.clock,
                per_key=settings.key_requests_per_s_max,
                per_tenant=settings.tenant_requests_per_s_max,
            ),
            source_kinds=KINDS,
            url_problem=lambda url: url_problem(url, allow_http=settings.allow_http),
            replay_asked=self.upkeep.replay_asked,
        )
        self.reactions.sweep_deleted = self.services.destinations.sweep_deleted
        self.app = self._application(events)
        self.configuration.subscribe(self._configured)
        self._watch()
        await self.dispatcher.start(self.configuration.destinations)
        self.upkeep.start()
        await self.services.start()

    async def stop(self, grace_s: float) -> None:
        """End what is in flight within `grace_s`, give the rest back, close the store."""
        await self.services.stop()
        await self.upkeep.stop()
        await self.dispatcher.stop(grace_s)
        await self._background.stop()
        await self.store.close()

    def _application(self, events: Events) -> ASGIApp:
        settings = self.settings
        token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
        rest: FastAPI = create_app(self.services, registry=self.metrics.registry, metrics_token=token)
        receiving = Receiving(
            events,
            self.configuration,
            KINDS,
            self.clock,
            self.metrics,
            body_bytes_max=settings.inbound_bytes_max,
            bad_signatures_per_minute_max=settings.source_bad_signatures_per_minute_max,
        )
        return HotRoutes(rest, self.services.callers, events, receiving, self.metrics)

    def _configured(self, kind: str, row_id: str, value: Configured | None) -> None:
        """A destination changed: its lane hears of it."""
        if kind == "destination" and value is None:
            self.dispatcher.forget(row_id)
        elif isinstance(value, Destination):
            self.dispatcher.configure(value)

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("orderwire_attempts_in_flight", "attempts on the wire", lambda: self.dispatcher.in_flight)
        watch("orderwire_deliveries_held", "deliveries in memory", lambda: self.dispatcher.held[0])
        watch("orderwire_deliveries_held_bytes", "payload bytes in memory", lambda: self.dispatcher.held[1])
        watch("orderwire_store_waiting", "writes that wait for their commit", lambda: self.store.depth)
        watch("orderwire_store_commits_total", "transactions committed", lambda: self.store.commits)
        watch("orderwire_destinations_unwell", "destinations whose breaker is open", lambda: self.dispatcher.unwell)


def serve(settings: Settings) -> int:
    """Run a node until SIGTERM or SIGINT; its exit code."""
    configure_logs(settings.log_format, settings.log_level)
    os.umask(PRIVATE_UMASK)
    _allow_files()
    gc.set_threshold(GC_THRESHOLD, 20, 100)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        return uvloop.run(_serve(settings))
    except (OrderwireError, ValueError) as error:
        sys.stderr.write(f"orderwire cannot start: {error}\n")
        return 1


def migrate(settings: Settings) -> int:
    """Open and close the store: that migrates it. Its exit code."""

    async def run() -> None:
        store = SqliteStore(settings.data / FILE_NAME, SystemClock())
        await store.open()
        await store.close()

    os.umask(PRIVATE_UMASK)
    try:
        asyncio.run(run())
    except OrderwireError as error:
        sys.stderr.write(f"orderwire cannot migrate: {error}\n")
        return 1
    sys.stdout.write(f"{settings.data / FILE_NAME} has this version's schema\n")
    return 0


async def _serve(settings: Settings) -> int:
    listener = _listen(settings.host, settings.port)
    node = Node(settings)
    await node.start()
    gc.collect()
    gc.freeze()
    _greet(node, listener)
    server = _Server(_server_config(settings, node.app))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.ask_to_stop, node.services.stopping)
    await server.serve(sockets=[listener])
    await node.stop(max(0.5, settings.shutdown_grace_s - STOP_MARGIN_S))
    log.info("stopped")
    return 0


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: a stop is ours to order, and exits 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's handlers alone."""
        yield

    def ask_to_stop(self, stopping: asyncio.Event) -> None:
        """Stop accepting; live streams end by themselves."""
        stopping.set()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % round(10 * SWEEP_S) == 0:
            sweep(self.server_state.connections)
        return await super().on_tick(counter)


def _server_config(settings: Settings, app: ASGIApp) -> uvicorn.Config:
    trusted = ",".join(str(network) for network in settings.trusted_proxies)
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        server_header=False,
        date_header=True,
        proxy_headers=bool(trusted),
        forwarded_allow_ips=trusted or None,
        backlog=LISTEN_BACKLOG,
        timeout_graceful_shutdown=2,
        ssl_ciphers=TLS_CIPHERS,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _allow_files() -> None:
    """Take as many open files as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        detail = f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        raise OrderwireError(detail) from error
    listener.setblocking(False)
    return listener


def _greet(node: Node, listener: socket.socket) -> None:
    """Where it listens, and the admin key the one time it is made."""
    settings = node.settings
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_cert else "http"
    url = settings.public_url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    if node.admin_key_made:
        sys.stdout.write(f"Admin key (shown once, kept in {settings.data / ADMIN_KEY_FILE}): {node.admin_key}\n")
        sys.stdout.flush()
    log.info("listening", url=url, data=str(settings.data), loopback=is_loopback(settings.host))


def _egress(settings: Settings) -> EgressPolicy:
    return EgressPolicy(
        allow_networks=settings.allow_networks,
        allow_http=settings.allow_http,
        proxy_url=settings.egress_proxy.get_secret_value() if settings.egress_proxy else None,
    )


def _admin_key(settings: Settings) -> tuple[str, bool]:
    """The admin key, and whether it was made now."""
    if settings.admin_key is not None:
        return settings.admin_key.get_secret_value(), False
    return _kept(settings.data / ADMIN_KEY_FILE, lambda: "ow_" + secrets.token_urlsafe(32))


def _secret_key(settings: Settings) -> str:
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    return _kept(settings.data / SECRET_KEY_FILE, lambda: b64encode(secrets.token_bytes(32)).decode("ascii"))[0]


def _kept(path: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """A secret kept in a file that only we can read, made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        text = path.read_text("ascii").strip()
        if not text:
            detail = f"{path} is empty: remove it to have a new one made, or put the old one back"
            raise OrderwireError(detail) from None
        return text, False
    text = make()
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    return text, True
