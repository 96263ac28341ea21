"""How an option is written once, and the options that several verbs share; neither typer nor torch.

An option is a field of a frozen dataclass. Its metadata is the help, the panel and the range of its flag, its line
under ``Attributes`` the API reference, ``__post_init__`` the check, ``to_dict`` the record in reports and result files.
A verb takes ``options=None, **changes`` and makes one object of them by :meth:`Options.of`; inner functions take that
object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from isthmus.errors import InputError, UnknownNameError
from isthmus.reading.fields import FieldNames

Panel = Literal["Common", "Method", "Ablation", "Output"]
DType = Literal["float32", "bfloat16"]
Self = TypeVar("Self", bound="Options")
# Resolved once for each class.
_KINDS: dict[type[Any], dict[str, Any]] = {}


@dataclass(frozen=True)
class Flag:
    """What the command line and the checks know of an option.

    Attributes:
        help: One line for ``--help``.
        panel: The part of the help that it stands in.
        names: Its flags where they are not the field's name with dashes: ``("--folder", "-o")``.
        at_least: The least value.
        at_most: The largest value.
        above: Every value is above this.
        below: Every value is below this.
        shown: The default as the help shows it, where it depends on something.
        metavar: What stands for the value in the help.
        kind: Type of the flag where it is another than the field's: a file of the texts that the field takes.
        read: Makes the field's value of the flag's.
        check: Refuses a value of the flag at once where ``read`` takes long, and other checks may come before it.
        complete: The values that the shell completes, where they are no Literal.
        recorded: Whether reports and result files state it.
    """

    help: str
    panel: Panel = "Common"
    names: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    shown: str | None = None
    metavar: str | None = None
    kind: Any = None
    read: Callable[[Any], Any] | None = None
    check: Callable[[Any], None] | None = None
    complete: Callable[[], Iterable[str]] | None = None
    recorded: bool = True

    def range(self) -> str:
        """The values that it takes, in words; "" where all do."""
        least = None if self.at_least is None else f"{self.at_least:g} or more"
        least = least if self.above is None else f"above {self.above:g}"
        most = None if self.at_most is None else f"at most {self.at_most:g}"
        most = most if self.below is None else f"below {self.below:g}"
        return " and ".join(bound for bound in (least, most) if bound)

    def fits(self, value: float) -> bool:
        """Whether a number is finite and in the range."""
        return math.isfinite(value) and not (
            (self.at_least is not None and value < self.at_least)
            or (self.at_most is not None and value > self.at_most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )


def option(default: Any = MISSING, *, factory: Any = MISSING, help: str, **flag: Any) -> Any:
    """A field of an :class:`Options` that has a flag.

    Args:
        default: Its default.
        factory: Makes the default, instead.
        help: One line for ``--help``.
        **flag: The other attributes of :class:`Flag`.
    """
    return field(default=default, default_factory=factory, metadata={"flag": Flag(help, **flag)})


@dataclass(frozen=True)
class Options:
    """Options of a verb, or a bundle that several verbs share; a verb's class inherits from the bundles it takes.

    Raises:
        UnknownNameError: If a value is none of the choices.
        InputError: If a number is out of its range.
    """

    def __post_init__(self) -> None:
        for entry in fields(self):
            flag, value = flag_of(entry), getattr(self, entry.name)
            choices = choices_of(kinds_of(type(self))[entry.name])
            if value is None:
                continue
            if choices and value not in choices:
                raise UnknownNameError(entry.name, value, choices)
            numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
            if flag is not None and numeric and flag.range() and not flag.fits(value):
                raise InputError(f"{entry.name} must be {flag.range()}, got {value}")

    @classmethod
    def of(cls: type[Self], options: Any = None, /, **changes: Any) -> Self:
        """What a verb was given, as one object.

        Args:
            options: An object of this class or of one that inherits from it; None takes the defaults.
            **changes: Fields to replace.

        Raises:
            InputError: If ``options`` is something else, or a change is no field.
        """
        if options is not None and not isinstance(options, cls):
            raise InputError(f"options must be {cls.__name__}, got {type(options).__name__}; pass its fields by name")
        made = cls if options is None else type(options)
        known = [entry.name for entry in fields(made)]
        unknown = sorted(changes.keys() - set(known))
        if unknown:
            raise InputError(f"options must be among {', '.join(known)}, got {', '.join(unknown)}; leave them out")
        return made(**changes) if options is None else replace(options, **changes) if changes else options

    def part(self, bundle: type[Self]) -> Self:
        """The fields that stand in a bundle, as an object of that class."""
        return bundle(**{entry.name: getattr(self, entry.name) for entry in fields(bundle)})

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name, without those that change nothing in what comes out."""
        flags = {entry.name: flag_of(entry) for entry in fields(self)}
        return {name: getattr(self, name) for name, flag in flags.items() if flag is not None and flag.recorded}


