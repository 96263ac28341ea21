"""The tutorials are run as they stand: files are written, commands and Python are run, what they print is compared."""

import re
import shlex
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.assets, pytest.mark.filterwarnings("ignore")]
DOCS = Path(__file__).parent.parent / "docs"
# In the order of the site: each goes on with the files of those before.
TUTORIALS = ("first-transfer", "search-your-corpus", "audit-a-model", "align-a-model")
BLOCK = re.compile(r'^```(console|python|json)(?: title="([\w.-]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
# Seconds and bytes differ from run to run and from disk to disk; a line of `...` stands for any lines.
CHANGING = re.compile(r"[\d,.]+( s\b|s\b| bytes)")


def same(shown: str, printed: str) -> bool:
    """Whether a printed line is the one shown: words equal, numbers within a twentieth."""
    shown, printed = (CHANGING.sub("#", " ".join(line.split())) for line in (shown, printed))
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    values = [[float(number.replace(",", "")) for number in pair] for pair in pairs]
    return all(abs(a - b) <= max(0.02, abs(a) / 20) for a, b in values)


def missing(shown: str, printed: str) -> str | None:
    """The first shown line that was not printed in its place."""
    lines = iter(printed.splitlines())
    skip = False
    for line in shown.splitlines():
        if line.strip() == "...":
            skip = True
        elif not (any(same(line, found) for found in lines) if skip else same(line, next(lines, ""))):
            return line
        else:
            skip = False
    return None


def commands(block: str) -> list[tuple[list[str], str]]:
    """(arguments, what is shown below) of every command of a block."""
    parts = re.split(r"^\$ isthmus ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    return [(shlex.split(part.split("\n", 1)[0]), part.split("\n", 1)[1].rstrip("\n")) for part in parts]


@pytest.mark.long
def test_tutorials_print_what_they_show(tmp_path, monkeypatch, capsys):
    from isthmus.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    wrong, names = [], {}
    for tutorial in TUTORIALS:
        for kind, title, text in BLOCK.findall((DOCS / "tutorials" / f"{tutorial}.md").read_text(encoding="utf-8")):
            if title:
                (tmp_path / title).write_text(text, encoding="utf-8")
            elif kind == "python":
                exec(compile(text, tutorial, "exec"), names)
            elif kind == "console":
                for arguments, shown in commands(text):
                    monkeypatch.setattr(sys, "argv", ["isthmus", *arguments])
                    with pytest.raises(SystemExit) as ended:
                        main()
                    printed = capsys.readouterr()
                    assert ended.value.code == 0, printed.err
                    if (line := missing(shown, printed.out)) is not None:
                        wrong.append((tutorial, arguments, line, printed.out))
    assert not wrong


def test_other_output_is_noticed():
    assert missing("a 1.00\n...\nb 0.50", "a 1.01\nx\nb 0.49") is None
    assert missing("a 1.00\nb", "a 2.00\nb") == "a 1.00"
    assert missing("a\n...\nc", "a\nb") == "c"
    assert same("12 documents, 823 bytes; 41.6 s", "12 documents, 911 bytes;  2.0 s")
