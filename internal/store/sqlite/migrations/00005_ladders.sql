-- +goose Up

-- The SIP messages of the call, numbers hidden, as package ladder writes them. The
-- last column that is long: lists pass it over unread.
ALTER TABLE call ADD COLUMN ladder BLOB NOT NULL DEFAULT x'';

-- +goose Down

ALTER TABLE call DROP COLUMN ladder;
