"""``isthmus align``: train an encoder to rank the same content alike in every language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli import _training
from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, print_report, quiet_libraries, working
from isthmus.errors import InputError
from isthmus.training.align_settings import AlignSettings
from isthmus.training.settings import TrainingSettings

DEFAULT = AlignSettings()
TRAINING = DEFAULT.training


def command(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="Sparse or dense encoder: built-in name, folder or hub id.", metavar="MODEL")
    ],
    train: Annotated[str, typer.Option(help="Rows by role, as `isthmus pairs` writes them; or a hub dataset id.")],
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Folder of the result; holds checkpoints until then.")],
    recipe: _training.RecipeOption = None,
    loss: Annotated[Literal["clear", "proximity", "infonce"], typer.Option(help="What to train with.")] = DEFAULT.loss,
    column: Annotated[
        list[str] | None,
        typer.Option(help="ROLE=NAME where the data has another name: pivot_query=query_en. May come again."),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="clear: weight of the reverse term.", show_default="0.4")] = None,
    beta: Annotated[float | None, typer.Option(help="clear: weight of the divergence.", show_default="0.2")] = None,
    kl: Annotated[
        bool | None, typer.Option("--kl/--no-kl", help="clear: add the divergence.", show_default="kl")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="proximity: of the softmax over dimensions.", show_default="1")
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option("--normalize/--no-normalize", help="proximity: unit vectors first.", show_default="no-normalize"),
    ] = None,
    jsd_weight: Annotated[
        float | None, typer.Option(help="proximity: weight of the divergence.", show_default="1")
    ] = None,
    nce_weight: Annotated[
        float | None, typer.Option(help="proximity: weight of the contrast.", show_default="1")
    ] = None,
    anchor: Annotated[str | None, typer.Option(help="infonce: column of the anchors.", show_default="query")] = None,
    positive: Annotated[
        str | None, typer.Option(help="infonce: column of the positives.", show_default="pivot_passage")
    ] = None,
    similarity: Annotated[
        Literal["cosine", "dot"] | None,
        typer.Option(help="Of the contrastive terms.", show_default="cosine; dot for sparse encoders"),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Inverse temperature of the contrastive terms.", show_default="20 for cosine, 1 for dot"),
    ] = None,
    negatives: Annotated[
        int | None,
        typer.Option(help="Hard negatives to mine where the data has none.", show_default="5; 0 for proximity"),
    ] = None,
    skip: Annotated[
        int, typer.Option(help="Of mined negatives: leave out this many of the best ranked.")
    ] = DEFAULT.skip,
    last_rank: Annotated[
        int | None,
        typer.Option(
            help="Of mined negatives: draw from the ranks up to this one.", show_default="take the first after --skip"
        ),
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Put before queries from now on; '' for none.", show_default="the encoder's")
    ] = None,
    passage_prompt: Annotated[
        str | None, typer.Option(help="Put before passages from now on; '' for none.", show_default="the encoder's")
    ] = None,
    steps: _training.StepsOption = None,
    epochs: _training.EpochsOption = None,
    batch_size: _training.BatchSizeOption = TRAINING.batch_size,
    mini_batch_size: Annotated[
        int | None, typer.Option(help="Texts to encode at a time (GradCache).", show_default="the batch")
    ] = None,
    gather: Annotated[bool, typer.Option("--gather", help="Rank the candidates of all processes, not of one.")] = False,
    learning_rate: _training.LearningRateOption = TRAINING.learning_rate,
    scheduler: _training.SchedulerOption = TRAINING.scheduler,
    warmup: _training.RateWarmupOption = TRAINING.warmup,
    limit_rows: _training.LimitRowsOption = None,
    max_length: _training.MaxLengthOption = None,
    query_regularizer_weight: _training.QueryWeightOption = TRAINING.query_regularizer_weight,
    document_regularizer_weight: _training.DocumentWeightOption = TRAINING.document_regularizer_weight,
    regularizer_warmup: _training.WarmupOption = TRAINING.regularizer_warmup,
    target_active_dims: _training.TargetActiveDimsOption = None,
    max_active_share: _training.MaxActiveShareOption = TRAINING.max_active_share,
    freeze: _training.FreezeOption = "none",
    stock_head: _training.StockHeadOption = False,
    bf16: _training.Bf16Option = None,
    seed: _training.SeedOption = 0,
    save_steps: _training.SaveStepsOption = TRAINING.save_steps,
    logging_steps: _training.LoggingStepsOption = TRAINING.logging_steps,
    eval: _training.EvalOption = None,
    language: _training.LanguageOption = None,
    patience: _training.PatienceOption = TRAINING.patience,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the encoder, or another run's checkpoints, in the folder.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Align languages on parallel queries and passages; the same command goes on where it was interrupted."""
    if steps is not None and epochs is not None:
        raise InputError(f"--steps and --epochs must not come together, got {steps} and {epochs}; leave one out")
    if language is not None and eval is None:
        raise InputError(f"--language must come with --eval, got {language!r} alone; name the collection")
    training: dict[str, Any] = {
        "steps": steps, "epochs": TRAINING.epochs if epochs is None else epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "scheduler": scheduler, "warmup": warmup, "limit_rows": limit_rows,
        "max_length": max_length, "query_regularizer_weight": query_regularizer_weight,
        "document_regularizer_weight": document_regularizer_weight, "regularizer_warmup": regularizer_warmup,
        "target_active_dims": target_active_dims, "freeze": freeze, "stock_head": stock_head, "bf16": bf16,
        "seed": seed, "save_steps": save_steps, "logging_steps": logging_steps,
        "max_active_share": max_active_share, "patience": patience,
    }  # fmt: skip
    own: dict[str, Any] = {
        "loss": loss, "mini_batch_size": mini_batch_size, "negatives": negatives, "skip": skip,
        "last_rank": last_rank, "gather_across_devices": gather, "query_prompt": query_prompt,
        "passage_prompt": passage_prompt, "similarity": similarity, "scale": scale, "alpha": alpha, "beta": beta,
        "kl": kl, "temperature": temperature, "normalize": normalize, "jsd_weight": jsd_weight,
        "nce_weight": nce_weight, "anchor": anchor, "positive": positive,
    }  # fmt: skip
    if recipe is None:
        settings = AlignSettings(training=TrainingSettings(**training), **own)
    else:
        settings = _training.recipe_settings(context, recipe, "align", own | training)
    columns = _columns(column or [])
    check_names([model])
    with working("loading libraries", quiet=json):
        from isthmus.training.aligning import align
        from isthmus.training.recipe import is_first_process

        quiet_libraries()
    report = align(
        model,
        train,
        folder,
        settings,
        columns=columns,
        development=eval,
        language=language,
        overwrite=overwrite,
        trust_remote_code=trust_remote_code,
        show_progress_bar=False if json else None,
    )
    if not is_first_process():
        return
    if json:
        print_json([report.to_dict() | {"folder": str(folder)}])
        return
    print_report(report)
    for name, counts in report.data["counts"].items():
        told = ", ".join(f"{value} {number}" for value, number in counts.items())
        console.print(f"  {name:<13} {escape(told)}", soft_wrap=True)
    for name, mean in report.data["mined"].items():
        console.print(f"  mined         {mean:.1f} negatives of {name} per row", soft_wrap=True)
    console.print(f"\nwritten to {escape(str(folder))}", soft_wrap=True)


def _columns(given: list[str]) -> dict[str, str]:
    found = {}
    for one in given:
        role, equals, name = one.partition("=")
        if not (role and equals and name):
            raise InputError(f"--column must be ROLE=NAME, got {one!r}; as in --column pivot_query=query_en")
        found[role] = name
    return found
