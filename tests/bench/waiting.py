"""A store with many mails that wait, and how long it takes to claim from it. Uses the product's own store and queue."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from server import Installation

from aurorasend import queue
from aurorasend.clock import SystemClock
from aurorasend.config import Settings, load
from aurorasend.ids import SEQUENCE
from aurorasend.queue import Claimed, Key, Kind, Later, Work
from aurorasend.store import Store, delivery, open_store
from aurorasend.store import submission as rows
from aurorasend.store.tx import Row, Statement, Tx

MAILS = 100  # recipients of one submission, the API's limit
UNIT = 100  # submissions in one transaction
BATCH = 64  # entries in one claim, the default of queue.batch
KEYS = 512  # what the dispatcher looks at in one turn
NOBODY = 2**40  # a node that does not exist; all that it claims is given back

_MODEL = Statement("SELECT account_id, id FROM submission ORDER BY id DESC LIMIT 1")


@dataclass(frozen=True)
class Opened:
    """The store of an installation, beside or without its server."""

    store: Store
    settings: Settings


def opened(at: Installation) -> Opened:
    settings = load(at.data, assignments=at.settings)
    return Opened(open_store(settings.store.url.url or "sqlite", at.data, SystemClock()), settings)


async def fill(to: Opened, mails: int) -> None:
    """Copies of the newest submission until `mails` more recipients wait, due now, spread over the lanes of the route."""
    model = await to.store.read(newest)
    for begin in range(0, mails, MAILS * UNIT):
        sizes = [min(MAILS, mails - at) for at in range(begin, min(begin + MAILS * UNIT, mails), MAILS)]
        await to.store.write(lambda tx, sizes=sizes: add(tx, to.settings, model, sizes))  # type: ignore[misc]


async def newest(tx: Tx) -> tuple[int, Row, list[bytes]]:
    """(account_id, submission, parts of its content)."""
    found = await tx.row(_MODEL)
    assert found is not None
    whole = await rows.submission_whole(tx, *found)
    assert whole is not None
    return found[0], whole, (await delivery.contents(tx, found[0], [found[1]]))[found[1]]


async def add(tx: Tx, settings: Settings, model: tuple[int, Row, list[bytes]], sizes: list[int]) -> None:
    account_id, whole, parts = model
    _, user, sender, domain, message, kind, label, label_name, tags, _, _, _ = whole
    now = time.time_ns() // 1000
    submissions: list[Row] = []
    recipients: list[Row] = []
    works: list[Work] = []
    contents: list[Row] = []
    for number, size in enumerate(sizes):
        first = await tx.take_ids(SEQUENCE, size + 1)
        own = first + size
        stamp, rest = message.split("_", 1)
        submissions.append(
            (
                *(account_id, own, user, sender, domain, f"{int(stamp) + number}_{rest}", kind, label, label_name, tags, ""),
                *(first, size, own, 0, sum(map(len, parts)), now),
            )
        )
        contents += [(account_id, own, part, 0, data) for part, data in enumerate(parts)]
        for position in range(size):
            entry = first + position
            recipients.append((account_id, entry, own, position, f"w{entry}@example.net", None, now, now, now))
            lane = settings.delivery.mail_lane("example.net", entry)
            works.append(Work(account_id, entry, Kind.MAIL, lane, now, kind, entry))
    await rows.add_submissions(tx, submissions)
    await rows.add_content(tx, contents)
    await rows.add_recipients(tx, recipients)
    await queue.put(tx, works)


@dataclass(frozen=True)
class ClaimTime:
    """Seconds of one turn of the dispatcher: finding what is due, claiming a batch, durably; and of that the statement alone."""

    turn: float
    statement: float


class Claimer:
    """Claims batch after batch as the dispatcher does, and gives each back to the end of the queue, unmeasured."""

    def __init__(self, of: Opened) -> None:
        self._of = of
        self._turns: Iterator[int] = iter(range(10**9))

    async def claim(self) -> ClaimTime:
        store, turn = self._of.store, next(self._turns)
        inside = [0.0]

        async def look(tx: Tx) -> list[Key]:
            now = time.time_ns() // 1000
            keys, _ = await queue.look(tx, NOBODY, now, KEYS)
            return keys

        async def take(tx: Tx) -> list[Claimed]:
            begin = time.perf_counter()
            ((_, claimed),) = await queue.claim(tx, [(key, BATCH, ())], time.time_ns() // 1000, NOBODY)
            inside[0] = time.perf_counter() - begin
            return claimed

        begin = time.perf_counter()
        keys = await store.read(look)
        key = sorted(keys, key=lambda one: one.lane)[turn % len(keys)]
        claimed = await store.write(take)
        spent = time.perf_counter() - begin
        assert len(claimed) == BATCH, f"{len(claimed)} claimed"
        now = time.time_ns() // 1000
        await store.write(
            lambda tx: queue.later(tx, NOBODY, [Later(one, now, counts=False) for one in claimed])
        )
        return ClaimTime(spent, inside[0])
