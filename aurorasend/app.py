"""Builds a node from settings and runs it: store, roles, listeners. Nothing else keeps state between requests.

Called by cli. `serve` with several workers forks them from one parent that holds the listening sockets, starts again
what dies, and passes a stop on. Every worker is a node like one on another machine (design invariant 6).
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import uvicorn
import uvloop

from aurorasend import bootstrap
from aurorasend.account import Accounts
from aurorasend.allowance import Allowances
from aurorasend.api import ENDPOINTS
from aurorasend.clock import Clock, SystemClock
from aurorasend.config import HostPort, Settings
from aurorasend.config import Route as RouteSetting
from aurorasend.console import sandbox as sandbox_pages
from aurorasend.console.access import OperatorAccess, operator_token
from aurorasend.delivery import Mail, Route
from aurorasend.delivery import Terms as MailTerms
from aurorasend.dispatch import Crew, Dispatcher
from aurorasend.domain import Domains, DomainWatch
from aurorasend.endpoint import Catalogue, Server
from aurorasend.gateways import Gateway
from aurorasend.gateways.simulator import SimulatorGateway
from aurorasend.handover import Handover
from aurorasend.http import Budget, HttpApp, Limits
from aurorasend.http_connection import Connection
from aurorasend.http_guard import Outside
from aurorasend.http_listener import Listening, Occupancy
from aurorasend.ids import Ids
from aurorasend.lanes import Lanes, Sizes
from aurorasend.list_send import Expansion
from aurorasend.logs import set_up
from aurorasend.membership import Membership
from aurorasend.mx import Reach
from aurorasend.node import Authentication, CallLimits, Node
from aurorasend.pool import Limits as PoolLimits
from aurorasend.pool import Pool
from aurorasend.portal import routes as portal_routes
from aurorasend.queue import Kind
from aurorasend.resolver import DnsResolver
from aurorasend.routes import MxHosts, SmartHost
from aurorasend.sandbox import Sandbox
from aurorasend.secret import open_vault
from aurorasend.simulator import Internet
from aurorasend.sms import SmsSubmissions
from aurorasend.sms_delivery import SmsCrew
from aurorasend.sms_login import SmsLogin
from aurorasend.smtp_client import Terms, Timeouts, TlsMode
from aurorasend.source import Sources
from aurorasend.store import Store, open_store
from aurorasend.store.migrate import migrate
from aurorasend.submission import Origins, Submissions
from aurorasend.sweep import Sweeper
from aurorasend.wake import Carrier, Datagrams, Notifications, Wake

log = logging.getLogger(__name__)

BACKLOG = 2048  # connections that wait to be taken
CONNECTIONS = 10_000  # of one process; further ones are told 503
FILES = 2 * CONNECTIONS  # open at one time: connections, sessions to next hops, the store
KEEP_ALIVE_S = 75  # idle connections of clients; longer than the usual client's own
STOPS = (signal.SIGTERM, signal.SIGINT)
YOUNG = 20_000  # objects made before the collector looks at them
SWITCH_S = 0.0005  # how long the event loop may keep the interpreter from the store's writer, which needs it often
RESTART_S = 1.0  # a worker that died is started again after this


@dataclass
class Running:
    """The parts of a running node that must be stopped, in the order in which they are."""

    node: Node
    wake: Wake
    membership: Membership
    dispatcher: Dispatcher | None
    server: Server
    listeners: list[Listening] = field(default_factory=list)
    background: list[asyncio.Task[None]] = field(default_factory=list)


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    sockets = _get_ready(settings)
    if settings.node.workers == 1:
        uvloop.run(_run(settings, sockets, Occupancy(1)))
    else:
        _supervise(settings, sockets)


def develop(settings: Settings) -> None:
    """`serve` in one process, with mail going to a simulated internet that says what it received."""
    uvloop.run(_develop(settings, _get_ready(settings)))


def _get_ready(settings: Settings) -> list[socket.socket]:
    """All that comes before the first role, and the greeting. Returns the listening sockets."""
    set_up(settings.log)
    os.umask(0o077)
    _allow_files()
    sockets = [_bind(listener.address) for listener in settings.http.listen] if "api" in settings.node.roles else []
    _greet(settings, asyncio.run(_prepare(settings)))
    return sockets


def _allow_files() -> None:
    """As many open files as we may have, where what is usual (1024) is fewer than we need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _prepare(settings: Settings) -> dict[str, dict[str, object]]:
    """The schema, the keys and the first account, before any role starts."""
    url = settings.store.url.url or "sqlite"
    await migrate(url, settings.data)
    vault = open_vault(settings.data / "master.key")
    operator_token(settings.operator_token)
    store = open_store(url, settings.data, SystemClock())
    try:
        return await bootstrap.make(store, vault, settings, [bootstrap.FIRST])
    finally:
        await store.close()


