-- The schema as it was when PostgreSQL came; what comes after has the same number in
-- both engines.
--
-- Times are Unix milliseconds of the application's clock; 0 is "never".
-- Durations are milliseconds unless the column says seconds. Lists of numbers
-- are E.164 texts with one space between them. Texts are compared byte by byte.

-- +goose Up

CREATE TABLE tenant (
    id                   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    account_sid          TEXT COLLATE "C" NOT NULL UNIQUE,
    name                 TEXT COLLATE "C" NOT NULL,
    zone                 TEXT COLLATE "C" NOT NULL, -- IANA name
    rate_per_second      BIGINT           NOT NULL,
    rate_burst           BIGINT           NOT NULL,
    max_duration         BIGINT           NOT NULL,
    ring_each            BIGINT           NOT NULL,
    ring_total           BIGINT           NOT NULL,
    created_at           BIGINT           NOT NULL,
    country              TEXT COLLATE "C" NOT NULL DEFAULT 'IN',
    language             TEXT COLLATE "C" NOT NULL DEFAULT 'en',
    pin_length           BIGINT           NOT NULL DEFAULT 4,
    pin_fallback         BIGINT           NOT NULL DEFAULT 0,
    stranger_action      TEXT COLLATE "C" NOT NULL DEFAULT 'announce',
    stranger_forward     TEXT COLLATE "C" NOT NULL DEFAULT '',
    stranger_url         TEXT COLLATE "C" NOT NULL DEFAULT '',
    recording_notice     BIGINT           NOT NULL DEFAULT 0,
    recording_retention  BIGINT           NOT NULL DEFAULT 0,
    ring_strategy        TEXT COLLATE "C" NOT NULL DEFAULT 'sequential',
    max_calls            BIGINT           NOT NULL DEFAULT 0,
    max_allocation_calls BIGINT           NOT NULL DEFAULT 0,
    max_caller_rate      BIGINT           NOT NULL DEFAULT 0,
    max_call             BIGINT           NOT NULL DEFAULT 14400000,
    end_with_allocation  BIGINT           NOT NULL DEFAULT 0,
    permitted_prefixes   TEXT COLLATE "C" NOT NULL DEFAULT '',
    allowed_prefixes     TEXT COLLATE "C" NOT NULL DEFAULT '',
    max_day_calls        BIGINT           NOT NULL DEFAULT 0,
    max_day_talk         BIGINT           NOT NULL DEFAULT 0,
    velocity_window      BIGINT           NOT NULL DEFAULT 600000,
    velocity_caller      BIGINT           NOT NULL DEFAULT 0,
    velocity_allocation  BIGINT           NOT NULL DEFAULT 0,
    velocity_tenant      BIGINT           NOT NULL DEFAULT 0,
    velocity_block       BIGINT           NOT NULL DEFAULT 0
);

CREATE TABLE token (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    label      TEXT COLLATE "C" NOT NULL,
    hash       BYTEA            NOT NULL,
    created_at BIGINT           NOT NULL
);
CREATE INDEX token_tenant ON token (tenant, created_at, id);

