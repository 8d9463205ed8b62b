"""Masks of addresses: IPv4 to 24 bits, IPv6 to 48, and nothing where there is no address."""

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.rules.privacy import mask


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("192.0.2.10", "192.0.2.0"),
        ("192.0.2.0", "192.0.2.0"),
        ("255.255.255.255", "255.255.255.0"),
        ("2001:db8:1:2::5", "2001:db8:1::"),
        ("2001:DB8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::1", "::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.10", "192.0.2.0"),
        ("::ffff:c000:20a", "192.0.2.0"),
        ("::ffff:c000:2ff", "192.0.2.0"),
        ("2001:db8:1:2::192.0.2.10", "2001:db8:1::"),
        ("::192.0.2.10", "::"),
        ("64:ff9b::192.0.2.10", "64:ff9b::"),
    ],
)
def test_an_address_keeps_its_network_only(address: str, masked: str) -> None:
    assert mask(address) == masked


def test_an_ipv4_address_inside_a_6to4_address_is_masked_too() -> None:
    assert mask("2002:c000:20a:1::5") == "2002:c000:200::"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "unix:",
        "192.0.2",
        "192.0.2.",
        ".7",
        "7",
        "192.0.2.256",
        "192.0.2.010",
        "192.0.02.1",
        "1.2.3.4.5",
        "192.0.2.10:443",
        "[2001:db8::1]",
        "2001:db8::1/64",
        " 192.0.2.10",
        "192.0.2.٣",
        "a.b.c.7",
        "1::2::3",
    ],
)
def test_what_is_no_address_leaves_no_trace(text: str) -> None:
    assert mask(text) == ""


@given(st.ip_addresses(v=4))
def test_any_ipv4_address_loses_its_last_octet(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert mask(str(address)) == str(ipaddress.ip_address(int(address) & 0xFFFFFF00))
    assert mask(f"::ffff:{address}") == mask(str(address))


@given(st.ip_addresses(v=6))
def test_any_ipv6_address_keeps_48_bits(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assume(int(address) >> 112 != 0x2002)
    assume(int(address) >> 32 != 0xFFFF)
    expected = ipaddress.IPv6Address(int(address) >> 80 << 80)
    assert mask(str(address)) == mask(address.exploded) == str(expected)


@given(st.one_of(st.text(), st.text("0123456789abcdef.:%", max_size=20), st.ip_addresses().map(str)))
def test_a_masked_address_is_an_address_or_empty_and_stays_as_it_is(text: str) -> None:
    masked = mask(text)
    if masked:
        assert str(ipaddress.ip_address(masked)) == masked
    assert mask(masked) == masked
