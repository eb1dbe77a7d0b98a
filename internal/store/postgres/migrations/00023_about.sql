-- What is known of the database as a whole.

-- +goose Up

CREATE TABLE about (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- +goose Down

DROP TABLE about;
