"""The training recipes of the papers by name, with where each value is known from; no torch.

Not the papers' results: most of what decides them could not be read, and what is not known has Isthmus' own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from isthmus.errors import InputError, UnknownNameError
from isthmus.losses.options import ALIGN_LOSSES
from isthmus.training.options import AlignOptions, TrainOptions

Command = Literal["align", "train"]
Known = Literal["code", "abs", "2nd", "inf", "ours"]

KNOWN: dict[Known, str] = {
    "code": "read in the authors' released code",
    "abs": "the abstract or the official README",
    "2nd": "second hand, from summaries of the paper",
    "inf": "inferred",
    "ours": "ours: not known",
}
# What the default of a setting is there for, where no paper says anything.
NOTES = {
    "epochs": "steps come first",
    "query_regularizer_weight": "of sparse encoders; the paper's are dense",
    "document_regularizer_weight": "of sparse encoders; the paper's are dense",
    "regularizer_warmup": "of sparse encoders; the paper's are dense",
    "target_active_dims": "of sparse encoders; the paper's are dense",
}
# What is chosen by the machine at hand, or only looks on: no part of a recipe.
NOT_PART = ("recipe", "freeze", "stock_head", "save_steps", "logging_steps", "max_active_share", "patience")


@dataclass(frozen=True)
class Value:
    """One setting of a recipe.

    Attributes:
        value: What it is set to.
        known: Key of ``KNOWN``.
        note: What else there is to say of it.
    """

    value: Any
    known: Known
    note: str = ""

    @property
    def source(self) -> str:
        """Where it is known from, in brackets, and the note."""
        tag = f"[{self.known}]" if self.known != "ours" else KNOWN["ours"]
        return f"{tag}, {self.note}" if self.note else tag


@dataclass(frozen=True)
class PaperRecipe:
    """A frozen set of settings with a name.

    Attributes:
        name: Key in ``RECIPES``.
        command: ``align`` or ``train``.
        title: What the paper calls its method.
        arxiv: Id of the paper.
        own: The settings that the recipe sets, by name.
        notes: What belongs to the recipe and is no setting.
    """

    name: str
    command: Command
    title: str
    arxiv: str
    own: Mapping[str, Value]
    notes: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, Value]:
        """All settings that decide the outcome, those of which nothing is known at their defaults."""
        defaults = TrainOptions().to_dict()
        if self.command == "align":
            align = AlignOptions.of(loss=self.own["loss"].value).to_dict()
            # What belongs to the alignment first.
            defaults = {name: value for name, value in align.items() if name not in defaults} | align
        rest = [name for name in defaults if name not in self.own and name not in NOT_PART]
        told = {name: note for name, note in NOTES.items() if self.command == "align" or name == "epochs"}
        if "steps" not in self.own:
            told.pop("epochs")
        return dict(self.own) | {name: Value(defaults[name], "ours", told.get(name, "")) for name in rest}

    def settings(self, **given: Any) -> AlignOptions | TrainOptions:
        """The options of the verb, replaced by those ``given``.

        Args:
            given: Fields of :class:`AlignOptions` and of its loss, or of :class:`TrainOptions` for ``train``.

        Raises:
            UnknownNameError: If there is no such setting.
            InputError: If a value is out of its range, or another loss is given.
        """
        wanted = self.own["loss"].value
        if given.get("loss", wanted) != wanted:
            raise InputError(
                f"loss must be {wanted!r} with recipe {self.name!r}, got {given['loss']!r}; leave one of them out"
            )
        chosen = {name: value.value for name, value in self.own.items()}
        if "epochs" in given:
            # Steps come before epochs where both are set.
            chosen.pop("steps", None)
        chosen |= given | {"recipe": self.name}
        options: type[AlignOptions] | type[TrainOptions] = AlignOptions if self.command == "align" else TrainOptions
        bundles = [options, *(ALIGN_LOSSES.values() if self.command == "align" else ())]
        known = {entry.name for bundle in bundles for entry in fields(bundle)}
        unknown = sorted(chosen.keys() - known)
        if unknown:
            raise UnknownNameError(f"setting of {self.name}", unknown[0], sorted(known))
        return options.of(None, **chosen)

    def stated(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a report says of the recipe that a run was made with.

        Args:
            settings: The settings of the run by name.

        Returns:
            ``name``, ``title``, ``arxiv``, ``values`` (by name, with ``value`` and where it is known from) and
            ``changed``, what the run has in the place of some of them.
        """
        changed = {
            name: settings[name]
            for name, value in self.values.items()
            if name in settings and settings[name] != value.value and not (name == "bf16" and value.value is None)
        }
        return self.to_dict() | {"changed": changed}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "recipe": self.name,
            "command": self.command,
            "title": self.title,
            "arxiv": self.arxiv,
            "values": {
                name: {"value": value.value, "known": value.known, "note": value.note}
                for name, value in self.values.items()
            },
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """The values as a table of Markdown."""
        lines = ["| setting | value | known from |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {show(value.value)} | {value.source} |" for name, value in self.values.items()]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])


