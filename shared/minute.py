"""What Waybill does each minute, by the tick's publish time."""

from shared import logs
from shared.exports import tick as exports
from shared.gcp.clients import Cloud
from shared.gcp.messages import Message
from shared.work.sweep import sweep

TICK_SECONDS = 60
"""How long a tick may take: then the next one comes. Each part is bounded: by `tick.MAX_DUE`, by
`tick.MAX_RETRIES`, by `sweep.SWEEP_SECONDS`, and the last one, which can wait, by `tick.PENDING_SECONDS`."""


def tick(cloud: Cloud, message: Message) -> None:
    """Do the parts in turn: have the exports that are due begun, have failed windows retried, have deletions
    completed, resume stalled pieces, start pending runs. A part that fails stops no other."""
    failures = []
    parts = (exports.publish_due, exports.publish_retries, exports.publish_deletions, sweep)
    for part in (*parts, exports.start_pending):
        try:
            part(cloud, message.published)
        except Exception as failure:
            logs.error("a part of the tick failed", part=part.__name__, exception=failure)
            failures.append(failure)
    if failures:
        raise failures[0]
