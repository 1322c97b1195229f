"""Verifies the mail on standard input with emailsec, whose keys come by DNS from the port that is given.

A program of its own: emailsec's resolver needs an older pycares than ours, so another one takes its place here.
Ends with status 0 when the signature is right.
"""

import asyncio
import importlib
import sys
from types import ModuleType, SimpleNamespace

from dns.asyncresolver import Resolver


class Names:
    """emailsec's resolver, over dnspython."""

    async def txt(self, name: str) -> list[SimpleNamespace]:
        asked = Resolver(configure=False)
        asked.nameservers, asked.port = ["127.0.0.1"], int(sys.argv[1])
        return [SimpleNamespace(text=b"".join(record.strings).decode()) for record in await asked.resolve(name, "TXT")]


def main() -> int:
    replaced = ModuleType("emailsec.dns_resolver")
    replaced.DNSResolver = Names  # type: ignore[attr-defined]
    sys.modules["emailsec.dns_resolver"] = replaced
    emailsec = importlib.import_module("emailsec.dkim.parser")
    try:
        return 0 if asyncio.run(emailsec.verify(sys.stdin.buffer.read().decode())) else 1
    except ValueError:  # how it says that the body hash differs
        return 1


if __name__ == "__main__":
    sys.exit(main())
