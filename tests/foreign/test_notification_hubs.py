"""@azure/notification-hubs, Microsoft's own client for Node.js, takes the emulator for Azure."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import aiohttp
import pytest
from yarl import URL

from pushrpc.emulator import Emulator, apns_tokens, issue_hub
from tests.foreign import npm_program

SOURCE = Path(__file__).parent / "node_notification_hubs"
HUB = "shop-hub"
APPLE = {"make": "createAppleNotification", "of": {"body": '{"aps":{"alert":"Order shipped"}}'}}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_program.install(SOURCE, tmp_path_factory.mktemp("npm"))


class Client:
    def __init__(self, program: Path, emulator: Emulator, connection_string: str) -> None:
        self._program, self._emulator = program, emulator
        self.connection_string = connection_string

    async def call(self, *calls: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Each call is the method's name and its arguments."""
        lines = [json.dumps({"call": name, "arguments": values}) for name, *values in calls]
        arguments = (self.connection_string, HUB, self._emulator.ca_file)
        return await npm_program.run(self._program, "\n".join(lines), *arguments)

    async def results(self, *calls: tuple[Any, ...]) -> list[Any]:
        answers = await self.call(*calls)
        assert not [answer for answer in answers if "error" in answer]
        return [answer["result"] for answer in answers]


@pytest.fixture
def client(program: Path, emulator: Emulator, tmp_path: Path) -> Client:
    path = issue_hub(emulator.notification_hubs, tmp_path, emulator.endpoints["notification_hubs"], hub=HUB)
    return Client(program, emulator, path.read_text().strip())


def installation(installation_id: str, **more: Any) -> dict[str, Any]:
    return {"installationId": installation_id, "platform": "apns", "pushChannel": f"token-{installation_id}", **more}


async def test_direct_sends(emulator: Emulator, client: Client) -> None:
    token, *many = apns_tokens(300)
    toast = {"make": "createWindowsToastNotification", "of": {"body": "<toast/>"}}
    browser = {"make": "createBrowserNotification", "of": {"body": {"title": "t"}}}
    fcm = {"make": "createFcmV1Notification", "of": {"body": {"message": {"data": {"a": "b"}}}}}
    keys = {"endpoint": "https://push.example/1", "p256dh": "k", "auth": "a"}
    results = await client.results(
        ("sendNotification", APPLE, {"deviceHandle": token}),
        ("sendNotification", APPLE, {"deviceHandle": many}),
        ("sendNotification", toast, {"deviceHandle": "https://a.notify.windows.com/?token=x"}),
        ("sendNotification", browser, {"deviceHandle": keys}),
        ("sendNotification", fcm, {"deviceHandle": "f:token"}),
    )
    assert [result["state"] for result in results] == ["Enqueued"] * 5
    assert all(result["trackingId"] for result in results)
    ids = [result["notificationId"] for result in results]
    entries = list(emulator.journal.entries("notification_hubs"))
    assert [entry.message_id for entry in entries] == [ids[0], *[ids[1]] * 299, *ids[2:]]
    reached = [token, *many, "https://a.notify.windows.com/?token=x", "https://push.example/1", "f:token"]
    assert [entry.token for entry in entries] == reached
    assert entries[0].payload == b'{"aps":{"alert":"Order shipped"}}'


async def test_an_installation_is_created_read_changed_and_deleted(client: Client) -> None:
    tagged = {"make": "createAppleInstallation", "of": installation("i-1", tags=["news"], userId="bob@contoso.com")}
    change = [{"op": "add", "path": "/tags", "value": "sports"}]
    written, read, changed, again, deleted, gone = await client.call(
        ("createOrUpdateInstallation", tagged),
        ("getInstallation", "i-1"),
        ("updateInstallation", "i-1", change),
        ("getInstallation", "i-1"),
        ("deleteInstallation", "i-1"),
        ("getInstallation", "i-1"),
    )
    assert not [answer for answer in (written, read, changed, again, deleted) if "error" in answer]
    assert read["result"].items() >= installation("i-1", tags=["news"], userId="bob@contoso.com").items()
    assert again["result"]["tags"] == ["news", "sports"]
    assert gone["status"] == 404 and "does not exist" in gone["error"]


