"""The connection test of an export by email: nothing is sent to find out whether something can be sent."""

from shared.delivery.base import Step, Steps
from shared.delivery.email.config import EmailConfig
from shared.gcp.clients import Cloud


def run(cloud: Cloud, config: EmailConfig) -> list[Step]:
    """One step, `addresses`. Whether an address takes mail is known once a mail was sent, and then shown with
    the run's mails."""
    steps = Steps()
    if not (cloud.settings.mail_from and cloud.settings.url):
        why = "Waybill is not set up to send mail: ask its operators to fix it."
        steps.append(Step("addresses", "failed", why))
        return steps
    count = len(config.emails)
    whom = "One address gets" if count == 1 else f"{count} addresses each get"
    said = f"{whom} a mail with a link of its own from {cloud.settings.mail_from}."
    steps.append(Step("addresses", "passed", said))
    return steps
