-- What the last legs have shown of a number. The new column has a default, so that a
-- node of the release before can write beside one of this.

-- +goose Up

ALTER TABLE virtual_number ADD COLUMN health TEXT NOT NULL DEFAULT ''; -- a JSON object; empty: nothing speaks against it

-- +goose Down

ALTER TABLE virtual_number DROP COLUMN health;
