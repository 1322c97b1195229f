"""A store with months of history, with about as many events as are asked for. The engine makes the rows itself, day by day in
the order of time, which is some hundred times faster than sending them.

A fifth of the recipients are yesterday's, the others those of the 97 days before. Four in ten got a mail of their own of the
`trigger` API user (all day, half of them without a label), the others are a hundred to a request of the `batch` one (three hours
a day, under that day's label). One in 5,000 is of the API user `seldom`, one in 20,000 has the label `seldom`. Of a hundred mails
94 were delivered, 4 are invalid, mostly for 406, and 2 bounced; two in 100,000 of yesterday's are under way. A quarter of the
delivered ones were opened, a third of these again; one in 16 clicked. The counters are counted from the same rows, and then
folded as the product does it. A million addresses came on the bounce list yesterday, and as many unsubscribed.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import asyncpg
import msgspec
from engines import Engine
from server import Installation
from sqlalchemy import Index
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, DropIndex
from waiting import opened

from aurorasend.clock import DAY, HOUR, SystemClock, day
from aurorasend.clock import zone as zone_of
from aurorasend.store import schema, statistics
from aurorasend.store.tx import Row, Statement, Store

DAYS = 98  # that have history, yesterday the last
EVENTS_PER_100 = 178  # of so many recipients
OF_ONE_REQUEST = 100
DOMAINS = ("mail", "post", "inbox", "box", "net", "web", "letter", "home", "work", "school", "shop", "club")
SHARES = (40, 60, 75, 80, 84, 87, 90, 92, 94, 96, 98, 100)  # of a hundred recipients, summed up
INVALID = ((700, 406), (850, 405), (920, 407), (950, 401), (970, 402), (985, 408), (995, 409), (999, 403), (1000, 404))
BOUNCED = ((500, 503), (700, 505), (800, 506), (900, 507), (950, 508), (1000, 509))
BASE = 10**9  # ids of what is made
LABELS = (*(f"note-{n}" for n in range(3)), *(f"campaign-{n}" for n in range(7)), "seldom")
SELDOM_LABEL, SELDOM_USER = BASE + len(LABELS) - 1, BASE + 50
LISTED = 1_000_000
FOLDED = 20_000
TABLES = (schema.submission, schema.recipient, schema.event, schema.suppression)
EMPTY, SAID = (msgspec.msgpack.encode(detail).hex() for detail in ({}, {"text": "250 2.0.0 Ok: queued as 4XkGm"}))

Run = Callable[[str], Awaitable[list[Row]]]


@dataclass(frozen=True)
class History:
    """What there is, of what will be asked. `yesterday` as the API has it."""

    recipients: int
    events: int
    seconds: float
    yesterday: str
    of_yesterday: int
    address: str
    email_id: str


@dataclass(frozen=True)
class Account:
    """`trigger` and `batch` are the ids of an API user and of its sender."""

    id: int
    domain: int
    trigger: tuple[int, int]
    batch: tuple[int, int]


@dataclass(frozen=True)
class Engineer:
    """Runs statements on one engine. `{series}` gives numbers from 0 to below `n` as `j`."""

    name: str
    run: Run

    async def do(self, sql: str) -> list[Row]:
        return await self.run(sql)

    def series(self, n: int) -> str:
        if self.name == "postgres":
            return f"generate_series(0, {n}::bigint - 1) AS series(j)"
        numbers = f"WITH RECURSIVE series(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM series WHERE j + 1 < {n})"
        return f"({numbers} SELECT j FROM series) AS series"

    def bytes(self, hexadecimal: str) -> str:
        return f"decode('{hexadecimal}', 'hex')" if self.name == "postgres" else f"x'{hexadecimal}'"

    def index(self, clause: type[CreateIndex] | type[DropIndex], index: Index) -> str:
        dialect = postgresql.dialect() if self.name == "postgres" else sqlite.dialect()  # type: ignore[no-untyped-call]
        return str(clause(index).compile(dialect=dialect))


def random(of: str, salt: int, below: int) -> str:
    """A number below `below` (at most a million) for each `of`, always the same."""
    return f"((({of}) + {salt}) * 2654435761 % 1000003 % {below})"


def pick(number: str, steps: Iterable[tuple[int, object]]) -> str:
    return "CASE " + " ".join(f"WHEN {number} < {below} THEN {value}" for below, value in steps) + " END"


def make(at: Installation, engine: Engine, events: int) -> History:
    return asyncio.run(_make(at, engine, events))


async def _make(at: Installation, engine: Engine, events: int) -> History:
    begin, to = time.monotonic(), opened(at)
    hours = to.settings.api.zone_hours
    midnight = (SystemClock().now_us() + hours * HOUR) // DAY * DAY - hours * HOUR
    try:
        if engine.name == "sqlite":
            with closing(sqlite3.connect(at.data / "aurorasend.db", isolation_level=None)) as connection:
                connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA temp_store = MEMORY")

                async def on_sqlite(sql: str) -> list[Row]:
                    return connection.execute(sql).fetchall()

                account, recipients = await _fill(Engineer("sqlite", on_sqlite), events, midnight)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            server = await asyncpg.connect(to.settings.store.url.url, command_timeout=3600)
            await server.execute("SET synchronous_commit = off; SET work_mem = '256MB'; SET maintenance_work_mem = '512MB'")

            async def on_postgres(sql: str) -> list[Row]:
                return [tuple(row) for row in await server.fetch(sql)]

            account, recipients = await _fill(Engineer("postgres", on_postgres), events, midnight)
        await _fold(to.store, account.id, hours)
        if engine.name == "postgres":  # what autovacuum does by and by
            for table in (*TABLES, schema.counter, schema.tally_line, schema.tally_state):
                await server.execute(f"VACUUM ANALYZE {table.name}")
            await server.close()
        return await _told(to.store, account, recipients, time.monotonic() - begin, midnight, hours)
    finally:
        await to.store.close()


async def _fill(on: Engineer, events: int, midnight: int) -> tuple[Account, int]:
    recipients = events * 100 // EVENTS_PER_100
    account = await _account(on)
    indexes = [index for table in TABLES for index in table.indexes]
    for index in indexes:
        await on.do(on.index(DropIndex, index))
    for n, name in enumerate(LABELS):
        await on.do(
            "INSERT INTO label (account_id, id, name, folded, created, updated) "
            f"VALUES ({account.id}, {BASE + n}, '{name}', '{name}', 1, 1)"
        )
    await on.do(f"INSERT INTO sender (account_id, id, name) VALUES ({account.id}, {SELDOM_USER}, 'seldom')")
    await on.do(
        "INSERT INTO api_user (account_id, id, name, sender_id, domain_id, key_hash) "
        f"VALUES ({account.id}, {SELDOM_USER}, 'seldom', {SELDOM_USER}, {account.domain}, {on.bytes('00')})"
    )
    first, number = 2 * BASE, 0
    for ago in range(DAYS, 0, -1):
        many = recipients // 5 if ago == 1 else recipients * 4 // 5 // (DAYS - 1)
        many = max(many - many % 1000, 1000)  # whole requests
        one = _Day(on, account, midnight - ago * DAY, ago, first, number, many)
        await one.fill()
        first, number = first + 10 * many, number + many
    await _lists(on, account, midnight - DAY)
    for index in indexes:
        await on.do(on.index(CreateIndex, index))
    await on.do(f"UPDATE sequence SET next = {first} WHERE name = 'row'")
    return account, number


async def _account(on: Engineer) -> Account:
    (found,) = await on.do("SELECT id FROM account WHERE name = 'main'")
    (domain,) = await on.do(f"SELECT min(id) FROM domain WHERE account_id = {found[0]}")
    users = await on.do(
        f"SELECT id, sender_id, email_type FROM api_user WHERE account_id = {found[0]} AND is_test = 0 ORDER BY id DESC"
    )
    ids = {kind: (user, sender) for user, sender, kind in users}
    return Account(found[0], domain[0], ids[0], ids[1])


@dataclass(frozen=True)
class _Day:
    """One day's rows. Ids from `first`: recipients, then submissions, then events of each sort, `many` of each at most."""

    on: Engineer
    account: Account
    begins: int
    ago: int
    first: int
    number: int  # of its first recipient, among all
    many: int

    @property
    def single(self) -> int:
        return self.many * 4 // 10

    async def fill(self) -> None:
        await self._singles()
        await self._batches()
        await self._events()
        await self._counters()

    async def _singles(self) -> None:
        created = f"({self.begins} + j * {DAY // max(self.single, 1)})"
        label = pick(random("j", 5, 6), ((3, 0), (4, BASE), (5, BASE + 1), (6, BASE + 2)))
        label = f"CASE WHEN {random('j', 6, 20_000)} = 0 THEN {SELDOM_LABEL} ELSE {label} END"
        is_seldom = f"{random('j', 7, 5_000)} = 0"
        user, sender = (f"CASE WHEN {is_seldom} THEN {SELDOM_USER} ELSE {each} END" for each in self.account.trigger)
        await self._submissions(self.single, "j", (user, sender, label, f"{self.first} + j", "1", created, "0"))
        await self._recipients(0, self.single, (f"{self.first + self.many} + j", "0", created))

    async def _batches(self) -> None:
        count = self.many - self.single
        requests = count // OF_ONE_REQUEST
        begins, apart = self.begins + 9 * HOUR, 3 * HOUR // max(requests, 1)
        label = str(BASE + 3 + self.ago % 7)
        first = f"{self.first + self.single} + j * {OF_ONE_REQUEST}"
        user, sender = map(str, self.account.batch)
        await self._submissions(
            requests, f"{self.single} + j", (user, sender, label, first, str(OF_ONE_REQUEST), f"({begins} + j * {apart})", "1")
        )
        request = f"(j / {OF_ONE_REQUEST})"
        own = f"{self.first + self.many + self.single} + {request}"
        await self._recipients(self.single, count, (own, f"j % {OF_ONE_REQUEST}", f"({begins} + {request} * {apart})"))

    async def _submissions(self, many: int, offset: str, columns: tuple[str, ...]) -> None:
        user, sender, label, recipient, recipients, created, kind = columns
        own = f"{self.first + self.many} + {offset}"
        message = f"CAST({created} / 1000 AS text) || '_{self.account.id}_1_' || CAST({own} AS text) || '.sg-0_0_0_1-inbound'"
        await self.on.do(
            "INSERT INTO submission (account_id, id, api_user_id, sender_id, domain_id, message_id, email_type, label_id, "
            "first_recipient, recipients, content_id, size, created) "
            f"SELECT {self.account.id}, {own}, {user}, {sender}, {self.account.domain}, {message}, {kind}, "
            f"{label}, {recipient}, {recipients}, {own}, 2000, {created} FROM {self.on.series(many)}"
        )

    async def _recipients(self, offset: int, many: int, columns: tuple[str, str, str]) -> None:
        submission, position, created = columns
        n = f"({self.number + offset} + j)"
        domain = pick(random(n, 1, 100), ((below, f"'{name}.example'") for below, name in zip(SHARES, DOMAINS, strict=True)))
        fate = random(n, 2, 100_000)
        state = pick(fate, ((2, 18 if self.ago == 1 else 1), (94_000, 1), (98_000, 4), (100_000, 5)))
        why = random(n, 3, 1000)
        sub_status = pick(fate, ((94_000, 0), (98_000, pick(why, INVALID)), (100_000, pick(why, BOUNCED))))
        await self.on.do(
            "INSERT INTO recipient (account_id, id, submission_id, position, address, state, sub_status, tries, log, out_ip, "
            f"requested, created, updated) SELECT {self.account.id}, {self.first + offset} + j, {submission}, {position}, "
            f"'p' || CAST(10000000 + {n} AS text) || '@' || {domain}, {state}, {sub_status}, 1, '250 2.0.0 Ok: queued as 4XkGm', "
            f"'192.0.2.1', {created}, {created}, {created} + 2000000 FROM {self.on.series(many)}"
        )

    @property
    def _mine(self) -> str:
        return f"r.account_id = {self.account.id} AND r.id >= {self.first} AND r.id < {self.first + self.many}"

    def _is(self, one_in: int) -> str:
        return f"r.state = 1 AND {random('r.id', 4, 48)} % {one_in} = 0"

    async def _events(self) -> None:
        columns = "INSERT INTO event (account_id, id, kind, at, submission_id, recipient_id, detail) SELECT account_id,"
        empty, said = self.on.bytes(EMPTY), self.on.bytes(SAID)
        await self.on.do(
            f"{columns} id + {self.many}, 18, created, id, 0, {empty} FROM submission WHERE account_id = {self.account.id} "
            f"AND id >= {self.first + self.many} AND id < {self.first + 2 * self.many}"
        )
        sorts = (
            ("r.state", "r.state <> 18", said),
            ("11", self._is(4), empty),
            ("11", self._is(12), empty),
            ("10", self._is(16), empty),
        )
        for n, (kind, condition, detail) in enumerate(sorts, 3):
            await self.on.do(
                f"{columns} id + {n * self.many}, {kind}, updated + {n} * 3000000, submission_id, id, {detail} FROM recipient r "
                f"WHERE {self._mine} AND {condition}"
            )

    async def _counters(self) -> None:
        sorts = (
            ("18", "0", "TRUE"),
            ("state", "sub_status", "state <> 18"),
            ("11", "1", self._is(4)),
            ("11", "0", self._is(12)),
            ("10", "1", self._is(16)),
        )
        mine = (
            "SELECT s.account_id, s.created, s.sender_id, s.label_id, r.address, r.state, r.sub_status, r.id FROM recipient r "
            f"JOIN submission s ON s.account_id = r.account_id AND s.id = r.submission_id WHERE {self._mine}"
        )
        for kind, sub_status, condition in sorts:
            await self.on.do(
                "INSERT INTO counter (account_id, hour, sender_id, label_id, domain, kind, sub_status, n) "
                "SELECT account_id, hour_, sender_id, label_id, domain_, kind_, sub_, count(*) FROM ("
                f"SELECT account_id, created / {HOUR} AS hour_, sender_id, label_id, substr(address, 11) AS domain_, "
                f"{kind} AS kind_, {sub_status} AS sub_ FROM ({mine}) AS r WHERE {condition}) AS counted "
                "GROUP BY account_id, hour_, sender_id, label_id, domain_, kind_, sub_"
            )


