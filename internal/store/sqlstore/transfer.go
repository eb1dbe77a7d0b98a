package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tandem/internal/store"
)

// LockTable is where an engine notes who migrates.
const LockTable = "schema_lock"

// A Shape is a table as an engine's catalogue tells it.
type Shape struct {
	Columns []string
	Key     []string // of its primary key, in its order
	Refers  []string // tables that it refers to
}

// ReadShapes asks a catalogue. columns gives table and column of all; keys the same of
// primary keys, in their order; refers tables with one that they refer to.
func ReadShapes(ctx context.Context, c Conn, columns, keys, refers string) (map[string]*Shape, error) {
	shapes := map[string]*Shape{}
	for _, ask := range []struct {
		text string
		list func(*Shape) *[]string
	}{
		{columns, func(s *Shape) *[]string { return &s.Columns }},
		{keys, func(s *Shape) *[]string { return &s.Key }},
		{refers, func(s *Shape) *[]string { return &s.Refers }},
	} {
		err := c.Query(ctx, ask.text, nil, func(row Scanner) error {
			var table, word string
			if err := row.Scan(&table, &word); err != nil {
				return err
			}
			if shapes[table] == nil {
				shapes[table] = &Shape{}
			}
			list := ask.list(shapes[table])
			*list = append(*list, word)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return shapes, nil
}

// ownTables have nothing to copy: what a migration or an engine wrote for itself, and
// what is known of this database and of no other.
func ownTables() []string {
	return []string{"about", VersionTable, LockTable, "event_head", "sqlite_sequence"}
}

// Fact reads what is known of the database.
func (r *Reader) Fact(ctx context.Context, name store.Fact) (value string, err error) {
	err = r.row(ctx, `SELECT value FROM about WHERE name = ?`, []any{string(name)}, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

// SetFact writes what is known of the database.
func (t *Tx) SetFact(ctx context.Context, name store.Fact, value string) error {
	if value == "" {
		_, err := t.exec(ctx, `DELETE FROM about WHERE name = ?`, string(name))
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO about (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, string(name), value)
	return err
}

// FirstFact waits for whoever is writing the same.
func (t *Tx) FirstFact(ctx context.Context, name store.Fact, value string) (known string, err error) {
	if _, err := t.exec(ctx, `INSERT INTO about (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, string(name), value); err != nil {
		return "", err
	}
	return t.Fact(ctx, name)
}

// SchemaVersion reads where goose is.
func (r *Reader) SchemaVersion(ctx context.Context) (version int64, err error) {
	return version, r.row(ctx, `SELECT MAX(version_id) FROM `+VersionTable, nil, &version)
}

// Tables puts the engine's tables in order. Events are told apart by their cursors,
// whatever an engine's own key is; which clock put them in order before they had one
// (position) does not matter any more.
func (r *Reader) Tables(ctx context.Context) ([]store.Table, error) {
	if err := r.c.Ordered(ctx); err != nil {
		return nil, err
	}
	shapes, err := r.c.Shapes(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range ownTables() {
		delete(shapes, name)
	}
	if event := shapes["event"]; event != nil {
		event.Key = []string{"cursor"}
		event.Columns = slices.DeleteFunc(event.Columns, func(c string) bool { return c == "position" })
	}
	return ordered(shapes)
}

// ordered puts tables behind those that they refer to, else by name.
func ordered(shapes map[string]*Shape) ([]store.Table, error) {
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	var list []store.Table
	placed := map[string]bool{}
	for len(list) < len(names) {
		before := len(list)
		for _, name := range names {
			s := shapes[name]
			waits := slices.ContainsFunc(s.Refers, func(other string) bool { return other != name && !placed[other] })
			if placed[name] || waits {
				continue
			}
			placed[name] = true
			slices.Sort(s.Columns)
			list = append(list, store.Table{Name: name, Columns: s.Columns, Key: s.Key})
		}
		if len(list) == before {
			return nil, fmt.Errorf("store: tables refer to each other in a circle")
		}
	}
	return list, nil
}

// whole begins the statements that read whole tables, for whoever looks at plans.
const whole = `/* whole */ `

// CountRows counts all rows.
func (r *Reader) CountRows(ctx context.Context, t store.Table) (n int64, err error) {
	return n, r.row(ctx, whole+`SELECT COUNT(*) FROM `+t.Name, nil, &n)
}

func columns(names []string) string { return strings.Join(names, ", ") }

// Rows goes along the key.
func (r *Reader) Rows(ctx context.Context, t store.Table, after []any, limit int) (rows []store.Row, err error) {
	for _, from := range r.c.Stretches(t) {
		if len(rows) == limit {
			break
		}
		text, args := whole+`SELECT `+columns(t.Columns)+` FROM `+from, []any(nil)
		if after != nil {
			text += ` WHERE (` + columns(t.Key) + `) > (` + marks(len(t.Key)) + `)`
			args = append(args, after...)
		}
		more, err := list(ctx, r, text+` ORDER BY `+columns(t.Key)+` LIMIT ?`, append(args, limit-len(rows)), func(_ *Reader, row Scanner) (store.Row, error) {
			return scanRow(row, len(t.Columns))
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// LastKey reads the last key.
func (r *Reader) LastKey(ctx context.Context, t store.Table) ([]any, error) {
	falling := strings.Join(t.Key, " DESC, ") + " DESC"
	for _, from := range slices.Backward(r.c.Stretches(t)) {
		found, err := list(ctx, r, whole+`SELECT `+columns(t.Key)+` FROM `+from+` ORDER BY `+falling+` LIMIT 1`, nil, func(_ *Reader, row Scanner) (store.Row, error) {
			return scanRow(row, len(t.Key))
		})
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return nil, nil
}

func scanRow(row Scanner, n int) (store.Row, error) {
	values, dest := make(store.Row, n), make([]any, n)
	for i := range values {
		dest[i] = &values[i]
	}
	if err := row.Scan(dest...); err != nil {
		return nil, err
	}
	for i, v := range values {
		switch v := v.(type) {
		case int64, string:
		case []byte:
			values[i] = blob(v)
		case nil: // a driver's empty blob: the one column of ours that may be NULL, an event's cursor, is never read as NULL (Stretches)
			values[i] = []byte{}
		default:
			return nil, corrupt("value")
		}
	}
	return values, nil
}

// rowsAtOnce is how many rows a statement writes: enough to make its overhead small,
// and few enough for the engines' most places for values (32766 of SQLite's).
const rowsAtOnce = 50

// PutRows writes many rows with one statement.
func (t *Tx) PutRows(ctx context.Context, table store.Table, rows []store.Row) error {
	one := `(` + marks(len(table.Columns)) + `)`
	insert := `INSERT INTO ` + table.Name + ` (` + columns(table.Columns) + `) VALUES ` + one
	full := insert + strings.Repeat(`, `+one, rowsAtOnce-1)
	for len(rows) > 0 {
		text, n := insert, 1
		if len(rows) >= rowsAtOnce {
			text, n = full, rowsAtOnce
		}
		if _, err := t.exec(ctx, text, slices.Concat(rows[:n]...)...); err != nil {
			return fmt.Errorf("table %s: %w", table.Name, err)
		}
		rows = rows[n:]
	}
	return nil
}

// RemoveRows removes the first rows.
func (t *Tx) RemoveRows(ctx context.Context, table store.Table, limit int) (int, error) {
	if err := t.c.Ordered(ctx); err != nil {
		return 0, err
	}
	key := columns(table.Key)
	n, err := t.exec(ctx, whole+`DELETE FROM `+table.Name+` WHERE (`+key+`) IN (SELECT `+key+` FROM `+table.Name+` ORDER BY `+key+` LIMIT ?)`, limit)
	return int(n), err
}

// EventHead asks the engine.
func (r *Reader) EventHead(ctx context.Context) (int64, error) {
	if err := r.c.Ordered(ctx); err != nil {
		return 0, err
	}
	return r.c.EventHead(ctx)
}

// SetEventHead tells the engine.
func (t *Tx) SetEventHead(ctx context.Context, cursor int64) error {
	return t.c.SetEventHead(ctx, cursor)
}

// Sound asks the engine.
func (r *Reader) Sound(ctx context.Context) error { return r.c.Sound(ctx) }
