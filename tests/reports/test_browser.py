"""What only a browser can tell; skipped where none is installed."""

import html
import os
import re
import shutil
import subprocess

import pytest

from isthmus.reports.audit_page import render_audit

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
