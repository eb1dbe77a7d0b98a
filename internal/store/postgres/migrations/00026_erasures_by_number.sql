-- Whether a number was erased since a call began that is written late.

-- +goose Up

CREATE INDEX erasure_digest ON erasure (tenant, digest, created_at);

-- +goose Down

DROP INDEX erasure_digest;
