package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
)

// The catalogue, as sqlstore.ReadShapes wants it.
const (
	allColumns = `SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'`
	allKeys    = `SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.pk > 0 ORDER BY m.name, c.pk`
	allRefers  = `SELECT m.name, f."table" FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'`
)

// Shapes reads the schema.
func (t *transaction) Shapes(ctx context.Context) (map[string]*sqlstore.Shape, error) {
	return sqlstore.ReadShapes(ctx, t, allColumns, allKeys, allRefers)
}

// Stretches are the table: every event has its cursor.
func (t *transaction) Stretches(table store.Table) []string { return []string{table.Name} }

// EventHead is where AUTOINCREMENT is.
func (t *transaction) EventHead(ctx context.Context) (cursor int64, err error) {
	err = t.Row(ctx, `SELECT seq FROM sqlite_sequence WHERE name = 'event'`, nil, &cursor)
	if errors.Is(err, sql.ErrNoRows) { // none was ever written
		err = nil
	}
	return cursor, err
}

// SetEventHead says where AUTOINCREMENT is.
func (t *transaction) SetEventHead(ctx context.Context, cursor int64) error {
	if _, err := t.Exec(ctx, `DELETE FROM sqlite_sequence WHERE name = 'event'`, nil); err != nil {
		return err
	}
	_, err := t.Exec(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)`, []any{cursor})
	return err
}

// errDamaged says that SQLite has found something.
var errDamaged = errors.New("sqlite: the file is damaged")

// Sound lets SQLite check every page, index and reference.
func (t *transaction) Sound(ctx context.Context) error {
	var said string
	if err := t.Row(ctx, `PRAGMA integrity_check(1)`, nil, &said); err != nil {
		return err
	}
	if said != "ok" {
		return errDamaged // what it says may repeat a value
	}
	var orphans int
	if err := t.Row(ctx, `SELECT COUNT(*) FROM pragma_foreign_key_check`, nil, &orphans); err != nil {
		return err
	}
	if orphans > 0 {
		return fmt.Errorf("%w: %d rows refer to others that are not there", errDamaged, orphans)
	}
	return nil
}
