import numpy as np
import pytest

from isthmus.auditing.audit_result import AuditResult, Comparison, HardQuery, PoolInfo, PoolResult, RankedPassage
from isthmus.auditing.measures import METRICS, SPLIT
from isthmus.evaluation.bootstrap import PairedBootstrap

QUESTIONS = 40


def searched(name, own, languages):
    others = [language for language in languages if language != own]
    return {
        "mono-same": [(own,)],
        "mono-cross": [(other,) for other in others],
        "pairs": [tuple(code for code in languages if code in (own, other)) for other in others],
        "english-distractors": [] if own == "en" else [("en", own)],
    }.get(name, [tuple(languages)])


def pool_info(name, own, languages, text):
    own_pools = name == "english-distractors"
    return PoolInfo(
        name=name,
        query_language=own,
        languages=languages,
        documents=41 if own_pools else 40 * len(languages),
        documents_by_language=dict.fromkeys(languages, 40),
        golds=1.0 if own_pools else float(len(languages)),
        golds_range=(1, len(languages)),
        duplicates=0,
        distractors=0,
        rule=f"Rule of {name}{text}.",
        deduplication=f"Deduplication{text}.",
        ties=f"Ties{text}.",
    )


def hit(rank, language, relevant, text):
    return RankedPassage(rank, f"p{rank}{text}", language, 1 / rank, f"passage {rank}{text}", relevant)


def pool_result(model, pool, generator, gap, text):
    golds = (pool.query_language,) if pool.name == "english-distractors" else pool.languages
    ranks = [sorted(generator.choice(pool.documents, len(golds), replace=False) + 1) for _ in range(QUESTIONS)]
    spoken = [tuple(generator.permutation(golds)) for _ in range(QUESTIONS)]
    mixed = len(pool.languages) > 1
    left_out = set() if mixed else {"english_first", "language_preference"}
    if "en" not in pool.languages:
        left_out.add("english_first")
    metrics = {name: metric.top or 50.0 for name, metric in METRICS.items() if name not in left_out}
    depth = min(20, pool.documents)
    share = 1 / len(pool.languages)
    hits = tuple(hit(rank, pool.languages[rank % len(pool.languages)], rank == 2, text) for rank in range(1, 6))
    far = tuple(hit(30 + place, language, True, text) for place, language in enumerate(golds))
    return PoolResult(
        model=model,
        pool=pool,
        per_query={name: generator.uniform(0.2 * top, 0.8 * top, QUESTIONS) for name, top in metrics.items()},
        intervals={name: (0.4 * top, 0.6 * top) for name, top in metrics.items()},
        gaps={} if gap is None else {name: difference(gap * top / 100) for name, top in metrics.items()},
        language_share=dict.fromkeys(pool.languages, share),
        language_mix={language: np.full(depth, share) for language in pool.languages},
        relevant_mix={language: np.full(depth, share / 4) for language in pool.languages},
        split=dict(zip(SPLIT, (0.5, 0.03, 0.3, 0.17), strict=True)) if pool.query_language in golds else {},
        gold_ranks=tuple(tuple(int(rank) for rank in found) for found in ranks),
        gold_languages=spoken,
        tied_golds=0,
        hardest=tuple(HardQuery(f"q{i}", f"question {i}{text}", 30, 31, hits, far) for i in range(10)),
    )


def difference(value, width=1.0):
    return PairedBootstrap(value, value - width, value + width, 0.0004, 2000, 0)


@pytest.fixture
def make_audit():
    """An audit with drawn numbers; ``gaps`` in points by language, ``text`` is appended to every name and text."""

    def make(
        languages=("en", "ko"),
        models=("first", "second"),
        pools=("mono-same", "mono-cross", "multi"),
        gaps=None,
        text="",
    ):
        generator = np.random.default_rng(0)
        infos = [
            pool_info(name, own, found, text)
            for name in pools
            for own in languages
            for found in searched(name, own, languages)
        ]
        comparable = "en" in languages
        results = [
            pool_result(
                model,
                info,
                generator,
                (gaps or {}).get(info.query_language, 0.0)
                if comparable and info.query_language != "en" and info.name != "english-distractors"
                else None,
                text,
            )
            for model in models
            for info in infos
        ]
        return AuditResult(
            collection=f"made{text}",
            languages=tuple(languages),
            models=tuple(models),
            pools=tuple(infos),
            results=tuple(results),
            comparisons=tuple(
                Comparison(models[0], found.model, found.pool, metric, difference(3.0))
                for found in results
                if found.model != models[0]
                for metric in found.per_query
            ),
            query_ids=tuple(f"q{i}" for i in range(QUESTIONS)),
            settings={
                "seed": 0,
                "alignment": f"by id{text}",
                "distractors": {},
                "models": {model: {"class": "SparseEncoder", "max_seq_length": float("inf")} for model in models},
                "versions": {"isthmus": f"0{text}"},
            },
            seconds=dict.fromkeys(models, 1.5),
        )

    return make
