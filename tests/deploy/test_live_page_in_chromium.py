"""The live page in Debian's Chromium, headless: it fills under load, goes on after a restart, and is fit to be read."""

import asyncio
import http.client
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers import Live, open_folder, start, stop
from shipping import free_port

pytestmark = pytest.mark.deploy

CHROMIUM = "/usr/bin/chromium"
FOREIGN = "evil.example"
LONG = 60_000.0  # milliseconds; a deadline of liveness
ANSWERED = "kept.ok?.some(rate => rate > 0) && kept.refused.some(rate => rate > 0) && kept.faulty.some(rate => rate > 0)"
COLOURED = """[...document.querySelectorAll("canvas")].map(canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let coloured = 0;
    for (let at = 0; at < data.length; at += 4)
        coloured += data[at + 3] > 200 && Math.max(...data.slice(at, at + 3)) - Math.min(...data.slice(at, at + 3)) > 60;
    return coloured;
})"""

PRESSED = """() => {
    const plot = document.querySelector(".plot");
    const told = ["ArrowLeft", "ArrowLeft", "ArrowRight"].map(key => {
        plot.dispatchEvent(new KeyboardEvent("keydown", { key }));
        return plot.getAttribute("aria-label").match(/at (.*?): /)?.[1];
    });
    return [told, [-2, -3, -2].map(place => clock(kept.at.at(place)))];
}"""  # at once: points may come between two keys


@dataclass
class Tab:
    """A page that is open, and whatever the browser found wrong with it. `page` is playwright's, an extra."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    async def comes(self, condition: str) -> None:
        """Wait until it is true in the page."""
        await self.page.wait_for_function(f"() => {condition}", timeout=LONG)

    async def says(self, beginning: str) -> None:
        await self.comes(f'document.getElementById("condition").textContent.startsWith("{beginning}")')


@dataclass
class Place:
    """Where the server is: the same ports after each restart."""

    data: Path
    ports: dict[str, str]

    def start(self) -> Live:
        return start(self.data, **self.ports)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with open_folder() as folder:
        yield Place(folder / "data", {"PORT": str(free_port()), "KEYTURN_OPS_PORT": str(free_port())})


@pytest.fixture(scope="module")
def served(place: Place) -> Iterator[list[Live]]:
    """The server as the only one of a list: a test may put another one in its place."""
    servers = [place.start()]
    yield servers
    assert stop(servers[0]) == 0


@asynccontextmanager
async def tab(live: Live, **context: Any) -> AsyncIterator[Tab]:
    from playwright.async_api import async_playwright  # noqa: PLC0415 (an extra: only these tests have it)

    async with async_playwright() as playwright:
        mapped = f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[mapped])
        opened = Tab(await (await browser.new_context(**context)).new_page())
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        await opened.page.goto(live.demo["ops_url"])
        try:
            yield opened
        finally:
            await browser.close()


def load(live: Live) -> None:
    """A little of what clients do, rightly and wrongly."""
    key = live.new_key(2)
    for machine in range(20):
        live.call("key/Activate", Key=key, MachineCode=f"planted{machine % 3}", Sign="true")
        live.call("key/Activate", Key=key, MachineCode=f"planted{machine % 3}", FloatingTimeInterval=100)
    line = http.client.HTTPConnection(live.url.removeprefix("http://"), timeout=30)
    line.request("GET", "/api/planted")
    line.getresponse().read()
    line.close()


async def test_it_fills_under_load_and_the_browser_finds_nothing_wrong(served: list[Live]) -> None:
    async with tab(served[0]) as opened:
        await opened.says("Ready")
        await asyncio.to_thread(load, served[0])
        await opened.comes(ANSWERED)
        await opened.comes("kept.p99.some(Boolean) && kept.signed.some(Boolean) && kept.seat_refused.some(Boolean)")
        await opened.comes("kept.at.length > 2")
        drawn = await opened.page.evaluate(COLOURED)
        assert len(drawn) == 12
        assert [count for count in drawn if count < 10] == []
        text = await opened.page.inner_text("body")
        assert re.search(r"Workers ready\s+2 of 2", text)
        assert "Cannot activate the new device as the limit has been reached." in text
        assert "unknown method" in text
        assert await opened.page.is_hidden("#quiet")
        whole = await opened.page.content()
        assert not [secret for secret in ("planted", served[0].demo["token"]) if secret in whole]
        assert opened.complaints == []


async def test_it_says_that_the_server_is_away_and_goes_on_by_itself_when_it_is_back(
    served: list[Live], place: Place
) -> None:
    async with tab(served[0]) as opened:
        await asyncio.to_thread(load, served[0])
        await opened.comes(ANSWERED)
        times = await opened.page.evaluate("kept.at")
        assert await asyncio.to_thread(stop, served[0]) == 0
        await opened.says("Not reachable since")
        served[0] = await asyncio.to_thread(place.start)
        await opened.says("Ready")
        await opened.comes(f"kept.at.at(-1) > {times[-1]} && kept.at.length > {len(times)}")
        after = await opened.page.evaluate("kept.at")
        assert after[: len(times)] == times
        assert after == sorted(set(after))
        assert await opened.page.evaluate("document.body.className") == ""
        assert [each for each in opened.complaints if "ERR_CONNECTION_REFUSED" not in each] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_readable_on_a_phone_by_day_and_by_night(served: list[Live], scheme: str) -> None:
    async with tab(served[0], viewport={"width": 360, "height": 740}, color_scheme=scheme) as opened:
        await opened.says("Ready")
        await opened.comes("kept.at.length > 1")
        assert await opened.page.evaluate("document.documentElement.scrollWidth") <= 360
        ground, ink = await opened.page.evaluate(
            "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number))"
        )
        assert (sum(ground) > sum(ink)) == (scheme == "light")
        assert abs(sum(ground) - sum(ink)) > 450


async def test_charts_can_be_read_without_seeing_them_and_moved_through_by_keys(served: list[Live]) -> None:
    async with tab(served[0]) as opened:
        await opened.comes("kept.at.length > 2")
        plot = opened.page.locator(".plot").first
        assert re.match(r"Answers, now: OK [\d.]+/s, refused by a rule", await plot.get_attribute("aria-label"))
        await plot.focus()
        told, expected = await opened.page.evaluate(PRESSED)
        assert told == expected
        await opened.page.keyboard.press("Tab")
        await opened.comes('document.querySelector(".plot").getAttribute("aria-label").includes("now")')
        assert await opened.page.get_attribute("#condition", "role") == "status"


async def test_a_foreign_name_for_this_host_is_refused(served: list[Live]) -> None:
    async with tab(served[0]) as opened:
        port = served[0].demo["ops_url"].rpartition(":")[2]
        for path in ("", "live.json"):
            answer = await opened.page.goto(f"http://{FOREIGN}:{port}/{path}")
            assert answer.status == 403
