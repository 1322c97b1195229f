"""These tests load the machine and mind its clock: one at a time, while others run beside them. Their figures are printed."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("cluster"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        if report.nodeid.startswith("tests/cluster/") and report.capstdout:
            terminalreporter.section(report.nodeid, sep="-")
            terminalreporter.write(report.capstdout)