def _bind(address: HostPort) -> socket.socket:
    """Raises SystemExit with a sentence when the address cannot be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
    except OSError as error:
        raise SystemExit(f"http.listen: {address} cannot be used: {error.strerror}.") from None
    listening.listen(BACKLOG)
    listening.set_inheritable(True)
    return listening


def _greet(settings: Settings, accounts: dict[str, dict[str, object]]) -> None:
    """On standard output, for the person who started this: a call that works, and where to look."""
    if "api" not in settings.node.roles:
        return
    user = accounts[bootstrap.FIRST]["trigger"]
    assert isinstance(user, dict)
    base = settings.public_url
    fields = {
        "api_user": user["apiUser"],
        "api_key": user["apiKey"],
        "from": f"hello@{accounts[bootstrap.FIRST]['domain']}",
        "fromName": "Your Name",
        "to": "ann@example.org",
        "subject": "Test Email",
        "html": "<h1>Hello from AuroraSendCloud!</h1>",
    }
    lines = [f'curl -X POST "{base}/mail/send"', *(f"  -d {shlex.quote(f'{name}={value}')}" for name, value in fields.items())]
    print(" \\\n".join(lines))  # noqa: T201 the answer to the command
    print(f"\nSandbox:   {base}/sandbox\nReference: {base}/reference\nOpenAPI:   {base}/openapi.json", flush=True)  # noqa: T201
    if settings.delivery.route.kind != "sandbox":
        print(f"Mail leaves by {settings.delivery.route}.", flush=True)  # noqa: T201


# -- several workers


def _supervise(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """Workers end by themselves when this process is gone, however it ended: else they would hold the address."""
    stopping = False
    workers: dict[int, tuple[int, float]] = {}  # by process: its number, and when it was born
    occupancy = Occupancy(settings.node.workers)
    life = os.pipe()  # its end is what the workers notice

    def stop(number: int, _: object) -> None:
        nonlocal stopping
        stopping = True
        for listening in sockets:
            listening.close()  # else the system would go on answering who connects
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    for each in STOPS:
        signal.signal(each, stop)

    def start_one(number: int) -> None:
        while not stopping:
            # A stop that comes meanwhile waits until the new worker is known, and so is told to it.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            try:
                if not stopping:
                    workers[_fork(settings, sockets, life, occupancy, number)] = (number, time.monotonic())
                return
            except OSError as error:  # no process or memory is left; the other workers go on
                log.error("no worker can be started: %s", error)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
            time.sleep(RESTART_S)

    for number in range(settings.node.workers):
        start_one(number)
    while workers:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return
        if (ended := workers.pop(pid, None)) is None or stopping:
            continue
        number, born = ended
        occupancy.leave(number)
        log.error("worker %d ended with status %d; starting another", pid, os.waitstatus_to_exitcode(status))
        time.sleep(max(0.0, RESTART_S - (time.monotonic() - born)))
        start_one(number)


def _fork(settings: Settings, sockets: Sequence[socket.socket], life: tuple[int, int], occupancy: Occupancy, number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.close(life[1])
        for stop in STOPS:
            signal.signal(stop, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        occupancy.be(number)
        uvloop.run(_run(settings, sockets, occupancy, life[0]))
        status = 0
    except BaseException:
        log.exception("the worker could not run")
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(status)


# -- one node


async def _run(settings: Settings, sockets: Sequence[socket.socket], occupancy: Occupancy, life: int | None = None) -> None:
    """`life` is the pipe whose end says that the parent is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, stop.set)
    if life is not None:
        loop.add_reader(life, stop.set)
    running = await start(settings, sockets, occupancy=occupancy)
    _tune_interpreter()
    await stop.wait()
    await finish(running, settings.node.stop_deadline.total_seconds())


