"""Letters in memory, within their budget."""

from typing import cast

import msgspec

from aurorasend.content import Content, Mailbox, StoredContent
from aurorasend.event import Origin
from aurorasend.letters import BUDGET_BYTES, LARGE_BYTES, Letters, Submitted
from aurorasend.quiet import NEVER
from aurorasend.store.tx import Store


def submitted(submission_id: int, size: int) -> Submitted:
    origin = Origin(1, submission_id, 1, 1, 0, 0)
    switches = (False, True, False, False, False)
    return Submitted(origin, 1, "mail.example.org", 0, "1_1_1_1.sg-0_0_0_1-inbound", *switches, "", NEVER, size)


async def test_what_two_read_at_once_is_counted_once() -> None:
    """Else the budget would shrink each time, until every mail of a submission reads it again."""
    letters = Letters(cast("Store", None))  # so that reading fails
    stored = StoredContent(Content(sender=Mailbox("ann@mail.example.org"), subject="Hi", html="x"), ())
    first, second = submitted(1, LARGE_BYTES), submitted(2, LARGE_BYTES)
    for _ in range(BUDGET_BYTES // LARGE_BYTES):
        letters.keep(first, [msgspec.msgpack.encode(stored)])
    letters.keep(second, [msgspec.msgpack.encode(stored)])
    assert await letters.get(first) is not await letters.get(second)
