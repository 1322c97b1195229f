"""Gathers the settings: defaults < DATA/aurorasend.toml < environment < --set < flags.

Called by cli.py once per process. A wrong or unknown setting ends the start with one sentence that
names it and where it stood; the value of a secret is not repeated.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from aurorasend.config.settings import Declared, Settings

FILE = "aurorasend.toml"
PREFIX = "AURORASEND_"
NOT_SETTINGS = ("AURORASEND_DATA",)
# Kubernetes puts such variables into every container when a service is called aurorasend.
SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$")


class WrongSetting(Exception):
    """One sentence for the person who starts the program."""


def groups() -> dict[str, type]:
    """Name and class of each group, in the order of declaration."""
    factories: dict[str, object] = {f.name: f.default_factory for f in fields(Settings)}
    return {name: factory for name, factory in factories.items() if isinstance(factory, type)}


def declared() -> dict[str, Declared]:
    """Every setting by its key, in the order of declaration."""
    return {f"{name}.{f.name}": f.metadata["setting"] for name, group in groups().items() for f in fields(group)}


def load(
    data: Path,
    *,
    environment: Mapping[str, str] | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a node.

    `assignments` are the `key=value` of `--set`; `flags` maps keys to text; environment None means the process's.
    """
    texts: dict[str, tuple[str, str]] = {}
    texts |= {key: (text, f"in {data / FILE}") for key, text in read_file(data).items()}
    texts |= _from_environment(os.environ if environment is None else environment)
    texts |= {key: (text, "in --set") for key, text in map(_assignment, assignments)}
    texts |= {key: (text, "on the command line") for key, text in (flags or {}).items()}
    return check(_build(data, texts))


def read_file(data: Path) -> dict[str, str]:
    """The settings file as key and text; empty when there is none."""
    path = data / FILE
    try:
        return _flatten(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WrongSetting(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise WrongSetting(f"{path} is not valid TOML: {error}.") from None


def check(settings: Settings) -> Settings:
    """What no single setting can know."""
    named = [("http.listen", listener.region) for listener in settings.http.listen if listener.region]
    named += [("region.hosts", region) for _, region in settings.region.hosts]
    named += [("region.default", settings.region.default)]
    names = settings.region.names
    for key, region in named:
        if region not in names:
            raise WrongSetting(f"The setting {key} names the region {region}, which is not in region.names ({', '.join(names)}).")
    for key, value in (("http.listen", settings.http.listen), ("node.roles", settings.node.roles)):
        if not value:
            raise WrongSetting(f"The setting {key} must not be empty.")
    return settings


def _build(data: Path, texts: Mapping[str, tuple[str, str]]) -> Settings:
    known = declared()
    values: dict[str, dict[str, object]] = {}
    for key, (text, where) in texts.items():
        if key not in known:
            raise WrongSetting(f"There is no setting {key} ({where}).")
        group, _, name = key.partition(".")
        values.setdefault(group, {})[name] = _read(key, known[key], text, where)
    built = {name: group(**values.get(name, {})) for name, group in groups().items()}
    return Settings(data, **built)


def _read(key: str, setting: Declared, text: str, where: str) -> object:
    try:
        return setting.kind.read(text.strip())
    except ValueError:
        what = "has a value that cannot be used" if setting.kind.secret else f"cannot be {text!r}"
        raise WrongSetting(f"The setting {key} ({where}) {what}: write {setting.kind.form}.") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    names = {PREFIX + key.replace(".", "_").upper(): key for key in declared()}
    found = {}
    for name, text in environment.items():
        if name in names:
            found[names[name]] = (text, f"in the environment as {name}")
        elif name.startswith(PREFIX) and name not in NOT_SETTINGS and not SERVICE_LINK.search(name):
            raise WrongSetting(f"The environment variable {name} names no setting.")
    return found


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        shown = text.partition(":")[0]  # what follows may be a password
        raise WrongSetting(f"--set takes key=value, and {shown!r} has no equals sign.")
    return key.strip(), value


def _flatten(table: Mapping[str, object], path: Path) -> dict[str, str]:
    found = {}
    for group, entries in table.items():
        if not isinstance(entries, dict):
            raise WrongSetting(f"There is no setting {group} (in {path}): settings stand in groups, such as [http].")
        for name, value in entries.items():
            found[f"{group}.{name}"] = _text(value)
    return found


def _text(value: object) -> str:
    """A TOML value as the text that the other sources would hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(_text, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={_text(entry)}" for key, entry in value.items())
    return str(value)
