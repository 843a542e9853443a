"""Accounts as configuration names them: which files hold the credentials, and where they are used."""

from __future__ import annotations

from dataclasses import dataclass, field

from pushrpc.words import Environment


@dataclass(frozen=True, slots=True)
class ApnsAccount:
    """One bundle id's credentials: a token key (`key_file`, `key_id`, `team_id`) or a certificate, never both."""

    app_id: str
    topic: str
    environment: Environment = Environment.PRODUCTION
    key_file: str = ""
    key_id: str = ""
    team_id: str = ""
    cert_file: str = ""
    cert_key_file: str = ""
    endpoint: str = ""
    ca_file: str = ""
    table: str = field(default="", compare=False)  # where it stands in the configuration, for messages


@dataclass(frozen=True, slots=True)
class FcmAccount:
    """One Firebase project's service account; the project id comes from the file."""

    app_id: str
    service_account_file: str
    endpoint: str = ""
    ca_file: str = ""
    table: str = field(default="", compare=False)  # where it stands in the configuration, for messages


@dataclass(frozen=True, slots=True)
class WnsAccount:
    """One Windows app. With `tenant_id` the credential is Microsoft Entra's, without it Partner Center's."""

    app_id: str
    client_id: str
    client_secret_file: str
    tenant_id: str = ""
    endpoint: str = ""
    ca_file: str = ""
    table: str = field(default="", compare=False)  # where it stands in the configuration, for messages


@dataclass(frozen=True, slots=True)
class WebPushAccount:
    """One VAPID key. `hosts` are push services beside the known ones: names, ".domain" for all below, "*" for any."""

    app_id: str
    vapid_key_file: str
    subject: str
    hosts: tuple[str, ...] = ()
    endpoint: str = ""
    ca_file: str = ""
    table: str = field(default="", compare=False)  # where it stands in the configuration, for messages


@dataclass(frozen=True, slots=True)
class HmsAccount:
    """One app of Huawei's; `hms_app_id` is its id there."""

    app_id: str
    hms_app_id: str
    client_secret_file: str
    endpoint: str = ""
    ca_file: str = ""
    table: str = field(default="", compare=False)  # where it stands in the configuration, for messages


@dataclass(frozen=True, slots=True)
class HubAccount:
    """One Azure Notification Hub. The file holds the connection string with a key that may send."""

    app_id: str
    connection_string_file: str
    hub: str
    endpoint: str = ""
    ca_file: str = ""
    table: str = field(default="", compare=False)  # where it stands in the configuration, for messages


Account = ApnsAccount | FcmAccount | WnsAccount | WebPushAccount | HmsAccount | HubAccount
