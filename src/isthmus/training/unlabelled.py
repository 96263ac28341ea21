"""Pairs from unlabelled text: titles, headings and snippets as queries, what they stand over or come from as passages.

The snippets are those of the inverse cloze task (arXiv 1906.00300), which keeps a tenth of them in their passages.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from isthmus.errors import CollectionError, InputError, NotFoundError, UnknownNameError
from isthmus.reading.corpus import Corpus, Document
from isthmus.reading.corpus_bar import corpus_bar
from isthmus.reading.storage import OPENERS, read_lines
from isthmus.training.data import TrainingData, parse_rows
from isthmus.training.near_duplicates import NearDuplicates
from isthmus.training.structure import Words, blocks, take_out

Kind = Literal["title", "heading", "snippet"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PAGES = (".md", ".markdown", ".rst")
# In words, or two characters each of scripts without spaces; those of the doctor's known-item search.
SNIPPET_WORDS = (5, 8)
LEAST_FOR_SNIPPET = 12
LEAST_FOR_HEADING = 5
# A longer line is text, whatever it looks like.
LONGEST_HEADING = 30
# Passages are cut to this many words where nobody says how many tokens are read.
PASSAGE_WORDS = 128


@dataclass(frozen=True)
class PairSettings:
    """How pairs are made from unlabelled text.

    Attributes:
        kinds: Which queries to take: ``title``, of a document; ``heading``, of a section; ``snippet``, of a passage
            that has neither, or whose query was there before.
        keep_snippet: Probability with which a snippet is also left in its passage. Left in, it teaches to match words;
            taken out, to match what the text around them is about. 0 was best on development sections.
        max_pairs: Most pairs, drawn evenly from all; memory grows with it.
        passage_words: Words to a passage of which a snippet is drawn; None takes 128 or, in
            :func:`isthmus.training.train_self_supervised`, half of the tokens that training reads.
        negatives: Hard negatives per pair, of BM25 over the encoder's tokenizer. Finding them is cheap, training on
            them is not: each is one more passage to encode.
    """

    kinds: tuple[Kind, ...] = KINDS
    keep_snippet: float = 0.0
    max_pairs: int = 100_000
    passage_words: int | None = None
    negatives: int = 0

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise UnknownNameError("kind of pairs", kind, KINDS)
        if not self.kinds:
            raise InputError(f"kinds must be at least one of {', '.join(KINDS)}, got none; leave it at its default")
        if not 0 <= self.keep_snippet <= 1:
            raise InputError(f"keep_snippet must be a probability in 0..1, got {self.keep_snippet}")
        for name, least in (("max_pairs", 2), ("passage_words", LEAST_FOR_SNIPPET), ("negatives", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} must be {least} or more, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name."""
        return asdict(self) | {"kinds": list(self.kinds)}


# What a teacher scores: snippets in their own passages, for it is words that an echo knows.
TAUGHT = PairSettings(kinds=("snippet",), keep_snippet=1.0, negatives=2)
# Teachers that are the encoder itself, with what isthmus.lexical.add_lexical adds to it.
OWN_TEACHERS = ("echo", "hybrid")


def check_teacher(teacher: str | Path | None) -> None:
    """Refuse a teacher that is no encoder, before anything is looked for under its name.

    Raises:
        InputError: If it is BM25.
    """
    if str(teacher).lower() == "bm25":
        raise InputError(
            "teacher must be an encoder, echo or hybrid, got 'bm25'; hybrid has BM25's weights of the words"
        )


