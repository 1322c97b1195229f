"""Rows of `suppression`. The rules are in aurorasend.suppression."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from aurorasend.store import schema
from aurorasend.store.tx import EVER, Row, Statement, Tx


class Entry(NamedTuple):
    """One entry of a list. `api_user` is a name, "" for all. Times are UTC microseconds; `expires` is EVER for what does not."""

    key: str
    api_user: str
    kind: int
    label_id: int
    reason: str
    created: int
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Entries of one list, created in [since, until); None does not narrow, and nothing matches an empty one."""

    list: str
    keys: Sequence[str] | None = None
    api_users: Sequence[int] | None = None  # 0 is what holds for all
    labels: Sequence[int] | None = None
    since: int = 0
    until: int = EVER

    @property
    def is_vain(self) -> bool:
        return any(wanted is not None and not wanted for wanted in (self.keys, self.api_users, self.labels))

    def arguments(self, tx: Tx) -> tuple[Any, ...]:
        """What follows the account in the statements of `_Searching`."""
        given: list[Any] = [self.list, self.since, self.until]
        for wanted in (self.api_users, self.labels):
            if wanted is not None:
                given += [min(wanted), max(wanted), tx.many(wanted)]
        return (*given,) if self.keys is None else (*given, tx.many(self.keys))

    @property
    def shape(self) -> tuple[bool, bool, bool]:
        """Which of its filters narrow: by these it has a statement."""
        return (self.api_users is not None, self.labels is not None, self.keys is not None)


_COLUMNS = "s.key, coalesce(u.name, ''), s.kind, s.label_id, s.reason, s.created, s.expires"
_NAMED = "LEFT JOIN api_user u ON u.account_id = s.account_id AND u.id = s.api_user_id"


@dataclass(frozen=True, slots=True)
class _Searching:
    """The statements of a search: with keys they go by the primary key, without by the index of times."""

    oldest: Statement
    newest: Statement
    delete: Statement
    allow: Statement


def _searching(where: str, free: int, index: str) -> _Searching:
    """`free`: the first number that no placeholder of `where` has. `index`: SQLite's, which would take the other one."""
    bounds = f"LIMIT ${free} OFFSET ${free + 1}"

    def statement(text: str) -> Statement:
        return Statement(sqlite=text.replace("FROM suppression ", f"FROM suppression INDEXED BY {index} "), postgres=text)

    def page(order: str) -> Statement:
        """What is passed over is not read: its keys in the index are enough."""
        outer = ", ".join(f"s.{column}" for column in order.split(", "))
        same = "s.account_id = $1 AND s.list = $2 AND s.key = found.key AND s.api_user_id = found.api_user_id"
        found = f"(SELECT key, api_user_id FROM suppression WHERE {where} ORDER BY {order} {bounds}) AS found"
        return Statement(  # PostgreSQL looks them up one by one only if it must: it does not know how few they are
            sqlite=statement(f"SELECT {_COLUMNS} FROM {found} ").sqlite + f"JOIN suppression s ON {same} {_NAMED} ORDER BY {outer}",
            postgres=(
                f"SELECT {_COLUMNS} FROM {found} CROSS JOIN LATERAL (SELECT * FROM suppression s WHERE {same} OFFSET 0) AS s "
                f"{_NAMED} ORDER BY {outer}"
            ),
        )

    return _Searching(
        oldest=page("created, key, api_user_id"),
        newest=page("created DESC, key DESC, api_user_id DESC"),
        delete=statement(f"DELETE FROM suppression WHERE {where}"),
        allow=statement(
            "INSERT INTO suppression (account_id, key, list, api_user_id, kind, created, expires) "
            f"SELECT account_id, key, 'allow', 0, 1, CAST(${free} AS bigint), CAST(${free + 1} AS bigint) FROM suppression WHERE {where} "
            "ON CONFLICT (account_id, key, list, api_user_id) DO NOTHING"
        ),
    )


def _searching_of(api_users: bool, labels: bool, keys: bool) -> _Searching:
    """Of a Search.shape. The span decides on most rows that a rare API user or label is not in; to look into a list costs
    several times as much, and each condition tells where a million rows are passed over."""
    conditions, free = ["account_id = $1 AND list = $2 AND created >= $3 AND created < $4"], 5
    for column, is_given in (("api_user_id", api_users), ("label_id", labels)):
        if is_given:
            conditions.append(f"{column} >= ${free} AND {column} <= ${free + 1} AND {column} IN ids(${free + 2})")
            free += 3
    if keys:
        conditions.append(f"key IN texts(${free})")
        free += 1
    return _searching(" AND ".join(conditions), free, "sqlite_autoindex_suppression_1" if keys else "suppression_created")


_SEARCHING = {shape: _searching_of(*shape) for shape in product((False, True), repeat=3)}

