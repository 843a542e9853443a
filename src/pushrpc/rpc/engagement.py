"""What apps saw of their notifications, from protobuf to the ledger."""

from __future__ import annotations

from pushrpc.clock import Clock
from pushrpc.ledger import Ledger
from pushrpc.model import one_form
from pushrpc.record import Report
from pushrpc.rpc.errors import Reason
from pushrpc.rpc.fields import Fields
from pushrpc.rpc.limits import ID_BYTES_MAX, REPORTS_MAX, TOKEN_BYTES_MAX
from pushrpc.v1 import following_pb2
from pushrpc.words import Engagement, Provider


class EngagementReports:
    """ReportEngagement."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def report(self, request: following_pb2.ReportEngagementRequest) -> following_pb2.ReportEngagementResponse:
        """A report that names no delivery is told in `rejected`; only a malformed one fails the call."""
        fields = Fields()
        if len(request.reports) > REPORTS_MAX:
            fields.too_long("reports", len(request.reports), REPORTS_MAX, "entries")
            fields.refuse()
        now_us = self._clock.now_us()
        reports = [_report(each, fields, f"reports[{place}]", now_us) for place, each in enumerate(request.reports)]
        if not reports:
            fields.wrong(Reason.FIELD_REQUIRED, "reports", "names none")
        fields.refuse()
        known = await self._ledger.record(request.app_id, reports)
        response = following_pb2.ReportEngagementResponse(recorded_count=sum(known))
        for place, is_known in enumerate(known):
            if not is_known:
                detail = "names no delivery of the app; pass notification_id and endpoint or token as the app got them"
                response.rejected.add(path=f"reports[{place}]", detail=detail)
        return response


def _report(given: following_pb2.EngagementReport, fields: Fields, path: str, now_us: int) -> Report:
    provider = fields.word(f"{path}.provider", given.provider, Provider)
    report = Report(
        fields.text(f"{path}.notification_id", given.notification_id, ID_BYTES_MAX, required=True),
        fields.text(f"{path}.device_id", given.device_id, ID_BYTES_MAX),
        provider,
        one_form(provider, fields.text(f"{path}.token", given.token, TOKEN_BYTES_MAX)),
        fields.word(f"{path}.engagement", given.engagement, Engagement, required=True),
        min(fields.time_us(f"{path}.time", given.time), now_us) or now_us,
    )
    if report.device_id and report.token:
        fields.wrong(Reason.FIELDS_CONFLICT, f"{path}.token", "is set beside device_id; one of them names the delivery")
    if bool(report.token) != bool(report.provider):
        missing = "provider" if report.token else "token"
        fields.wrong(Reason.FIELD_REQUIRED, f"{path}.{missing}", "is not set, and the other of provider and token is")
    return report
