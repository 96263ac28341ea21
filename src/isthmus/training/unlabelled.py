"""Pairs from unlabelled text: titles, headings and snippets as queries, what they stand over or come from as passages.

The snippets are those of the inverse cloze task (arXiv 1906.00300), which keeps a tenth of them in their passages.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import CollectionError, InputError, NotFoundError
from isthmus.reading.corpus import Corpus, Document
from isthmus.reading.corpus_bar import corpus_bar
from isthmus.reading.lines import COMPRESSIONS, read_lines
from isthmus.training.data import TrainingData, parse_rows
from isthmus.training.near_duplicates import NearDuplicates
from isthmus.training.structure import WordPlaces, blocks, sentences, take_out
from isthmus.training.text_options import KINDS, LEAST_FOR_SNIPPET, Kind, PairOptions

PAGES = (".md", ".markdown", ".rst")
# In words, or two characters each of scripts without spaces; those of the doctor's known-item search.
SNIPPET_WORDS = (5, 8)
LEAST_FOR_HEADING = 5
# Of a sentence that is a question, and sentences of a passage that one may be taken from.
SENTENCE_WORDS, LEAST_SENTENCES = (4, 30), 3
# A longer line is text, whatever it looks like.
LONGEST_HEADING = 30
# Passages are cut to this many words where nobody says how many tokens are read.
PASSAGE_WORDS = 128


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
    source: Any,
    options: PairOptions | None = None,
    *,
    seed: int = 0,
    whole_sentences: bool = False,
    show_progress_bar: bool | None = None,
    **changes: Any,
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
        options: Which pairs to make; None takes the defaults.
        seed: Decides which snippets are drawn and kept, and which pairs under ``max_pairs``.
        whole_sentences: Snippets are whole sentences, where a passage has three and more.
        show_progress_bar: None shows it on a terminal.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If the corpus is malformed; names the line.
        InputError: If fewer than two pairs come of it; counts why.
        MissingExtraError: If the kind of file needs a package that is not installed.

    Example:
        >>> made = pairs_from_text("docs", kinds=("heading",))  # doctest: +SKIP
    """
    options = PairOptions.of(options, **changes)
    corpus = read_documents(source)
    left_out: Counter[str] = Counter()
    chosen: list[tuple[int, _Pair]] = []
    draw, made, documents = random.Random(seed), 0, 0
    maker = _Maker(options, seed, left_out, whole=whole_sentences)
    with corpus_bar(corpus, "mining pairs", show_progress_bar) as step:
        for document in corpus:
            documents += 1
            for pair in maker.pairs(document):
                if made < options.max_pairs:
                    chosen.append((made, pair))
                # Algorithm R: every pair stays with the same probability.
                elif (place := draw.randrange(made + 1)) < options.max_pairs:
                    chosen[place] = (made, pair)
                made += 1
            step(1, True)
    left_out["over max_pairs"] = made - len(chosen)
    found = {reason: number for reason, number in left_out.items() if number}
    name = str(source) if isinstance(source, (str, Path)) else corpus.name
    if len(chosen) < 2:
        raise InputError(
            f"{name} must give at least 2 pairs to train on, got {_told(len(chosen), documents, found)}; add documents"
            f"{' or allow more kinds of pairs' if len(options.kinds) < len(KINDS) else ''}"
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

    def __init__(self, options: PairOptions, seed: int, left_out: Counter[str], *, whole: bool) -> None:
        self._options, self._seed, self._left_out, self._whole = options, seed, left_out, whole
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
        words = WordPlaces(text)
        if not len(words):
            self._left_out["empty"] += 1
        elif heading is not None and kind in self._options.kinds and self._is_new(heading):
            if len(words) < LEAST_FOR_HEADING:
                self._left_out["too short"] += 1
            elif not self._texts.add(text):
                self._left_out["near-duplicate"] += 1
            else:
                self._queries.add(_key(heading))
                yield _Pair(kind, heading, text)
        elif "snippet" not in self._options.kinds:
            self._left_out["no title or heading of its own"] += 1
        else:
            for passage in words.passages(self._options.passage_words or PASSAGE_WORDS, LEAST_FOR_SNIPPET):
                yield from self._snippet(passage, generator)

    def _is_new(self, heading: str) -> bool:
        """Whether a heading says something, and nothing that another one said before."""
        said = any(map(str.isalpha, heading)) and len(WordPlaces(heading)) <= LONGEST_HEADING
        return said and _key(heading) not in self._queries

    def _snippet(self, passage: str, generator: random.Random) -> Iterator[_Pair]:
        words = WordPlaces(passage)
        if len(words) < LEAST_FOR_SNIPPET:
            self._left_out["too short"] += 1
            return
        if not self._texts.add(passage):
            self._left_out["near-duplicate"] += 1
            return
        whole = _whole_sentences(passage) if self._whole else []
        start, end = generator.choice(whole) if whole else words.draw(generator.randint(*SNIPPET_WORDS), generator)
        snippet, kept = passage[start:end], generator.random() < self._options.keep_snippet
        if _key(snippet) in self._queries:
            self._left_out["repeated snippet"] += 1
            return
        self._queries.add(_key(snippet))
        yield _Pair("snippet", snippet, passage if kept else take_out(passage, start, end), kept)


def _whole_sentences(passage: str) -> list[tuple[int, int]]:
    """Sentences that can be a question; none where too little would be left of the passage."""
    found = sentences(passage)
    few, many = SENTENCE_WORDS
    fitting = [(start, end) for start, end in found if few <= len(WordPlaces(passage[start:end])) <= many]
    return fitting if len(found) >= LEAST_SENTENCES else []


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
    kind = Path(path.name.removesuffix(path.suffix)).suffix if path.suffix in COMPRESSIONS else path.suffix
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
