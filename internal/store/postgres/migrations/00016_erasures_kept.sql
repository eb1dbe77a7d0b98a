-- What an erasure leaves because it is the tenant's own decision, and what it looks for
-- first. The new column has a default, so that a node of the release before can write
-- beside one of this.

-- +goose Up

ALTER TABLE erasure ADD COLUMN blocked BIGINT NOT NULL DEFAULT 0; -- the number is a blocked caller's
CREATE INDEX virtual_number_forward ON virtual_number (tenant, stranger_forward, number) WHERE stranger_forward <> '';

-- +goose Down

DROP INDEX virtual_number_forward;
ALTER TABLE erasure DROP COLUMN blocked;
