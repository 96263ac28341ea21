"""One tokenizer that reads a source language as before, and other languages beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, TokenizerError
from isthmus.vocabulary.charsmap import probe
from isthmus.vocabulary.joined_model import EXTENDED, add_to_model, spell, spell_start
from isthmus.vocabulary.joined_normalizer import described, joined_normalizer, owned_normalizer, spanning_steps
from isthmus.vocabulary.ownership import (
    is_latin,
    is_latin_vocabulary,
    latin_letters,
    letter_scripts,
    own_scripts,
    script_of,
    script_owners,
    text_tokens,
)
from isthmus.vocabulary.protected import (
    english_lines,
    english_words,
    plain_words,
    shadowing,
    unchanged_share,
    words_of,
)
from isthmus.vocabulary.spelling import Spelling, backend_of, pipeline_of, wrap_backend
from isthmus.vocabulary.token import Token, Vocabulary

_INSTEAD = (
    "write the source's columns beside it, output='source' without keep_source (--output source without "
    "--keep-source), which reads a tokenizer of any family and script; or train a WordPiece tokenizer on text of the "
    "language (isthmus tokenizer)"
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
        letters: The same of letters of the Latin script that the source does not use.
        unchanged: Share of texts of the source language, 0..1, that get the source's ids.
        checked: How many texts that was found on: those given, or the English that is at hand.
    """

    tokenizer: Any
    source_size: int
    known: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    handed_over: NDArray[np.bool_]
    added: tuple[int, ...]
    left_out: tuple[int, ...]
    scripts: dict[str, int]
    letters: dict[str, int]
    unchanged: float
    checked: int


def join_tokenizers(
    source: Any, targets: Sequence[Any], names: Sequence[str] | None = None, texts: Sequence[str] = ()
) -> Joined:
    """Join a source tokenizer and target tokenizers of other languages into one.

    Every script belongs to the tokenizer with most tokens in it, Latin always to the source. Characters are normalised
    as their owner does, and the tokens of a target that hold a character of its own are added after the source's ids,
    so that text without such characters gets the source's ids. Where the source has pieces in a target's script that
    the target lacks, they stay, and words may be split at them.

    Of a language in the Latin script, the letters that its words are spelled with beyond a-z are kept, but in English
    words that carry them (café), and all tokens are added that split no English word anew
    (:func:`isthmus.vocabulary.protected.shadowing`).

    Args:
        source: A WordPiece, byte-level BPE or Unigram tokenizer. Its special tokens, template and limits are those
            of the result.
        targets: Tokenizers. For a WordPiece source they are WordPiece with its pre-tokenizer, and normalizers that
            treat characters alone, up to composition; for another source of any family, in other scripts than Latin.
        names: What messages call the targets; None numbers them.
        texts: Texts of the source language whose words stay split as they are, beside the built-in English words.

    Returns:
        An ordinary tokenizer, which needs no code of this package, and what it was made of.

    Raises:
        InputError: If there are no targets.
        TokenizerError: If tokenizers cannot be joined, or one has nothing to add because others own its scripts.

    Example:
        >>> join_tokenizers(english, [korean]).tokenizer.save_pretrained("en-ko")  # doctest: +SKIP
    """
    targets = list(targets)
    if not targets:
        raise InputError("targets must hold at least one tokenizer, got none; pass a tokenizer of the new language")
    names = [f"targets[{index}]" for index in range(len(targets))] if names is None else list(names)
    spelling = Spelling.of(pipeline_of(source))
    vocabularies = [Vocabulary.from_tokenizer(tokenizer) for tokenizer in (source, *targets)]
    _check(source, spelling, dict(zip(names, targets, strict=True)), vocabularies[1:])
    owners = script_owners(vocabularies)
    backend = backend_of(source)
    latin = [is_latin_vocabulary(vocabulary) for vocabulary in vocabularies[1:]]
    letters: dict[str, int] = {}
    for index, vocabulary in enumerate(vocabularies[1:], start=1):
        if latin[index - 1]:
            letters = dict.fromkeys(latin_letters(vocabulary), index) | letters
    normalizer = _normalizer(source, targets, owners, letters)
    protected = words_of((*english_words(), *texts), backend) if any(latin) else set()

    raws = vocabularies[0].raw_tokens()
    have, full = set(raws), "" not in raws
    pipeline = pipeline_of(source)
    added: list[int] = []
    whole: list[str] = []
    for index, vocabulary in enumerate(vocabularies[1:], start=1):
        scripts = own_scripts(vocabulary, index, owners)
        own = {
            raw: token
            for token in text_tokens(vocabulary)
            if (raw := spell(token, spelling)) not in have and _is_own(token, scripts, latin=latin[index - 1])
        }
        taken, words = _reachable(own, spelling, normalizer, backend.pre_tokenizer), list[str]()
        if latin[index - 1]:
            split = shadowing(taken, protected, backend.model, spelling.prefix)
            taken = [raw for raw in taken if raw not in split]
            # Beside a model with holes, ids would be given twice.
            words = [raw for raw in own if raw in split - protected and not raw.startswith(spelling.prefix) and full]
        if not taken:
            raise TokenizerError(_nothing(names, index, vocabulary, owners))
        new = add_to_model(pipeline["model"], raws, taken)
        raws += new
        whole += words
        have.update(new, words)
        added.append(len(new) + len(words))
    raws += _add_whole(pipeline, len(raws), whole)
    joined = _assemble(pipeline, source, normalizer)
    return _described(joined, source, vocabularies, raws, owners, letters, tuple(added), list(texts), spelling)


