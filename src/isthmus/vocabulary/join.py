"""One WordPiece tokenizer that reads a source language as before and other languages in their own scripts."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, TokenizerError
from isthmus.vocabulary.charsmap import every_character, probe, table_normalizers
from isthmus.vocabulary.spelling import Spelling, backend_of, pipeline_of, wrap_backend
from isthmus.vocabulary.token import TEXT_KINDS, Token, Vocabulary

_FEW = 20
_SHARE = 0.05
# First words of names that are no script: Latin letters, marks and digits of any text, and letters used as symbols.
_SOURCES = frozenset(
    "LATIN COMBINING DIGIT FULLWIDTH ALEF ANGSTROM BET BLACK CARON DALET DOUBLE EULER FEMININE GIMEL INFORMATION "
    "KELVIN MASCULINE MATHEMATICAL MICRO MODIFIER OHM PLANCK ROMAN SCRIPT SUBSCRIPT SUPERSCRIPT TURNED".split()
)
_INSTEAD = (
    "transfer without keep_source, which replaces the vocabulary and takes tokenizers of any family, or use a "
    "WordPiece tokenizer of that language (built in: isthmus/tokenizer-ar, -hi, -ko, -ru, -zh)"
)


@dataclass(frozen=True, eq=False)
class Joined:
    """A tokenizer that reads several languages, and where its tokens come from.

    Attributes:
        tokenizer: Reads all languages.
        source_size: Ids below are the source's, unchanged.
        known: Tokens that at least one target tokenizer has, shared ones included, shape (size,).
        foreign: Tokens of the source with a letter of another script than its own, shape (size,): most English
            vocabularies hold single letters of many.
        handed_over: Those of them in a script that a target tokenizer reads, shape (size,).
        added: Tokens added per target tokenizer; a token that two of them have counts for the first.
        left_out: Text tokens of each target tokenizer that the joined one has not.
        scripts: Index of the target tokenizer that reads each script ("HANGUL"); the source reads the others.
    """

    tokenizer: Any
    source_size: int
    known: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    handed_over: NDArray[np.bool_]
    added: tuple[int, ...]
    left_out: tuple[int, ...]
    scripts: dict[str, int]


def join_tokenizers(source: Any, targets: Sequence[Any], names: Sequence[str] | None = None) -> Joined:
    """Join a source tokenizer and target tokenizers of languages in other scripts into one.

    Every script belongs to the tokenizer with most tokens in it, Latin always to the source. Characters are normalised
    as their owner does, and the tokens of a target that hold a character of its own are added after the source's ids,
    so that text without such characters gets the source's ids. Where the source has pieces in a target's script that
    the target lacks, they stay, and words may be split at them.

    Args:
        source: A WordPiece tokenizer. Its special tokens, template and limits are those of the result.
        targets: WordPiece tokenizers with the source's pre-tokenizer. Normalizers are taken to treat characters alone,
            up to composition.
        names: What messages call the targets; None numbers them.

    Returns:
        An ordinary tokenizer, which needs no code of this package, and what it was made of.

    Raises:
        InputError: If there are no targets.
        TokenizerError: If a tokenizer is not WordPiece, or its continuation prefix or pre-tokenizer is not the
            source's; if a target is in the Latin script (fewer than 20 or less than 5 % of its text tokens would be
            added, and more than half of them are Latin), or has nothing to add because others own its scripts.

    Example:
        >>> join_tokenizers(english, [korean]).tokenizer.save_pretrained("en-ko")  # doctest: +SKIP
    """
    targets = list(targets)
    if not targets:
        raise InputError("targets must hold at least one tokenizer, got none; pass a tokenizer of the new language")
    names = [f"targets[{index}]" for index in range(len(targets))] if names is None else list(names)
    _check(source, dict(zip(names, targets, strict=True)))
    vocabularies = [Vocabulary.from_tokenizer(tokenizer) for tokenizer in (source, *targets)]
    owners = _owners(vocabularies)
    backend = backend_of(source)
    readers = tuple(json.dumps(pipeline_of(tokenizer)["normalizer"]) for tokenizer in (source, *targets))
    normalizer = _normalizer(readers, tuple(sorted(owners.items())))

    raws = vocabularies[0].raw_tokens()
    have = set(raws)
    added = []
    for index, vocabulary in enumerate(vocabularies[1:]):
        own = [
            token
            for token in _text_tokens(vocabulary)
            if token.raw not in have and any(owners.get(_script(character)) == index + 1 for character in token.surface)
        ]
        taken = _reachable(own, normalizer, backend.pre_tokenizer)
        _check_share(names, index, vocabulary, len(taken), owners)
        raws += taken
        have.update(taken)
        added.append(len(taken))
    foreign, handed_over = np.zeros((2, len(raws)), dtype=np.bool_)
    for token in _text_tokens(vocabularies[0]):
        letters = _letters(token)
        foreign[token.id] = bool(letters)
        handed_over[token.id] = any(owners[script] for script in letters)
    elsewhere = {token.raw for vocabulary in vocabularies[1:] for token in vocabulary.tokens}
    return Joined(
        tokenizer=_assemble(source, raws, normalizer),
        source_size=vocabularies[0].size,
        known=np.array([raw in elsewhere for raw in raws], dtype=np.bool_),
        foreign=foreign,
        handed_over=handed_over,
        added=tuple(added),
        left_out=tuple(
            sum(token.raw not in have for token in _text_tokens(vocabulary)) for vocabulary in vocabularies[1:]
        ),
        scripts={script: owner - 1 for script, owner in sorted(owners.items()) if owner},
    )


def foreign_letters(source: Vocabulary) -> NDArray[np.bool_]:
    """Tokens with a letter of another script than Latin, shape (size,)."""
    found = np.zeros(source.size, dtype=np.bool_)
    found[[token.id for token in _text_tokens(source) if _letters(token)]] = True
    return found


def _check(source: Any, targets: Mapping[str, Any]) -> None:
    """Refuse tokenizers whose tokens cannot stand in one vocabulary."""
    wanted = pipeline_of(source)
    prefix = Spelling.of(wanted).prefix
    for name, tokenizer in {"source": source, **targets}.items():
        pipeline = pipeline_of(tokenizer)
        spelling = Spelling.of(pipeline)
        if spelling.family != "wordpiece" or not spelling.prefix:
            raise TokenizerError(
                f"{name} must be a WordPiece tokenizer with a continuation prefix to be joined with others, got "
                f"{spelling.family}; {_INSTEAD}"
            )
        if spelling.prefix != prefix:
            raise TokenizerError(
                f"{name} must mark continuations as the source does, with {prefix!r}, got {spelling.prefix!r}; "
                f"{_INSTEAD}"
            )
        if pipeline["pre_tokenizer"] != wanted["pre_tokenizer"] or pipeline["pre_tokenizer"] is None:
            raise TokenizerError(
                f"{name} must split text into words as the source does, by the pre-tokenizer "
                f"{wanted['pre_tokenizer'] or 'BertPreTokenizer'}, got {pipeline['pre_tokenizer']}; {_INSTEAD}"
            )
        longer = [step for step in _steps(pipeline["normalizer"]) if _spans_characters(step)]
        if longer:
            raise TokenizerError(
                f"{name} must have a normalizer that treats every character alone, got the step {longer[0]}; {_INSTEAD}"
            )


def _steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    if normalizer is None:
        return []
    return [step for part in normalizer.get("normalizers", ()) for step in _steps(part)] or [normalizer]


def _spans_characters(step: dict[str, Any]) -> bool:
    """Whether a step is known to look at more than one character; of regular expressions it is not known."""
    return step["type"] in ("Prepend", "Strip") or len(step.get("pattern", {}).get("String", "")) > 1


def _check_share(names: Sequence[str], index: int, vocabulary: Vocabulary, added: int, owners: dict[str, int]) -> None:
    """Refuse a target that would add next to nothing."""
    tokens = _text_tokens(vocabulary)
    if added < _FEW or added < _SHARE * len(tokens):
        latin = sum(any(_is_latin(character) for character in token.surface) for token in tokens)
        if 2 * latin > len(tokens):
            raise TokenizerError(
                f"{names[index]} must be of a language in another script than Latin, got {latin} Latin tokens of "
                f"{len(tokens)}, which would split the source's language anew; transfer without keep_source, which "
                "replaces the vocabulary"
            )
    if added:
        return
    counts = Counter(script for token in tokens for script in _letters(token))
    others = [
        f"{script} by {names[owner - 1] if owner else 'the source'}"
        for script, _ in counts.most_common()
        if (owner := owners[script]) != index + 1
    ]
    if others:
        raise TokenizerError(
            f"{names[index]} must have a script of its own, got one whose scripts others read with at least as many "
            f"tokens: {', '.join(others[:5])}; leave it out"
        )
    raise TokenizerError(
        f"{names[index]} must have tokens that text can give, got none that its normalizer leaves as they are; "
        "choose another tokenizer"
    )


def _text_tokens(vocabulary: Vocabulary) -> list[Token]:
    return [token for token in vocabulary.tokens if token.kind in TEXT_KINDS]


def _script(character: str) -> str:
    """The script a character is named after, "" for those that are the source's in any case."""
    if character.isascii():
        return ""
    name = unicodedata.name(character, "").replace("-", " ").partition(" ")[0]
    return "" if name in _SOURCES else name


