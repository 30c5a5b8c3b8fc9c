"""Where a request comes from."""

import ipaddress

import flask

SHOWN = 64
"""How many characters are taken for an address where it is none."""


def address_of(request: flask.Request) -> str:
    """The address that a request comes from; of IPv6 the network of 64 bits, which is one customer's line.

    The load balancer adds two to `X-Forwarded-For`, the client's address and its own, behind whatever the
    client sent: so the last but one counts. A single one is that of a caller inside the project.
    https://cloud.google.com/load-balancing/docs/https#x-forwarded-for_header
    """
    said = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",") if each.strip()]
    address = said[-2] if len(said) > 1 else said[0] if said else request.remote_addr or "unknown"
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:SHOWN]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
