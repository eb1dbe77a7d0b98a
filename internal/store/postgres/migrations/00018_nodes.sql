-- The servers that carry calls on this database.

-- +goose Up

CREATE TABLE node (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- as call.node
    started_at BIGINT NOT NULL, -- of its run
    seen_at    BIGINT NOT NULL, -- its last sign of life
    gone_at    BIGINT NOT NULL, -- since when it is not there
    version    TEXT COLLATE "C" NOT NULL,
    addresses  TEXT COLLATE "C" NOT NULL, -- one space between them
    folder     TEXT COLLATE "C" NOT NULL, -- where its data folder is
    calls      BIGINT NOT NULL, -- that are up
    draining   BIGINT NOT NULL
);

-- +goose Down

DROP TABLE node;