@functools.lru_cache(maxsize=1 << 15)
def _letter_script(character: str) -> str:
    return _script(character) if unicodedata.category(character)[0] == "L" else ""


def _is_latin(character: str) -> bool:
    return character.isalpha() and (character.isascii() or unicodedata.name(character, "").startswith("LATIN "))


def _letters(token: Token) -> set[str]:
    """The scripts of a token's letters, without Latin."""
    return {script for character in token.surface if (script := _letter_script(character))}


def _owners(vocabularies: list[Vocabulary]) -> dict[str, int]:
    """Script -> index of the vocabulary with most tokens that hold a letter of it, the first of several."""
    counts = [
        Counter(script for token in _text_tokens(vocabulary) for script in _letters(token))
        for vocabulary in vocabularies
    ]
    scripts = set[str]().union(*counts)
    return {script: max(range(len(counts)), key=lambda index: counts[index][script]) for script in scripts}


@functools.lru_cache(maxsize=8)
def _normalizer(descriptions: tuple[str, ...], owners: tuple[tuple[str, int], ...]) -> Any:
    """The normalizer that treats every character as its owner among those described in JSON does."""
    from tokenizers import normalizers

    readers = [_read_normalizer(description) for description in descriptions]
    owner_of = dict(owners)
    owned: list[list[str]] = [[] for _ in readers]
    for character in every_character():
        owned[owner_of.get(_script(character), 0)].append(character)
    table: dict[str, str] = {}
    for reader, characters in zip(readers, owned, strict=True):
        table.update(
            (character, text)
            for character, text in zip(characters, probe(reader, characters), strict=True)
            if text != character
        )
    steps = []
    composed, decomposed = probe(readers[0], ["\u00e9", "e\u0301"])
    if composed == decomposed:
        steps.append(normalizers.NFC())
    pad = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False)
    pads = table.get("中") == " 中 "
    if pads:
        # A hundred thousand ideographs are too many for the table, so their spaces come from a step of their own.
        padded = {character: text.strip(" ") for character, text in table.items() if text[:1] == text[-1:] == " "}
        for (character, bare), text in zip(padded.items(), probe(pad, list(padded.values())), strict=True):
            if text == table[character]:
                table[character] = bare
    return normalizers.Sequence([*steps, *table_normalizers(table), *([pad] if pads else [])])


