"""Tiny tokenizers of every family, built in memory, in the published pipelines' shape.

Each function takes the tokens themselves, written as the family stores them (``"##ing"``, ``"Ġhouse"``, ``"▁집"``), so
that a test knows every entry; special tokens are added around them and the pad token goes to the id that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BYTE_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_TOKENS = [f"<0x{value:02X}>" for value in range(256)]
BERT_ROLES = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
ROBERTA_ROLES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


def place(tokens: Iterable[str], pad: str | None = None, pad_id: int = 0, holes: Iterable[int] = ()) -> dict[str, int]:
    """Number distinct ``tokens`` in order with ``pad`` at ``pad_id``, leaving the ids in ``holes`` empty."""
    distinct = list(dict.fromkeys(tokens))
    if pad is not None:
        distinct = [token for token in distinct if token != pad]
        if not 0 <= pad_id <= len(distinct):
            raise ValueError(f"pad_id must be in 0..{len(distinct)}, got {pad_id}")
        distinct.insert(pad_id, pad)
    empty = set(holes)
    ids = (id for id in range(len(distinct) + len(empty)) if id not in empty)
    return dict(zip(distinct, ids, strict=False))


def byte_spelling(text: str) -> str:
    """Spell ``text`` in the byte alphabet of byte-level BPE: ``" house"`` is ``"Ġhouse"``."""
    return "".join(
        piece for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    )


def wordpiece(
    words: Sequence[str],
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    unused: int = 2,
    pad_id: int = 0,
    holes: Iterable[int] = (),
    max_length: int = 64,
) -> PreTrainedTokenizerFast:
    """BERT: ``[PAD] [UNK] [CLS] [SEP] [MASK] [unused0].. words``."""
    specials = [BERT_ROLES["pad"], *(token for role, token in BERT_ROLES.items() if role != "pad")]
    tokens = [*specials, *(f"[unused{index}]" for index in range(unused)), *words]
    vocabulary = place(tokens, BERT_ROLES["pad"], pad_id, holes)
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return _finish(backend, BERT_ROLES, vocabulary, max_length)


def byte_bpe(
    tokens: Sequence[str] = (),
    *,
    corpus: Iterable[str] | None = None,
    vocab_size: int = 500,
    style: str = "roberta",
    pad_id: int = 1,
    max_length: int = 64,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE: the 256 byte tokens, then ``tokens``, which are produced for whole words only, or trained merges.

    Args:
        tokens: Extra tokens in byte spelling ("Ġhouse"); see :func:`byte_spelling`.
        corpus: Train merges on these texts instead.
        vocab_size: Size of a trained vocabulary.
        style: ``roberta`` (``<s> <pad> </s> <unk> <mask>``) or ``modernbert`` (``[CLS] [SEP] ...``).
        pad_id: Id of the pad token; at most 4 with a corpus.
        max_length: ``model_max_length``.
    """
    roles = {"roberta": ROBERTA_ROLES, "modernbert": BERT_ROLES}[style]
    if corpus is None:
        vocabulary = place([*roles.values(), *BYTE_ALPHABET, *tokens], roles["pad"], pad_id)
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    else:
        backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=style == "roberta")
    backend.decoder = decoders.ByteLevel()
    if corpus is not None:
        specials = list(place(roles.values(), roles["pad"], pad_id))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=specials, initial_alphabet=BYTE_ALPHABET, show_progress=False
        )
        backend.train_from_iterator(corpus, trainer)
        vocabulary = backend.get_vocab()
    return _finish(backend, roles, vocabulary, max_length)


