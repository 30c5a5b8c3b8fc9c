"""How long what a work leaves behind is kept. Firestore itself deletes a document after the time in its field
REMOVE_AFTER, as a rule within a day. infra/firestore.indexes.json lists the collections where it does.
https://cloud.google.com/firestore/docs/ttl
"""

from datetime import timedelta

REMOVE_AFTER = "remove_after"
"""The field with that time. Where it is missing or null, the document stays."""

PIECES_KEPT = timedelta(days=180)
"""How long a piece is kept from its making. While its work can go on it is needed: that is days, and for a
failed run that is retried about a month, after which it is planned anew."""

WORKS_KEPT = timedelta(days=400)
"""How long a work is kept from its end: thirteen months, so that a month can be compared with that of the
year before."""

ENTRIES_KEPT = timedelta(days=400)
"""How long an entry of the audit trail is kept: as long as the works that it is about."""
