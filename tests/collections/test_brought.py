"""Folders as people bring them: what is read, what is said of it, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import isthmus
from isthmus.collections import Collection, load, load_parallel
from isthmus.errors import CollectionError, InputError, NotFoundError
from isthmus.options import ReadOptions

TEXTS = {"d1": "bees dance for flowers", "d2": "mail goes by sledge", "d3": "owls fly in silence"}
ASKED = {"q1": "flowers", "q2": "sledge", "q3": "silence"}
CORPUS = "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in TEXTS.items())
QUERIES = "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in ASKED.items())
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\nq3\td3\t1\n"
EXPECTED = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}}
STRICT = ReadOptions(strict=True)


def write(folder: Path, **files: str | bytes) -> Path:
    """A BEIR folder with some of its files replaced or others added, ``__`` for a folder and ``_`` for a dot."""
    wanted: dict[str, str | bytes] = {"corpus_jsonl": CORPUS, "queries_jsonl": QUERIES, "qrels__test_tsv": QRELS}
    for name, content in (wanted | files).items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_passages_without_text_stay_and_no_query_finds_them(tmp_path: Path) -> None:
    rows = CORPUS + '{"_id": "e1", "title": "", "text": ""}\n{"_id": "e2", "title": " ", "text": null}\n'
    pool = load(write(tmp_path, corpus_jsonl=rows), language="en")
    assert list(pool.corpus) == ["d1", "d2", "d3", "e1", "e2"]
    assert pool.notes.counts == {"passages_without_text": 2}
    (said,) = pool.notes.sentences()
    assert "2 passages have no text, no query finds them (first 'e1' in" in said
    assert "line 4" in said
    with pytest.raises(CollectionError, match=r"line 4: 'e1': passage has no text.*leave out --strict"):
        load(tmp_path, options=STRICT)
    for model in ("bm25", "isthmus/mini-splade-en", "isthmus/mini-bridge"):
        result = isthmus.evaluate(model, pool)
        assert result.documents == 5
        assert result["recall@100"] == 1
        assert result.settings["reading"] == {"passages_without_text": 2}


def test_no_dense_query_finds_a_passage_without_text(tmp_path: Path) -> None:
    """Only the passage without text is relevant: it would be found among four by any ranking of all."""
    rows = CORPUS + '{"_id": "e1", "text": ""}\n'
    pool = load(write(tmp_path, corpus_jsonl=rows, qrels__test_tsv="q1\te1\t1\nq2\td2\t1\n"), language="en")
    for model in ("isthmus/mini-splade-en", "isthmus/mini-bridge"):
        assert isthmus.evaluate(model, pool).per_query["recall@100"].tolist() == [0, 1]


def test_judgements_of_what_is_not_there_count_in_the_ideal_ranking(tmp_path: Path) -> None:
    """Half of what is relevant to q1 is not in the pool: its ideal DCG has both."""
    qrels = QRELS + "q1\tgone\t1\nq9\td1\t1\nq9\talso\t2\n"
    pool = load(write(tmp_path, qrels__test_tsv=qrels), language="en")
    assert pool.qrels["q1"] == {"d1": 1, "gone": 1}
    assert "q9" not in pool.qrels
    assert pool.notes.counts == {"judgements_of_missing_passages": 1, "judgements_of_missing_queries": 2}
    result = isthmus.evaluate("bm25", pool)
    assert result.per_query["ndcg@10"][0] == pytest.approx(1 / (1 + 1 / 1.5849625), abs=1e-4)
    assert result.per_query["recall@100"].tolist() == [0.5, 1, 1]
    with pytest.raises(
        CollectionError, match=r"test\.tsv, line 5: 'gone': judgement is of a passage that is not there"
    ):
        load(tmp_path, options=STRICT)


@pytest.mark.parametrize(
    "qrels",
    [
        "q1 Q0 d1 1\nq2 Q0 d2 1\nq3 Q0 d3 1\n",
        "q1\t0\td1\t1\nq2\t0\td2\t1\nq3\t0\td3\t1\n",
        "q1  Q0   d1\t1\n".replace("\t", " ") + "q2 Q0 d2 1\r\nq3 Q0 d3 1",
        "q1 d1 1\nq2 d2 1\nq3 d3 1\n",
        "q1\td1\t1.0\nq2\td2\t1\nq3\td3\t1e0\n",
        "query_id\titeration\tdoc_id\trelevance\nq1\t0\td1\t1\nq2\t0\td2\t1\nq3\t0\td3\t1\n",
        "corpus-id\tscore\tquery-id\nd1\t1\tq1\nd2\t1\tq2\nd3\t1\tq3\n",
        "\ufeff" + QRELS,
    ],
    ids=["spaces", "tabs", "uneven spaces", "three by spaces", "1.0", "named", "other order", "mark"],
)
def test_columns_of_judgements(tmp_path: Path, qrels: str) -> None:
    assert load(write(tmp_path, qrels__test_tsv=qrels)).qrels == EXPECTED


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels_test_tsv", QRELS),
        ("qrels_txt", "q1 0 d1 1\nq2 0 d2 1\nq3 0 d3 1\n"),
        ("qrels__test_txt", "q1 0 d1 1\nq2 0 d2 1\nq3 0 d3 1\n"),
        ("test_qrels", "q1 0 d1 1\nq2 0 d2 1\nq3 0 d3 1\n"),
        ("qrels__test_csv", QRELS.replace("\t", ",")),
        ("qrels__test_csv", QRELS.replace("\t", ";")),
        ("qrels__test_csv", QRELS.partition("\n")[2].replace("\t", ",")),
        ("qrels__test_tsv", "".join(f'"{field}"\t' for field in QRELS.split()[:3]) + "\n" + QRELS.partition("\n")[2]),
        ("qrels__test_tsv", QRELS.replace("\n", "\t\r\n")),
        ("qrels__test_json", json.dumps(EXPECTED)),
        ("qrels__test_tsv_gz", gzip.compress(QRELS.encode(), mtime=0)),
        ("qrels__test_tsv", QRELS.encode("utf-16")),
        (
            "qrels__test_jsonl",
            "".join(
                json.dumps({"query-id": query, "corpus-id": next(iter(found)), "score": 1.0}) + "\n"
                for query, found in EXPECTED.items()
            ),
        ),
    ],
)
def test_files_of_judgements(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert load(write(tmp_path, **{"qrels__test_tsv": "", name: content})).qrels == EXPECTED


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("q1\td1\t0.5\n", r"line 1: grade must be a whole number, got '0.5'; the gain of nDCG is the grade itself"),
        ("q1\td1\tnan\n", "line 1: grade must be a whole number, got 'nan'"),
        ("q1 Q0 d1 1 0.7 bm25\n", "line 1: must be judgements, got six columns, as the results of a search have them"),
        (QRELS + "q1 d1 1 more things\n", "line 5: must be query id, passage id, grade"),
        ("q7\td7\t1\nq8\td8\t1\n", "must be of the queries and passages of the collection, got none that is"),
        (QRELS + "q1\td1\t2\n", r"line 5: a passage must be judged once per query, got 'q1' 'd1' again, 2 after 1"),
    ],
)
def test_judgements_that_mean_nothing_or_two_things(tmp_path: Path, qrels: str, message: str) -> None:
    with pytest.raises(CollectionError, match=message):
        load(write(tmp_path, qrels__test_tsv=qrels))


def test_what_is_there_twice_is_read_once(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        corpus_jsonl=CORPUS + CORPUS.splitlines()[0] + "\n",
        queries_jsonl=QUERIES + QUERIES.splitlines()[1] + "\n",
        qrels__test_tsv=QRELS + "q3\td3\t1.0\n",
    )
    pool = load(folder)
    assert (len(pool.corpus), len(pool.queries), pool.qrels) == (3, 3, EXPECTED)
    assert pool.notes.counts == {"repeated_passages": 1, "repeated_queries": 1, "repeated_judgements": 1}
    with pytest.raises(CollectionError, match=r"line 4: 'd1': passage is there twice"):
        load(folder, options=STRICT)
    for files in (
        {"corpus_jsonl": CORPUS + '{"_id": "d1", "text": "another"}\n'},
        {"queries_jsonl": QUERIES + '{"_id": "q1", "text": "another"}\n'},
    ):
        with pytest.raises(CollectionError, match=r"line 4: id must be unique, got '..' again, with other contents"):
            load(write(tmp_path, **({"corpus_jsonl": CORPUS, "queries_jsonl": QUERIES} | files)))


@pytest.mark.parametrize(
    "files",
    [
        {"docs-0_jsonl": CORPUS, "topics_dev_tsv": "".join(f"{q}\t{text}\n" for q, text in ASKED.items())},
        {"collection_tsv": "".join(f"{d}\t{text}\n" for d, text in TEXTS.items()), "queries_jsonl": QUERIES},
        {
            "corpus__docs00_json": CORPUS.replace('"_id"', '"id"').replace('"text"', '"contents"'),
            "queries_jsonl": QUERIES,
        },
        {
            "corpus_jsonl": CORPUS.replace('"_id"', '"docid"'),
            "queries_tsv": "".join(f"{q}\t{t}\n" for q, t in ASKED.items()),
        },
        {"corpus_jsonl": CORPUS.replace('{"_id"', '{"id": null, "_id"'), "queries_jsonl": QUERIES},
        {
            "corpus_json": json.dumps([json.loads(line) for line in CORPUS.splitlines()], indent=1),
            "queries_jsonl": QUERIES,
        },
        {
            "corpus_tsv": "id\ttext\n" + "".join(f'{d}\t"{text}"\n' for d, text in TEXTS.items()),
            "queries_jsonl": QUERIES,
        },
        {
            "corpus_jsonl": CORPUS.encode("utf-16"),
            "queries_jsonl": QUERIES.encode("utf-16-be").join([b"\xfe\xff", b""]),
        },
    ],
    ids=["MIRACL", "MS MARCO", "Pyserini", "docid", "null id", "JSON list", "TSV with quotes", "UTF-16"],
)
def test_layouts(tmp_path: Path, files: dict[str, Any]) -> None:
    qrels = {"qrels_dev_tsv": "".join(f"{q}\tQ0\t{next(iter(found))}\t1\n" for q, found in EXPECTED.items())}
    nothing = {"corpus_jsonl": "", "queries_jsonl": "", "qrels__test_tsv": ""}
    pool = load(write(tmp_path, **(nothing | qrels | files)), split="dev", language="en")
    assert (pool.corpus, pool.queries, pool.qrels) == (TEXTS, ASKED, EXPECTED)


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = {n: json.dumps({"docid": f"p{n}", "text": f"text {n}"}) for n in (0, 2, 10)}
    files = {f"docs-{n}_jsonl_gz": gzip.compress(row.encode()) for n, row in rows.items()}
    nothing = {"corpus_jsonl": "", "qrels__test_tsv": "q1\tp2\t1\n"}
    assert list(load(write(tmp_path, **(nothing | files))).corpus) == ["p0", "p2", "p10"]


def test_folders_of_parquet_as_cloned_from_the_hub(tmp_path: Path) -> None:
    """NanoBEIR's: a folder for each part, and judgements without a grade."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    import pyarrow

    tables = {
        "corpus": [{"_id": name, "text": text} for name, text in TEXTS.items()],
        "queries": [{"_id": name, "text": text} for name, text in ASKED.items()],
        "qrels": [{"query-id": query, "corpus-id": next(iter(found))} for query, found in EXPECTED.items()],
    }
    for name, rows in tables.items():
        (tmp_path / name).mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name / "train-00000-of-00001.parquet")
    with pytest.raises(NotFoundError, match=r"choose another split with --split \(train\)"):
        load(tmp_path)
    assert load(tmp_path, split="train").qrels == EXPECTED