def _tune_interpreter() -> None:
    """What is there after the start stays: the collector need not walk through it again and again, which took 100 ms
    each time. What requests leave is mostly freed by its counts, so the young may be many before they are looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
    sys.setswitchinterval(SWITCH_S)


async def _develop(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    async with Internet() as internet:
        host = await internet.add_host("mx.simulator.example")
        internet.names.catch_all = host.name
        servers = tuple(HostPort(*server) for server in internet.name_servers)
        delivery = replace(settings.delivery, route=RouteSetting("mx"), dns=servers, mx_port=internet.smtp_port)
        telling = asyncio.create_task(_tell(internet))
        try:
            await _run(replace(settings, delivery=delivery), sockets, Occupancy(1))
        finally:
            telling.cancel()


async def _tell(internet: Internet) -> None:
    """A line on standard output for each message that the simulated internet receives."""
    told = 0
    while True:
        with contextlib.suppress(TimeoutError):
            await internet.mailbox.wait(told + 1, timeout_s=60)
        for message in list(internet.mailbox.messages)[told - internet.mailbox.count :] if internet.mailbox.count > told else []:
            print(f"received for {', '.join(message.recipients)}: {len(message.content)} bytes", flush=True)  # noqa: T201
        told = internet.mailbox.count


async def start(
    settings: Settings,
    sockets: Sequence[socket.socket],
    clock: Clock | None = None,
    store: Store | None = None,
    occupancy: Occupancy | None = None,
) -> Running:
    """A running node. `store` replaces the one that the settings name. Raises Unavailable when the store is away."""
    clock = clock or SystemClock()
    store = store or open_store(settings.store.url.url or "sqlite", settings.data, clock, settings.store.connections)
    roles = settings.node.roles
    delivers = bool({"deliver", "sms"} & set(roles))
    lease_us = int(settings.queue.lease.total_seconds() * 1_000_000)
    membership = Membership(store, clock, settings.data / "run", lease_us, delivers=delivers)
    await membership.join()
    wake = Wake(_carrier(settings))
    await wake.start()
    gateway = SimulatorGateway()
    sizes = Sizes(batch=settings.queue.batch, window=3 * settings.queue.batch, runners=settings.delivery.concurrency)
    lanes = Lanes(clock, membership, sizes)
    node, ids = _build(_Base(settings, clock, store, wake, membership, lanes), gateway)
    crews = await _crews(node, ids, gateway, wake)
    dispatcher = Dispatcher(store, clock, wake, membership, crews, lanes) if crews else None
    running = Running(node, wake, membership, dispatcher, Server(node, Catalogue(ENDPOINTS)))
    if dispatcher is not None:
        running.background.append(asyncio.create_task(dispatcher.run()))
    if "sweep" in roles:
        running.background.append(asyncio.create_task(Sweeper(store, clock, node.sandbox, settings).run()))
        running.background.append(asyncio.create_task(DomainWatch(node.domains).run()))
    running.background.append(asyncio.create_task(node.sources.run()))
    occupancy = occupancy or Occupancy(1)
    running.listeners = [
        _listen(running, occupancy, listener.region or settings.region.default, bool(listener.region))
        for listener in settings.http.listen[: len(sockets)]
    ]
    for listening, bound in zip(running.listeners, sockets, strict=True):
        running.background.append(asyncio.create_task(listening.serve(sockets=[bound])))
    return running


async def finish(running: Running, deadline_s: float) -> None:
    """Stop within the deadline: no new requests, then what is under way, then farewell."""
    for listening in running.listeners:
        listening.should_exit = True
    if running.dispatcher is not None:
        await running.dispatcher.drain(deadline_s)
    serving = running.background[len(running.background) - len(running.listeners) :]
    if serving:
        await asyncio.wait(serving, timeout=deadline_s)
    for task in running.background:
        task.cancel()
    await asyncio.gather(*running.background, return_exceptions=True)
    await running.node.outside.close()
    await running.node.resolver.close()
    await running.wake.stop()
    await running.membership.leave()
    await running.node.sources.write()  # after the farewell: nobody's mail waits for this history
    await running.node.store.close()


@dataclass(frozen=True, slots=True)
class _Base:
    """What the parts of a node are built from."""

    settings: Settings
    clock: Clock
    store: Store
    wake: Wake
    membership: Membership
    lanes: Lanes


def _build(base: _Base, gateway: Gateway) -> tuple[Node, Ids]:
    settings, clock, store, wake, membership = base.settings, base.clock, base.store, base.wake, base.membership
    vault = open_vault(settings.data / "master.key")
    ids = Ids(store)
    accounts = Accounts(store, clock, vault)
    fresh = _resolver(settings, keep=0)
    handover = Handover(base.lanes if "deliver" in settings.node.roles else None, clock, settings, wake)
    node = Node(
        settings=settings,
        clock=clock,
        zone=settings.zone,
        store=store,
        vault=vault,
        resolver=fresh,
        outside=Outside(_resolver(settings), settings.webhook.allow_private),
        domains=Domains(store, clock, vault, fresh, settings.domain),
        accounts=accounts,
        authenticator=Authentication(accounts, SmsLogin(accounts, settings.sms.timestamp_tolerance)),
        allowance=CallLimits(Allowances(store, clock, membership.worker), settings),
        sources=Sources(store, clock),
        submissions=Submissions(store, clock, ids, settings, handover, Origins(membership.worker)),
        sms=SmsSubmissions(store, clock, ids, settings, wake, gateway),
        sandbox=Sandbox(store, settings.sandbox.keep, settings.sandbox.keep_bytes),
    )
    return node, ids


async def _crews(node: Node, ids: Ids, gateway: Gateway, wake: Wake) -> dict[Kind, Crew]:
    roles = node.settings.node.roles
    crews: dict[Kind, Crew] = {}
    if "deliver" in roles:
        spare = max(0, len(os.sched_getaffinity(0)) - node.settings.node.workers)
        expiry = node.settings.queue
        terms = MailTerms(spare, _us(expiry.expiry_trigger), _us(expiry.expiry_batch))
        crews[Kind.MAIL] = Mail(node.store, node.clock, ids, node.vault, await _route(node.settings), terms)
        crews[Kind.LIST] = Expansion(node.store, node.clock, ids, node.settings, wake)
    if "sms" in roles:
        caught = node.settings.delivery.route.kind == "sandbox"
        crews[Kind.SMS] = SmsCrew(node.store, node.clock, ids, gateway, caught=caught)
    return crews


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


async def _route(settings: Settings) -> Route | None:
    """The way out that the settings name; None is the sandbox."""
    chosen = settings.delivery
    if chosen.route.kind == "sandbox":
        return None
    terms = Terms(
        helo=chosen.helo,
        tls=TlsMode(chosen.tls),
        login=(chosen.route.user, chosen.route.password) if chosen.route.user else None,
        timeouts=Timeouts(
            connect_s=chosen.connect_timeout.total_seconds(),
            reply_s=chosen.reply_timeout.total_seconds(),
            end_s=chosen.data_timeout.total_seconds(),
        ),
    )
    pool = Pool(terms, PoolLimits(per_hop=chosen.concurrency, idle_s=chosen.idle_timeout.total_seconds()))
    resolver = _resolver(settings)
    if chosen.route.kind == "smtp":
        return SmartHost(pool, resolver, chosen.route.host, chosen.route.port)
    return MxHosts(pool, resolver, Reach(port=chosen.mx_port, loopback=chosen.mx_port != 25))


def _resolver(settings: Settings, keep: int = 10_000) -> DnsResolver:
    """`keep` is how many answers it keeps; 0 asks anew each time, which is what the check of a domain wants."""
    chosen = settings.delivery
    servers = [(server.host, server.port) for server in chosen.dns]
    return DnsResolver(servers, deadline_s=chosen.dns_timeout.total_seconds(), cache_size=keep)


def _carrier(settings: Settings) -> Carrier:
    if settings.store.url.url:
        return Notifications(settings.store.url.url)
    return Datagrams(settings.data / "wake")


def _listen(running: Running, occupancy: Occupancy, region: str, fixed: bool) -> Listening:
    """A listener with a region of its own serves that one; another asks the Host."""
    settings, node = running.node.settings, running.node
    access = OperatorAccess(operator_token(settings.operator_token), settings.http.proxies)
    app = HttpApp(
        running.server,
        region=region,
        hosts={} if fixed else dict(settings.region.hosts),
        pages=[
            *sandbox_pages.routes(node.sandbox, access, node.zone),
            *portal_routes(running.server.catalogue, settings.public_url),
        ],
        budget=Budget(settings.limits.buffered_bytes),
        limits=Limits(settings.limits.body_bytes, settings.limits.buffered_bytes, settings.http.body_timeout.total_seconds()),
        proxies=settings.http.proxies,
    )
    config = uvicorn.Config(
        app,
        loop="none",
        limit_concurrency=CONNECTIONS,
        ws="none",
        proxy_headers=False,  # whose X-Forwarded-For is believed is decided by http.proxies
        lifespan="off",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.node.stop_deadline.total_seconds()),
    )
    return Listening(config, Connection, occupancy)
