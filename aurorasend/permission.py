"""What an API user may call: JSON that its owner wrote, `{"mail": {"send": false}}` (management.md §7.6).

Called by account, which enforces it through endpoint, and api.api_user, which takes it. Always: only a `false`
denies; what is not named is allowed.
"""

from collections.abc import Mapping

import msgspec

MAX_LENGTH = 4000  # characters; ours: all that can be denied fits in half of it
_MODULES = {"maillist": "addresslist", "spamreported": "complaint"}  # the draft's word, and the older name of a module
_ACTIONS = {"create": "add"}


class BadPermission(ValueError):
    """Not a JSON object, or a longer one than anybody needs."""


def check_permission(text: str) -> str:
    """`text`, when it is a permission. Raises BadPermission."""
    if len(text) > MAX_LENGTH:
        raise BadPermission(f"longer than {MAX_LENGTH} characters")
    try:
        read = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as problem:
        raise BadPermission("not JSON") from problem
    if not isinstance(read, dict):
        raise BadPermission("not a JSON object")
    return text


def denied_calls(text: str) -> frozenset[str]:
    """The calls that a checked permission denies, as `module/action` in lower case."""
    denied = set()
    for module, actions in msgspec.json.decode(text).items():
        if isinstance(actions, Mapping):
            module = _MODULES.get(module.lower(), module.lower())
            found = [_ACTIONS.get(action.lower(), action.lower()) for action, allowed in actions.items() if allowed is False]
            denied |= {f"{module}/{action}" for action in found}
    return frozenset(denied)
