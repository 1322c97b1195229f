"""Sending domains (management.md §5) on both engines, against a real name server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from aurorasend.store import bootstrap
from aurorasend.store.tx import Store
from tests.management import Api, managing

LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 55, "com"])  # 251 characters
PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("add", {}, 41001),
    ("add", {"name": " "}, 41001),
    ("add", {"name": LONG}, 41002),
    ("add", {"name": f"{LONG}.example"}, 41002),
    ("add", {"name": "a" * 251}, 41003),  # the form comes before the length
    ("add", {"name": "a." * 10**6}, 41002),  # unless nobody would read it
    ("add", {"name": LONG[1:]}, 200),
    ("add", {"name": "localhost"}, 41003),
    ("add", {"name": "a b.example"}, 41003),
    ("add", {"name": "a\n.example"}, 41003),
    ("add", {"name": "a\0.example"}, 41003),
    ("add", {"name": "-a.example"}, 41003),
    ("add", {"name": "192.0.2.1"}, 41003),
    ("add", {"name": "my-sendcloud.example"}, 41003),
    ("add", {"name": "a.example;b.example"}, 41013),
    ("add", {"name": "ONE.example"}, 41015),
    ("add", {"name": "bücher.example"}, 41003),
    ("add", {"domain": "XN--bcher-kva.example"}, 200),
    ("list", {"name": ";"}, 41001),
    ("list", {"name": ";".join(f"é{n}.example" for n in range(1001))}, 41003),
    ("list", {"name": " "}, 41001),
    ("list", {"type": " "}, 41007),
    ("list", {"type": 2}, 41008),
    ("list", {"verify": " "}, 41009),
    ("list", {"verify": "~3"}, 41010),
    ("list", {"verify": "-1"}, 41010),
    ("list", {"verify": ">"}, 41011),
    ("list", {"verify": "<x"}, 41011),
    ("list", {"verify": "9" * 30}, 41011),
    ("update", {"newName": "b.example"}, 41001),
    ("update", {"name": "nodots", "newName": "b.example"}, 41003),
    ("update", {"name": "a.example;b.example", "newName": "c.example"}, 41013),
    ("update", {"name": "none.example"}, 41004),
    ("update", {"name": "none.example", "newName": LONG}, 41005),
    ("update", {"name": "none.example", "newName": "-bad-.example"}, 41006),
    ("update", {"name": "none.example", "newName": "b.example;c.example"}, 41006),
    ("update", {"name": "none.example", "newName": "ifaxin.example"}, 41006),
    ("update", {"name": "none.example", "newName": "b.example"}, 41014),
    ("update", {"name": "one.example", "newName": "b.example"}, 41016),
    ("checkConfig", {}, 41001),
    ("checkConfig", {"name": LONG}, 41002),
    ("checkConfig", {"name": "no domain"}, 41003),
    ("checkConfig", {"name": "a.example;b.example"}, 41013),
    ("checkConfig", {"name": "none.example"}, 41014),
    ("checkConfig", {"name": "two.example"}, 41014),
    ("get", {}, 41001),
    ("get", {"domain": " "}, 41001),
    ("get", {"name": "nodots"}, 41003),
    ("get", {"name": LONG}, 41002),
    ("get", {"name": "two.example"}, 41014),
    ("get", {"type": 1}, 200),
    ("get", {"verify": "x"}, 41010),
    ("get", {"name": "nodots;two.example"}, 200),
    ("verify", {"domain": "two.example"}, 41014),
    ("dkim/update", {"domain": "two.example"}, 41014),
    ("delete", {}, 41001),
    ("delete", {"name": "x"}, 41003),
    ("delete", {"name": "two.example"}, 41014),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def listed(api: Api, **given: object) -> list[str]:
    return [each["name"] for each in (await api.call("domain/list", **given))["dataList"]]


async def test_parameters(api: Api) -> None:
    for action, given, code in PARAMETERS:
        answer = await api.call(f"domain/{action}", **given)
        assert (200 if isinstance(answer, dict) else answer) == code, (action, given)


async def test_a_domain_is_verified_record_by_record(api: Api) -> None:
    made = (await api.call("domain/add", name="New.Example"))["data"]
    assert (made["name"], made["verify"], made["type"], made["ipType"]) == ("new.example", 0, "ordinary", 0)
    assert made["dkim.domain"] == "sendcloud._domainkey.new.example"
    status = {"spfStatus": "none", "dkimStatus": "none", "mxStatus": "none", "dmarcStatus": "none"}
    for record, verify, word in (
        ("spf", 2, "unverified"),
        ("dkim", 3, "unverified"),
        ("mx", 7, "usable"),
        ("dmarc", 23, "verified"),
    ):
        api.publish(made, record)
        status[f"{record}Status"] = "pass"
        checked = (await api.call("domain/checkConfig", name="new.example"))["data"]
        assert checked | status == checked
        assert (checked["verify"], checked["status"]) == (verify, word)
        assert await listed(api, verify=verify, name="new.example") == ["new.example"]
    read = (await api.call("domain/get", domain="new.example"))["data"]
    assert read | status | {"status": "verified", "gmtCreated": made["gmtCreated"]} == read


async def test_what_differs_fails(api: Api) -> None:
    await api.call("domain/add", name="a.example")
    api.names.add_txt("a.example", "v=spf1 include:spf.elsewhere.example ~all")
    api.names.add_txt("sendcloud._domainkey.a.example", "k=rsa; p=MIIBIjANBg")
    api.names.add_mx("a.example", "mx.elsewhere.example")
    api.names.add_txt("_dmarc.a.example", "hello")
    checked = (await api.call("domain/checkConfig", name="a.example"))["data"]
    assert {checked[f"{each}Status"] for each in ("spf", "dkim", "mx", "dmarc")} == {"fail"}
    assert checked["verify"] == 0


async def test_records_are_read_as_mail_servers_read_them(api: Api) -> None:
    made = (await api.call("domain/add", name="a.example"))["data"]
    api.names.add_txt("a.example", "some-site-verification=x")
    api.names.add_txt("a.example", "V=SPF1 ip4:192.0.2.1 +include:SPF.platform.example -all")
    public = made["dkim.value"].partition("p=")[2]
    api.names.add_txt(made["dkim.domain"], f"v=DKIM1; k=rsa; p= {public[:200]} {public[200:]}")
    api.names.add_mx("a.example", "mx.elsewhere.example", 5)
    api.names.add_mx("a.example", "MX.platform.example", 10)
    assert (await api.call("domain/checkConfig", name="a.example"))["data"]["verify"] == 7
    api.names.add_txt("a.example", "v=spf1 include:spf.platform.example ~all")  # two: RFC 7208 §4.5
    assert (await api.call("domain/checkConfig", name="a.example"))["data"]["spfStatus"] == "fail"


async def test_a_resolver_that_fails_says_nothing_about_a_record(api: Api) -> None:
    made = (await api.call("domain/add", name="a.example"))["data"]
    api.publish(made, "spf", "dkim", "mx", "dmarc")
    await api.call("domain/checkConfig", name="a.example")
    api.names.fail("_dmarc.a.example", "SERVFAIL")
    api.names.fail(made["dkim.domain"], "TIMEOUT")
    api.names.remove("a.example", "MX")
    checked = (await api.call("domain/checkConfig", name="a.example"))["data"]
    assert (checked["dkimStatus"], checked["dmarcStatus"], checked["mxStatus"], checked["verify"]) == ("none", "none", "none", 19)


async def test_mail_is_sent_from_a_usable_domain_only(api: Api) -> None:
    made = (await api.call("domain/add", name="a.example"))["data"]
    key = (await api.call("apiuser/add", name="sender1", emailType=0, domainName="a.example"))["data"]["nameKey"]
    mail = {"from": "hi@a.example", "to": "ann@example.net", "subject": "S", "html": "<p>x</p>"}
    assert await api.call("mail/send", _as="sender1", _key=key, **mail) == 6001
    api.publish(made, "spf", "dkim", "mx")
    await api.call("domain/checkConfig", name="a.example")
    assert "emailIdList" in await api.call("mail/send", _as="sender1", _key=key, **mail)
    assert await api.call("domain/delete", name="a.example") == {"count": 1}
    assert await listed(api) == ["one.example"]
    assert "emailIdList" in await api.call("mail/send", _as="sender1", _key=key, **mail)
    again = (await api.call("domain/add", name="a.example"))["data"]
    assert again["dkim.value"] != made["dkim.value"]
    assert again["dkim.domain"] != made["dkim.domain"]


async def test_the_operators_word_counts_more_than_dns(api: Api) -> None:
    checked = (await api.call("domain/checkConfig", name="one.example"))["data"]
    assert (checked["spfStatus"], checked["verify"], checked["status"]) == ("none", 23, "verified")


async def test_a_rename_begins_anew(api: Api) -> None:
    made = (await api.call("domain/add", name="a.example"))["data"]
    assert await api.call("domain/update", name="a.example", newName="one.example") == 41016
    renamed = (await api.call("domain/update", name="a.example", newName="b.example"))["data"]
    assert (renamed["name"], renamed["verify"], renamed["spf.domain"]) == ("b.example", 0, "b.example")
    assert renamed["dkim.value"] != made["dkim.value"]
    assert await listed(api) == ["b.example", "one.example"]
    api.publish(renamed, "spf")
    await api.call("domain/checkConfig", name="b.example")
    assert await api.call("domain/update", name="b.example", newName="c.example") == 41016


async def test_a_check_that_ends_after_a_rename_verifies_nothing(api: Api) -> None:
    """Else anybody's domain could be had: what was seen is of the old name."""
    made = (await api.call("domain/add", name="a.example"))["data"]
    api.publish(made, "spf", "dkim", "mx", "dmarc")
    known = await api.node.domains.get(1, "a.example")
    renamed = (await api.call("domain/update", name="a.example", newName="b.example"))["data"]
    assert renamed["dkim.domain"].startswith("sendcloud.")  # the selector is the same
    await api.node.domains.check_again(1, known)
    assert await listed(api, verify="0") == ["b.example"]


