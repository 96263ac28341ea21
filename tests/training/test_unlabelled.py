import gzip
import json

import pytest

from isthmus.errors import CollectionError, InputError, NotFoundError, UnknownNameError
from isthmus.training import PairOptions, pairs_from_text
from isthmus.training.structure import WordPlaces

ENGLISH = [
    "The lighthouse keeper climbs the narrow stair every evening before dusk and lights the old lamp by hand.",
    "Bees dance upon the comb to tell the others how far and where the flowers are today, turning as they go.",
    "A river that freezes from its banks leaves open water in the middle, where ducks stay through the winter.",
]
CHINESE = [
    "比特币由世界各地的所有比特币用户控制。开发人员正在改进软件，但他们不能强迫改变规则。",
    "蜜蜂在蜂巢上跳舞，告诉其他蜜蜂花朵在哪里，有多远，以及应该朝哪个方向飞行才能找到它们。",
]
ARABIC = [
    "يصعد حارس المنارة السلم الضيق كل مساء قبل الغروب ويشعل المصباح القديم بيده ثم ينزل إلى بيته.",
    "ترقص النحلة فوق قرص العسل لتخبر الأخريات عن مكان الأزهار وبعدها واتجاهها بالنسبة إلى الشمس الساطعة.",
]


def documents(texts, **more):
    return [{"id": str(i), "text": text, **more} for i, text in enumerate(texts)]


def rows(found):
    return list(zip(found.kinds, found.data.texts["query"], found.data.texts["positive"], strict=True))


def test_titles_and_headings_are_queries_of_what_they_stand_over():
    text = f"{ENGLISH[0]}\n\n## Dancing bees\n\n{ENGLISH[1]}\n\n## Winter ducks\n\n{ENGLISH[2]}\n"
    found = pairs_from_text([{"id": "a", "title": " Lighthouses ", "text": text}])
    assert rows(found) == [
        ("title", "Lighthouses", ENGLISH[0]),
        ("heading", "Dancing bees", ENGLISH[1]),
        ("heading", "Winter ducks", ENGLISH[2]),
    ]
    assert found.stated() == {
        "documents": 1,
        "pairs": {"title": 1, "heading": 2},
        "snippets_kept": 0,
        "left_out": {},
    }


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE, ARABIC], ids=["en", "zh", "ar"])
@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_snippets_are_pieces_of_their_passages(texts, keep):
    found = pairs_from_text(documents(texts), PairOptions(keep_snippet=keep))
    assert found.kinds == ["snippet"] * len(texts)
    assert found.kept == [keep == 1] * len(texts)
    for text, (_, query, positive) in zip(texts, rows(found), strict=True):
        assert query in text
        assert 5 <= len(WordPlaces(query)) <= 9
        if keep:
            assert positive == text
        else:
            before, _, after = text.partition(query)
            assert positive.split() == f"{before.strip()}{' ' * (texts is not CHINESE)}{after.strip()}".split()
            assert query not in positive


def test_about_as_many_snippets_stay_as_asked_for():
    texts = [" ".join(f"w{i}x{j}" for j in range(20)) for i in range(400)]
    kept = pairs_from_text(documents(texts), PairOptions(keep_snippet=0.25)).stated()["snippets_kept"]
    assert 70 < kept < 130


