"""An encoder that is made for a corpus: fitted to it, and kept in a folder with what it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.encoders.fingerprint import OpenEncoder, identify, open_encoder
from isthmus.encoders.load import carry_transfer, kept_tokens, load_encoder, local_folder, transfer_folder
from isthmus.encoders.options import CorpusOptions
from isthmus.errors import InputError, OutputError
from isthmus.lexical.options import LexicalOptions
from isthmus.options import OpenOptions
from isthmus.reading.corpus import Corpus, CorpusSource
from isthmus.reading.storage import atomic_folder, check_folder, read_json

# What an encoder was made of, beside it: the same command may then go on with it.
SETTINGS = "lexical.json"
# Shows what is being done while its body runs.
Step = Callable[[str], AbstractContextManager[Any]]


@contextmanager
def new_encoder(
    model: str,
    corpus: Any,
    folder: Path,
    lexical: LexicalOptions,
    options: CorpusOptions,
    *,
    overwrite: bool = False,
    resume: bool = False,
    step: Step = nullcontext,
) -> Iterator[Path]:
    """Fit a lexical part to a corpus and give the folder of an encoder that has it, for the body to work with.

    It becomes ``folder`` when the body succeeds and disappears when it does not.

    Args:
        model: Built-in name, folder or hub id.
        corpus: A file, which is read twice.
        folder: Where the encoder goes.
        lexical: What to add.
        options: How the model is opened and the corpus encoded.
        overwrite: Replace an encoder that is there.
        resume: Keep one that the same options made of the same weights, tokenizer and texts; the model is loaded and
            the corpus read to tell.
        step: Shows what is being done.

    Raises:
        InputError: If the corpus does not do.
        OutputError: If the folder is taken, or was made of something else, or cannot be written.
    """
    added = check_place(model, folder, lexical, options, overwrite=overwrite, resume=resume)
    # Read again for its vectors, and what is noted then is enough.
    source = Corpus(corpus.unnoted() if isinstance(corpus, CorpusSource) else corpus)
    # As JSON has it, to be compared with what it will have become.
    asked = json.loads(json.dumps(added))
    resumed = resume and folder.exists()
    with step("loading the model"):
        encoder = load_encoder(model, trust_remote_code=options.trust_remote_code, argument="model")
    identity = identify(encoder)
    beside = transfer_folder(model)
    known = [] if beside is None else kept_tokens(beside)
    made_of = asked | {"encoder": identity.encoder, "tokenizer": identity.tokenizer, "kept_tokens": len(known)}
    texts = _Digested(document.content for document in source)
    if resumed:
        _check_made_of(folder, made_of)
        with step("comparing the corpus"):
            _check_made_of(folder, {"texts": texts.read_all()})
        yield folder
        return
    from isthmus.lexical.adding import add_lexical

    result = add_lexical(encoder, texts, known=known, show_progress_bar=options.show_progress_bar, **added)
    # Names are for people, who cannot read a digest; without folders, because a local path is nobody else's business.
    names = {"model": Path(model).name, "corpus": Path(str(corpus)).name}
    made_of |= {"texts": texts.read_all(), **names}
    with atomic_folder(folder, overwrite=overwrite) as written:
        result.save_pretrained(str(written))
        carry_transfer(beside, written)
        (written / SETTINGS).write_text(json.dumps(made_of, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        yield written


def check_place(
    model: str,
    folder: Path,
    lexical: LexicalOptions,
    options: CorpusOptions,
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Tell before libraries load what :func:`new_encoder` would refuse of its folder; arguments as there.

    Returns:
        What is asked for, by name.

    Raises:
        InputError: If the folder is the model's own.
        OutputError: If it is taken, or was made of something else, or cannot be written.
    """
    own = local_folder(model)
    if own is not None and own.absolute() == folder.absolute():
        raise InputError(f"--lexical-folder must not be that of MODEL, got {folder}; name another one")
    added = lexical.part(LexicalOptions).to_dict() | {"batch_size": options.batch_size, "dtype": options.dtype}
    if resume and folder.exists():
        # The cheap part of what is compared.
        _check_made_of(folder, json.loads(json.dumps(added)))
    else:
        check_folder(folder, overwrite=overwrite, marker="modules.json")
    return added


def open_as(written: Path, folder: Path, options: OpenOptions) -> OpenEncoder:
    """The encoder in ``written``, opened, as one that lies in ``folder``."""
    opened = open_encoder(written, options)
    return replace(opened, identity=replace(opened.identity, name=str(folder.absolute())))


class _Digested:
    """Texts to be read once, and the digest of all of them.

    Args:
        texts: The texts; what has passed is not kept.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)
        self._digest = hashlib.blake2b(digest_size=16)

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            content = text.encode()
            # With their lengths, so that the same letters cut elsewhere are other texts.
            self._digest.update(len(content).to_bytes(8, "little") + content)
            yield text

    def read_all(self) -> str:
        """The digest, once what is left of the texts has been read."""
        for _ in self:
            pass
        return self._digest.hexdigest()


def _check_made_of(folder: Path, made_of: Mapping[str, Any]) -> None:
    """Refuse an encoder that something else was made into.

    Raises:
        OutputError: If one of the given entries is not that of the folder; names those that are not.
    """
    found = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else None
    differing = [name for name, value in made_of.items() if found is None or found.get(name) != value]
    if differing:
        why = f"it has no {SETTINGS}" if found is None else f"it differs in {', '.join(differing)}"
        raise OutputError(
            f"{folder} already exists and was not made by this command with this model and corpus: {why}; "
            "choose another --lexical-folder, or remove it"
        )
