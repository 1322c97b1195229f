"""The tables of both engines. Alembic's chain in migrations/ builds them; a test compares the two.

Rules (design §7): times are UTC microseconds; flags are 0 and 1; only BigInteger, Text and LargeBinary, so that
one statement serves both engines; a table that holds an account's things has the primary key (account_id, id).
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, PrimaryKeyConstraint, Table, Text, UniqueConstraint, text

metadata = MetaData()


def _int(name: str, default: int | None = 0) -> Column[int]:
    """A whole number; `default=None` leaves it nullable, for "the setting decides"."""
    if default is None:
        return Column(name, BigInteger, nullable=True)
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=text("''"))


def _bytes(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=nullable)


def _of_account(name: str, *columns: Column[Any] | UniqueConstraint) -> Table:
    return Table(
        name,
        metadata,
        Column("account_id", BigInteger, nullable=False),
        Column("id", BigInteger, nullable=False),
        *columns,
        PrimaryKeyConstraint("account_id", "id"),
    )


# -- the installation

sequence = Table("sequence", metadata, Column("name", Text, primary_key=True), _int("next"))
meta = Table("meta", metadata, Column("key", Text, primary_key=True), _text("value"))
# One row per process that ever ran: `id` is the worker number of messageIds and is never reused.
node = Table("node", metadata, Column("id", BigInteger, primary_key=True, autoincrement=False), _text("host"), _int("delivers"), _int("started"), _int("until"), _int("fence"))
# A lane is worked on by one node at a time.
lane = Table("lane", metadata, Column("name", Text, primary_key=True), _int("node"))

# -- accounts

account = Table(
    "account",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    _text("region"),
    _bytes("app_key"),  # encrypted; signs webhooks
    _int("frozen"),
    _int("paying", 1),
    _int("calendar", 1),
    _int("sms", 1),
    _int("alternative"),  # html and plain may coexist, mail.md §2.1
    _int("bounce_interception", 1),
    _int("send_domain", 1),  # a send may name another sending domain, mail.md §8.1
    _int("unsubscribe_scope", 1),  # 1 own, 2 all, 3 custom: data.md §8.4
    _int("ip_filter"),
    _int("require_tls"),  # mail leaves encrypted or waits, mail.md §13
    _int("ad_tag"),  # subjects of batch mail are marked as advertising, mail.md §13
    _int("check_balance"),
    _int("balance"),  # mails paid for
    _int("daily_quota", None),
    _int("send_rate", None),  # per minute and API_USER
    _int("query_rate", None),  # per minute, API_USER and endpoint
    *(_int(f"{what}_limit", None) for what in ("template", "domain", "api_user", "tracking", "attachment")),
    _int("manual_audit", None),  # templates wait for a person
    *map(_text, ("company", "contact", "contact_email", "contact_phone")),
    _int("created"),
)
# Names that must be found without knowing the account: API_USER, SMS_USER, tracking host.
login = Table(
    "login", metadata, Column("kind", Text), Column("name", Text), _int("account_id"), _int("ref"), PrimaryKeyConstraint("kind", "name")
)
# A name that API users of the account have or had, one after the other: what was requested under it keeps it.
sender = _of_account("sender", _text("name"), UniqueConstraint("account_id", "name", name="sender_name"))
api_user = _of_account(
    "api_user",
    _text("name"),
    _int("sender_id"),  # that of its name
    _int("email_type"),  # 0 trigger, 1 batch
    _int("is_test"),
    _int("domain_id"),
    _bytes("key_hash"),
    _bytes("old_key_hash", nullable=True),
    _int("old_key_until"),
    _int("open"),
    _int("click"),
    _int("unsubscribe", 1),
    _int("unsubscribe_page", -1),
    _int("tracking_domain_id"),  # 0 is the system's own
    _int("content_match"),
    *map(_int, ("quiet_begin", "quiet_minutes")),  # its mail waits daily from this minute of the UTC day on, for so many
    _text("permission"),  # JSON: which calls are denied, management.md §7.6
    _text("notify_email"),
    _int("notify"),
    _int("enabled", 1),
    _int("removed"),  # when it was deleted; its history stays
    _int("created"),
    _int("updated"),
)
# With the scope 3: an unsubscription from `api_user_id` is one from `covers_id` too.
unsubscribe_cover = Table(
    "unsubscribe_cover",
    metadata,
    _int("account_id"),
    _int("api_user_id"),
    _int("covers_id"),
    PrimaryKeyConstraint("account_id", "api_user_id", "covers_id"),
)
sms_user = _of_account("sms_user", _text("name"), _bytes("key"), _int("enabled", 1), _int("created"), _int("updated"))
ip_entry = _of_account("ip_entry", _text("entry"), _int("created"))
# Addresses that mail was sent from, by day since 1970 UTC (conventions.md §3.4); `at` is the last time of that day.
request_source = Table(
    "request_source", metadata,
    *(_int("account_id"), _int("day"), _text("address"), _int("at"), _int("refused")),
    PrimaryKeyConstraint("account_id", "day", "address"),
)
domain = _of_account(
    "domain",
    _text("name"),
    _int("type", 1),  # 0 test, 1 ordinary
    _int("verified"),  # bit mask of the records that passed, management.md §5.2
    _int("vouched"),  # the operator answers for it, whatever DNS says
    _int("fixed_from"),  # From is at it, as where DNS has DMARC, mail.md §10
    _text("mail_from"),  # the local part of its envelope sender; "" is a random one for each mail, mail.md §10
    _text("selector"),
    _text("public_key"),  # base64, as DNS shows it
    _bytes("rsa_key"),  # encrypted PKCS8
    _bytes("ed25519_key", nullable=True),
    _int("check_due"),  # when the records are looked up again
    _int("failures"),  # checks in a row that a usable domain did not pass
    _int("removed"),  # when it was deleted; API users bound to it send on
    _int("created"),
    _int("updated"),
    UniqueConstraint("account_id", "name", "removed", name="domain_name"),
)
Index("domain_of_name", domain.c.name)
Index("domain_check_due", domain.c.check_due)
tracking_domain = _of_account(
    "tracking_domain",
    _text("host"),
    _int("verified"),  # its CNAME leads to us
    _text("certificate"),  # PEM chain, "" for none
    _bytes("certificate_key", nullable=True),  # encrypted PKCS8
    _int("valid_from"),
    _int("valid_until"),
    _int("created"),
    _int("updated"),
    UniqueConstraint("account_id", "host", name="tracking_domain_host"),
)
test_recipient = Table(
    "test_recipient", metadata, _int("account_id"), _text("address"), PrimaryKeyConstraint("account_id", "address")
)
label = _of_account(
    "label",
    _text("name"),
    _text("folded"),
    _int("created"),
    _int("updated"),
    UniqueConstraint("account_id", "name", name="label_name"),
)
# Labels that were deleted: statistics of mail that was sent with them still know their names.
dropped_label = _of_account("dropped_label", _text("name"), _text("folded"))
template = _of_account(
    "template",
    _text("invoke_name"),
    _text("name"),
    _int("type"),
    _text("subject"),
    _text("summary"),
    _int("stat"),
    _int("created"),
    _int("updated"),
    _text("html"),  # the long ones last: SQLite reads a row up to the column that it needs
    _text("text"),
    UniqueConstraint("account_id", "invoke_name", name="template_invoke_name"),
)
quota = Table("quota", metadata, _int("account_id"), _text("day"), _int("used"), PrimaryKeyConstraint("account_id", "day"))
# Portions of a rolling-minute limit that nodes took for themselves.
allowance = Table(
    "allowance",
    metadata,
    _int("account_id"),
    _text("scope"),
    _int("at"),
    _int("node"),
    _int("portion"),
    PrimaryKeyConstraint("account_id", "scope", "at", "node"),
)

# -- what customers hand over

submission = _of_account(
    "submission",
    _int("api_user_id"),
    _int("sender_id"),  # the name it was requested under
    _int("domain_id"),
    _text("message_id"),
    _int("email_type"),
    _int("label_id"),
    _text("label_name"),
    _text("tags"),
    _text("user_headers"),  # SC-Custom- headers as JSON, "" when none
    _int("first_recipient"),
    _int("recipients"),
    _int("content_id"),  # the submission whose content it shares; its own id unless one request made several
    _int("list_send_id"),  # of an address-list send, else 0
    _int("size"),  # bytes of content
    _int("created"),
)
Index("submission_created", submission.c.account_id, submission.c.created, submission.c.id)
Index(
    "submission_sender", submission.c.account_id, submission.c.sender_id, submission.c.label_id, submission.c.created, submission.c.id
)
content = Table(
    "content",
    metadata,
    _int("account_id"),
    _int("submission_id"),
    _int("part"),
    _int("chunk"),
    _bytes("data"),
    PrimaryKeyConstraint("account_id", "submission_id", "part", "chunk"),
)
# Content that is written before the transaction that accepts it; what stays here is swept.
staged = _of_account("staged", _int("at"))
recipient = _of_account(
    "recipient",
    _int("submission_id"),
    _int("position"),
    _text("address"),
    _bytes("variables", nullable=True),
    _int("state"),
    _int("sub_status"),
    _int("tries"),
    _text("log"),
    _text("out_ip"),
    _int("requested"),  # when its submission was made; `created` is later for those of a list send
    _int("created"),
    _int("updated"),
)
# Whatever is asked for of a status, however rare it is or far into the page, is found and ordered in the index alone.
Index(
    "recipient_state",
    recipient.c.account_id,
    recipient.c.state,
    recipient.c.requested,
    recipient.c.submission_id,
    recipient.c.id,
    recipient.c.sub_status,
)
# Searched by what an address begins with: letter case counts before the @, and not after it.
Index("recipient_address", recipient.c.account_id, recipient.c.address, postgresql_ops={"address": "text_pattern_ops"})
# scope: "api:<id>" or "sms:<id>"; the answer is replayed byte for byte.
request_id = Table(
    "request_id",
    metadata,
    _int("account_id"),
    _text("scope"),
    _text("key"),
    _bytes("hash"),
    _bytes("answer"),
    _int("until"),
    PrimaryKeyConstraint("account_id", "scope", "key"),
)

# -- address lists

address_list = _of_account(
    "address_list",
    _text("address"),
    _text("name"),
    _text("description"),
    _int("members"),
    _int("created"),
    _int("updated"),
    _int("member_updated"),
    UniqueConstraint("account_id", "address", name="address_list_address"),
)
# In list order. `folded` is the address as it is compared; `vars` the variables as JSON, "" for none.
member = Table(
    "member",
    metadata,
    _int("account_id"),
    _int("list_id"),
    _int("id"),
    _text("address"),
    _text("folded"),
    _text("name"),
    _text("vars"),
    _int("created"),
    _int("updated"),
    PrimaryKeyConstraint("account_id", "list_id", "id"),
    UniqueConstraint("account_id", "list_id", "folded", name="member_folded"),
)
# Lists that were deleted and whose members are still to be swept.
dropped_list = _of_account("dropped_list")
# `reached` is the last member whose mail is stored, `last` the last one to be reached, `done` how many mails that made.
list_send = _of_account(
    "list_send",
    _int("api_user_id"),
    _int("submission_id"),
    _int("list_id"),
    _text("address"),
    _int("members"),
    _int("state"),
    _int("paused"),
    _int("reached"),
    _int("last"),
    _int("done"),
    _int("faults"),  # of ours, met while its mails were made
    _text("others"),  # addresses beside the list, one a line (mail.md §11)
    _int("created"),
    _int("updated"),
)
# Appointments that calendar mails told of.
calendar_event = Table(
    "calendar_event",
    metadata,
    _int("account_id"),
    _text("uid"),
    _int("sequence"),
    _int("created"),
    _int("updated"),
    PrimaryKeyConstraint("account_id", "uid"),
)

# -- SMS

sms_template = _of_account(
    "sms_template",
    _text("name"),
    _text("folded"),
    _text("text"),
    _text("sign"),
    _int("sign_position"),
    _int("sms_type"),
    _int("stat"),
    _int("created"),
    _int("updated"),
    UniqueConstraint("account_id", "folded", name="sms_template_name"),
)
sms_submission = _of_account(
    "sms_submission",
    _text("sms_user"),
    _int("template_id"),
    _text("text"),
    _int("msg_type"),
    _text("sender"),
    _int("label_id"),
    _text("custom"),
    _int("created"),
)
sms_message = _of_account(
    "sms_message",
    _int("submission_id"),
    _text("token"),
    _text("phone"),
    _text("e164"),
    _text("vars"),
    _int("state"),
    _int("code"),
    _text("log"),
    _int("pieces"),
    _int("outbound"),
    _int("created"),
    _int("updated"),
)
Index("sms_message_number", sms_message.c.account_id, sms_message.c.e164, sms_message.c.created)
Index("sms_message_submission", sms_message.c.account_id, sms_message.c.submission_id)

# -- the queue

work = _of_account("work", _int("kind"), _text("lane"), _int("due"), _int("priority"), _int("ref"), _int("tries"), _int("lease"))
Index("work_due", work.c.lane, work.c.account_id, work.c.priority, work.c.due)
# A hint: the earliest due of each (lane, account, priority) that has any work. Can be rebuilt from `work`.
ready = Table(
    "ready",
    metadata,
    _text("lane"),
    _int("account_id"),
    _int("priority"),
    _int("next_due"),
    PrimaryKeyConstraint("lane", "account_id", "priority"),
)
Index("ready_next_due", ready.c.priority, ready.c.next_due)

# -- what happened

event = _of_account("event", _int("kind"), _int("at"), _int("submission_id"), _int("recipient_id"), _bytes("detail"))
# For explain: attempts that changed nothing a customer is told of (deferrals).
Index("event_submission", event.c.account_id, event.c.submission_id)
counter = Table(
    "counter",
    metadata,
    _int("account_id"),
    _int("hour"),  # of the send request, in hours since 1970 UTC
    _int("sender_id"),
    _int("label_id"),
    _text("domain"),  # of the recipient
    _int("kind"),
    _int("sub_status"),
    _int("n"),
    PrimaryKeyConstraint("account_id", "hour", "sender_id", "label_id", "domain", "kind", "sub_status"),
)
# What `counter` says of hours that are over; it is added up here a little at a time, and then gone from `counter`. What comes
# late stands in `counter` again until then. A line is one of an answer (data.md §2-§4), and is read in long ranges.
tally_line = Table(
    "tally_line",
    metadata,
    _int("account_id"),
    _int("grain"),  # store.statistics.Grain
    _int("bucket"),  # an hour since 1970 UTC, or a day since 1970 of the API's zone
    _text("domain"),  # "" where domains are together
    _int("sender_id"),
    _int("label_id"),
    *map(_int, ("requested", "delivered", "bounced", "invalid", "opens", "clicks", "unique_opens", "unique_clicks")),
    *map(_int, ("complaints", "unsubscribed")),
    *(_int(f"invalid_{sub_status}") for sub_status in range(401, 410)),
    PrimaryKeyConstraint("account_id", "grain", "bucket", "domain", "sender_id", "label_id"),
    sqlite_with_rowid=False,
)
# Recipients by what became of them (data.md §5), of the kinds store.statistics.STATES.
tally_state = Table(
    "tally_state",
    metadata,
    _int("account_id"),
    _int("hour"),  # as that of `counter`
    _int("sender_id"),
    _int("label_id"),
    _int("kind"),
    _int("sub_status"),
    _int("n"),
    PrimaryKeyConstraint("account_id", "hour", "sender_id", "label_id", "kind", "sub_status"),
    sqlite_with_rowid=False,
)
# list: block, unsubscribe, complaint, bounce, allow. key: an address, or "@domain". api_user_id: 0 for all.
# kind: of an unsubscription its type (data.md §8.1); of what is allowed 1 when against the bounce list only (data.md §7.2).
suppression = Table(
    "suppression",
    metadata,
    _int("account_id"),
    _text("key"),
    _text("list"),
    _int("api_user_id"),
    _int("kind"),
    _int("label_id"),
    _int("strikes"),
    _text("reason"),
    _int("created"),
    _int("expires"),
    PrimaryKeyConstraint("account_id", "key", "list", "api_user_id"),
)
# What a page is not about is passed over in the index alone.
Index(
    "suppression_created",
    suppression.c.account_id,
    suppression.c.list,
    suppression.c.created,
    suppression.c.key,
    suppression.c.api_user_id,
    suppression.c.label_id,
)
webhook = _of_account(
    "webhook",
    _text("url"),
    _int("api_user_id"),  # 0 is all
    _text("events"),
    _int("created"),
    _int("updated"),
    UniqueConstraint("account_id", "url", "api_user_id", name="webhook_url"),
)
# Where mail that comes in goes. key: the expression as it is compared; action: a URL, or an address when api_user_id is not 0.
inbound_route = _of_account(
    "inbound_route",
    _text("domain"),
    _text("expression"),
    _text("key"),
    _text("action"),
    _int("api_user_id"),
    _int("created"),
    _int("updated"),
    UniqueConstraint("account_id", "key", name="inbound_route_key"),
)

# -- the sandbox: mail and SMS that were caught

sandbox = _of_account(
    "sandbox", _text("kind"), _int("at"), _text("mail_from"), _text("recipient"), _text("subject"), _int("size"), _bytes("raw")
)
