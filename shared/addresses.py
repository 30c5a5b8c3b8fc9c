"""Addresses for mail, and when two of them are one mailbox."""

from collections.abc import Iterable


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
