"""A client that a public generator makes of /openapi.json sends mails, in each type that a body may have."""

import asyncio
import importlib
import json
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.running import Served, serving

SILENT = "post_hooks: []\n"  # the generator formats nothing
NAME = "generated_client"  # of the package


async def generated(document: dict[str, Any], place: Path) -> list[str]:
    """What the generator said. The client is the package NAME in `place`."""
    (place / "openapi.json").write_text(json.dumps(document))
    (place / "config.yml").write_text(SILENT)
    tool = str(Path(sys.executable).with_name("openapi-python-client"))
    options = ("--path", "openapi.json", "--config", "config.yml", "--output-path", NAME, "--meta", "none", "--fail-on-warning")
    pipe, one = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    child = await asyncio.create_subprocess_exec(tool, "generate", *options, cwd=place, stdout=pipe, stderr=one)
    said, _ = await child.communicate()
    assert child.returncode == 0, said.decode()
    return said.decode().splitlines()


def module(name: str) -> ModuleType:
    return importlib.import_module(f"{NAME}.{name}")


@pytest.mark.slow
async def test_a_generated_client_sends_mails(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(data) as node:
        document = (await node.client.get("/openapi.json")).json()
        said = await generated(document, tmp_path)
        assert len(said) == 1, said  # nothing was left out
        monkeypatch.syspath_prepend(tmp_path)
        client = module("client").Client(base_url=document["servers"][0]["url"])
        for kind, more in (("form", {}), ("json", {}), ("multipart", {"attachments": [attachment()]})):
            envelope = await sent(node, client, kind, more)
            assert (envelope.result, envelope.status_code) == (True, 200), envelope
            assert envelope.info.additional_properties["emailIdList"]
        await node.settled()
        kept = (await node.client.get("/sandbox.json")).json()["messages"]
        assert {each["to"]: each["subject"] for each in kept} == {
            f"{kind}@example.net": f"By {kind}" for kind in ("form", "json", "multipart")
        }
        (with_file,) = [each for each in kept if each["to"] == "multipart@example.net"]
        found = (await node.client.get(f"/sandbox/{with_file['id']}.json")).json()
        assert [each["name"] for each in found["attachments"]] == ["bill.txt"]


async def sent(node: Served, client: Any, kind: str, more: dict[str, Any]) -> Any:
    """The envelope that answers a mail whose parameters go in a body of that kind."""
    model = getattr(module(f"models.mail_send_{kind}"), f"MailSend{kind.title()}")
    user = node.user("main.trigger")
    mail = {"from_": node.sender(), "subject": f"By {kind}", "to": f"{kind}@example.net", "html": "<p>Hello</p>"}
    body = model(api_user=user["apiUser"], api_key=user["apiKey"], **mail, **more)
    return await module("api.mail.mail_send").asyncio(client=client, body=body)


def attachment() -> Any:
    return module("types").File(payload=BytesIO(b"42 pieces"), file_name="bill.txt", mime_type="text/plain")
