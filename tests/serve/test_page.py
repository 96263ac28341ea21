"""The explorer's files: nothing inline, nothing from elsewhere, the colours of the report pages."""

import re
from pathlib import Path

import isthmus

PAGE = Path(isthmus.__file__).parent / "serve" / "page"
REPORT = Path(isthmus.__file__).parent / "auditing" / "templates" / "audit.css"
FILES = sorted(PAGE.iterdir())


def test_files_are_served_and_kept_by_browsers(client):
    for file in FILES:
        path = "/" if file.name == "index.html" else f"/page/{file.name}"
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.content == file.read_bytes()
        again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/").headers["content-type"].startswith("text/html")
    assert client.get("/page/explorer.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/page/explorer.css").headers["content-type"].startswith("text/css")
    assert client.get("/page/index.html").status_code == 404


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    for file in FILES:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file.name
        assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", text), file.name
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=", page)


def test_modules_import_what_is_there():
    for file in PAGE.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', file.read_text(encoding="utf-8")):
            assert (PAGE / name).is_file()


def test_colours_are_those_of_the_reports():
    def colours(css):
        return [dict(re.findall(r"--([\w-]+): (#\w+);", part)) for part in css.split("prefers-color-scheme", 1)]

    own, report = (colours(path.read_text(encoding="utf-8")) for path in (PAGE / "explorer.css", REPORT))
    for mine, theirs in zip(own, report, strict=True):
        assert len(mine) > 10
        assert mine.items() <= theirs.items()
