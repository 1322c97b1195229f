"""The command `aurorasend`: reads the command line and calls the functions that do the work.

Addresses given by flags are written to DATA/aurorasend.toml, where `bootstrap` and the next start read them.
Answers go to standard output, everything else to standard error; a wrong setting ends with status 2.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from aurorasend import bootstrap as bootstrapping
from aurorasend import operate
from aurorasend.account import MAILS_MOST, OPTIONS
from aurorasend.codes import Unavailable
from aurorasend.config import Settings, WrongSetting, load, remember
from aurorasend.explain import UnknownId

ADDRESSES = ("http.listen", "smtp.listen")


class WrongSettingError(click.ClickException):
    exit_code = 2


def data_option(command: click.decorators.FC) -> click.decorators.FC:
    directory = click.Path(file_okay=False, path_type=Path)
    words = "Directory of the settings, keys and store."
    return click.option("--data", type=directory, default=Path("data"), show_default=True, envvar="AURORASEND_DATA", help=words)(
        command
    )


def set_option(command: click.decorators.FC) -> click.decorators.FC:
    words = "A setting; see docs/settings.md. Repeatable."
    return click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help=words)(command)


def settings_of(data: Path, assignments: Sequence[str] = (), flags: Mapping[str, str] | None = None) -> Settings:
    """The settings, with the addresses among `flags` remembered for later commands."""
    try:
        settings = load(data, assignments=assignments, flags=flags)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        remember(data, {key: text for key, text in (flags or {}).items() if key in ADDRESSES})
    except WrongSetting as wrong:
        raise WrongSettingError(str(wrong)) from None
    except OSError as error:
        raise WrongSettingError(f"The data directory {data} cannot be used: {error.strerror}.") from None
    return settings


@contextlib.contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """What an operator can put right ends with its sentence and status 1; everything else is a bug and shows its trace."""
    try:
        yield
    except (operate.Impossible, UnknownId) as trouble:
        raise click.ClickException(str(trouble)) from None
    except (Unavailable, OSError) as trouble:
        raise click.ClickException(f"The store cannot be used: {trouble}") from None


def show(answer: object) -> None:
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aurorasend")
def main() -> None:
    """An email and SMS sending platform that speaks AuroraSendCloud's API."""


@main.command()
@data_option
@set_option
@click.option("--http", multiple=True, metavar="[REGION=]HOST:PORT", help="Where the HTTP API listens; remembered. Repeatable.")
@click.option("--smtp", metavar="HOST:PORT", help="Where SMTP will listen; remembered. Nothing listens there yet.")
@click.option("--roles", metavar="ROLE,ROLE", help="What this node does.")
@click.option("--workers", type=int, metavar="N", help="Processes to start.")
def serve(
    data: Path, assignments: Sequence[str], http: Sequence[str], smtp: str | None, roles: str | None, workers: int | None
) -> None:
    """Run a node until it is told to stop (SIGTERM, SIGINT)."""
    given = {"http.listen": ",".join(http), "smtp.listen": smtp, "node.roles": roles, "node.workers": workers}
    settings = settings_of(data, assignments, {key: str(value) for key, value in given.items() if value not in ("", None)})
    if settings.smtp.listen:
        click.echo(f"Nothing listens at {settings.smtp.listen} yet: this version takes mail by HTTP only.", err=True)
    from aurorasend import app  # late: the other commands start faster without the server

    app.serve(settings)


@main.command()
@set_option
@click.option("--http", multiple=True, metavar="[REGION=]HOST:PORT", help="Where the HTTP API listens. Repeatable.")
def dev(assignments: Sequence[str], http: Sequence[str]) -> None:
    """Run a node on temporary data, with a simulated internet whose recipients choose their fate."""
    from aurorasend import app

    with tempfile.TemporaryDirectory(prefix="aurorasend-") as data:
        app.develop(settings_of(Path(data), assignments, {"http.listen": ",".join(http)} if http else None))


@main.command()
@data_option
@set_option
@click.option("--json", is_flag=True, expose_value=False, help="Print JSON, which is the only form yet.")
@click.option("--sink-smtp", type=int, metavar="PORT", help="Port where the tests take mail.")
@click.option("--sink-http", type=int, metavar="PORT", help="Port where the tests take webhooks.")
def bootstrap(data: Path, assignments: Sequence[str], sink_smtp: int | None, sink_http: int | None) -> None:
    """Make the accounts for development and tests, once, and print them with their keys."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(bootstrapping.run(settings, sink_smtp, sink_http))


@main.command()
@data_option
@set_option
@click.argument("id")
def explain(data: Path, assignments: Sequence[str], id: str) -> None:
    """Print the whole life of a message, by its emailId, messageId or smsId."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        click.echo("\n".join(operate.life_of(settings, id)))


