"""The command line: settings from flags, what is remembered, what an operator can ask and change."""

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from aurorasend.account import OPTIONS
from aurorasend.api_user import is_name
from aurorasend.cli import main, settings_of
from aurorasend.clock import SystemClock
from aurorasend.store import open_store
from aurorasend.store import template as template_rows


def run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)])


def answer(data: Path, *words: str) -> Any:
    result = run(data, *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_addresses_are_remembered_for_the_next_command(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    flags = {"http.listen": "sg=127.0.0.1:1,us=127.0.0.1:2", "smtp.listen": "127.0.0.1:3", "node.workers": "2"}
    assert settings_of(data, [], flags).node.workers == 2
    again = settings_of(data)
    assert [str(listener) for listener in again.http.listen] == ["sg=127.0.0.1:1", "us=127.0.0.1:2"]
    assert (str(again.smtp.listen), again.node.workers) == ("127.0.0.1:3", 1)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_wrong_address_is_not_remembered(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException):
        settings_of(tmp_path, [], {"http.listen": "nowhere"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["bootstrap", "queue", "migrate", "explain 1", "account list", "domain list 1"])
def test_a_wrong_setting_ends_with_one_sentence(tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--data", str(tmp_path), "--set", "queue.lease=soon"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: The setting queue.lease (in --set) cannot be 'soon': write a duration")
    assert result.stderr.count("\n") == 1


def test_a_data_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(click.ClickException, match="cannot be"):
        settings_of(tmp_path / "file" / "data")


def test_an_account_is_made_with_all_that_sending_needs(tmp_path: Path) -> None:
    assert answer(tmp_path, "account", "list") == []
    made = answer(tmp_path, "account", "add", "acme", "--domain", "Mail.Example.com")
    assert answer(tmp_path, "account", "list") == [{"id": made["id"], "name": "acme", "region": "sg"}]
    assert made["domain"]["dkimName"] == "mail._domainkey.mail.example.com"
    assert made["domain"]["dkimTxt"].startswith("v=DKIM1")
    assert {len(made[kind]["apiKey"]) for kind in ("trigger", "batch", "test")} == {32}
    answer(tmp_path, "domain", "add", str(made["id"]), "second.example.com")
    listed = answer(tmp_path, "domain", "list", str(made["id"]))
    assert [(one["name"], one["verified"], one["test"]) for one in listed] == [
        ("mail.example.com", True, False),
        (made["testDomain"]["name"], True, True),
        ("second.example.com", True, False),
    ]
    for switch, fixed in (("on", [False, False, True]), ("off", [False] * 3)):
        assert run(tmp_path, "domain", "fixed-from", str(made["id"]), "Second.Example.com", switch).exit_code == 0
        assert [one["fixedFrom"] for one in answer(tmp_path, "domain", "list", str(made["id"]))] == fixed
    for local, shown in (("bounces", "bounces"), ("random", "")):
        assert run(tmp_path, "domain", "mail-from", str(made["id"]), "second.example.com", local).exit_code == 0
        assert answer(tmp_path, "domain", "list", str(made["id"]))[2]["mailFrom"] == shown


def test_the_api_users_of_any_account_have_names_that_the_api_takes(tmp_path: Path) -> None:
    for name in ("my-shop", "a", "x" * 32):
        made = answer(tmp_path, "account", "add", name, "--domain", f"{name}.example.com")
        assert is_name(made["trigger"]["apiUser"]) and is_name(made["batch"]["apiUser"])


def test_test_domains_are_made_under_the_platforms(tmp_path: Path) -> None:
    words = ("--domain", "mail.example.com", "--set", "domain.platform=try.example.org")
    first, second = (answer(tmp_path, "account", "add", name, *words)["testDomain"] for name in ("acme", "other"))
    assert first["name"].endswith(".try.example.org") and first["name"] != second["name"]
    assert first["dkimName"] == f"mail._domainkey.{first['name']}" and first["dkimTxt"] != second["dkimTxt"]


def test_an_operator_sets_what_an_account_may(tmp_path: Path) -> None:
    number = str(answer(tmp_path, "account", "add", "acme", "--domain", "mail.example.com")["id"])
    before = answer(tmp_path, "account", "show", number)
    assert {name: before[name] for name in ("frozen", "send_domain", "unsubscribe_scope", "daily_quota", "manual_audit")} == {
        "frozen": False,
        "send_domain": True,
        "unsubscribe_scope": 1,
        "daily_quota": None,
        "manual_audit": None,
    }
    changed = {"send_domain": False, "unsubscribe_scope": 2, "daily_quota": 0, "manual_audit": True}
    set_all = ("send_domain=off", "unsubscribe_scope=2", "daily_quota=0", "manual_audit=true")
    assert answer(tmp_path, "account", "set", number, *set_all) == before | changed
    back = ("daily_quota=", "manual_audit=default", "send_domain=1", "unsubscribe_scope=1")
    assert answer(tmp_path, "account", "set", number, *back) == before
    assert answer(tmp_path, "account", "show", number) == before


def test_every_option_can_be_set(tmp_path: Path) -> None:
    number = str(answer(tmp_path, "account", "add", "acme", "--domain", "mail.example.com")["id"])
    found = answer(tmp_path, "account", "set", number, *[f"{one.name}=1" for one in OPTIONS])
    assert {found[one.name] for one in OPTIONS} == {1, "1"}
    told = CliRunner().invoke(main, ["account", "set", "--help"]).stdout
    assert all(f"  {one.name} " in told for one in OPTIONS)


def test_an_operator_says_what_unsubscriptions_cover(tmp_path: Path) -> None:
    made = answer(tmp_path, "account", "add", "acme", "--domain", "mail.example.com")
    number, trigger, batch = str(made["id"]), made["trigger"]["apiUser"], made["batch"]["apiUser"]
    for others, shown in (([batch, trigger, batch], {trigger: [batch]}), ([], {})):
        assert run(tmp_path, "account", "unsubscribe-covers", number, trigger, *others).exit_code == 0
        assert answer(tmp_path, "account", "show", number)["unsubscribe_covers"] == shown
    for words, said in (((number, trigger, "none"), "has no API user none"), (("9", trigger), "There is no account 9.")):
        wrong = run(tmp_path, "account", "unsubscribe-covers", *words)
        assert wrong.exit_code == 1 and said in wrong.stderr


def test_an_operator_says_who_may_send_and_to_whom(tmp_path: Path) -> None:
    number = str(answer(tmp_path, "account", "add", "acme", "--domain", "mail.example.com")["id"])
    assert run(tmp_path, "account", "allow-from", number, "192.0.2.0/24", "2001:db8::1").exit_code == 0
    assert run(tmp_path, "account", "test-recipients", number, "ann@example.net").exit_code == 0
    found = answer(tmp_path, "account", "show", number)
    assert found["ip_filter"] is False  # until it is switched on
    assert (found["allow_from"], found["test_recipients"]) == (["192.0.2.0/24", "2001:db8::1"], ["ann@example.net"])
    for command in ("allow-from", "test-recipients"):
        assert run(tmp_path, "account", command, number).exit_code == 0
    found = answer(tmp_path, "account", "show", number)
    assert (found["allow_from"], found["test_recipients"]) == ([], [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("account allow-from 1 anywhere", "'anywhere' is not an address, a range FIRST-LAST, or a network ADDRESS/BITS."),
        ("account test-recipients 9 ann@example.net", "There is no account 9."),
        ("account add acme --domain other.example.com", "There is an account acme already."),
        ("account add a/b --domain other.example.com", "letters, digits"),
        ("account add new --domain not_a_domain", "'not_a_domain' is not a domain name."),
        ("account add new --domain other.example.com --region mars", "mars is none of sg, us, hk"),
        ("domain add 1 mail.example.com", "has the domain mail.example.com already."),
        ("domain add 999 mail.example.com", "There is no account 999."),
        ("domain fixed-from 1 other.example.com on", "The account 1 has no domain other.example.com."),
        ("domain mail-from 1 other.example.com bounces", "The account 1 has no domain other.example.com."),
        ("domain mail-from 1 mail.example.com a@b", "'a@b' cannot stand before the @ of an address."),
        ("account show 999", "There is no account 999."),
        ("account set 999 sms=off", "There is no account 999."),
        ("account set 1 credit=5", "An account has no 'credit'; it has frozen, paying,"),
        ("account set 1 balance=-1", "balance cannot be '-1'"),
        ("account credit 9 5", "There is no account 9."),
        ("account ips 9", "There is no account 9."),
        ("account set 1 sms", "'sms' is not of the form NAME=VALUE."),
        ("account set 1 sms=", "sms cannot be '': write true or false."),
        ("account set 1 sms=default", "sms cannot be 'default': write true or false."),
        ("account set 1 frozen=1 daily_quota=-1", "daily_quota cannot be '-1': write a whole number from 0 to 999999999999, or"),
        ("account set 1 unsubscribe_scope=4", "unsubscribe_scope cannot be '4': write a whole number from 1 to 3."),
        ("explain nothing-like-an-id", "nothing-like-an-id"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(tmp_path: Path, words: str, said: str) -> None:
    answer(tmp_path, "account", "add", "acme", "--domain", "mail.example.com")
    result = run(tmp_path, *words.split())
    assert result.exit_code in (1, 2) and said in result.stderr, result.output
    assert [one["name"] for one in answer(tmp_path, "account", "list")] == ["acme"]


def test_an_empty_queue_has_no_lanes(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").exit_code == 0
    assert answer(tmp_path, "queue") == []


def test_bootstrap_prints_the_same_each_time(tmp_path: Path) -> None:
    first = answer(tmp_path, "bootstrap", "--json", "--sink-smtp", "2599", "--sink-http", "2598")
    assert first["sink"] == {"smtp_port": 2599, "http_port": 2598}
    assert answer(tmp_path, "bootstrap", "--json", "--sink-smtp", "2599", "--sink-http", "2598") == first


def put_waiting_template(data: Path, account_id: int, invoke_name: str) -> None:
    async def put() -> None:
        store = open_store("sqlite", data, SystemClock())
        row = (1, invoke_name, "Welcome", 0, "Hello", "<p>Hi</p>", "", "", 0, 5, 0)
        await store.write(lambda tx: template_rows.add(tx, account_id, row))
        await store.close()

    asyncio.run(put())


@pytest.mark.parametrize(("verdict", "state"), [("approve", "approved"), ("reject", "rejected")])
def test_an_operator_decides_on_a_template_that_waits(tmp_path: Path, verdict: str, state: str) -> None:
    account_id = answer(tmp_path, "account", "add", "acme", "--domain", "mail.example.com")["id"]
    assert answer(tmp_path, "template", "waiting") == []
    put_waiting_template(tmp_path, account_id, "welcome_1")
    assert [(each["account"], each["invokeName"]) for each in answer(tmp_path, "template", "waiting")] == [
        (account_id, "welcome_1")
    ]
    assert answer(tmp_path, "template", "show", str(account_id), "welcome_1")["html"] == "<p>Hi</p>"
    assert run(tmp_path, "template", verdict, str(account_id), "welcome_1").exit_code == 0
    assert answer(tmp_path, "template", "show", str(account_id), "welcome_1")["stat"] == state
    again = run(tmp_path, "template", "approve", str(account_id), "welcome_1")
    assert again.exit_code == 1 and f"its state is {state}" in again.stderr
    for word in ("show", "approve", "reject"):
        unknown = run(tmp_path, "template", word, str(account_id), "none")
        assert unknown.exit_code == 1 and "has no template none" in unknown.stderr
