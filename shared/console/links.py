"""Asking for a link by mail that signs in to the console.

Whoever asks is told the same, whether the address may sign in or not, and Firestore and Pub/Sub are asked as
much: so nobody finds out by asking who may. A browser's address and the address that it asks for are slowed,
each by itself.
"""

import hashlib
import math
from datetime import timedelta

from google.cloud import firestore

from shared import logs
from shared.accounts import by_mail
from shared.accounts.keys import caller_of
from shared.addresses import checked, folded
from shared.errors import Invalid, TooMany
from shared.gcp.clients import Cloud
from shared.gcp.documents import fields_of, read_time, transact
from shared.http.rates import Rate, Rates
from shared.outbox import mails
from shared.work import pieces

LETTER = "sign_in"
"""The kind of its mail's letter."""

FROM_ONE = Rate(per_second=1 / 60, burst=5)
"""How often one network address may ask an instance."""

FOR_ONE = Rate(per_second=1 / 60, burst=5)
"""How often an instance is asked for one address for mail."""

NAMES_KEPT = 10_000
"""Of how many of either an instance counts: about 2 MB each."""

MOST_AN_HOUR = 5
"""How many mails an address gets within an hour."""

HOUR = timedelta(hours=1)

NOBODY = 16
"""In how many documents it is noted that an address asked which may not sign in: so that asking is a write,
too, and none of them is written too often."""

_from, _for = Rates(NAMES_KEPT), Rates(NAMES_KEPT)


def ask(cloud: Cloud, address: str, network: str) -> None:
    """Mail a link to this address, if it may sign in. `network` is the network address of whoever asks.

    Invalid where the address can never be mailed; TooMany where this is asked too often.
    """
    try:
        address = checked(address)
    except ValueError as wrong:
        raise Invalid.field("address", str(wrong)) from None
    for rates, name, rate in ((_from, network, FROM_ONE), (_for, folded(address), FOR_ONE)):
        seconds = rates.take(hashlib.sha256(name.encode()).hexdigest(), rate)
        if seconds:
            raise TooMany(f"links were asked for too often: wait {math.ceil(seconds)} s", seconds)
    path = _note(cloud, address)
    # Out of turn: a thousand mails of an export must not keep anybody from signing in. Where this is lost,
    # the sweep of the next minute publishes it.
    cloud.messages.publish(mails.FUNCTION, pieces.message(path, mails.ASK))


def _note(cloud: Cloud, address: str) -> str:
    """Make the mail, if the address may sign in and was not mailed too often; returns its path, which leads
    nowhere if not."""
    reference = cloud.db.document(by_mail.path_of(address))
    occurrence = cloud.new_id()

    def note(transaction: firestore.Transaction) -> str:
        snapshot = reference.get(transaction=transaction)
        allowed, now = snapshot.to_dict() or {}, read_time(snapshot)
        key = cloud.db.document(f"api_keys/{allowed.get('key', '0' * 16)}").get(transaction=transaction)
        lately = [at for at in fields_of(snapshot)["asked"] if now - at < HOUR] if snapshot.exists else []
        revoked = caller_of(key) is None
        if revoked or len(lately) >= MOST_AN_HOUR:
            shard = int(occurrence[:4], 16) % NOBODY
            transaction.set(cloud.db.document(f"console_asked/{shard}"), {"last": firestore.SERVER_TIMESTAMP})
            if snapshot.exists:
                why = "its key is revoked" if revoked else "it had its mails of this hour"
                logs.warning("no link was mailed", address=address, customer=allowed["customer"], reason=why)
            return f"{reference.path}/mails/{occurrence}"
        made = mails.documents(
            reference.path,
            LETTER,
            occurrence,
            [allowed["address"]],
            {"customer": allowed["customer_name"]},
            customer=allowed["customer"],
            at=now,
        )
        for path, fields in made.items():
            transaction.create(cloud.db.document(path), fields)
        transaction.update(reference, {"asked": [*lately, now]})
        return min(made, key=len)

    return transact(cloud.db, note)


def forget() -> None:
    """Count from the beginning, for a process that goes on as if just started, as tests do."""
    _from.clear()
    _for.clear()
