"""Senders of mail that keep book of what was answered: the load under which the proofs kill and stop things."""

import asyncio
import itertools
import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.client import Client

PAUSE_S = 0.05  # before a client asks again whom nobody answered
SMALL, LARGE = 20_000, 700_000  # bytes of attachments; the large one is stored ahead of the accepting transaction


@dataclass(frozen=True)
class Account:
    """Where and as whom to send."""

    user: str
    key: str
    domain: str

    @classmethod
    def of(cls, accounts: dict[str, Any], name: str, kind: str) -> "Account":
        """From what `bootstrap` printed; `kind` is trigger or batch."""
        user = accounts[name][kind]
        return cls(user["apiUser"], user["apiKey"], accounts[name]["domain"])

    def fields(self, **more: str) -> dict[str, str]:
        sender = {"from": f"shop@{self.domain}", "fromName": "Shop", "subject": "Your order", "html": "<p>It is on its way.</p>"}
        return {"apiUser": self.user, "apiKey": self.key, **sender, **more}


@dataclass
class Ledger:
    """What was asked and what was answered. `refused` counts answers other than success by code."""

    accepted: set[str] = field(default_factory=set)  # emailIds
    refused: dict[int, int] = field(default_factory=dict)
    unanswered: int = 0  # requests whose fate the client never learned
    repeated: int = 0  # requests with a sendRequestId that were sent again
    changed: list[str] = field(default_factory=list)  # a repeated request was answered otherwise than before
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def note(self, answer: dict[str, Any]) -> list[str]:
        """The emailIds of a success, none of a refusal."""
        code = int(answer["statusCode"])
        if code != 200:
            self.refused[code] = self.refused.get(code, 0) + 1
            return []
        ids: list[str] = answer["info"]["emailIdList"]
        self.accepted.update(ids)
        return ids


class Sender:
    """One client that sends mails of all kinds to recipients that are used once, until `stop` is set."""

    def __init__(self, port: int, account: Account, ledger: Ledger, seed: int, pace_s: float) -> None:
        self._client = Client(port)
        self._account = account
        self._ledger = ledger
        self._random = random.Random(seed)
        self._pace_s = pace_s

    async def run(self, stop: asyncio.Event) -> None:
        """A request that bears a sendRequestId is repeated until it is answered, even after `stop`."""
        try:
            while not stop.is_set():
                await self._one()
                await asyncio.sleep(self._random.random() * 2 * self._pace_s)
        finally:
            self._client.close()

    async def _one(self) -> None:
        number, chance = next(self._ledger.numbers), self._random.random()
        fields = self._account.fields(to=self._recipient(number))
        if chance < 0.6:
            await self._send(fields)
        elif chance < 0.75:
            people = [self._recipient(f"{number}.{n}") for n in range(5)]
            await self._send({**fields, "xsmtpapi": json.dumps({"to": people})})
        elif chance < 0.83:
            await self._send(fields, b"x" * SMALL)
        elif chance < 0.85:
            await self._send(fields, b"x" * LARGE)
        else:
            await self._send_until_answered({**fields, "sendRequestId": f"order-{number}"})

    def _recipient(self, number: object) -> str:
        fate = self._random.choices(("", "450-", "550-"), (94, 3, 3))[0]
        return f"{fate}r{number}@d{self._random.randrange(20)}.example.net"

    async def _send(self, fields: dict[str, str], file: bytes | None = None) -> None:
        try:
            self._ledger.note(await self._client.post("/mail/send", fields, file))
        except (OSError, TimeoutError):
            self._ledger.unanswered += 1
            await asyncio.sleep(PAUSE_S)

    async def _send_until_answered(self, fields: dict[str, str]) -> None:
        """And now and then once more afterwards, as a client does that lost the answer."""
        first: list[str] | None = None
        while first is None:
            try:
                first = self._ledger.note(await self._client.post("/mail/send", fields))
            except (OSError, TimeoutError):
                self._ledger.repeated += 1
                await asyncio.sleep(PAUSE_S)
        if first and self._random.random() < 0.3:
            try:
                again = self._ledger.note(await self._client.post("/mail/send", fields))
            except (OSError, TimeoutError):
                return
            self._ledger.repeated += 1
            if again and again != first:  # refused is no other answer
                self._ledger.changed.append(f"{fields['sendRequestId']}: {first}, then {again}")