def test_the_seed_decides_and_the_place_of_a_document_does_not():
    first, again, other = (rows(pairs_from_text(documents(ENGLISH), seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert [query for _, query, _ in first] != [query for _, query, _ in other]
    turned = rows(pairs_from_text(list(reversed(documents(ENGLISH)))))
    assert sorted(turned) == sorted(first)


def test_long_texts_give_several_passages():
    text = " ".join(f"Sentence {i} says something of its own, word{i} by word{i * 7}." for i in range(60))
    found = pairs_from_text(documents([text]), PairOptions(passage_words=40, keep_snippet=1))
    assert len(found.data) > 10
    assert " ".join(found.data.texts["positive"]) == text


def test_what_cannot_be_used_is_counted():
    texts = [ENGLISH[0], "", "   \n", "too short a text", ENGLISH[0].upper(), "# Heading\n\nshort", *ENGLISH[1:]]
    found = pairs_from_text(documents(texts))
    assert found.documents == len(texts)
    assert found.left_out == {"empty": 2, "too short": 2, "near-duplicate": 1}
    assert len(found.data) == 3


def test_a_repeated_or_wordless_heading_gives_way_to_a_snippet():
    texts = [f"# Introduction\n\n{ENGLISH[0]}", f"# INTRODUCTION\n\n{ENGLISH[1]}", f"# 1.2\n\n{ENGLISH[2]}"]
    assert pairs_from_text(documents(texts)).kinds == ["heading", "snippet", "snippet"]
    found = pairs_from_text(documents([*texts, f"# Ducks\n\n{ENGLISH[2]}"]), PairOptions(kinds=("heading",)))
    assert rows(found) == [("heading", "Introduction", ENGLISH[0]), ("heading", "Ducks", ENGLISH[2])]
    assert found.left_out == {"no title or heading of its own": 2}


def test_only_the_kinds_asked_for_are_made():
    rows_in = documents([f"# Heading\n\n{text}" for text in ENGLISH])
    assert pairs_from_text(rows_in, PairOptions(kinds=("snippet",))).kinds == ["snippet"] * 3
    titled = [{"id": str(i), "title": f"Title {i}x", "text": text} for i, text in enumerate(ENGLISH)]
    assert pairs_from_text(titled, PairOptions(kinds=("heading", "snippet"))).kinds == ["snippet"] * 3


def test_no_text_comes_twice():
    found = pairs_from_text(documents([*ENGLISH, *ENGLISH, *CHINESE]))
    for texts in found.data.texts.values():
        assert len(set(texts)) == len(texts) == 5


def test_more_pairs_than_wanted_are_drawn_evenly():
    texts = [" ".join(f"w{i}x{j}" for j in range(12)) for i in range(300)]
    settings = PairOptions(max_pairs=30, keep_snippet=1)
    found = pairs_from_text(documents(texts), settings)
    assert len(found.data) == 30
    assert found.left_out == {"over max_pairs": 270}
    places = [texts.index(positive) for positive in found.data.texts["positive"]]
    assert places == sorted(places)
    assert places[0] < 60
    assert places[-1] > 240
    assert pairs_from_text(documents(texts), settings).data.digest == found.data.digest
    assert pairs_from_text(documents(texts), settings, seed=1).data.digest != found.data.digest


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_plain_text_holds_one_document_a_line(tmp_path, suffix):
    content = ("\n".join([ENGLISH[0], "", *ENGLISH[1:]]) + "\n").encode()
    path = tmp_path / f"corpus{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    found = pairs_from_text(path, PairOptions(keep_snippet=1))
    assert found.data.texts["positive"] == ENGLISH
    assert found.documents == 3


def test_pages_and_folders_of_pages_are_documents(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.md").write_text(f"# Lamp\n\n{ENGLISH[0]}\n\n# Bees\n\n{ENGLISH[1]}\n", encoding="utf-8")
    (tmp_path / "inner" / "b.rst").write_text(f"Ducks\n=====\n\n{ENGLISH[2]}\n", encoding="utf-8")
    assert pairs_from_text(tmp_path / "a.md").data.texts["query"] == ["Lamp", "Bees"]
    found = pairs_from_text(tmp_path)
    assert found.data.texts["query"] == ["Lamp", "Bees", "Ducks"]
    assert found.documents == 2
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps(row) for row in documents(ENGLISH)))
    assert pairs_from_text(tmp_path).kinds == ["snippet"] * 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(CollectionError, match=r"folder with corpus.jsonl or with .md, .markdown, .rst files"):
        pairs_from_text(tmp_path / "empty")


def test_a_folder_of_pages_may_be_moved(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number, text in enumerate(ENGLISH):
            (tmp_path / name / f"{number}.md").write_text(text, encoding="utf-8")
    assert rows(pairs_from_text(tmp_path / "one")) == rows(pairs_from_text(tmp_path / "two"))


def test_a_jsonl_corpus_is_read_and_a_bad_line_named(tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps(row) for row in documents(ENGLISH)]
    path.write_text("\n".join(lines))
    assert pairs_from_text(str(path)).documents == 3
    path.write_text("\n".join([*lines, "{broken"]))
    with pytest.raises(CollectionError, match=r"corpus.jsonl, line 4: must be JSON"):
        pairs_from_text(path)
    path.write_text("\n".join([lines[0], '{"id": "x"}']))
    with pytest.raises(CollectionError, match="line 2: text"):
        pairs_from_text(path)
    (tmp_path / "bad.txt").write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(CollectionError, match=r"bad.txt, line 2: must be UTF-8"):
        pairs_from_text(tmp_path / "bad.txt")


@pytest.mark.parametrize("name", ["none.txt", "none.md", "none.jsonl"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(NotFoundError, match=name):
        pairs_from_text(tmp_path / name)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "got 0 pairs from 0 documents"),
        (ENGLISH[:1], "got 1 pair from 1 document"),
        (["", "short"], r"got 0 pairs from 2 documents \(left out: 1 empty, 1 too short\)"),
        ([ENGLISH[0]] * 9, r"got 1 pair from 9 documents \(left out: 8 near-duplicate\)"),
    ],
)
def test_too_little_text_is_refused(texts, message):
    with pytest.raises(InputError, match=f"corpus must give at least 2 pairs to train on, {message}; add documents$"):
        pairs_from_text(documents(texts))


def test_more_kinds_of_pairs_are_offered_where_there_are_more():
    with pytest.raises(InputError, match=r"1 document; add documents or allow more kinds of pairs$"):
        pairs_from_text(documents(ENGLISH[:1]), PairOptions(kinds=("snippet",)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_snippet": 1.5}, "keep_snippet must be a probability in 0..1, got 1.5"),
        ({"keep_snippet": float("nan")}, "keep_snippet"),
        ({"max_pairs": 1}, "max_pairs must be 2 or more, got 1"),
        ({"passage_words": 3}, "passage_words must be 12 or more, got 3"),
        ({"negatives": -1}, "negatives must be 0 or more, got -1"),
        ({"kinds": ()}, "kinds must be at least one"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PairOptions(**options)
    with pytest.raises(UnknownNameError, match="did you mean 'heading'"):
        PairOptions(kinds=("headings",))
