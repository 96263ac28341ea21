"""``isthmus doctor``: what is wrong with an encoder, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli._completion import MODELS
from isthmus.cli._hub import check_names
from isthmus.cli._printing import console, escape, print_json, print_wrapped, quiet_libraries, working
from isthmus.reading.texts import check_texts, read_samples

COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="Sparse or dense encoder: built-in name, folder or hub id.", metavar="MODEL", autocompletion=MODELS
        ),
    ],
    texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts of the language it is meant for: .txt, one a line, or a corpus; 500 of them are used."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts per batch.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the snippets searched for.")] = 0,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, one line per finding.")] = False,
) -> None:
    """Check an encoder; exit code 1 if something is broken.

    With texts, also whether it is ready for their language.

    Example: isthmus doctor splade-ko --texts corpus.jsonl
    """
    check_names([model], look=())
    check_texts([] if texts is None else [texts])
    with working("loading libraries", quiet=json):
        from isthmus.diagnostics import diagnose_stored

        quiet_libraries()
    lines = None if texts is None else read_samples(texts)
    with working("loading the encoder", quiet=json):
        findings = diagnose_stored(
            model,
            lines,
            batch_size=batch_size,
            seed=seed,
            trust_remote_code=trust_remote_code,
            show_progress_bar=False if json else None,
        )
    if lines and not any(finding.level == "error" and finding.check != "known-item" for finding in findings):
        from isthmus.adapting.conclusion import conclude

        with working("concluding", quiet=json):
            findings.append(
                conclude(model, lines, seed=seed, batch_size=batch_size, trust_remote_code=trust_remote_code,
                         show_progress_bar=False)
            )  # fmt: skip
    if json:
        print_json(finding.to_dict() for finding in findings)
    else:
        for finding in findings:
            lead = f"[{COLOURS[finding.level]}]{finding.level:<7}[/]  {finding.check:<16}  "
            remedy = f"\n[dim]→ {escape(finding.remedy)}[/]" if finding.remedy else ""
            print_wrapped(lead, escape(finding.message) + remedy)
        counts = [f"{sum(found.level == level for found in findings)} {level}" for level in COLOURS]
        console.print("\n" + ", ".join(reversed(counts)), soft_wrap=True)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)
