-- Times are Unix milliseconds of the application's clock; 0 is "never".
-- Durations are milliseconds unless the column says seconds. Lists of numbers
-- are E.164 texts with one space between them.

-- +goose Up

CREATE TABLE tenant (
    id              TEXT    NOT NULL PRIMARY KEY,
    account_sid     TEXT    NOT NULL UNIQUE,
    name            TEXT    NOT NULL,
    zone            TEXT    NOT NULL, -- IANA name
    rate_per_second INTEGER NOT NULL,
    rate_burst      INTEGER NOT NULL,
    max_duration    INTEGER NOT NULL,
    ring_each       INTEGER NOT NULL,
    ring_total      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id         TEXT    NOT NULL PRIMARY KEY,
    tenant     TEXT    NOT NULL REFERENCES tenant (id),
    label      TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX token_tenant ON token (tenant, created_at, id);

CREATE TABLE virtual_number (
    number     TEXT    NOT NULL PRIMARY KEY,
    tenant     TEXT    NOT NULL REFERENCES tenant (id),
    sharing    TEXT    NOT NULL,
    region     TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    load       INTEGER NOT NULL,
    rested_at  INTEGER NOT NULL,
    -- While an allocation has an exclusive number: the end of its claim for any
    -- caller, which may have passed; else 0. Written with that claim.
    busy_until INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX virtual_number_tenant ON virtual_number (tenant, number);
-- The order in which the automatic choice asks: those that are free come
-- together and in order, those that are busy are never looked at.
CREATE INDEX virtual_number_rest ON virtual_number (tenant, sharing, busy_until, load, rested_at, number);

CREATE TABLE allocation (
    id             TEXT    NOT NULL PRIMARY KEY,
    tenant         TEXT    NOT NULL REFERENCES tenant (id),
    virtual_number TEXT    NOT NULL,
    from_numbers   TEXT    NOT NULL,
    to_numbers     TEXT    NOT NULL,
    usage          TEXT    NOT NULL,
    record         INTEGER NOT NULL,
    custom_field   TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    ended_at       INTEGER NOT NULL,
    end_reason     TEXT    NOT NULL,
    calls          INTEGER NOT NULL,
    connected      INTEGER NOT NULL,
    talk_seconds   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX allocation_tenant ON allocation (tenant, id);
CREATE INDEX allocation_number ON allocation (tenant, virtual_number, id);
-- Those whose end nobody has written are few beside those that have ended.
CREATE INDEX allocation_open ON allocation (tenant, id) WHERE ended_at = 0;
CREATE INDEX allocation_ended ON allocation (tenant, id) WHERE ended_at <> 0;
CREATE INDEX allocation_open_number ON allocation (virtual_number, expires_at) WHERE ended_at = 0;
CREATE INDEX allocation_open_expiry ON allocation (expires_at, id) WHERE ended_at = 0;

-- One row for each number of an allocation's two lists: the way from a number
-- to its allocations. until is the end of the allocation's life as known now;
-- silent says that the number may not call (To of a oneway allocation).
CREATE TABLE party (
    number         TEXT    NOT NULL,
    tenant         TEXT    NOT NULL,
    allocation     TEXT    NOT NULL,
    virtual_number TEXT    NOT NULL,
    side           TEXT    NOT NULL,
    position       INTEGER NOT NULL,
    silent         INTEGER NOT NULL,
    until          INTEGER NOT NULL,
    PRIMARY KEY (number, tenant, allocation)
) STRICT, WITHOUT ROWID;
CREATE INDEX party_until ON party (number, until);
CREATE INDEX party_silent ON party (number, virtual_number, until) WHERE silent = 1;

-- The central rule: the primary key lets one allocation have a caller on a
-- virtual number, and routes the caller's call.
CREATE TABLE claim (
    virtual_number TEXT    NOT NULL,
    caller         TEXT    NOT NULL, -- an E.164 number, or * for any
    allocation     TEXT    NOT NULL REFERENCES allocation (id),
    expires_at     INTEGER NOT NULL,
    PRIMARY KEY (virtual_number, caller)
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_allocation ON claim (allocation);

CREATE TABLE call (
    id             TEXT    NOT NULL PRIMARY KEY,
    tenant         TEXT    NOT NULL REFERENCES tenant (id),
    allocation     TEXT    NOT NULL, -- empty when none matched
    virtual_number TEXT    NOT NULL,
    caller         TEXT    NOT NULL, -- empty when withheld
    callee         TEXT    NOT NULL,
    direction      TEXT    NOT NULL,
    custom_field   TEXT    NOT NULL,
    node           TEXT    NOT NULL,
    started_at     INTEGER NOT NULL,
    answered_at    INTEGER NOT NULL,
    ended_at       INTEGER NOT NULL,
    ring_time      INTEGER NOT NULL,
    talk_time      INTEGER NOT NULL,
    cause          TEXT    NOT NULL,
    refusal        TEXT    NOT NULL,
    attempts       TEXT    NOT NULL -- a JSON array
) STRICT, WITHOUT ROWID;
CREATE INDEX call_tenant ON call (tenant, started_at, id);
CREATE INDEX call_allocation ON call (tenant, allocation, started_at, id);
CREATE INDEX call_open ON call (tenant, started_at, id) WHERE ended_at = 0;

-- The outbox. The cursor only grows; a number is never given twice.
CREATE TABLE event (
    cursor     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    tenant     TEXT    NOT NULL REFERENCES tenant (id),
    allocation TEXT    NOT NULL,
    call       TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    -- The latest at of the tenant's events up to this one. It never falls from
    -- cursor to cursor, though at may: what waited for the database is written
    -- after what came later. So the first event since a time is found by search.
    reached    INTEGER NOT NULL,
    data       TEXT    NOT NULL -- a JSON object
) STRICT;
CREATE UNIQUE INDEX event_id ON event (id);
CREATE INDEX event_tenant ON event (tenant, cursor, at);
CREATE INDEX event_reached ON event (tenant, reached, cursor);

CREATE TABLE trunk (
    name           TEXT    NOT NULL PRIMARY KEY,
    sources        TEXT    NOT NULL, -- prefixes, one space between them
    targets        TEXT    NOT NULL, -- address:port, one space between them
    transport      TEXT    NOT NULL,
    country        TEXT    NOT NULL,
    number_format  TEXT    NOT NULL,
    trust_identity INTEGER NOT NULL,
    priority       INTEGER NOT NULL,
    weight         INTEGER NOT NULL,
    max_calls      INTEGER NOT NULL,
    max_cps        INTEGER NOT NULL,
    caller_ids     TEXT    NOT NULL, -- one space between them
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE replay (
    tenant     TEXT    NOT NULL, -- empty for operators; an answer outlives its tenant
    key        TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    status     INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;
CREATE INDEX replay_age ON replay (created_at);

-- +goose Down

DROP TABLE replay;
DROP TABLE trunk;
DROP TABLE event;
DROP TABLE call;
DROP TABLE claim;
DROP TABLE party;
DROP TABLE allocation;
DROP TABLE virtual_number;
DROP TABLE token;
DROP TABLE tenant;
