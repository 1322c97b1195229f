"""docs/settings.md and the sample settings file, made from the declarations (`python -m aurorasend.config.document`)."""

import sys
from pathlib import Path

from aurorasend.config.remember import toml_value
from aurorasend.config.settings import Declared
from aurorasend.config.sources import FILE, PREFIX, declared, groups

HEAD = f"""# Settings

Made from the declarations in `aurorasend/config/settings.py` by `make docs`; do not edit.

A setting is looked for in this order, and the last one found counts: the default, `DATA/{FILE}`, the
environment (`{PREFIX}` and the key in capitals with `_` for `.`), `--set key=value`, the flags of the
command. A wrong or unknown setting stops the start with a sentence that names it. Lists are written
with commas in the environment and in `--set`, tables as `key=value,key=value`.
"""

COLUMNS = "| setting | default | write | what it does |\n|---|---|---|---|"


def generate_docs() -> str:
    """The text of docs/settings.md."""
    parts = [HEAD]
    for name, group in groups().items():
        parts.append(f"\n## {name}\n\n{(group.__doc__ or '').strip()}\n\n{COLUMNS}")
        parts += [_row(key, found) for key, found in declared().items() if key.startswith(f"{name}.")]
    parts.append(f"\n## Sample\n\nThe defaults as a file:\n\n```toml\n{sample_toml()}```\n")
    return "\n".join(parts)


def sample_toml() -> str:
    """A settings file that says what the defaults say; every entry is a comment."""
    lines = []
    for name in groups():
        lines.append(f"[{name}]")
        for key, found in declared().items():
            if key.startswith(f"{name}."):
                lines.append(f"# {key.partition('.')[2]} = {_default(key, found)}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _row(key: str, found: Declared) -> str:
    default = f"`{found.default}`" if found.default else "(empty)"
    return f"| `{key}` | {default} | {_cell(found.kind.form)} | {_cell(found.doc)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(key: str, found: Declared) -> str:
    if found.kind.form.startswith("a table"):
        pairs = [part.strip().split("=") for part in found.default.split(",")]
        return "{ " + ", ".join(f'"{name}" = "{value}"' for name, value in pairs) + " }"
    if found.default in ("true", "false") or found.default.isdigit():
        return found.default
    return toml_value(key, found.default)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(generate_docs(), encoding="utf-8")
