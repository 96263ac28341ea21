import pytest
import torch

from tests.losses.conftest import PAIRS, TEXTS, dense, features, gradients

BATCH = len(TEXTS["query"])
LABELS = {
    "clear": [[1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 0], [1, 1, 1]],
    "proximity": [[1], [0], [1], [1], [0]],
    "infonce": [[1], [0], [1], [1], [0]],
}


def close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("size", range(1, BATCH + 2))
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("uneven", [False, True])
def test_value_and_gradient_are_those_of_the_uncached_loss(dense_encoder, name, size, uneven):
    plain, cached, columns = PAIRS[name]
    labels = torch.tensor(LABELS[name]) if uneven else None
    expected = gradients(dense_encoder, plain(dense_encoder, columns), columns, labels)
    found = gradients(dense_encoder, cached(dense_encoder, columns, mini_batch_size=size), columns, labels)
    assert any(gradient.abs().max() > 1e-3 for gradient in expected[1].values())
    close(found, expected)


@pytest.mark.parametrize("size", [2, BATCH])
@pytest.mark.parametrize("name", PAIRS)
def test_the_second_pass_drops_out_what_the_first_did(tmp_path, name, size):
    encoder = dense(tmp_path, dropout=0.3)
    plain, cached, columns = PAIRS[name]
    torch.manual_seed(0)
    found = gradients(encoder, cached(encoder, columns, mini_batch_size=size), columns)
    # The same draws without a cache: every column by itself, one mini-batch after another.
    torch.manual_seed(0)
    encoder.zero_grad()
    embeddings = []
    for column in columns:
        batches = [slice(start, start + size) for start in range(0, BATCH, size)]
        inputs = [features(encoder, [column], rows)[0] for rows in batches]
        embeddings.append(torch.cat([encoder(one)["sentence_embedding"] for one in inputs]))
    components = plain(encoder, columns).compute_loss_from_embeddings(embeddings)
    torch.stack(list(components.values())).sum().backward()
    expected = {key: p.grad for key, p in encoder.named_parameters() if p.grad is not None}
    close(found, ({key: value.detach() for key, value in components.items()}, expected))


@pytest.mark.parametrize("name", PAIRS)
def test_evaluation_needs_no_gradient(dense_encoder, name):
    plain, cached, columns = PAIRS[name]
    with torch.no_grad():
        found = cached(dense_encoder, columns, mini_batch_size=2)(features(dense_encoder, columns))
        expected = plain(dense_encoder, columns)(features(dense_encoder, columns))
    close([found], [expected])


@pytest.mark.parametrize("name", PAIRS)
def test_config_and_citation_say_what_ran(dense_encoder, name):
    plain, cached, columns = PAIRS[name]
    one, other = plain(dense_encoder, columns), cached(dense_encoder, columns, mini_batch_size=7)
    assert other.get_config_dict() == one.get_config_dict() | {"mini_batch_size": 7}
    assert other.citation.startswith(one.citation)
    assert "2101.06983" in other.citation
