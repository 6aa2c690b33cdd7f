"""sec(4)'s rules and the engine's: what passes, what is dropped, and what is told, between two engines.

a: sec0 169.254.1.1 ---- veth 10.77.0.1 ==== veth 10.77.0.2 ---- sec0 169.254.1.2 :b
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from engine_support import Node, Pair, ip, is_tun_with_vnet_header, sa_arguments, sa_keys, wait_until

pytestmark = pytest.mark.root

B = "169.254.1.2"


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    made.attach()
    yield made
    made.close()


def send(node: Node, packets: int = 1, payload: bytes = b"x" * 100) -> None:
    """UDP packets from `node` into its tunnel."""
    with node.socket(socket.SOCK_DGRAM) as sender:
        for _ in range(packets):
            sender.sendto(payload, (B if node.address.endswith(".1") else "169.254.1.1", 9))


def packets(node: Node, spi: int, direction: str, destination: str) -> int:
    return node.engine.sa_counters(spi, direction, destination)["packets"]


def test_without_an_sa_packets_are_dropped_and_counted_and_none_leaks(pair: Pair) -> None:
    with pair.b.socket(socket.SOCK_RAW, socket.IPPROTO_UDP) as spy:
        send(pair.a, 5)
        assert wait_until(lambda: pair.a.counter("drop_no_sa") >= 5)
        spy.settimeout(0.2)
        with pytest.raises(TimeoutError):
            spy.recv(2000)
    assert pair.a.engine.interface_counters("sec0")["output_errors"] >= 5
    assert pair.a.engine.interface_counters("sec0")["output_packets"] == 0


def test_the_newest_outbound_sa_wins_and_the_older_takes_over(pair: Pair) -> None:
    pair.add_sas(spi=0x1000)
    pair.add_sas(spi=0x2000)
    assert pair.a.ping(B)
    assert packets(pair.a, 0x1000, "out", pair.b.address) == 0
    newer = packets(pair.a, 0x2000, "out", pair.b.address)
    assert newer >= 3
    pair.a.engine.delete_sa(0x2000, "out", pair.b.address)
    assert pair.a.ping(B)
    assert packets(pair.a, 0x1000, "out", pair.b.address) >= 3


def test_an_update_does_not_make_an_old_sa_the_newest(pair: Pair) -> None:
    pair.add_sas(spi=0x1000)
    pair.add_sas(spi=0x2000)
    pair.a.engine.update_sa(
        0x1000, "out", pair.b.address,
        new_source=pair.a.address, new_destination=pair.b.address, udpencap=(4500, 4500),
    )  # fmt: skip
    assert pair.a.ping(B)
    assert packets(pair.a, 0x1000, "out", pair.b.address) == 0


def test_an_interface_that_is_not_running_takes_nothing_in(pair: Pair) -> None:
    pair.add_sas()
    pair.b.engine.set_interface("sec0", running=False, mtu=1280, tunneldf=False, mss_clamp=False)
    send(pair.a, 3)
    assert wait_until(lambda: pair.b.counter("drop_not_running") == 3)
    pair.b.engine.set_interface("sec0", running=True, mtu=1280, tunneldf=False, mss_clamp=False)
    assert pair.a.ping(B)


def test_an_sa_whose_interface_does_not_exist_drops(pair: Pair) -> None:
    keys = sa_keys("aes-256-gcm")
    ends = (pair.a.address, pair.b.address)
    pair.a.engine.add_sa(direction="out", **sa_arguments(0x1000, "sec0", *ends, **keys))
    pair.b.engine.add_sa(direction="in", **sa_arguments(0x1000, "sec7", *ends, **keys))
    send(pair.a)
    assert wait_until(lambda: pair.b.counter("drop_not_running") == 1)
    assert pair.b.engine.sa_counters(0x1000, "in", pair.b.address)["drops"] == 1


def test_unknown_spi_and_wrong_destination_are_told_apart(pair: Pair) -> None:
    keys = sa_keys("aes-256-gcm")
    pair.a.engine.add_sa(direction="out", **sa_arguments(0x1000, "sec0", pair.a.address, pair.b.address, **keys))
    send(pair.a)
    assert wait_until(lambda: pair.b.counter("drop_unknown_spi") == 1)
    pair.b.engine.add_sa(direction="in", **sa_arguments(0x1000, "sec0", pair.a.address, "10.77.0.9", **keys))
    send(pair.a)
    assert wait_until(lambda: pair.b.counter("drop_wrong_destination") == 1)


def test_a_wrong_key_is_an_authentication_failure(pair: Pair) -> None:
    for node, direction in ((pair.a, "out"), (pair.b, "in")):
        arguments = sa_arguments(0x1000, "sec0", pair.a.address, pair.b.address, **sa_keys("aes-256-gcm"))
        node.engine.add_sa(direction=direction, **arguments)
    send(pair.a, 4)
    assert wait_until(lambda: pair.b.counter("drop_auth") == 4)
    assert packets(pair.b, 0x1000, "in", pair.b.address) == 0


def test_an_sa_with_udpencap_refuses_plain_esp_and_the_other_way_round(pair: Pair) -> None:
    for spi, there, here in ((0x1000, None, (4500, 4500)), (0x2000, (4500, 4500), None)):
        keys = sa_keys("aes-256-gcm")
        ends = (pair.a.address, pair.b.address)
        pair.a.engine.add_sa(direction="out", **sa_arguments(spi, "sec0", *ends, **keys, udpencap=there))
        pair.b.engine.add_sa(direction="in", **sa_arguments(spi, "sec0", *ends, **keys, udpencap=here))
        before = pair.b.counter("drop_wrong_encap")
        send(pair.a, 2)
        assert wait_until(lambda expected=before + 2: pair.b.counter("drop_wrong_encap") == expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_replayed_packet_is_dropped(workers: int) -> None:
    pair = Pair(workers, engine_at_b=False)
    try:
        pair.a.attach("sec0", "169.254.1.1", B)
        keys = sa_keys("aes-256-gcm")
        pair.a.engine.add_sa(direction="out", **sa_arguments(0x1001, "sec0", pair.a.address, pair.b.address, **keys))
        # The engine accepts its own packet, thrown back at it, once.
        pair.a.engine.add_sa(direction="in", **sa_arguments(0x1001, "sec0", pair.b.address, pair.a.address, **keys))
        with pair.b.socket(socket.SOCK_DGRAM, port=4500) as mirror:
            send(pair.a)
            packet = mirror.recv(2000)
            for _ in range(3):
                mirror.sendto(packet, (pair.a.address, 4500))
        assert wait_until(lambda: pair.a.counter("drop_replay") == 2)
        assert packets(pair.a, 0x1001, "in", pair.a.address) == 1
    finally:
        pair.close()


def test_a_mapping_is_told_once_after_authentication_and_the_packet_delivered(pair: Pair) -> None:
    keys = sa_keys("aes-256-gcm")
    pair.a.engine.add_sa(direction="out", **sa_arguments(0x1000, "sec0", pair.a.address, pair.b.address, **keys))
    # b believes the peer behind a NAT with another port.
    arguments = sa_arguments(0x1000, "sec0", pair.a.address, pair.b.address, **keys, udpencap=(4500, 33333))
    pair.b.engine.add_sa(direction="in", **arguments)
    with pair.b.socket(socket.SOCK_DGRAM, port=9) as receiver:
        send(pair.a, 3)
        for _ in range(3):
            assert receiver.recv(200) == b"x" * 100
    assert pair.b.await_event("mapping") == ("mapping", 0x1000, pair.a.address, 4500)
    assert not [event for event in pair.b.poll() if event[0] == "mapping"]
    pair.b.engine.update_sa(
        0x1000, "in", pair.b.address,
        new_source=pair.a.address, new_destination=pair.b.address, udpencap=(4500, 4500),
    )  # fmt: skip
    send(pair.a, 3)
    assert wait_until(lambda: packets(pair.b, 0x1000, "in", pair.b.address) == 6)
    assert not [event for event in pair.b.poll() if event[0] == "mapping"]


@pytest.mark.parametrize("end", ["out", "in"])
@pytest.mark.parametrize("limit", ["packets", "bytes"])
def test_lifetimes_are_told_once_each_and_nothing_passes_after_the_hard_one(pair: Pair, end: str, limit: str) -> None:
    keys = sa_keys("aes-256-gcm")
    unit = 1 if limit == "packets" else 128  # octets of an inner packet of `send`
    limits = {f"soft_{limit}": 3 * unit, f"hard_{limit}": 6 * unit}
    for node, direction in ((pair.a, "out"), (pair.b, "in")):
        options = limits if direction == end else {}
        arguments = sa_arguments(0x1000, "sec0", pair.a.address, pair.b.address, **keys, **options)
        node.engine.add_sa(direction=direction, **arguments)
    counting = pair.a if end == "out" else pair.b
    send(pair.a, 10)
    assert wait_until(lambda: counting.counter("drop_hard_lifetime") == 4)
    assert wait_until(lambda: packets(pair.b, 0x1000, "in", pair.b.address) == 6)
    assert wait_until(lambda: pair.b.engine.interface_counters("sec0")["input_packets"] == 6)
    told = [event for event in counting.poll() if event[0] == "expire"]
    assert told == [("expire", 0x1000, end, pair.b.address, kind, limit) for kind in ("soft", "hard")]


def test_sequence_numbers_end_before_they_wrap(pair: Pair) -> None:
    pair.add_sas(sequence=2**32 - 4)
    send(pair.a, 6)
    assert wait_until(lambda: pair.a.counter("drop_seq_exhausted") + pair.a.counter("drop_hard_lifetime") == 3)
    assert pair.a.counter("drop_seq_exhausted") == 1  # then the SA is dead
    assert wait_until(lambda: packets(pair.b, 0x1000, "in", pair.b.address) == 3)
    for kind in ("soft", "hard"):
        assert pair.a.await_event("expire") == ("expire", 0x1000, "out", pair.b.address, kind, "packets")


def test_extended_sequence_numbers_go_on_over_the_wrap(pair: Pair) -> None:
    pair.add_sas(sequence=2**32 - 4, esn=True)
    assert pair.a.ping(B)
    assert pair.a.ping(B)
    assert pair.a.engine.sa_counters(0x1000, "out", pair.b.address)["rpl"] == 2**32 + 3
    assert wait_until(lambda: pair.b.engine.sa_counters(0x1000, "in", pair.b.address)["rpl"] == 2**32 + 2)


def test_counters_tell_packets_and_octets_inside_and_out(pair: Pair) -> None:
    pair.add_sas()
    unused = pair.a.engine.sa_counters(0x1001, "in", pair.a.address)
    assert (unused["first_use"], unused["last_use"], unused["idle"]) == (0.0, 0.0, -1.0)
    send(pair.a, 5)
    assert wait_until(lambda: packets(pair.b, 0x1000, "in", pair.b.address) == 5)
    # 128 octets inside; outside IPv4, UDP, ESP header, IV, 130 padded to 132, ICV.
    esp = 20 + 8 + 8 + 8 + 132 + 16
    for node, direction in ((pair.a, "out"), (pair.b, "in")):
        sa = node.engine.sa_counters(0x1000, direction, pair.b.address)
        assert (sa["packets"], sa["inner_bytes"], sa["esp_bytes"], sa["drops"]) == (5, 640, 5 * esp, 0)
        assert 0 < sa["first_use"] <= sa["last_use"]
        assert 0 <= sa["idle"] < 5
    assert pair.a.engine.interface_counters("sec0")["output_bytes"] == 640
    assert pair.b.engine.interface_counters("sec0")["input_bytes"] == 640


def test_a_tunnel_works_on_every_ip_family_and_encapsulation(pair: Pair) -> None:
    for spi, ipv6, udpencap in ((0x1000, False, None), (0x2000, True, None), (0x3000, True, (4500, 4500))):
        pair.add_sas(spi=spi, ipv6=ipv6, udpencap=udpencap)
        assert pair.a.ping(B), pair.b.drops()
        assert packets(pair.a, spi, "out", pair.b.address6 if ipv6 else pair.b.address) >= 3


def test_two_interfaces_of_one_engine_do_not_mix(pair: Pair) -> None:
    pair.attach("sec1", net="169.254.2")
    pair.add_sas("sec0", 0x1000)
    pair.add_sas("sec1", 0x2000)
    assert pair.a.ping("169.254.1.2")
    assert pair.a.ping("169.254.2.2")
    for spi in (0x1000, 0x2000):
        assert 3 <= packets(pair.a, spi, "out", pair.b.address) < 6
    pair.a.engine.detach("sec1")
    assert pair.a.ping("169.254.1.2")
    assert not pair.a.ping("169.254.2.2")


def test_a_detached_queue_keeps_the_device_and_its_carrier_over_a_restart(pair: Pair) -> None:
    pair.add_sas()
    pair.a.engine.detach("sec0")
    link = ip("-n", pair.a.namespace, "link", "show", "sec0")
    assert "LOWER_UP" in link
    assert "NO-CARRIER" not in link
    assert is_tun_with_vnet_header(pair.a.held[0])
    index = int(link.split(":")[0])
    assert pair.a.attach_again("sec0") == index
    assert pair.a.ping(B)


def test_workers_share_queues_where_there_are_fewer() -> None:
    pair = Pair(workers=3)
    try:
        for number, queues in enumerate((1, 2, 1, 1)):
            inner = [f"169.254.{number}.{end}" for end in (1, 2)]
            pair.a.attach(f"sec{number}", *inner, queues=queues)
            pair.b.attach(f"sec{number}", *inner[::-1], queues=queues)
            pair.add_sas(f"sec{number}", 0x1000 * (number + 1))
        for number in range(4):
            assert pair.a.ping(f"169.254.{number}.2")
    finally:
        pair.close()


@pytest.mark.parametrize("workers", [1, 3, 4])
@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_protocol_50_is_sent_by_every_worker_and_taken_in_once(workers: int, ipv6: bool) -> None:
    pair = Pair(workers)
    try:
        pair.attach()
        for spi in range(0x1000, 0x1010, 3):  # steered to every receiver
            pair.add_sas(spi=spi, ipv6=ipv6, udpencap=None)
            sink = pair.b.socket(socket.SOCK_DGRAM, port=9)
            for port in range(20_000, 20_016):  # flows, for the queues of all workers
                source = pair.a.socket(socket.SOCK_DGRAM, port=port)
                source.sendto(b"once", ("169.254.1.2", 9))
                source.close()
            for _ in range(16):
                assert sink.recv(16) == b"once"
            sink.close()
        time.sleep(0.1)
        assert not pair.b.drops().keys() & {"drop_replay", "drop_unknown_spi"}  # none had two copies
    finally:
        pair.close()


def test_more_queues_than_workers_are_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="3 descriptors for 2 workers"):
        pair.a.attach("sec1", queues=3)


def test_what_is_not_there_is_named(pair: Pair) -> None:
    with pytest.raises(OSError, match=r"no outbound SA 0x00001000 to 10\.77\.0\.2") as missing:
        pair.a.engine.delete_sa(0x1000, "out", "10.77.0.2")
    assert missing.value.errno == 3
    with pytest.raises(OSError, match="sec9 is not attached") as missing:
        pair.a.engine.interface_counters("sec9")
    assert missing.value.errno == 6
    pair.add_sas()
    with pytest.raises(OSError, match="exists already") as twice:
        pair.add_sas()
    assert twice.value.errno == 17
    arguments = sa_arguments(0x10, "sec0", "10.0.0.1", "10.0.0.2", **sa_keys("aes-256-gcm"))
    with pytest.raises(ValueError, match="reserved"):
        pair.a.engine.add_sa(direction="out", **arguments)
    with pytest.raises(ValueError, match="two address families"):
        pair.a.engine.add_sa(direction="out", **{**arguments, "spi": 0x100, "source": "::1"})
    with pytest.raises(ValueError, match="our port must be 4500"):
        pair.a.engine.add_sa(direction="out", **{**arguments, "spi": 0x100, "udpencap": (500, 4500)})
