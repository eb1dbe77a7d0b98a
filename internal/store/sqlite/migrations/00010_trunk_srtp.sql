-- Whether the media of a trunk's calls is protected: off (or empty), optional or required.

-- +goose Up

ALTER TABLE trunk ADD COLUMN srtp TEXT NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE trunk DROP COLUMN srtp;
