package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// session is one connection with its prepared statements. It belongs to one
// goroutine at a time: the writer's, or that of the View that borrowed it.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // by text; texts are few: they vary by the length of a list only
	zones *zones
}

func newSession(ctx context.Context, db *sql.DB, z *zones) (*session, error) {
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

// reader answers a View.
type reader struct {
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

// during is the context in which a statement runs.
func (r *reader) during(ctx context.Context) context.Context {
	if r.interruptible {
		return ctx
	}
	return background()
}

// tx is a reader that may write. It lives as long as one closure of Update.
type tx struct {
	reader
	unclaimed masking.AllocationID // inserted by this closure, and holding nothing yet
}

var (
	_ store.Reader = (*reader)(nil)
	_ store.Tx     = (*tx)(nil)
)

func (r *reader) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	if err := ctx.Err(); err != nil {
		return nil, r.note(err)
	}
	st, err := r.prepare(text)
	return st, r.note(err)
}

// note remembers an error after which the transaction cannot be trusted.
func (r *reader) note(err error) error {
	if err == nil || errors.Is(err, sql.ErrNoRows) || violated(err) != 0 {
		return err
	}
	err = fmt.Errorf("sqlite: %w", err)
	if r.failed == nil {
		r.failed = err
	}
	return err
}

// row runs a query for at most one row; sql.ErrNoRows if there is none.
func (r *reader) row(ctx context.Context, text string, args []any, dest ...any) error {
	st, err := r.statement(ctx, text)
	if err != nil {
		return err
	}
	err = st.QueryRowContext(r.during(ctx), args...).Scan(dest...)
	if isCorrupt(err) {
		return err
	}
	return r.note(err)
}

// found tells whether a query has a row.
func (r *reader) found(ctx context.Context, text string, args ...any) (bool, error) {
	var one int
	err := r.row(ctx, text, args, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// list runs a query and scans each row.
func list[T any](ctx context.Context, r *reader, text string, args []any, scan func(*reader, scanner) (T, error)) ([]T, error) {
	st, err := r.statement(ctx, text)
	if err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(r.during(ctx), args...)
	if err != nil {
		return nil, r.note(err)
	}
	defer func() { _ = rows.Close() }() // Err below has what Close could say
	var out []T
	for rows.Next() {
		v, err := scan(r, rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, r.note(rows.Err())
}

// exec runs a statement and tells how many rows it changed.
func (t *tx) exec(ctx context.Context, text string, args ...any) (int64, error) {
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

// violated gives SQLite's extended code of a broken constraint, else 0.
func violated(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CONSTRAINT {
		return e.Code()
	}
	return 0
}

// duplicate reports whether err is a broken primary or unique key.
func duplicate(err error) bool {
	code := violated(err)
	return code == lib.SQLITE_CONSTRAINT_PRIMARYKEY || code == lib.SQLITE_CONSTRAINT_UNIQUE
}

// orphan reports whether err is a reference to a row that is not there.
func orphan(err error) bool { return violated(err) == lib.SQLITE_CONSTRAINT_FOREIGNKEY }

// marks is "?, ?, ?" with n marks.
func marks(n int) string {
	if n == 0 {
		return ""
	}
	return strings.Repeat("?, ", n-1) + "?"
}
