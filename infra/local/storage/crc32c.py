"""Checksums of contents joined together, without reading them."""

import base64

_POLYNOMIAL = 0x82F63B78
"""CRC-32C, bits reversed: https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4"""


def _multiply(a: int, b: int) -> int:
    """Multiply two polynomials over GF(2), modulo the CRC's; the highest bit is x^0."""
    product = 0
    while a:
        if a & 0x80000000:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _powers() -> list[int]:
    """x^(8 * 2^k) for each k that a length in bytes may need."""
    powers = [1 << 23]
    while len(powers) < 48:
        powers.append(_multiply(powers[-1], powers[-1]))
    return powers


_POWERS = _powers()


def combine(first: int, second: int, second_length: int) -> int:
    """The checksum of two contents after one another, from theirs and the second one's length in bytes."""
    shift = 1 << 31
    for k in range(second_length.bit_length()):
        if second_length >> k & 1:
            shift = _multiply(_POWERS[k], shift)
    return _multiply(shift, first) ^ second


def encoded(checksum: int) -> str:
    """As Google writes it: base64 of the four bytes, highest first."""
    return base64.b64encode(checksum.to_bytes(4)).decode()
