"""Tables of what was chosen on development pairs, by measurements that are over and stand as they were shown.

LOG.md tells what came of them. The result file has the tables, and the rows that they are means of.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.harness import RESULTS, markdown
from isthmus.reading.storage import read_json


def choice_table(results: Path, *, name: str) -> str:
    """A table as it was made."""
    table = next(table for table in read_json(results / "choices.json")["tables"] if table["table"] == name)
    return markdown(table["header"], table["rows"], table["text"])


TABLES = {
    table["table"]: partial(choice_table, name=table["table"])
    for table in read_json(RESULTS / "choices.json")["tables"]
}
