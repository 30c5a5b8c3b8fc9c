"""A private network is one customer's, set by an operator; some addresses are nobody's."""

import ipaddress
import socket

import pytest

from shared.accounts import networks
from shared.errors import Invalid, NotFound
from shared.net.outbound import Blocked, connect
from tests.world import World


@pytest.mark.parametrize(
    "text", ["10.1.2.0/24", "192.168.7.9", "172.16.0.0/12", "127.0.0.0/8", "fd12::/16", "::1"]
)
def test_what_is_private_can_be_a_customers(text: str) -> None:
    assert networks.parse(text) == ipaddress.ip_network(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.1.2.3/24",
        "10.1.2.0/24\n",
        "8.8.8.0/24",
        "0.0.0.0/0",
        "::/0",
        "172.0.0.0/8",
        "169.254.0.0/16",
        "169.254.169.254",
        "168.0.0.0/6",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "2001:4860::/32",
        "fd20:ce::254",
        "fd20:ce::/32",
    ],
)
def test_what_is_public_or_nobodys_cannot(text: str) -> None:
    with pytest.raises(Invalid, match=r"^network: "):
        networks.parse(text)


def test_networks_are_added_and_removed_and_kept_when_a_customer_is_changed(world: World) -> None:
    one, other = networks.parse("10.1.0.0/16"), networks.parse("10.2.0.0/16")
    db = world.cloud.db
    assert networks.networks_of(db, "acme") == ()
    for _ in range(2):
        assert networks.change(db, "acme", add=(one, other)) == (one, other)
    world.onboard("acme", "acme")
    assert networks.networks_of(db, "acme") == (one, other)
    assert networks.change(db, "acme", remove=(one,)) == (other,)
    world.onboard("globex", "globex")
    assert networks.networks_of(db, "globex") == (), "another customer's"
    assert networks.networks_of(db, "nobody") == ()
    with pytest.raises(NotFound, match="there is no customer nobody"):
        networks.change(db, "nobody", add=(one,))


def test_a_customer_has_no_more_networks_than_the_limit(world: World) -> None:
    many = tuple(networks.parse(f"10.{number}.0.0/16") for number in range(networks.MAX_NETWORKS))
    assert networks.change(world.cloud.db, "acme", add=many) == many
    with pytest.raises(Invalid, match="at most 20; these would be 21"):
        networks.change(world.cloud.db, "acme", add=(networks.parse("172.16.0.0/16"),))


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:169.254.169.254", "fd20:ce::254"]
)
def test_the_metadata_server_is_called_for_nobody(address: str) -> None:
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    with pytest.raises(Blocked, match="is not on the public internet"):
        connect("a.example", 80, allowed=everything, seconds=5, low_ports={80}, resolve=lambda *_: [address])


def test_a_private_address_is_answered_the_same_whatever_is_behind_it() -> None:
    said = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports = [listener.getsockname()[1]]
    with socket.create_server(("127.0.0.1", 0)) as open:
        ports.append(open.getsockname()[1])
        for port in ports:
            for address in ("127.0.0.1", "10.1.2.3"):
                with pytest.raises(Blocked) as blocked:
                    connect(
                        "in.example",
                        port,
                        allowed=(),
                        seconds=5,
                        low_ports=(),
                        resolve=lambda *_, a=address: [a],
                    )
                said.append(str(blocked.value))
    assert set(said) == {
        "in.example may not be called: its address is not on the public internet. "
        "Give a host that is, or have an operator allow that network."
    }
