"""`entrepot schedule`: what is done in the background, and when."""

import json
from typing import Annotated, Any

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    fail,
    row,
    seconds,
    show_one,
    show_views,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

app = typer.Typer(
    name="schedule",
    help="What is done in the background, and when: once per cluster, also after a restart.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as nightly.")]
TimezoneOption = Annotated[
    str,
    typer.Option(metavar="ZONE", help="Whose clocks count: a name of the IANA database, or UTC."),
]
JitterOption = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="Begin later by chance, by as much as this: 10m. At most 24h."
    ),
]


@app.command("list")
def list_schedules(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List every schedule with its next time."""
    from entrepot.api.v1 import work

    found = Place(config, url, token).every(work.list_schedules)
    show_views(found, output=output, short=_short)


@app.command("set")
def set_schedule(
    name: NameArgument,
    *,
    kind: Annotated[str, typer.Option(metavar="KIND", help="What is to be done.")],
    cron: Annotated[
        str,
        typer.Option(
            metavar="LINE",
            help="When: minute, hour, day of the month, month, day of the week, such as "
            "'30 3 * * mon-fri'; or @hourly, @daily, @weekly, @monthly, @yearly.",
        ),
    ],
    timezone: TimezoneOption = "UTC",
    jitter: JitterOption = "0",
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="What the kind takes; may be given again."),
    ] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Don't let it run yet.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a schedule, or change the one of this name."""
    from entrepot.api.v1.forms_work import ScheduleMake
    from entrepot.api.v1.work import set_schedule

    body = ScheduleMake(
        kind=kind,
        cron=cron,
        timezone=timezone,
        jitter=seconds(jitter) or 0,
        settings=dict(map(_setting, setting or [])),
        enabled=not disabled,
    )
    show_one(row(Place(config, url, token).do(set_schedule, name, body)), output=output)


@app.command()
def remove(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Remove a schedule. What it has begun goes on."""
    from entrepot.api.v1 import work

    Place(config, url, token).do(work.remove_schedule, name)
    typer.echo(f"schedule {name} is removed")


@app.command()
def enable(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Let a schedule run, from its next time on."""
    _switch(Place(config, url, token), name, output, enabled=True)


@app.command()
def disable(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Don't let a schedule run until it is enabled again."""
    _switch(Place(config, url, token), name, output, enabled=False)


def _switch(place: Place, name: str, output: Form, *, enabled: bool) -> None:
    from entrepot.api.v1.forms_work import ScheduleChange
    from entrepot.api.v1.work import change_schedule

    body = ScheduleChange(enabled=enabled)
    show_one(row(place.do(change_schedule, name, body)), output=output)


def _setting(text: str) -> tuple[str, Any]:
    """Return the name and the value of a setting: a number, true, false, or text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        fail(f"{text!r} is no setting: write KEY=VALUE")
    try:
        found = json.loads(value)
    except ValueError:
        return name, value
    return name, value if isinstance(found, dict | list) else found


def _short(schedule: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "kind", "cron", "timezone", "next_at", "last_at", "settings")
    return {name: schedule[name] for name in names}
