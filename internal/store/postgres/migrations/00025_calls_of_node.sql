-- The calls of one node that have no end, in the order in which they began: a node that
-- has died may have thousands, and they are taken over a few at a time.

-- +goose Up

CREATE INDEX call_node ON call (node, started_at, id) WHERE ended_at = 0;

-- +goose Down

DROP INDEX call_node;
