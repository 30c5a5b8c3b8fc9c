"""Addresses for mail: which can be mailed, and when two of them are one mailbox."""

import functools
from collections.abc import Iterable

SHOWN = 100
"""How many characters of a wrong address are repeated."""


KEPT = 10_000
"""How many addresses are remembered as right: a stored export is read often, and checking one costs 40 µs."""


@functools.lru_cache(maxsize=KEPT)
def checked(address: str) -> str:
    """The address as mail is sent to it: an international domain in its form that begins with xn--.
    ValueError, with a sentence, where it can never be mailed.

    SendGrid takes no letter beyond ASCII before the @.
    https://www.twilio.com/docs/sendgrid/ui/sending-email/sending-email-with-international-characters
    """
    # Loaded where it is needed: most functions check no address.
    from email_validator import EmailNotValidError, validate_email

    try:
        valid = validate_email(address, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError as wrong:
        reason = " ".join(str(wrong).split())
        raise ValueError(f"{address[:SHOWN]!r} is not an address that can be mailed: {reason}") from wrong
    return address if address.isascii() else valid.ascii_email or valid.normalized


def once(addresses: Iterable[str]) -> tuple[str, ...]:
    """Each address as it came first, in order."""
    first: dict[str, str] = {}
    for address in addresses:
        first.setdefault(folded(address), address)
    return tuple(first.values())


def folded(address: str) -> str:
    """What two spellings of one mailbox have in common. By the letter of the standard the part before the @
    may tell cases apart; mailboxes do not. Not `casefold`, which makes one of ß and ss.
    https://www.rfc-editor.org/rfc/rfc5321#section-2.4"""
    return address.lower()
