import pytest
import torch

from isthmus.errors import InputError, UnknownNameError
from isthmus.losses import CachedCLEARLoss, CLEARLoss, InfoNCELoss, ProximityLoss
from isthmus.losses.roles import find_layout, is_query, negative_of
from tests.losses.conftest import CLEAR, PROXIMITY, dense, features, vectors


def test_columns_go_by_name_whatever_their_order():
    columns = ["negative_query_2", "pivot_passage", "label", "query", "negative_query", "pivot_query"]
    layout = find_layout("Loss", columns, CLEAR, ["pivot_passage", "query"])
    assert layout.columns == tuple(column for column in columns if column != "label")
    assert layout.roles == {"pivot_passage": 1, "query": 2, "pivot_query": 4}
    assert layout.negatives == {"pivot_passage": {}, "query": {2: 0, 1: 3}}
    assert layout.negative_columns == [0, 3]
    assert layout.queries == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "query", "negative"),
    [
        ("query", True, None),
        ("pivot_passage", False, None),
        ("negative_pivot_query_12", True, ("pivot_query", 12)),
        ("negative_passage", False, ("passage", 1)),
        ("negative_1", False, None),
    ],
)
def test_names_say_what_a_text_is(name, query, negative):
    assert is_query(name) is query
    assert negative_of(name) == negative


@pytest.mark.parametrize(
    ("loss", "columns", "message"),
    [
        (CLEARLoss, ["query", "pivot_query"], "CLEARLoss needs the column 'pivot_passage'"),
        (CLEARLoss, [*CLEAR, "passage"], "got 'passage'; remove or rename"),
        (CLEARLoss, [*CLEAR, "negative_passage_1"], "got 'negative_passage_1'"),
        (CLEARLoss, [*CLEAR, "query"], "got 'query' and 'query'"),
        (CLEARLoss, [*CLEAR, "negative_query_1", "negative_query"], "'negative_query' and 'negative_query_1'"),
        (CLEARLoss, "query", "must be a list of names"),
        (ProximityLoss, [*PROXIMITY, "negative_query_1"], "got 'negative_query_1'"),
        (InfoNCELoss, ["anchor", "positive"], "got 'anchor'"),
    ],
)
def test_columns_that_do_not_fit_are_named(loss, columns, message):
    with pytest.raises(InputError, match=message):
        loss(None, columns)


@pytest.mark.parametrize(
    ("loss", "columns", "options", "message"),
    [
        (CLEARLoss, CLEAR, {"alpha": 0.9}, "alpha \\+ beta must be at most 1"),
        (CLEARLoss, CLEAR, {"alpha": -0.1}, "alpha must be 0 or more, got -0.1"),
        (CLEARLoss, CLEAR, {"detach": "both"}, "detach"),
        (CLEARLoss, CLEAR, {"scale": 0.0}, "scale must be above 0, got 0.0"),
        (CLEARLoss, CLEAR, {"similarity": "euclid"}, "similarity"),
        (ProximityLoss, PROXIMITY, {"temperature": 0.0}, "temperature"),
        (ProximityLoss, PROXIMITY, {"eps": float("nan")}, "eps"),
        (ProximityLoss, PROXIMITY, {"eps_placement": "front"}, "eps_placement"),
        (ProximityLoss, PROXIMITY, {"jsd_weight": 0.0, "nce_weight": 0.0}, "must not both be 0"),
        (InfoNCELoss, ["query"], {"positive": "query"}, "two columns"),
        (InfoNCELoss, ["query"], {"anchor": "title"}, "anchor"),
    ],
)
def test_options_out_of_range_are_refused(loss, columns, options, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        loss(None, columns, **options)


def test_alpha_alone_may_be_large_without_kl():
    assert CLEARLoss(None, CLEAR, alpha=0.9, kl=False).alpha == 0.9


def test_inputs_of_another_shape_are_refused():
    loss = CLEARLoss(None, [*CLEAR, "negative_query_1"])
    with pytest.raises(InputError, match="got 3 columns"):
        loss.compute_loss_from_embeddings(vectors(CLEAR))
    one, *others = vectors(loss.layout.columns)
    with pytest.raises(InputError, match="column 'pivot_query' must have vectors of shape \\(3, 5\\)"):
        loss.compute_loss_from_embeddings([one, others[0][:2], *others[1:]])
    for labels in (torch.ones(3), torch.ones(3, 2), torch.ones(2, 1)):
        with pytest.raises(InputError, match="negative_query_1"):
            loss.compute_loss_from_embeddings(vectors(loss.layout.columns), labels)


def test_a_dataset_with_other_columns_is_refused(dense_encoder):
    with pytest.raises(InputError, match="query, pivot_query, pivot_passage"):
        CLEARLoss(dense_encoder, CLEAR)(features(dense_encoder, CLEAR[:2]))


def test_mini_batches_of_nothing_are_refused(dense_encoder):
    with pytest.raises(InputError, match="mini_batch_size"):
        CachedCLEARLoss(dense_encoder, CLEAR, mini_batch_size=0)


def test_encoders_whose_inputs_cannot_be_split_are_refused():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from tests.tiny_encoders import bert_tokenizer

    encoder = SentenceTransformer(modules=[StaticEmbedding(bert_tokenizer(), embedding_dim=4)], device="cpu")
    with pytest.raises(InputError, match="StaticEmbedding"):
        CachedCLEARLoss(encoder, CLEAR)
    assert CLEARLoss(encoder, CLEAR)(features(encoder, CLEAR)).keys() == {"forward_loss", "reverse_loss", "kl_loss"}


def test_half_precision_around_the_loss_does_not_reach_it(tmp_path):
    encoder = dense(tmp_path)
    inputs = vectors(CLEAR, dtype=torch.float32)
    loss = CLEARLoss(encoder, CLEAR)
    exact = loss.compute_loss_from_embeddings(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss.compute_loss_from_embeddings(inputs)
    assert {name: value.item() for name, value in found.items()} == {name: v.item() for name, v in exact.items()}
