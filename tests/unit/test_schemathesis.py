"""What schemathesis makes of our OpenAPI document, right and wrong: never a fault of ours, always an envelope as described."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from aurorasend.api import ENDPOINTS
from aurorasend.codes import Code
from aurorasend.endpoint import Auth, Endpoint
from aurorasend.store.migrate import migrate
from tests.api_world import QUIET, World, build
from tests.running import bootstrapped, serving

pytestmark = pytest.mark.slow

EXAMPLES = 3  # requests by method and mode to each endpoint
ROUTING = (404, 405, 413)  # HTTP statuses besides 200, which the envelope repeats (conventions.md §5.1)
CREDENTIALS = ("apiUser", "apiKey", "smsUser", "smsKey")
SAME_IN_EVERY_RUN = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A node in a thread of its own, since schemathesis calls it and waits."""
    data = tmp_path_factory.mktemp("schemathesis")
    with start_blocking_portal() as portal:
        portal.call(migrate, "sqlite", data)
        portal.call(bootstrapped, data, "sqlite", ["main"])
        with portal.wrap_async_context_manager(serving(data, *QUIET)) as node:
            yield portal.call(build, node)


@pytest.fixture(scope="module")
def described(world: World) -> Any:
    """The schema as it is served. The config is given, so that none is looked for."""
    return schemathesis.openapi.from_url(f"{world.node.client.base_url}/openapi.json", config=schemathesis.Config())


@pytest.mark.parametrize("asked", ENDPOINTS, ids=lambda asked: asked.path)
def test_every_answer_is_an_envelope(world: World, described: Any, asked: Endpoint) -> None:
    credentials = {name: value for name, value in world.request(asked).items() if name in CREDENTIALS}
    takes_nothing = asked.auth is Auth.NONE and not asked.form.slots  # so that no request to it is wrong
    for method in asked.methods:
        for mode in [GenerationMode.POSITIVE] if takes_nothing else GenerationMode:
            ask(world, described[asked.paths[0]][method], mode, credentials)
    assert world.node.faults.found == []
    assert world.node.running.server.fault_count == 0


def ask(world: World, operation: Any, mode: GenerationMode, credentials: Mapping[str, str]) -> None:
    """What fits the schema, or what does not; with credentials that are right, else nothing behind them is reached."""

    @SAME_IN_EVERY_RUN
    @given(operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        for part in (case.query, case.body):
            if isinstance(part, dict):
                part.update(credentials)
        check(operation, case.call(base_url=str(world.node.client.base_url)))

    one()


def check(operation: Any, answer: Any) -> None:
    envelope = answer.json()
    if answer.status_code == 200:
        operation.validate_response(answer)
        codes = {each["code"] for each in operation.definition.raw["x-status-codes"]}
        assert envelope.get("statusCode", 200) in codes, envelope
    else:
        assert answer.status_code in ROUTING, answer.status_code
        assert envelope["statusCode"] == answer.status_code
    assert envelope.get("statusCode") != Code.SERVER_EXCEPTION.number, envelope
