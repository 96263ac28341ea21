"""The formulas once more, term by term in plain Python, for float64 tensors that autograd can follow."""

import math


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b):
    return dot(a, b) / (dot(a, a) ** 0.5 * dot(b, b) ** 0.5)


def log_softmax(scores):
    total = sum(score.exp() for score in scores)
    return [score - total.log() for score in scores]


def mean(values):
    return sum(values) / len(values)


def ranked(similarity, scale, anchors, positives, negatives):
    """Log-probabilities of every candidate for every anchor: positives of all rows, then negatives column by column.

    ``negatives`` holds one list per column, with None for rows that have none.
    """
    candidates = [*positives, *(text for column in negatives for text in column if text is not None)]
    return [log_softmax([similarity(a, c) * scale for c in candidates]) for a in anchors]


def contrast(logs):
    return mean([-logs[row][row] for row in range(len(logs))])


def clear(rows, passage_negatives, query_negatives, *, alpha=0.4, beta=0.2, kl=True, similarity=cosine, scale=20.0):
    """CLEAR for the same negatives on both sides; ``rows`` holds pivot_query, pivot_passage and query."""
    forward = ranked(similarity, scale, rows["pivot_query"], rows["pivot_passage"], passage_negatives)
    reverse = ranked(similarity, scale, rows["pivot_passage"], rows["query"], query_negatives)
    if not kl:
        return (1 - alpha) * contrast(forward) + alpha * contrast(reverse)
    total = mean(
        [sum(r.exp() * (r - f) for f, r in zip(fs, rs, strict=True)) for fs, rs in zip(forward, reverse, strict=True)]
    )
    return (1 - alpha - beta) * contrast(forward) + alpha * contrast(reverse) + beta * total


def softmax(vector, temperature=1.0):
    powers = [(x / temperature).exp() for x in vector]
    return [power / sum(powers) for power in powers]


def shares(vector):
    return [x / sum(vector) for x in vector]


def jsd(p, q, eps=0.0):
    total = 0.0
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        for x in (a, b):
            if x > 0:
                total = total + 0.5 * x * ((x + eps) / (m + eps)).log()
    return total


def proximity(rows, negatives, *, distribution=softmax, eps=1e-8, similarity=cosine, scale=20.0, weights=(1.0, 1.0)):
    """Semantic proximity; ``rows`` holds pivot_query, pivot_passage and passage."""
    pairs = zip(rows["pivot_passage"], rows["passage"], strict=True)
    divergence = mean([(jsd(distribution(p), distribution(q)) + eps) ** 0.5 for p, q in pairs])
    found = contrast(ranked(similarity, scale, rows["passage"], rows["pivot_query"], negatives))
    return weights[0] * divergence + weights[1] * found


LOG2 = math.log(2)
