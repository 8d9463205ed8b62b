"""Lies about who is calling: whatever a header says, machine and log row have the address that connected."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from urllib.parse import urlencode, urlsplit

import pytest
from inside import Inside, worker_inside
from lines import Answered, Line, request
from office import INPUT, Shop, refused
from servers import Live

PROXY, STRANGER = "127.0.0.9", "127.0.0.1"
TRUSTED = tuple(ipaddress.ip_network(text) for text in (f"{PROXY}/32", "10.0.0.0/8", "2001:db8:ffff::/48"))
FORGED = "203.0.113.7"

# What no list of addresses ends with: from a trusted proxy it says nothing, from anybody else nothing ever does.
GARBAGE = [
    b"unknown", b"_hidden", b"secret", b",,,,,", b"-", b"0", b"2130706433", b"0x7f000001", b"0x7f.1", b"127.1",
    b"0177.0.0.1",
    b"203.0.113.07", b"203.0.113.256", b"203.0.113", b"203.0.113.7.7", b"203.0.113.7 203.0.113.8", b"203.0.113.7/32",
    b'"203.0.113.7"', b"<203.0.113.7>", b"for=203.0.113.7", b"203.0.113.7;by=x", b"http://203.0.113.7/",
    b"203.0.113.7@127.0.0.1",
    b"\xff\xfe", b"\xd9\xa1.2.3.4", "\N{FULLWIDTH DIGIT ONE}.2.3.4".encode(),
    "203\N{IDEOGRAPHIC FULL STOP}0.113.7".encode(), b"\t",
    b":::", b"::1::", b"[]", b"[", b"]", b"[:1]", b"1:2:3:4:5:6:7:8:9", b"12345::", b"%eth0", b"[%25eth0]:1",
    b"::ffff:203.0.113.256",
    b"' or 1=1 --", b"${jndi:ldap://203.0.113.7}", b"%32%30%33.0.113.7", b"x" * 8000, b"," * 8000,
    b"203.0.113.7, " * 600, b"10.0.0.1, " * 700, b"203.0.113.7, garbage",
]  # fmt: skip
ADDRESSES = [
    b"203.0.113.7", b"203.0.113.7:80", b"127.0.0.9", b"10.0.0.1", b"::1", b"::", b"0.0.0.0", b"255.255.255.255",
    b"169.254.169.254",
    b"::ffff:203.0.113.7", b"[::ffff:203.0.113.7]:443", b"fe80::1%eth0", b"[fe80::1%25eth0]:443",
    b"fe80::1%" + b"z" * 4000,
    b"2001:db8:1:2::5", b"[2001:db8:1:2::5]:99999999", b"[2001:db8:ffff::1]", b", ".join([b"203.0.113.7"] * 600),
    b", ".join([b"10.0.0.1"] * 700), b"203.0.113.7, 127.0.0.9",
]  # fmt: skip
HEADERS = [b"X-Forwarded-For: " + text for text in (*GARBAGE, *ADDRESSES)]
OTHERS = [
    name + b": 203.0.113.7"
    for name in (
        b"X-Real-IP", b"X-Client-IP", b"True-Client-IP", b"CF-Connecting-IP", b"Fastly-Client-IP", b"Client-IP", b"Via",
        b"X-Cluster-Client-IP", b"X_Forwarded_For", b"X-Forwarded", b"Forwarded-For", b"X-Originating-IP", b"From",
    )
]  # fmt: skip
OTHERS += [b"Forwarded: for=203.0.113.7", b'Forwarded: for="[2001:db8:1:2::5]:443";proto=https']


@pytest.fixture
async def inside(live: Live) -> AsyncIterator[Inside]:
    """A worker in this process that trusts a proxy."""
    async with worker_inside(live, trusted_proxies=TRUSTED) as server:
        yield server


async def forge(inside: Inside, shop: Shop, key: str, header: bytes, *, peer: str, code: str) -> Answered:
    """Activate a machine from an address, with this header among the others."""
    form = urlencode({"token": shop.office.token, "ProductId": shop.id, "Key": key, "MachineCode": code}).encode()
    data = request("/api/key/Activate", form).replace(b"\r\n", b"\r\n" + header + b"\r\n", 1)
    url = urlsplit(inside.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, local_addr=(peer, 0))
    try:
        line = Line(reader, writer)
        await line.send(data)
        return await line.answer()
    finally:
        writer.transport.abort()


async def known(shop: Shop, key: str) -> tuple[set[tuple[str, str]], set[str], int]:
    """What is kept of all machines (their addresses and their proxies'), what the log says, and how many there are."""
    kept = await shop.rows("select m.* from machines m join licenses l on l.id = license_id where l.product_id = $1")
    logged = [row["ip"] for row in await shop.log(key) if row["machineCode"]]
    assert len(logged) == len(kept)
    assert FORGED not in str(kept)
    return {(row["ip"], row["proxy_ip"]) for row in kept}, set(logged), len(kept)


@pytest.mark.parametrize(("peer", "headers"), [
    (STRANGER, HEADERS + OTHERS),
    (STRANGER, [b"\r\n".join([b"X-Forwarded-For: 203.0.113.7"] * 100), b"\r\n".join(HEADERS[:40] + OTHERS)]),
    (PROXY, [b"X-Forwarded-For: " + text for text in GARBAGE] + OTHERS),
    (PROXY, [b"\r\n".join([b"X-Forwarded-For: 203.0.113.7"] * 100 + [b"x-forwarded-for: garbage"])]),
], ids=["a stranger", "a stranger with many headers", "a proxy", "a proxy with many headers"])  # fmt: skip
async def test_whoever_lies_is_known_by_the_address_that_connected(
    inside: Inside, shop: Shop, peer: str, headers: list[bytes]
) -> None:
    key = await shop.new_key(MaxNoOfMachines=500)
    for number, header in enumerate(headers):
        answer = await forge(inside, shop, key, header, peer=peer, code=f"m{number}")
        assert (answer.status, answer.json["message"]) == (200, ""), header
    assert await known(shop, key) == ({(peer, "")}, {"127.0.0.0"}, len(headers))


@pytest.mark.parametrize("header", [
    b"X-Forwarded-For: 203.0.113.7\0", b"X-Forwarded-For: 203.0.113.7\r\n , 203.0.113.8", b"X-Forwarded-For : 203.0.113.7",
    b"X-Forwarded-For\0: 203.0.113.7", b"X-Forwarded-For: 203.0.113.7\r127.0.0.9",
    b"X-Forwarded-For: " + b"203.0.113.7, " * 700,
], ids=["NUL", "folded", "a space", "NUL in the name", "a carriage return", "too long"])  # fmt: skip
@pytest.mark.parametrize("peer", [STRANGER, PROXY])
async def test_an_address_in_broken_http_is_not_looked_at(inside: Inside, shop: Shop, header: bytes, peer: str) -> None:
    key = await shop.new_key(MaxNoOfMachines=1)
    answer = await forge(inside, shop, key, header, peer=peer, code="m")
    assert (answer.status, answer.json) == (400, refused(INPUT))
    assert await known(shop, key) == (set(), set(), 0)