def test_splits_that_are_there_are_listed(tmp_path: Path) -> None:
    folder = write(
        tmp_path, qrels__test_tsv="", qrels__dev_tsv=QRELS, **{"qrels__qrels_miracl-v1_0-ko-train_tsv": QRELS}
    )
    with pytest.raises(NotFoundError, match=r"qrels/test\.tsv does not exist.*with --split \(dev, train\)"):
        load(folder)
    assert load(folder, split="dev").qrels == load(folder, split="train").qrels == EXPECTED


def test_fields_by_name(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({"key": name, "headline": name.upper(), "body": text}) + "\n" for name, text in TEXTS.items()
    )
    folder = write(tmp_path, corpus_jsonl=rows)
    options = ReadOptions(id_field="key", text_field="body", title_field="headline")
    assert load(folder, options=options).corpus["d1"] == "D1 bees dance for flowers"
    with pytest.raises(
        CollectionError, match=r"line 1: must have the field 'head' of --title-field, got key, headline"
    ):
        load(folder, options=ReadOptions(id_field="key", text_field="body", title_field="head"))
    with pytest.raises(CollectionError, match=r"fields are key, headline, body; name .* with --text-field"):
        load(folder, options=ReadOptions(id_field="key"))
    with pytest.raises(CollectionError, match=r"id must be .* got None; the fields are key.*--id-field"):
        load(folder)