@dataclass(frozen=True)
class TextPairs:
    """Pairs, and what became of the text they are from.

    Attributes:
        data: ``query`` and ``positive``, every text once.
        kinds: What each query is.
        kept: Of each pair, whether the query is a snippet that was left in its passage.
        documents: Number of documents read.
        left_out: Number of passages by reason.
    """

    data: TrainingData
    kinds: list[Kind]
    kept: list[bool]
    documents: int
    left_out: dict[str, int]

    def stated(self) -> dict[str, Any]:
        """What a report says; JSON values."""
        counts = Counter(self.kinds)
        return {
            "documents": self.documents,
            "pairs": {kind: counts[kind] for kind in KINDS if counts[kind]},
            "snippets_kept": sum(self.kept),
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class _Pair:
    kind: Kind
    query: str
    positive: str
    kept: bool = False


def pairs_from_text(
    source: Any, settings: PairSettings | None = None, *, seed: int = 0, show_progress_bar: bool | None = None
) -> TextPairs:
    """Make training pairs from unlabelled documents, one document at a time.

    Documents are cut at their headings (:func:`isthmus.training.structure.blocks`). What a heading, or the title,
    stands over is its passage. Text without one is cut into passages, and a snippet drawn from each. Passages that are
    nearly the same as one before are left out, for each would be the other's negative. Beside ``max_pairs`` pairs,
    about half a kilobyte of every passage stays in memory, to know it again.

    Args:
        source: As for :class:`isthmus.reading.corpus.Corpus`; also a ``.txt`` file (``.gz``, ``.xz``, ``.zst``) with
            one document a line, or a Markdown or reStructuredText file (``.md``, ``.markdown``, ``.rst``) or a folder
            of them, each one document.
        settings: Which pairs to make; None takes the defaults.
        seed: Decides which snippets are drawn and kept, and which pairs under ``max_pairs``.
        show_progress_bar: None shows it on a terminal.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If the corpus is malformed; names the line.
        InputError: If fewer than two pairs come of it; counts why.
        MissingExtraError: If the kind of file needs a package that is not installed.
    """
    settings = settings or PairSettings()
    corpus = read_documents(source)
    left_out: Counter[str] = Counter()
    chosen: list[tuple[int, _Pair]] = []
    draw, made, documents = random.Random(seed), 0, 0
    maker = _Maker(settings, seed, left_out)
    with corpus_bar(corpus, "mining pairs", show_progress_bar) as step:
        for document in corpus:
            documents += 1
            for pair in maker.pairs(document):
                if made < settings.max_pairs:
                    chosen.append((made, pair))
                # Algorithm R: every pair stays with the same probability.
                elif (place := draw.randrange(made + 1)) < settings.max_pairs:
                    chosen[place] = (made, pair)
                made += 1
            step(1, True)
    left_out["over max_pairs"] = made - len(chosen)
    found = {reason: number for reason, number in left_out.items() if number}
    name = str(source) if isinstance(source, (str, Path)) else corpus.name
    if len(chosen) < 2:
        raise InputError(
            f"{name} must give at least 2 pairs to train on, got {_told(len(chosen), documents, found)}; add documents"
            f"{' or allow more kinds of pairs' if len(settings.kinds) < len(KINDS) else ''}"
        )
    pairs = [pair for _, pair in sorted(chosen, key=lambda numbered: numbered[0])]
    rows = [{"query": pair.query, "positive": pair.positive} for pair in pairs]
    data = parse_rows(((f"{name}, pair {number}", row) for number, row in enumerate(rows, start=1)), name)
    return TextPairs(data, [pair.kind for pair in pairs], [pair.kept for pair in pairs], documents, found)


def _told(pairs: int, documents: int, left_out: dict[str, int]) -> str:
    counts = f"{pairs} pair{'s' * (pairs != 1)} from {documents} document{'s' * (documents != 1)}"
    reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
    return f"{counts} (left out: {reasons})" if reasons else counts


class _Maker:
    """Makes pairs of documents, and remembers what was there before."""

    def __init__(self, settings: PairSettings, seed: int, left_out: Counter[str]) -> None:
        self._settings, self._seed, self._left_out = settings, seed, left_out
        self._texts = NearDuplicates()
        self._queries: set[str] = set()

    def pairs(self, document: Document) -> Iterator[_Pair]:
        """Pairs of a document, in the order of its text."""
        # Of its own, so that a document gives the same pairs wherever it stands.
        generator = random.Random(f"{self._seed}:{document.id}")
        title = document.title.strip()
        for number, block in enumerate(blocks(document.text)):
            heading, kind = block.heading, KINDS[1]
            if number == 0 and heading is None and title:
                heading, kind = title, KINDS[0]
            yield from self._of_block(kind, heading, block.text, generator)
        if not document.text.strip():
            self._left_out["empty"] += 1

    def _of_block(self, kind: Kind, heading: str | None, text: str, generator: random.Random) -> Iterator[_Pair]:
        words = Words(text)
        if not len(words):
            self._left_out["empty"] += 1
        elif heading is not None and kind in self._settings.kinds and self._is_new(heading):
            if len(words) < LEAST_FOR_HEADING:
                self._left_out["too short"] += 1
            elif not self._texts.add(text):
                self._left_out["near-duplicate"] += 1
            else:
                self._queries.add(_key(heading))
                yield _Pair(kind, heading, text)
        elif "snippet" not in self._settings.kinds:
            self._left_out["no title or heading of its own"] += 1
        else:
            for passage in words.passages(self._settings.passage_words or PASSAGE_WORDS, LEAST_FOR_SNIPPET):
                yield from self._snippet(passage, generator)

    def _is_new(self, heading: str) -> bool:
        """Whether a heading says something, and nothing that another one said before."""
        said = any(map(str.isalpha, heading)) and len(Words(heading)) <= LONGEST_HEADING
        return said and _key(heading) not in self._queries

    def _snippet(self, passage: str, generator: random.Random) -> Iterator[_Pair]:
        words = Words(passage)
        if len(words) < LEAST_FOR_SNIPPET:
            self._left_out["too short"] += 1
            return
        if not self._texts.add(passage):
            self._left_out["near-duplicate"] += 1
            return
        start, end = words.draw(generator.randint(*SNIPPET_WORDS), generator)
        snippet, kept = passage[start:end], generator.random() < self._settings.keep_snippet
        if _key(snippet) in self._queries:
            self._left_out["repeated snippet"] += 1
            return
        self._queries.add(_key(snippet))
        yield _Pair("snippet", snippet, passage if kept else take_out(passage, start, end), kept)


def _key(query: str) -> str:
    return " ".join(query.casefold().split())


def read_documents(source: Any) -> Corpus:
    """Open what :func:`pairs_from_text` reads.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If it is no kind of file that can be read.
        MissingExtraError: If its kind needs a package that is not installed.
    """
    if not isinstance(source, (str, Path)):
        return Corpus(source)
    path = Path(source)
    # A BEIR folder may hold a README.md as well.
    if path.is_dir() and not any(path.glob("corpus.jsonl*")):
        pages = [page for page in sorted(path.rglob("*")) if page.suffix in PAGES]
        if not pages:
            raise CollectionError(
                f"corpus must be a file, or a folder with corpus.jsonl or with {', '.join(PAGES)} files, got {path}; "
                "name one of its files"
            )
        # Named by their places in the folder, so that the folder may be moved.
        corpus = Corpus(_page(page, page.relative_to(path).as_posix()) for page in pages)
        corpus.total = len(pages)
        return corpus
    kind = Path(path.name.removesuffix(path.suffix)).suffix if path.suffix in OPENERS else path.suffix
    if kind not in (".txt", *PAGES):
        return Corpus(path)
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist")
    return Corpus(_line_documents(path) if kind == ".txt" else [_page(path, path.name)])


def _line_documents(path: Path) -> Iterator[Document]:
    for number, line in read_lines(path, refusal=CollectionError):
        yield Document(f"line {number}", line)


def _page(path: Path, name: str) -> Document:
    lines = read_lines(path, keep_blank=True, refusal=CollectionError)
    return Document(name, "\n".join(line for _, line in lines))
