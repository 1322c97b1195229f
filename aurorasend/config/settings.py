"""Every setting, declared once: its key is GROUP.FIELD, and type, default and explanation stand beside it.

Read by `sources.py`, written out by `document.py`. Defaults are text in the form that a file would hold,
so that the documentation cannot differ from what the program does. `# contract` names the section that
fixes a default; the others are ours.
"""

from dataclasses import dataclass, field
from datetime import timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from aurorasend.config.kinds import (
    BASE_URL,
    COUNTRY,
    DURATION,
    HOST,
    LINE,
    LISTENER,
    NETWORK,
    OPTIONAL_HOST_PORT,
    REGION,
    RESOLVER,
    ROUTE,
    SELECTOR,
    SIZE,
    STORE,
    SWITCH,
    TOLERANCE,
    HostPort,
    Kind,
    Listener,
    Network,
    Route,
    StoreUrl,
    list_of,
    map_of,
    number,
    one_of,
)

T = TypeVar("T")

REGIONS = ("sg", "us", "hk")  # conventions §1
ROLES = ("api", "smtp", "deliver", "sms", "webhook", "sweep")


@dataclass(frozen=True)
class Declared:
    """What a group's field says about itself; kept in the field's metadata under "setting"."""

    kind: Kind[object]
    default: str
    doc: str


def setting(kind: Kind[T], default: str, doc: str) -> T:
    """A field of a group. Typed as its value, as `dataclasses.field` is."""
    found: T = field(default_factory=lambda: kind.read(default), metadata={"setting": Declared(kind, default, doc)})
    return found


@dataclass(frozen=True)
class Node:
    """What this process does."""

    roles: tuple[str, ...] = setting(list_of(one_of(*ROLES)), ",".join(ROLES), "The parts of the work that this node does.")
    workers: int = setting(number(1, 256), "1", "Processes to start; each does all the node's roles.")
    stop_deadline: timedelta = setting(
        DURATION,
        "30s",
        "How long a stop waits for what is under way; what is not done is repeated later.",
    )


@dataclass(frozen=True)
class Store:
    """Where everything is kept."""

    url: StoreUrl = setting(
        STORE,
        "sqlite",
        "`sqlite` keeps a file in the data directory (one machine); PostgreSQL 15 or later serves many nodes.",
    )
    connections: int = setting(number(2, 1000), "8", "Connections of one process to PostgreSQL.")


@dataclass(frozen=True)
class Http:
    """Where the HTTP API listens."""

    listen: tuple[Listener, ...] = setting(
        list_of(LISTENER),
        "127.0.0.1:8025",
        "Addresses of the HTTP API. With a region, all requests there belong to it; without one, the request's Host "
        "decides (see region.hosts).",
    )
    proxies: tuple[Network, ...] = setting(
        list_of(NETWORK),
        "",
        "Proxies whose X-Forwarded-For is believed. Others count as the client themselves. Name one on this machine too: "
        "else who comes through it without that field passes for somebody at this machine, who may see /sandbox.",
    )
    body_timeout: timedelta = setting(DURATION, "60s", "How long a client may take to send a request's body.")


@dataclass(frozen=True)
class Smtp:
    """Where mail is taken by SMTP."""

    listen: HostPort | None = setting(
        OPTIONAL_HOST_PORT,
        "",
        "Address of the SMTP server. Kept for a later version: nothing listens there yet.",
    )


@dataclass(frozen=True)
class Region:
    """Regions that this installation serves. An account belongs to one; its API users are refused at another's URL (40005)."""

    names: tuple[str, ...] = setting(list_of(REGION), ",".join(REGIONS), "Regions that accounts may belong to.")
    default: str = setting(REGION, "sg", "Region of a request whose listener and Host name none.")
    hosts: tuple[tuple[str, str], ...] = setting(
        map_of("host", REGION),
        "api.aurorasendcloud.com=sg, api-us.aurorasendcloud.com=us, api-hk.aurorasendcloud.com=hk",
        "Which region a request's Host means. The defaults serve clients that reach this installation through their own DNS.",
    )


