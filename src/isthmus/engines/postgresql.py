"""PostgreSQL with pgvector: a table with a column of ``sparsevec``, searched by inner product."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location, check_id, digest, entries, labels
from isthmus.engines.connection import Server
from isthmus.engines.server import ServerBackend
from isthmus.errors import EngineAwayError, EngineError, IndexFileError, InputError, MissingExtraError, NotFoundError
from isthmus.index.hits import Hit
from isthmus.reading.corpus import Document

_SECONDS, _VALUES = 10, 1000
# Of pgvector's sparsevec.
_TERMS = 16_000


class PostgreSQL(Server):
    """A table. The header is its comment, so that it comes and goes with it.

    Args:
        location: Where it is. The environment names the rest as for any client of PostgreSQL: ``PGPASSWORD``,
            ``PGSSLMODE``, ``PGHOST`` and so on.

    Raises:
        InputError: If the URL names no table.
        MissingExtraError: If psycopg is not installed.
        EngineError: If the server does not answer.
    """

    weights = "f32"

    def __init__(self, location: Location) -> None:
        try:
            import psycopg
            from psycopg import sql
        except ImportError as error:
            raise MissingExtraError("psycopg", "postgres") from error
        if not location.name:
            raise InputError(f"{location.url!r} must be postgresql://HOST:PORT/DATABASE/TABLE")
        self.where, self.name = location.url, location.name
        self._psycopg, self._sql = psycopg, sql
        self._table = sql.Identifier(location.name)
        given = {"host": location.host, "port": location.port, "user": location.user, "dbname": location.database}
        self._given = {name: value for name, value in given.items() if value}
        self._connection: Any = None

    def hurry(self) -> None:
        """Nothing: a connection is tried once, again where it was lost."""

    def exists(self) -> bool:
        """Whether a table, or anything else that is queried by this name, is there."""
        return self._comment() is not None

    def read(self) -> tuple[str, Header]:
        """Read the comment."""
        comment = self._comment()
        if comment is None:
            raise NotFoundError(f"{self.where} does not exist; make it with isthmus index")
        try:
            content = json.loads(comment)
        except ValueError:
            content = None
        return self.name, Header.from_dict(content, self.where)

    def create(self, header: Header, *, shards: int | None = None, replicas: int | None = None) -> None:
        """Make the table, in one transaction."""
        size = self._sql.Literal(header.vocabulary_size)
        # A comment is no place for a parameter; Literal quotes as the server would.
        comment = self._sql.Literal(json.dumps(header.to_dict()))
        with self._open().transaction():
            self._run("CREATE EXTENSION IF NOT EXISTS vector")
            self._run(
                "CREATE TABLE {table} (id text PRIMARY KEY, vector sparsevec({size}) NOT NULL, labels text[] NOT NULL, "
                "digest text NOT NULL, document json NOT NULL)",
                size=size,
            )
            self._run("CREATE INDEX ON {table} USING gin (labels)")
            self._run("COMMENT ON TABLE {table} IS {comment}", comment=comment)

    def remove(self) -> None:
        """Drop the table; what depends on it, as a view, keeps it from being dropped."""
        self._run("DROP TABLE IF EXISTS {table}")

    def put(self, documents: Sequence[Document], vectors: csr_matrix, *, text: bool) -> None:
        """Insert or replace by id, all of them in one transaction."""
        rows = []
        for number, document in enumerate(documents):
            check_id(document.id, self.where)
            if "\0" in document.id:
                raise InputError(f"id must be without zero bytes for {self.where}, got {document.id[:60]!r}")
            vector = _literal(vectors[number], self.where)
            # ASCII alone, so that it holds whatever JSON can say.
            stored = json.dumps(json.loads(document.to_json(text=text).decode("utf-8", errors="replace")))
            rows.append((*_storable([document.id]), vector, _storable(labels(document)), digest(document), stored))
        statement = (
            "INSERT INTO {table} (id, vector, labels, digest, document) VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) "
            "DO UPDATE SET vector = excluded.vector, labels = excluded.labels, digest = excluded.digest, "
            "document = excluded.document"
        )
        self._run(statement, many=rows)

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Ask for the ids."""
        found = {row[0] for row in self._run("SELECT id FROM {table} WHERE id = ANY(%s)", [_storable(ids)])}
        return [identifier for identifier in ids if identifier not in found]

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Ask for the column."""
        return dict(self._run("SELECT id, digest FROM {table} WHERE id = ANY(%s)", [_storable(ids)]))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete by id."""
        self._run("DELETE FROM {table} WHERE id = ANY(%s)", [_storable(ids)])

    def flush(self) -> None:
        """Let the planner know how many rows there are."""
        self._run("ANALYZE {table}")

    def count(self, labels: Sequence[Sequence[str]] = ()) -> int:
        """Count the rows."""
        wanted = "".join(" AND labels && %s" for _ in labels)
        rows = self._run("SELECT count(*) FROM {table} WHERE true" + wanted, [_storable(some) for some in labels])
        return int(rows[0][0])

    def values(self, field: str) -> list[str] | None:
        """Count the labels of the field."""
        name = _storable([f"{field}="])[0]
        rows = self._run(
            "SELECT label FROM {table}, unnest(labels) AS label WHERE starts_with(label, %s) GROUP BY label "
            "ORDER BY count(*) DESC, label LIMIT %s",
            [name, _VALUES],
        )
        return [label.removeprefix(name) for (label,) in rows]

    def size(self) -> int | None:
        """Size of the table with its indexes."""
        return int(self._run("SELECT pg_total_relation_size(to_regclass(%s))", [self._quoted()])[0][0])

    def find(
        self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]], *, split: bool = False
    ) -> list[Hit]:
        """Order by inner product, which pgvector negates; a row that shares no term is no hit."""
        if not vector.nnz or not vector.data.any():
            return []
        query = _literal(vector, self.where)
        wanted = "".join(" AND labels && %s" for _ in labels)
        rows = self._run(
            "SELECT document, vector <#> %s::sparsevec AS negative FROM {table} WHERE vector <#> %s::sparsevec < 0"
            + wanted
            + " ORDER BY vector <#> %s::sparsevec LIMIT %s",
            [query, query, *(_storable(some) for some in labels), query, top_k],
        )
        return [Hit(document["id"], -float(negative), Document.from_row(document)) for document, negative in rows]

    def stored(self, identifier: str) -> Mapping[int, float] | None:
        """Read the vector back."""
        rows = self._run("SELECT vector::text FROM {table} WHERE id = ANY(%s)", [_storable([identifier])])
        if not rows:
            return None
        pairs = (pair.split(":") for pair in rows[0][0].partition("/")[0].strip("{}").split(",") if pair)
        return {int(term) - 1: float(weight) for term, weight in pairs}

    def document(self, identifier: str) -> Document | None:
        """Read the row back."""
        rows = self._run("SELECT document FROM {table} WHERE id = ANY(%s)", [_storable([identifier])])
        return Document.from_row(rows[0][0]) if rows else None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _comment(self) -> str | None:
        """The comment, "" where there is none; None where nothing is there."""
        found = self._run(
            "SELECT coalesce(obj_description(oid, 'pg_class'), ''), relkind = 'r' FROM pg_class "
            "WHERE oid = to_regclass(%s)",
            [self._quoted()],
        )
        if found and not found[0][1]:
            raise IndexFileError(f"{self.where} is no table that isthmus index made; choose another name")
        return found[0][0] if found else None

    def _quoted(self) -> str:
        """The name as ``to_regclass`` takes it, which folds what is not quoted; it holds no quotes."""
        return f'"{self.name}"'

    def _open(self) -> Any:
        """The connection, opened anew where it was lost."""
        if self._connection is None or self._connection.closed:
            try:
                self._connection = self._psycopg.connect(
                    **self._given, autocommit=True, connect_timeout=_SECONDS, application_name="isthmus"
                )
            except self._psycopg.Error as error:
                reason = " ".join(str(error).split())[:200]
                raise EngineAwayError(f"{self.where} does not answer or let in ({reason}); check it") from error
        return self._connection

    def _run(self, text: str, values: Sequence[Any] = (), *, many: Sequence[Any] | None = None, **parts: Any) -> Any:
        """Run a statement and give its rows; where the connection was lost, which no statement minds, once more."""
        statement = self._sql.SQL(text).format(table=self._table, **parts)
        for last in (False, True):
            try:
                if many is not None:
                    with self._open().transaction(), self._open().cursor() as cursor:
                        cursor.executemany(statement, many)
                    return []
                with self._open().cursor() as cursor:
                    # Without values, a percent sign stands for itself.
                    cursor.execute(statement, list(values) or None)
                    return cursor.fetchall() if cursor.description else []
            except self._psycopg.Error as error:
                if self._connection.closed and not last:
                    continue
                reason = " ".join(str(error).split())[:300]
                kind = EngineAwayError if self._connection.closed else EngineError
                raise kind(f"{self.where} refuses ({reason}); check it") from error
        raise AssertionError("the second attempt returns or raises")


def _literal(vector: csr_matrix, where: str) -> str:
    """A row as pgvector writes it; its dimensions begin with 1."""
    terms, weights = entries(vector, where)
    if len(terms) > _TERMS:
        raise InputError(f"{where} takes at most {_TERMS} active entries, got {len(terms)}; set --max-active-dims")
    pairs = ",".join(f"{term + 1}:{weight}" for term, weight in zip(terms, weights, strict=True))
    return f"{{{pairs}}}/{vector.shape[1]}"


def _storable(texts: Sequence[str]) -> list[str]:
    """Texts without what PostgreSQL's cannot hold."""
    return [text.replace("\0", "\ufffd").encode("utf-8", errors="replace").decode() for text in texts]


POSTGRESQL = ServerBackend(PostgreSQL)
