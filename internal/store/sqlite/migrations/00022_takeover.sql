-- Talks of a node that has died, at another one.

-- +goose Up

ALTER TABLE trunk ADD COLUMN takeover TEXT NOT NULL DEFAULT '';
ALTER TABLE recording ADD COLUMN node TEXT NOT NULL DEFAULT ''; -- on whose disk it is, where that is not its call's node

-- +goose Down

ALTER TABLE recording DROP COLUMN node;
ALTER TABLE trunk DROP COLUMN takeover;
