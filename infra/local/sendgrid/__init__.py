"""SendGrid: as much of its Web API v3 as Waybill uses, answered into an outbox. See infra/local/README.md."""

from infra.local.sendgrid.service import BEGINNING, LISTS, SendGridService

__all__ = ["BEGINNING", "LISTS", "SendGridService"]
