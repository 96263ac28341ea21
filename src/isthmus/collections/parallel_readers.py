"""Reading parallel collections: by name, from folders with a file or a folder per language, from mixed BEIR folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from isthmus import assets
from isthmus.collections.beir import BeirParts, is_beir, read_beir, read_parts
from isthmus.collections.belebele import is_belebele, load_belebele, read_belebele
from isthmus.collections.distractors import read_distractors
from isthmus.collections.named import load
from isthmus.collections.parallel import (
    ParallelCollection,
    Texts,
    align_by_id,
    align_by_question,
    check_languages,
    keep_shared,
    require_languages,
    sample_queries,
    with_distractors,
)
from isthmus.collections.squad import is_squad, read_squad
from isthmus.errors import CollectionError, InputError, NotFoundError, UnknownNameError
from isthmus.options import ReadOptions
from isthmus.reading.corpus import Document
from isthmus.reading.fields import Role

PARALLEL_NAMES = ("belebele", "demo", "mlqa", "xquad")
_MLQA = re.compile(r"context-([\w-]+?)-question-([\w-]+)$")


def load_parallel(
    path_or_name: str | Path,
    *,
    languages: Sequence[str],
    split: str = "test",
    distractors: str | Path | None = None,
    max_distractors: int | None = None,
    max_queries: int | None = None,
    seed: int = 0,
    options: ReadOptions | None = None,
) -> ParallelCollection:
    """Load a parallel collection.

    What is parallel is told by id:

    - a folder with a BEIR folder per language (``en/corpus.jsonl``, ``ko/corpus.jsonl``): equal ids;
    - a BEIR folder whose documents and queries have a ``language``, beside ``_id`` or in ``metadata``: equal
      ``parallel_id``, in the same place, or else equal ``_id`` once ``-en``, ``_en``, ``.en``, ``:en`` or ``/en`` of
      its own language is taken off its end; what is relevant in one language is relevant in all;
    - a folder with a SQuAD-format file per language, ``name.en.json``, or MLQA's ``...context-en-question-en.json``
      (arXiv 1910.07475): equal question ids;
    - a folder with a Belebele file per language, ``en.jsonl`` or ``eng_Latn.jsonl`` (arXiv 2308.16884): equal ``link``
      and ``question_number``;
    - a name: ``demo``; ``xquad``, ``mlqa`` and ``belebele`` are looked for in the folder ISTHMUS_DATA, then on the hub.

    Args:
        path_or_name: One of these.
        languages: ISO 639-1 codes, two or more; Belebele's own codes (``eng_Latn``) work for Belebele.
        split: Which judgements of BEIR folders.
        distractors: JSONL files of ``{id, text}`` passages from elsewhere, one per language: a path with
            ``{language}`` in it.
        max_distractors: Use a sample of this many in every language; None uses all.
        max_queries: Use a sample of this many questions, the same in every language; None uses all.
        seed: Seed of both samples.
        options: Names of fields in BEIR folders, and whether to refuse what is taken for granted otherwise.

    Raises:
        NotFoundError: If it, or one of the languages, is not there; names those that are.
        CollectionError: If a file is malformed, or the languages share no question; names file and line.
        InputError: If ``languages`` or another argument does not fit.
        UnknownNameError: If ``path_or_name`` is neither a path nor a known name.
        MissingExtraError: If only the hub could have it and the package ``datasets`` is not installed.
    """
    codes = check_languages(languages)
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    if max_distractors is not None and distractors is None:
        raise InputError(f"max_distractors must come with distractors, got {max_distractors} alone; give their path")
    options = options or ReadOptions()
    collection = _load(path_or_name, codes, split, options)
    if max_queries is not None:
        collection = sample_queries(collection, max_queries, seed)
    if distractors is None:
        return collection
    return with_distractors(collection, _distractors(str(distractors), codes, max_distractors, seed, options))


def _load(path_or_name: str | Path, languages: tuple[str, ...], split: str, options: ReadOptions) -> ParallelCollection:
    path, name = Path(path_or_name), str(path_or_name)
    if path.is_dir():
        read = _mixed_beir if is_beir(path) else _folder
        return read(path, languages, split, options)
    if path.is_file():
        raise InputError(f"collection must be a folder with a file per language, got the file {path}")
    if name == "demo":
        root = assets.resolve("isthmus/demo")
        require_languages(languages, [folder.name for folder in root.iterdir() if is_beir(folder)], "demo")
        return align_by_id(name, {language: load(name, language=language) for language in languages})
    if name in ("xquad", "mlqa"):
        found = {language: load(name, language=language, split=split) for language in languages}
        return align_by_question(name, found)
    if name == "belebele":
        return align_by_question(name, load_belebele(languages))
    if path.suffix or len(path.parts) > 1:
        raise NotFoundError(f"{path} does not exist; give a folder with a file per language, or a name")
    raise UnknownNameError("parallel collection (no such folder)", name, PARALLEL_NAMES)


def _distractors(pattern: str, languages: Sequence[str], limit: int | None, seed: int, options: ReadOptions) -> Texts:
    if "{language}" not in pattern:
        raise InputError(
            f"distractors must be a path with {{language}} in it, one file per language, got {pattern!r}; "
            "for example distractors/{language}.jsonl"
        )
    return {
        language: read_distractors(
            Path(pattern.replace("{language}", language)), limit=limit, seed=seed, options=options
        )
        for language in languages
    }


def _folder(folder: Path, languages: tuple[str, ...], split: str, options: ReadOptions) -> ParallelCollection:
    """The first format that the folder holds anything of, in the order of :func:`load_parallel`."""
    beirs = {path.name: path for path in folder.iterdir() if path.is_dir() and is_beir(path)}
    name = folder.resolve().name
    if beirs:
        require_languages(languages, list(beirs), f"{folder}")
        found = {
            language: read_beir(beirs[language], split=split, language=language, options=options)
            for language in languages
        }
        return align_by_id(name, found)
    squads = _squad_files(folder)
    if squads:
        paths = _one_each(squads, languages, folder)
        return align_by_question(name, {code: read_squad(path, language=code) for code, path in paths.items()})
    if is_belebele(folder):
        return align_by_question(name, read_belebele(folder, languages))
    raise NotFoundError(
        f"{folder} must hold a BEIR folder, a *.LANGUAGE.json or a LANGUAGE.jsonl file for each of "
        f"{', '.join(languages)}, got none of them"
    )


def _squad_files(folder: Path) -> dict[str, list[Path]]:
    """The SQuAD files of each language."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        language = _squad_language(path.name[: path.name.index(".json")]) if is_squad(path) else None
        if language:
            found.setdefault(language, []).append(path)
    return found


