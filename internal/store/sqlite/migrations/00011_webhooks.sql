-- Endpoints of tenants and what is, was or is to be sent to them.

-- +goose Up

CREATE TABLE webhook (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant       TEXT    NOT NULL REFERENCES tenant (id),
    url          TEXT    NOT NULL,
    event_types  TEXT    NOT NULL, -- one space between them; empty: all
    active       INTEGER NOT NULL,
    numbers      INTEGER NOT NULL,
    gone_at      INTEGER NOT NULL,
    secret       BLOB    NOT NULL, -- sealed
    old_secret   BLOB    NOT NULL, -- sealed; empty if there is none
    old_until    INTEGER NOT NULL,
    -- Each of the tenant's events up to this one has a row in delivery, or was not
    -- asked for. So a commit that writes an event writes nothing here.
    cursor       INTEGER NOT NULL,
    -- The node that sends to the endpoint, alone, until then.
    owner        TEXT    NOT NULL,
    leased_until INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX webhook_tenant ON webhook (tenant, id);

CREATE TABLE delivery (
    webhook     TEXT    NOT NULL REFERENCES webhook (id),
    event       INTEGER NOT NULL, -- event.cursor
    chain       TEXT    NOT NULL, -- events of one chain are sent one after the other
    status      TEXT    NOT NULL,
    due_at      INTEGER NOT NULL,
    tries       INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    attempts    TEXT    NOT NULL, -- a JSON array
    PRIMARY KEY (webhook, event)
) STRICT;
CREATE INDEX delivery_due ON delivery (webhook, due_at, event) WHERE status = 'pending';
CREATE INDEX delivery_chain ON delivery (webhook, chain, event) WHERE status IN ('pending', 'queued');
CREATE INDEX delivery_status ON delivery (webhook, status, event);
CREATE INDEX delivery_finished ON delivery (status, finished_at) WHERE finished_at <> 0;

-- +goose Down

DROP TABLE delivery;
DROP TABLE webhook;