@dataclass(frozen=True)
class Api:
    """How the API speaks."""

    zone_hours: int = setting(
        number(-12, 14),
        "8",
        "Hours that the wall clock of dates in the API and of daily limits is ahead of UTC. Fixed once data exists.",
    )
    public_url: str = setting(
        BASE_URL,
        "",
        "URL under which the outside reaches this installation; empty means the first HTTP listener.",
    )
    unbounced_allowed: bool = setting(  # contract data §7.2
        SWITCH,
        "true",
        "Whether an address that `bounce/delete` takes off the bounce list is kept off it by an entry of the allow list.",
    )


@dataclass(frozen=True)
class Delivery:
    """How mail leaves."""

    route: Route = setting(
        ROUTE,
        "sandbox",
        "`sandbox` keeps mail here and shows it at /sandbox; `mx` sends to the recipients' own servers; `smtp://` to "
        "one smart host.",
    )
    helo: str = setting(
        HOST,
        "localhost",
        "Our name in EHLO. With `mx` it should be the name that our address resolves to, and back.",
    )
    concurrency: int = setting(number(1, 1000), "8", "Connections of one node to one next hop.")
    shards: int = setting(
        number(1, 64),
        "8",
        "Lanes that mail for a smart host is spread over, so that several nodes and processes can use it.",
    )
    tls: str = setting(
        one_of("opportunistic", "require", "off"),
        "opportunistic",
        "STARTTLS: when offered, always (else the mail waits), or never. Certificates are not checked unless a policy "
        "of the recipient's domain asks for it.",
    )
    mx_port: int = setting(number(1, 65535), "25", "Port of the recipients' servers with `mx`. Anything but 25 is for tests.")
    dns: tuple[HostPort, ...] = setting(list_of(RESOLVER), "", "Name servers to ask; empty means those of the system.")
    dns_timeout: timedelta = setting(DURATION, "5s", "How long one DNS question may take; no answer means a later try.")
    connect_timeout: timedelta = setting(DURATION, "30s", "How long a connection to a next hop may take.")
    reply_timeout: timedelta = setting(DURATION, "5m", "How long a reply to an SMTP command may take (RFC 5321 §4.5.3.2).")
    data_timeout: timedelta = setting(
        DURATION,
        "10m",
        "How long the reply to the final dot may take (RFC 5321 §4.5.3.2.6). Shorter makes duplicates.",
    )
    idle_timeout: timedelta = setting(DURATION, "10s", "How long a connection without mail is kept for the next one.")

    def mail_lane(self, domain: str, spread: int) -> str:
        """The queue's lane of mail to `domain`. Where it may be in several, `spread` tells which."""
        lanes = self.mail_lanes(domain)
        return lanes[spread % len(lanes)]

    def mail_lanes(self, domain: str) -> tuple[str, ...]:
        """The lanes that mail to `domain` may be in: by next hop one, and where all mail has one hop, its shards."""
        return (f"mx:{domain}",) if self.route.kind == "mx" else self._shards

    @cached_property
    def _shards(self) -> tuple[str, ...]:
        return tuple(f"{self.route}#{number}" for number in range(self.shards))


@dataclass(frozen=True)
class Queue:
    """The durable queue."""

    lease: timedelta = setting(DURATION, "15s", "How long a node that is not heard of keeps its work. Then others repeat it.")
    batch: int = setting(number(1, 1000), "64", "Entries that are claimed at once.")
    expiry_trigger: timedelta = setting(DURATION, "24h", "How long mail of a trigger API user is tried.")  # contract events §11.3
    expiry_batch: timedelta = setting(DURATION, "72h", "How long mail of a batch API user is tried.")  # contract events §11.3


@dataclass(frozen=True)
class Webhook:
    """Posts to customers' URLs."""

    allow_private: tuple[Network, ...] = setting(
        list_of(NETWORK),
        "",
        "Private networks that webhook URLs may point into. All others of the private, loopback and link-local ranges "
        "are refused.",
    )
    probe: bool = setting(  # contract management §8.3
        SWITCH,
        "true",
        "Whether a URL is called before it is configured, and refused when it does not answer 200 to GET and POST (40707).",
    )


