"""``isthmus quickstart``: the whole journey offline, with the mini models and the demo collection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from isthmus import assets
from isthmus._files import atomic_folder, check_folder
from isthmus.cli._output import (
    console,
    print_json,
    print_report,
    print_table,
    print_wrapped,
    quiet_libraries,
    working,
)
from isthmus.errors import UnknownNameError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from isthmus.corpora import Collection
    from isthmus.transfer import TransferReport

ENCODER, BRIDGE = "isthmus/mini-splade-en", "isthmus/mini-bridge"
TOKENIZER = "isthmus/tokenizer-"
WORDS = {
    "ar": ("مدرسة", "ماء", "طبيب", "قديم"),
    "hi": ("स्कूल", "पानी", "डॉक्टर", "पुराना"),
    "ko": ("학교", "음악", "의사", "오래된"),
    "ru": ("школа", "вода", "врач", "старый"),
    "zh": ("校", "水", "医", "旧"),
}
# Questions that the mini encoder answers in every language: this is a show, the measurement follows it.
SEARCHES = ("q052", "q061", "q066")


def command(
    language: Annotated[str, typer.Argument(help="ar, hi, ko, ru or zh.")] = "ko",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the new encoder in this folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the encoder in the output folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Carry the English mini encoder into a language, look at its tokens, search with it and measure it."""
    known = sorted(name.removeprefix(TOKENIZER) for name in assets.names() if name.startswith(TOKENIZER))
    if language not in known:
        raise UnknownNameError("LANGUAGE", language, known)
    if output is not None:
        check_folder(output, overwrite=overwrite, marker="modules.json")
    started = time.perf_counter()
    with working("loading libraries", quiet=json):
        import isthmus
        from isthmus.corpora import load

        quiet_libraries()
    demo: Collection = load("demo", language=language)
    with working(f"carrying {ENCODER} into {language}", quiet=json):
        encoder, report = isthmus.transfer(
            ENCODER,
            target_tokenizer=TOKENIZER + language,
            bridge=BRIDGE,
            sample_texts=list(demo.corpus.values()),
            show_progress_bar=False,
        )
    if output is not None:
        with atomic_folder(output, overwrite=overwrite) as folder:
            encoder.save_pretrained(str(folder))
            report.save(folder)
    words = _explained(report, WORDS.get(language, ()))
    if not json:
        console.print(f"[bold]1. {ENCODER} carried into {language}[/]")
        print_report(report)
        console.print("\n[bold]2. What new tokens are made of[/]")
        for token, sources in words.items():
            made_of = ", ".join(f"{source} {weight:.2f}" for source, weight in sources)
            print_wrapped(f"  {escape(token)} = ", escape(made_of))
    with working("indexing and searching the demo passages", quiet=json):
        searches = _searches(encoder, demo)
    if not json:
        console.print("\n[bold]3. Searching the demo passages: three questions that it answers[/]")
        for found in searches:
            mark = "[green]right[/]" if found["right"] else f"[yellow]right one at rank {found['rank']}[/]"
            print_wrapped("  ", f"[bold]{escape(found['query'])}[/]  ({mark})")
            print_wrapped(f"    {found['score']:.1f}  ", escape(_cut(found["text"])))
            terms = ", ".join(f"{term} {score:.1f}" for term, score in found["terms"])
            print_wrapped("    matched: ", f"[dim]{escape(terms)}[/]")
    with working("measuring", quiet=json):
        scores = _scores(encoder, demo, language)
    seconds = time.perf_counter() - started
    if json:
        row = {"language": language, "words": words, "searches": searches, "ndcg@10": scores, "seconds": seconds}
        print_json([row | {"transfer": report.to_dict()}])
        return
    console.print(f"\n[bold]4. nDCG@10 on the demo: {len(demo.queries)} questions, {len(demo.corpus)} passages[/]")
    print_table(["model", "ndcg@10"], list(scores.items()))
    kept = f"kept in {output}; look: isthmus inspect {output} TOKEN" if output else "keep the encoder with -o FOLDER"
    console.print(f"\n{seconds:.0f} s; {escape(kept)}", soft_wrap=True)


def _explained(report: TransferReport, words: tuple[str, ...]) -> dict[str, list[tuple[str, float]]]:
    tokens = set(report.token_map.target_tokens)
    return {word: report.token_map.explain(word, 4) for word in words if word in tokens}


def _searches(encoder: Any, demo: Collection) -> list[dict[str, Any]]:
    from isthmus.search import encode_texts, search

    texts = list(demo.corpus.values())
    documents = encode_texts(encoder, texts, role="document", show_progress_bar=False)
    questions = [demo.queries[query] for query in SEARCHES]
    queries = encode_texts(encoder, questions, role="query", show_progress_bar=False)
    hits, scores = search(queries, documents, top_k=len(texts))
    ids = list(demo.corpus)
    found = []
    for row, query in enumerate(SEARCHES):
        ranked = [ids[hit] for hit in hits[row] if hit >= 0]
        rank = next((i for i, passage in enumerate(ranked, 1) if demo.qrels[query].get(passage)), None)
        found.append(
            {
                "query": demo.queries[query],
                "text": demo.corpus[ranked[0]] if ranked else "",
                "score": float(scores[row, 0]),
                "right": rank == 1,
                "rank": rank,
                "terms": _terms(encoder, queries[row], documents[hits[row, 0]]) if ranked else [],
            }
        )
    return found


def _terms(encoder: Any, query: csr_matrix, document: csr_matrix, top_k: int = 5) -> list[tuple[str, float]]:
    """Tokens that the score is the sum of, heaviest first."""
    product = query.multiply(document).tocoo()
    order = (-product.data).argsort(kind="stable")[:top_k]
    tokens = encoder.tokenizer.convert_ids_to_tokens(product.col[order].tolist())
    return [(token, float(product.data[i])) for token, i in zip(tokens, order, strict=True)]


def _scores(encoder: Any, demo: Collection, language: str) -> dict[str, float]:
    import isthmus

    tokenizer = TOKENIZER + language
    mean, _ = isthmus.transfer(ENCODER, target_tokenizer=tokenizer, method="mean", show_progress_bar=False)
    arms = {"base": ENCODER, "mean": mean, "sembridge": encoder, "BM25": "BM25"}
    return {
        name: float(isthmus.evaluate(model, demo, tokenizer=tokenizer).to_dict()["ndcg@10"])
        for name, model in arms.items()
    }


def _cut(text: str, length: int = 110) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
