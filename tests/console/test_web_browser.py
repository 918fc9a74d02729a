"""The page in a real browser, on a phone's screen: what a technician sees, and what a thumb needs."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from gateway.console import web
from tests.console.stand_in import StandIn, city, measured

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 390, "height": 844}
QUICK = web.Limits(tick_s=0.1, sample_s=0.5)

playwright = pytest.importorskip("playwright.async_api", reason="pip install playwright")

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="install chromium: apt-get install chromium"),
    pytest.mark.asyncio(loop_scope="module"),
]

SERVERS = [
    {
        "name": "city", "state": "connected", "evidence": "", "forwarded": 40, "acknowledged": 39, "unanswered": 1,
        "acknowledged_share": 0.975, "last_contact_s": 1.0, "round_trip_ms": 23.0, "downlinks": {"SENT": 3},
        "airtime": [{"receiver": "roof", "band": "g1", "used_s": 0.046, "left_s": 35.8, "limit_s": 36.0}],
    },
    {
        "name": "hole", "state": "unreachable", "evidence": "no answer for 30 s", "hint": "Open UDP 1700.",
        "forwarded": 40, "acknowledged": 0, "unanswered": 40, "acknowledged_share": 0.0, "missed": {"away": 3},
    },
    {
        "name": "region", "state": "refused", "evidence": "it wants a token", "hint": "Check token_file.",
        "forwarded": 1, "acknowledged": None, "acknowledged_share": None,
    },
]  # fmt: skip
"""Network servers as three kinds of them tell of themselves: well, black-holed, turned away."""

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]

# The contrast of every visible text with what lies behind it, by the formula of WCAG 2.2, section 1.4.3.
WEAK_TEXTS = """least => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const weak = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.nodeValue.trim());
    if (!own || !node.checkVisibility() || node.closest(".unseen, .skip, noscript")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) weak.push(`${node.className || node.nodeName}: ${node.textContent.trim()} ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with playwright.async_playwright() as engine:
        chromium = await engine.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        await chromium.close()


@asynccontextmanager
async def looking(browser, daemon, phone_time=None, **how):
    """Somebody opens the page on a phone; `complaints` is what the browser found wrong, `asked` what it loaded."""
    async with await web.serve_tcp(web.application(daemon, limits=QUICK), "127.0.0.1:0") as door:
        url = f"http://127.0.0.1:{door.addresses[0][1]}"
        context = await browser.new_context(**{"viewport": PHONE, **how})
        page = await context.new_page()
        page.set_default_timeout(5_000)
        complaints, asked = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url.removeprefix(url)))
        if phone_time is not None:
            await page.clock.install(time=phone_time)
        await page.goto(url)

        async def live():
            await page.wait_for_selector("#live:not(:empty)")

        yield SimpleNamespace(page=page, live=live, complaints=complaints, asked=asked, door=door)
        await context.close()


async def text_of(page, selector):
    return (await page.inner_text(selector)).replace("\u202f", " ")


async def test_on_a_phone_nothing_is_wrong_missing_or_wider_than_the_screen(browser):
    async with looking(browser, city()) as seen:
        await seen.live()
        assert seen.complaints == []
        assert all(path.startswith("/") for path in seen.asked)
        assert await seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert await seen.page.title() == "OK · Musée Fabre, toit"


async def test_the_three_answers_stand_on_the_first_screen_and_stay_there(browser):
    async with looking(browser, city()) as seen:
        for scrolled in (0, 500):
            await seen.page.evaluate("y => window.scrollTo(0, y)", scrolled)
            for lamp in await seen.page.locator(".lamp").all():
                box = await lamp.bounding_box()
                assert box["y"] >= 0
                assert box["y"] + box["height"] <= 200
        assert await seen.page.locator(".lamp").count() == 3
        assert await seen.page.evaluate("window.scrollY") == 500
        assert "Hearing\nYes" in await text_of(seen.page, ".lamps")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("trouble", [False, True])
async def test_every_text_can_be_read_in_sunlight_and_at_night(browser, scheme, trouble):
    daemon = city()
    if trouble:
        daemon.lose_sink("toulouse-platform")
        daemon.silence_radio()
        daemon.fill_disk()
        daemon.clock = {"quality": "unsynced", "uncertainty_ms": None}
        daemon.sinks["musee-archive"]["state"] = "paused"
        daemon.lns = SERVERS
    async with looking(browser, daemon, color_scheme=scheme) as seen:
        await seen.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert await seen.page.evaluate(WEAK_TEXTS, 4.5) == []
        lamps = await seen.page.evaluate(WEAK_TEXTS, 6.0)
        assert not [weak for weak in lamps if weak.startswith(("label", "STRONG", "lamp"))]


async def test_each_network_server_says_what_is_wrong_with_it_and_what_to_do_beside_its_name(browser):
    daemon = city()
    daemon.lns = SERVERS
    async with looking(browser, daemon) as seen:
        cards = [await card.inner_text() for card in await seen.page.locator("#servers li:has(.link)").all()]
        assert "Network servers: hole unreachable, region refuses us" in await text_of(seen.page, "#delivering")
        widest = await seen.page.evaluate("document.documentElement.scrollWidth")
    assert [card.split("\n")[0] for card in cards] == ["city", "hole", "region"]
    good, hole, region = (" ".join(card.split()) for card in cards)
    assert "40 forwarded, 39 acknowledged (98%), 1 not" in good
    assert "on air g1: 46 ms this hour, 35.8 s left for all" in good
    assert "What to do" not in good
    assert "Open UDP 1700" in hole
    assert "this protocol acknowledges none" in region
    assert "Check token_file." in region
    assert widest <= PHONE["width"]


async def test_what_can_be_touched_is_large_enough_for_a_glove(browser):
    async with looking(browser, city()) as seen:
        for target in await seen.page.locator("a:not(.skip), summary").all():
            box = await target.bounding_box()
            assert box["height"] >= 44  # WCAG 2.2, 2.5.5: 44 CSS pixels
            assert box["width"] >= 44


async def test_a_reading_appears_as_it_comes(browser):
    daemon = city()
    async with looking(browser, daemon) as seen:
        await seen.live()
        daemon.hear("PAV Comédie 7", measured("fill_level", 61.5, "%"))
        await seen.page.wait_for_selector("#rows > li:first-child:has-text('PAV Comédie 7')")
        assert "61.5 %" in await text_of(seen.page, "#rows > li:first-child .values")
        assert await seen.page.locator("#rows > li").count() == 6
        await seen.page.wait_for_selector("#part-hearing:has-text('1 frame in')")
        assert seen.complaints == []


async def test_a_trouble_appears_as_it_comes_and_goes(browser):
    daemon = city()
    async with looking(browser, daemon) as seen:
        await seen.live()
        daemon.lose_sink("toulouse-platform")
        await seen.page.wait_for_selector(".lamp.bad:has-text('Partly blocked')")
        assert await seen.page.title() == "Partly blocked · Musée Fabre, toit"
        assert "Delivering: Partly blocked." in await seen.page.text_content("#spoken")
        assert "no route to host" in await text_of(seen.page, "#delivering")
        assert "journalctl -u lorawan-gateway" in await text_of(seen.page, "#delivering .todo")
        daemon.sinks["toulouse-platform"].update(state="connected", evidence="", queued=0, oldest_age_s=None)
        await seen.page.wait_for_selector(".lamp.bad", state="detached")


async def test_an_open_reading_stays_open_while_others_come(browser):
    daemon = city()
    async with looking(browser, daemon) as seen:
        await seen.page.click("#rows > li:first-child summary")
        await seen.page.click("#d-counters summary")
        for number in range(3):
            daemon.hear(f"PAV {number}")
            await seen.page.wait_for_selector(f"#rows > li:first-child:has-text('PAV {number}')")
        opened = seen.page.locator("#rows details[open]")
        assert await opened.count() == 1
        assert "PAV Antigone 12" in await opened.inner_text()
        assert "868.1 MHz, SF7, \u221297 dBm, SNR 5.2 dB" in await opened.inner_text()
        assert await seen.page.locator("#d-counters[open]").count() == 1
        assert "Device not added here" in await text_of(seen.page, "#d-counters")


async def test_without_javascript_the_page_reloads_itself_and_says_the_same(browser):
    daemon = city()
    async with looking(browser, daemon, java_script_enabled=False) as seen:
        refresh = seen.page.locator("meta[http-equiv=refresh]")
        assert await refresh.count() == 1
        assert await refresh.get_attribute("content") == "10"
        daemon.hear("PAV Comédie 7")
        daemon.silence_radio()
        await seen.page.reload()
        assert "PAV Comédie 7" in await text_of(seen.page, "#rows > li:first-child")
        assert "ago" in await text_of(seen.page, "#rows > li:first-child .when")
        assert "Silent" in await text_of(seen.page, ".lamps")
        await seen.page.click("#rows > li:first-child summary")
        assert "DevEUI" in await text_of(seen.page, "#rows > li:first-child .more")
        assert seen.complaints == []


async def test_hostile_names_are_read_and_not_run(browser):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    daemon = StandIn(hostile)
    daemon.name = daemon.radio["evidence"] = hostile
    daemon.hear(
        hostile, measured(hostile, hostile, hostile), tags={hostile: hostile}, warnings=[hostile], problem=hostile
    )
    async with looking(browser, daemon) as seen:
        await seen.live()
        daemon.hear(f"{hostile} again", record_id='"><script>alert(3)</script>')
        await seen.page.wait_for_selector("#rows > li:first-child:has-text('again')")
        assert seen.complaints == []
        assert await seen.page.locator("img, script:not([src])").count() == 0
        assert hostile in await seen.page.inner_text("h1")


async def test_when_the_gateway_is_gone_the_page_does_not_pretend(browser):
    async with looking(browser, city(), phone_time="2026-11-23T12:00:00Z") as seen:
        await seen.live()
        await seen.door.cleanup()
        assert not await seen.page.is_visible("#lost")
        await seen.page.clock.fast_forward(7_000)
        await seen.page.wait_for_selector("#lost:visible")
        assert "What stands here is old" in await text_of(seen.page, "#lost")
        assert "live" not in await text_of(seen.page, "#h-readings")
        assert await seen.page.evaluate("getComputedStyle(document.querySelector('.lamps')).filter") != "none"


async def test_when_the_gateway_comes_back_so_does_the_page(browser):
    daemon = city()
    async with looking(browser, daemon) as seen:
        await seen.live()
        port = seen.door.addresses[0][1]
        await seen.door.cleanup()
        daemon.hear("PAV meanwhile")
        await asyncio.sleep(0.2)
        async with await web.serve_tcp(web.application(daemon, limits=QUICK), f"127.0.0.1:{port}"):
            await seen.page.wait_for_selector("#rows > li:first-child:has-text('PAV meanwhile')", timeout=10_000)
            assert not await seen.page.is_visible("#lost")


async def test_ages_follow_the_gateways_clock_not_the_phones(browser):
    async with looking(browser, city(), phone_time="2001-01-01T00:00:00Z") as seen:
        await seen.live()
        assert await text_of(seen.page, "#rows > li:nth-child(2) time[data-ago]") == "5 min ago"


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [(0, "No device has been heard yet."), (9, "The radio hears, but no device that was added here.")],
)
async def test_an_empty_page_says_what_to_do(browser, frames, sentence):
    daemon = StandIn()
    daemon.refuse("unknown_device", frames)
    async with looking(browser, daemon) as seen:
        said = await text_of(seen.page, "#part-empty")
        assert sentence in said
        assert "lorawan-gateway device add --dev-eui" in said
        assert "Nowhere" in await text_of(seen.page, ".lamps")
        await seen.live()
        daemon.hear("PAV first")
        await seen.page.wait_for_selector("#rows > li:has-text('PAV first')")
        assert not await text_of(seen.page, "#part-empty")