CREATE TABLE virtual_number (
    number           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant           TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    sharing          TEXT COLLATE "C" NOT NULL,
    region           TEXT COLLATE "C" NOT NULL,
    type             TEXT COLLATE "C" NOT NULL,
    load             BIGINT           NOT NULL,
    rested_at        BIGINT           NOT NULL,
    -- While an allocation has an exclusive number: the end of its claim for any
    -- caller, which may have passed; else 0. Written with that claim.
    busy_until       BIGINT           NOT NULL,
    created_at       BIGINT           NOT NULL,
    stranger_action  TEXT COLLATE "C" NOT NULL DEFAULT '',
    stranger_forward TEXT COLLATE "C" NOT NULL DEFAULT '',
    stranger_url     TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX virtual_number_tenant ON virtual_number (tenant, number);
CREATE INDEX virtual_number_rest ON virtual_number (tenant, sharing, busy_until, load, rested_at, number);

CREATE TABLE allocation (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant           TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    virtual_number   TEXT COLLATE "C" NOT NULL,
    from_numbers     TEXT COLLATE "C" NOT NULL,
    to_numbers       TEXT COLLATE "C" NOT NULL,
    usage            TEXT COLLATE "C" NOT NULL,
    record           BIGINT           NOT NULL,
    custom_field     TEXT COLLATE "C" NOT NULL,
    created_at       BIGINT           NOT NULL,
    updated_at       BIGINT           NOT NULL,
    expires_at       BIGINT           NOT NULL,
    ended_at         BIGINT           NOT NULL,
    end_reason       TEXT COLLATE "C" NOT NULL,
    calls            BIGINT           NOT NULL,
    connected        BIGINT           NOT NULL,
    talk_seconds     BIGINT           NOT NULL,
    pin              TEXT COLLATE "C" NOT NULL DEFAULT '',
    to_pin           TEXT COLLATE "C" NOT NULL DEFAULT '',
    max_pin_attempts BIGINT           NOT NULL DEFAULT 0,
    to_began         TEXT COLLATE "C" NOT NULL DEFAULT '',
    to_answered      TEXT COLLATE "C" NOT NULL DEFAULT '',
    from_began       TEXT COLLATE "C" NOT NULL DEFAULT '',
    from_answered    TEXT COLLATE "C" NOT NULL DEFAULT '',
    day              BIGINT           NOT NULL DEFAULT 0,
    day_calls        BIGINT           NOT NULL DEFAULT 0,
    day_talk_seconds BIGINT           NOT NULL DEFAULT 0
);
CREATE INDEX allocation_tenant ON allocation (tenant, id);
CREATE INDEX allocation_number ON allocation (tenant, virtual_number, id);
CREATE INDEX allocation_open ON allocation (tenant, id) WHERE ended_at = 0;
CREATE INDEX allocation_ended ON allocation (tenant, id) WHERE ended_at <> 0;
CREATE INDEX allocation_open_number ON allocation (virtual_number, expires_at) WHERE ended_at = 0;
CREATE INDEX allocation_open_expiry ON allocation (expires_at, id) WHERE ended_at = 0;

CREATE TABLE party (
    number         TEXT COLLATE "C" NOT NULL,
    tenant         TEXT COLLATE "C" NOT NULL,
    allocation     TEXT COLLATE "C" NOT NULL,
    virtual_number TEXT COLLATE "C" NOT NULL,
    side           TEXT COLLATE "C" NOT NULL,
    position       BIGINT           NOT NULL,
    silent         BIGINT           NOT NULL,
    until          BIGINT           NOT NULL,
    pin            BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (number, tenant, allocation)
);
CREATE INDEX party_until ON party (number, until);
CREATE INDEX party_silent ON party (number, virtual_number, until) WHERE silent = 1;

CREATE TABLE claim (
    virtual_number TEXT COLLATE "C" NOT NULL,
    caller         TEXT COLLATE "C" NOT NULL, -- an E.164 number, or * for any
    allocation     TEXT COLLATE "C" NOT NULL REFERENCES allocation (id),
    expires_at     BIGINT           NOT NULL,
    PRIMARY KEY (virtual_number, caller)
);
CREATE INDEX claim_allocation ON claim (allocation);

CREATE TABLE call (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant         TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    allocation     TEXT COLLATE "C" NOT NULL, -- empty when none matched
    virtual_number TEXT COLLATE "C" NOT NULL,
    caller         TEXT COLLATE "C" NOT NULL, -- empty when withheld
    callee         TEXT COLLATE "C" NOT NULL,
    direction      TEXT COLLATE "C" NOT NULL,
    custom_field   TEXT COLLATE "C" NOT NULL,
    node           TEXT COLLATE "C" NOT NULL,
    started_at     BIGINT           NOT NULL,
    answered_at    BIGINT           NOT NULL,
    ended_at       BIGINT           NOT NULL,
    ring_time      BIGINT           NOT NULL,
    talk_time      BIGINT           NOT NULL,
    cause          TEXT COLLATE "C" NOT NULL,
    refusal        TEXT COLLATE "C" NOT NULL,
    attempts       TEXT COLLATE "C" NOT NULL, -- a JSON array
    recorded       BIGINT           NOT NULL DEFAULT 0,
    quality        TEXT COLLATE "C" NOT NULL DEFAULT '',
    ladder         BYTEA            NOT NULL DEFAULT ''
);
CREATE INDEX call_tenant ON call (tenant, started_at, id);
CREATE INDEX call_allocation ON call (tenant, allocation, started_at, id);
CREATE INDEX call_open ON call (tenant, started_at, id) WHERE ended_at = 0;

CREATE TABLE event (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- Given to committed events by whoever reads them first (events.go); NULL until then.
    cursor     BIGINT,
    -- Microseconds of the database's clock: the order in which cursors are given.
    position   BIGINT           NOT NULL DEFAULT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT),
    type       TEXT COLLATE "C" NOT NULL,
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    allocation TEXT COLLATE "C" NOT NULL,
    call       TEXT COLLATE "C" NOT NULL,
    at         BIGINT           NOT NULL,
    -- The latest at of the tenant's events up to this one. It never falls from
    -- cursor to cursor, though at may: what waited for the database is written
    -- after what came later. So the first event since a time is found by search.
    reached    BIGINT           NOT NULL,
    data       TEXT COLLATE "C" NOT NULL -- a JSON object
);
CREATE UNIQUE INDEX event_cursor ON event (cursor);
CREATE INDEX event_waiting ON event (position, id) WHERE cursor IS NULL;
CREATE INDEX event_tenant ON event (tenant, cursor, at);
CREATE INDEX event_reached ON event (tenant, reached, cursor);