def foreign_letters(source: Vocabulary) -> NDArray[np.bool_]:
    """Tokens with a letter of another script than Latin, shape (size,)."""
    found = np.zeros(source.size, dtype=np.bool_)
    found[[token.id for token in text_tokens(source) if letter_scripts(token)]] = True
    return found


def _described(
    tokenizer: Any,
    source: Any,
    vocabularies: list[Vocabulary],
    raws: list[str],
    owners: dict[str, int],
    letters: dict[str, int],
    added: tuple[int, ...],
    texts: list[str],
    spelling: Spelling,
) -> Joined:
    foreign, handed_over = np.zeros((2, len(raws)), dtype=np.bool_)
    for token in text_tokens(vocabularies[0]):
        scripts = letter_scripts(token)
        foreign[token.id] = bool(scripts)
        handed_over[token.id] = any(owners[script] for script in scripts)
    theirs = [{spell(token, spelling) for token in vocabulary.tokens} for vocabulary in vocabularies[1:]]
    texted = [{spell(token, spelling) for token in text_tokens(vocabulary)} for vocabulary in vocabularies[1:]]
    elsewhere, have = set[str]().union(*theirs), set(raws)
    checked = texts or english_lines(words=bool(letters))
    return Joined(
        tokenizer=tokenizer,
        source_size=vocabularies[0].size,
        known=np.array([raw in elsewhere for raw in raws], dtype=np.bool_),
        foreign=foreign,
        handed_over=handed_over,
        added=added,
        left_out=tuple(len(one - have) for one in texted),
        scripts={script: owner - 1 for script, owner in sorted(owners.items()) if owner},
        letters={letter: owner - 1 for letter, owner in sorted(letters.items())},
        unchanged=unchanged_share(checked, source, tokenizer),
        checked=len(checked),
    )


def _check(source: Any, spelling: Spelling, targets: Mapping[str, Any], vocabularies: Sequence[Vocabulary]) -> None:
    """Refuse tokenizers whose tokens cannot stand in one vocabulary."""
    wanted = pipeline_of(source)
    if spelling.family not in EXTENDED or spelling.suffix or (spelling.family == "wordpiece" and not spelling.prefix):
        raise TokenizerError(
            f"source must be a WordPiece tokenizer with a continuation prefix, byte-level BPE or Unigram to be joined "
            f"with others, got {spelling.family}; {_INSTEAD}"
        )
    if wanted["pre_tokenizer"] is None:
        raise TokenizerError(f"source must split text into words before its model does, got None; {_INSTEAD}")
    for (name, tokenizer), vocabulary in zip(targets.items(), vocabularies, strict=True):
        pipeline = pipeline_of(tokenizer)
        theirs = Spelling.of(pipeline)
        if spelling.family != "wordpiece":
            if is_latin_vocabulary(vocabulary):
                raise TokenizerError(
                    f"{name} must be of a language in another script than Latin to be joined with a source whose "
                    f"family is {spelling.family}, got a Latin one, whose pieces would split the source's language "
                    f"anew; {_INSTEAD}"
                )
            continue
        if theirs.family != "wordpiece" or not theirs.prefix:
            raise TokenizerError(
                f"{name} must be a WordPiece tokenizer with a continuation prefix to be joined with one, got "
                f"{theirs.family}; {_INSTEAD}"
            )
        if theirs.prefix != spelling.prefix:
            raise TokenizerError(
                f"{name} must mark continuations as the source does, with {spelling.prefix!r}, got {theirs.prefix!r}; "
                f"{_INSTEAD}"
            )
        if pipeline["pre_tokenizer"] != wanted["pre_tokenizer"]:
            raise TokenizerError(
                f"{name} must split text into words as the source does, by the pre-tokenizer "
                f"{wanted['pre_tokenizer']}, got {pipeline['pre_tokenizer']}; {_INSTEAD}"
            )
        longer = spanning_steps(pipeline["normalizer"])
        if longer:
            raise TokenizerError(
                f"{name} must have a normalizer that treats every character alone, got the step {longer[0]}; {_INSTEAD}"
            )


