"""A request that is right for each endpoint, and the objects in a node that it speaks of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aurorasend.api import ENDPOINTS
from aurorasend.endpoint import Auth, Endpoint
from aurorasend.portal import samples
from tests.running import Served

# Nothing leaves the node or happens by itself; nobody is probed, asked or counted.
QUIET = (
    "node.roles=api",
    "delivery.dns=127.0.0.1:1",
    "delivery.dns_timeout=0.05s",
    "webhook.probe=false",
    "limits.send_per_minute=1000000000",
    "limits.query_per_minute=1000000000",
    "sms.per_minute=1000000",
    "sms.per_day=1000000",
    "domain.per_account=100000",
    "tracking.per_account=100000",
)
USER = {Auth.API_USER: "main.trigger", Auth.SMS: "main.sms"}


@dataclass(frozen=True)
class World:
    """`special` are parameters that the examples of an endpoint do not have right, by its path."""

    node: Served
    special: Mapping[str, Mapping[str, str]]

    def request(self, asked: Endpoint) -> dict[str, str]:
        """All parameters, credentials included."""
        user = self.node.user(USER[asked.auth]) if asked.auth in USER else {}
        return {**samples.parameters(asked), **user, **self.special.get(asked.path, {})}

    async def make(self, path: str, who: str = "main.trigger", **fields: str) -> dict[str, Any]:
        """The object that is made by it. Raises AssertionError when none is."""
        envelope = await self.node.call(f"/{path}", self.node.user(who) | fields)
        assert envelope["result"], envelope
        info: dict[str, Any] = envelope["info"]
        made: dict[str, Any] = info.get("data", info)
        return made


async def build(node: Served) -> World:
    """One object of its own for each endpoint that changes or deletes it."""
    special: dict[str, dict[str, str]] = {}
    world = World(node, special)
    for part in (_mails, _labels, _templates, _lists, _domains, _users, _webhooks, _routes, _sms):
        special.update(await part(world))
    unknown = set(special) - {each.path for each in ENDPOINTS}
    assert not unknown, unknown
    return world


Special = dict[str, dict[str, str]]


async def _mails(world: World) -> Special:
    await _template(world, "welcome_1", submit="1")
    sender = {"from": world.node.sender()}
    sends = ("mail/send", "mail/sendtemplate", "mail/sendcalendar", "webapi/mail.send.json", "webapi/mail.send_template.json")
    await world.make("addresslist/add", address="task@maillist.example.com", name="Task")
    await world.make("addressmember/add", address="task@maillist.example.com", members="ann@example.com")
    listed = {"to": "task@maillist.example.com", "useAddressList": "true"}
    envelope = await world.node.send("main.batch", **listed)
    assert envelope["result"], envelope
    (task,) = envelope["info"]["maillistTaskId"]
    return {**dict.fromkeys(sends, sender), "mail/taskinfo": {**world.node.user("main.batch"), "maillistTaskId": str(task)}}


async def _labels(world: World) -> Special:
    made = {f"label/{action}": await world.make("label/add", labelName=action) for action in ("get", "update", "delete")}
    special = {path: {"labelId": str(label["labelId"])} for path, label in made.items()}
    special["label/update"]["labelName"] = "renamed"
    return special


async def _template(world: World, name: str, submit: str = "0") -> dict[str, str]:
    fields = {"invokeName": name, "name": name, "subject": "Hi", "html": "<p>Hi</p>", "templateType": "0"}
    await world.make("template/add", **fields, isSubmitAudit=submit)
    return {"invokeName": name}


async def _templates(world: World) -> Special:
    actions = ("get", "update", "delete", "submit")
    return {f"template/{action}": await _template(world, action) for action in actions} | {"template/add": {"invokeName": "add"}}


async def _lists(world: World) -> Special:
    actions = [f"addresslist/{action}" for action in ("update", "delete")]
    actions += [f"addressmember/{action}" for action in ("list", "get", "add", "update", "delete")]
    special = {}
    for path in actions:
        special[path] = {"address": f"{path.replace('/', '-')}@maillist.example.com"}
        await world.make("addresslist/add", name=path, **special[path])
        await world.make("addressmember/add", members="ann@example.com;bob@example.com", **special[path])
    special["addressmember/update"]["newMembers"] = "cy@example.com;di@example.com"
    return special


async def _domains(world: World) -> Special:
    special = {}
    for action in ("get", "update", "checkConfig", "verify", "dkim/update", "delete"):
        name = f"{action.replace('/', '-').lower()}.example.com"
        await world.make("domain/add", name=name)
        special[f"domain/{action}"] = {"name": name}
    for action in ("update", "checkConfig", "delete"):
        made = await world.make("trackDomain/add", name=f"t-{action.lower()}.example.com")
        special[f"trackDomain/{action}"] = {"id": str(made["id"])}
    return special


async def _users(world: World) -> Special:
    domain = world.node.accounts["main"]["domain"]
    special = {"apiuser/add": {"domainName": domain}, "apiuser/create": {"name": "created", "domainName": domain}}
    for action in ("get", "update", "delete", "reset"):
        await world.make("apiuser/add", name=f"user{action}", emailType="0", domainName=domain)
        special[f"apiuser/{action}"] = {"name": f"user{action}"}
    return special


async def _webhooks(world: World) -> Special:
    special = {}
    for action in ("get", "update", "delete"):
        special[f"webhook/{action}"] = {"url": f"https://{action}.example.com/sc"}
        events = "1,3" if action == "delete" else "1,11"
        await world.make("webhook/add", categoryName="all", event=events, **special[f"webhook/{action}"])
    special["webhook/update"]["newEvent"] = "1"
    special["webhook/delete"]["event"] = "1,3"  # the updates without a URL change all of 1,11
    return special


async def _routes(world: World) -> Special:
    domain = world.node.accounts["main"]["domain"]
    special = {"route/add": {"expression": f"*@{domain}"}}
    for action in ("get", "update", "delete"):
        fields = {"expression": f"{action}@{domain}", "action": "https://hooks.example.com/in"}
        made = await world.make("route/add", **fields)
        special[f"route/{action}"] = {**(fields if action == "update" else {}), "routeId": str(made["id"])}
    return special


async def _sms(world: World) -> Special:
    special = {}
    for action in ("submitsms", "updatesms", "deletesms"):
        fields = {"templateName": action, "templateText": "Your code is %code%", "smsTypeStr": "0"}
        made = await world.make("smsapi/addsms", "main.sms", **fields)
        special[f"smsapi/{action}"] = {"templateIdStr": str(made["templateId"])}
    special["smsapi/updatesms"]["templateName"] = "changed"
    return special
