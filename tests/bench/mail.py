"""The one mail that every part of the bench sends: about 2 KB of html, as a form for our API and as a message for the others."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

DIGITS = 12  # of the number in each recipient's address, so that every request has the same length
SUBJECT = "Your order is on its way"
PARAGRAPH = (
    '<p style="font-family:sans-serif;color:#333">Dear customer, your parcel left our warehouse this morning and will be '
    'with you soon. <a href="https://shop.example/track?order=4711&amp;lang=en">Follow it here</a>.</p>\n'
)
HTML = "<html><head><title>Your order</title></head><body>\n" + PARAGRAPH * 9 + "</body></html>\n"


@dataclass(frozen=True)
class Request:
    """An HTTP request in two halves; the number of the recipient stands between them."""

    head: bytes
    tail: bytes


def request(host: str, user: str, key: str, domain: str) -> Request:
    """POST /mail/send with eleven urlencoded fields and one recipient, `u<number>@example.net`."""
    before = {
        "apiUser": user,
        "apiKey": key,
        "from": f"shop@{domain}",
        "fromName": "Example Shop",
        "subject": SUBJECT,
        "html": HTML,
        "replyTo": f"help@{domain}",
        "respEmailId": "true",
        "useNotification": "false",
        "labelName": "orders",
        "to": "u",
    }
    form = urlencode(before).encode()
    tail = b"%40example.net"
    head = (
        f"POST /mail/send HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form) + DIGITS + len(tail)}\r\n\r\n"
    ).encode()
    return Request(head + form, tail)


def write_message(path: Path, domain: str) -> None:
    """The same mail as an RFC 5322 file with bare LF, as smtp-source -F reads it."""
    headers = (
        f'From: "Example Shop" <shop@{domain}>\nTo: customer@example.net\nReply-To: help@{domain}\nSubject: {SUBJECT}\n'
        f"Date: Mon, 02 Nov 2026 10:00:00 +0000\nMessage-ID: <bench@{domain}>\nMIME-Version: 1.0\n"
        "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 7bit\n\n"
    )
    path.write_text(headers + HTML)
