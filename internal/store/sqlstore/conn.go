// Package sqlstore is what the engines of the store have in common: all statements,
// written once in SQL that SQLite and PostgreSQL both take, and how their rows become
// the domain's values. An engine gives it a Conn for each transaction and adds what
// is its own: where transactions begin and end, and what it must lock because others
// write at the same time.
//
// A place for a value is written "?". A hint INDEXED BY is for SQLite; other engines
// leave it out. What is for engines with several writers alone is a comment (PassLocked).
// A condition on which an index depends is written out, never bound.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Scanner is a row.
type Scanner interface{ Scan(dest ...any) error }

// Conn runs the statements of one transaction, for one goroutine.
//
// After an error that is not sql.ErrNoRows the transaction may be lost: every further
// statement gives that error again, and it does not commit. What breaks a key
// (ErrDuplicate, ErrOrphan) within Try loses no more than Try undoes.
type Conn interface {
	// Row scans the one row of a query; sql.ErrNoRows if there is none.
	Row(ctx context.Context, text string, args []any, dest ...any) error
	// Query calls scan for each row, and ends with its first error.
	Query(ctx context.Context, text string, args []any, scan func(Scanner) error) error
	// Exec tells how many rows a statement has changed.
	Exec(ctx context.Context, text string, args []any) (int64, error)
	// Lock locks rows, a table and its condition, to the end of an Update and within
	// it before the next statement. An engine with one writer has nothing to do, and
	// there is nothing to do in a View.
	Lock(strength Strength, rows string, args ...any)
	// Ordered comes before statements that read events: all that have been committed
	// have their cursors then.
	Ordered(ctx context.Context) error
	// Try runs fn in a savepoint and goes back to it if fn gives an error.
	Try(ctx context.Context, fn func() error) error
	// Wrote says what an Update has changed that nodes look for: they may be woken once
	// it has committed.
	Wrote(t store.Topic)
	// Zones are the store's time zones.
	Zones() *Zones
	// Shapes are all tables of the schema, by name.
	Shapes(ctx context.Context) (map[string]*Shape, error)
	// Stretches are what a table's rows are read from, one stretch behind the other in the
	// order of the key: the table, or queries that go by its name, each with all columns of t.
	Stretches(t store.Table) []string
	// EventHead is the last cursor that events have in their stretches, or had before they
	// were removed; SetEventHead says which it was.
	EventHead(ctx context.Context) (int64, error)
	SetEventHead(ctx context.Context, cursor int64) error
	// Sound looks for damage.
	Sound(ctx context.Context) error
}

// The keys that a statement can break.
var (
	ErrDuplicate = errors.New("store: a row with this key exists")
	ErrOrphan    = errors.New("store: a row refers to one that is not there")
)

// Strength is how rows are locked.
type Strength string

// The locks of rows: against everybody; against those who change them too, but not those
// who write what refers to them; against those who write; and against those who lock
// ForUpdate.
const (
	ForUpdate      Strength = "FOR UPDATE"
	ForNoKeyUpdate Strength = "FOR NO KEY UPDATE"
	ForShare       Strength = "FOR SHARE"
	ForKeyShare    Strength = "FOR KEY SHARE"
)

// Reader answers a View.
type Reader struct{ c Conn }

// Tx is a Reader that may write. It lives as long as one closure of Update.
type Tx struct {
	Reader
	unclaimed masking.AllocationID // inserted by this closure, and holding nothing yet
	entering  bool                 // numbers enter pools: nobody who checks parties comes between
}

var (
	_ store.Reader = (*Reader)(nil)
	_ store.Tx     = (*Tx)(nil)
)

// NewReader reads by a connection.
func NewReader(c Conn) *Reader { return &Reader{c} }

// NewTx reads and writes by a connection.
func NewTx(c Conn) *Tx { return &Tx{Reader: Reader{c}} }

// Conn is what the statements run by.
func (r *Reader) Conn() Conn { return r.c }

// row runs a query for at most one row; sql.ErrNoRows if there is none.
func (r *Reader) row(ctx context.Context, text string, args []any, dest ...any) error {
	return r.c.Row(ctx, text, args, dest...)
}

// found tells whether a query has a row.
func (r *Reader) found(ctx context.Context, text string, args ...any) (bool, error) {
	var one int
	err := r.row(ctx, text, args, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// list runs a query and scans each row.
func list[T any](ctx context.Context, r *Reader, text string, args []any, scan func(*Reader, Scanner) (T, error)) ([]T, error) {
	var out []T
	err := r.c.Query(ctx, text, args, func(row Scanner) error {
		v, err := scan(r, row)
		if err == nil {
			out = append(out, v)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// exec runs a statement and tells how many rows it changed.
func (t *Tx) exec(ctx context.Context, text string, args ...any) (int64, error) {
	return t.c.Exec(ctx, text, args)
}

// insert runs an INSERT that may meet a taken key: a refusal, after which the
// transaction goes on.
func (t *Tx) insert(ctx context.Context, what, text string, args ...any) error {
	return t.c.Try(ctx, func() error {
		_, err := t.exec(ctx, text, args...)
		return inserted(what, err)
	})
}

// absent makes a missing row the domain's ErrNotFound.
func absent(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return masking.ErrNotFound()
	}
	return err
}

// exactlyOne makes a change that met no row ErrNotFound.
func exactlyOne(n int64, err error) error {
	if err == nil && n == 0 {
		return masking.ErrNotFound()
	}
	return err
}

// inserted translates what an INSERT hit: a taken key is Conflict
// already_exists, a reference to nothing is ErrNotFound.
func inserted(what string, err error) error {
	switch {
	case errors.Is(err, ErrDuplicate):
		return &masking.Error{Kind: masking.Conflict, Code: masking.CodeAlreadyExists, Message: what + " exists already"}
	case errors.Is(err, ErrOrphan):
		return masking.ErrNotFound()
	}
	return err
}

// marks is "?, ?, ?" with n marks.
func marks(n int) string {
	if n == 0 {
		return ""
	}
	return strings.Repeat("?, ", n-1) + "?"
}
