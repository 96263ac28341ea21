"""What is put before texts: the encoder's own prompts, others, and those that well-known models need."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

from isthmus.encoders.cards import read_front_matter
from isthmus.options import EncodeOptions

Role = Literal["query", "document"]

PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}
_SEARCH = "Represent this sentence for searching relevant passages: "
_TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
_HUB = "https://huggingface.co/"
# Encoders that were warned of.
_SEEN: WeakSet[Any] = WeakSet()


class Needed(NamedTuple):
    """What a family of models was trained with.

    Attributes:
        name: Regular expression for names in lower case, without the owner.
        query: Put before queries.
        document: Put before documents; "" for nothing.
        source: The card that says so.
    """

    name: str
    query: str
    document: str
    source: str


# The first that fits.
NEEDED = (
    Needed(r"\be5-.*instruct", _TASK, "", "intfloat/multilingual-e5-large-instruct"),
    Needed(r"\be5-(?:small|base|large)", "query: ", "passage: ", "intfloat/multilingual-e5-base"),
    Needed(r"\bbge-(?:small|base|large)-en", _SEARCH, "", "BAAI/bge-base-en-v1.5"),
    Needed(r"\bbge-(?:small|base|large)-zh", "为这个句子生成表示以用于检索相关文章：", "", "BAAI/bge-base-zh-v1.5"),
    Needed(r"\bnomic-embed-text", "search_query: ", "search_document: ", "nomic-ai/nomic-embed-text-v1.5"),
    Needed(r"\bgte-qwen\d?.*instruct", _TASK, "", "Alibaba-NLP/gte-Qwen2-1.5B-instruct"),
    Needed(r"\bqwen3-embedding", _TASK, "", "Qwen/Qwen3-Embedding-0.6B"),
    Needed(r"\bsnowflake-arctic-embed-.*v2", "query: ", "", "Snowflake/snowflake-arctic-embed-l-v2.0"),
    Needed(r"\bsnowflake-arctic-embed", _SEARCH, "", "Snowflake/snowflake-arctic-embed-m"),
    Needed(r"\bmxbai-embed-large", _SEARCH, "", "mixedbread-ai/mxbai-embed-large-v1"),
    Needed(r"\buae-large", _SEARCH, "", "WhereIsAI/UAE-Large-V1"),
    Needed(r"\bruri-v3", "検索クエリ: ", "検索文書: ", "cl-nagoya/ruri-v3-310m"),
    Needed(r"\bruri-(?:small|base|large)", "クエリ: ", "文章: ", "cl-nagoya/ruri-base"),
    Needed(r"^user-base$", "query: ", "passage: ", "deepvk/USER-base"),
    Needed(r"^(?:frida|ru-en-rosberta|user2-)", "search_query: ", "search_document: ", "ai-forever/ru-en-RoSBERTa"),
)


def prompt_name(encoder: Any, role: Role) -> str | None:
    """Name of the encoder's prompt for the texts of a role, or None.

    As in sentence-transformers, but an empty prompt gives way to another of the same role: sentence-transformers adds
    an empty ``document`` to the prompts of an encoder that was saved with ``passage`` alone.
    """
    names: list[str] = [name for name in PROMPT_NAMES[role] if name in encoder.prompts]
    name = next((name for name in names if encoder.prompts[name]), None)
    return name or (names[0] if names else encoder.default_prompt_name)


def prompt_for(encoder: Any, role: Role, options: EncodeOptions) -> str:
    """What is put before texts of a role: what the options say, else the encoder's own; "" for nothing."""
    given = options.query_prompt if role == "query" else options.document_prompt
    if given is not None:
        return given
    name = prompt_name(encoder, role)
    return "" if name is None else encoder.prompts[name] or ""


def needed_prompts(encoder: Any) -> tuple[str, Needed] | None:
    """The name by which an encoder is known to need prompts, and which; None for all others."""
    for name in _names(encoder):
        short = Path(name).name.lower()
        for entry in NEEDED:
            if re.search(entry.name, short):
                return name, entry
    return None


def warn_without_prompts(encoder: Any, role: Role, options: EncodeOptions) -> None:
    """Warn once of an encoder that is known to need a prompt and gets none."""
    given: dict[Role, str | None] = {"query": options.query_prompt, "document": options.document_prompt}
    if encoder in _SEEN or given[role] is not None:
        return
    _SEEN.add(encoder)
    found = needed_prompts(encoder)
    if found is None:
        return
    # Whoever gives one prompt knows of them, and of texts of the other kind there may be none.
    asked = [role] if any(prompt is not None for prompt in given.values()) else list(given)
    wanted: dict[Role, str] = {"query": found[1].query, "document": found[1].document}
    lacking = [one for one in asked if given[one] is None and wanted[one] and not prompt_for(encoder, one, options)]
    if lacking:
        plurals = {"query": "queries", "document": "documents"}
        read = " and ".join(f"{wanted[one]!r} before {plurals[one]}" for one in lacking)
        flags = " and ".join(f"{one}_prompt (--{one}-prompt)" for one in lacking)
        warnings.warn(
            f"{found[0]} was trained with {read} ({_HUB}{found[1].source}), and its config has no such prompt; "
            f"pass {flags}, '' for none",
            stacklevel=3,
        )


def _names(encoder: Any) -> Iterator[str]:
    """Names that an encoder goes by: of its folder or repository, and of what it was made from."""
    for module in encoder.modules():
        name = getattr(getattr(module, "config", None), "_name_or_path", None)
        if name:
            yield str(name)
    card = getattr(encoder, "_model_card_text", None) or ""
    stated = [read_front_matter(card).get("base_model"), getattr(encoder.model_card_data, "base_model", None)]
    for value in stated:
        yield from (str(name) for name in (value if isinstance(value, list) else [value]) if name)
    title = re.search(r"^# +(\S+)\s*$", card, flags=re.MULTILINE)
    if title is not None:
        yield title[1]
