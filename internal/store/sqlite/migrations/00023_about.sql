-- What is known of the database as a whole.

-- +goose Up

CREATE TABLE about (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down

DROP TABLE about;