async def test_a_new_key_must_be_published(api: Api) -> None:
    made = (await api.call("domain/add", name="a.example"))["data"]
    api.publish(made, "spf", "dkim", "mx", "dmarc")
    await api.call("domain/checkConfig", name="a.example")
    renewed = await api.call("domain/dkim/update", domain="a.example")
    assert (renewed["domain"], renewed["status"]) == ("a.example", "unverified")
    assert renewed["dkimSelector"] != "sendcloud"
    assert renewed["dkimPublicKey"] != made["dkim.value"]
    api.names.add_txt(f"{renewed['dkimSelector']}._domainkey.a.example", renewed["dkimPublicKey"])
    verified = await api.call("domain/verify", domain="a.example")
    assert (verified["domain"], verified["status"]) == ("a.example", "verified")


async def test_list_filters(api: Api) -> None:
    for name in ("a.example", "b.example"):
        await api.call("domain/add", name=name)
    assert await listed(api) == ["b.example", "a.example", "one.example"]
    assert await listed(api, name="A.example; one.example;none.example;") == ["a.example", "one.example"]
    assert await listed(api, type=0) == []
    assert await listed(api, verify=">7") == ["one.example"]
    assert await listed(api, verify="<22") == ["b.example", "a.example"]
    assert await listed(api, verify="23") == ["one.example"]
    assert await api.call("domain/list", name="none.example") == {"total": 0, "count": 0, "dataList": []}
    assert (await api.call("domain/get", name="a.example;b.example"))["count"] == 2


