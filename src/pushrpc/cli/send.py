"""pushrpc send: one notification from the command line, and what became of every token."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration
from rich.text import Text

from pushrpc.cli.caller import (
    CALL_TIMEOUT_S,
    HUB_PLATFORMS,
    Pair,
    ProviderToken,
    Span,
    Subscription,
    Target,
    app_option,
    calls_server,
    json_option,
    pairs,
    service,
)
from pushrpc.cli.screen import (
    console,
    is_terminal,
    name_of,
    print_json,
    print_line,
    print_table,
    program,
    short,
    state_text,
)
from pushrpc.v1 import enums_pb2, sending_pb2
from pushrpc.words import Cause, HubPlatform, Priority, Provider, RejectReason

PRIORITIES = [p.name.lower() for p in Priority if p]


@click.command(
    short_help="Send one notification.",
    epilog="Exit code 0: every target was accepted and, as far as --wait saw, SENT. 1: something was not.",
)
@calls_server
@app_option
@click.option("--token", "tokens", type=ProviderToken(), multiple=True, help="A raw token. May be repeated.")
@click.option("--hub-platform", type=click.Choice(HUB_PLATFORMS),
              help="Whose handles or tags those of notification_hubs are.")  # fmt: skip
@click.option("--subscription", "subscriptions", type=Subscription(), multiple=True,
              help="A browser's, or @FILE with it. May be repeated.")  # fmt: skip
@click.option("--topic", "topics", type=ProviderToken(), multiple=True, metavar="PROVIDER:TOPIC",
              help="Whoever subscribed to a provider's topic. May be repeated.")  # fmt: skip
@click.option("--tags", "tag_expressions", multiple=True, metavar="EXPRESSION",
              help='Whoever has such tags at the hub: "news && !quiet". May be repeated.')  # fmt: skip
@click.option("--user", "users", multiple=True, metavar="ID", help="Every device of a user. May be repeated.")
@click.option("--device", "devices", multiple=True, metavar="ID", help="A registered device. May be repeated.")
@click.option("--title", default="", help="What the person sees first.")
@click.option("--body", default="", help="What the person reads.")
@click.option("--data", type=Pair(), multiple=True, help="An entry for the app. May be repeated.")
@click.option("--badge", type=int, help="Number on the icon; 0 clears it.")
@click.option("--sound", default="", help='"default" or a sound of the app.')
@click.option("--silent", is_flag=True, help="Wake the app and show nothing.")
@click.option("--ttl", type=Span(), help="How long it is worth delivering.  [default: 24h]")
@click.option("--priority", type=click.Choice(PRIORITIES), help="How soon.  [default: high if visible]")
@click.option("--collapse-key", default="", metavar="KEY", help="A newer one with this key replaces an older one.")
@click.option("--label", "labels", type=Pair(), multiple=True, help="For following and listing. May be repeated.")
@click.option("--request-id", default="", metavar="ID", help="Makes a repeat of this command safe.")
@click.option("--truncate", is_flag=True, help="Cut the body where a provider's limit asks for it.")
@click.option("--dry-run", is_flag=True, help="Check everything, send nothing.")
@click.option("--wait", type=Span(), default="5s", show_default=True, help="Wait so long for the end; 0 does not wait.")
@json_option
def send(target: Target, as_json: bool, **options: Any) -> None:
    """Send one notification and print what became of every token.

    \b
    Examples:
      pushrpc send --app shop --user u-7 --title "Order shipped" --body "It is on its way"
      pushrpc send --app shop --token apns:00fc13…de8f0 --title Hello --data order_id=1234
      pushrpc send --app shop --token notification_hubs:00fc13…de8f0 --hub-platform apns --title Hello
      pushrpc send --app shop --device d-1 --silent --data sync=now --ttl 15m --wait 0
    """
    if not any(options[name] for name in ("tokens", "subscriptions", "topics", "tag_expressions", "users", "devices")):
        raise click.UsageError("say who gets it, with --token, --subscription, --topic, --tags, --user or --device")
    at_hub = options["tag_expressions"] or any(p is Provider.NOTIFICATION_HUBS for p, _ in options["tokens"])
    if options["hub_platform"] and not at_hub:
        raise click.UsageError("--hub-platform goes with --tags or --token notification_hubs:HANDLE")
    request = _request(**options)
    timeout_s = CALL_TIMEOUT_S + request.wait.ToTimedelta().total_seconds()
    with service(target) as push:
        response = push.SendNotification(request, timeout=timeout_s)
    if as_json:
        print_json(response)
    else:
        print_receipt(response)
        if response.notification_id and not response.complete and response.target_count and is_terminal():
            follow = f"{program()} watch --app {request.app_id} --notification {response.notification_id}"
            console().print(f"[dim]Not final yet. Follow it: {follow}[/dim]", soft_wrap=True)
    unhappy = any(d.final and d.state != enums_pb2.DELIVERY_STATE_SENT for d in response.statuses)
    raise click.exceptions.Exit(1 if response.rejected or unhappy else 0)


def _request(**options: Any) -> sending_pb2.SendNotificationRequest:
    by_provider: dict[Provider, list[str]] = defaultdict(list)
    for provider, token in options["tokens"]:
        by_provider[provider].append(token)
    message = sending_pb2.NotificationContent(
        title=options["title"],
        body=options["body"],
        data=pairs(options["data"]),
        sound=options["sound"],
        silent=options["silent"],
        badge=options["badge"],
    )
    how = sending_pb2.SendOptions(collapse_key=options["collapse_key"], labels=pairs(options["labels"]))
    how.truncate, how.dry_run = options["truncate"], options["dry_run"]
    if options["ttl"] is not None:
        how.ttl.CopyFrom(options["ttl"])
    if options["priority"]:
        how.priority = enums_pb2.Priority.ValueType(Priority[options["priority"].upper()])
    wait: Duration = options["wait"]
    to_browsers = sending_pb2.TokenTarget(provider=enums_pb2.PROVIDER_WEB_PUSH, subscriptions=options["subscriptions"])
    hub: dict[str, Any] = {"provider": enums_pb2.PROVIDER_NOTIFICATION_HUBS}
    if options["hub_platform"]:
        hub["hub_platform"] = enums_pb2.HubPlatform.ValueType(HubPlatform[options["hub_platform"].upper()])
    to_handles = sending_pb2.TokenTarget(**hub, tokens=by_provider.pop(Provider.NOTIFICATION_HUBS, ()))
    return sending_pb2.SendNotificationRequest(
        app_id=options["app_id"],
        request_id=options["request_id"],
        target=sending_pb2.Target(
            tokens=[
                sending_pb2.TokenTarget(provider=enums_pb2.Provider.ValueType(provider), tokens=tokens)
                for provider, tokens in by_provider.items()
            ]
            + [each for each in (to_handles, to_browsers) if each.tokens or each.subscriptions],
            provider_audiences=[
                sending_pb2.ProviderAudience(provider=enums_pb2.Provider.ValueType(provider), topic=topic)
                for provider, topic in options["topics"]
            ]
            + [sending_pb2.ProviderAudience(**hub, tag_expression=each) for each in options["tag_expressions"]],
            device_ids=options["devices"],
            user_ids=options["users"],
        ),
        message=message,
        options=how,
        wait=wait if wait.ToMilliseconds() and not options["dry_run"] else None,
    )


def print_receipt(response: sending_pb2.SendNotificationResponse) -> None:
    """What a send was answered: its receipt, every status and every rejection."""
    if response.notification_id:
        receipt = f"notification {response.notification_id}: {response.target_count} accepted"
    else:
        receipt = f"dry run: {response.target_count} would be accepted"
    if response.duplicate_count:
        receipt += f", {response.duplicate_count} duplicates left out"
    if response.replayed:
        receipt += ", a replay: nothing new was made"
    print_line(receipt)
    if response.truncated_providers:
        names = ", ".join(name_of(Provider, provider) for provider in response.truncated_providers)
        print_line(f"the body is cut to fit for {names}")
    if response.statuses:
        print_table(
            ["Provider", "Target", "State", "Tries", "Reason"],
            [
                [
                    name_of(Provider, d.provider),
                    short(d.device_id or d.token) if is_terminal() else d.device_id or short(d.token),
                    state_text(d.state),
                    str(d.attempt),
                    d.reason or name_of(Cause, d.cause),
                ]
                for d in response.statuses
            ],
        )
    if response.rejected:
        print_table(
            ["Rejected", "Reason", "What to do"],
            [[r.path, Text(name_of(RejectReason, r.reason), style="red"), r.detail] for r in response.rejected],
        )
