"""Writes addresses given by flags into DATA/aurorasend.toml, where `bootstrap` and the next start read them.

Only single-line entries are replaced, and the result is read again before it takes the old file's place:
a file that the operator wrote keeps its comments and its order.
"""

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from aurorasend.config.sources import FILE, WrongSetting, declared, read_file


def remember(data: Path, values: Mapping[str, str]) -> None:
    """Set each key of `values` (text as in `--set`) in the settings file, made with mode 0600 if there is none."""
    before = read_file(data)
    if all(before.get(key) == text for key, text in values.items()):
        return
    path = data / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for key, text in values.items():
        _put(lines, key, text)
    _verify(lines, path, values)
    _replace(path, "\n".join(lines) + "\n")


def toml_value(key: str, text: str) -> str:
    """`text` as TOML: a list where the setting is one, else a string."""
    if not declared()[key].kind.form.startswith("a list"):
        return _quoted(text)
    return "[" + ", ".join(_quoted(part.strip()) for part in text.split(",") if part.strip()) + "]"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _put(lines: list[str], key: str, text: str) -> None:
    group, _, name = key.partition(".")
    entry = f"{name} = {toml_value(key, text)}"
    header = next((at for at, line in enumerate(lines) if re.fullmatch(rf"\s*\[\s*{group}\s*\]\s*(#.*)?", line)), None)
    if header is None:
        lines += [f"[{group}]", entry] if not lines else ["", f"[{group}]", entry]
        return
    end = next((at for at in range(header + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    for at in range(header + 1, end):
        if re.match(rf"\s*{name}\s*=", lines[at]):
            lines[at] = entry
            return
    lines.insert(header + 1, entry)


def _verify(lines: list[str], path: Path, values: Mapping[str, str]) -> None:
    try:
        table = tomllib.loads("\n".join(lines))
        wanted = {key: tomllib.loads(f"v = {toml_value(key, text)}")["v"] for key, text in values.items()}
        done = all(table[key.partition(".")[0]][key.partition(".")[2]] == value for key, value in wanted.items())
    except (ValueError, KeyError):
        done = False
    if not done:
        keys = ", ".join(values)
        raise WrongSetting(
            f"{path} is written in a way that {keys} cannot be changed there: change it by hand, or write it in one line."
        )


def _replace(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=FILE)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
