"""Which columns of a joined vocabulary an encoder writes.

Nothing is cut out of the model: a column that must not be written gets a decoder bias that no logit outweighs, so the
encoder stays one that sentence-transformers opens by itself, with input and output tied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.encoders.heads import Head
from isthmus.errors import EncoderError
from isthmus.transferring.options import Output
from isthmus.vocabulary.join import Joined

# Far below any logit, and far from the end of half precision (65504) even when logits are added to it.
UNWRITTEN = -1e4


def unwritten_columns(output: Output, joined: Joined) -> NDArray[np.bool_]:
    """Columns that an output leaves out, as a mask of shape (size,).

    ``source`` writes the source's tokens but those handed over to a target tokenizer, ``target`` those that a target
    tokenizer has, ``both`` all.
    """
    if output == "source":
        return (np.arange(len(joined.known)) >= joined.source_size) | joined.handed_over
    return ~joined.known if output == "target" else np.zeros(len(joined.known), dtype=np.bool_)


def check_all_written(model: Any, head: Head) -> None:
    """Check that no column is silenced: new columns would be made of silenced ones, and be silent too.

    Raises:
        EncoderError: If one is.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    silent = max((int((parameters[name] <= UNWRITTEN / 2).sum()) for name in head.bias), default=0)
    if silent:
        raise EncoderError(
            f"encoder must write its whole vocabulary, got {silent} columns that an earlier transfer silenced; start "
            "again from the encoder that it came from, with all target tokenizers at once"
        )


def check_can_mask(head: Head) -> None:
    """Check that columns can be left out.

    Raises:
        EncoderError: If the decoder has no bias.
    """
    if not head.bias:
        raise EncoderError(
            "encoder must have a decoder with a bias, by which columns are silenced, got none; pass output='both' with "
            "keep_source, and fold=1"
        )


def silence(model: Any, head: Head, columns: NDArray[np.bool_]) -> None:
    """Give ``columns`` of a model's decoder, in place, a bias that no logit outweighs."""
    chosen = torch.from_numpy(np.flatnonzero(columns))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name in head.bias:
            parameters[name][chosen.to(parameters[name].device)] = UNWRITTEN
