"""Names: where they are looked for, and what is said when they are not there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isthmus.collections import NAMES, load
from isthmus.errors import CollectionError, InputError, MissingExtraError, NotFoundError, UnknownNameError

FACTS = json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q"}]}]}]})

# Passages and questions of the published files, as the data folder's README states them; two of the 1,002 questions of
# CMRC 2018 are blank.
COUNTS = {
    **{
        ("xquad", code): (240, 1190)
        for code in ("en", "ar", "zh", "hi", "ru", "de", "es", "vi", "th", "el", "tr", "ro")
    },
    ("korquad", "ko"): (573, 3316),
    ("drcd", "zh-Hant"): (1000, 3524),
    ("cmrc2018", "zh-Hans"): (256, 1000),
    ("arcd", "ar"): (231, 693),
}
DISTRACTORS = {"en": 8000, "ar": 5732, "zh": 8000, "hi": 6485, "ko": 4990, "ru": 8000}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "retrieval").mkdir()
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path))
    return tmp_path


def stub_datasets(monkeypatch: pytest.MonkeyPatch, load_dataset: Any) -> None:
    """Stands for the package that asks the hub; the arguments are those of the published dataset."""
    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_demo_is_parallel() -> None:
    english, korean = load("demo", language="en"), load("demo", language="ko")
    assert (english.name, english.language, korean.language) == ("demo", "en", "ko")
    assert english.corpus.keys() == korean.corpus.keys()
    assert english.qrels == korean.qrels
    assert len(english.queries) >= 80


def test_demo_needs_a_language_it_has() -> None:
    with pytest.raises(InputError, match="language must be given for demo"):
        load("demo")
    with pytest.raises(NotFoundError, match=r"must be in one of .*en.*; got language 'xx'"):
        load("demo", language="xx")


@pytest.mark.parametrize("folder", ["retrieval", "."])
def test_names_are_looked_for_in_the_data_folder(data: Path, folder: str) -> None:
    (data / folder / "xquad.ru.json").write_text(FACTS)
    collection = load("xquad", language="ru")
    assert (collection.name, collection.language) == ("xquad", "ru")


def test_language_of_a_named_collection(data: Path) -> None:
    (data / "drcd_dev.json").write_text(FACTS)
    assert load("drcd").language == load("drcd", language="zh").language == "zh-Hant"
    with pytest.raises(InputError, match="language must be 'zh-Hant' for the collection 'drcd', got 'ko'"):
        load("drcd", language="ko")
    with pytest.raises(InputError, match="language must be given for xquad"):
        load("xquad")


def test_folder_with_a_file_per_language(tmp_path: Path) -> None:
    for code in ("ar", "ru"):
        (tmp_path / f"xquad.{code}.json").write_text(FACTS)
    assert load(tmp_path, language="ru").name == "xquad.ru"
    with pytest.raises(NotFoundError, match=r"\*\.ko\.json.*got none"):
        load(tmp_path, language="ko")
    (tmp_path / "other.ru.json").write_text(FACTS)
    with pytest.raises(NotFoundError, match=r"got other.ru.json, xquad.ru.json; give the file"):
        load(tmp_path, language="ru")


def test_not_found_says_where_it_looked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match=f"{data}/retrieval/arcd_train.json, {data}/arcd_train.json"):
        load("arcd")
    monkeypatch.delenv("ISTHMUS_DATA")
    with pytest.raises(NotFoundError, match="ISTHMUS_DATA is not set"):
        load("arcd")


def test_hub_rows_become_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*arguments: str, **options: str) -> list[dict[str, Any]]:
        asked.append((arguments, options))
        return [{"id": "a", "context": "c ", "question": "q"}, {"id": "b", "context": "c", "question": "r"}]

    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    stub_datasets(monkeypatch, load_dataset)
    collection = load("xquad", language="th")
    assert asked == [(("google/xquad", "xquad.th"), {"split": "validation"})]
    assert (collection.corpus, collection.queries) == ({"p0": "c"}, {"a": "q", "b": "r"})


def test_hub_that_cannot_be_reached(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: str, **options: str) -> None:
        raise ConnectionError("offline")

    stub_datasets(monkeypatch, load_dataset)
    with pytest.raises(NotFoundError, match=r"xquad.ru.json.* and for google/xquad on the hub \(ConnectionError\)"):
        load("xquad", language="ru")


def test_hub_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[hub\]"):
        load("xquad", language="ru")


def test_neither_path_nor_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="squid"):
        load("squid", language="en")
    with pytest.raises(NotFoundError, match=r"nowhere.json does not exist"):
        load(tmp_path / "nowhere.json")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CollectionError, match="must be a BEIR folder or a SQuAD-format"):
        load(tmp_path / "notes.txt")


@pytest.mark.data
@pytest.mark.skipif("ISTHMUS_DATA" not in os.environ, reason="ISTHMUS_DATA is not set")
@pytest.mark.parametrize(("name", "language"), COUNTS, ids=lambda value: str(value))
def test_published_files(name: str, language: str) -> None:
    assert name in NAMES
    collection = load(name, language=language)
    assert (len(collection.corpus), len(collection.queries)) == COUNTS[name, language]
    assert collection.language == language


@pytest.mark.data
@pytest.mark.skipif("ISTHMUS_DATA" not in os.environ, reason="ISTHMUS_DATA is not set")
@pytest.mark.parametrize("language", DISTRACTORS)
def test_published_distractors(language: str) -> None:
    path = Path(os.environ["ISTHMUS_DATA"], "distractors", f"{language}.jsonl.xz")
    assert load("demo", language="en", distractors=path).distractors == DISTRACTORS[language]