@dataclass(frozen=True)
class Domain:
    """Sending domains. Their owners publish DNS records that name the hosts below."""

    per_account: int = setting(
        number(0, 100_000), "5", "Ordinary domains that an account may have (41012)."
    )  # contract management §5.4
    platform: str = setting(  # a name reserved by RFC 2606; contract management §5.2
        HOST,
        "mail.test",
        "The domain under which each new account gets a test domain, of which `account add` prints the DKIM record.",
    )
    reserved: tuple[str, ...] = setting(  # contract management §5.4
        list_of(LINE),
        "sendcloud,ifaxin",
        "Words that a customer's domain may not contain.",
    )
    spf_host: str = setting(
        HOST, "spf.aurorasend.example", "What customers' SPF records include: a name whose SPF record lists our addresses."
    )
    mx_host: str = setting(
        HOST, "mx.aurorasend.example", "What customers' MX records name: the host that takes bounces and inbound mail."
    )
    dkim_selector: str = setting(SELECTOR, "sendcloud", "DKIM selector of a new domain.")  # contract management §5.1
    dmarc: str = setting(LINE, "v=DMARC1; p=none", "DMARC record that customers are told to publish.")  # contract management §5.1


@dataclass(frozen=True)
class Tracking:
    """Open and click tracking."""

    host: str = setting(
        HOST, "track.aurorasend.example", "The default tracking domain, which customers' own ones are aliases of (CNAME)."
    )
    per_account: int = setting(
        number(0, 100_000), "5", "Tracking domains that an account may have (41012)."
    )  # contract management §6.2
    by_default_host: bool = setting(  # contract management §7.5
        SWITCH,
        "false",
        "Whether an API user may track opens and clicks without a tracking domain of its account.",
    )


@dataclass(frozen=True)
class ApiUser:
    """API users."""

    per_account: int = setting(
        number(1, 100_000), "10", "API users that an account may have, test users apart (41112)."
    )  # contract management §7.1


@dataclass(frozen=True)
class Template:
    """Mail templates."""

    audit: str = setting(one_of("auto", "manual"), "auto", "Whether a submitted template is approved at once or by a person.")
    per_account: int = setting(number(1, 100_000), "50", "Templates that an account may have.")  # contract management §1


@dataclass(frozen=True)
class AddressList:
    """Lists of recipients kept here."""

    domain: str = setting(
        HOST,
        "maillist.sendcloud.org",
        "Domain of the alias of a list that was given without one.",
    )  # contract management §3.1
    step: int = setting(number(1, 10_000), "1000", "Members of a list send whose mails are stored in one transaction.")


@dataclass(frozen=True)
class Sms:
    """Short messages."""

    gateway: str = setting(
        one_of("simulator"),
        "simulator",
        "Where short messages go. The simulator answers by the last digits of the number.",
    )
    default_country: str = setting(
        COUNTRY,
        "CN",
        "Country of domestic numbers written without its code; empty means that bare digits always begin with the code.",
    )  # contract sms §3.1
    template_audit: str = setting(
        one_of("auto", "manual"),
        "auto",
        "Whether a submitted SMS template is approved at once or by a person.",
    )
    per_minute: int = setting(  # contract sms §11
        number(1, 1_000_000),
        "5",
        "Messages of an account to one number in 60 seconds (496).",
    )
    per_day: int = setting(  # contract sms §11
        number(1, 1_000_000),
        "50",
        "Messages of an account to one number in a calendar day (498).",
    )
    timestamp_tolerance: timedelta = setting(  # contract sms §2
        TOLERANCE,
        "60s",
        "How far a signed request's timestamp may be from our clock.",
    )