async def _lists(on: Engineer, account: Account, begins: int) -> None:
    created = f"{begins} + j * {DAY // LISTED}"
    label = f"CASE WHEN j % 100000 = 0 THEN {SELDOM_LABEL} ELSE {BASE + 3} END"
    for name, api_user, label_id in (
        ("bounce", 0, "0"),
        ("unsubscribe", account.batch[0], label),
        ("block", 0, "0"),
        ("allow", 0, "0"),
    ):
        await on.do(
            "INSERT INTO suppression (account_id, key, list, api_user_id, kind, label_id, strikes, reason, created, expires) "
            f"SELECT {account.id}, 's' || CAST({BASE} + j AS text) || '@{name}.example', '{name}', {api_user}, 0, {label_id}, 1, "
            f"'550 5.1.1 no such user', {created}, {created} + {180 * DAY} FROM {on.series(LISTED)}"
        )


async def _fold(store: Store, account_id: int, zone_hours: int) -> None:
    before = SystemClock().now_us() // HOUR - 3
    while await store.write(partial(statistics.fold, account_id=account_id, before=before, zone_hours=zone_hours, limit=FOLDED)):
        pass


async def _told(store: Store, account: Account, recipients: int, seconds: float, midnight: int, zone_hours: int) -> History:
    async def rows(sql: str) -> list[Row]:
        return await store.read(lambda tx: tx.rows(Statement(sql)))

    since = midnight - DAY
    (events,) = await rows(f"SELECT count(*) FROM event WHERE account_id = {account.id}")
    (yesterday,) = await rows(
        f"SELECT sum(requested) FROM tally_line WHERE account_id = {account.id} AND grain = {statistics.Grain.DAY:d} "
        f"AND bucket = {(since + zone_hours * HOUR) // DAY}"
    )
    (one,) = await rows(
        "SELECT r.address, s.message_id || CAST(r.position AS text) || '$' || r.address FROM submission s JOIN recipient r "
        f"ON r.account_id = s.account_id AND r.id = s.first_recipient WHERE s.account_id = {account.id} AND s.created >= {since} "
        "ORDER BY s.created LIMIT 1"
    )
    return History(recipients, events[0], seconds, day(since, zone_of(zone_hours)), int(yesterday[0]), one[0], one[1])