_COUNT = Statement("SELECT count(*) FROM suppression WHERE account_id = $1 AND list = $2 AND created >= $3 AND created < $4")
_FIND = Statement(  # what the account says is looked up once, and only when anything is found
    "SELECT key, list, api_user_id, kind, (SELECT unsubscribe_scope FROM account WHERE id = $1) FROM suppression "
    "WHERE account_id = $1 AND key IN texts($2) AND expires > $3"
)
_COVERS = Statement("SELECT api_user_id, covers_id FROM unsubscribe_cover WHERE account_id = $1 AND api_user_id IN ids($2)")
_COVER_NAMES = Statement(
    "SELECT u.name, o.name FROM unsubscribe_cover c JOIN api_user u ON u.account_id = c.account_id AND u.id = c.api_user_id "
    "JOIN api_user o ON o.account_id = c.account_id AND o.id = c.covers_id WHERE c.account_id = $1 ORDER BY u.name, o.name"
)
_UNCOVER = Statement("DELETE FROM unsubscribe_cover WHERE account_id = $1 AND api_user_id = $2")
_STRIKE = Statement(
    "INSERT INTO suppression (account_id, key, list, api_user_id, strikes, reason, created, expires) VALUES ($1, $2, 'bounce', 0, 1, $3, $4, $4) "
    "ON CONFLICT (account_id, key, list, api_user_id) DO UPDATE SET strikes = suppression.strikes + 1, reason = excluded.reason, "
    "created = excluded.created RETURNING strikes"
)
_END = Statement("UPDATE suppression SET expires = $3 WHERE account_id = $1 AND key = $2 AND list = 'bounce' AND api_user_id = 0")
_ADD = (
    "INSERT INTO suppression (account_id, key, list, api_user_id, created, expires) VALUES ($1, $2, $3, $4, $5, $6) "
    "ON CONFLICT (account_id, key, list, api_user_id) DO"
)
_ADD_NEW = Statement(f"{_ADD} NOTHING")
_ADD_OR_EXTEND = Statement(f"{_ADD} UPDATE SET expires = excluded.expires")
_ALLOW_WHOLLY = Statement(
    "UPDATE suppression SET kind = 0 WHERE account_id = $1 AND key = $2 AND list = 'allow' AND api_user_id = $3 AND kind = 1"
)
_FORGET = Statement("DELETE FROM suppression WHERE account_id = $1 AND list = 'bounce' AND api_user_id = 0 AND key IN texts($2)")


async def find(tx: Tx, account_id: int, keys: Sequence[str], now: int) -> list[Row]:
    """(key, list, API user or 0, kind, the account's unsubscribe scope) of entries that have not expired."""
    return await tx.rows(_FIND, account_id, tx.many(keys), now)


async def covers(tx: Tx, account_id: int, api_users: Sequence[int]) -> dict[int, list[int]]:
    """By API_USER, the others that its unsubscriptions cover."""
    found: dict[int, list[int]] = {}
    for api_user_id, covered in await tx.rows(_COVERS, account_id, tx.many(api_users)):
        found.setdefault(api_user_id, []).append(covered)
    return found


async def cover_names(tx: Tx, account_id: int) -> dict[str, list[str]]:
    """As `covers`, of all, by name."""
    found: dict[str, list[str]] = {}
    for name, covered in await tx.rows(_COVER_NAMES, account_id):
        found.setdefault(name, []).append(covered)
    return found


async def set_covers(tx: Tx, account_id: int, api_user_id: int, covered: Sequence[int]) -> None:
    """Instead of what it covered before."""
    await tx.run(_UNCOVER, account_id, api_user_id)
    await tx.insert(schema.unsubscribe_cover, ("account_id", "api_user_id", "covers_id"), [(account_id, api_user_id, each) for each in covered])


async def strike(tx: Tx, account_id: int, key: str, reason: str, now: int) -> int:
    """One more "does not exist" of `key`; how many consecutive ones there are, expired entries included. `end_bounce` follows."""
    row = await tx.row(_STRIKE, account_id, key, reason, now)
    return int(row[0]) if row else 0


async def end_bounce(tx: Tx, account_id: int, key: str, expires: int) -> None:
    await tx.run(_END, account_id, key, expires)


async def forget(tx: Tx, account_id: int, keys: Sequence[str]) -> None:
    await tx.change(_FORGET, account_id, tx.many(keys))


async def add(tx: Tx, account_id: int, entry: tuple[str, str, int], times: tuple[int, int]) -> bool:
    """Add (key, list, API user or 0) with `times` = (created, expires). False when it is there already, and stays as it is."""
    return bool(await tx.run(_ADD_NEW, account_id, *entry, *times))


async def add_or_extend(tx: Tx, account_id: int, entry: tuple[str, str, int], times: tuple[int, int]) -> None:
    """Like `add`, but what is there already expires when the new one would."""
    await tx.run(_ADD_OR_EXTEND, account_id, *entry, *times)


async def allow_wholly(tx: Tx, account_id: int, key: str, api_user_id: int) -> None:
    """What was allowed against the bounce list only is allowed against all lists."""
    await tx.run(_ALLOW_WHOLLY, account_id, key, api_user_id)


async def page(tx: Tx, account_id: int, search: Search, bounds: tuple[int, int], *, newest: bool = False) -> list[Entry]:
    """`bounds` are (start, limit); oldest first unless `newest`."""
    start, limit = bounds
    if search.is_vain or not limit:
        return []
    by = _SEARCHING[search.shape]
    found = await tx.rows(by.newest if newest else by.oldest, account_id, *search.arguments(tx), limit, start)
    return [Entry(*row) for row in found]


async def count(tx: Tx, account_id: int, of: str, span: tuple[int, int]) -> int:
    """How many entries of the list `of` were made in `span` = [since, until)."""
    row = await tx.row(_COUNT, account_id, of, *span)
    return int(row[0]) if row else 0


async def delete(tx: Tx, account_id: int, search: Search) -> int:
    return 0 if search.is_vain else await tx.run(_SEARCHING[search.shape].delete, account_id, *search.arguments(tx))


async def allow(tx: Tx, account_id: int, search: Search, now_us: int) -> None:
    """Allow the addresses that `search` finds, against the bounce list only; what is allowed already stays as it is."""
    await tx.run(_SEARCHING[search.shape].allow, account_id, *search.arguments(tx), now_us, EVER)