def unigram(
    pieces: Sequence[str],
    *,
    pad_id: int = 1,
    unk: bool = True,
    byte_fallback: bool = False,
    lowercase: bool = False,
    max_length: int = 64,
) -> PreTrainedTokenizerFast:
    """XLM-R: ``<s> <pad> </s> <unk>``, pieces (``"▁집"``), ``<mask>``; fewer and earlier pieces win.

    Args:
        pieces: The ordinary pieces.
        pad_id: Id of ``<pad>``.
        unk: False leaves ``<unk>`` out; only texts made of the pieces can then be encoded, byte fallback or not.
        byte_fallback: Add ``<0x00>``..``<0xFF>`` and fall back to them.
        lowercase: NFKC and lower-casing instead of NFKC alone.
        max_length: ``model_max_length``.
    """
    roles = {role: token for role, token in ROBERTA_ROLES.items() if unk or role != "unk"}
    first = [token for role, token in roles.items() if role != "mask"]
    vocabulary = place([*first, *(BYTE_TOKENS if byte_fallback else ()), *pieces, "<mask>"], "<pad>", pad_id)
    scores = [(piece, -10.0 - id / 1000) for piece, id in vocabulary.items()]
    backend = Tokenizer(models.Unigram(scores, unk_id=vocabulary.get("<unk>"), byte_fallback=byte_fallback))
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])]
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    metaspace = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), metaspace]) if byte_fallback else metaspace
    return _finish(backend, roles, vocabulary, max_length)


def byte_fallback_bpe(
    tokens: Sequence[str], *, unk: bool = True, pad_id: int | None = 3, max_length: int = 64
) -> PreTrainedTokenizerFast:
    """Llama: BPE over ``▁`` text, ``<unk> <s> </s> <pad>``, ``<0x00>``..``<0xFF>``, ``tokens``; bos and eos, no mask.

    Merges join each token's characters from the left, so its prefixes become tokens after it.

    Args:
        tokens: The ordinary tokens ("▁house", "ing").
        unk: False leaves ``<unk>`` out.
        pad_id: Id of ``<pad>``; None for no pad token, as Llama itself has it.
        max_length: ``model_max_length``.
    """
    merges = list(dict.fromkeys((token[:end], token[end]) for token in tokens for end in range(1, len(token))))
    parts = [part for merge in merges for part in (*merge, "".join(merge))]
    singles = [token for token in tokens if len(token) == 1]
    first = [*(["<unk>"] if unk else []), "<s>", "</s>"]
    ordered = [*first, *BYTE_TOKENS, *tokens, *singles, *parts]
    vocabulary = place(ordered, None if pad_id is None else "<pad>", pad_id or 0)
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token="<unk>" if unk else None, fuse_unk=True, byte_fallback=True
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    roles = {"bos": "<s>", "eos": "</s>"}
    if unk:
        roles["unk"] = "<unk>"
    if pad_id is not None:
        roles["pad"] = "<pad>"
    return _finish(backend, roles, vocabulary, max_length)


def without_unk(words: Sequence[str] = ("▁house", "▁집", "s")) -> PreTrainedTokenizerFast:
    """A BPE tokenizer with byte fallback and no unknown token."""
    return byte_fallback_bpe(words, unk=False)


def with_added(tokenizer: PreTrainedTokenizerFast, tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    """Add ordinary (not special) tokens after the last id and return the same tokenizer."""
    tokenizer.add_tokens([AddedToken(token, special=False) for token in tokens])
    return tokenizer


def with_holes(words: Sequence[str] = ("house", "##s", "집"), holes: Iterable[int] = (6, 9)) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer whose ids in ``holes`` belong to no token."""
    return wordpiece(words, strip_accents=False, holes=holes)


def _finish(
    backend: Tokenizer, roles: Mapping[str, str], vocabulary: Mapping[str, int], max_length: int
) -> PreTrainedTokenizerFast:
    start, end = roles.get("cls", roles.get("bos")), roles.get("sep", roles.get("eos"))
    special = [(token, vocabulary[token]) for token in (start, end)]
    if "cls" in roles:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}", pair=f"{start} $A {end} {end} $B {end}", special_tokens=special
        )
    else:
        backend.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=special[:1])
    names = {f"{role}_token": token for role, token in roles.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=max_length, **names)
