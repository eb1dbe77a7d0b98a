-- PINs, what strangers get, recordings, announcements. Every new column has a
-- default, so that a node of the release before can write beside one of this.

-- +goose Up

ALTER TABLE tenant ADD COLUMN country TEXT NOT NULL DEFAULT 'IN';
ALTER TABLE tenant ADD COLUMN language TEXT NOT NULL DEFAULT 'en';
ALTER TABLE tenant ADD COLUMN pin_length INTEGER NOT NULL DEFAULT 4;
ALTER TABLE tenant ADD COLUMN pin_fallback INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN stranger_action TEXT NOT NULL DEFAULT 'announce';
ALTER TABLE tenant ADD COLUMN stranger_forward TEXT NOT NULL DEFAULT '';
ALTER TABLE tenant ADD COLUMN stranger_url TEXT NOT NULL DEFAULT '';
ALTER TABLE tenant ADD COLUMN recording_notice INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN recording_retention INTEGER NOT NULL DEFAULT 0;

-- An empty action leaves strangers to the tenant's policy.
ALTER TABLE virtual_number ADD COLUMN stranger_action TEXT NOT NULL DEFAULT '';
ALTER TABLE virtual_number ADD COLUMN stranger_forward TEXT NOT NULL DEFAULT '';
ALTER TABLE virtual_number ADD COLUMN stranger_url TEXT NOT NULL DEFAULT '';
-- From here on busy_until of an exclusive number is the latest end of what closes
-- it to an allocation by numbers: the claim for any caller and the claims of PINs.

ALTER TABLE allocation ADD COLUMN pin TEXT NOT NULL DEFAULT '';
ALTER TABLE allocation ADD COLUMN to_pin TEXT NOT NULL DEFAULT '';
ALTER TABLE allocation ADD COLUMN max_pin_attempts INTEGER NOT NULL DEFAULT 0;
-- Identifiers of allocations by PIN begin with gp_, and of all others with gvn_.
-- Expired and deleted are told apart for the first alone, in lists of each.
CREATE INDEX allocation_pin_ended ON allocation (tenant, (end_reason = 'expired'), id) WHERE ended_at <> 0 AND id < 'gvn_';

-- pin says that the allocation has a PIN: the way from a caller to what his wrong
-- entries count against.
ALTER TABLE party ADD COLUMN pin INTEGER NOT NULL DEFAULT 0;
CREATE INDEX party_pin ON party (number, virtual_number, until) WHERE pin = 1;

-- claim.caller is an E.164 number, * for any, or # and the digits of a PIN, which
-- are the callers from '#' to before '$'. PINs of one length lie together here,
-- since their keys do not: #1234 and #12345 are neighbours.
CREATE INDEX claim_pin ON claim (virtual_number, length(caller), expires_at) WHERE caller >= '#' AND caller < '$';

-- Wrong entries: of a party against his allocation, of anybody else (allocation
-- empty) on the virtual number, of all who withhold theirs (caller empty as well).
CREATE TABLE pin_try (
    virtual_number TEXT    NOT NULL,
    allocation     TEXT    NOT NULL,
    caller         TEXT    NOT NULL,
    wrong          INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    PRIMARY KEY (virtual_number, allocation, caller)
) STRICT, WITHOUT ROWID;
CREATE INDEX pin_try_age ON pin_try (last_at);

ALTER TABLE call ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;

-- The call may be unwritten while its recording is known.
CREATE TABLE recording (
    call           TEXT    NOT NULL PRIMARY KEY,
    tenant         TEXT    NOT NULL REFERENCES tenant (id),
    allocation     TEXT    NOT NULL,
    virtual_number TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    started_at     INTEGER NOT NULL,
    stored_at      INTEGER NOT NULL, -- or when it failed
    deleted_at     INTEGER NOT NULL,
    key            TEXT    NOT NULL, -- in the blob store
    duration       INTEGER NOT NULL,
    size           INTEGER NOT NULL,
    truncated      INTEGER NOT NULL,
    dropped        INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    held           INTEGER NOT NULL,
    peaks          BLOB    NOT NULL
) STRICT;
CREATE INDEX recording_stored ON recording (tenant, started_at, call) WHERE status = 'stored' AND held = 0;
-- Those under legal hold are few; a tenant who has one is not removed.
CREATE INDEX recording_held ON recording (tenant) WHERE held = 1;
CREATE INDEX recording_running ON recording (call) WHERE status = 'recording';
CREATE INDEX recording_sound ON recording (deleted_at, call) WHERE status = 'deleted' AND key <> '';

-- The key of a tenant's recordings, sealed. Without it they are noise.
CREATE TABLE recording_key (
    tenant     TEXT    NOT NULL PRIMARY KEY REFERENCES tenant (id),
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE prompt (
    tenant     TEXT    NOT NULL REFERENCES tenant (id),
    language   TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    audio      BLOB    NOT NULL, -- the last column: lists pass it over unread
    PRIMARY KEY (tenant, language, name)
) STRICT;

-- +goose Down

DROP TABLE prompt;
DROP TABLE recording_key;
DROP TABLE recording;
ALTER TABLE call DROP COLUMN recorded;
DROP TABLE pin_try;

-- A program that does not know PINs would take these for claims and allocations
-- of callers by their number.
DROP INDEX claim_pin;
DROP INDEX party_pin;
DROP INDEX allocation_pin_ended;
UPDATE virtual_number SET busy_until = COALESCE((SELECT c.expires_at FROM claim c
    WHERE c.virtual_number = virtual_number.number AND c.caller = '*'), 0) WHERE sharing = 'exclusive';
DELETE FROM claim WHERE caller >= '#' AND caller < '$';
DELETE FROM party WHERE allocation < 'gvn_';
DELETE FROM allocation WHERE id < 'gvn_';

ALTER TABLE party DROP COLUMN pin;
ALTER TABLE allocation DROP COLUMN max_pin_attempts;
ALTER TABLE allocation DROP COLUMN to_pin;
ALTER TABLE allocation DROP COLUMN pin;
ALTER TABLE virtual_number DROP COLUMN stranger_url;
ALTER TABLE virtual_number DROP COLUMN stranger_forward;
ALTER TABLE virtual_number DROP COLUMN stranger_action;
ALTER TABLE tenant DROP COLUMN recording_retention;
ALTER TABLE tenant DROP COLUMN recording_notice;
ALTER TABLE tenant DROP COLUMN stranger_url;
ALTER TABLE tenant DROP COLUMN stranger_forward;
ALTER TABLE tenant DROP COLUMN stranger_action;
ALTER TABLE tenant DROP COLUMN pin_fallback;
ALTER TABLE tenant DROP COLUMN pin_length;
ALTER TABLE tenant DROP COLUMN language;
ALTER TABLE tenant DROP COLUMN country;
