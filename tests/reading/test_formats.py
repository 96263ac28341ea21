"""Files of documents as people bring them: delimiters, encodings, names of fields, nested metadata."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.corpus import Corpus, CorpusSource, Document, StandardInput
from isthmus.reading.fields import FieldNames
from isthmus.reading.notes import Notes
from isthmus.reading.records import read_records
from isthmus.reading.texts import read_texts

TWO = [Document("d1", "A bee; on the comb.", "Bees"), Document("d2", "The strait, frozen.", "")]


def made(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "delimiters"),
    [
        ('id,title,text\nd1,Bees,A bee; on the comb.\nd2,,"The strait, frozen."\n', 0),
        ('\ufeffid;title;text\nd1;Bees;"A bee; on the comb."\nd2;;The strait, frozen.\n', 1),
        ("id\ttitle\ttext\nd1\tBees\tA bee; on the comb.\nd2\t\tThe strait, frozen.\n", 1),
        ('sep=;\r\nid;title;text\r\nd1;Bees;"A bee; on the comb."\r\nd2;;The strait, frozen.\r\n', 1),
        ("id|title|text\nd1|Bees|A bee; on the comb.\nd2||The strait, frozen.\n", 1),
    ],
    ids=["commas", "semicolons", "tabs", "sep", "bars"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_csv_of_spreadsheets(tmp_path: Path, content: str, delimiters: int, encoding: str) -> None:
    content = content if encoding == "utf-8" else content.removeprefix("\ufeff")
    corpus = Corpus(made(tmp_path / "corpus.csv", content.encode(encoding)))
    assert list(corpus) == TWO
    assert corpus.notes.counts.get("other_delimiters", 0) == delimiters
    assert corpus.notes.counts.get("decoded_files", 0) == (encoding != "utf-8")
    assert len(corpus.notes.sentences()) == len(corpus.notes.counts)
    # Matters of form are no defects.
    strict = Corpus(CorpusSource(tmp_path / "corpus.csv", notes=Notes(strict=True)))
    assert list(strict) == TWO


def test_delimiters_and_encodings_are_named(tmp_path: Path) -> None:
    corpus = Corpus(made(tmp_path / "corpus.csv", "id;text\nd;t\n".encode("utf-16-le").join([b"\xff\xfe", b""])))
    assert list(corpus) == [Document("d", "t")]
    first, second = corpus.notes.sentences()
    assert first.startswith("1 file was decoded ('UTF-16' in")
    assert "other signs than commas ('semicolons' in" in second


@pytest.mark.parametrize(
    "content",
    [
        "d1\tA bee\nd2\tBread\n",
        "id\ttext\nd1\tA bee\nd2\tBread\n",
        "text\tdocid\nA bee\td1\nBread\td2\n",
        'id\ttitle\ttext\nd1\t\t"A bee"\nd2\t\tBread\n',
    ],
    ids=["no header", "header", "other order", "titles and quotes"],
)
def test_tsv(tmp_path: Path, content: str) -> None:
    for name, raw in (("c.tsv", content.encode()), ("c.tsv.gz", gzip.compress(content.encode()))):
        assert list(Corpus(made(tmp_path / name, raw))) == [Document("d1", "A bee"), Document("d2", "Bread")]


def test_quotes_in_tsv_without_a_header_are_text(tmp_path: Path) -> None:
    path = made(tmp_path / "c.tsv", '1\t"To be" or not\n2\t"all of it"\n3\t5" tall\n')
    assert [row.text for row in Corpus(path)] == ['"To be" or not', '"all of it"', '5" tall']
    path = made(tmp_path / "d.tsv", 'id\ttext\n1\t"To be" or not\n2\t"all ""of"" it"\n3\t5" tall\n')
    assert [row.text for row in Corpus(path)] == ['"To be" or not', 'all "of" it', '5" tall']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("d1\ttitle here\tA bee\n", "line 1: must have id, text between tabs, or name its columns in the first line"),
        ("no tabs at all\n", r"line 1: must have id, text between tabs.*got 1 field in 'no tabs at all'"),
        ("d1\tA bee\nd2\n", "line 2: must have the 2 fields of the first line, got 1; check the tabs"),
        ("id\ttext\nd2\tx\ty\n", "line 2: must have the 2 fields of the header, got 3"),
        ("id\ttext\ttext\nd2\tx\ty\n", "line 1: must name every column once, got 'text' twice"),
    ],
)
def test_tsv_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CollectionError, match=message):
        list(Corpus(made(tmp_path / "c.tsv", content)))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"_id": "a", "text": "x", "metadata": {"language": "de", "n": 1}},
            Document("a", "x", "", {"language": "de", "n": 1}),
        ),
        ({"_id": "a", "text": "x", "metadata": {}}, Document("a", "x")),
        (
            {"_id": "a", "text": "x", "language": "en", "metadata": {"language": "de"}},
            Document("a", "x", "", {"language": "en"}),
        ),
        ({"_id": "a", "text": "x", "metadata": "old"}, Document("a", "x", "", {"metadata": "old"})),
        ({"docid": "a", "contents": "x"}, Document("a", "x")),
        ({"id": "a", "docid": 3, "text": "x", "contents": "y"}, Document("a", "x", "", {"docid": 3, "contents": "y"})),
        ({"id": None, "_id": "a", "text": "x"}, Document("a", "x")),
        ({"id": float("nan"), "_id": "a", "text": "x", "title": float("nan")}, Document("a", "x")),
        ({"id": "a", "_id": "a", "text": "x"}, Document("a", "x")),
        ({"id": "a", "_id": {"$oid": "5f"}, "text": "x"}, Document("a", "x")),
        ({"id": "a", "title": "T", "text": None}, Document("a", "", "T")),
    ],
)
def test_rows(row: dict[str, Any], expected: Document) -> None:
    assert list(Corpus([row])) == [expected]


def test_metadata_beside_ids_by_another_name() -> None:
    rows = [{"id": 1, "url": "a", "body": "x", "text": "short"}]
    source = CorpusSource(rows, FieldNames(id="url", text="body"))
    assert list(Corpus(source)) == [Document("a", "x", "", {"id": 1, "text": "short"})]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1.5, "text": "x"}, r"id must be a string that is not empty, got 1\.5"),
        (
            {"id": "a", "title": "T", "body": "x"},
            r"must be a string, got None; the fields are id, title, body; .*--text-field",
        ),
        ({"id": "a", "text": ["x", "y"]}, r"must be a string, got \['x', 'y'\]"),
        (
            {"id": "a", "_id": "b", "text": "x"},
            "id must be one, got 'a' in 'id' and 'b' in '_id'; say which with --id-field",
        ),
    ],
)
def test_rows_that_mean_nothing_or_two_things(row: dict[str, Any], message: str) -> None:
    with pytest.raises(CollectionError, match=message):
        list(Corpus([row]))


def test_the_same_document_twice() -> None:
    rows = [{"id": "a", "text": "x", "n": 1}, {"id": "b", "text": "x"}, {"id": "a", "text": "x", "n": 1}]
    corpus = Corpus(rows)
    assert [row.id for row in corpus] == ["a", "b"]
    assert corpus.notes.counts == {"repeated_passages": 1}
    rows[2]["n"] = 2
    with pytest.raises(CollectionError, match="row 3: id must be unique, got 'a' again, with other contents"):
        list(Corpus(rows))


def test_json_may_be_lines_or_one_list(tmp_path: Path) -> None:
    rows = [{"id": "a", "contents": "x"}, {"id": "b", "contents": "y"}]
    for content in ("".join(json.dumps(row) + "\n" for row in rows), json.dumps(rows), json.dumps(rows, indent=2)):
        assert [row.text for row in Corpus(made(tmp_path / "docs.json", content))] == ["x", "y"]
    with pytest.raises(CollectionError, match=r"docs\.json, line 3: must be JSON"):
        list(Corpus(made(tmp_path / "docs.json", '[\n{"id": "a", "contents": "x"},\n{"id" "b"}]')))


def test_folders_of_parts(tmp_path: Path) -> None:
    for n in (1, 10, 2):
        made(tmp_path / f"docs-{n}.jsonl", json.dumps({"docid": str(n), "text": "x"}))
    assert [row.id for row in Corpus(tmp_path)] == ["1", "2", "10"]
    assert list(read_texts([tmp_path])) == ["x"] * 3
    corpus = Corpus(tmp_path)
    assert corpus.total == sum(1 + len(row.to_json()) for row in Corpus(tmp_path)) or corpus.total
    list(corpus)
    assert corpus.done == corpus.total
    made(tmp_path / "corpus.jsonl", '{"id": "only", "text": "x"}')
    assert [row.id for row in Corpus(tmp_path)] == ["only"]


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "c.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    with pytest.raises(CollectionError, match=r"c\.jsonl is a Git LFS pointer .*run git lfs pull"):
        list(Corpus(path))
    for name in ("c.jsonl.gz", "c.parquet"):
        with pytest.raises(CollectionError, match=r"Git LFS pointer|must be a Parquet file"):
            list(Corpus(made(tmp_path / name, path.read_bytes())))
    made(path, '{"id": "a", "text": "x"}'.encode("utf-16-le"))
    with pytest.raises(CollectionError, match=r"line 1: must be UTF-8 text, got zero bytes .UTF-16 without its mark"):
        list(Corpus(path))
    made(path, '{"id": "a", "text": "Größe"}'.encode("latin-1"))
    with pytest.raises(CollectionError, match=r"line 1: must be UTF-8 text .*convert the file"):
        list(Corpus(path))


def test_tsv_and_semicolons_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    for format, content in (("tsv", "d1\tA bee\n"), ("csv", "id;text\nd1;A bee\n")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert list(Corpus(StandardInput(format))) == [Document("d1", "A bee")]  # type: ignore[arg-type]


def test_records_of_every_kind_are_the_same(tmp_path: Path) -> None:
    rows = [{"query": "q", "positive": "p"}]
    contents = {
        "r.jsonl": json.dumps(rows[0]),
        "r.json": json.dumps(rows),
        "r.csv": "query,positive\nq,p\n",
        "r.tsv": "query\tpositive\nq\tp\n",
    }
    for name, content in contents.items():
        assert [row for _, row in read_records(made(tmp_path / name, content))] == rows
    with pytest.raises(NotFoundError, match="does not exist"):
        list(read_records(tmp_path / "none.tsv"))
    with pytest.raises(CollectionError, match=r"must end in \.jsonl, .* got .*r\.txt"):
        list(read_records(tmp_path / "r.txt"))
