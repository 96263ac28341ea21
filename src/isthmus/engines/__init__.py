"""Search engines behind one protocol, chosen by URL.

=====================================  =====================================================  ===================
URL                                    what searches                                          extra
=====================================  =====================================================  ===================
``FOLDER``                             the embedded index: exact, nothing to install          none
``seismic:FOLDER``                     the same with approximate lists beside it              ``seismic``
``opensearch://HOST:PORT/INDEX``       an OpenSearch cluster, ``rank_features``               ``opensearch``
``elasticsearch://HOST:PORT/INDEX``    an Elasticsearch cluster, the same requests            ``opensearch``
``milvus://HOST:PORT/COLLECTION``      a Milvus cluster, sparse inverted index                ``milvus``
``milvus:FILE.db``                     Milvus Lite, in this process                           ``milvus``
``qdrant://HOST:PORT/COLLECTION``      a Qdrant server, named sparse vectors                  ``qdrant``
``qdrant:FOLDER``                      Qdrant Edge, in this process                           ``qdrant``
``postgresql://HOST/DATABASE/TABLE``   a PostgreSQL table, pgvector's ``sparsevec``           ``postgres``
=====================================  =====================================================  ===================

``opensearch+https://`` and so on connect by TLS; OpenSearch and Elasticsearch take several hosts of one cluster,
``opensearch://HOST:PORT,HOST:PORT/INDEX``.
"""

from __future__ import annotations

from isthmus.engines.base import Engine
from isthmus.engines.registry import build_engine, build_lexical_engine, change_engine, is_engine_url, open_engine

__all__ = ["Engine", "build_engine", "build_lexical_engine", "change_engine", "is_engine_url", "open_engine"]