async def test_tags_templates_and_broadcasts(emulator: Emulator, client: Client) -> None:
    template = {"templates": {"hello": {"body": '{"aps":{"alert":"$(greeting)"}}', "headers": {}}}}
    hello = {"make": "createTemplateNotification", "of": {"body": {"greeting": "Ahoi"}}}
    *_, tagged, one, everyone, templated = await client.results(
        *(("createOrUpdateInstallation", installation(n, tags=["news", n])) for n in ("a", "b")),
        ("createOrUpdateInstallation", installation("c", tags=["news"], **template)),
        ("sendNotification", APPLE, {"tagExpression": "news && !b"}),
        ("sendNotification", APPLE, {"tagExpression": "$InstallationId:{b}"}),
        ("sendBroadcastNotification", APPLE),
        ("sendNotification", hello, {"tagExpression": "news"}),
    )
    reached: dict[str, list[str]] = {}
    for entry in emulator.journal.entries("notification_hubs"):
        reached.setdefault(entry.message_id, []).append(entry.token)
    assert reached == {
        tagged["notificationId"]: ["token-a", "token-c"],
        one["notificationId"]: ["token-b"],
        everyone["notificationId"]: ["token-a", "token-b", "token-c"],
        templated["notificationId"]: ["token-c"],
    }
    *_, last = emulator.journal.entries("notification_hubs")
    assert last.payload == b'{"aps":{"alert":"Ahoi"}}'


async def test_a_test_send_tells_at_once(emulator: Emulator, client: Client) -> None:
    emulator.set_tokens("notification_hubs", ["token-b"], state="expired")
    *_, told = await client.results(
        *(("createOrUpdateInstallation", installation(n, tags=["news"])) for n in ("a", "b")),
        ("sendNotification", APPLE, {"tagExpression": "news", "enableTestSend": True}),
    )
    assert (told["state"], told["successCount"], told["failureCount"]) == ("DetailedStateAvailable", 1, 1)
    assert [(each["pnsHandle"], each["outcome"]) for each in told["results"]] == [
        ("token-a", "Success"),
        ("token-b", "ExpiredChannel"),
    ]


async def test_telemetry(emulator: Emulator, client: Client) -> None:
    live, dead = apns_tokens(2)
    emulator.set_tokens("notification_hubs", [dead], state="unregistered")
    sent, nobody = await client.results(
        ("sendNotification", APPLE, {"deviceHandle": [live, dead]}),
        ("sendNotification", APPLE, {"tagExpression": "nobody"}),
    )
    emulator.clock.advance(10)
    told, none = await client.results(
        ("getNotificationOutcomeDetails", sent["notificationId"]),
        ("getNotificationOutcomeDetails", nobody["notificationId"]),
    )
    assert (told["state"], told["notificationId"], told["targetPlatforms"]) == (
        "Completed",
        sent["notificationId"],
        "apple",
    )
    assert told["apnsOutcomeCounts"] == [{"state": "Success", "count": 1}, {"state": "BadChannel", "count": 1}]
    assert none["state"] == "NoTargetFound"


async def test_feedback(emulator: Emulator, client: Client) -> None:
    _, dead = tokens = apns_tokens(2)
    emulator.set_tokens("apns", [dead], state="unregistered")
    await client.results(("sendNotification", APPLE, {"deviceHandle": tokens}))
    emulator.clock.advance(10)
    (address,) = await client.results(("getFeedbackContainerUrl",))
    context = ssl.create_default_context(cafile=str(emulator.ca_file))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with session.get(URL(address + "&restype=container&comp=list", encoded=True)) as answer:
            (blob,) = fromstring(await answer.text()).iter("Name")
        path, _, signature = address.partition("?")
        async with session.get(URL(f"{path}/{blob.text}?{signature}", encoded=True)) as answer:
            (line,) = (await answer.text()).splitlines()
    assert f"<PnsHandle>{dead}</PnsHandle>" in line and "<NotificationSystemError>BadChannel<" in line
    assert emulator.journal.accepted_by_token("apns_by_hub") == {tokens[0]: 1}
    assert emulator.journal.counts("apns").accepted == 0


async def test_refusals_are_understood(emulator: Emulator, client: Client) -> None:
    emulator.notification_hubs.per_hub.per_minute = 1
    sends = [("sendNotification", APPLE, {"tagExpression": tags}) for tags in ("a &&", "a")]
    malformed, throttled = await client.call(*sends)
    assert malformed["status"] == 400 and "tag expression" in malformed["error"]
    assert throttled["status"] == 403 and "quota" in throttled["error"]
    client.connection_string = client.connection_string[:-4] + "AAA="
    (forged,) = await client.call(sends[0])
    assert forged["status"] == 401 and "InvalidSignature" in forged["error"]
    assert emulator.journal.counts("notification_hubs").accepted == 0
