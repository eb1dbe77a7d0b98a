-- How often tenants have asked, for all nodes together.

-- +goose Up

CREATE TABLE rate (
    name    TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- whose rate
    full_at BIGINT NOT NULL, -- when all of the burst can be taken again, in nanoseconds
    taken   BIGINT NOT NULL  -- at the last time
);

CREATE INDEX rate_by_full ON rate (full_at);

-- +goose Down

DROP TABLE rate;
