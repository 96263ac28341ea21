"""The model card of an encoder that was transferred, trained or aligned: everything that its folder can tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from isthmus import __version__
from isthmus.diagnostics.diagnosis import diagnose
from isthmus.encoders.cards import license_warning, read_front_matter
from isthmus.errors import TokenMapError
from isthmus.reading.storage import atomic_write, read_json
from isthmus.reading.templates import templates_of
from isthmus.token_map import Fate, TokenMap

TOKENS = 10
PARTS = 4
# A question and the passage that answers it, to try a model with.
EXAMPLES = {
    "en": ("What is the capital of Korea?", "Seoul is the capital of the Republic of Korea."),
    "ar": ("ما هي عاصمة كوريا؟", "سيول هي عاصمة جمهورية كوريا."),
    "de": ("Was ist die Hauptstadt von Korea?", "Seoul ist die Hauptstadt der Republik Korea."),
    "es": ("¿Cuál es la capital de Corea?", "Seúl es la capital de la República de Corea."),
    "fr": ("Quelle est la capitale de la Corée ?", "Séoul est la capitale de la République de Corée."),
    "hi": ("कोरिया की राजधानी क्या है?", "सियोल कोरिया गणराज्य की राजधानी है।"),
    "it": ("Qual è la capitale della Corea?", "Seul è la capitale della Repubblica di Corea."),
    "ja": ("韓国の首都はどこですか。", "ソウルは大韓民国の首都です。"),
    "ko": ("한국의 수도는 어디인가?", "서울은 대한민국의 수도이다."),
    "pt": ("Qual é a capital da Coreia?", "Seul é a capital da República da Coreia."),
    "ru": ("Какой город является столицей Кореи?", "Сеул — столица Республики Корея."),
    "tr": ("Kore'nin başkenti neresidir?", "Seul, Kore Cumhuriyeti'nin başkentidir."),
    "vi": ("Thủ đô của Hàn Quốc là gì?", "Seoul là thủ đô của Đại Hàn Dân Quốc."),
    "zh": ("韩国的首都是哪里？", "首尔是大韩民国的首都。"),
}
CITATIONS = {
    "sembridge": ("SemBridge", "2605.26002"),
    "clear": ("CLEAR", "2604.05821"),
    "proximity": ("semantic proximity", "2604.05684"),
    "ofa": ("OFA", "2311.08849"),
    "focus": ("FOCUS", "2305.14481"),
}


def write_card(
    folder: str | Path, encoder: Any, *, evaluations: Sequence[Mapping[str, Any]] = (), section: str = ""
) -> None:
    """Write the README.md of a saved encoder, in place of the one that sentence-transformers wrote.

    Args:
        folder: Where the encoder was saved, with ``transfer_report.json``, ``training_report.json`` and the token map
            where there are any. The head of its README.md (languages, licence, tags) stays.
        encoder: The encoder, for the doctor.
        evaluations: Rows of ``isthmus evaluate --json``.
        section: Markdown on how it was trained.

    Raises:
        OutputError: If it cannot be written.
    """
    folder = Path(folder)
    saved = (folder / "README.md").read_text(encoding="utf-8")
    head = read_front_matter(saved)
    try:
        token_map = TokenMap.find(folder)
    except TokenMapError:
        # A damaged map is carried along as it is, and tells nothing.
        token_map = None
    transfer, training = (_record(folder / f"{kind}_report.json") for kind in ("transfer", "training"))
    if "fates" not in transfer:
        transfer = {}
    languages = [str(code) for code in head.get("language") or ()]
    query, passage = EXAMPLES.get(next((code for code in languages if code != "en"), "en"), EXAMPLES["en"])
    methods = [transfer.get("method"), (training.get("settings") or {}).get("loss")]
    text = _template().render(
        name=_title(saved),
        parts_of_isthmus="isthmus." in (folder / "modules.json").read_text(encoding="utf-8"),
        head=head,
        languages=languages,
        sparse=type(encoder).__name__ == "SparseEncoder",
        size=encoder.get_embedding_dimension(),
        length=encoder.max_seq_length,
        transfer=transfer,
        training=training,
        origin=transfer.get("origin") or {},
        tokens=() if token_map is None else made_of(token_map),
        findings=[found for found in diagnose(encoder, None, token_map, folder=folder) if found.check != "texts"],
        evaluations=evaluations,
        section=section.strip(),
        warning=license_warning(head.get("license")),
        query=query,
        passage=passage,
        citations=[CITATIONS[method] for method in methods if method in CITATIONS],
        entries=[text.strip() for text in encoder.model_card_data.citations.values()],
        version=__version__,
    )
    start = saved.index("---", 3) + 3 if saved.startswith("---") else 0
    atomic_write(folder / "README.md", f"{saved[:start]}\n\n{text.strip()}\n".lstrip().encode())


def made_of(token_map: TokenMap, count: int = TOKENS) -> list[tuple[str, str]]:
    """Some tokens with what they are made of, evenly over the mixed rows of two letters and more.

    Args:
        token_map: The map of a transfer.
        count: Tokens at most.

    Returns:
        The token, and its heaviest parts with their weights, as text.
    """
    names = token_map.target_tokens
    rows = [int(row) for row in token_map.rows(Fate.BRIDGED) if names[row].isalpha() and len(names[row]) > 1]
    chosen = [rows[len(rows) * place // count] for place in range(count)] if len(rows) > count else rows
    return [
        (names[row], ", ".join(f"{source} {weight:.2f}" for source, weight in token_map.explain(row, PARTS)))
        for row in chosen
    ]


def _record(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _title(card: str) -> str:
    return next((line[2:].strip() for line in card.splitlines() if line.startswith("# ")), "Encoder")


def _listed(values: Mapping[str, Any]) -> str:
    said = {name.replace("_", " "): value for name, value in values.items() if value is not None}
    return ", ".join(
        f"{name} {_listed(value) or 'none' if isinstance(value, dict) else value}" for name, value in said.items()
    )


@cache
def _template() -> Any:
    environment = templates_of("isthmus.diagnostics", html=False)
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters["last_part"] = lambda name: Path(str(name)).name
    environment.filters["listed"] = _listed
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    return environment.get_template("card.md.j2")
