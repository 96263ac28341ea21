"""Copy trained models into the package, each with its card.

python recipes/install_assets.py --runs runs
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

ASSETS = Path(__file__).parent.parent / "src" / "isthmus" / "assets"
LIMIT_MB = 64

BRIDGE_CARD = """---
license: apache-2.0
language: [en, ar, zh, hi, ko, ru]
library_name: sentence-transformers
---
# isthmus/mini-bridge

A multilingual static-embedding SentenceTransformer: one {dim}-dimensional float16 vector for each of {tokens:,}
Unigram pieces; a text is the mean of its pieces. It is small enough to ship and good enough to try Isthmus
offline; for real work take BAAI/bge-m3 or another strong multilingual model.

- **Data**: parallel text of English with ar, zh, hi, ko, ru: Tatoeba (CC BY 2.0 FR), TICO-19 and Wikipedia
  titles (CC0), WMT news test sets (research use), CC-CEDICT (CC BY-SA 4.0), Joshua dictionaries, documentation
  of Python, React, tldr, GNOME, Mozilla and Microsoft courses (PSF, CC BY, GPL, MPL, MIT; partly machine
  translated), Quran translations (CC BY-SA). Neighbours of English words from all-MiniLM-L6-v2 (Apache-2.0).
- **Recipe**: `recipes/mini_bridge.py`, seed 17, {steps} steps.
- **Measured**: share of the 997 FLORES-dev sentences whose translation is nearest, the worse of the two
  directions: {quality}.
- **Limits**: characters that are rare in the training text, among them many traditional Chinese ones, are
  unknown to it.
"""
SPLADE_CARD = """---
license: apache-2.0
language: en
library_name: sentence-transformers
base_model: sentence-transformers/all-MiniLM-L6-v2
---
# isthmus/mini-splade-en

A small English SPLADE: the first {layers} layers of all-MiniLM-L6-v2 (Apache-2.0) under a masked-language-model
head tied to its embeddings (30,522 WordPiece entries), float16. Made so that Isthmus can be tried and tested
offline; for real work take naver/splade-v3 or another strong encoder.

- **Data**: SQuAD train questions with sentences (CC BY-SA 4.0; none of XQuAD's questions), MedQuAD (CC BY 4.0),
  headings and sections of documentation (MIT, CC BY, CC0 over PSF, MPL); for the language-model stage also the
  English sides of WMT, Tatoeba and TICO-19. Distilled from all-MiniLM-L6-v2's own scores.
- **Recipe**: `recipes/mini_splade_en.py`, seed 13, {mlm_steps} + {steps} steps. The number of steps is the one
  planned before any evaluation collection was looked at; an earlier run that had been cut to 400 steps after such a
  look (XQuAD-en .963) is not shipped any more.
- **Measured**: nDCG@10 {dev:.3f} on held-out questions, with {active_q:.0f} / {active_d:.0f} active dimensions
  of queries / documents. XQuAD-en beside BM25 and MiniLM: `benchmarks/results/base.json`.
"""
TOKENIZER_CARD = """---
license: {license}
language: {language}
---
# isthmus/tokenizer-{language}

A WordPiece tokenizer with {tokens:,} entries: {origin}. Its normaliser keeps the marks that belong to the
spelling. Recipe: `recipes/target_tokenizers.py`, seed 11.
"""
GIVEN = {
    "ko": "the published vocabulary of KoELECTRA (Apache-2.0)",
    "zh": "the published vocabulary of bert-base-chinese (Apache-2.0)",
}


def last_row(path: Path, key: str) -> dict[str, float]:
    """Last line of a JSON-lines log that has ``key``."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if key in row][-1]


def install(source: Path, name: str, card: str) -> None:
    """Replace the asset ``name`` by ``source`` and write its card."""
    target = ASSETS / name
    if source.resolve() != target.resolve():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (target / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args()

    bridge = last_row(args.runs / "mini-bridge/bridge.jsonl", "ko")
    config = json.loads((args.runs / "mini-bridge/shape.json").read_text())
    quality = ", ".join(f"{language} {bridge[language]:.3f}" for language in ("ar", "zh", "hi", "ko", "ru"))
    install(
        args.runs / "mini-bridge/model",
        "mini-bridge",
        BRIDGE_CARD.format(**config, steps=bridge["step"], quality=quality),
    )

    splade = last_row(args.runs / "mini-splade-en/splade.jsonl", "dev_ndcg@10")
    mlm = last_row(args.runs / "mini-splade-en/mlm.jsonl", "loss")
    layers = json.loads((args.runs / "mini-splade-en/model/config.json").read_text())["num_hidden_layers"]
    card = SPLADE_CARD.format(
        layers=layers, mlm_steps=mlm["step"], steps=splade["step"], dev=splade["dev_ndcg@10"],
        active_q=splade["dev_active_q"], active_d=splade["dev_active_d"],
    )  # fmt: skip
    install(args.runs / "mini-splade-en/model", "mini-splade-en", card)

    for folder in sorted(ASSETS.glob("tokenizer-*")):
        language = folder.name.removeprefix("tokenizer-")
        tokens = len(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
        origin = GIVEN.get(language, "trained on about 12 MB of public plain text")
        install(
            folder,
            folder.name,
            TOKENIZER_CARD.format(license="apache-2.0", language=language, tokens=tokens, origin=origin),
        )

    size = sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) / 1e6
    print(f"{size:.1f} MB of assets")
    if size > LIMIT_MB:
        raise SystemExit(f"the assets must stay within {LIMIT_MB} MB, got {size:.1f} MB; make the bridge smaller")


if __name__ == "__main__":
    main()