async def test_a_test_domain_is_the_platforms(api: Api) -> None:
    """management.md §5.2: usable at once. Its records are not the account's to publish, so its key stays."""
    await api.node.store.write(lambda tx: bootstrap.add_test_domain(tx, 1, "try.mail.test", "mail", ("AAAA", b"")))
    shown = (await api.call("domain/list", type=0))["dataList"]
    assert [(each["name"], each["type"], each["verify"]) for each in shown] == [("try.mail.test", "test", 23)]
    assert await listed(api, type=1) == ["one.example"]
    assert await api.call("domain/dkim/update", domain="try.mail.test") == 6001
    assert await api.call("domain/update", name="try.mail.test", newName="mine.example") == 41016
    assert (await api.call("domain/checkConfig", name="try.mail.test"))["data"]["dkimStatus"] == "none"
    assert await listed(api, type=0, verify=">7") == ["try.mail.test"]
    for n in range(4):  # it is none of the five
        assert isinstance(await api.call("domain/add", name=f"d{n}.example"), dict)
    assert await api.call("domain/add", name="sixth.example") == 41012


async def test_accounts_do_not_see_each_other(api: Api) -> None:
    made = (await api.call("domain/add", name="a.example"))["data"]
    for action in ("checkConfig", "delete", "get", "verify", "dkim/update"):
        assert await api.call(f"domain/{action}", "two_trigger", name="a.example") == 41014
    assert await api.call("domain/update", "two_trigger", name="a.example", newName="x.example") == 41014
    assert await listed(api) == ["a.example", "one.example"]
    theirs = (await api.call("domain/add", "two_trigger", name="a.example"))["data"]
    assert theirs["dkim.domain"] != made["dkim.domain"]  # both can publish their keys
    assert theirs["verify"] == 0


