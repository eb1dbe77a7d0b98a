-- What nodes hold of bounds that all of them keep together.

-- +goose Up

CREATE TABLE share (
    bound TEXT COLLATE "C" NOT NULL, -- "calls of a tenant", say: see quota
    node  TEXT COLLATE "C" NOT NULL, -- as node.id; '' is the row by which the bound is locked
    held  BIGINT NOT NULL,
    PRIMARY KEY (bound, node)
);

CREATE INDEX share_by_node ON share (node);

-- +goose Down

DROP TABLE share;