def flag_of(entry: Field[Any]) -> Flag | None:
    """The flag of a field; None where it has none."""
    found: Flag | None = entry.metadata.get("flag")
    return found


def kinds_of(options: type[Any]) -> dict[str, Any]:
    """Types by name of field."""
    if options not in _KINDS:
        _KINDS[options] = get_type_hints(options)
    return _KINDS[options]


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal, or of one that may be None; empty for other types."""
    if get_origin(kind) in (Union, UnionType):
        return next((choices_of(member) for member in get_args(kind) if get_origin(member) is Literal), ())
    return get_args(kind) if get_origin(kind) is Literal else ()


@dataclass(frozen=True)
class EncodeOptions(Options):
    """How texts become vectors.

    Attributes:
        batch_size: Texts per step.
        max_active_dims: Keep this many of the largest entries of every vector; None takes the encoder's own setting;
            sparse encoders only.
        dtype: Arithmetic: ``float32``, or ``bfloat16`` for autocast, which is faster where the processor knows it.
        query_prompt: Put before queries; None takes the encoder's own prompt, "" none.
        document_prompt: Put before documents, likewise.
        stock_head: Use sentence-transformers' own vocabulary head instead of the faster equal one; sparse encoders
            only.
        show_progress_bar: None shows bars when stderr is a terminal.
    """

    batch_size: int = option(32, help="Texts per batch.", at_least=1, recorded=False)
    max_active_dims: int | None = option(None, help="Keep only the heaviest terms.", at_least=1)
    dtype: DType = option("float32", help="Arithmetic of encoding.")
    query_prompt: str | None = option(None, help="Put before queries; default: the model's own prompt.")
    document_prompt: str | None = option(None, help="Put before documents; default: the model's own prompt.")
    stock_head: bool = option(False, help="Use sentence-transformers' own vocabulary head.", panel="Ablation")
    show_progress_bar: bool | None = None


@dataclass(frozen=True)
class SplitOptions(Options):
    """What becomes of texts that are longer than the encoder reads.

    Attributes:
        split_texts: Cut them into overlapping passages that fit, at the ends of sentences; documents are ranked by
            their best passage. Without, an encoder does not read their ends.
    """

    split_texts: bool = option(
        False, help="Cut long texts into passages that the encoder reads.", names=("--split-texts", "--split")
    )


@dataclass(frozen=True)
class OpenOptions(Options):
    """How models are opened.

    Attributes:
        trust_remote_code: Run code that comes with a model or tokenizer.
    """

    trust_remote_code: bool = option(False, help="Run code that comes with hub models.", recorded=False)


@dataclass(frozen=True)
class RunOptions(Options):
    """What can be repeated.

    Attributes:
        seed: Seed of everything drawn.
    """

    seed: int = option(0, help="Seed of all that is drawn.", at_least=0)


@dataclass(frozen=True)
class ReadOptions(Options):
    """How collections and corpora are read.

    Attributes:
        id_field: Field of the id of a passage or query; None takes ``id``, ``_id`` or ``docid``.
        text_field: Field of the text of a passage; None takes ``text`` or ``contents``.
        title_field: Field of its title; None takes ``title``.
        strict: Refuse what is read and said otherwise: passages without text, rows that are there twice, judgements of
            what is not there.
    """

    id_field: str | None = option(None, help="Field of the id.", panel="Method", shown="id, _id, docid", recorded=False)
    text_field: str | None = option(
        None, help="Field of a passage's text.", panel="Method", shown="text, contents", recorded=False
    )
    title_field: str | None = option(
        None, help="Field of a passage's title.", panel="Method", shown="title", recorded=False
    )
    strict: bool = option(
        False,
        help="Refuse empty passages, repetitions, judgements of what is not there.",
        panel="Method",
        recorded=False,
    )

    def field_names(self) -> FieldNames:
        """The fields, as readers take them."""
        return FieldNames(self.id_field, self.text_field, self.title_field)
