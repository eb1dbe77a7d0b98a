-- Who changed what and who listened to what, chained by hashes.

-- +goose Up

-- No statement of the program changes or removes a row. It refers to no tenant:
-- what was done to one who is gone stays. Times are whole seconds here too, in
-- milliseconds.
CREATE TABLE audit (
    sequence INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    tenant   TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    object   TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    request  TEXT    NOT NULL,
    previous BLOB    NOT NULL,
    hash     BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant, sequence);

-- The last entry: the one row that every writer of an entry locks.
CREATE TABLE audit_head (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL,
    hash     BLOB    NOT NULL
) STRICT;
INSERT INTO audit_head VALUES (1, 0, x'0000000000000000000000000000000000000000000000000000000000000000');

-- +goose Down

DROP TABLE audit_head;
DROP TABLE audit;
