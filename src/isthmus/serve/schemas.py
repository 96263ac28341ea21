"""What the API takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# A character that is no space: an empty query finds nothing.
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Value = str | int | float | bool


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Search(_Asked):
    """A search."""

    query: Text = Field(description="What to search for.")
    top_k: int = Field(10, ge=1, description="Hits at most.")
    filter: dict[str, Value | list[Value]] = Field(
        default_factory=dict, description="Value, or list of values, that a metadata field of a hit must have."
    )
    matches: bool = Field(False, description="Add to every hit the tokens behind its score, and where they stand.")
    expansion: int = Field(0, ge=0, description="Add this many of the heaviest tokens of the query's vector.")
    characters: int = Field(1_000, ge=0, le=20_000, description="Give of every text the best part of this length.")


class Explain(_Asked):
    """A question for the tokens behind a score."""

    query: Text = Field(description="What was searched for.")
    id: str = Field(min_length=1, description="The document.")


class Encode(_Asked):
    """Texts to encode."""

    texts: list[Text] = Field(min_length=1, description="What to encode.")
    role: Literal["query", "document"] = Field("query", description="What the texts are.")
    top_k: int | None = Field(None, ge=1, description="Keep the heaviest entries; null keeps all.")


class Problem(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="What must be, what was given, what to do.")
    field: str | None = Field(description="The parameter or header it is about.")


class Term(BaseModel):
    """A dimension of a vector."""

    token: str = Field(description="As the tokenizer stores it.")
    text: str = Field(description='For readers; continuations of a word start with "##".')
    weight: float


class Matched(BaseModel):
    """A dimension that query and document share."""

    token: str
    text: str
    query_weight: float
    document_weight: float
    score: float = Field(description="Product of the weights.")


class Place(BaseModel):
    """A part of a text whose token has a share in the score; positions count Unicode code points."""

    start: int
    end: int
    score: float
    terms: list[str]


class Part(BaseModel):
    """A text, or the part of it that was asked for."""

    text: str
    start: int = Field(description="Where the part begins in the whole text.")
    length: int = Field(description="Characters of the whole text.")
    spans: list[Place] = Field(description="Positions in the part.")


class Section(BaseModel):
    """Which part of a document is shown: the passage of it that scores best."""

    document: str
    number: int = Field(description="From 0 on.")
    of: int = Field(description="Passages of the document.")
    start: int = Field(description="Where it begins in the document's text; positions count Unicode code points.")
    end: int


class Found(BaseModel):
    """A document."""

    id: str
    passage: Section | None = Field(description="What of it is shown; null where documents were not split.")
    score: float
    language: str | None
    title: Part
    text: Part
    metadata: dict[str, Any]
    matches: list[Matched] | None = Field(description="Null where they were not asked for.")
    read: int | None = Field(
        description="Characters of the text that the encoder reads; null for all, and in a search."
    )


class Timing(BaseModel):
    """Where the time went, in milliseconds."""

    wait_ms: float = Field(description="Until the batch began.")
    encode_ms: float
    search_ms: float = Field(description="Searching, reading documents and explaining.")
    batch: int = Field(description="Texts that were encoded together.")


class Hits(BaseModel):
    """The answer to a search."""

    query: str
    known: bool | None = Field(description="Whether the vocabulary has any of its characters; null where untold.")
    hits: list[Found]
    expansion: list[Term]
    left_out: int = Field(description="Dimensions of the query that the engine does not take: the lightest ones.")
    generation: int | None = Field(description="Counts the changes of the index; null where it lies on a server.")
    timing: Timing


class Vector(BaseModel):
    """A sparse vector, heaviest entries first."""

    active: int = Field(description="Entries of the whole vector.")
    terms: list[Term]


class Vectors(BaseModel):
    """The answer to encode, in the order of the texts."""

    vectors: list[Vector]


class Weighted(BaseModel):
    """A token with a weight."""

    text: str
    weight: float


class Neighbour(BaseModel):
    """A token whose input embedding lies near."""

    text: str
    similarity: float = Field(description="Cosine.")


class UsedIn(BaseModel):
    """A document that has a token."""

    id: str
    language: str | None
    text: str
    weight: float


class WeightHistogram(BaseModel):
    """How often weights of some size are."""

    edges: list[float] = Field(description="Of the bins, one more than these.")
    counts: list[int] = Field(description="Documents of each bin.")


class Use(BaseModel):
    """A token in the index."""

    documents: int = Field(description="Documents that have it.")
    histogram: WeightHistogram = Field(description="Its weights in them.")
    top: list[UsedIn] = Field(description="Those in which it weighs most.")


class TokenRow(BaseModel):
    """What is known of a token."""

    id: int | None = Field(description="Null for a token that only the map's source vocabulary has.")
    token: str
    text: str
    fate: str | None = Field(description="Where its row came from; null without a token map.")
    written_as: str | None = Field(description="The token that is written on its behalf.")
    made_of: list[Weighted]
    goes_into: list[Weighted]
    neighbours: list[Neighbour]
    written: bool | None = Field(description="False where the encoder keeps it silent; null where that is not known.")
    use: Use | None = Field(description="Null where the engine does not tell, or the index cannot be read.")


class Tokens(BaseModel):
    """The answer about a token: one row for each that the text is or consists of."""

    token: str
    rows: list[TokenRow]


class Counted(BaseModel):
    """A value of a field."""

    value: str
    documents: int


class Values(BaseModel):
    """The values of a field."""

    distinct: int
    top: list[Counted] = Field(description="The most frequent ones.")


class Language(BaseModel):
    """A language of the documents."""

    code: str
    documents: int
    colour: int = Field(description="Number of its colour, 0 to 7, as on the pages of audits.")


class Example(BaseModel):
    """A query to begin with: how a document begins."""

    text: str
    language: str | None


class Info(BaseModel):
    """What is served."""

    version: str
    index: str
    model: str | None
    documents: int
    generation: int | None = Field(description="Counts the changes of the index; null where it lies on a server.")
    fields: list[str] | None = Field(description="Metadata fields that can be filtered by; null where any may be.")
    values: dict[str, Values] | None = Field(description="By field, counted in the index; null where it does not tell.")
    languages: list[Language] = Field(description="Values of the field language, most frequent first.")
    examples: list[Example]
    token_map: bool = Field(description="Whether it is known what tokens are made of.")
    problem: str | None = Field(description="Says so when the index cannot be read, or is not the latest one.")
    limits: dict[str, float]


class Health(BaseModel):
    """Whether the server answers."""

    status: Literal["ok", "degraded"]
    problem: str | None = Field(description="Says so when the index cannot be read, or is not the latest one.")


class Ready(BaseModel):
    """Whether the index or engine answers."""

    status: Literal["ready", "degraded"]
    problem: str | None = Field(description="Says so when a part of the index cannot be read, or it is not the latest.")
