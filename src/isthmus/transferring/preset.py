"""Models that go together: encoders, tokenizers and bridge of SemBridge (arXiv 2605.26002), and the built-in ones.

Of the tokenizers, only Korean's was found with its owner; the other hub ids are those of the models known by the names
that summaries of the paper give. Licences are those that the models' pages name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from isthmus.assets import PREFIX
from isthmus.encoders.cards import license_warning
from isthmus.errors import UnknownNameError


@dataclass(frozen=True)
class PresetPart:
    """A model or tokenizer that presets name.

    Attributes:
        name: Built-in name or hub id.
        license: Its licence, in the hub's spelling; None where its page names none.
        facts: What else is known of it.
    """

    name: str
    license: str | None
    facts: str

    @property
    def page(self) -> str | None:
        """Where to look it up; None for what is built in."""
        return None if self.name.startswith(PREFIX) else f"https://huggingface.co/{self.name}"


@dataclass(frozen=True)
class Preset:
    """What one transfer starts from.

    Attributes:
        name: Key in ``PRESETS``.
        encoder: English sparse encoder.
        tokenizer: Tokenizer of the target language.
        bridge: Multilingual dense model.
        language: Target language, ISO 639-1.
        settings: Further arguments of :func:`isthmus.transfer`.
    """

    name: str
    encoder: PresetPart
    tokenizer: PresetPart
    bridge: PresetPart
    language: str
    settings: Mapping[str, Any] = field(default_factory=lambda: {"method": "sembridge", "alpha": 4.0})

    def arguments(self, **given: Any) -> dict[str, Any]:
        """Arguments of :func:`isthmus.transfer`: those of the preset, replaced by those ``given`` that are not None.

        The language goes with the tokenizer: where another tokenizer is given, its own card says the language.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        own = {
            "encoder": self.encoder.name,
            "target_tokenizer": self.tokenizer.name,
            "bridge": self.bridge.name,
            **self.settings,
        }
        if "target_tokenizer" not in chosen:
            own["language"] = ["en", self.language] if chosen.get("keep_source") else self.language
        return own | chosen

    def notes(self, **given: Any) -> list[str]:
        """What the licences of the parts ask or leave open, of those parts that ``given`` does not replace."""
        used = {"encoder": self.encoder, "target_tokenizer": self.tokenizer}
        found = []
        for argument, part in used.items():
            if given.get(argument) is not None:
                continue
            if part.license is None:
                found.append(f"the licence of {part.name} is unknown; see {part.page}")
            elif warning := license_warning(part.license):
                found.append(f"{part.name}: {warning}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        parts = {
            argument: {**asdict(part), "page": part.page}
            for argument, part in (
                ("encoder", self.encoder),
                ("target_tokenizer", self.tokenizer),
                ("bridge", self.bridge),
            )
        }
        return {"preset": self.name, "language": self.language, **parts, "settings": dict(self.settings)}


ENCODERS = {
    "splade-v3": PresetPart(
        "naver/splade-v3",
        "cc-by-nc-sa-4.0",
        "BERT, 30,522 entries, 110 M parameters; trained on MS MARCO; BEIR-13 nDCG@10 51.7 by its page",
    ),
    "splade-pp-en-v1": PresetPart(
        "prithivida/Splade_PP_en_v1",
        "apache-2.0",
        "BERT; an independent SPLADE++ trained on MS MARCO",
    ),
    "opensearch-v1": PresetPart(
        "opensearch-project/opensearch-neural-sparse-encoding-v1",
        "apache-2.0",
        "BERT (arXiv 2411.04403)",
    ),
    "granite-30m": PresetPart(
        "ibm-granite/granite-embedding-30m-sparse",
        "apache-2.0",
        "RoBERTa with byte-level BPE, 30 M parameters in bfloat16 (arXiv 2502.20204)",
    ),
}
TOKENIZERS = {
    "ar": PresetPart("UBC-NLP/ARBERT", None, "BERT, 100,000 entries; Modern Standard Arabic"),
    "hi": PresetPart("l3cube-pune/hindi-bert-v2", "cc-by-4.0", "MuRIL trained further on Hindi (arXiv 2211.11418)"),
    "ko": PresetPart("monologg/kobigbird-bert-base", None, "BigBird"),
    "ru": PresetPart("DeepPavlov/rubert-base-cased", None, "BERT, 119,547 entries, cased (arXiv 1905.07213)"),
    "zh": PresetPart("fnlp/bart-base-chinese", None, "BART, 51,271 entries since December 2022 (arXiv 2109.05729)"),
}
BRIDGE = PresetPart("BAAI/bge-m3", "mit", "1,024 dimensions, 568 M parameters (arXiv 2402.03216)")
MINI_ENCODER = PresetPart(
    f"{PREFIX}mini-splade-en",
    "apache-2.0",
    "built in, works offline; 3 layers of MiniLM, 30,522 entries; to try things",
)
MINI_BRIDGE = PresetPart(
    f"{PREFIX}mini-bridge", "apache-2.0", "built in, works offline; static vectors of 192 dimensions; to try things"
)
MINI_TOKENIZERS = {
    language: PresetPart(f"{PREFIX}tokenizer-{language}", "apache-2.0", f"built in; WordPiece, {entries} entries")
    for language, entries in {"ar": "24,000", "hi": "24,000", "ko": "32,200", "ru": "24,000", "zh": "21,128"}.items()
}
PRESETS = {
    preset.name: preset
    for preset in (
        *(
            Preset(f"{prefix}-{language}", encoder, tokenizer, BRIDGE, language)
            for prefix, encoder in ENCODERS.items()
            for language, tokenizer in TOKENIZERS.items()
        ),
        *(
            Preset(f"mini-{language}", MINI_ENCODER, tokenizer, MINI_BRIDGE, language)
            for language, tokenizer in MINI_TOKENIZERS.items()
        ),
    )
}


def find_preset(name: str) -> Preset:
    """Look up a preset.

    Raises:
        UnknownNameError: If there is none of this name; says which is nearest.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]


def preset(name: str, **given: Any) -> dict[str, Any]:
    """Arguments of :func:`isthmus.transfer` by the name of a preset; as :meth:`Preset.arguments`.

    ::

        encoder, report = isthmus.transfer(**preset("mini-ko", alpha=3.0))
    """
    return find_preset(name).arguments(**given)