def _read_normalizer(description: str) -> Any:
    from tokenizers import Tokenizer, models

    pipeline = json.loads(Tokenizer(models.WordPiece()).to_str())
    return Tokenizer.from_str(json.dumps(pipeline | {"normalizer": json.loads(description)})).normalizer


def _reachable(tokens: list[Token], normalizer: Any, pre_tokenizer: Any) -> list[str]:
    """The raw tokens that text can give: what the normalizer leaves as it is, and the pre-tokenizer in one piece."""
    # A continuation follows something; its own first character is of its script.
    texts = [token.surface if token.raw == token.surface else token.surface[:1] + token.surface for token in tokens]
    pieces = {piece for piece, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(" ".join(texts)))}
    return [token.raw for token, text in zip(tokens, texts, strict=True) if text in pieces]


def _assemble(source: Any, raws: list[str], normalizer: Any) -> Any:
    """The source's tokenizer with a longer vocabulary and another normalizer."""
    from tokenizers import Tokenizer

    pipeline = pipeline_of(source)
    # Added tokens that the model does not have would be renumbered to come after the model's.
    pipeline["model"]["vocab"].update((raw, id) for id, raw in enumerate(raws) if raw)
    backend = Tokenizer.from_str(json.dumps(pipeline))
    backend.normalizer = normalizer
    return wrap_backend(backend, source)
