-- How often tenants have asked, for all nodes together.

-- +goose Up

CREATE TABLE rate (
    name    TEXT    NOT NULL PRIMARY KEY, -- whose rate
    full_at INTEGER NOT NULL, -- when all of the burst can be taken again, in nanoseconds
    taken   INTEGER NOT NULL  -- at the last time
) STRICT, WITHOUT ROWID;

CREATE INDEX rate_by_full ON rate (full_at);

-- +goose Down

DROP TABLE rate;
