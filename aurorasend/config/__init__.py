"""Settings: declared once in `settings.py`, read by `kinds.py` and `sources.py`, documented by `document.py`.

Everybody else receives a `Settings` and reads `settings.GROUP.NAME`; only cli.py calls `load`.
"""

from aurorasend.config.kinds import HostPort, Listener, Network, Route, StoreUrl
from aurorasend.config.remember import remember
from aurorasend.config.settings import ROLES, Settings
from aurorasend.config.sources import WrongSetting, load

__all__ = ["ROLES", "HostPort", "Listener", "Network", "Route", "Settings", "StoreUrl", "WrongSetting", "load", "remember"]
