"""The explorer in Chromium: what a reader sees and types. Skipped where the browser or Playwright is missing."""

import os
import shutil
import threading
import time
from contextlib import contextmanager

import pytest

from isthmus.index import SparseIndex
from isthmus.serve.library import Library
from isthmus.serve.options import Limits
from tests.serve.conftest import REASON

uvicorn = pytest.importorskip("uvicorn", reason=REASON)
pytest.importorskip("fastapi", reason=REASON)
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
from isthmus.serve import create_app  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

KEY = "0123456789abcdef-secret"
ATTACK = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
LONG = "house " * 100 + "war " + "a" * 300
MORE = [
    {"id": "rtl", "text": "البيت water house", "language": "ar"},
    {"id": ATTACK, "text": f"{ATTACK} water house", "title": ATTACK, "language": ATTACK, "note": ATTACK},
    {"id": "long", "text": LONG, "language": "en", "size": "long"},
    *({"id": f"more-{number}", "text": "water house the of", "language": "en"} for number in range(12)),
]


@contextmanager
def serving(folder, **options):
    config = uvicorn.Config(create_app(Library(folder), limits=Limits(), **options), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def browser():
    # Chromium refuses its sandbox to root; the page is the project's own.
    arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "idx"
    shutil.copytree(built, folder)
    SparseIndex.open(folder).add(MORE)
    with serving(folder) as url:
        yield url


@pytest.fixture
def page(browser, url):
    """A page at the explorer; anything on its console fails the test."""
    context = browser.new_context(base_url=url, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto("/")
    page.wait_for_selector("main:not(.busy) > *")
    yield page
    context.close()
    assert said == []


def focused(page):
    return page.evaluate(
        "() => document.activeElement.id || document.activeElement.querySelector('.rank')?.textContent"
    )


def search(page, text):
    page.fill("#box", text)
    page.press("#box", "Enter")
    page.wait_for_selector("main:not(.busy) .hit")


def test_keyboard_alone(page):
    assert focused(page) == "box"
    search(page, "water house")
    page.keyboard.press("ArrowDown")
    assert focused(page) == "1"
    page.keyboard.press("ArrowDown")
    assert focused(page) == "2"
    page.keyboard.press("Enter")
    page.wait_for_selector(".why")
    assert focused(page) == "2"
    assert page.get_attribute(".hit:nth-child(2) .head", "aria-expanded") == "true"
    page.keyboard.press("Enter")
    assert page.locator(".why").count() == 0
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert focused(page) == "box"
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    assert focused(page) == "box"
    assert page.input_value("#box") == "water house"
    page.keyboard.press("/")
    assert page.input_value("#box") == "/"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert focused(page) == "box"


def test_hits_show_what_they_matched(page):
    search(page, "water house")
    assert page.locator(".hit").count() == 10
    assert "10 hits in" in page.inner_text("#status")
    hit = page.locator(".hit", has_text="ar").first
    marks = {mark.lower() for mark in page.locator(".hit mark").all_inner_texts()}
    assert marks
    assert marks <= {"water", "house", "the", "of", "home", "school", "war", "korea", "capital"}
    assert page.locator("aside .bars li").count() > 3
    widths = page.eval_on_selector_all("aside .bar i", "bars => bars.map(bar => bar.getBoundingClientRect().width)")
    titles = page.locator("aside .read-as h3").all_inner_texts()
    assert titles == ["Meanings", "Word pieces"][: len(titles)]
    assert widths == sorted(widths, reverse=True) or len(titles) == 2
    assert widths[0] > 50
    hit.locator(".head").click()
    page.wait_for_selector(".why .bars li")
    page.click("text=Show more")
    page.wait_for_selector(".hit:nth-child(11)")


def test_nothing_in_a_document_becomes_code(page):
    search(page, "water house")
    page.click("text=Show more")
    page.wait_for_selector(".hit:nth-child(11)")
    hit = page.locator(".hit", has_text="onerror").first
    hit.locator(".head").click()
    page.wait_for_selector(".why")
    assert page.locator("main img, main script").count() == 0
    assert "Isthmus explorer" in page.title()
    assert ATTACK in page.locator(".hit .text", has_text="onerror").inner_text()
    search_text = "<b>water</b>"
    search(page, search_text)
    assert page.locator("main b").count() == 0
    page.goto(f"/?q={ATTACK}")
    page.wait_for_selector("main:not(.busy) > *")
    assert page.input_value("#box") == ATTACK


def test_every_field_can_be_chosen_from(page):
    search(page, "water house")
    # Counts are those of the index, though no Korean document is among the hits that are shown.
    shown = page.locator(".field", has_text="Language").locator("button").all_inner_texts()
    assert {"English 15", "Arabic 2", "Korean 1"} < set(shown)
    page.click("aside button:has-text('Arabic')")
    page.wait_for_selector("aside button[aria-pressed=true]:has-text('Arabic')")
    assert set(page.locator(".hit .tag").all_inner_texts()) == {"Arabic"}
    assert "language=ar" in page.url
    page.go_back()
    page.wait_for_selector(".field:has-text('Language') button[aria-pressed=true]:has-text('All')")
    page.click(".field:has-text('year') button:has-text('2001')")
    page.wait_for_selector(".field:has-text('year') button[aria-pressed=true]:has-text('2001')")
    assert page.locator(".hit").count() == 1
    page.reload()
    page.wait_for_selector(".field:has-text('year') button[aria-pressed=true]:has-text('2001')")


def test_the_start_shows_languages_and_queries_that_work(page):
    assert "15 documents" in page.locator(".languages li", has_text="English").inner_text()
    assert page.locator(".examples a").count() == page.locator(".languages li").count()
    page.click(".examples a >> nth=0")
    page.wait_for_selector(".hit")


def test_why_stands_above_the_text_with_a_line_where_reading_stopped(page):
    page.goto("/?q=house war&filter=size=long")
    page.click(".hit .head")
    page.wait_for_selector(".why")
    hit = page.locator(".hit:has(.why)")
    assert hit.locator(".why").bounding_box()["y"] < hit.locator(".text").bounding_box()["y"]
    assert hit.locator(".stopped").inner_text() == "The encoder stopped reading here"
    unread = hit.locator(".unread").inner_text()
    assert unread.endswith("a" * 300)
    assert hit.locator(".unread mark").count() == 0
    text = hit.locator(".text").evaluate("text => text.textContent")
    assert text.replace("The encoder stopped reading here", "") == LONG.strip()


def test_a_query_of_strange_letters_is_said(page):
    page.goto("/?q=ᚠᚢᚦ")
    page.wait_for_selector(".warning:has-text('knows no character')")
    search(page, "house")
    assert page.locator(".warning").count() == 0


def test_it_asks_again_when_the_server_is_away(browser, url):
    page = browser.new_page(base_url=url)
    page.goto("/?q=water house")
    page.wait_for_selector(".hit")
    page.route("**/api/**", lambda route: route.abort())
    page.fill("#box", "war")
    page.press("#box", "Enter")
    page.wait_for_selector("#status.bad:has-text('Trying again in')")
    page.unroute("**/api/**")
    page.wait_for_selector(".hit", timeout=10_000)
    assert "bad" not in page.get_attribute("#status", "class")
    page.route(
        "**/api/**", lambda route: route.fulfill(status=503, headers={"Retry-After": "20"}, json={"error": "busy"})
    )
    page.press("#box", "Enter")
    page.wait_for_selector("#status:has-text('busy Trying again in 20 s')")
    page.unroute("**/api/**")
    page.click("text=Try now")
    page.wait_for_selector(".hit")
    page.close()


def test_fingers_hit_everything(browser, url):
    page = browser.new_page(base_url=url, viewport={"width": 390, "height": 844}, has_touch=True)
    for path in ("/", "/?q=water house", "/?token=home"):
        page.goto(path)
        page.wait_for_selector("main:not(.busy) > *")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        small = page.evaluate(
            """[...document.querySelectorAll("a, button, input, select, summary")]
            .map(one => [one.textContent, one.getBoundingClientRect()])
            .filter(([, box]) => box.height > 0 && Math.min(box.height, box.width) < 40).map(([text]) => text)"""
        )
        assert small == []
    page.close()


def test_right_to_left(page):
    page.goto("/?q=water house&language=ar")
    page.wait_for_selector(".hit .text:has-text('البيت')")
    assert page.eval_on_selector(".hit .text:has-text('البيت')", "text => getComputedStyle(text).direction") == "rtl"
    assert page.get_attribute(".hit .text:has-text('البيت')", "lang") == "ar"
    page.fill("#box", "البيت")
    assert page.eval_on_selector("#box", "box => getComputedStyle(box).direction") == "rtl"
    assert page.eval_on_selector("body", "body => getComputedStyle(body).direction") == "ltr"


def test_token_page(page):
    page.click("#to-tokens")
    page.fill("#box", "home")
    page.press("#box", "Enter")
    page.wait_for_selector(".token")
    assert "Mixed from" in page.inner_text(".token")
    made_of = page.locator(".lists section", has_text="Made of").locator("li").all_inner_texts()
    assert [text.split() for text in made_of] == [["house", "0.70"], ["school", "0.30"]]
    page.click(".lists a:has-text('house') >> nth=0")
    page.wait_for_selector("h2:has-text('house')")
    assert "Goes into" in page.inner_text(".token")
    assert "Written: vectors have a dimension for it." in page.inner_text(".token")
    page.go_back()
    page.wait_for_selector("h2:has-text('home')")


def test_a_token_that_documents_have_shows_them(page):
    search(page, "water house")
    page.click(".hit .terms a >> nth=0")
    page.wait_for_selector(".token")
    assert page.locator(".use h3").inner_text().startswith("In ")
    assert 0 < page.locator(".used").count() <= 5
    assert page.locator(".columns-of span").count() == 12


def test_problems_are_said(browser, url):
    page = browser.new_page(base_url=url)
    page.goto("/?token=집")
    page.wait_for_selector("#status.bad")
    assert "vocabulary" in page.inner_text("#status")
    page.goto("/?q=" + "w" * 2001)
    page.wait_for_selector("#status.bad:has-text('2000 characters')")
    page.close()


@pytest.mark.parametrize("width", [320, 375, 768, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits(browser, url, width, scheme):
    context = browser.new_context(base_url=url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    for path in ("/", "/?q=water house", "/?q=war", "/?token=home", "/?token=" + "a" * 200, f"/?q={'w' * 300}"):
        page.goto(path)
        page.wait_for_selector("main:not(.busy)", state="attached")
        if page.locator(".head").count():
            page.locator(".head").last.click()
            page.wait_for_selector(".why")
        needed, given = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert needed <= given, f"{path} is {needed} pixels wide in a window of {given}"
    paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(253, 253, 252)" if scheme == "light" else "rgb(20, 23, 26)")
    context.close()


def test_the_page_asks_for_a_key(browser, built):
    with serving(built, api_key=KEY) as url:
        page = browser.new_page()
        page.goto(url + "/?q=water house")
        page.wait_for_selector("#key-form:not([hidden])")
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        page.wait_for_selector("#status.bad")
        page.fill("#key", KEY)
        page.press("#key", "Enter")
        page.wait_for_selector(".hit")
        assert page.locator("#key-form").is_hidden()
        assert KEY not in page.url
        page.close()