def _normalizer(source: Any, targets: Sequence[Any], owners: dict[str, int], letters: dict[str, int]) -> Any:
    """What the joined tokenizer does to text before it is split."""
    from tokenizers import normalizers

    readers = tuple(described(pipeline_of(tokenizer)) for tokenizer in (source, *targets))
    own = backend_of(source).normalizer
    if Spelling.of(pipeline_of(source)).family == "wordpiece":
        # Where the source tells e from é, so does the joined tokenizer, and no word needs an exception.
        plain = plain_words(letters) if letters and probe(own, ["é"]) == ["e"] else ()
        return joined_normalizer(readers, tuple(sorted(owners.items())), tuple(sorted(letters.items())), plain)
    steps = owned_normalizer(readers, tuple(sorted(owners.items())))
    return normalizers.Sequence([*steps, *([] if own is None else [own])])


def _is_own(token: Token, scripts: set[str], *, latin: bool) -> bool:
    """Whether a token of a target is for the joined tokenizer: it has a character that the target brings."""
    if any(script_of(character) in scripts for character in token.surface):
        return True
    return latin and all(map(is_latin, token.surface))


def _reachable(own: Mapping[str, Token], spelling: Spelling, normalizer: Any, pre_tokenizer: Any) -> list[str]:
    """The raw tokens that text can give: what the normalizer leaves as it is, and the pre-tokenizer in one piece."""
    if spelling.prefix:
        # A continuation follows something; its own first character is of its script.
        texts = {
            raw: token.surface if token.raw == token.surface else token.surface[:1] + token.surface
            for raw, token in own.items()
        }
        wanted = texts
    else:
        texts = {raw: token.surface for raw, token in own.items()}
        wanted = {raw: spell_start(token, spelling) for raw, token in own.items()}
    text = normalizer.normalize_str(" " + " ".join(texts.values()))
    pieces = {piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)}
    return [raw for raw in own if wanted[raw] in pieces]


def _add_whole(pipeline: dict[str, Any], first: int, words: Sequence[str]) -> list[str]:
    """Put words that are no part of others beside the model, in place; their ids start at ``first``."""
    settings = {"single_word": True, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    pipeline["added_tokens"] += [{"id": id, "content": word, **settings} for id, word in enumerate(words, start=first)]
    return list(words)


def _nothing(names: Sequence[str], index: int, vocabulary: Vocabulary, owners: dict[str, int]) -> str:
    """Why a target, counted from 1, would add nothing."""
    name = names[index - 1]
    counts = Counter(script for token in text_tokens(vocabulary) for script in letter_scripts(token))
    others = [
        f"{script} by {names[owner - 1] if owner else 'the source'}"
        for script, _ in counts.most_common()
        if (owner := owners[script]) != index
    ]
    if others:
        return (
            f"{name} must have a script of its own, got one whose scripts others read with at least as many tokens: "
            f"{', '.join(others[:5])}; leave it out"
        )
    return (
        f"{name} must have tokens that text can give and that split no word of the source's language anew, got none; "
        "choose another tokenizer"
    )


def _assemble(pipeline: dict[str, Any], source: Any, normalizer: Any) -> Any:
    """The source's tokenizer with a longer vocabulary and another normalizer."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(json.dumps(pipeline))
    backend.normalizer = normalizer
    return wrap_backend(backend, source)
