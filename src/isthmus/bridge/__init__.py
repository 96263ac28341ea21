"""Where both vocabularies meet: token vectors of one multilingual model, and sparse weights from their cosines."""

from __future__ import annotations

from isthmus.bridge.candidates import best_sources
from isthmus.bridge.embed import BridgeVectors, bridge_identity, embed_vocabularies, load_vectors, open_bridge
from isthmus.bridge.entmax import bridge_weights, entmax_rows
from isthmus.bridge.options import BridgeOptions
from isthmus.bridge.refine import Refinement, refine_vectors
from isthmus.bridge.sentences import add_sentences

__all__ = [
    "BridgeOptions",
    "BridgeVectors",
    "Refinement",
    "add_sentences",
    "best_sources",
    "bridge_identity",
    "bridge_weights",
    "embed_vocabularies",
    "entmax_rows",
    "load_vectors",
    "open_bridge",
    "refine_vectors",
]