def _squad_language(stem: str) -> str | None:
    mlqa = _MLQA.search(stem)
    if mlqa:
        return mlqa[1] if mlqa[1] == mlqa[2] else None
    return stem.rpartition(".")[2] if "." in stem else None


def _one_each(found: Mapping[str, list[Path]], languages: Sequence[str], folder: Path) -> dict[str, Path]:
    require_languages(languages, list(found), f"{folder}")
    for language in languages:
        if len(found[language]) > 1:
            names = ", ".join(path.name for path in found[language])
            raise CollectionError(f"{folder} must hold one file in {language!r}, got {names}; give a folder with one")
    return {language: found[language][0] for language in languages}


def _mixed_beir(folder: Path, languages: tuple[str, ...], split: str, options: ReadOptions) -> ParallelCollection:
    parts = read_parts(folder, split=split, options=options, placed=True)
    passage_keys, query_keys = _keys(parts, "passage"), _keys(parts, "query")
    for keys, role in ((query_keys, "query"), (passage_keys, "passage")):
        file = next(iter(parts.places[role, identifier] for identifier in keys), "").rpartition(", ")[0]
        require_languages(languages, list({language for language, _ in keys.values()}), file)
    relevant: dict[str, dict[str, None]] = {}
    unanswerable = set()
    for query, grades in parts.qrels.items():
        found = relevant.setdefault(query_keys[query][1], {})
        golds = [passage for passage, grade in grades.items() if grade > 0]
        found |= dict.fromkeys(passage_keys[passage][1] for passage in golds if passage in passage_keys)
        if any(passage not in passage_keys for passage in golds):
            unanswerable.add(query_keys[query][1])
    return keep_shared(
        parts.name,
        _texts(parts.documents, passage_keys, languages, f"corpus of {folder}"),
        _texts(parts.queries, query_keys, languages, f"queries of {folder}"),
        {query: tuple(found) for query, found in relevant.items() if query not in unanswerable},
        alignment="passages and questions with the same parallel id are the same in every language",
        notes=parts.notes,
    )


def _keys(parts: BeirParts, role: Role) -> dict[str, tuple[str, str]]:
    """(language, parallel id) by id."""
    keys = {}
    for identifier, document in (parts.documents if role == "passage" else parts.queries).items():
        where, language = parts.places[role, identifier], document.metadata.get("language")
        if not isinstance(language, str) or not language:
            raise CollectionError(f"{where}: 'language' of {identifier!r} must be a code, got {language!r}")
        parallel = document.metadata.get("parallel_id")
        if parallel is None:
            stem = re.sub(rf"[-_.:/]{re.escape(language)}$", "", identifier)
            if stem in (identifier, ""):
                raise CollectionError(
                    f"{where}: {identifier!r} must have a 'parallel_id', or an '_id' that ends in -{language}; got "
                    "neither"
                )
            parallel = stem
        keys[identifier] = (language, str(parallel))
    return keys


def _texts(
    documents: Mapping[str, Document], keys: Mapping[str, tuple[str, str]], languages: Sequence[str], what: str
) -> Texts:
    found: Texts = {language: {} for language in languages}
    for identifier, document in documents.items():
        language, parallel = keys[identifier]
        if language not in found:
            continue
        if parallel in found[language]:
            raise CollectionError(f"{what}: parallel id {parallel!r} must come once in {language!r}, got it again")
        found[language][parallel] = document.content
    return found
