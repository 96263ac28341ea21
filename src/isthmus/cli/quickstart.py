"""``isthmus quickstart``: the whole journey offline, with the mini models and the demo collection."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus import assets
from isthmus.cli._completion import completing
from isthmus.cli._printing import (
    console,
    escape,
    print_json,
    print_report,
    print_table,
    print_wrapped,
    quiet_libraries,
    working,
)
from isthmus.errors import UnknownNameError
from isthmus.reading.storage import atomic_folder, check_folder
from isthmus.token_map import Fate

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from isthmus.collections import Collection
    from isthmus.transferring import TransferReport

    Vectors = dict[str, tuple[csr_matrix, csr_matrix]]

ENCODER, BRIDGE = "isthmus/mini-splade-en", "isthmus/mini-bridge"
TOKENIZER = "isthmus/tokenizer-"
WORDS = {
    "ar": ("مدرسة", "ماء", "طبيب", "قديم"),
    "hi": ("स्कूल", "पानी", "डॉक्टर", "पुराना"),
    "ko": ("학교", "음악", "의사", "오래된"),
    "ru": ("школа", "вода", "врач", "старый"),
    "zh": ("校", "水", "医", "旧"),
}
# Questions that the mini encoder answers in every language: this is a show, the measurement follows it. Each with the
# language it is asked in and that of the passages it is to find; "" is the new language.
SEARCHES = (("q052", "en", ""), ("q061", "", "en"), ("q066", "", ""))


def _languages() -> list[str]:
    return sorted(name.removeprefix(TOKENIZER) for name in assets.tokenizer_names())


def command(
    language: Annotated[
        str, typer.Argument(help="ar, hi, ko, ru or zh.", autocompletion=completing(_languages))
    ] = "ko",
    folder: Annotated[Path | None, typer.Option("--folder", "-o", help="Keep the new encoder in this folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the encoder in the output folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Carry the mini encoder into another language, search and measure.

    It reads English as before. Offline, in about a minute.

    Example: isthmus quickstart ko -o splade-ko
    """
    known = _languages()
    if language not in known:
        raise UnknownNameError("LANGUAGE", language, known)
    if folder is not None:
        check_folder(folder, overwrite=overwrite, marker="modules.json")
    started = time.perf_counter()
    with working("loading libraries", quiet=json):
        import isthmus
        from isthmus.collections import load

        quiet_libraries()
    demos: dict[str, Collection] = {code: load("demo", language=code) for code in ("en", language)}
    with working(f"carrying {ENCODER} into {language}", quiet=json):
        encoder, report = isthmus.transfer(
            ENCODER,
            target_tokenizer=TOKENIZER + language,
            bridge=BRIDGE,
            keep_source=True,
            sample_texts=list(demos[language].corpus.values()),
            show_progress_bar=False,
        )
    if folder is not None:
        with atomic_folder(folder, overwrite=overwrite) as written:
            encoder.save_pretrained(str(written))
            report.save(written)
    words = _explained(report, WORDS.get(language, ()))
    if not json:
        console.print(f"[bold]1. {ENCODER} reads {language} as well[/]")
        print_report(report)
        console.print("\n[bold]2. What new tokens are made of[/]")
        for token, sources in words.items():
            made_of = ", ".join(f"{source} {weight:.2f}" for source, weight in sources)
            print_wrapped(f"  {escape(token)} = ", escape(made_of))
    with working("indexing and searching the demo passages", quiet=json):
        vectors = _encode(encoder, demos)
        searches = [_search(encoder, demos, vectors, *wanted) for wanted in _searches(language)]
    if not json:
        total = sum(len(demo.corpus) for demo in demos.values())
        console.print(f"\n[bold]3. Searching one index of {total} passages, English and {language}[/]")
        for found in searches:
            _print_search(found)
    with working("measuring", quiet=json):
        echoing = _encode(_with_echo(encoder, report, demos.values()), demos)
        scores = _scores({"sembridge": vectors, "sembridge, echo": echoing}, demos, language)
    seconds = time.perf_counter() - started
    if json:
        row = {"language": language, "words": words, "searches": searches, "seconds": seconds}
        same = {name: found[f"{language}-{language}"] for name, found in scores.items()}
        print_json([row | {"ndcg@10": same, "directions": scores, "transfer": report.to_dict()}])
        return
    demo = demos[language]
    console.print(f"\n[bold]4. nDCG@10 on the demo: {len(demo.queries)} questions, {len(demo.corpus)} passages[/]")
    directions = [f"{query}-{document}" for query in demos for document in demos]
    names = [f"{query} to {document}" for query in demos for document in demos]
    print_table(["model", *names], [[name, *(found[d] for d in directions)] for name, found in scores.items()])
    console.print("echo: the words of the passages given back, as by isthmus index --lexical echo")
    kept = f"kept in {folder}; look: isthmus inspect {folder} TOKEN" if folder else "keep the encoder with -o FOLDER"
    console.print(f"\n{seconds:.0f} s; {escape(kept)}", soft_wrap=True)


def _explained(report: TransferReport, words: tuple[str, ...]) -> dict[str, list[tuple[str, float]]]:
    tokens = set(report.token_map.target_tokens)
    return {word: report.token_map.explain(word, 4) for word in words if word in tokens}


