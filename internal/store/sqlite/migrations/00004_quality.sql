-- How the media of a call was carried. Empty: not measured.

-- +goose Up

ALTER TABLE call ADD COLUMN quality TEXT NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE call DROP COLUMN quality;
