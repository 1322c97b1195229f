"""A send to an address list of a million members: how fast it becomes recipients, in how much memory, what a single mail
sent meanwhile waits, and that a kill in the middle loses and repeats nobody.

Program: `list_send.py [MEMBERS] [STORE_URL]` (by default 1000000 on SQLite); prints one JSON object. The mails go to a
sink all the time, so delivery takes its share of the machine; what is not delivered when all are made is left.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endtoend import sink
from process import BenchError, cpu_s, memory_mb
from server import Installation, Ours, install, serving

from aurorasend.clock import SystemClock
from aurorasend.store import Store, open_store
from aurorasend.store import contact as contacts
from aurorasend.store.contact import Member
from aurorasend.store.tx import Row, Statement, Tx

MEMBERS = 1_000_000
FILL = 10_000  # members put into the store in one transaction
ALIAS = "million@maillist.example.org"
EVERY_S = 1.0  # a single mail, and a look at memory
LIMIT_S = 900.0

_SEND = Statement("SELECT done FROM list_send ORDER BY id DESC LIMIT 1")
_WAITS = Statement("SELECT updated - created, state FROM recipient WHERE address LIKE 'single%'")
_MADE = Statement(
    "SELECT count(*), count(DISTINCT r.address), count(DISTINCT r.position), min(r.position), max(r.position) FROM recipient r "
    "JOIN submission s ON s.account_id = r.account_id AND s.id = r.submission_id WHERE s.list_send_id > 0"
)
_QUEUED = Statement("SELECT count(*) FROM work WHERE kind = 1")
_DELIVERED = Statement("SELECT count(*) FROM recipient WHERE state <> 0")
_COUNTED = Statement("SELECT sum(n) FROM counter WHERE kind = 18")
_ACCOUNT = Statement("SELECT id FROM account WHERE name = 'main'")


@dataclass
class Seen:
    """What was seen of a run: (seconds, made, MB resident) at each look, and how long each request took."""

    looks: list[tuple[float, int, float]] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0  # of the server


def main() -> None:
    members = int(sys.argv[1]) if len(sys.argv) > 1 else MEMBERS
    url = sys.argv[2] if len(sys.argv) > 2 else ""
    with tempfile.TemporaryDirectory(prefix="aurorasend-list-") as folder, sink(Path(folder)) as hop:
        at = install(Path(folder) / "data", hop.port, url)
        asyncio.run(fill(at, url, members))
        print(json.dumps(measure(at, url, members), indent=1))


async def fill(at: Installation, url: str, members: int) -> None:
    """The list, with names and variables, put into the store directly: the API takes 1000 at a time."""
    store = open_store(url or "sqlite", at.data, SystemClock())
    account_id = int((await rows(store, _ACCOUNT))[0][0])
    made = await store.write(lambda tx: contacts.add(tx, account_id, ALIAS, ("million", ""), 1))
    if made is None:
        raise BenchError("the list is there already")
    for first in range(0, members, FILL):
        some = range(first, min(first + FILL, members))

        async def unit(tx: Tx, some: range = some) -> None:
            number = await contacts.take_member_ids(tx, len(some))
            added = [member(number + n, at_) for n, at_ in enumerate(some)]
            await contacts.add_members(tx, account_id, made.id, added)
            await contacts.count_members(tx, account_id, made.id, len(some), 1)

        await store.write(unit)
    await store.close()


def member(number: int, at: int) -> Member:
    address = f"m{at:07}@d{at % 50}.example.net"
    return Member(number, address, address, f"Member {at}", f'{{"code":"{at:06}","points":{at % 1000}}}', 1, 1)


async def rows(store: Store, statement: Statement) -> list[Row]:
    async def unit(tx: Tx) -> list[Row]:
        return await tx.rows(statement)

    return await store.read(unit)


def call(at: Installation, path: str, **fields: str) -> dict[str, Any]:
    body = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{at.port}{path}", body, timeout=30) as answer:
        envelope: dict[str, Any] = json.load(answer)
    return envelope


def measure(at: Installation, url: str, members: int) -> dict[str, object]:
    shown = json.loads((at.data / "bootstrap.json").read_text())["main"]["shown"]
    seen, before_kill = Seen(), Seen()
    with serving(at) as ours:
        begun = time.monotonic()
        answer = call(
            at,
            "/mail/send",
            **shown["batch"],
            **{"from": f"news@{at.domain}", "to": ALIAS, "useAddressList": "true"},
            subject="News for %name%",
            html="<p>Dear %name%, your code is %code%.</p>",
        )
        if answer["statusCode"] != 40821:
            raise BenchError(f"the list send was refused: {answer}")
        asyncio.run(watch(at, url, ours, before_kill, members // 2))
        ours.child.popen.send_signal(signal.SIGKILL)
        ours.child.popen.wait()
        killed = time.monotonic()
    with serving(at) as ours:
        asyncio.run(watch(at, url, ours, seen, members))
        ended = time.monotonic()
        report = asyncio.run(books(at, url))
    first, second = rate(before_kill), rate(seen)
    memory = [mb for _, _, mb in (*before_kill.looks, *seen.looks)]
    return {
        "members": members,
        "seconds": round(ended - begun, 1),
        "seconds_from_kill_to_end": round(ended - killed, 1),
        "made_per_s_before_and_after_the_kill": [round(first), round(second)],
        "server_cpu_s": round(before_kill.cpu_s + seen.cpu_s, 1),
        "resident_mb_least_and_most": [round(min(memory)), round(max(memory))],
        "longest_answer_s": round(max(before_kill.answers_s + seen.answers_s), 3),
        **report,
    }


def rate(seen: Seen) -> float:
    (from_s, from_made, _), (to_s, to_made, _) = seen.looks[0], seen.looks[-1]
    return (to_made - from_made) / (to_s - from_s) if to_s > from_s else 0.0


async def watch(at: Installation, url: str, ours: Ours, seen: Seen, until: int) -> None:
    """Until so many mails are made: every second a look and a single mail, whose wait the store tells later."""
    store = open_store(url or "sqlite", at.data, SystemClock())
    ends = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < ends:
            made = (await rows(store, _SEND))[0][0]
            seen.looks.append((time.monotonic(), made, memory_mb(ours.pids())))
            seen.cpu_s = cpu_s(ours.pids())
            if made >= until:
                return
            asked = time.monotonic()
            await asyncio.to_thread(single, at, len(seen.looks))
            seen.answers_s.append(time.monotonic() - asked)
            await asyncio.sleep(EVERY_S)
    finally:
        await store.close()
    raise BenchError(f"not made within {LIMIT_S} s")


def single(at: Installation, number: int) -> None:
    fields = {"apiUser": at.user, "apiKey": at.key, "from": f"shop@{at.domain}", "to": f"single{number}@example.net"}
    answer = call(at, "/mail/send", **fields, subject="Your code", html="<p>1234</p>")
    if answer["statusCode"] != 200:
        raise BenchError(f"a single mail was refused: {answer}")


async def books(at: Installation, url: str) -> dict[str, object]:
    """Whether everybody has one mail, and what the single ones waited until they were delivered and it was recorded."""
    await asyncio.sleep(2 * EVERY_S)
    store = open_store(url or "sqlite", at.data, SystemClock())
    try:
        waits = await rows(store, _WAITS)
        made, addresses, positions, least, most = (await rows(store, _MADE))[0]
        counted = int((await rows(store, _COUNTED))[0][0])
        queued, delivered = int((await rows(store, _QUEUED))[0][0]), int((await rows(store, _DELIVERED))[0][0])
    finally:
        await store.close()
    return {
        "recipients": made,
        "distinct_addresses": addresses,
        "positions": [positions, least, most],
        "request_events_count": counted - len(waits),
        "delivered_meanwhile": delivered,
        "still_queued": queued,
        "single_mails": len(waits),
        "single_mails_not_delivered": sum(state != 1 for _, state in waits),
        "single_mail_longest_wait_s": round(max(wait for wait, _ in waits) / 1e6, 3),
    }


if __name__ == "__main__":
    main()
