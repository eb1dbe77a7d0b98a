-- Calls of one person, newest first, of a tenant who has millions.

-- +goose Up

CREATE INDEX call_caller ON call (tenant, caller, started_at, id) WHERE caller <> '';
CREATE INDEX call_callee ON call (tenant, callee, started_at, id) WHERE callee <> '';

-- +goose Down

DROP INDEX call_callee;
DROP INDEX call_caller;
