"""Options of training and alignment: what decides a run, and how a loss is named beside its options."""

import pytest

from isthmus.errors import InputError
from isthmus.losses import CLEARLoss, InfoNCELoss, ProximityLoss
from isthmus.losses.options import ALIGN_LOSSES, CLEAROptions, InfoNCEOptions, LossOptions, ProximityOptions
from isthmus.training import AlignOptions, MineOptions, TrainOptions
from isthmus.training.paper_recipes import RECIPES

# As they stand in the folders of runs that were broken off.
TRAINING = {
    "loss", "steps", "epochs", "batch_size", "learning_rate", "scheduler", "warmup", "limit_rows", "max_length",
    "query_regularizer_weight", "document_regularizer_weight", "regularizer_warmup", "target_active_dims", "stock_head",
    "freeze", "bf16", "seed", "save_steps", "max_active_share", "patience",
}  # fmt: skip
ALIGNMENT = {
    "mini_batch_size", "negatives", "skip", "last_rank", "max_score", "gather_across_devices", "query_prompt",
    "passage_prompt", "similarity", "scale",
}  # fmt: skip
OWN = {
    "clear": {"alpha", "beta", "kl", "detach"},
    "proximity": {"temperature", "normalize", "eps", "eps_placement", "jsd_weight", "nce_weight"},
    "infonce": {"anchor", "positive"},
}


def test_what_decides_a_run_has_the_names_of_old_checkpoints():
    assert TrainOptions().identity().keys() == TRAINING
    for loss, own in OWN.items():
        stated = AlignOptions.of(loss=loss).identity()
        assert stated.keys() == TRAINING | ALIGNMENT | own
        assert stated["loss"] == loss


def test_what_only_looks_on_decides_nothing():
    told = {"logging_steps": 3, "development": "demo", "language": "ko", "overwrite": True, "trust_remote_code": True}
    assert TrainOptions(**told).identity() == TrainOptions().identity()
    assert AlignOptions(columns={"query": "q"}, **told).identity() == AlignOptions().identity()


def test_a_loss_is_named_with_its_options_beside_it():
    options = AlignOptions.of(loss="clear", alpha=0.3, scale=5.0, steps=7)
    assert (options.loss, options.steps) == (CLEAROptions(alpha=0.3, scale=5.0), 7)
    assert AlignOptions.of(options, beta=0.1).loss == CLEAROptions(alpha=0.3, beta=0.1, scale=5.0)
    assert AlignOptions.of(options, loss="clear").loss == options.loss
    # What all losses take stays.
    assert AlignOptions.of(options, loss="infonce").loss == InfoNCEOptions(scale=5.0)
    assert AlignOptions.of(options, loss=ProximityOptions()).loss == ProximityOptions()
    with pytest.raises(InputError, match=r"temperature must be left out with loss 'clear', got 2\.0; it belongs to"):
        AlignOptions.of(options, temperature=2.0)
    with pytest.raises(InputError, match=r"got 'clear'; a loss is taken by its name by AlignOptions\.of"):
        AlignOptions(loss="clear")
    with pytest.raises(InputError, match="options must be AlignOptions, got TrainOptions"):
        AlignOptions.of(TrainOptions())


@pytest.mark.parametrize(
    ("loss", "columns"),
    [
        (CLEARLoss, ["query", "pivot_query", "pivot_passage"]),
        (ProximityLoss, ["passage", "pivot_query", "pivot_passage"]),
        (InfoNCELoss, ["query", "pivot_passage"]),
    ],
)
def test_a_loss_and_its_options_have_the_same_defaults(loss, columns):
    options: LossOptions = loss(None, columns).options
    assert options == type(options)()
    assert type(options) is ALIGN_LOSSES[options.name]


def test_negatives_are_mined_as_the_alignment_says():
    options = AlignOptions(negatives=3, skip=2, last_rank=9, max_score=None, mini_batch_size=4, seed=5)
    assert options.mining() == MineOptions(negatives=3, skip=2, last_rank=9, max_score=None, batch_size=4, seed=5)
    assert AlignOptions(batch_size=16).mining().batch_size == 16


def test_every_recipe_makes_options_that_bear_its_name():
    for name, recipe in RECIPES.items():
        assert recipe.settings().recipe == recipe.name == name
