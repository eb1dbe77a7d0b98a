-- The servers that carry calls on this database.

-- +goose Up

CREATE TABLE node (
    id         TEXT    NOT NULL PRIMARY KEY, -- as call.node
    started_at INTEGER NOT NULL, -- of its run
    seen_at    INTEGER NOT NULL, -- its last sign of life
    gone_at    INTEGER NOT NULL, -- since when it is not there
    version    TEXT    NOT NULL,
    addresses  TEXT    NOT NULL, -- one space between them
    folder     TEXT    NOT NULL, -- where its data folder is
    calls      INTEGER NOT NULL, -- that are up
    draining   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down

DROP TABLE node;
