"""Is there a measure without labels to choose by, and one recipe that is above BM25 in every language?

    make models && ISTHMUS_DATA=... python -m benchmarks adapt                 both parts, what is missing
    ISTHMUS_DATA=... python -m benchmarks adapt --parts recipe --pools th tr

*measure*: sections of documentation, asked by their headings (labels), and by questions made of their text in several
ways; every way ranks the same arms. *recipe*: short passages of XQuAD and the like, a thousand and more, asked by
people; settings come from the first part. Vectors are encoded once and kept in ``--work``; arms are computed from them.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Sequence
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, load_npz, save_npz

from benchmarks import harness
from benchmarks.encoding import cut
from benchmarks.harness import BRIDGE, Row, fingerprint, hashed, say
from benchmarks.pairs import training_rows
from benchmarks.suites.adapt_questions import made_of, near_tokens, remembered
from benchmarks.suites.exact_encoders import TRIM, Shuffled
from isthmus.bridge import open_bridge
from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.load import load_encoder, load_tokenizer
from isthmus.evaluation import BM25, paired_bootstrap
from isthmus.initializers import INITIALIZERS
from isthmus.lexical.adding import activation_scale
from isthmus.lexical.statistics import draw_snippets, lucene_idf
from isthmus.modules.lexical import PAIR_SHARE
from isthmus.modules.token_counts import PAIR_COLUMNS
from isthmus.training.structure import WordPlaces
from isthmus.transferring import transfer_encoder
from isthmus.vocabulary import train_tokenizer

ENCODER, PUBLISHED_BRIDGE = "published/splade-tiny", "published/multilingual-e5-small"
PARTS = ("measure", "recipe")
# Languages with a tokenizer of their own; the others get one that is trained on their pool.
BUILT_IN = ("zh", "ko", "ar", "ru", "hi")
LATIN = ("de", "es", "ro", "tr", "vi")
POOLS = {
    **{f"xquad.{language}": language for language in (*BUILT_IN, *LATIN, "el", "th")},
    "korquad_dev_half_a": "ko", "drcd_dev": "zh", "cmrc2018_trial": "zh", "arcd_train": "ar",
}  # fmt: skip
DOCUMENTS, QUESTIONS = 400, 200
SHORTEST, LONGEST = 60, {"zh": 180, "ko": 260}
PASSAGES, PASSAGE_WORDS, ASKED = 1200, 24, 300
MAX_LENGTH, ENTRIES, SNIPPETS = 256, 4000, 100
VARIANTS: dict[str, Row] = {
    "kept": {"keep_source": True}, "replaced": {},
    "kept, shuffled": {"keep_source": True, "method": "shuffled"},
    "reads": {"output": "source"}, "reads, shuffled": {"output": "source", "method": "shuffled"},
}  # fmt: skip
WEIGHTS, SHARES, POWERS = (1.0, 2.0, 4.0, 8.0), (0.0, 0.1, PAIR_SHARE, 0.5), (0.5, 0.75)
CHOSEN = {"weight": 2.0, "share": PAIR_SHARE, "power": 0.75}
RECIPE = "paired"
Matrix = NDArray[np.float64]


def sections_of(data: Path, language: str) -> tuple[list[str], list[str], list[int]]:
    """Short sections of documentation, headings of some of them, and which."""
    most = LONGEST.get(language, 400)
    rows = [row for row in training_rows(data, language) if SHORTEST <= len(row["passage"]) <= most]
    for field in ("passage", "query"):
        rows = list({row[field]: row for row in rows}.values())
    draw = np.random.default_rng(0)
    rows = [rows[i] for i in sorted(draw.choice(len(rows), min(DOCUMENTS, len(rows)), replace=False).tolist())]
    gold = sorted(draw.choice(len(rows), min(QUESTIONS, len(rows)), replace=False).tolist())
    return [row["passage"] for row in rows], [rows[i]["query"] for i in gold], gold


def passages_of(data: Path, pool: str) -> tuple[list[str], list[str], list[int]]:
    """Pieces of articles of about two dozen words, questions, and the piece in which the answer begins."""
    with lzma.open(data / f"retrieval/{pool}.json.xz", "rt", encoding="utf-8") as stream:
        paragraphs = [paragraph for article in json.load(stream)["data"] for paragraph in article["paragraphs"]]
    draw = np.random.default_rng(0)
    draw.shuffle(paragraphs)
    passages: dict[str, int] = {}
    asked: list[tuple[str, int]] = []
    for paragraph in paragraphs:
        if len(passages) >= PASSAGES:
            break
        end, places = 0, []
        for piece in WordPlaces(paragraph["context"]).passages(PASSAGE_WORDS, 8):
            start = paragraph["context"].index(piece, end)
            end = start + len(piece)
            places.append((start, passages.setdefault(piece, len(passages))))
        for question in paragraph["qas"]:
            before = [number for start, number in places if start <= question["answers"][0]["answer_start"]]
            asked += [(question["question"], before[-1])] if before else []
    chosen = [asked[i] for i in sorted(draw.choice(len(asked), min(ASKED, len(asked)), replace=False).tolist())]
    return list(passages), [question for question, _ in chosen], [number for _, number in chosen]


def scores_of(similarities: Matrix, gold: NDArray[np.int64]) -> Matrix:
    """nDCG@10 of every query with one relevant passage; ties count as the mean place, so that order is no help."""
    own = similarities[np.arange(len(gold)), gold][:, None]
    places = (similarities > own).sum(axis=1) + ((similarities == own).sum(axis=1) - 1) / 2
    return np.where(places < 10, 1 / np.log2(places + 2), 0.0)


class Pool:
    """Passages and sets of questions: (questions, which passage, that passage as it is then or None)."""

    def __init__(self, name: str, language: str, passages: list[str], tokenizer: Any) -> None:
        self.name, self.language, self.passages = name, language, passages
        self.words = BM25(tokenizer)
        self.sets: dict[str, tuple[list[str], NDArray[np.int64], list[str] | None]] = {}
        self._ids = self.words.token_ids(passages)
        self._average = float(np.mean([len(ids) for ids in self._ids]))
        self._known: dict[tuple[str, bool, float], Matrix] = {}

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """Everything to encode, by role."""
        held = [text for _, _, cuts in self.sets.values() for text in cuts or []]
        asked = [text for questions, _, _ in self.sets.values() for text in questions]
        return {"document": [*self.passages, *held], "query": asked}

    def _weights(self, ids: list[list[int]], *, pairs: bool, power: float, document: bool) -> csr_matrix:
        lengths = np.array([len(row) for row in ids])
        if pairs:
            ids = _pairs(ids)
        found = _counted(ids, PAIR_COLUMNS if pairs else self.words._size()).tocoo()
        values = found.data.astype(np.float64)
        if document:
            values = values * 2.5 / (values + 1.5 * (0.25 + 0.75 * lengths[found.row] / self._average))
        return csr_matrix((values * self._idf(pairs)[found.col] ** power, (found.row, found.col)), shape=found.shape)

    def _idf(self, pairs: bool) -> Matrix:
        ids = _pairs(self._ids) if pairs else self._ids
        size = PAIR_COLUMNS if pairs else self.words._size()
        return lucene_idf(len(ids), np.bincount(_counted(ids, size).indices, minlength=size))

    def lexical(self, questions: str, *, pairs: bool = False, power: float = 0.5) -> Matrix:
        """Scores of words, or of pairs of them, shape (questions, passages)."""
        key = (questions, pairs, power)
        if key not in self._known:
            texts, gold, cuts = self.sets[questions]
            asked = self._weights(self.words.token_ids(texts), pairs=pairs, power=power, document=False)
            held = self._weights(self._ids, pairs=pairs, power=power, document=True)
            own = None if cuts is None else self.words.token_ids(cuts)
            owned = None if own is None else self._weights(own, pairs=pairs, power=power, document=True)
            self._known[key] = _similar(asked, held, gold, owned)
        return self._known[key]


def _pairs(ids: list[list[int]]) -> list[list[int]]:
    """Columns of neighbours, as :func:`isthmus.modules.token_counts.count_pairs` has them."""
    return [[(a * 1_000_003 + b * 7_919) % PAIR_COLUMNS for a, b in pairwise(row)] for row in ids]


def _counted(ids: list[list[int]], size: int) -> csr_matrix:
    starts = np.cumsum([0, *map(len, ids)])
    columns = np.fromiter((i for row in ids for i in row), dtype=np.int64, count=int(starts[-1]))
    found = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(ids), size))
    found.sum_duplicates()
    return found


def _similar(asked: csr_matrix, held: csr_matrix, gold: NDArray[np.int64], own: csr_matrix | None) -> Matrix:
    """Scores, those with a question's own passage by ``own`` where it is another then."""
    found = np.asarray((asked @ held.T).todense(), dtype=np.float64)
    if own is not None:
        found[np.arange(len(gold)), gold] = np.asarray(asked.multiply(own).sum(axis=1)).ravel()
    return found