@main.command()
@data_option
@set_option
@click.option("--release", is_flag=True, help="Have what is parked tried again: a mail that was sent already is sent twice.")
def queue(data: Path, assignments: Sequence[str], release: bool) -> None:
    """Print how much waits, by lane. Parked is what a fault of this system, which the log tells, keeps from being tried
    or recorded."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        if release:
            click.echo(f"{operate.release_parked(settings)} entries released", err=True)
        show(operate.queue_depth(settings))


@main.command()
@data_option
@set_option
def migrate(data: Path, assignments: Sequence[str]) -> None:
    """Bring the store to this version; `serve` does it too."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.bring_up_to_date(settings)


@main.group()
def account() -> None:
    """Accounts."""


@account.command("list")
@data_option
@set_option
def list_accounts(data: Path, assignments: Sequence[str]) -> None:
    """Print all accounts."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(operate.list_accounts(settings))


@account.command("add")
@data_option
@set_option
@click.option("--region", help="Region of the account; region.default if not given.")
@click.option("--domain", required=True, help="Its sending domain, which its mail is signed for.")
@click.argument("name")
def add_account(data: Path, assignments: Sequence[str], region: str | None, domain: str, name: str) -> None:
    """Make an account and print its keys, which cannot be shown again, and the DNS record of its domain."""
    settings = settings_of(data, assignments)
    if region is not None and region not in settings.region.names:
        raise click.BadParameter(f"{region} is none of {', '.join(settings.region.names)}", param_hint="--region")
    with told_in_a_sentence():
        show(operate.add_account(settings, name, region or settings.region.default, domain))


def _of_options() -> str:
    """The words of `set` on what can be set; click leaves lines after \b as they are."""
    width = max(len(one.name) for one in OPTIONS)
    lines = [f"{one.name:{width}}  {one.doc}: {one.form}" for one in OPTIONS]
    first = "Change switches, limits and the owner of an account; a running server follows within a second."
    return "\n".join([first, "", "\b", *lines])


@account.command("set", help=_of_options())
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("changes", nargs=-1, required=True, metavar="NAME=VALUE...")
def set_account(data: Path, assignments: Sequence[str], account_id: int, changes: Sequence[str]) -> None:
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.set_account_options(settings, account_id, changes)
        show(operate.account_options(settings, account_id))


@account.command("show")
@data_option
@set_option
@click.argument("account_id", type=int)
def show_account(data: Path, assignments: Sequence[str], account_id: int) -> None:
    """Print the switches, limits and lists of an account; null is where the setting decides."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(operate.account_options(settings, account_id))


@account.command("credit")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("mails", type=click.IntRange(1, MAILS_MOST))
def credit_account(data: Path, assignments: Sequence[str], account_id: int, mails: int) -> None:
    """Add MAILS to the balance of an account, and print it. It is used up while the account's check_balance is on."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show({"id": account_id, "balance": operate.add_balance(settings, account_id, mails)})


@account.command("unsubscribe-covers")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("api_user")
@click.argument("others", nargs=-1, metavar="[OTHER]...")
def set_unsubscribe_covers(data: Path, assignments: Sequence[str], account_id: int, api_user: str, others: Sequence[str]) -> None:
    """Have who unsubscribes from API_USER not be mailed by the OTHERs either, instead of those named before.

    It counts while the account's unsubscribe_scope is 3.
    """
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.set_unsubscribe_covers(settings, account_id, api_user, others)


@account.command("allow-from")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("entries", nargs=-1, metavar="[ENTRY]...")
def set_allowed_sources(data: Path, assignments: Sequence[str], account_id: int, entries: Sequence[str]) -> None:
    """Have mail of the account taken from these addresses only, instead of those named before: each ENTRY is an address, a
    range FIRST-LAST, or a network ADDRESS/BITS.

    It counts while the account's ip_filter is on; a running server follows within a second.
    """
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.set_allowed_sources(settings, account_id, entries)


@account.command("test-recipients")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
def set_test_recipients(data: Path, assignments: Sequence[str], account_id: int, addresses: Sequence[str]) -> None:
    """Have the account's test user mail these addresses, and no other."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.set_test_recipients(settings, account_id, addresses)


