"""Email templates: which may be sent by whom, and what content fits one."""

import time
from dataclasses import astuple, fields, replace

import pytest

from aurorasend.codes import Code, Refused
from aurorasend.store.schema import template as table
from aurorasend.store.tx import Store, Tx
from aurorasend.template import Stat, Template, approved, fits, usable

ORDER = Template(
    id=1,
    invoke_name="order",
    name="Order",
    type=0,
    subject="Order %id%",
    html="<p>Order %id% of %shop%, ref 7</p>",
    text="",
    summary="",
    stat=Stat.APPROVED,
    created=0,
    updated=0,
)


@pytest.mark.parametrize(
    ("subject", "body", "fitting"),
    [
        ("Order 77", "<p>Order 77 of North, ref 7</p>", True),
        ("Order %id%", "<p>Order %id% of %shop%, ref 7</p>", True),
        ("Order ", "<p>Order  of , ref 7</p>", True),
        ("Order 77", "<p>Order 77\r\n of North, ref 7</p>\n", True),
        ("Order 77", "<p>Order of , ref 7 of a, ref 7</p>", True),
        ("Invoice 77", "<p>Order 77 of North, ref 7</p>", False),
        ("Order 77", "<p>Something else, ref 7</p>", False),
        ("Order 77", "<p>Order 77 of North, ref 8</p>", False),
        ("Order 77", "<p>Order 7</p>", False),
        ("Order 77", "", False),
    ],
)
def test_content_matching(subject: str, body: str, fitting: bool) -> None:
    assert fits(ORDER, subject, body) is fitting


def test_a_template_without_variables_fits_itself_only() -> None:
    plain = replace(ORDER, subject="", html="<p>Hello</p>")
    assert fits(plain, "any subject", "<p>Hello</p>")
    assert not fits(plain, "any subject", "<p>Hello</p>!")


def test_a_percent_sign_before_a_blank_begins_no_variable() -> None:
    discount = replace(ORDER, subject="", html="<p>50% off for %name%</p>")
    assert fits(discount, "", "<p>50% off for Ann</p>")
    assert not fits(discount, "", "<p>50 off for Ann</p>")


def test_pieces_do_not_overlap() -> None:
    assert not fits(replace(ORDER, subject="", html="ab%x%ba"), "", "aba")
    assert fits(replace(ORDER, subject="", html="ab%x%ba"), "", "abba")


def test_matching_is_linear() -> None:
    began = time.perf_counter()
    assert not fits(replace(ORDER, subject="", html="a%x%" * 2000 + "b"), "", "a" * 100_000)
    assert time.perf_counter() - began < 1


async def test_only_an_approved_template_of_the_account_and_type_is_sent(store: Store) -> None:
    draft = replace(ORDER, id=2, invoke_name="draft", stat=Stat.DRAFT)
    batch = replace(ORDER, id=3, invoke_name="batch", type=1)

    async def add(tx: Tx) -> None:
        columns = ["account_id", *(column.name for column in fields(Template))]
        await tx.insert(table, columns, [(42, *astuple(each)) for each in (ORDER, draft, batch)])

    await store.write(add)
    assert await store.read(lambda tx: usable(tx, 42, "order", 0)) == ORDER
    assert await store.read(lambda tx: approved(tx, 42, 0)) == [ORDER]
    wrong = {
        (42, "none", 0): Code.MAIL_TEMPLATE_UNKNOWN,
        (43, "order", 0): Code.MAIL_TEMPLATE_UNKNOWN,
        (42, "draft", 1): Code.MAIL_TEMPLATE_NOT_APPROVED,
        (42, "batch", 0): Code.MAIL_TEMPLATE_TYPE_DIFFERS,
        (42, "order", 1): Code.MAIL_TEMPLATE_TYPE_DIFFERS,
    }
    for (account_id, invoke_name, email_type), code in wrong.items():
        with pytest.raises(Refused) as refused:
            await store.read(lambda tx, a=account_id, n=invoke_name, t=email_type: usable(tx, a, n, t))
        assert refused.value.code is code
