package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
)

// session is one connection with its prepared statements. It belongs to one
// goroutine at a time: the writer's, or that of the View that borrowed it.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // by text; texts are few: they vary by the length of a list only
	zones *sqlstore.Zones
}

func newSession(ctx context.Context, db *sql.DB, z *sqlstore.Zones) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, stmts: make(map[string]*sql.Stmt), zones: z}, nil
}

// close gives the connection back to its handle, which closes it for good.
func (s *session) close() error {
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// background is the context of every statement that may write. A caller's
// context is looked at between such statements, never inside one: SQLite answers
// the interruption of a write by rolling back the whole transaction, other
// callers' work included.
func background() context.Context { return context.Background() }

func (s *session) prepare(text string) (*sql.Stmt, error) {
	if st, ok := s.stmts[text]; ok {
		return st, nil
	}
	st, err := s.conn.PrepareContext(background(), text)
	if err != nil {
		return nil, err
	}
	s.stmts[text] = st
	return st, nil
}

// command runs a statement without arguments and without an answer.
func (s *session) command(text string) error {
	st, err := s.prepare(text)
	if err != nil {
		return err
	}
	_, err = st.ExecContext(background())
	return err
}

// transaction is what a View or a closure of Update has of a session.
type transaction struct {
	*session
	// failed is the first error that was no broken rule. SQLite may have rolled
	// the transaction back by itself then (a full disk, say), and the next
	// statement would run outside of it; so there is no next statement, and a
	// closure that passes over the error commits nothing.
	failed error
	// interruptible says that a statement ends with its caller's context: that
	// of a View, which nobody else's work depends on.
	interruptible bool
}

var _ sqlstore.Conn = (*transaction)(nil)

// during is the context in which a statement runs.
func (t *transaction) during(ctx context.Context) context.Context {
	if t.interruptible {
		return ctx
	}
	return background()
}

func (t *transaction) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if t.failed != nil {
		return nil, t.failed
	}
	if err := ctx.Err(); err != nil {
		return nil, t.note(err)
	}
	st, err := t.prepare(text)
	return st, t.note(err)
}

// note remembers an error after which the transaction cannot be trusted.
func (t *transaction) note(err error) error {
	switch {
	case err == nil || errors.Is(err, sql.ErrNoRows) || sqlstore.IsCorrupt(err):
		return err
	case duplicate(err):
		return sqlstore.ErrDuplicate
	case orphan(err):
		return sqlstore.ErrOrphan
	case violated(err) != 0:
		return err
	}
	err = fmt.Errorf("sqlite: %w", err)
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// Row runs a query for at most one row; sql.ErrNoRows if there is none.
func (t *transaction) Row(ctx context.Context, text string, args []any, dest ...any) error {
	st, err := t.statement(ctx, text)
	if err != nil {
		return err
	}
	return t.note(st.QueryRowContext(t.during(ctx), args...).Scan(dest...))
}

// Query runs a query and scans each row.
func (t *transaction) Query(ctx context.Context, text string, args []any, scan func(sqlstore.Scanner) error) error {
	st, err := t.statement(ctx, text)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(t.during(ctx), args...)
	if err != nil {
		return t.note(err)
	}
	defer func() { _ = rows.Close() }() // Err below has what Close could say
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return t.note(rows.Err())
}

// Exec runs a statement and tells how many rows it changed.
func (t *transaction) Exec(ctx context.Context, text string, args []any) (int64, error) {
	st, err := t.statement(ctx, text)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(background(), args...)
	if err != nil {
		return 0, t.note(err)
	}
	n, err := res.RowsAffected()
	return n, t.note(err)
}

// Lock has nothing to do: there is one writer.
func (t *transaction) Lock(sqlstore.Strength, string, ...any) {}

// Ordered has nothing to do: events are numbered as they are written, by the one writer.
func (t *transaction) Ordered(context.Context) error { return nil }

// Wrote has nobody to tell: there is one node, which looks often enough.
func (t *transaction) Wrote(store.Topic) {}

// Try runs fn in a savepoint.
func (t *transaction) Try(ctx context.Context, fn func() error) error {
	if _, err := t.Exec(ctx, `SAVEPOINT try`, nil); err != nil {
		return err
	}
	err := fn()
	if t.failed != nil {
		return err // the writer rolls all of it back
	}
	if err != nil {
		if back := t.note(t.command(`ROLLBACK TO try`)); back != nil {
			return back
		}
	}
	if release := t.note(t.command(`RELEASE try`)); release != nil {
		return release
	}
	return err
}

// Zones are the store's time zones.
func (t *transaction) Zones() *sqlstore.Zones { return t.zones }

// violated gives SQLite's extended code of a broken constraint, else 0.
func violated(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CONSTRAINT {
		return e.Code()
	}
	return 0
}

// Damaged reports whether err says that a file is no database, or a damaged one.
func Damaged(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == lib.SQLITE_CORRUPT || e.Code()&0xff == lib.SQLITE_NOTADB)
}

// duplicate reports whether err is a broken primary or unique key.
func duplicate(err error) bool {
	code := violated(err)
	return code == lib.SQLITE_CONSTRAINT_PRIMARYKEY || code == lib.SQLITE_CONSTRAINT_UNIQUE
}

// orphan reports whether err is a reference to a row that is not there.
func orphan(err error) bool { return violated(err) == lib.SQLITE_CONSTRAINT_FOREIGNKEY }
