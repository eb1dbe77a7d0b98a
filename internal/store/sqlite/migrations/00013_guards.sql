-- What bounds fraud: whom a tenant may ring, what a day may have, how fast calls may
-- come, who is let in nowhere. Every new column has a default, so that a node of the
-- release before can write beside one of this.

-- +goose Up

ALTER TABLE tenant ADD COLUMN permitted_prefixes TEXT NOT NULL DEFAULT ''; -- one space between them
ALTER TABLE tenant ADD COLUMN allowed_prefixes TEXT NOT NULL DEFAULT '';
ALTER TABLE tenant ADD COLUMN max_day_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN max_day_talk INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN velocity_window INTEGER NOT NULL DEFAULT 600000;
ALTER TABLE tenant ADD COLUMN velocity_caller INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN velocity_allocation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN velocity_tenant INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN velocity_block INTEGER NOT NULL DEFAULT 0;

-- What went through the allocation on the day of its last call that was let
-- through: a date in the tenant's zone, as 20240615. Written with the tally.
ALTER TABLE allocation ADD COLUMN day INTEGER NOT NULL DEFAULT 0;
ALTER TABLE allocation ADD COLUMN day_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE allocation ADD COLUMN day_talk_seconds INTEGER NOT NULL DEFAULT 0;

CREATE TABLE blocked_caller (
    tenant     TEXT    NOT NULL REFERENCES tenant (id),
    number     TEXT    NOT NULL,
    note       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, number)
) STRICT, WITHOUT ROWID;

-- Calls of one caller, through one allocation or of a tenant since the first in a
-- window.
CREATE TABLE pace (
    tenant  TEXT    NOT NULL REFERENCES tenant (id),
    scope   TEXT    NOT NULL,
    subject TEXT    NOT NULL, -- a number, an allocation, or empty
    since   INTEGER NOT NULL,
    calls   INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX pace_age ON pace (since);

-- +goose Down

DROP TABLE pace;
DROP TABLE blocked_caller;
ALTER TABLE allocation DROP COLUMN day_talk_seconds;
ALTER TABLE allocation DROP COLUMN day_calls;
ALTER TABLE allocation DROP COLUMN day;
ALTER TABLE tenant DROP COLUMN velocity_block;
ALTER TABLE tenant DROP COLUMN velocity_tenant;
ALTER TABLE tenant DROP COLUMN velocity_allocation;
ALTER TABLE tenant DROP COLUMN velocity_caller;
ALTER TABLE tenant DROP COLUMN velocity_window;
ALTER TABLE tenant DROP COLUMN max_day_talk;
ALTER TABLE tenant DROP COLUMN max_day_calls;
ALTER TABLE tenant DROP COLUMN allowed_prefixes;
ALTER TABLE tenant DROP COLUMN permitted_prefixes;
