-- How numbers are rung, and what bounds calls. Every new column has a default, so
-- that a node of the release before can write beside one of this.

-- +goose Up

ALTER TABLE tenant ADD COLUMN ring_strategy TEXT NOT NULL DEFAULT 'sequential';
ALTER TABLE tenant ADD COLUMN max_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN max_allocation_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN max_caller_rate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN max_call INTEGER NOT NULL DEFAULT 14400000;
ALTER TABLE tenant ADD COLUMN end_with_allocation INTEGER NOT NULL DEFAULT 0;

-- Of the calls that ring a side: whom the last was to ring first, and who took up
-- the last that was taken up; empty if there was none. Written with the record.
ALTER TABLE allocation ADD COLUMN to_began TEXT NOT NULL DEFAULT '';
ALTER TABLE allocation ADD COLUMN to_answered TEXT NOT NULL DEFAULT '';
ALTER TABLE allocation ADD COLUMN from_began TEXT NOT NULL DEFAULT '';
ALTER TABLE allocation ADD COLUMN from_answered TEXT NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE allocation DROP COLUMN from_answered;
ALTER TABLE allocation DROP COLUMN from_began;
ALTER TABLE allocation DROP COLUMN to_answered;
ALTER TABLE allocation DROP COLUMN to_began;
ALTER TABLE tenant DROP COLUMN end_with_allocation;
ALTER TABLE tenant DROP COLUMN max_call;
ALTER TABLE tenant DROP COLUMN max_caller_rate;
ALTER TABLE tenant DROP COLUMN max_allocation_calls;
ALTER TABLE tenant DROP COLUMN max_calls;
ALTER TABLE tenant DROP COLUMN ring_strategy;
