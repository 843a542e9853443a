"""The apps of this server and their provider accounts, as configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pushrpc.providers import ProviderAccount
from pushrpc.rpc.errors import Reason, Refusal, Violation, invalid
from pushrpc.words import Provider

AppAccounts = Mapping[Provider, Sequence[ProviderAccount]]  # the first of a provider is the app's default there
Accounts = Mapping[str, AppAccounts]


def accounts_of(accounts: Accounts, app_id: str) -> AppAccounts:
    """Raises Refusal (APP_ID_REQUIRED, APP_NOT_FOUND)."""
    if not app_id:
        raise invalid([Violation("app_id", Reason.APP_ID_REQUIRED, "is not set")])
    found = accounts.get(app_id)
    if found is None:
        raise Refusal(Reason.APP_NOT_FOUND, "this server has no such app", metadata={"field": "app_id"})
    return found
