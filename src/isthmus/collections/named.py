"""Collections by path or by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from isthmus import assets
from isthmus.collections.beir import DEFAULT_SPLIT, is_beir, read_beir
from isthmus.collections.belebele import is_belebele, load_belebele, read_belebele
from isthmus.collections.collection import Collection
from isthmus.collections.distractors import add_distractors, read_distractors
from isthmus.collections.hub import HUB_SETS, NANO_PARTS, data_folders, nano_name, nanobeir
from isthmus.collections.squad import from_questions, is_squad, read_squad
from isthmus.errors import CollectionError, InputError, MissingExtraError, NotFoundError, UnknownNameError
from isthmus.options import ReadOptions
from isthmus.reading.lines import COMPRESSIONS


@dataclass(frozen=True)
class _Known:
    """Where a named collection is.

    Attributes:
        stems: Names of its files, with ``{language}`` where there are several.
        language: Its language, if it has one.
        hub: Its dataset on the hub.
        hub_languages: Languages of that dataset.
    """

    stems: tuple[str, ...]
    language: str | None = None
    hub: str | None = None
    hub_languages: tuple[str, ...] = ()


KNOWN = {
    "xquad": _Known(
        ("xquad.{language}",),
        hub="google/xquad",
        hub_languages=("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"),
    ),
    "korquad": _Known(("korquad_dev_half_a", "KorQuAD_v1.0_dev"), "ko"),
    "drcd": _Known(("drcd_dev", "DRCD_dev"), "zh-Hant"),
    "cmrc2018": _Known(("cmrc2018_trial",), "zh-Hans"),
    "arcd": _Known(("arcd_train",), "ar"),
}
NAMES = ("demo", *KNOWN, "belebele", *HUB_SETS, "nanobeir")


def load(
    path_or_name: str | Path,
    *,
    language: str | None = None,
    split: str = DEFAULT_SPLIT,
    distractors: str | Path | None = None,
    max_distractors: int | None = None,
    seed: int = 0,
    options: ReadOptions | None = None,
) -> Collection:
    """Load a collection.

    Args:
        path_or_name: A folder with a corpus, queries and judgements as BEIR, MIRACL or TREC have them
            (:func:`isthmus.collections.beir.read_beir`), a SQuAD-format file (``.json``, ``.json.xz``, ``.json.gz``), a
            folder with one such file per language (``name.<language>.json``) or with a Belebele file per language, or
            a name: ``demo``, or one that is looked for in the folder ISTHMUS_DATA and then on the hub: ``xquad``,
            ``belebele``, ``miracl/ko``, ``webfaq/ko``, ``mlqa/ar``, ``xorqa/te``, ``nanobeir/NFCorpus``.
        language: ISO 639-1 code; needed where there are several and the name does not end in it.
        split: Which judgements; of a published collection, ``test`` is what it is evaluated on.
        distractors: JSONL file of ``{id, text}`` passages that enlarge the pool.
        max_distractors: Use a sample of this many; None uses all.
        seed: Seed of that sample.
        options: Names of fields, and whether to refuse what is taken for granted otherwise.

    Raises:
        NotFoundError: If it is not there; says where was looked.
        CollectionError: If a file is malformed; names file and line.
        InputError: If ``language`` is missing or contradicts the collection.
        UnknownNameError: If ``path_or_name`` is neither a path nor a known name.
        MissingExtraError: If only the hub could have it and the package ``datasets`` is not installed.
    """
    options = options or ReadOptions()
    collection = _load(path_or_name, language, split, options)
    if distractors is None:
        return collection
    found = read_distractors(Path(distractors), limit=max_distractors, seed=seed, options=options)
    return add_distractors(collection, found)


def _load(path_or_name: str | Path, language: str | None, split: str, options: ReadOptions) -> Collection:
    path, name = Path(path_or_name), str(path_or_name)
    if path.is_dir():
        if is_beir(path):
            return read_beir(path, split=split, language=language, options=options)
        if name not in NAMES or is_belebele(path):
            return _from_folder(path, language)
    if path.is_file():
        if not is_squad(path):
            raise CollectionError(f"collection must be a BEIR folder or a SQuAD-format .json file, got {path}")
        return read_squad(path, language=language)
    nano = nano_name(name)
    if nano is not None:
        repository, part, own = nano
        return nanobeir(repository, part, _agreed(language, own, name), options)
    base, _, own = name.partition("/")
    if base in NAMES:
        return _named(base, _agreed(language, own, name) if own else language, split, options)
    if path.suffix or len(path.parts) > 1:
        raise NotFoundError(f"{path} does not exist; give a BEIR folder, a SQuAD-format file or a name")
    raise UnknownNameError("collection (no such file or folder)", name, NAMES)


def _named(name: str, language: str | None, split: str, options: ReadOptions) -> Collection:
    if name == "demo":
        return _demo(language)
    if name == "belebele":
        language = _required(language, name, ())
        return load_belebele([language])[language]
    if name == "nanobeir":
        raise InputError(
            f"collection must name a part of NanoBEIR, as in nanobeir/{NANO_PARTS[0]}, got {name!r}; parts "
            f"are {', '.join(NANO_PARTS)}"
        )
    if name in HUB_SETS:
        known = HUB_SETS[name]
        return known.read(_required(language, name, ()), known.split if split == DEFAULT_SPLIT else split, options)
    return _known(name, KNOWN[name], language)


def _agreed(language: str | None, own: str, name: str) -> str:
    """The language of a name, which another one must not contradict."""
    if language is not None and _base(language) != _base(own):
        raise InputError(f"language must be {own!r} for the collection {name!r}, got {language!r}")
    return own


def _from_folder(folder: Path, language: str | None) -> Collection:
    """The one file ``*.<language>.json`` of a folder, or its file of Belebele."""
    language = _required(language, f"{folder}", ())
    found = sorted(path for suffix in COMPRESSIONS for path in folder.glob(f"*.{language}.json{suffix}"))
    if not found and is_belebele(folder):
        return read_belebele(folder, [language])[language]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise NotFoundError(
            f"{folder} must hold corpus.jsonl or one file *.{language}.json[.xz|.gz], got {names}; give the file"
        )
    return read_squad(found[0], language=language)


def _demo(language: str | None) -> Collection:
    root = assets.resolve("isthmus/demo")
    languages = sorted(path.name for path in root.iterdir() if is_beir(path))
    language = _required(language, "demo", languages)
    if language not in languages:
        raise NotFoundError(f"demo collection must be in one of {', '.join(languages)}; got language {language!r}")
    return replace(read_beir(root / language, language=language), name="demo")


def _known(name: str, known: _Known, language: str | None) -> Collection:
    if known.language is not None and language is not None and _base(language) != _base(known.language):
        raise InputError(f"language must be {known.language!r} for the collection {name!r}, got {language!r}")
    language = known.language or _required(language, name, ())
    looked = [folder / f"{stem.format(language=language)}.json" for folder in data_folders() for stem in known.stems]
    for plain in looked:
        for suffix in COMPRESSIONS:
            path = plain.with_name(plain.name + suffix)
            if path.is_file():
                return read_squad(path, language=language, name=name)
    places = ", ".join(map(str, looked)) + "[.xz|.gz]" if looked else "no folder (ISTHMUS_DATA is not set)"
    if known.hub is None:
        raise NotFoundError(f"collection {name!r} was not found; looked for {places}; set ISTHMUS_DATA")
    if _base(language) not in known.hub_languages:
        raise NotFoundError(
            f"collection {name!r} must be in one of {', '.join(known.hub_languages)}; got language {language!r}; "
            f"looked for {places}"
        )
    return _from_hub(name, known.hub, language, places)


def _from_hub(name: str, repository: str, language: str, places: str) -> Collection:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError("datasets", "hub") from error
    try:
        rows = load_dataset(repository, f"{name}.{_base(language)}", split="validation")
    except (OSError, ValueError, RuntimeError) as error:
        raise NotFoundError(
            f"collection {name!r} in {language!r} was not found; looked for {places} and for {repository} on the hub "
            f"({type(error).__name__}); set ISTHMUS_DATA or give the file"
        ) from error
    questions = ((f"{repository} {row['id']}", row["context"], str(row["id"]), row["question"]) for row in rows)
    return from_questions(questions, name=name, language=language)


def _required(language: str | None, what: str, choices: tuple[str, ...] | list[str]) -> str:
    if language is None:
        listed = f" (one of {', '.join(choices)})" if choices else ""
        raise InputError(f"language must be given for {what}, which has several{listed}; got None")
    return language


def _base(language: str) -> str:
    """The language of a code without its script or region."""
    return language.split("-")[0].lower()
