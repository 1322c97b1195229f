"""A fake internet on loopback: name server, mail hosts of every temper, and a view of what they received.

Used by the tests, the benchmarks and `aurorasend dev`; imports nothing that imports it. Hosts have addresses of
127.0.0.0/8 of their own and one common port, so that the product needs nothing but another port than 25. A recipient
chooses its fate by its local part: mail_host.FATES and the docstring there list them.
"""

from types import TracebackType

from aurorasend.simulator.mail_host import MailHost, Temper
from aurorasend.simulator.name_server import NameServer
from aurorasend.simulator.received import Mailbox, Received

__all__ = ["Internet", "MailHost", "Mailbox", "NameServer", "Received", "Temper"]

FIRST_HOST = 2  # 127.0.0.2; 127.0.0.1 is the name server's and the product's


class Internet:
    """`async with Internet() as internet:` runs it; all it holds ends with it."""

    def __init__(self, *, dns_port: int = 0, smtp_port: int = 0, ttl_s: int = 0, keep: int = 1000) -> None:
        """Port 0 takes free ones. `ttl_s` is that of all records; with 0 a change is seen at once. `keep` messages
        are kept, the oldest forgotten first."""
        self.names = NameServer(dns_port, ttl_s)
        self.mailbox = Mailbox(keep)
        self.smtp_port = smtp_port
        self.hosts: dict[str, MailHost] = {}

    async def __aenter__(self) -> "Internet":
        await self.names.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for host in self.hosts.values():
            await host.close()
        await self.names.close()

    @property
    def name_servers(self) -> list[tuple[str, int]]:
        """For DnsResolver."""
        return [(self.names.address, self.names.port)]

    async def add_host(self, name: str, temper: Temper | None = None) -> MailHost:
        """A mail host under an address of its own, known to the name server."""
        host = MailHost(name, f"127.0.0.{FIRST_HOST + len(self.hosts)}", self.smtp_port, temper or Temper(), self.mailbox)
        await host.start()
        self.smtp_port = host.port
        self.hosts[name] = host
        self.names.add(name, "A", host.address)
        return host

    def add_domain(self, domain: str, *hosts: MailHost | str) -> None:
        """`domain` is served by `hosts`, the first preferred."""
        names = [host if isinstance(host, str) else host.name for host in hosts]
        self.names.add(domain, "MX", *(f"{10 * n} {name}." for n, name in enumerate(names, 1)))
