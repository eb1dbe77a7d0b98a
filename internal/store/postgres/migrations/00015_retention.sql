-- What a tenant keeps no longer. Every new column has a default, so that a node of the
-- release before can write beside one of this.

-- +goose Up

ALTER TABLE tenant ADD COLUMN retention BIGINT NOT NULL DEFAULT 0; -- of ended allocations, calls and events; 0 keeps them
-- The cursor of the last event that retention has removed.
ALTER TABLE tenant ADD COLUMN events_gone BIGINT NOT NULL DEFAULT 0;
CREATE INDEX allocation_ended_at ON allocation (tenant, ended_at, id) WHERE ended_at <> 0;

-- +goose Down

DROP INDEX allocation_ended_at;
ALTER TABLE tenant DROP COLUMN events_gone;
ALTER TABLE tenant DROP COLUMN retention;
