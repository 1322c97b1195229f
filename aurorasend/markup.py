"""What the platform itself puts into a customer's html: the preview text, the unsubscribe block.

Called by message, once per submission. Imports variable only. Always: the customer's html is kept as it is,
right or wrong, around what is put in. Every expression here is linear, since html may be hostile.
"""

import re
from html import escape

from aurorasend.variable import outside_variables

# ours: the marker by which a summary is found again (spec mail.md §9.4); styles as mail clients honour them.
_SUMMARY = '<div data-content-summary style="display:none;max-height:0;max-width:0;opacity:0;overflow:hidden;mso-hide:all">'
_marked_summary = re.compile(r"<div data-content-summary\b[^<>]*>[^<]*</div>", re.IGNORECASE).subn
_body_start = re.compile(r"""<body(?:\s(?:[^<>"']++|"[^"]*"|'[^']*')*+)?>""", re.IGNORECASE).search
_ends = re.compile(r"</body\s*>|</html\s*>", re.IGNORECASE).finditer


def mark_summary(html: str, summary: str) -> str:
    """`html` with `summary` as the text that mail clients show beside the subject: in place of one already
    marked, else directly after <body>, else at the start (spec mail.md §9.4). Variables in it stay variables."""
    element = f"{_SUMMARY}{outside_variables(lambda text: escape(text, quote=False), summary)}</div>"
    replaced, found = _marked_summary(lambda _: element, html, count=1)
    if found:
        return replaced
    body = _body_start(html)
    at = body.end() if body else 0
    return html[:at] + element + html[at:]


def split_at_end(html: str) -> tuple[str, str]:
    """`html` in two, at the bottom of what is shown: before the last </body>, or </html> after it."""
    at = len(html)
    for end in _ends(html):
        if end[0][2:6].lower() == "body" or at == len(html):
            at = end.start()
    return html[:at], html[at:]


def unsubscribe_block(link: str) -> str:
    """The default block with the recipient's link (events.md §10.1; the words are ours)."""
    return (
        '<div style="margin:16px 0;text-align:center;font-size:12px;color:#888888">'
        f'<a href="{escape(link)}" style="color:#888888">Unsubscribe</a></div>'
    )