@dataclass(frozen=True)
class Limits:
    """What one request, API user or account may ask for."""

    body_bytes: int = setting(SIZE, "32MiB", "Largest body of a request (413).")  # contract conventions §4
    attachments_bytes: int = setting(  # contract mail §9.2
        SIZE, "10485760", "Largest sum of attachments of one mail (40819), unless the account has its own."
    )
    buffered_bytes: int = setting(SIZE, "256MiB", "Request bodies in memory of one process at a time; further ones wait.")
    query_per_minute: int = setting(  # contract conventions §8
        number(1, 10**9),
        "4000",
        "Calls of one endpoint, sends apart, by an API user in 60 seconds (50000).",
    )
    send_per_minute: int = setting(  # contract conventions §8
        number(1, 10**9),
        "40000",
        "Sending requests of an API user in 60 seconds (50001).",
    )
    daily_quota: int = setting(number(0, 10**12 - 1), "1000000", "Recipients a day of a new account (40913).")
    test_quota: int = setting(  # contract conventions §8, management §5.2
        number(0, 10**9),
        "200",
        "Recipients a day of a test API user, and of a test domain (40913).",
    )
    email_status_days: int = setting(  # contract data §5
        number(1, 36_500),
        "30",
        "Longest range of days that one call of `data/emailStatus` may ask for (40006, 40008).",
    )
    private_sources: bool = setting(  # contract management §11.1
        SWITCH,
        "true",
        "Whether an account's IP allowlist may name private networks (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16).",
    )
    key_grace: timedelta = setting(TOLERANCE, "15m", "How long a replaced API key still works.")  # contract conventions §3.3
    request_id_window: timedelta = setting(DURATION, "1h", "How long a `sendRequestId` is remembered.")  # contract mail §9.5


@dataclass(frozen=True)
class Retention:
    """How long things are kept."""

    content: timedelta = setting(DURATION, "30d", "Bodies of mail, and the ids of messages.")  # contract mail §17
    events: timedelta = setting(DURATION, "180d", "Status and events of each recipient.")  # contract data §14


@dataclass(frozen=True)
class Sandbox:
    """What is caught instead of sent."""

    keep: int = setting(number(1, 10_000_000), "10000", "Caught messages that are kept; older ones go.")
    keep_bytes: int = setting(SIZE, "1GiB", "Bytes of caught messages that are kept; older ones go.")


@dataclass(frozen=True)
class Operator:
    """The person who runs this."""

    token_file: str = setting(
        LINE,
        "operator.token",
        "File of the operator's token, in the data directory unless the path is absolute. Made at the first start.",
    )


@dataclass(frozen=True)
class Log:
    """What is written to standard error."""

    level: str = setting(one_of("debug", "info", "warning", "error"), "info", "Least level that is written.")
    json: bool = setting(SWITCH, "false", "One JSON object a line instead of text.")


@dataclass(frozen=True)
class Settings:
    """All groups, and the data directory, which is where the settings file is and so not itself a setting."""

    data: Path
    node: Node = field(default_factory=Node)
    store: Store = field(default_factory=Store)
    http: Http = field(default_factory=Http)
    smtp: Smtp = field(default_factory=Smtp)
    region: Region = field(default_factory=Region)
    api: Api = field(default_factory=Api)
    delivery: Delivery = field(default_factory=Delivery)
    queue: Queue = field(default_factory=Queue)
    webhook: Webhook = field(default_factory=Webhook)
    domain: Domain = field(default_factory=Domain)
    tracking: Tracking = field(default_factory=Tracking)
    api_user: ApiUser = field(default_factory=ApiUser)
    template: Template = field(default_factory=Template)
    address_list: AddressList = field(default_factory=AddressList)
    sms: Sms = field(default_factory=Sms)
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)
    sandbox: Sandbox = field(default_factory=Sandbox)
    operator: Operator = field(default_factory=Operator)
    log: Log = field(default_factory=Log)

    @property
    def zone(self) -> timezone:
        return timezone(timedelta(hours=self.api.zone_hours))

    @property
    def operator_token(self) -> Path:
        return self.data / self.operator.token_file

    @property
    def public_url(self) -> str:
        """Without a trailing slash."""
        return self.api.public_url or f"http://{self.http.listen[0].address}"
