-- What it takes to take a call up again whose node has died.

-- +goose Up

-- One row for each call that talks, from its answer to its end; sealed, since
-- dialogs hold people's numbers. It has a rowid: rows fill most of a page.
CREATE TABLE call_state (
    call TEXT NOT NULL PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- +goose Down

DROP TABLE call_state;