def _encode(encoder: Any, demos: Mapping[str, Collection]) -> Vectors:
    """(queries, documents) by language."""
    from isthmus.encoders.encoding import encode_texts

    return {
        code: (
            encode_texts(encoder, list(demo.queries.values()), role="query", show_progress_bar=False),
            encode_texts(encoder, list(demo.corpus.values()), role="document", show_progress_bar=False),
        )
        for code, demo in demos.items()
    }


def _searches(language: str) -> list[tuple[str, str, str]]:
    return [(query, asked or language, wanted or language) for query, asked, wanted in SEARCHES]


def _search(
    encoder: Any, demos: Mapping[str, Collection], vectors: Vectors, query: str, asked: str, wanted: str
) -> dict[str, Any]:
    """Search all passages at once, and pick the best one of the wanted language."""
    from scipy.sparse import vstack

    from isthmus.index import search

    places = [(code, id) for code, demo in demos.items() for id in demo.corpus]
    documents = vstack([documents for _, documents in vectors.values()], format="csr")
    row = vectors[asked][0][list(demos[asked].queries).index(query)]
    hits, scores = search(row, documents, top_k=len(places))
    ranked = [(places[hit], float(score), hit) for hit, score in zip(hits[0], scores[0], strict=True) if hit >= 0]
    own = [(id, score, hit) for (code, id), score, hit in ranked if code == wanted]
    rank = next((i for i, (id, _, _) in enumerate(own, 1) if demos[wanted].qrels[query].get(id)), None)
    return {
        "query": demos[asked].queries[query],
        "asked_in": asked,
        "found_in": wanted,
        "text": demos[wanted].corpus[own[0][0]] if own else "",
        "score": own[0][1] if own else 0.0,
        "right": rank == 1,
        "rank": rank,
        "terms": _terms(encoder, row, documents[own[0][2]]) if own else [],
    }


def _print_search(found: dict[str, Any]) -> None:
    mark = "[green]right[/]" if found["right"] else f"[yellow]right one at rank {found['rank']}[/]"
    print_wrapped("  ", f"[bold]{escape(found['query'])}[/]  (first {found['found_in']} passage: {mark})")
    print_wrapped(f"    {found['score']:.1f}  ", escape(_cut(found["text"])))
    terms = ", ".join(f"{term} {score:.1f}" for term, score in found["terms"])
    print_wrapped("    matched: ", f"[dim]{escape(terms)}[/]")


def _terms(encoder: Any, query: csr_matrix, document: csr_matrix, top_k: int = 5) -> list[tuple[str, float]]:
    """Tokens that the score is the sum of, heaviest first."""
    product = query.multiply(document).tocoo()
    order = (-product.data).argsort(kind="stable")[:top_k]
    tokens = encoder.tokenizer.convert_ids_to_tokens(product.col[order].tolist())
    return [(token, float(product.data[i])) for token, i in zip(tokens, order, strict=True)]


def _with_echo(encoder: Any, report: TransferReport, demos: Iterable[Collection]) -> Any:
    """The encoder with the words of its texts, fitted to the passages."""
    from isthmus.lexical import add_lexical

    texts = [text for demo in demos for text in demo.corpus.values()]
    kept = report.token_map.rows(Fate.KEPT).tolist()
    return add_lexical(encoder, texts, "echo", known=kept, show_progress_bar=False)


def _scores(
    source_kept: Mapping[str, Vectors], demos: Mapping[str, Collection], language: str
) -> dict[str, dict[str, float | None]]:
    """nDCG@10 by model and direction; None where a model cannot do it."""
    import isthmus
    from isthmus.encoders.load import load_encoder

    options: dict[str, Any] = {"target_tokenizer": TOKENIZER + language, "show_progress_bar": False}
    replaced, report = isthmus.transfer(ENCODER, bridge=BRIDGE, **options)
    mean, _ = isthmus.transfer(ENCODER, method="mean", keep_source=True, **options)
    arms = {
        "base": _encode(load_encoder(ENCODER), demos),
        "mean": _encode(mean, demos),
        "vocabulary replaced": _encode(replaced, demos),
        "vocabulary replaced, echo": _encode(_with_echo(replaced, report, [demos[language]]), demos),
        **source_kept,
    }
    scores = {name: _directions(found, demos) for name, found in arms.items()}
    tokenizers = {"en": ENCODER, language: TOKENIZER + language}
    scores["BM25"] = {f"{query}-{document}": None for query in demos for document in demos} | {
        f"{code}-{code}": isthmus.evaluate("BM25", demo, tokenizer=tokenizers[code]).to_dict()["ndcg@10"]
        for code, demo in demos.items()
    }
    return scores


def _directions(vectors: Vectors, demos: Mapping[str, Collection]) -> dict[str, float | None]:
    from isthmus.evaluation import evaluate_vectors

    return {
        f"{query}-{document}": evaluate_vectors(vectors[query][0], vectors[document][1], demo, name="demo").to_dict()[
            "ndcg@10"
        ]
        for query in demos
        for document, demo in demos.items()
    }


def _cut(text: str, length: int = 110) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
