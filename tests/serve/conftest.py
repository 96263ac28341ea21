import json
import shutil

import numpy as np
import pytest
from scipy.sparse import lil_matrix

from isthmus.encoders.fingerprint import token_texts
from isthmus.index import SparseIndex
from isthmus.serve import Limits
from isthmus.serve.library import Library
from isthmus.token_map import FATES, Fate, TokenMap
from tests.tiny_encoders import splade

REASON = "fastapi and uvicorn are not installed (extra `serve`)"
ROWS = [
    {"id": "a", "text": "the house of water. the house", "language": "en", "year": 2001},
    {"id": "b", "text": "war and water", "title": "capital of korea", "language": "ko", "year": 2002},
    {"id": "c", "text": "", "language": "en", "year": 2002},
    {"id": "d", "text": "home school <b>school</b>", "language": "ar", "score": float("nan")},
]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tiny encoder's folder with a token map beside it: "home" is made of house and school, the rest was kept."""
    root = tmp_path_factory.mktemp("serve")
    encoder = splade(root / "backbone")
    encoder.save_pretrained(str(root / "tiny"))
    tokens = token_texts(encoder, len(encoder.tokenizer))
    weights = lil_matrix((len(tokens), len(tokens)))
    weights.setdiag(1.0)
    fates = np.full(len(tokens), FATES.index(Fate.KEPT), dtype=np.uint8)
    home, house, school = (tokens.index(token) for token in ("home", "house", "school"))
    weights[home] = 0
    weights[home, house], weights[home, school] = 0.7, 0.3
    fates[home] = FATES.index(Fate.BRIDGED)
    TokenMap(weights.tocsr(), fates, tokens, tokens).save(root / "tiny")
    return root / "tiny"


@pytest.fixture(scope="session")
def built(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve-index") / "idx"
    corpus = folder.parent / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    SparseIndex.build(str(model), str(corpus), folder)
    return folder


@pytest.fixture
def idx(built, tmp_path):
    """An index of ROWS that a test may change."""
    shutil.copytree(built, tmp_path / "idx")
    return tmp_path / "idx"


@pytest.fixture
def library(idx):
    return Library(idx)


@pytest.fixture
def serve(library):
    """Make a client of an application with other limits or a key."""
    pytest.importorskip("fastapi", reason=REASON)
    from starlette.testclient import TestClient

    from isthmus.serve import create_app

    clients = []

    def make(*, inside=library, **options):
        given = {name: options.pop(name) for name in ("api_key", "hosts") if name in options}
        limits = Limits(**{"window": 0.0, **options})
        client = TestClient(create_app(inside, limits=limits, **given), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve):
    return serve()