def show(value: Any) -> str:
    """A value as people read it: a dash for None, and ``none`` for an empty text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) or "none"


_CLEAR = PaperRecipe(
    "clear-paper",
    "align",
    "CLEAR",
    "2604.05821",
    {
        "loss": Value("clear", "abs"),
        "kl": Value(True, "code", "a flag of the code, on in its recipe"),
        "alpha": Value(0.4, "code"),
        "beta": Value(0.2, "code"),
        "detach": Value("none", "code"),
        "similarity": Value("cosine", "code"),
        "scale": Value(20.0, "code"),
        "gather_across_devices": Value(False, "code"),
        "negatives": Value(5, "code"),
        "skip": Value(50, "inf", "ranks 50 to 100, by the name of the file"),
        "last_rank": Value(100, "inf", "as skip"),
        "max_score": Value(None, "ours", "the window of ranks takes its place"),
        "query_prompt": Value("", "code", "for e5 either"),
        "passage_prompt": Value("", "code", "for e5 either"),
        "batch_size": Value(64, "code", "per device, of 4"),
        "mini_batch_size": Value(32, "code"),
        "steps": Value(50, "code"),
        "learning_rate": Value(5e-5, "code"),
        "scheduler": Value("cosine", "code"),
        "warmup": Value(0.05, "code"),
        "bf16": Value(True, "code"),
        "max_length": Value(512, "code"),
        "limit_rows": Value(500, "code", "about 25 passes"),
    },
    (
        "Rows are of MLQA questions with 5 hard negatives of each side [code]; where the data has none, they are mined "
        "among the rows that are read, with the encoder as it is.",
        "4 devices of their own batches [code]: `torchrun --nproc_per_node 4`. One process sees a "
        "quarter as many rows.",
        "The released cached loss sums its mini-batches, so its gradient is twice that of the loss it stands for "
        "[code]; ours is equal to the uncached one.",
        "No text comes twice in a batch [code]; ours keeps rows apart by their own texts and leaves out negatives that "
        "are texts of the batch.",
    ),
)
_PROXIMITY = PaperRecipe(
    "proximity-paper",
    "align",
    "semantic proximity",
    "2604.05684",
    {
        "loss": Value("proximity", "abs"),
        "temperature": Value(1.0, "2nd", "none shown"),
        "normalize": Value(False, "2nd", "none shown"),
        "eps": Value(1e-8, "ours"),
        "eps_placement": Value("outside", "2nd"),
        "jsd_weight": Value(1.0, "2nd"),
        "nce_weight": Value(1.0, "2nd"),
        "similarity": Value("cosine", "2nd"),
        "scale": Value(1.0, "2nd", "a bare cosine"),
        "negatives": Value(0, "2nd"),
    },
    (
        "How it was trained (batch, rate, steps, length, precision) was not found: Isthmus' defaults stand in.",
        "About 2,800 triples: English MIRACL questions and passages, the passages translated by GPT-4o into ten "
        "languages [2nd].",
    ),
)
_SEMBRIDGE = PaperRecipe(
    "sembridge-paper",
    "train",
    "SemBridge, fine-tuning",
    "2605.26002",
    {"loss": Value("contrastive", "2nd")},
    (
        "A contrastive loss and a sparsity regulariser [2nd]; which regulariser is not known, ours is FLOPS.",
        "Trained on pairs of WebFAQ [2nd]: ar 132k, zh 122k, hi 90k, ko 92k, ru 377k.",
        "Hyper-parameters were not found anywhere: Isthmus' defaults stand in.",
    ),
)
RECIPES: dict[str, PaperRecipe] = {recipe.name: recipe for recipe in (_CLEAR, _PROXIMITY, _SEMBRIDGE)}


def find_recipe(name: str, command: Command | None = None) -> PaperRecipe:
    """Look up a recipe.

    Args:
        name: Key of ``RECIPES``.
        command: What it is wanted for; None takes any.

    Raises:
        UnknownNameError: If there is none of this name; says which is nearest.
        InputError: If it is for another command.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    found = RECIPES[name]
    if command is not None and found.command != command:
        fitting = ", ".join(recipe.name for recipe in RECIPES.values() if recipe.command == command)
        raise InputError(
            f"recipe must be one of isthmus {command} ({fitting}), got {name!r}; it belongs to isthmus {found.command}"
        )
    return found


def paper_settings(name: str, **given: Any) -> Any:
    """Options by the name of a paper's recipe; what is given beside it comes first.

    Args:
        name: Key of ``RECIPES``: ``clear-paper`` (arXiv 2604.05821) and ``proximity-paper`` (arXiv 2604.05684) for
            :func:`isthmus.training.align`, ``sembridge-paper`` (arXiv 2605.26002) for :func:`isthmus.training.train`.
        given: Fields of the options.

    Returns:
        :class:`AlignOptions`, or :class:`TrainOptions` for a recipe of ``train``.

    Raises:
        UnknownNameError: If there is no such recipe or setting.
        InputError: If a value is out of its range, or another loss is given.

    Example:
        >>> paper_settings("clear-paper", steps=100).learning_rate
        5e-05
    """
    return find_recipe(name).settings(**given)


def describe(stated: Mapping[str, Any]) -> str:
    """A section of Markdown for the model card, from what :meth:`PaperRecipe.stated` gives."""
    recipe = RECIPES[stated["recipe"]]
    changed = ", ".join(f"{name} {show(value)}" for name, value in stated["changed"].items())
    legend = "; ".join(f"[{tag}] {meaning}" for tag, meaning in KNOWN.items() if tag != "ours")
    lines = [
        "## The recipe",
        "",
        f"`{recipe.name}`: what is known of the training of {recipe.title} (arXiv {recipe.arxiv}). "
        f"{f'Changed here: {changed}.' if changed else 'Nothing was changed.'}",
        f'{legend}; "{KNOWN["ours"]}": the default of Isthmus stands in.',
        "",
        recipe.table(),
    ]
    return "\n".join([*lines, ""])
