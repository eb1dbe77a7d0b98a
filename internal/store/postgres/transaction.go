package postgres

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
)

// texts are the statements of sqlstore in PostgreSQL's spelling, by their own.
type texts struct{ byText sync.Map } // string → string

var hint = regexp.MustCompile(` INDEXED BY \w+`)

// spell numbers the places for values, leaves out what is for SQLite's planner, and says
// which rows are locked and which are passed over because somebody else has them. No
// statement has a question mark that is not a place.
func (t *texts) spell(text string) string {
	if v, ok := t.byText.Load(text); ok {
		return v.(string)
	}
	ours := strings.ReplaceAll(hint.ReplaceAllString(text, ""), sqlstore.PassLocked, " FOR UPDATE SKIP LOCKED")
	var b strings.Builder
	for i, part := range strings.Split(ours, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	v, _ := t.byText.LoadOrStore(text, b.String())
	return v.(string)
}

// ahead is a statement that goes out together with the next one: its rows are
// nobody's, and its error is the next one's.
type ahead struct {
	text string
	args []any
}

// transaction is what a View or a closure of Update has of a connection.
type transaction struct {
	store *Store
	conn  *pgx.Conn
	// ahead has what must be done before the next statement, BEGIN first: each round
	// trip that it saves is one less for which locks are held.
	ahead []ahead
	sent  int                  // statements
	wrote map[store.Topic]bool // once it has committed, who looks for it is woken
	// writes says that the transaction is an Update's: it locks.
	writes bool
	// failed is the error after which PostgreSQL does nothing more in this
	// transaction, or in what Try has begun within it.
	failed error
}

var _ sqlstore.Conn = (*transaction)(nil)

// later puts a statement before the next one.
func (t *transaction) later(text string, args ...any) { t.ahead = append(t.ahead, ahead{text, args}) }

// run sends what waits and the statement behind it, and gives the statement's rows to read.
func (t *transaction) run(ctx context.Context, text string, args []any, read func(pgx.Rows) error) error {
	if t.failed != nil {
		return t.failed
	}
	if err := ctx.Err(); err != nil {
		return t.note(err)
	}
	text = t.store.texts.spell(text)
	args = flagged(args)
	t.sent++
	if len(t.ahead) == 0 {
		rows, err := t.conn.Query(ctx, text, args...)
		if err != nil {
			return t.note(err)
		}
		return t.note(readAll(rows, read))
	}
	batch := &pgx.Batch{}
	for _, a := range t.ahead {
		batch.Queue(t.store.texts.spell(a.text), flagged(a.args)...)
	}
	batch.Queue(text, args...)
	before := len(t.ahead)
	t.ahead = t.ahead[:0]
	results := t.conn.SendBatch(ctx, batch)
	for range before {
		if _, err := results.Exec(); err != nil {
			_ = results.Close()
			return t.note(err)
		}
	}
	rows, err := results.Query()
	if err == nil {
		err = readAll(rows, read)
	}
	if e := results.Close(); err == nil {
		err = e
	}
	return t.note(err)
}

func readAll(rows pgx.Rows, read func(pgx.Rows) error) error {
	err := read(rows)
	rows.Close()
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		if e := rows.Err(); e != nil {
			return e
		}
	}
	return err
}

// note remembers an error after which the transaction is lost.
func (t *transaction) note(err error) error {
	if err == nil || errors.Is(err, sql.ErrNoRows) || sqlstore.IsCorrupt(err) {
		return err
	}
	err = plain(err)
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// Row runs a query for at most one row; sql.ErrNoRows if there is none.
func (t *transaction) Row(ctx context.Context, text string, args []any, dest ...any) error {
	return t.run(ctx, text, args, func(rows pgx.Rows) error {
		if !rows.Next() {
			return sql.ErrNoRows
		}
		return row{rows}.Scan(dest...)
	})
}

// Query runs a query and scans each row.
func (t *transaction) Query(ctx context.Context, text string, args []any, scan func(sqlstore.Scanner) error) error {
	return t.run(ctx, text, args, func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(row{rows}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Exec runs a statement and tells how many rows it changed.
func (t *transaction) Exec(ctx context.Context, text string, args []any) (n int64, err error) {
	err = t.run(ctx, text, args, func(rows pgx.Rows) error {
		rows.Close()
		n = rows.CommandTag().RowsAffected()
		return nil
	})
	return n, err
}

// Try runs fn in a savepoint. What PostgreSQL refuses in it is undone with it; a
// transaction that it wants to see again from the beginning is lost all the same.
func (t *transaction) Try(ctx context.Context, fn func() error) error {
	if t.failed != nil {
		return t.failed
	}
	place, sent := len(t.ahead), t.sent
	t.later(`SAVEPOINT try`)
	err := fn()
	if t.sent == sent {
		t.ahead = slices.Delete(t.ahead, place, place+1)
		return err
	}
	var refused *serverError
	if t.failed != nil && !(errors.As(t.failed, &refused) && !refused.again()) {
		return err
	}
	if err == nil && t.failed != nil {
		err = t.failed // fn passed over it
	}
	if err != nil {
		t.failed = nil
		t.ahead = t.ahead[:0] // of what is undone
		// Not with the next statement: pgx prepares none again while the transaction is
		// a failed one.
		if _, back := t.conn.Exec(ctx, `ROLLBACK TO SAVEPOINT try`); back != nil {
			return t.note(back)
		}
	}
	t.later(`RELEASE SAVEPOINT try`)
	return err
}

// Lock locks rows of a table to the end of an Update.
func (t *transaction) Lock(strength sqlstore.Strength, rows string, args ...any) {
	if t.writes {
		t.later(`SELECT 1 FROM `+rows+` `+string(strength), args...)
	}
}

// Wrote notes what is new once the transaction has committed.
func (t *transaction) Wrote(topic store.Topic) {
	if t.wrote == nil {
		t.wrote = map[store.Topic]bool{}
	}
	t.wrote[topic] = true
}

// Zones are the store's time zones.
func (t *transaction) Zones() *sqlstore.Zones { return &t.store.zones }

// row makes a bool of a 1 or 0.
type row struct{ rows pgx.Rows }

// Scan scans the row.
func (r row) Scan(dest ...any) error {
	for i, d := range dest {
		if b, ok := d.(*bool); ok {
			dest[i] = &flagCol{b}
		}
	}
	return r.rows.Scan(dest...)
}

// flagCol takes a truth value as PostgreSQL gives it, or as a column has it: 1 or 0.
type flagCol struct{ to *bool }

func (f *flagCol) ScanBool(v pgtype.Bool) error {
	*f.to = v.Bool
	return nil
}

func (f *flagCol) ScanInt64(v pgtype.Int8) error {
	*f.to = v.Int64 != 0
	return nil
}

// flag is a bool that goes into either.
type flag bool

func (f flag) BoolValue() (pgtype.Bool, error) { return pgtype.Bool{Bool: bool(f), Valid: true}, nil }

func (f flag) Int64Value() (pgtype.Int8, error) {
	v := pgtype.Int8{Valid: true}
	if f {
		v.Int64 = 1
	}
	return v, nil
}

func flagged(args []any) []any {
	for i, a := range args {
		if b, ok := a.(bool); ok {
			args[i] = flag(b)
		}
	}
	return args
}
