"""The first mail: `aurorasend serve` hands it to an SMTP server that is not ours, and two verifiers that are not ours
accept its signature, with the key from DNS."""

import asyncio
import json
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from queue import SimpleQueue

import dkim
import dns.resolver
import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography.hazmat.primitives.serialization import load_der_private_key

from aurorasend.dkim import dns_record, record_name
from aurorasend.simulator import NameServer
from tests.cluster.server import Node
from tests.postgres import free_port

SUBJECT = "Grüße an %name% 你好"
HTML = "<p>Liebe %name%, 你好</p>"
FILE = bytes(range(256)) * 40
NAMES = {"ann@example.net": "Ännchen", "bob@example.net": "Боб", "liu@example.net": "刘"}


Taken = tuple[str, list[str], bytes]  # envelope sender, recipients, content


class Sink:
    """What aiosmtpd took, in a thread of its own."""

    def __init__(self) -> None:
        self.taken: SimpleQueue[Taken] = SimpleQueue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert envelope.mail_from is not None and isinstance(envelope.content, bytes)
        self.taken.put((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 OK"


async def test_the_first_mail(data: Path) -> None:
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=free_port(), enable_SMTPUTF8=True)
    controller.start()
    node = Node(data, {"delivery.route": f"smtp://127.0.0.1:{controller.port}"})
    node.start()
    try:
        await node.ready()
        account = json.loads((data / "bootstrap.json").read_text())["main"]
        await send(node.port, account["shown"])
        taken = [await asyncio.to_thread(sink.taken.get, timeout=10) for _ in range(3)]
        assert await node.stop() == 0
    finally:
        node.kill()
        controller.stop()
    check_mails(taken, account["shown"]["domain"])
    await check_signatures(taken, account)


async def send(port: int, shown: dict[str, dict[str, str]]) -> None:
    fields = {
        **shown["trigger"],
        "from": f"shop@{shown['domain']}",
        "fromName": "Der Läden",
        "subject": SUBJECT,
        "html": HTML,
        "xsmtpapi": json.dumps({"to": list(NAMES), "sub": {"%name%": list(NAMES.values())}}),
    }
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        files = {"attachments": ("Rechnung für dich.bin", FILE, "application/octet-stream")}
        answer = (await client.post("/mail/send", data=fields, files=files)).json()
    assert (answer["statusCode"], len(answer["info"]["emailIdList"])) == (200, 3)


def check_mails(taken: list[Taken], domain: str) -> None:
    """Three valid mails, each its own."""
    assert sorted(recipients for _, recipients, _ in taken) == [[address] for address in sorted(NAMES)]
    assert len({mail_from for mail_from, _, _ in taken}) == 3
    shown = [message_from_bytes(raw, policy=policy.default) for _, _, raw in taken]
    assert len({mail["Message-ID"] for mail in shown}) == 3
    for mail, (_, recipients, raw) in zip(shown, taken, strict=True):
        assert isinstance(mail, EmailMessage)
        name = NAMES[recipients[0]]
        assert [part.defects for part in mail.walk()] == [[]] * len(list(mail.walk()))
        assert max(map(len, raw.splitlines())) <= 998 and raw.isascii()
        assert (mail["To"], mail["From"].addresses[0].domain) == (recipients[0], domain)
        assert (mail["Subject"], mail["From"].addresses[0].display_name) == (SUBJECT.replace("%name%", name), "Der Läden")
        body = mail.get_body(("html",))
        assert body is not None and HTML.replace("%name%", name) in body.get_content()
        (file,) = mail.iter_attachments()
        assert (file.get_filename(), file.get_content()) == ("Rechnung für dich.bin", FILE)


async def check_signatures(taken: list[Taken], account: dict[str, object]) -> None:
    key = load_der_private_key(bytes.fromhex(str(account["dkim"])), None)
    names = NameServer()
    await names.start()
    try:
        names.add_txt(record_name("mail", account["shown"]["domain"]), dns_record(key))  # type: ignore[index, arg-type]
        for _, _, raw in taken:
            assert await asyncio.to_thread(dkim.verify, raw, dnsfunc=lambda name, timeout=5: looked_up(name, names.port))
            assert await accepted_by_emailsec(raw, names.port)
        broken = taken[0][2].replace(b"Subject: ", b"Subject: Re: ")
        assert not await asyncio.to_thread(dkim.verify, broken, dnsfunc=lambda name, timeout=5: looked_up(name, names.port))
        assert not await accepted_by_emailsec(broken, names.port)
        assert {kind for _, kind in names.questions} == {"TXT"} and len(names.questions) == 8
    finally:
        await names.close()


def looked_up(name: bytes, port: int) -> bytes:
    asked = dns.resolver.Resolver(configure=False)
    asked.nameservers, asked.port = ["127.0.0.1"], port
    return b"".join(asked.resolve(name.decode(), "TXT")[0].strings)


async def accepted_by_emailsec(raw: bytes, port: int) -> bool:
    program = Path(__file__).with_name("emailsec_verify.py")
    verifier = await asyncio.create_subprocess_exec(sys.executable, str(program), str(port), stdin=asyncio.subprocess.PIPE)
    await verifier.communicate(raw)
    return verifier.returncode == 0
