"""The server is killed with SIGKILL at random moments under load, started again, and at last the books are closed.

By hand: `python -m tests.cluster.kill --rounds 1000 --engine sqlite`. Always: accepted = delivered + waiting + failed; a
repeated sendRequestId never makes a second mail; a mail arrives twice only when a kill fell between the moment in which the
sink asked for its content and its second delivery: the peer's 250 was on its way, our commit was not.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import uvloop

from aurorasend.clock import SystemClock
from aurorasend.store import open_store
from tests.cluster import books
from tests.cluster.load import Account, Ledger, Sender
from tests.cluster.server import ROOT, Node, command
from tests.cluster.sink import Delivery, Sink
from tests.postgres import running

CLIENTS = 12
PACE_S = 0.03
DRAIN_S = 60.0
WINDOW_S = 10.0  # on a very busy machine; usually well below a second
ROUND_S = (0.1, 0.9)
SETTINGS = {"queue.lease": "10s", "limits.daily_quota": "100000000", "limits.send_per_minute": "100000000"}


@dataclass
class Report:
    engine: str
    rounds: int
    seconds: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    unanswered: int = 0
    repeated: int = 0
    delivered: int = 0
    waiting: int = 0
    failed: int = 0
    duplicates: int = 0
    window_s: float = 0.0  # the longest time between a 250 and the kill that kept it from being recorded
    refused: dict[int, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.engine}: {self.rounds} rounds in {self.seconds:.0f} s (killed: {kinds}); recipients accepted "
            f"{self.accepted}, in the store delivered {self.delivered} + waiting {self.waiting} + failed {self.failed}; "
            f"requests without an answer {self.unanswered}, repeated {self.repeated}, refused {self.refused or 0}; "
            f"duplicates {self.duplicates}, the longest {self.window_s * 1000:.0f} ms between the sink's 250 and the kill"
        )


@dataclass
class Killing:
    """One run. `data` is the data directory; `url` the store."""

    data: Path
    url: str
    rounds: int
    seed: int
    ledger: Ledger = field(default_factory=Ledger)
    killed_at: list[float] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=dict)
    drained: bool = False

    async def run(self) -> Report:
        begin = time.monotonic()
        chance = random.Random(self.seed)
        async with Sink() as sink:
            settings = {**SETTINGS, "delivery.route": f"smtp://127.0.0.1:{sink.port}"}
            node = Node(self.data, settings | ({"store.url": self.url} if self.url != "sqlite" else {}), workers=2)
            accounts = await asyncio.to_thread(node.bootstrap)
            try:
                await self._rounds(node, [Account.of(accounts, name, kind) for name, kind in USERS], chance)
                self.kills["drained"] = await self._drain(node)
            finally:
                node.kill()
            report = await self._close(sink.deliveries)
        report.seconds = time.monotonic() - begin
        return report

    async def _rounds(self, node: Node, users: list[Account], chance: random.Random) -> None:
        stop = asyncio.Event()
        senders = [Sender(node.port, users[n % len(users)], self.ledger, self.seed + n, PACE_S) for n in range(CLIENTS)]
        tasks = [asyncio.create_task(sender.run(stop)) for sender in senders]
        try:
            node.start()
            await node.ready()
            for _ in range(self.rounds):
                await asyncio.sleep(chance.uniform(*ROUND_S))
                await self._kill(node, chance)
            await node.ready()
            stop.set()
            await asyncio.wait_for(asyncio.gather(*tasks), DRAIN_S)
        finally:
            for task in tasks:
                task.cancel()

    async def _kill(self, node: Node, chance: random.Random) -> None:
        """Half of the kills end everything, the others one or all workers, which their parent starts again. After some
        of the first kind the next one strikes while the server still starts."""
        workers = node.worker_pids()
        kind = chance.choices(("all", "worker", "workers"), (5, 4, 1))[0] if workers else "all"
        self.kills[kind] = self.kills.get(kind, 0) + 1
        if kind == "all":
            node.kill()
        for pid in {"all": [], "worker": workers[:1], "workers": workers}[kind]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.killed_at.append(time.monotonic())
        if kind == "all":
            node.start()
            if chance.random() < 0.8:
                await node.ready()

    async def _drain(self, node: Node) -> int:
        """Wait until nothing is leased or due any more, then stop the server as an operator does. Returns its status."""
        store = open_store(self.url, self.data, SystemClock())
        try:
            self.drained = await books.drained(store, DRAIN_S)
        finally:
            await store.close()
        return await node.stop()

    async def _close(self, deliveries: list[Delivery]) -> Report:
        store = open_store(self.url, self.data, SystemClock())
        try:
            closed = await books.close(store)
        finally:
            await store.close()
        status = self.kills.pop("drained")
        report = Report(self.url.partition(":")[0], self.rounds, kills=self.kills)
        unexplained = self._duplicates(deliveries, report)
        report.accepted, report.unanswered = len(self.ledger.accepted), self.ledger.unanswered
        report.repeated, report.refused = self.ledger.repeated, self.ledger.refused
        report.delivered, report.waiting, report.failed = len(closed.delivered), len(closed.waiting), len(closed.failed)
        report.problems = [
            *closed.problems,
            *books.missing(closed, self.ledger.accepted, deliveries),
            *books.twins(deliveries),
            *self.ledger.changed,
            *unexplained,
            *([] if self.drained else [f"there was work left, and for {DRAIN_S:.0f} s it did not become less"]),
            *([f"the last stop ended with status {status}"] if status else []),
            *([f"refused: {self.ledger.refused}"] if self.ledger.refused else []),
            *self._explained(closed),
        ]
        return report

    def _duplicates(self, deliveries: list[Delivery], report: Report) -> list[str]:
        """Counts deliveries that were one too many; returns those that no kill explains."""
        unexplained = []
        for email_id, several in books.by_mail(deliveries).items():
            for before, after in pairwise(several):
                report.duplicates += 1
                at = bisect_left(self.killed_at, before.asked)
                if at == len(self.killed_at) or self.killed_at[at] > after.taken:
                    gap = after.taken - before.taken
                    unexplained.append(f"{email_id} arrived twice, {gap:.3f} s apart, and nothing was killed meanwhile")
                else:
                    report.window_s = max(report.window_s, self.killed_at[at] - before.taken)
        if report.window_s > WINDOW_S:
            unexplained.append(f"an accepted mail was not recorded for {report.window_s:.1f} s")
        return unexplained

    def _explained(self, closed: books.Books) -> list[str]:
        """`explain`, as the operator calls it, agrees for one mail of each kind."""
        problems = []
        store = ["--set", f"store.url={self.url}"] if self.url != "sqlite" else []
        for ids, word in ((closed.delivered, "delivered"), (closed.waiting, "waits in lane"), (closed.failed, "invalid")):
            for email_id in sorted(ids)[:1]:
                words = command("explain", "--data", self.data, *store, email_id)
                told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
                if word not in told.stdout:
                    problems.append(f"explain {email_id} says no {word!r}: {told.stdout}{told.stderr}")
        return problems


USERS = (("main", "trigger"), ("main", "batch"), ("other", "trigger"))


def run(data: Path, url: str, rounds: int, seed: int) -> Report:
    return uvloop.run(Killing(data, url, rounds, seed).run())


@contextmanager
def _url(engine: str) -> Iterator[str]:
    if engine == "sqlite":
        yield "sqlite"
        return
    with running() as server:
        yield server.create("killed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aurorasend-kill-"))
    print(f"seed {options.seed}, in {folder}", flush=True)
    with _url(options.engine) as url:
        report = run(folder / "data", url, options.rounds, options.seed)
    print(time.strftime("%Y-%m-%d"), report, flush=True)
    if report.problems:
        raise SystemExit("\n".join([*report.problems, f"The data is kept in {folder}."]))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
