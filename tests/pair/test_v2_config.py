"""Inner addresses by the configuration payload, between speakers of IKEv2."""

from __future__ import annotations

import pytest
from tests.pair.network import BOB, Network, Node, start, traffic
from tests.pair.v2_support import connection, pair

from secd.ike.contract import AssignAddress, ConnectionStatus
from secd.sadb.messages import Identity

Words = tuple[tuple[str, str], ...]

HUB: Words = (
    ("address", "10.9.0.7"), ("netmask", "255.255.255.0"), ("name-server", "10.9.0.1"), ("name-server", "2001:db8::53"),
    ("address", "2001:db8:9::1/64"), ("protected-subnet", "10.0.0.0/8"),
)  # fmt: skip
ANY: Words = (("address", "any"),)


def two(request: Words, provide: Words = HUB) -> tuple[Network, Node, Node]:
    net, alice, bob = pair({"request": request}, {"provide": provide})
    start(net, alice, bob)
    return net, alice, bob


def star(pool: str, spokes: int = 3, **changes: object) -> tuple[Network, Node, list[Node]]:
    """A hub whose tunnels share a pool, and spokes that ask it for an address; nobody has begun."""
    net = Network()
    names = [Identity("fqdn", f"spoke{number}") for number in range(spokes)]
    theirs = [
        connection(BOB, None, name=f"sec{n}", iface=f"sec{n}", mode="passive", dstid=name, provide=(("address", pool),))
        for n, name in enumerate(names)
    ]
    hub = Node(net, BOB, theirs, seed=100).start()
    nodes = [
        Node(net, f"192.0.2.{50 + n}", [connection(None, BOB, srcid=name, request=ANY, **changes)], seed=n)
        for n, name in enumerate(names)
    ]
    return net, hub, nodes


def status(node: Node, name: str = "sec0") -> ConnectionStatus:
    return next(each for each in node.speaker.status(node.net.now) if each.connection.name == name)


def address(node: Node) -> str:
    return ", ".join(status(node).assigned.get("address", ()))


def up(node: Node) -> bool:
    return status(node).state == "up"


# -- what is asked for and given --------------------------------------------------------------------------


@pytest.mark.parametrize(("request_", "addresses", "servers"), [
    (ANY, ("10.9.0.7/24", "2001:db8:9::2/64"), ()),
    ((("address", "10.9.0.99"),), ("10.9.0.7/24",), ()),
    ((*ANY, ("name-server", "any")), ("10.9.0.7/24", "2001:db8:9::2/64"), ("10.9.0.1", "2001:db8::53")),
    ((("name-server", "any"),), (), ("10.9.0.1", "2001:db8::53")),
])  # fmt: skip
def test_a_spoke_gets_what_it_asks_for(request_: Words, addresses: tuple[str, ...], servers: tuple[str, ...]) -> None:
    _net, alice, bob = two(request_)
    hosts = tuple(each.partition("/")[0] for each in addresses)
    assert alice.assigned == [AssignAddress("sec0", addresses)]
    assert bob.assigned == ([AssignAddress("sec0", (), hosts)] if addresses else [])
    assert status(alice).assigned.get("name-server", ()) == servers
    assert status(bob).provided == hosts
    assert "gives sec0" in alice.said("assigned")[0]


def test_what_people_have_to_do_themselves_is_said_with_the_words() -> None:
    _net, alice, _bob = two((("protected-subnet", "any"), ("name-server", "any"), *ANY))
    said = " ".join(alice.said("assigned"))
    assert "`resolvectl dns sec0 10.9.0.1 2001:db8::53`" in said
    assert "`ip route add 10.0.0.0/8 dev sec0`" in said


def test_nothing_is_asked_for_and_nothing_given() -> None:
    _net, alice, bob = two(())
    assert not alice.assigned
    assert not bob.assigned


def test_a_hub_without_addresses_is_complained_of_and_the_tunnel_is_up() -> None:
    _net, alice, _bob = two(ANY, ())
    assert alice.assigned == [AssignAddress("sec0")]
    assert up(alice)
    assert (
        "gives no address for sec0, which `request address` at /etc/iked.conf: 1 asks for"
        in alice.said("no-address")[0]
    )


@pytest.mark.parametrize("bad", ["127.0.0.1", "224.0.0.5", BOB])
def test_what_cannot_be_an_inner_address_is_not_taken(bad: str) -> None:
    _net, alice, _bob = two(ANY, (("address", bad),))
    assert alice.assigned == [AssignAddress("sec0")]
    assert "cannot be one" in alice.said("address-unusable")[0]


def test_a_netmask_that_would_lead_everything_into_the_tunnel_is_not_taken() -> None:
    _net, alice, _bob = two(ANY, (("address", "10.9.0.7"), ("netmask", "128.0.0.0")))
    assert alice.assigned == [AssignAddress("sec0", ("10.9.0.7/32",))]
    assert "the address alone is set" in alice.said("address-unusable")[0]


# -- how long it stays ------------------------------------------------------------------------------------


