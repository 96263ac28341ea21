"""Options of a transfer and of its method: written once, seen on the command line, in the call and in the report."""

import json
import subprocess
import sys

import pytest

from isthmus.bridge import options as bridge_options
from isthmus.errors import InputError, UnknownNameError
from isthmus.initializers import INITIALIZERS, MethodOptions
from isthmus.options import kinds_of
from isthmus.transferring.options import TransferOptions, check_options
from isthmus.transferring.preset import preset
from isthmus.transferring.request import PartOptions, TransferRequest

# Stands in for a person who adds one line to two classes.
ADDED = """
import dataclasses, sys
from isthmus import initializers
from isthmus.options import option
from isthmus.initializers import nearest
from isthmus.transferring import options

def added(cls, name, help):
    line = (name, int, option(3, help=help, panel="Ablation"))
    return dataclasses.make_dataclass(cls.__name__, [line], bases=(cls,), frozen=True)

initializers.INITIALIZERS["nearest"] = added(nearest.Nearest, "of_method", "A dummy of a method")
initializers.MethodOptions = initializers._method_options()
options.TransferOptions = added(options.TransferOptions, "dummy", "A dummy that nobody needs.")
from isthmus.cli import main
sys.argv = ["isthmus", "transfer", *sys.argv[1:]]
main()
"""


@pytest.mark.long
def test_an_option_added_in_one_place_is_everywhere(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-c", ADDED, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True).stdout.decode()

    shown = run("--help").split("Ablation:")[1].split("Output:")[0]
    assert "A dummy that nobody needs." in shown
    assert "A dummy of a method (nearest)." in " ".join(shown.split())
    given = ["--preset", "mini-ko", "--method", "nearest", "--of-method", "7", "--dummy", "5"]
    report = json.loads(run(*given, "-o", tmp_path / "new", "--json"))
    assert report["settings"]["dummy"] == 5
    assert report["options"]["options"]["of_method"] == 7


def test_every_option_of_a_method_is_one_flag_that_names_the_methods():
    flags = {name: entry.metadata["flag"] for name, entry in MethodOptions.__dataclass_fields__.items()}
    assert flags["pool"].help.endswith("(sembridge, nearest).")
    assert flags["neighbours"].help.endswith("(ofa).")
    assert "as_released" not in flags, "which is an option of the whole transfer"
    assert kinds_of(MethodOptions)["csls"] is bool
    assert not flags.keys() & TransferOptions.__dataclass_fields__.keys()


def test_what_is_no_field_goes_to_the_method():
    made = TransferOptions.of(None, method="ofa", neighbours=3, seed=2)
    assert (made.initializer.neighbours, made.seed) == (3, 2)
    again = TransferOptions.of(made, temperature=0.5)
    assert again.method_options == {"neighbours": 3, "temperature": 0.5}
    assert TransferOptions.of(again) is again
    with pytest.raises(InputError, match=r"options of ofa must be among .*neighbours.*, got beta; leave them out"):
        assert TransferOptions.of(again, beta=1).initializer
    with pytest.raises(UnknownNameError, match="norm must be one of mixed, restored; got 'unit'"):
        TransferOptions(norm="unit")


@pytest.mark.parametrize("method", sorted(set(INITIALIZERS) - {"focus"}))
def test_what_presets_set_for_all_is_left_aside_by_methods_without_it(method):
    made = check_options(bridge="any", method=method, alpha=3.0, pool="clean")
    assert made.initializer.name == method
    assert getattr(made.initializer, "alpha", 3.0) == 3.0
    assert getattr(made.initializer, "pool", "clean") == "clean"


def test_the_released_code_overrides_what_it_concerns():
    made = TransferOptions.of(None, as_released=True, pool="kind", norm="restored", own_direction=1.0)
    assert (made.initializer.pool, made.initializer.as_released, made.initializer.csls) == ("all", True, False)
    stated = made.to_dict()
    assert (stated["strip_marker"], stated["bias"], stated["norm"], stated["own_direction"]) == (
        False, "position", "mixed", 0.0,
    )  # fmt: skip
    assert not made.refine_in_effect


def test_sentences_are_drawn_once_of_all_texts(monkeypatch):
    drawn = []

    def choose(texts, seed):
        drawn.append(seed)
        return list(texts)

    monkeypatch.setattr(bridge_options, "choose_sentences", choose)
    made = check_options(bridge="any", bridge_texts=["one", "two"], seed=4)
    assert made.sentences == (None, ["one", "two"])
    assert made.for_static_queries().output_in_effect == "target"
    assert drawn == [4]


def test_a_request_is_the_preset_and_what_is_given_beside_it():
    request = TransferRequest.of(None, PartOptions(preset="mini-ru", bridge="other"), seed=3)
    known = preset("mini-ru")
    assert (request.encoder, request.target_tokenizers) == (known["encoder"], (known["target_tokenizer"],))
    assert request.bridge == "other"
    options = request.options()
    assert (options.language, options.seed, options.initializer.alpha) == ("ru", 3, 4.0)
    with pytest.raises(InputError, match="--target-tokenizer must be given, got none; name one, train one on"):
        TransferRequest.of("encoder", PartOptions())
