"""Options: written once, checked once, seen on the command line, in the call and in the report."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from isthmus.errors import InputError, UnknownNameError
from isthmus.options import EncodeOptions, OpenOptions, Options, RunOptions, option


@dataclass(frozen=True)
class Both(EncodeOptions, OpenOptions, RunOptions):
    share: float = option(0.5, help="A share.", above=0, at_most=1)
    silent: int = option(3, help="Changes nothing.", recorded=False)
    internal: int = 7


def test_changes_replace_fields():
    made = Both.of(Both(seed=3), batch_size=8)
    assert (made.seed, made.batch_size, made.share) == (3, 8, 0.5)
    assert Both.of(made) is made
    assert EncodeOptions.of(made, dtype="bfloat16") == Both(seed=3, batch_size=8, dtype="bfloat16")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"share": 0.0}, "share must be above 0 and at most 1, got 0.0"),
        ({"share": float("nan")}, "share must be above 0 and at most 1, got nan"),
        ({"nothing": 1}, "options must be among .*batch_size.*, got nothing"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        Both.of(None, **changes)


def test_a_choice_is_one_of_those_there_are():
    with pytest.raises(UnknownNameError, match="dtype"):
        EncodeOptions(dtype="float8")
    with pytest.raises(InputError, match="options must be EncodeOptions, got OpenOptions"):
        EncodeOptions.of(OpenOptions())


def test_the_record_has_what_changes_the_outcome():
    encoding = {"max_active_dims", "dtype", "stock_head", "query_prompt", "document_prompt"}
    assert set(Both().to_dict()) == {"seed", *encoding, "share"}
    assert Both(dtype="bfloat16", share=0.25).part(EncodeOptions) == EncodeOptions(dtype="bfloat16")


# Stands in for a person who adds one line to the class.
ADDED = """
import dataclasses, sys
from isthmus.evaluation import options
from isthmus.options import option
Added = dataclasses.make_dataclass(
    "EvaluateOptions",
    [("dummy", int, option(3, help="A dummy that nobody needs.", panel="Ablation"))],
    bases=(options.EvaluateOptions,),
    frozen=True,
)
options.EvaluateOptions = Added
from isthmus.cli import main
sys.argv = ["isthmus", "evaluate", *sys.argv[1:]]
main()
"""


def test_an_option_added_in_one_place_is_everywhere():
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", ADDED, *arguments], check=True, capture_output=True
        ).stdout.decode()

    shown = run("--help")
    assert "A dummy that nobody needs." in shown.split("Ablation:")[1].split("Output:")[0]
    told = json.loads(run("bm25", "--collection", "demo", "--language", "en", "--dummy", "7", "--json"))
    assert told["settings"]["dummy"] == 7
    assert Options().to_dict() == {}