class Vectors:
    """What one encoder makes of a pool, and the arms that are computed from it."""

    def __init__(self, pool: Pool, asked: csr_matrix, held: csr_matrix) -> None:
        self.pool, size = pool, len(pool.passages)
        self._held, self._scale = held[:size], activation_scale(held[:size]).astype(np.float64)
        self._known: dict[tuple[str, bool, bool], Matrix] = {}
        self._asked: dict[str, tuple[csr_matrix, csr_matrix | None]] = {}
        row = 0
        for name, (questions, _, cuts) in pool.sets.items():
            part = None if cuts is None else held[size : (size := size + len(cuts))]
            self._asked[name] = (asked[row : (row := row + len(questions))], part)

    def own(self, questions: str, *, calibrated: bool = True, trim: bool = False) -> Matrix:
        """The encoder's own scores."""
        key = (questions, calibrated, trim)
        if key not in self._known:
            self._known[key] = self._scores(questions, calibrated=calibrated, trim=trim)
        return self._known[key]

    def _scores(self, questions: str, *, calibrated: bool, trim: bool) -> Matrix:
        asked, cuts = self._asked[questions]
        sides = [asked, self._held, *([] if cuts is None else [cuts])]
        if calibrated:
            sides = [csr_matrix(side.multiply(self._scale)) for side in sides]
        if trim:
            sides = [cut(side, dims) for side, dims in zip(sides, (TRIM[0], TRIM[1], TRIM[1]), strict=False)]
        return _similar(sides[0], sides[1], self.pool.sets[questions][1], sides[2] if len(sides) > 2 else None)

    def joined(
        self, questions: str, *, weight: float = 2.0, share: float = 0.0, power: float = 0.75, trim: bool = False
    ) -> Matrix:
        """With the words beside it, which spread ``weight`` times as far, of snippets with passages."""
        spread = self.own("left").std() / self.pool.lexical("left", power=power).std()
        words = self.pool.lexical(questions, power=power)
        if share:
            words = words + share * self.pool.lexical(questions, pairs=True, power=power)
        return self.own(questions, trim=trim) + weight * spread * words

    def arms(self, questions: str) -> dict[str, Matrix]:
        """All arms."""
        return {
            "plain": self.own(questions, calibrated=False), "calibrated": self.own(questions),
            "hybrid": self.joined(questions), "trimmed": self.joined(questions, trim=True),
            RECIPE: self.joined(questions, **CHOSEN), "paired, 8": self.joined(questions, **{**CHOSEN, "weight": 8.0}),
        }  # fmt: skip