async def test_equal_adds_at_once_make_one_domain(api: Api) -> None:
    answers = await asyncio.gather(*(api.call("domain/add", name="same.example") for _ in range(6)))
    assert answers.count(41015) == 5
    assert await listed(api) == ["same.example", "one.example"]


async def test_equal_deletes_at_once_delete_one_domain(api: Api) -> None:
    await api.call("domain/add", name="same.example")
    answers = await asyncio.gather(*(api.call("domain/delete", name="same.example") for _ in range(4)))
    assert sorted(answers, key=str) == [41014] * 3 + [{"count": 1}]


async def test_an_account_has_as_many_as_it_may_even_at_once(api: Api) -> None:
    answers = await asyncio.gather(*(api.call("domain/add", name=f"d{n}.example") for n in range(7)))
    assert answers.count(41012) == 3
    assert len(await listed(api, type=1)) == 5
    await api.sql("UPDATE account SET domain_limit = 6")
    api.node.accounts.forget(1)
    assert isinstance(await api.call("domain/add", name="sixth.example"), dict)
    assert await api.call("domain/add", name="seventh.example") == 41012


async def test_domains_are_checked_again_by_themselves(api: Api) -> None:
    made = (await api.call("domain/add", name="a.example"))["data"]
    domains = api.node.domains

    async def verify() -> int:
        return int((await api.call("domain/list", name="a.example"))["dataList"][0]["verify"])

    assert await domains.check_due() == 0
    api.clock.advance(timedelta(minutes=10))
    api.publish(made, "spf", "dkim", "mx")
    assert sum(await asyncio.gather(*(domains.check_due() for _ in range(4)))) == 1
    assert await verify() == 7
    api.clock.advance(timedelta(hours=23))
    assert await domains.check_due() == 0
    api.names.remove("a.example", "MX")
    for again, expected in ((1, 7), (1, 3)):  # one bad day does not stop it, two do
        api.clock.advance(timedelta(days=1))
        assert await domains.check_due() == again
        assert await verify() == expected
    api.publish(made, "mx")
    api.clock.advance(timedelta(days=1))
    await domains.check_due()
    assert await verify() == 7
