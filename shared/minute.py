"""What Waybill does each minute, by the tick's publish time."""

from shared import logs
from shared.exports import tick as exports
from shared.gcp.clients import Cloud
from shared.gcp.messages import Message
from shared.work.sweep import sweep


def tick(cloud: Cloud, message: Message) -> None:
    """Start what is due and resume what is stalled: exports, pieces; none stops another."""
    failures = []
    for each in (exports.tick, sweep):
        try:
            each(cloud, message.published)
        except Exception as failure:
            logs.error("a part of the tick failed", exception=failure)
            failures.append(failure)
    if failures:
        raise failures[0]
