"""Which test raises which return code: seen while the tests run, compared with the table in docs/codes.md at their end.

A pytest plugin that conftest registers. An answer counts when an endpoint of the product gave it, in the process of a test that
passed; what a test's own endpoints answer does not. The run fails when a code has lost its test.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aurorasend.api import ENDPOINTS
from aurorasend.codes import Code
from aurorasend.endpoint import Endpoint, Envelope, Info, Request, Server
from tests.unraised import UNRAISED

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "codes.md"
ALL = ("tests/unit", "tests/contract", "tests/flow")  # whose servers run in the process of the test
ROUTING = (Code.NOT_FOUND, Code.METHOD_NOT_ALLOWED, Code.BODY_TOO_LARGE)  # conventions.md §5.1: of no endpoint
PROPERTY = "codes"  # of the report of a test: the names of what it raised
REGENERATE = f"pytest --write-codes {' '.join(ALL)}"

HEAD = f"""# Return codes and the tests that raise them

Every return code of the contract, with a test in which an endpoint answers with it, or why no request can be answered so.
Written by `{REGENERATE}`; do not edit. A run of the tests fails when
a code is not raised by the test that is named for it.

| Code | Name | Meaning | Raised by |
|---|---|---|---|
"""


# -- the table


def read(text: str) -> dict[Code, str]:
    """The test that the table names for each code that has one."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    told = {row[1]: row[-1] for row in rows}
    found = {code: told.get(f"`{code.name}`", "") for code in Code}
    return {code: test.strip("`") for code, test in found.items() if test.startswith("`tests/")}


def written(named: Mapping[Code, str]) -> str:
    told = {code: f"`{test}`" for code, test in named.items()} | UNRAISED
    return HEAD + "".join(f"| {c.number} | `{c.name}` | {c.meaning} | {told.get(c, 'no test')} |\n" for c in Code)


@dataclass
class Seen:
    """What a run saw: the tests that passed, by their names without parameters, and what each code was raised by.

    `whole`: all tests of ALL ran. `parted`: of some tests perhaps not all parameters did.
    """

    whole: bool = False
    parted: bool = False
    tests: set[str] = field(default_factory=set)
    by_code: defaultdict[Code, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, test: str, names: list[str]) -> None:
        self.tests.add(test)
        for name in names:
            self.by_code[Code[name]].add(test)

    def lost(self, named: Mapping[Code, str]) -> list[str]:
        """A sentence for each code of which this run shows that the table is wrong."""
        wrong = [
            f"{_told(code)} is no longer raised by {test}"
            for code, test in named.items()
            if test not in self.by_code[code] and self._ran(test)
        ]
        wrong += [f"{_told(code)} is raised by no test" for code in Code if self.whole and code not in {*named, *UNRAISED}]
        for code, reason in UNRAISED.items():
            if self.by_code[code]:
                wrong.append(f"{_told(code)} is raised by {min(self.by_code[code])}, but tests/unraised.py says: {reason}")
        return wrong

    def renamed(self, named: Mapping[Code, str]) -> dict[Code, str]:
        """The table after this run: a test stays named as long as it raises its code. A new one is that of the fewest codes."""
        raises = Counter(test for tests in self.by_code.values() for test in tests)
        found = {code: tests for code, tests in self.by_code.items() if tests and code not in UNRAISED}
        first = {code: min(tests, key=lambda test: (raises[test], test)) for code, tests in found.items()}
        kept = {code: test for code, test in named.items() if test in self.by_code[code] or not self._ran(test)}
        return first | kept

    def _ran(self, test: str) -> bool:
        return self.whole or (test in self.tests and not self.parted)


def plain_name(node_id: str) -> str:
    """Without parameters, and without the group that pytest-xdist appends after an at sign."""
    path, _, name = node_id.partition("::")
    return f"{path}::{re.split(r'[@[]', name)[0]}"


def _told(code: Code) -> str:
    return f"{code.number} {code.name}"


# -- the plugin


@contextmanager
def watched(saw: Callable[[Code], None]) -> Iterator[None]:
    """Meanwhile `saw` is told every code that the product answers with."""
    answer, wrap = Server.answer, Envelope.wrap
    ours = {id(each) for each in ENDPOINTS}

    async def answered(server: Server, found: Endpoint, request: Request) -> tuple[Code, bytes]:
        code, body = await answer(server, found, request)
        if id(found) in ours:
            saw(code)
        return code, body

    def wrapped(envelope: Envelope, code: Code, text: str, info: Info) -> bytes:
        if code in ROUTING:
            saw(code)
        return wrap(envelope, code, text, info)

    Server.answer, Envelope.wrap = answered, wrapped  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Server.answer, Envelope.wrap = answer, wrap  # type: ignore[method-assign]


class Recorder:
    """Lives for one run of pytest. Codes go from a test to the end of the run in its report, which may cross processes."""

    def __init__(self, config: pytest.Config) -> None:
        narrowed = any(config.getoption(name, None) for name in ("keyword", "deselect", "lf"))
        parted = narrowed or any("[" in arg for arg in config.args)
        self._seen = Seen(whole=not parted and _is_whole(config), parted=parted)
        self._raised: set[Code] = set()  # by the test that runs now
        self._wrong: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Iterator[None]:
        with watched(lambda code: self._raised.add(code)):
            return (yield)

    def pytest_runtest_logstart(self) -> None:
        self._raised.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.when == "call":
            item.user_properties.append((PROPERTY, sorted(code.name for code in self._raised)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            names = dict(report.user_properties).get(PROPERTY, [])
            self._seen.add(plain_name(report.nodeid), names)  # type: ignore[arg-type]

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        config = session.config
        if hasattr(config, "workerinput") or config.option.collectonly:
            return
        if exitstatus != pytest.ExitCode.OK:  # what a test that failed would have raised is not known
            self._seen.whole, self._seen.parted = False, True
        named = read(TABLE.read_text()) if TABLE.exists() else {}
        if config.getoption("write_codes"):
            named = self._seen.renamed(named)
            TABLE.write_text(written(named))
        self._wrong = self._seen.lost(named)
        if self._wrong and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._wrong:
            terminalreporter.section("docs/codes.md does not hold")
            for sentence in self._wrong:
                terminalreporter.line(sentence)
            terminalreporter.line(f"Once every code has its test: {REGENERATE}")


def _is_whole(config: pytest.Config) -> bool:
    """Whether all tests of ALL were asked for."""
    given = [(config.invocation_params.dir / arg).resolve() for arg in config.args]
    asked = all(any((ROOT / part).is_relative_to(one) for one in given) for part in ALL)
    return asked and not any(config.getoption(name, None) for name in ("markexpr", "ignore", "ignore_glob"))
