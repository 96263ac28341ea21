"""The lexical options that several commands share, and what they do with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from isthmus.cli._output import working
from isthmus.errors import EncoderError, InputError, OutputError
from isthmus.reading.storage import atomic_folder, check_folder, read_json

Mode = Literal["echo", "hybrid", "none"]
ModeOption = Annotated[
    Mode | None,
    typer.Option(
        "--lexical",
        help="Add the words of a text to its vector: echo raises columns, hybrid adds as many; none calibrates alone.",
        show_default=False,
    ),
]
WeightOption = Annotated[
    float | None,
    typer.Option(
        "--lexical-weight",
        help="Spread of the lexical scores, as a multiple of that of the encoder's.",
        show_default="2 with --lexical",
    ),
]
CalibrateOption = Annotated[
    bool | None,
    typer.Option(
        "--calibrate/--no-calibrate",
        help="Weigh down columns that are active in many texts (--lexical); on by default.",
        show_default=False,
    ),
]
TrimOption = Annotated[
    tuple[int, int] | None,
    typer.Option(
        "--lexical-trim",
        help="Keep only so many entries of the encoder's own, of a query and of a document (--lexical): 8 16 makes an "
        "index about as large as BM25's.",
        metavar="QUERY DOCUMENT",
        show_default="all",
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--lexical-folder", help="Where the encoder with these parts goes (--lexical).", show_default="OUTPUT.encoder"
    ),
]
# What an encoder was made of, beside it: the same command may then go on with it.
SETTINGS = "lexical.json"


@dataclass(frozen=True)
class LexicalOptions:
    """What the options ask for.

    Attributes:
        mode: ``echo``, ``hybrid`` or ``none``.
        weight: None takes the default.
        calibrate: Whether columns are calibrated.
        trim: Entries of the encoder's own, of a query and of a document; None keeps all.
    """

    mode: Mode
    weight: float | None
    calibrate: bool
    trim: tuple[int, int] | None

    @classmethod
    def read(
        cls,
        mode: Mode | None,
        weight: float | None,
        calibrate: bool | None,
        trim: tuple[int, int] | None,
        **others: Any,
    ) -> LexicalOptions | None:
        """The options given; None without ``--lexical``.

        Args:
            mode: Of ``--lexical``.
            weight: Of ``--lexical-weight``.
            calibrate: Of ``--calibrate`` and ``--no-calibrate``.
            trim: Of ``--lexical-trim``.
            others: Further options that mean nothing without ``--lexical``, by their names in Python.

        Raises:
            InputError: If there are others without ``--lexical``, a number is out of its range, or nothing is left to
                add.
        """
        if mode is None:
            given = {"lexical_weight": weight, "calibrate": calibrate, "lexical_trim": trim, **others}
            for name, value in given.items():
                if value is not None:
                    option = "--no-calibrate" if value is False else f"--{name.replace('_', '-')}"
                    raise InputError(f"{option} must come with --lexical, got it alone; add --lexical echo or hybrid")
            return None
        if mode == "none" and calibrate is False:
            raise InputError("--lexical none must not come with --no-calibrate: nothing would be added; leave both out")
        if mode == "none" and weight is not None:
            raise InputError(f"--lexical-weight must come with --lexical echo or hybrid, got {weight} with none")
        if weight is not None and not weight > 0:
            raise InputError(f"--lexical-weight must be above 0, got {weight}; --lexical none calibrates alone")
        if trim is not None and min(trim) < 1:
            raise InputError(f"--lexical-trim must be two numbers of 1 or more, got {trim[0]} {trim[1]}; leave it out")
        return cls(mode, weight, calibrate is not False, trim)

    def add(self, encoder: Any, texts: Any, **options: Any) -> Any:
        """The encoder with the parts that were asked for; options as for :func:`isthmus.lexical.add_lexical`."""
        from isthmus.lexical import add_lexical

        if self.weight is not None:
            options["weight"] = self.weight
        return add_lexical(encoder, texts, self._mode, calibrate=self.calibrate, trim=self.trim, **options)

    def check_transfer(self, encoder: str, path: Path | None, texts: Sequence[str], *, trust_remote_code: bool) -> None:
        """Refuse before a transfer what cannot be added to its result; this takes loading the encoder.

        Args:
            encoder: What is transferred, whose modules the result will have.
            path: File of the texts, for messages.
            texts: What it holds.
            trust_remote_code: Run code that comes with the encoder.

        Raises:
            InputError: If there are too few texts.
            EncoderError: If the encoder is not sparse, or does not do otherwise.
        """
        from sentence_transformers import SparseEncoder

        from isthmus.encoders.load import load_encoder
        from isthmus.lexical.parts import check_encoder
        from isthmus.lexical.statistics import MIN_TEXTS

        if len(texts) < MIN_TEXTS:
            raise InputError(
                f"--lexical-texts must hold at least {MIN_TEXTS} texts, got {len(texts)} in {path}; add texts of what "
                "will be searched"
            )
        loaded = load_encoder(encoder, trust_remote_code=trust_remote_code)
        if not isinstance(loaded, SparseEncoder):
            raise EncoderError(
                f"ENCODER must be sparse with --lexical {self.mode}, got {encoder}, which is dense; leave --lexical "
                "out, or take a SPLADE encoder"
            )
        check_encoder(loaded, self._mode, calibrate=self.calibrate)

    def describe(self) -> str:
        """What is added, in words."""
        from isthmus.lexical.parts import describe

        return describe(self._mode, calibrate=self.calibrate, trim=self.trim)

    @property
    def _mode(self) -> Literal["echo", "hybrid"] | None:
        return None if self.mode == "none" else self.mode


def default_folder(output: str, folder: Path | None) -> Path:
    """Where the encoder of an index or an encoding goes.

    Raises:
        InputError: If the output is no folder and none is given.
    """
    from isthmus.engines import is_engine_url

    if folder is not None:
        return folder
    if is_engine_url(output):
        raise InputError(f"--lexical-folder must be given for {output}, got none; name a folder that will be kept")
    path = Path(output)
    return path.with_name(f"{path.name}.encoder")


@contextmanager
def new_encoder(
    options: LexicalOptions,
    model: str,
    corpus: str,
    folder: Path,
    *,
    overwrite: bool,
    resume: bool = False,
    trust_remote_code: bool,
    quiet: bool,
    **encoding: Any,
) -> Iterator[Path]:
    """Fit the parts to a corpus and give the folder of an encoder that has them, for the body to work with.

    It becomes ``folder`` when the body succeeds and disappears when it does not.

    Args:
        options: What to add.
        model: Built-in name, folder or hub id.
        corpus: A file that can be read twice.
        folder: Where the encoder goes.
        overwrite: Replace one that is there.
        resume: Keep one that the same options made of the same weights, tokenizer and texts; the model is loaded and
            the corpus read to tell.
        trust_remote_code: Run code that comes with the model.
        quiet: Show no progress.
        encoding: ``batch_size`` and ``dtype``.

    Raises:
        InputError: If the corpus is standard input or encoded already, or does not do.
        OutputError: If the folder is taken, or was made of something else, or cannot be written.
    """
    from isthmus.encoders.fingerprint import identify
    from isthmus.encoders.load import carry_transfer, kept_tokens, load_encoder, local_folder, transfer_folder
    from isthmus.reading.corpus import Corpus

    _check_corpus(corpus)
    own = local_folder(model)
    if own is not None and own.absolute() == folder.absolute():
        raise InputError(f"--lexical-folder must not be that of MODEL, got {folder}; name another one")
    source = Corpus(corpus)
    # As JSON has it, to be compared with what it will have become.
    asked = json.loads(json.dumps(asdict(options) | encoding))
    resumed = resume and folder.exists()
    if resumed:
        # The cheap part of what is compared comes first.
        _check_made_of(folder, asked)
    else:
        check_folder(folder, overwrite=overwrite, marker="modules.json")
    with working("loading the model", quiet=quiet):
        encoder = load_encoder(model, trust_remote_code=trust_remote_code, argument="model")
    identity = identify(encoder)
    beside = transfer_folder(model)
    known = [] if beside is None else kept_tokens(beside)
    made_of = asked | {"encoder": identity.encoder, "tokenizer": identity.tokenizer, "kept_tokens": len(known)}
    texts = _Digested(document.content for document in source)
    if resumed:
        _check_made_of(folder, made_of)
        with working("comparing the corpus", quiet=quiet):
            _check_made_of(folder, {"texts": texts.read_all()})
        yield folder
        return
    result = options.add(encoder, texts, known=known, show_progress_bar=False if quiet else None, **encoding)
    # Names are for people, who cannot read a digest; without folders, because a local path is nobody else's business.
    names = {"model": Path(model).name, "corpus": Path(corpus).name}
    made_of |= {"texts": texts.read_all(), **names}
    with atomic_folder(folder, overwrite=overwrite) as written:
        result.save_pretrained(str(written))
        carry_transfer(beside, written)
        (written / SETTINGS).write_text(json.dumps(made_of, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        yield written


def open_as(written: Path, folder: Path, *, trust_remote_code: bool) -> Any:
    """The encoder in ``written``, opened, as one that lies in ``folder``."""
    from isthmus.encoders.fingerprint import open_encoder

    opened = open_encoder(written, trust_remote_code=trust_remote_code)
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


def _check_corpus(corpus: str) -> None:
    from isthmus.index.encoded_files import HEADER
    from isthmus.reading.corpus import STDIN

    if corpus == STDIN:
        raise InputError(
            "CORPUS must be a file with --lexical, got - (stdin): it is read twice; save it to a file first"
        )
    if (Path(corpus) / HEADER).is_file():
        raise InputError(
            f"CORPUS must be text with --lexical, got the encoded folder {corpus}; give --lexical to isthmus encode"
        )
