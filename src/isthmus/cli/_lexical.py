"""The lexical options that several commands share, and what they do with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from isthmus._files import atomic_folder, check_folder, read_json
from isthmus.cli._output import working
from isthmus.errors import InputError, OutputError
from isthmus.token_map import Fate, TokenMap

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
    """

    mode: Mode
    weight: float | None
    calibrate: bool

    @classmethod
    def read(
        cls, mode: Mode | None, weight: float | None, calibrate: bool | None, **others: Any
    ) -> LexicalOptions | None:
        """The options given; None without ``--lexical``.

        Args:
            mode: Of ``--lexical``.
            weight: Of ``--lexical-weight``.
            calibrate: Of ``--calibrate`` and ``--no-calibrate``.
            others: Further options that mean nothing without ``--lexical``, by their names in Python.

        Raises:
            InputError: If there are others without ``--lexical``, or nothing is left to add.
        """
        if mode is None:
            given = {"lexical_weight": weight, "calibrate": calibrate, **others}
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
        return cls(mode, weight, calibrate is not False)

    def add(self, encoder: Any, texts: Any, **options: Any) -> Any:
        """The encoder with the parts that were asked for; options as for :func:`isthmus.search.add_lexical`."""
        from isthmus.search import add_lexical

        if self.weight is not None:
            options["weight"] = self.weight
        return add_lexical(encoder, texts, self._mode, calibrate=self.calibrate, **options)

    def describe(self) -> str:
        """What is added, in words."""
        from isthmus.search.lexical import describe

        return describe(self._mode, calibrate=self.calibrate)

    @property
    def _mode(self) -> Literal["echo", "hybrid"] | None:
        return None if self.mode == "none" else self.mode


def default_folder(output: str, folder: Path | None) -> Path:
    """Where the encoder of an index or an encoding goes.

    Raises:
        InputError: If the output is no folder and none is given.
    """
    from isthmus.search.engines import is_engine_url

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
        resume: Keep one that the same options made of the same model and corpus.
        trust_remote_code: Run code that comes with the model.
        quiet: Show no progress.
        encoding: ``batch_size`` and ``dtype``.

    Raises:
        InputError: If the corpus is standard input or encoded already, or does not do.
        OutputError: If the folder is taken, or cannot be written.
    """
    from isthmus.search.documents import Corpus
    from isthmus.training.output import CARRIED
    from isthmus.transfer.load import load_encoder, local_folder

    _check_corpus(corpus)
    beside = local_folder(model)
    if beside is not None and beside.absolute() == folder.absolute():
        raise InputError(f"--lexical-folder must not be that of MODEL, got {folder}; name another one")
    source = Corpus(corpus)
    # Names alone: a local path is nobody else's business.
    given = {"model": Path(model).name, "corpus": Path(corpus).name, "size": source.total}
    made_of = given | asdict(options) | encoding
    if resume and folder.exists():
        if not (folder / SETTINGS).is_file() or read_json(folder / SETTINGS) != made_of:
            raise OutputError(
                f"{folder} already exists and was not made by this command with this corpus; choose another "
                "--lexical-folder, or remove it"
            )
        yield folder
        return
    check_folder(folder, overwrite=overwrite, marker="modules.json")
    with working("loading the model", quiet=quiet):
        encoder = load_encoder(model, trust_remote_code=trust_remote_code, argument="model")
    texts = (document.content for document in source)
    token_map = TokenMap.find(beside)
    kept = [] if token_map is None else token_map.rows(Fate.KEPT).tolist()
    result = options.add(encoder, texts, leave_out=kept, show_progress_bar=False if quiet else None, **encoding)
    with atomic_folder(folder, overwrite=overwrite) as written:
        result.save_pretrained(str(written))
        for name in CARRIED:
            if beside is not None and (beside / name).is_file():
                shutil.copyfile(beside / name, written / name)
        (written / SETTINGS).write_text(json.dumps(made_of, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        yield written


def open_as(written: Path, folder: Path, *, trust_remote_code: bool) -> Any:
    """The encoder in ``written``, opened, as one that lies in ``folder``."""
    from isthmus.search.identity import open_encoder

    opened = open_encoder(written, trust_remote_code=trust_remote_code)
    return replace(opened, identity=replace(opened.identity, name=str(folder.absolute())))


def _check_corpus(corpus: str) -> None:
    from isthmus.search.documents import STDIN
    from isthmus.search.parts import HEADER

    if corpus == STDIN:
        raise InputError(
            "CORPUS must be a file with --lexical, got - (stdin): it is read twice; save it to a file first"
        )
    if (Path(corpus) / HEADER).is_file():
        raise InputError(
            f"CORPUS must be text with --lexical, got the encoded folder {corpus}; give --lexical to isthmus encode"
        )
