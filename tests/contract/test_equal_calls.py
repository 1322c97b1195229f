"""Equal calls at once make one object, and the others are told the documented code; on both engines."""

import asyncio
from pathlib import Path

from tests.running import bootstrapped, serving

CALLS = 6
# Endpoint, parameters, the code of the one that made it, the code of the others, the table that has one more row, its rows.
TEMPLATE = {"invokeName": "same", "name": "Same", "subject": "Hi", "html": "<p>Hi</p>", "templateType": "0"}
ADDS: tuple[tuple[str, dict[str, str], tuple[int, int], tuple[str, int]], ...] = (
    ("label/add", {"labelName": "same"}, (200, 40113), ("label", 1)),
    ("template/add", TEMPLATE, (200, 40220), ("template", 1)),
    ("addresslist/add", {"address": "same@list.example.com", "name": "Same"}, (200, 40505), ("address_list", 1)),
    (
        "addressmember/add",
        {"address": "same@list.example.com", "members": "a@example.org;b@example.org"},
        (200, 200),
        ("member", 2),
    ),
    ("domain/add", {"name": "same.example.com"}, (200, 41015), ("domain", 1)),
    ("trackDomain/add", {"name": "t.same.example.com"}, (200, 41015), ("tracking_domain", 1)),
    ("apiuser/add", {"name": "sameuser", "emailType": "0", "domainName": "DOMAIN"}, (200, 41119), ("api_user", 1)),
    ("apiuser/create", {"name": "otheruser", "emailType": "0", "domainName": "DOMAIN"}, (200, 41119), ("api_user", 1)),
    ("webhook/add", {"categoryName": "all", "event": "1", "url": "https://hooks.example.com/sc"}, (200, 40708), ("webhook", 1)),
    ("route/add", {"expression": "*@DOMAIN", "action": "https://hooks.example.com/in"}, (200, 41015), ("inbound_route", 1)),
    ("unsubscribe/add", {"email": "ann@example.org"}, (40401, 40401), ("suppression", 1)),
    ("block/add", {"email": "bob@example.org", "expireTime": "2099-01-31 12:00:00"}, (200, 200), ("suppression", 1)),
    ("unintercept/add", {"email": "cy@example.org"}, (200, 200), ("suppression", 1)),
    (
        "smsapi/addsms",
        {"templateName": "same", "templateText": "Code %code%", "smsTypeStr": "0"},
        (200, 40220),
        ("sms_template", 1),
    ),
)


async def test_equal_calls_at_once_make_one_object(store_url: str, tmp_path: Path) -> None:
    await bootstrapped(tmp_path, store_url, ["main"])
    wrong = []
    async with serving(tmp_path, "node.roles=api", "webhook.probe=false", url=store_url) as node:
        domain = node.accounts["main"]["domain"]
        for path, fields, (one, others), (table, rows) in ADDS:
            given = {name: value.replace("DOMAIN", domain) for name, value in fields.items()}
            user, before = node.user("main.sms" if path.startswith("smsapi/") else "main.trigger"), await node.count(table)
            answers = await asyncio.gather(*(node.call(f"/{path}", user | given) for _ in range(CALLS)))
            codes, more = [each["statusCode"] for each in answers], await node.count(table) - before
            if sorted(codes) != sorted([one, *[others] * (CALLS - 1)]) or more != rows:
                wrong.append((path, codes, more))
    assert not wrong


async def test_updates_of_one_appointment_at_once_each_have_a_sequence(store_url: str, tmp_path: Path) -> None:
    """mail.md §5."""
    await bootstrapped(tmp_path, store_url, ["main"])
    about = {
        "startTime": "2031-01-15 09:00:00",
        "endTime": "2031-01-15 10:30:00",
        "title": "Review",
        "organizerName": "Ann Lee",
        "organizerEmail": "ann@one.example",
        "location": "Room 7",
        "participatorNames": "Bob",
        "uid": "same",
    }
    async with serving(tmp_path, "node.roles=api", url=store_url) as node:
        assert (await node.call("/mail/sendcalendar", node.mail(**about)))["statusCode"] == 200
        update = node.mail(**about, isUpdate="true")
        answers = await asyncio.gather(*(node.call("/mail/sendcalendar", update) for _ in range(2 * CALLS)))
        assert [each["statusCode"] for each in answers] == [200] * 2 * CALLS
        assert await node.rows("SELECT sequence FROM calendar_event") == [(2 * CALLS,)]
