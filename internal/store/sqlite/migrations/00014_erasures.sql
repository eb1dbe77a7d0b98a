-- Persons whose numbers were removed.

-- +goose Up

-- The receipt of an erasure. number is sealed, and empty once the work is done;
-- part and place say how far it has come.
CREATE TABLE erasure (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL REFERENCES tenant (id),
    digest      BLOB    NOT NULL, -- keyed, of the number
    number      BLOB    NOT NULL,
    part        TEXT    NOT NULL,
    place       TEXT    NOT NULL,
    waiting     INTEGER NOT NULL, -- rows that could not be erased yet
    removed     TEXT    NOT NULL, -- counts: a JSON object
    created_at  INTEGER NOT NULL,
    due_at      INTEGER NOT NULL, -- when there is something to do again
    finished_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX erasure_tenant ON erasure (tenant, id);
CREATE INDEX erasure_due ON erasure (due_at, id) WHERE finished_at = 0;

-- +goose Down

DROP TABLE erasure;
