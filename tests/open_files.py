"""The files that this process has open, for tests of what is left behind."""

import os
from contextlib import suppress
from pathlib import Path


def open_files(folder: Path) -> list[str]:
    """Names of those in `folder`."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile, as that of the listing itself
            found.append(Path(os.readlink(f"/proc/self/fd/{number}")))
    return sorted(path.name for path in found if path.parent == folder)
