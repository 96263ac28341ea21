"""What only a browser can tell; skipped where none is installed."""

import html
import os
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from isthmus.auditing.page import render_audit

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

# Frames give a page a narrower window than a browser allows its own.
MEASURE = """<!doctype html><meta charset="utf-8"><body>
{frames}
<script>
addEventListener("load", () => {{
  document.title = [...document.querySelectorAll("iframe")].map(frame => {{
    const root = frame.contentDocument.documentElement;
    return frame.width + ":" + root.scrollWidth + ":" + root.clientWidth;
  }}).join(" ");
}});
</script>"""


def browse(path, folder):
    command = [CHROMIUM, "--headless", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={folder}"]
    if os.name == "posix" and os.geteuid() == 0:
        # Chromium refuses its sandbox to root; the page is the project's own.
        command.append("--no-sandbox")
    return subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


def test_page_fits_narrow_windows_without_errors(make_audit, tmp_path):
    long = "aNameWithoutAnyPlaceToBreak" * 8
    audit = make_audit(languages=("en", "ar", "ko"), models=(f"org/{long}", "second"), text=f" {long}")
    page = html.escape(render_audit(audit), quote=True)
    frames = [f'<iframe width="{width}" height="800" srcdoc="{page}"></iframe>' for width in (320, 375, 1200)]
    (tmp_path / "frames.html").write_text(MEASURE.format(frames="\n".join(frames)), encoding="utf-8")

    found = browse(tmp_path / "frames.html", tmp_path / "profile")

    title = re.search(r"<title>(.*?)</title>", found.stdout)
    assert title, found.stdout[:500]
    for sizes in title[1].split():
        _, needed, given = map(int, sizes.split(":"))
        assert needed <= given, f"the page is {needed} pixels wide in a window of {given}"
    assert len(title[1].split()) == 3
    assert "CONSOLE" not in found.stderr


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def show(browser):
    """Opens an audit's page; options are those of a browser's context."""
    contexts = []

    def call(audit, **options):
        contexts.append(browser.new_context(viewport={"width": 1000, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.set_content(render_audit(audit))
        return page

    yield call
    for context in contexts:
        context.close()


# Contrast of every text with the background behind it, lowest first, by WCAG 2. Bars of the split are no backgrounds.
CONTRASTS = """() => {
  const channels = color => (color.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const luminance = color => {
    const linear = share => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = channels(color).map(channel => linear(channel / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = color => channels(color).length < 4 || channels(color)[3] > 0;
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (seen(color)) return color;
    }
    return getComputedStyle(document.documentElement).colorScheme === "dark" ? "rgb(0, 0, 0)" : "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest(".split, title, script")) continue;
    const color = element.closest("svg") ? getComputedStyle(element).fill : getComputedStyle(element).color;
    const [low, high] = [luminance(color), luminance(behind(element))].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), walker.currentNode.data.trim()]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


def background(page):
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return [float(number) for number in re.findall(r"[\d.]+", colour)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_both_schemes(make_audit, show, scheme):
    page = show(make_audit(gaps={"ko": 5.0}), color_scheme=scheme)
    assert (max(background(page)[:3]) < 60) == (scheme == "dark")
    lowest, *_ = found = page.evaluate(CONTRASTS)
    assert len(found) > 200
    assert lowest[0] >= 4.5, lowest


def test_print_is_light_and_opens_everything(make_audit, show):
    page = show(make_audit(), color_scheme="dark")
    closed = "details:not([open])"
    assert {"pool", "question"} <= set(page.locator(closed).evaluate_all("all => all.map(one => one.className)"))
    hidden = f"""[...document.querySelectorAll("{closed}")]
        .filter(details => [...details.children].some(child => !child.checkVisibility()))"""
    assert page.evaluate(f"{hidden}.length") > 2
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(f"{hidden}.map(details => details.className)") == []
    # Nothing is painted behind paper, and the ink is dark.
    assert background(page)[3:] == [0]
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert not page.locator("nav").is_visible()


def test_printed_page_holds_the_hits_of_every_question(make_audit, show, tmp_path):
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("needs pdftotext: apt-get install poppler-utils")
    audit = make_audit(models=("only",), pools=("multi",))
    page = show(audit)
    page.pdf(path=tmp_path / "page.pdf")
    text = subprocess.run([reader, tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True).stdout
    questions = page.locator(".question").count()
    assert questions == 10
    # Two relevant passages are shown for each.
    assert text.count("✓ relevant") == 2 * questions


def test_right_to_left_texts_run_from_the_right(make_audit, show):
    asked, answer = "من بنى البيت القديم؟", "بنى الناس البيت القديم من حجر."
    audit = make_audit(models=("only",), languages=("en", "ar"), pools=("multi",))

    def spoken(hit):
        return replace(hit, text=answer) if hit.language == "ar" else hit

    def written(found):
        if found.pool.query_language != "ar":
            return found
        hardest = [
            replace(query, text=asked, hits=tuple(map(spoken, query.hits)), golds=tuple(map(spoken, query.golds)))
            for query in found.hardest
        ]
        return replace(found, hardest=tuple(hardest))

    page = show(replace(audit, results=tuple(map(written, audit.results))))
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for text, right in ((asked, True), (answer, True), ("question 0", False), ("passage 2", False)):
        found = page.locator("[dir=auto]:visible", has_text=text).first.evaluate(
            """element => {
              const text = document.createRange();
              text.selectNodeContents(element);
              const [inner, outer] = [text.getBoundingClientRect(), element.getBoundingClientRect()];
              return {
                left: inner.left - outer.left, right: outer.right - inner.right,
                direction: getComputedStyle(element).direction,
              };
            }"""
        )
        assert found["direction"] == ("rtl" if right else "ltr"), text
        start, end = (found["right"], found["left"]) if right else (found["left"], found["right"])
        assert start < 1 < 20 < end, (text, found)
    # What is around them is English and stays as it is.
    assert page.evaluate("getComputedStyle(document.body).direction") == "ltr"