def words_of(pool: Pool, questions: str) -> dict[str, Matrix]:
    """BM25, and with pairs."""
    words = pool.lexical(questions)
    return {"BM25": words, "BM25, pairs": words + PAIR_SHARE * pool.lexical(questions, pairs=True)}


def tokenizer_of(pool: str, language: str, passages: list[str], work: Path) -> str:
    """The built-in tokenizer, or one that is trained on the pool."""
    if language in BUILT_IN:
        return harness.TOKENIZER.format(language=language)
    place = work / f"tokenizer-{pool}"
    if not (place / "tokenizer.json").is_file():
        made, _ = train_tokenizer(passages, vocabulary_size=ENTRIES, language=language, show_progress_bar=False)
        made.save_pretrained(str(place))
    return str(place)


def vectors_of(pool: Pool, variant: str, tokenizer: str, encoder: str, bridge: str, work: Path) -> Vectors:
    """Encode a pool unless it has been."""
    made_by = {
        "models": [fingerprint(name) for name in (encoder, bridge, tokenizer)], "variant": VARIANTS[variant],
        "texts": pool.texts, "max_length": MAX_LENGTH,
    }  # fmt: skip
    places = {role: work / f"{pool.name}.{variant}.{hashed(made_by)[:12]}.{role}.npz" for role in pool.texts}
    if not all(place.is_file() for place in places.values()):
        model = _transferred(variant, tokenizer, encoder, bridge)
        model.max_seq_length = MAX_LENGTH
        for role, place in places.items():
            save_npz(place, encode_texts(model, pool.texts[role], role=role, show_progress_bar=False))  # type: ignore[arg-type]
    return Vectors(pool, *(load_npz(places[role]) for role in ("query", "document")))


