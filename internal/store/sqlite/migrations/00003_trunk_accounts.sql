-- Trunks by name, with an account at the carrier's and numbers written as he wants
-- them. From here on an element of trunk.targets may be a name.

-- +goose Up

ALTER TABLE trunk ADD COLUMN strip_prefixes TEXT NOT NULL DEFAULT '';
ALTER TABLE trunk ADD COLUMN add_prefix TEXT NOT NULL DEFAULT '';
ALTER TABLE trunk ADD COLUMN auth_username TEXT NOT NULL DEFAULT '';
ALTER TABLE trunk ADD COLUMN auth_realm TEXT NOT NULL DEFAULT '';
ALTER TABLE trunk ADD COLUMN auth_password BLOB NOT NULL DEFAULT x''; -- sealed
ALTER TABLE trunk ADD COLUMN register_domain TEXT NOT NULL DEFAULT '';
ALTER TABLE trunk ADD COLUMN register_contact TEXT NOT NULL DEFAULT '';
ALTER TABLE trunk ADD COLUMN register_expires INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trunk ADD COLUMN options_every INTEGER NOT NULL DEFAULT 30000;

-- +goose Down

-- A program that knows addresses only would take a name for a corrupt row.
WITH RECURSIVE element (of_trunk, word, rest) AS (
    SELECT name, '', targets || ' ' FROM trunk
    UNION ALL
    SELECT of_trunk, substr(rest, 1, instr(rest, ' ') - 1), substr(rest, instr(rest, ' ') + 1) FROM element WHERE rest <> '')
UPDATE trunk SET targets = (SELECT COALESCE(group_concat(word, ' '), '') FROM element
    WHERE of_trunk = trunk.name AND word <> '' AND (word GLOB '[[]*' OR word NOT GLOB '*[a-z]*'));
UPDATE trunk SET transport = 'udp' WHERE transport NOT IN ('udp', 'tcp');

ALTER TABLE trunk DROP COLUMN options_every;
ALTER TABLE trunk DROP COLUMN register_expires;
ALTER TABLE trunk DROP COLUMN register_contact;
ALTER TABLE trunk DROP COLUMN register_domain;
ALTER TABLE trunk DROP COLUMN auth_password;
ALTER TABLE trunk DROP COLUMN auth_realm;
ALTER TABLE trunk DROP COLUMN auth_username;
ALTER TABLE trunk DROP COLUMN add_prefix;
ALTER TABLE trunk DROP COLUMN strip_prefixes;