-- The last cursor that was given.
CREATE TABLE event_head (
    id     BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    cursor BIGINT NOT NULL
);
INSERT INTO event_head VALUES (1, 0);

CREATE TABLE trunk (
    name             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sources          TEXT COLLATE "C" NOT NULL, -- prefixes, one space between them
    targets          TEXT COLLATE "C" NOT NULL, -- address:port, one space between them
    transport        TEXT COLLATE "C" NOT NULL,
    country          TEXT COLLATE "C" NOT NULL,
    number_format    TEXT COLLATE "C" NOT NULL,
    trust_identity   BIGINT           NOT NULL,
    priority         BIGINT           NOT NULL,
    weight           BIGINT           NOT NULL,
    max_calls        BIGINT           NOT NULL,
    max_cps          BIGINT           NOT NULL,
    caller_ids       TEXT COLLATE "C" NOT NULL, -- one space between them
    created_at       BIGINT           NOT NULL,
    updated_at       BIGINT           NOT NULL,
    strip_prefixes   TEXT COLLATE "C" NOT NULL DEFAULT '',
    add_prefix       TEXT COLLATE "C" NOT NULL DEFAULT '',
    auth_username    TEXT COLLATE "C" NOT NULL DEFAULT '',
    auth_realm       TEXT COLLATE "C" NOT NULL DEFAULT '',
    auth_password    BYTEA            NOT NULL DEFAULT '',
    register_domain  TEXT COLLATE "C" NOT NULL DEFAULT '',
    register_contact TEXT COLLATE "C" NOT NULL DEFAULT '',
    register_expires BIGINT           NOT NULL DEFAULT 0,
    options_every    BIGINT           NOT NULL DEFAULT 30000,
    srtp             TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE replay (
    tenant     TEXT COLLATE "C" NOT NULL, -- empty for operators; an answer outlives its tenant
    key        TEXT COLLATE "C" NOT NULL,
    digest     BYTEA            NOT NULL,
    status     BIGINT           NOT NULL,
    body       BYTEA            NOT NULL,
    created_at BIGINT           NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX replay_age ON replay (created_at);
CREATE INDEX allocation_pin_ended ON allocation (tenant, (end_reason = 'expired'), id) WHERE ended_at <> 0 AND id < 'gvn_';
CREATE INDEX party_pin ON party (number, virtual_number, until) WHERE pin = 1;
CREATE INDEX claim_pin ON claim (virtual_number, length(caller), expires_at) WHERE caller >= '#' AND caller < '$';

CREATE TABLE pin_try (
    virtual_number TEXT COLLATE "C" NOT NULL,
    allocation     TEXT COLLATE "C" NOT NULL,
    caller         TEXT COLLATE "C" NOT NULL,
    wrong          BIGINT           NOT NULL,
    last_at        BIGINT           NOT NULL,
    PRIMARY KEY (virtual_number, allocation, caller)
);
CREATE INDEX pin_try_age ON pin_try (last_at);

CREATE TABLE recording (
    call           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant         TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    allocation     TEXT COLLATE "C" NOT NULL,
    virtual_number TEXT COLLATE "C" NOT NULL,
    status         TEXT COLLATE "C" NOT NULL,
    started_at     BIGINT           NOT NULL,
    stored_at      BIGINT           NOT NULL, -- or when it failed
    deleted_at     BIGINT           NOT NULL,
    key            TEXT COLLATE "C" NOT NULL, -- in the blob store
    duration       BIGINT           NOT NULL,
    size           BIGINT           NOT NULL,
    truncated      BIGINT           NOT NULL,
    dropped        BIGINT           NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL,
    held           BIGINT           NOT NULL,
    peaks          BYTEA            NOT NULL
);
CREATE INDEX recording_stored ON recording (tenant, started_at, call) WHERE status = 'stored' AND held = 0;
CREATE INDEX recording_held ON recording (tenant) WHERE held = 1;
CREATE INDEX recording_running ON recording (call) WHERE status = 'recording';
CREATE INDEX recording_sound ON recording (deleted_at, call) WHERE status = 'deleted' AND key <> '';

CREATE TABLE recording_key (
    tenant     TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES tenant (id),
    sealed     BYTEA            NOT NULL,
    created_at BIGINT           NOT NULL
);

CREATE TABLE prompt (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    language   TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT           NOT NULL,
    audio      BYTEA            NOT NULL, -- the last column: lists pass it over unread
    PRIMARY KEY (tenant, language, name)
);

CREATE TABLE call_state (
    call TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    data BYTEA            NOT NULL
);

CREATE TABLE webhook (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    url          TEXT COLLATE "C" NOT NULL,
    event_types  TEXT COLLATE "C" NOT NULL, -- one space between them; empty: all
    active       BIGINT           NOT NULL,
    numbers      BIGINT           NOT NULL,
    gone_at      BIGINT           NOT NULL,
    secret       BYTEA            NOT NULL, -- sealed
    old_secret   BYTEA            NOT NULL, -- sealed; empty if there is none
    old_until    BIGINT           NOT NULL,
    -- Each of the tenant's events up to this one has a row in delivery, or was not
    -- asked for. So a commit that writes an event writes nothing here.
    cursor       BIGINT           NOT NULL,
    -- The node that sends to the endpoint, alone, until then.
    owner        TEXT COLLATE "C" NOT NULL,
    leased_until BIGINT           NOT NULL,
    created_at   BIGINT           NOT NULL,
    updated_at   BIGINT           NOT NULL
);
CREATE INDEX webhook_tenant ON webhook (tenant, id);

CREATE TABLE delivery (
    webhook     TEXT COLLATE "C" NOT NULL REFERENCES webhook (id),
    event       BIGINT           NOT NULL, -- event.cursor
    chain       TEXT COLLATE "C" NOT NULL, -- events of one chain are sent one after the other
    status      TEXT COLLATE "C" NOT NULL,
    due_at      BIGINT           NOT NULL,
    tries       BIGINT           NOT NULL,
    finished_at BIGINT           NOT NULL,
    attempts    TEXT COLLATE "C" NOT NULL, -- a JSON array
    PRIMARY KEY (webhook, event)
);
CREATE INDEX delivery_due ON delivery (webhook, due_at, event) WHERE status = 'pending';
CREATE INDEX delivery_chain ON delivery (webhook, chain, event) WHERE status IN ('pending', 'queued');
CREATE INDEX delivery_status ON delivery (webhook, status, event);
CREATE INDEX delivery_finished ON delivery (status, finished_at) WHERE finished_at <> 0;

CREATE TABLE audit (
    sequence BIGINT           NOT NULL PRIMARY KEY,
    at       BIGINT           NOT NULL,
    actor    TEXT COLLATE "C" NOT NULL,
    tenant   TEXT COLLATE "C" NOT NULL,
    action   TEXT COLLATE "C" NOT NULL,
    object   TEXT COLLATE "C" NOT NULL,
    outcome  TEXT COLLATE "C" NOT NULL,
    request  TEXT COLLATE "C" NOT NULL,
    previous BYTEA            NOT NULL,
    hash     BYTEA            NOT NULL
);
CREATE INDEX audit_tenant ON audit (tenant, sequence);

CREATE TABLE audit_head (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence BIGINT NOT NULL,
    hash     BYTEA  NOT NULL
);
INSERT INTO audit_head VALUES (1, 0, '\x0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE blocked_caller (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    number     TEXT COLLATE "C" NOT NULL,
    note       TEXT COLLATE "C" NOT NULL,
    created_at BIGINT           NOT NULL,
    PRIMARY KEY (tenant, number)
);

CREATE TABLE pace (
    tenant  TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    scope   TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL, -- a number, an allocation, or empty
    since   BIGINT           NOT NULL,
    calls   BIGINT           NOT NULL,
    PRIMARY KEY (tenant, scope, subject)
);
CREATE INDEX pace_age ON pace (since);

CREATE TABLE erasure (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant      TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    digest      BYTEA            NOT NULL, -- keyed, of the number
    number      BYTEA            NOT NULL,
    part        TEXT COLLATE "C" NOT NULL,
    place       TEXT COLLATE "C" NOT NULL,
    waiting     BIGINT           NOT NULL, -- rows that could not be erased yet
    removed     TEXT COLLATE "C" NOT NULL, -- counts: a JSON object
    created_at  BIGINT           NOT NULL,
    due_at      BIGINT           NOT NULL, -- when there is something to do again
    finished_at BIGINT           NOT NULL
);
CREATE INDEX erasure_tenant ON erasure (tenant, id);
CREATE INDEX erasure_due ON erasure (due_at, id) WHERE finished_at = 0;

-- +goose Down

DROP TABLE erasure;
DROP TABLE pace;
DROP TABLE blocked_caller;
DROP TABLE audit_head;
DROP TABLE audit;
DROP TABLE delivery;
DROP TABLE webhook;
DROP TABLE call_state;
DROP TABLE prompt;
DROP TABLE recording_key;
DROP TABLE recording;
DROP TABLE pin_try;
DROP TABLE replay;
DROP TABLE trunk;
DROP TABLE event_head;
DROP TABLE event;
DROP TABLE call;
DROP TABLE claim;
DROP TABLE party;
DROP TABLE allocation;
DROP TABLE virtual_number;
DROP TABLE token;
DROP TABLE tenant;