@account.command("quiet-hours")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("api_user")
@click.argument("hours", metavar="HH:MM-HH:MM|off")
def set_quiet_hours(data: Path, assignments: Sequence[str], account_id: int, api_user: str, hours: str) -> None:
    """Have mail of API_USER wait in these hours of each day, past midnight too, in the zone of api.zone_hours.

    It is accepted meanwhile, and sent when they end; how long it is tried goes on. A running server follows within a minute;
    mail that waits for the end of other hours does so until then.
    """
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.set_quiet_hours(settings, account_id, api_user, hours)


@account.command("ips")
@data_option
@set_option
@click.argument("account_id", type=int)
def show_sources(data: Path, assignments: Sequence[str], account_id: int) -> None:
    """Print the addresses that sent mail for the account in the last 30 days, the latest first: when last, and how often
    allow-from refused them.

    null stands for further addresses, where there were very many. A running server tells of a send within ten seconds.
    """
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(operate.account_sources(settings, account_id))


@main.group()
def domain() -> None:
    """Sending domains."""


@domain.command("list")
@data_option
@set_option
@click.argument("account_id", type=int)
def list_domains(data: Path, assignments: Sequence[str], account_id: int) -> None:
    """Print the domains of an account."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(operate.list_domains(settings, account_id))


@domain.command("add")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("name")
def add_domain(data: Path, assignments: Sequence[str], account_id: int, name: str) -> None:
    """Add a sending domain to an account and print the DNS record of its key."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(operate.add_domain(settings, account_id, name))


@domain.command("fixed-from")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("name")
@click.argument("switch", type=click.Choice(["on", "off"]))
def fix_from(data: Path, assignments: Sequence[str], account_id: int, name: str, switch: str) -> None:
    """Put From of all mail from a domain at that domain, its local part kept: no "on behalf of". When it is off, that is done
    only where DNS has DMARC for the domain."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.fix_from(settings, account_id, name, fixed=switch == "on")


@domain.command("mail-from")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("name")
@click.argument("local")
def fix_mail_from(data: Path, assignments: Sequence[str], account_id: int, name: str, local: str) -> None:
    """Give all mail from a domain the envelope sender LOCAL@NAME. `random`: one of each mail's own again, which says, signed,
    whose mail it is."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.fix_mail_from(settings, account_id, name, "" if local == "random" else local)


@main.group()
def template() -> None:
    """Email templates: the audit, where it is manual."""


@template.command("waiting")
@data_option
@set_option
def waiting_templates(data: Path, assignments: Sequence[str]) -> None:
    """Print the templates that wait for audit."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(operate.waiting_templates(settings))


@template.command("show")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("invoke_name")
def show_template(data: Path, assignments: Sequence[str], account_id: int, invoke_name: str) -> None:
    """Print all of a template."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        show(operate.template_of(settings, account_id, invoke_name))


@template.command("approve")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("invoke_name")
def approve_template(data: Path, assignments: Sequence[str], account_id: int, invoke_name: str) -> None:
    """Approve a template that waits for audit; from now on it can be sent."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.judge_template(settings, account_id, invoke_name, approve=True)


@template.command("reject")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("invoke_name")
def reject_template(data: Path, assignments: Sequence[str], account_id: int, invoke_name: str) -> None:
    """Refuse a template that waits for audit."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.judge_template(settings, account_id, invoke_name, approve=False)


@main.group("list-send")
def list_send() -> None:
    """Sends to address lists, by account and the number that the API calls maillistTaskId."""


@list_send.command("pause")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("send_id", type=int)
def pause_list_send(data: Path, assignments: Sequence[str], account_id: int, send_id: int) -> None:
    """Make no further mails of it; those already made go out."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.pause_list_send(settings, account_id, send_id, pause=True)


@list_send.command("resume")
@data_option
@set_option
@click.argument("account_id", type=int)
@click.argument("send_id", type=int)
def resume_list_send(data: Path, assignments: Sequence[str], account_id: int, send_id: int) -> None:
    """Go on where it was paused."""
    settings = settings_of(data, assignments)
    with told_in_a_sentence():
        operate.pause_list_send(settings, account_id, send_id, pause=False)