@cache
def _bridge(name: str) -> Any:
    return open_bridge(name)


def _transferred(variant: str, tokenizer: str, encoder: str, bridge: str) -> Any:
    INITIALIZERS.setdefault("shuffled", Shuffled)
    return transfer_encoder(
        load_encoder(encoder), load_tokenizer(tokenizer), bridge=_bridge(bridge), show_progress_bar=False,
        **VARIANTS[variant],
    )[0]  # fmt: skip


def measure(args: argparse.Namespace, language: str) -> tuple[list[Row], list[Row], dict[str, harness.Scores]]:
    """Cells of every arm and way of asking, choices on labels, and scores by query."""
    passages, headings, gold = sections_of(args.data, language)
    tokenizer = tokenizer_of("sections", language, passages, args.work)
    pool = Pool(f"sections-{language}", language, passages, tokenizer)
    pool.sets["labels"] = (headings, np.array(gold), None)
    made = remembered(args.work / f"{pool.name}.questions.json", lambda: _made(pool, tokenizer, args.encoder))
    for kind, asked in made.items():
        cuts = [rest for _, _, rest in asked if rest is not None]
        pool.sets[kind] = ([text for text, _, _ in asked], np.array([number for _, number, _ in asked]), cuts or None)
    found = {name: words_of(pool, name) for name in pool.sets}
    choices = []
    for variant in ("kept", "replaced", "kept, shuffled"):
        vectors = vectors_of(pool, variant, tokenizer, args.encoder, BRIDGE, args.work)
        for name, by_arm in found.items():
            by_arm |= {f"{variant}: {arm}": scores for arm, scores in vectors.arms(name).items()}
        if variant == "kept":
            choices = [
                {"language": language, "weight": weight, "share": share, "power": power, "ndcg@10": float(
                    scores_of(vectors.joined("labels", weight=weight, share=share, power=power), np.array(gold)).mean()
                )}
                for weight in WEIGHTS for share in SHARES for power in POWERS
            ]  # fmt: skip
    scores = {
        f"{language}: {name}": {arm: scores_of(matrix, pool.sets[name][1]) for arm, matrix in by_arm.items()}
        for name, by_arm in found.items()
    }
    rows = [
        {"language": language, "arm": arm, "ndcg@10": {
            name: float(scores[f"{language}: {name}"][arm].mean()) for name in pool.sets
        }}
        for arm in found["labels"]
    ]  # fmt: skip
    return rows, choices, scores


