-- Calls that were routed by what was last known. The new column has a default, so that a
-- node of the release before can write beside one of this.

-- +goose Up

ALTER TABLE call ADD COLUMN last_known INTEGER NOT NULL DEFAULT 0; -- 1: routed while the database was away

-- +goose Down

ALTER TABLE call DROP COLUMN last_known;
