"""Who is calling: the connection says so, and forwarding headers only where a proxy that is trusted sent them."""

from collections.abc import AsyncIterator

import pytest
from office import Office, Shop, open_office
from servers import Live

PROXY = "127.0.0.9"


@pytest.fixture(scope="module")
async def proxy(behind_proxies: Live) -> AsyncIterator[Office]:
    """An office that calls from the address of a trusted proxy."""
    async with open_office(behind_proxies, at=PROXY) as office:
        yield office


@pytest.fixture(scope="module")
async def stranger(behind_proxies: Live) -> AsyncIterator[Office]:
    """An office that calls the same server from another address."""
    async with open_office(behind_proxies) as office:
        yield office


async def known_of(office: Office, *forwarded: str) -> tuple[str, str, str]:
    """What is stored of a machine that was activated with these headers: its address, its proxy's; and the log's address."""
    shop = Shop(office, (await office.open_shop()).id)
    key = await shop.new_key(MaxNoOfMachines=1)
    form = {"token": office.token, "ProductId": str(shop.id), "Key": key, "MachineCode": "m", "ModelVersion": "3"}
    headers = [("X-Forwarded-For", each) for each in forwarded]
    async with office.http.post(f"{office.live.url}/api/key/Activate", data=form, headers=headers) as answer:
        (shown,) = (await answer.json())["licenseKey"]["activatedMachines"]
    (kept,) = await shop.rows("select m.* from machines m join licenses l on l.id = license_id where l.product_id = $1")
    assert shown["ip"] == kept["ip"]
    assert not kept["proxy_ip"] or kept["proxy_ip"] not in str(shown)
    return kept["ip"], kept["proxy_ip"], (await shop.log(key))[-1]["ip"]


@pytest.mark.parametrize(("forwarded", "address", "masked"), [
    (["203.0.113.7"], "203.0.113.7", "203.0.113.0"),
    (["198.51.100.1, 203.0.113.7"], "203.0.113.7", "203.0.113.0"),
    (["198.51.100.1", "203.0.113.7"], "203.0.113.7", "203.0.113.0"),
    (["203.0.113.7, 10.1.2.3,10.4.5.6"], "203.0.113.7", "203.0.113.0"),
    (["203.0.113.7", "10.1.2.3"], "203.0.113.7", "203.0.113.0"),
    (["198.51.100.1, 203.0.113.7, 2001:db8:ffff::1"], "203.0.113.7", "203.0.113.0"),
    (["203.0.113.7:4711"], "203.0.113.7", "203.0.113.0"),
    (["  203.0.113.7  "], "203.0.113.7", "203.0.113.0"),
    (["2001:db8:1:2::5"], "2001:db8:1:2::5", "2001:db8:1::"),
    (["[2001:db8:1:2::5]:443"], "2001:db8:1:2::5", "2001:db8:1::"),
    (["[2001:DB8:1:2::5]"], "2001:db8:1:2::5", "2001:db8:1::"),
    (["fe80::1%eth0"], "fe80::1", "fe80::"),
    (["::ffff:203.0.113.7"], "203.0.113.7", "203.0.113.0"),
    (["garbage, 203.0.113.7"], "203.0.113.7", "203.0.113.0"),
    (["10.1.2.3"], "10.1.2.3", "10.1.2.0"),
    (["10.9.9.9, 10.1.2.3"], "10.9.9.9", "10.9.9.0"),
    (["203.0.113.7, garbage, 10.1.2.3"], "10.1.2.3", "10.1.2.0"),
    ([", ".join(["198.51.100.1"] * 500 + ["203.0.113.7"])], "203.0.113.7", "203.0.113.0"),
], ids=range(18))  # fmt: skip
async def test_a_trusted_proxy_says_who_called_it(proxy: Office, forwarded: list[str], address: str, masked: str) -> None:
    assert await known_of(proxy, *forwarded) == (address, PROXY, masked)


@pytest.mark.parametrize("forwarded", [[], [""], ["unknown"], ["203.0.113.7, garbage"], ["203.0.113.7, "], ["203.0.113.7;x"],
                                       ["203.0.113.300"], ["_hidden"]])  # fmt: skip
async def test_a_trusted_proxy_that_says_nothing_useful_is_the_caller(proxy: Office, forwarded: list[str]) -> None:
    assert await known_of(proxy, *forwarded) == (PROXY, "", "127.0.0.0")


async def test_nobody_else_is_believed(stranger: Office, office: Office) -> None:
    for forwarded in (["203.0.113.7"], ["203.0.113.7, 127.0.0.9"], ["127.0.0.9", "10.0.0.1"]):
        assert await known_of(stranger, *forwarded) == ("127.0.0.1", "", "127.0.0.0")
        assert await known_of(office, *forwarded) == ("127.0.0.1", "", "127.0.0.0")


async def test_other_forwarding_headers_count_for_nothing(proxy: Office) -> None:
    shop = await proxy.open_shop()
    key = await shop.new_key(MaxNoOfMachines=1)
    headers = {"Forwarded": "for=203.0.113.7", "X-Real-IP": "203.0.113.7", "True-Client-IP": "203.0.113.7"}
    form = {"token": proxy.token, "ProductId": str(shop.id), "Key": key, "MachineCode": "m"}
    async with proxy.http.post(f"{proxy.live.url}/api/key/Activate", data=form, headers=headers) as answer:
        assert (await answer.json())["licenseKey"]["activatedMachines"][0]["ip"] == PROXY
