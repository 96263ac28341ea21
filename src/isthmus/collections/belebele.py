"""Belebele (arXiv 2308.16884): questions on FLORES passages, parallel in 122 languages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.collections.collection import Collection
from isthmus.collections.parallel import require_languages
from isthmus.collections.squad import from_questions
from isthmus.errors import CollectionError, MissingExtraError, NotFoundError, UnknownNameError
from isthmus.reading.lines import COMPRESSIONS
from isthmus.reading.records import read_records

HUB = "facebook/belebele"
SUFFIXES = tuple(f".jsonl{suffix}" for suffix in COMPRESSIONS)
# ISO 639-1 to the codes of FLORES-200 (arXiv 2207.04672) that Belebele has.
_CODES = {
    "af": "afr_Latn", "am": "amh_Ethi", "ar": "arb_Arab", "bg": "bul_Cyrl", "bn": "ben_Beng", "ca": "cat_Latn",
    "cs": "ces_Latn", "da": "dan_Latn", "de": "deu_Latn", "el": "ell_Grek", "en": "eng_Latn", "es": "spa_Latn",
    "et": "est_Latn", "eu": "eus_Latn", "fa": "pes_Arab", "fi": "fin_Latn", "fr": "fra_Latn", "gu": "guj_Gujr",
    "he": "heb_Hebr", "hi": "hin_Deva", "hr": "hrv_Latn", "hu": "hun_Latn", "hy": "hye_Armn", "id": "ind_Latn",
    "is": "isl_Latn", "it": "ita_Latn", "ja": "jpn_Jpan", "ka": "kat_Geor", "kk": "kaz_Cyrl", "km": "khm_Khmr",
    "kn": "kan_Knda", "ko": "kor_Hang", "ky": "kir_Cyrl", "lo": "lao_Laoo", "lt": "lit_Latn", "lv": "lvs_Latn",
    "mk": "mkd_Cyrl", "ml": "mal_Mlym", "mn": "khk_Cyrl", "mr": "mar_Deva", "ms": "zsm_Latn", "my": "mya_Mymr",
    "ne": "npi_Deva", "nl": "nld_Latn", "no": "nob_Latn", "pa": "pan_Guru", "pl": "pol_Latn", "ps": "pbt_Arab",
    "pt": "por_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "sk": "slk_Latn", "sl": "slv_Latn", "sq": "als_Latn",
    "sr": "srp_Cyrl", "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "th": "tha_Thai",
    "tr": "tur_Latn", "uk": "ukr_Cyrl", "ur": "urd_Arab", "vi": "vie_Latn", "zh": "zho_Hans", "zh-Hans": "zho_Hans",
    "zh-Hant": "zho_Hant", "zu": "zul_Latn",
}  # fmt: skip


def flores_code(language: str, *, default: str | None = None) -> str:
    """FLORES code of a language: "kor_Hang" for "ko"; codes of that form are left as they are.

    Args:
        language: ISO 639-1 code, with a script where that matters.
        default: What to return for a language that is not known here.

    Raises:
        UnknownNameError: If the language is not known and there is no default.
    """
    if re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", language):
        return language
    code = _CODES.get(language, default)
    if code is None:
        raise UnknownNameError("language (or a code such as eng_Latn)", language, _CODES)
    return code


def is_belebele(folder: Path) -> bool:
    """Whether ``folder``, or the folder ``data`` in a clone of the hub's repository, holds JSONL files of languages."""
    return any(_stem(path) for path in _inside(folder).iterdir())


def read_belebele(folder: Path, languages: Iterable[str]) -> dict[str, Collection]:
    """Read ``en.jsonl`` or ``eng_Latn.jsonl`` of each language, compressed (``.xz``, ``.gz``) or not.

    They lie in ``folder``, or in its folder ``data``, as in a clone of the hub's repository.

    A question is known by ``link`` and ``question_number``; its text is ``question`` and its passage
    ``flores_passage``, or ``passage`` in copies that call it so.

    Raises:
        NotFoundError: If a language is not there; names those that are.
        CollectionError: If a row is malformed; names file and line.
    """
    found = {stem: path for path in sorted(_inside(folder).iterdir()) if (stem := _stem(path))}
    # A file may be called by either code; one under the name that was asked for goes first.
    stems = {
        language: language if language in found else flores_code(language, default=language) for language in languages
    }
    require_languages([language for language, stem in stems.items() if stem not in found], list(found), f"{folder}")
    return {language: _from_rows(read_records(found[stem]), language) for language, stem in stems.items()}


def load_belebele(languages: Iterable[str]) -> dict[str, Collection]:
    """Read Belebele from the folder ``belebele`` in ISTHMUS_DATA, or from the hub where there is none.

    Raises:
        NotFoundError: If a language is in neither.
        MissingExtraError: If the package ``datasets`` is needed and not installed.
    """
    data = os.environ.get("ISTHMUS_DATA")
    folders = [Path(data, place) for place in ("retrieval/belebele", "belebele", HUB)] if data else []
    for folder in folders:
        if folder.is_dir():
            return read_belebele(folder, languages)
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError("datasets", "hub") from error
    collections = {}
    for language in languages:
        code = flores_code(language)
        try:
            rows = load_dataset(HUB, code, split="test")
        except (OSError, ValueError, RuntimeError) as error:
            places = ", ".join(map(str, folders)) or "no folder (ISTHMUS_DATA is not set)"
            raise NotFoundError(
                f"collection 'belebele' in {language!r} was not found; looked for {places} and for {HUB} {code} on the "
                f"hub ({type(error).__name__}); set ISTHMUS_DATA or give the folder"
            ) from error
        collections[language] = _from_rows(
            ((f"{HUB} {code}, row {number}", row) for number, row in enumerate(rows)), language
        )
    return collections


def _inside(folder: Path) -> Path:
    """Where the files are: a clone has them in ``data``."""
    own = any(_stem(path) for path in folder.iterdir())
    return folder if own or not (folder / "data").is_dir() else folder / "data"


def _stem(path: Path) -> str | None:
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    return path.name.removesuffix(suffix) if suffix else None


def _from_rows(rows: Iterable[tuple[str, Mapping[str, Any]]], language: str) -> Collection:
    def questions() -> Iterator[tuple[str, str, str, str]]:
        for place, row in rows:
            texts = {
                "flores_passage": row.get("flores_passage", row.get("passage")),
                "question": row.get("question"),
                "link": row.get("link"),
            }
            for column, text in texts.items():
                if not isinstance(text, str) or not text.strip():
                    raise CollectionError(f"{place}: {column!r} must be text that is not empty, got {text!r}")
            number = row.get("question_number")
            if isinstance(number, bool) or not isinstance(number, (str, int)):
                raise CollectionError(f"{place}: 'question_number' must be a number, got {number!r}")
            yield place, texts["flores_passage"], f"{texts['link']}#{number}", texts["question"]

    return from_questions(questions(), name="belebele", language=language)
