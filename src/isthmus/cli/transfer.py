"""``isthmus transfer``: give an English sparse encoder the vocabulary of another language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._lexical import read_lexical
from isthmus.cli._options import flags
from isthmus.cli._output import console, errors, print_json, print_report, print_wrapped, quiet_libraries, working
from isthmus.cli.tokenizer import check_target, place_for_tokenizer, train_for_transfer
from isthmus.errors import InputError
from isthmus.lexical.options import LexicalOptions
from isthmus.reading.storage import atomic_folder, check_folder
from isthmus.token_map import Fate


@flags
def command(
    context: typer.Context,
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Folder to write the new encoder to.")],
    lexical: Annotated[dict[str, Any], LexicalOptions],
    encoder: Annotated[
        str | None,
        typer.Argument(help="English sparse or dense encoder: built-in name, folder or hub id.", metavar="ENCODER"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Models that go together, see `isthmus presets`; what is given beside it comes first."),
    ] = None,
    target_tokenizer: Annotated[
        list[str] | None,
        typer.Option(help="Tokenizer of the target language: name, folder or hub id; with --keep-source any number."),
    ] = None,
    target_text: Annotated[
        list[Path] | None,
        typer.Option(
            help="Train the tokenizer on this text instead, as `isthmus tokenizer` does; any number of files."
        ),
    ] = None,
    vocabulary_size: Annotated[
        int | None, typer.Option(help="Entries of that tokenizer.", show_default="24000 with --target-text")
    ] = None,
    bridge: Annotated[str | None, typer.Option(help="Multilingual dense model: name, folder or hub id.")] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="Bridge vectors computed elsewhere: safetensors with `source` and `target`.")
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Take off what all vectors of the bridge share.")
    ] = True,
    bridge_texts: Annotated[
        list[Path] | None,
        typer.Option(
            help="Unlabelled target text, 1,000 sentences or more, from which the bridge teaches token vectors; a file "
            "like --sample-texts, any number."
        ),
    ] = None,
    bridge_source_texts: Annotated[list[Path] | None, typer.Option(help="The same in the encoder's language.")] = None,
    method: Annotated[
        str | None, typer.Option(help="Initialisation method; see `isthmus methods`.", show_default="sembridge")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Sharpness of entmax (sembridge); 1 is softmax.")] = None,
    pool: Annotated[str | None, typer.Option(help="Candidates (sembridge, nearest): all, clean or kind.")] = None,
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Choose alpha per token (sembridge).")] = False,
    margin: Annotated[
        float | None, typer.Option(help="Reach below the best source token (sembridge --adaptive).")
    ] = None,
    csls: Annotated[
        bool | None, typer.Option("--csls/--no-csls", help="Correct cosines for hubs (sembridge); on by default.")
    ] = None,
    standardize: Annotated[
        bool | None,
        typer.Option(
            "--standardize/--no-standardize", help="Cosines in units of their spread (sembridge); on by default."
        ),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="Target text to learn the space of focus from; a file like --sample-texts.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Space of focus: fasttext (extra `focus`) or ppmi.")] = None,
    dim: Annotated[int | None, typer.Option(help="Dimension of that space (focus).")] = None,
    min_count: Annotated[int | None, typer.Option(help="Rarer tokens are drawn (focus).")] = None,
    word_vectors: Annotated[Path | None, typer.Option(help="Multilingual word vectors, .vec (ofa).")] = None,
    source_word_vectors: Annotated[
        Path | None, typer.Option(help="Those of the source language, where they are apart (ofa).")
    ] = None,
    neighbours: Annotated[int | None, typer.Option(help="Source tokens per row (ofa).")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the softmax (ofa).")] = None,
    std: Annotated[float | None, typer.Option(help="Standard deviation of the noise (random).")] = None,
    as_released: Annotated[
        bool, typer.Option("--as-released", help="Do what the method's released code does, to compare.")
    ] = False,
    exact: Annotated[bool, typer.Option(help="Copy tokens that are spelled the same.")] = True,
    fuzzy: Annotated[bool, typer.Option(help="Copy tokens equal but for case and word start.")] = True,
    symbol: Annotated[bool, typer.Option(help="Copy numbers, punctuation and other symbols.")] = True,
    strip_marker: Annotated[bool, typer.Option(help="Show continuation pieces to the bridge without marker.")] = True,
    bias: Annotated[
        Literal["mixed", "zero", "position", "matched"],
        typer.Option(
            help="Decoder bias: as the rows, none, as a resize leaves it (position), or matched on --sample-texts."
        ),
    ] = "mixed",
    norm: Annotated[
        Literal["mixed", "restored"],
        typer.Option(help="Length of mixed rows: as averaging leaves it, or restored to that of their parts."),
    ] = "mixed",
    own_direction: Annotated[
        float, typer.Option(help="Random direction added to mixed rows, in their lengths; for encoders to be trained.")
    ] = 0.0,
    keep_source: Annotated[
        bool, typer.Option("--keep-source", help="Add the target tokens to the source's: one encoder for all.")
    ] = False,
    output: Annotated[
        Literal["source", "target", "both"] | None,
        typer.Option(help="Vocabulary written with --keep-source.", show_default="source"),
    ] = None,
    fold: Annotated[
        float | None,
        typer.Option(
            help="Write tokens whose rows have a cosine above this as one; 1 folds none.",
            show_default="0.8 with --output target or both",
        ),
    ] = None,
    sample_texts: Annotated[
        Path | None,
        typer.Option(
            help="Target text: .txt, one a line, or a corpus (.jsonl, .csv, .parquet), all but the last also .gz, .xz "
            "or .zst: fertility and unknown tokens in the report, and --bias matched."
        ),
    ] = None,
    idf_texts: Annotated[
        Path | None,
        typer.Option(help="Target documents, a file like --sample-texts: IDF of inference-free query encoders."),
    ] = None,
    lexical_texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts of what will be searched, a file like --sample-texts (--lexical).", show_default=False
        ),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Language of the result, for its card; any number.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the encoder in the output folder.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Build every new token from the English tokens that mean the same, and write a plain encoder folder."""
    check_target(target_tokenizer, target_text, vocabulary_size)
    added = read_lexical(LexicalOptions, lexical, lexical_texts=lexical_texts)
    if added is not None and lexical_texts is None:
        raise InputError(f"--lexical-texts must come with --lexical {added.mode}, got none; name a file of texts")
    if target_text:
        target_tokenizer = [str(context.with_resource(place_for_tokenizer(language)))]
    given = {
        "encoder": encoder, "target_tokenizer": target_tokenizer or None, "keep_source": keep_source or None,
        "method": method, "bridge": bridge, "language": language, "alpha": alpha, "pool": pool,
        "adaptive": adaptive or None, "margin": margin, "csls": csls, "standardize": standardize,
        "texts": texts, "space": space, "dim": dim, "min_count": min_count, "word_vectors": word_vectors,
        "source_word_vectors": source_word_vectors, "neighbours": neighbours, "temperature": temperature, "std": std,
    }  # fmt: skip
    options = _with_preset(preset, {name: value for name, value in given.items() if value is not None})
    check_folder(folder, overwrite=overwrite, marker="modules.json")
    tokenizers = options["target_tokenizer"]
    names = [tokenizers] if isinstance(tokenizers, str) else tokenizers
    check_names([options["encoder"], options.get("bridge")], () if target_text else names, argument="encoder")
    with working("loading libraries", quiet=json):
        import isthmus
        from isthmus.reading.texts import read_samples
        from isthmus.transferring.pipeline import check_options

        quiet_libraries()
    samples = None if sample_texts is None else read_samples(sample_texts)
    documents = None if idf_texts is None else read_samples(idf_texts)
    words = None if lexical_texts is None else read_samples(lexical_texts)
    if texts is not None:
        options["texts"] = read_samples(texts)
    for name, paths in (("bridge_texts", bridge_texts), ("bridge_source_texts", bridge_source_texts)):
        options[name] = [text for path in paths for text in read_samples(path)] if paths else None
    options |= {
        "vectors": vectors, "as_released": as_released, "exact": exact, "fuzzy": fuzzy, "symbol": symbol,
        "strip_marker": strip_marker, "refine": refine, "bias": bias, "norm": norm,
        "own_direction": own_direction, "output": output, "fold": fold, "sample_texts": samples,
        "idf_texts": documents, "seed": seed, "trust_remote_code": trust_remote_code,
        "show_progress_bar": False if json else None,
    }  # fmt: skip
    # Training a tokenizer takes minutes: what can be told without one is told before.
    check_options(**options)
    if added is not None:
        from isthmus.encoders.load import load_encoder
        from isthmus.lexical.adding import add_lexical, check_transfer

        name = options["encoder"]
        source = load_encoder(name, trust_remote_code=trust_remote_code)
        check_transfer(source, added, words or (), name=name, path=lexical_texts)
    trained = train_for_transfer(names[0], target_text, vocabulary_size, language, quiet=json) if target_text else None
    result, report = isthmus.transfer(**options)
    if added is not None:
        kept = report.token_map.rows(Fate.KEPT).tolist()
        fitted = {"known": kept, "seed": seed, "show_progress_bar": False if json else None}
        result = add_lexical(result, words or (), **added.to_dict(), **fitted)
    with atomic_folder(folder, overwrite=overwrite) as written:
        result.save_pretrained(str(written))
        report.save(written)
    if json:
        told = {"folder": str(folder)} | ({} if trained is None else {"tokenizer": trained.to_dict()})
        told |= {} if added is None else {"lexical": added.to_dict()}
        print_json([report.to_dict() | told])
    else:
        print_report(report)
        if added is not None:
            print_wrapped("  lexical     ", f"{escape(added.describe())} from {len(words or ()):,} texts")
        place = escape(str(folder))
        console.print(f"\nwritten to {place}; try: isthmus inspect {place} TOKEN", soft_wrap=True)


def _with_preset(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a transfer, completed by a preset, whose licences are told.

    Raises:
        UnknownNameError: If there is no such preset.
        InputError: If there is none, and no encoder or tokenizer either.
    """
    if name is None:
        for argument, shown, remedy in (
            ("encoder", "ENCODER", "name one"),
            ("target_tokenizer", "--target-tokenizer", "name one, train one on --target-text"),
        ):
            if argument not in given:
                raise InputError(f"{shown} must be given, got none; {remedy}, or take a --preset")
        return given
    from isthmus.transferring.preset import find_preset

    preset = find_preset(name)
    for note in preset.notes(**given):
        errors.print(f"{name}: {note}", soft_wrap=True, markup=False)
    return preset.arguments(**given)