def test_what_was_given_stays_over_rekeys_and_restarts() -> None:
    net, alice, bob = two(ANY)
    for what in ("ike", "child"):
        alice.do(lambda what=what: alice.speaker.rekey("sec0", what, net.now))
        assert traffic(net, alice, bob, 40) == 0
        net.run(10)
    for node in (alice, bob):
        node.restart()
        node.do(lambda node=node: node.speaker.rekey("sec0", "ike", net.now))
        net.run(10)
        assert len(set(node.assigned)) == 1
    assert address(alice) == "10.9.0.7/24, 2001:db8:9::2/64"
    assert status(bob).provided == ("10.9.0.7", "2001:db8:9::2")


def test_what_was_given_stays_while_the_tunnel_is_down_and_is_asked_for_again() -> None:
    net, hub, spokes = star("10.9.0.1/24")
    for each in spokes:
        each.start()
    assert net.run(10, lambda: all(up(each) for each in spokes))
    before = [address(each) for each in spokes]
    hub.reboot()
    for each in spokes[::-1]:
        each.do(lambda each=each: each.speaker.reset(None, net.now))
    assert net.run(60, lambda: all(up(each) for each in spokes))
    assert [address(each) for each in spokes] == before
    assert all(len(each.assigned) == 1 for each in spokes)


def test_a_policy_that_goes_or_asks_no_more_takes_its_address_along() -> None:
    net, alice, _bob = two(ANY)
    alice.connections = [connection(alice.address, BOB)]
    alice.do(lambda: alice.speaker.configure(alice.connections, net.now))
    assert alice.assigned[-1] == AssignAddress("sec0")
    net, alice, bob = two(ANY)
    for node in (alice, bob):
        node.do(lambda node=node: node.speaker.configure([], net.now))
        assert node.assigned[-1] == AssignAddress("sec0")


def test_a_policy_that_went_while_nobody_ran_takes_its_address_along() -> None:
    _net, alice, _bob = two(ANY)
    alice.connections = []
    alice.restart()
    assert alice.assigned[-1] == AssignAddress("sec0")


def test_another_policy_for_the_same_interface_keeps_the_address_until_the_hub_gives_another() -> None:
    net, alice, bob = two(ANY)
    alice.connections = [connection(alice.address, BOB, request=ANY, lifetime=500)]
    alice.do(lambda: alice.speaker.configure(alice.connections, net.now))
    assert net.run(20, lambda: up(alice))
    assert len(alice.assigned) == 1
    bob.connections = [connection(BOB, alice.address, mode="passive", provide=(("address", "10.9.0.8"),))]
    bob.do(lambda: bob.speaker.configure(bob.connections, net.now))
    assert net.run(60, lambda: address(alice) == "10.9.0.8/32")
    assert alice.assigned[-1] == AssignAddress("sec0", ("10.9.0.8/32",))


# -- pools ------------------------------------------------------------------------------------------------


def test_spokes_of_one_pool_get_different_addresses_and_the_same_again() -> None:
    net, hub, spokes = star("10.9.0.1/29")
    for each in spokes:
        each.start()
        net.run(5)
    assert [address(each) for each in spokes] == ["10.9.0.2/32", "10.9.0.3/32", "10.9.0.4/32"]
    hub.restart()
    spokes[0].reboot()
    net.run(30)
    assert [address(each) for each in spokes] == ["10.9.0.2/32", "10.9.0.3/32", "10.9.0.4/32"]


def test_a_pool_that_is_used_up_refuses_with_the_words_to_write_and_makes_no_pair() -> None:
    net, hub, spokes = star("10.9.0.1/30")
    spokes[0].start()
    net.run(5)
    spokes[1].start()
    net.run(20)
    assert (address(spokes[0]), address(spokes[1])) == ("10.9.0.2/32", "")
    assert "10.9.0.1/30 of `config address` at /etc/iked.conf: 1 is with sec0" in hub.said("pool-exhausted")[0]
    assert "INTERNAL_ADDRESS_FAILURE" in spokes[1].said("no-address")[0]
    assert not up(spokes[1])
    assert status(hub, "sec1").provided == ()


def test_a_pool_that_is_used_up_takes_back_what_peers_have_that_are_gone() -> None:
    net, hub, spokes = star("10.9.0.1/30")
    spokes[0].start()
    net.run(5)
    spokes[0].do(lambda: spokes[0].speaker.shutdown(net.now))
    net.run(5)
    spokes[1].start()
    net.run(20)
    assert address(spokes[1]) == "10.9.0.2/32"
    assert hub.assigned[-2:] == [AssignAddress("sec0"), AssignAddress("sec1", (), ("10.9.0.2",))]


def test_a_pool_of_ipv6_gives_addresses_with_its_prefix() -> None:
    net, hub, spokes = star("2001:db8:9::1/64", 2)
    for each in spokes:
        each.start()
        net.run(5)
    assert [address(each) for each in spokes] == ["2001:db8:9::2/64", "2001:db8:9::3/64"]
    assert status(hub, "sec1").provided == ("2001:db8:9::3",)