def _made(pool: Pool, tokenizer: str, encoder: str) -> dict[str, list[Any]]:
    """Questions made of a pool, with what its encoder holds for near."""
    used = sorted({token for row in pool.words.token_ids(pool.passages) for token in row})
    near = near_tokens(_transferred("kept", tokenizer, encoder, BRIDGE), tokenizer, used)
    return dict(made_of(pool.passages, pool.words, near))


def recipe(args: argparse.Namespace, name: str) -> list[Row]:
    """Rows of every arm on an evaluation pool."""
    language = POOLS[name]
    passages, questions, gold = passages_of(args.data, name)
    tokenizer = tokenizer_of(name, language, passages, args.work)
    bridge = BRIDGE if language in BUILT_IN else PUBLISHED_BRIDGE
    pool = Pool(name, language, passages, tokenizer)
    pool.sets["labels"] = (questions, np.array(gold), None)
    snippets = draw_snippets(pool.words.tokenizer, passages, 0, SNIPPETS)
    pool.sets["left"] = (snippets, np.zeros(len(snippets), dtype=np.int64), None)
    found = words_of(pool, "labels")
    kind = "reads" if language in LATIN else "kept"
    for variant in (kind, f"{kind}, shuffled")[: 2 if args.shuffled else 1]:
        vectors = vectors_of(pool, variant, tokenizer, args.encoder, bridge, args.work)
        found |= {f"{variant}: {arm}": scores for arm, scores in vectors.arms("labels").items()}
    scores = {arm: scores_of(matrix, np.array(gold)) for arm, matrix in found.items()}
    rows = []
    for arm, own in scores.items():
        test = paired_bootstrap(own, scores["BM25"])
        rows.append({
            "language": language, "collection": name, "encoder": args.encoder, "bridge": bridge, "arm": arm,
            "ndcg@10": float(own.mean()), "bm25": float(scores["BM25"].mean()), "difference": test.difference,
            "interval": [test.low, test.high], "p": test.p_value, "documents": len(passages), "queries": len(own),
        })  # fmt: skip
        if (shuffled := scores.get(f"{kind}, shuffled: {RECIPE}")) is not None and arm == f"{kind}: {RECIPE}":
            rows[-1]["vs_shuffled"] = paired_bootstrap(own, shuffled).to_dict()
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = harness.parser_of(__doc__, "adapt", languages=BUILT_IN, work="runs/adapt")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=list(POOLS))
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--no-shuffled", dest="shuffled", action="store_false", help="without meaningless rows")
    args: Any = harness.parse(parser, argv)
    args.work.mkdir(parents=True, exist_ok=True)
    content: Row = harness.read_json(args.output) if args.output.exists() else {}
    if "measure" in args.parts:
        from benchmarks.suites.adapt_tables import agreement

        measured = [measure(args, language) for language in args.languages]
        scores = {name: by_arm for _, _, found in measured for name, by_arm in found.items()}
        content |= {
            "measure": [row for rows, _, _ in measured for row in rows],
            "choices": [row for _, rows, _ in measured for row in rows],
            "agreement": agreement(scores),
        }
        harness.write_json(args.output, content)
    for pool in args.pools if "recipe" in args.parts else []:
        others = [row for row in content.get("rows", []) if (row["collection"], row["encoder"]) != (pool, args.encoder)]
        rows = recipe(args, pool)
        content["rows"] = [*others, *rows]
        harness.write_json(args.output, content)
        say(f"{pool}: " + ", ".join(f"{row['arm']} {row['ndcg@10']:.3f}" for row in rows))