def test_two_ids_that_differ_are_not_guessed_between(tmp_path: Path) -> None:
    folder = write(tmp_path, corpus_jsonl=CORPUS.replace('{"_id"', '{"id": "x", "_id"'))
    with pytest.raises(CollectionError, match=r"id must be one, got 'x' in 'id' and 'd1' in '_id'; say .*--id-field"):
        load(folder)
    assert list(load(folder, options=ReadOptions(id_field="_id")).corpus) == list(TEXTS)


def test_pointers_of_git_lfs_are_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    with pytest.raises(
        CollectionError, match=r"corpus\.jsonl is a Git LFS pointer and not the file itself; run git lfs"
    ):
        load(write(tmp_path, corpus_jsonl=pointer))


def test_compressed_files_under_a_plain_name_are_named(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"corpus\.jsonl is compressed and must end in \.gz; rename it"):
        load(write(tmp_path, corpus_jsonl=gzip.compress(CORPUS.encode())))
    with pytest.raises(
        CollectionError, match=r"line 1: must be JSON.*if the file is one list, let its name end in \.json"
    ):
        load(write(tmp_path, corpus_jsonl="[\n" + CORPUS.replace("}\n", "},\n")))


def test_a_pool_of_nothing_but_empty_passages_scores_nothing(tmp_path: Path) -> None:
    pool = load(write(tmp_path, corpus_jsonl='{"_id": "d1", "text": ""}\n{"_id": "d2", "text": ""}\n'), language="en")
    for model in ("bm25", "isthmus/mini-splade-en", "isthmus/mini-bridge"):
        assert isthmus.evaluate(model, pool)["recall@100"] == 0


def test_parallel_folders_say_how_questions_are_matched(tmp_path: Path) -> None:
    for language in ("en", "de"):
        files = (CORPUS, QUERIES, QRELS)
        if language == "de":
            files = tuple(text.replace("d", "p").replace("_ip", "_id").replace("q", "f") for text in files)  # type: ignore[assignment]
            files = (files[0], files[1], "\n".join(files[2].splitlines()[1:]))
        write(tmp_path / language, corpus_jsonl=files[0], queries_jsonl=files[1], qrels__test_tsv=files[2])
    with pytest.raises(CollectionError, match=r"matched by their ids \('q1' in 'en', 'f1' in 'de'\); give the same id"):
        load_parallel(tmp_path, languages=["en", "de"])


def test_parallel_collections_have_the_notes_of_every_language(tmp_path: Path) -> None:
    for language in ("en", "de"):
        write(
            tmp_path / language,
            corpus_jsonl=CORPUS + '{"_id": "e", "text": ""}\n',
            qrels__test_tsv=QRELS + "q1\tgone\t1\n",
        )
    pool = load_parallel(tmp_path, languages=["en", "de"])
    assert pool.notes.counts == {"passages_without_text": 2, "judgements_of_missing_passages": 2}
    # One of the passages that answer q1 is nowhere, so that no language can answer it whole.
    assert (list(pool.qrels), pool.dropped_queries) == (["q2", "q3"], 1)
    for model in ("isthmus/mini-bridge", "bm25"):
        result = isthmus.audit(model, pool, resamples=10)
        assert result.settings["reading"] == result.to_rows()[0]["reading"] == pool.notes.counts
    with pytest.raises(CollectionError, match="leave out --strict"):
        load_parallel(tmp_path, languages=["en", "de"], options=STRICT)


def test_a_passage_without_text_is_ranked_last_in_audits(tmp_path: Path) -> None:
    for language in ("en", "de"):
        rows = CORPUS.replace('"bees dance for flowers"', '""')
        write(tmp_path / language, corpus_jsonl=rows)
    result = isthmus.audit("isthmus/mini-bridge", load_parallel(tmp_path, languages=["en", "de"]), resamples=10)
    for found in result.results:
        assert found.gold_ranks[0][-1] == found.pool.documents


def test_a_collection_of_one_language_from_a_clone_of_belebele(tmp_path: Path) -> None:
    row = {"link": "a", "question_number": 1, "flores_passage": "p", "question": "q"}
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("# Belebele")
    for code in ("eng_Latn", "kor_Hang"):
        (tmp_path / "data" / f"{code}.jsonl").write_text(json.dumps(row) + "\n")
    assert load(tmp_path, language="ko").queries == {"a#1": "q"}
    assert len(load_parallel(tmp_path, languages=["en", "ko"]).qrels) == 1
    with pytest.raises(InputError, match="language must be given"):
        load(tmp_path)


def test_a_collection_may_be_made_in_memory_with_judgements_of_what_is_not_there() -> None:
    pool = Collection("c", {"d": "text"}, {"q": "?"}, {"q": {"gone": 1}}, "en")
    assert isthmus.evaluate("bm25", pool)["ndcg@10"] == 0
