package sqlstore

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/pressly/goose/v3"

	"tandem/internal/store"
)

// VersionTable is where goose notes what has been applied.
const VersionTable = "schema_version"

// firstFacts is the first schema version that has facts of the database (table about).
const firstFacts = 23

// A Purpose is what a database is opened for.
type Purpose int

// The purposes.
const (
	// ToServe: it is made if it is missing, and brought up to this program's schema.
	ToServe Purpose = iota
	// ToRead: it is there, and stays as it is.
	ToRead
	// ToFill: it is made if it is missing, with the schema that Opening names.
	ToFill
)

// An Opening says what a database is opened for. The zero value is to serve.
type Opening struct {
	Purpose Purpose
	Schema  int64 // the version to fill; not beyond this program's
	// Wake is told when something of a topic may have changed, on whichever node; it must
	// not block. It may be told for nothing, and may miss what is told while the
	// connection is away; then it is told of all once that is back. nil: nobody listens,
	// and nobody is told of what is changed here. Where there is one node alone nobody is.
	Wake func(store.Topic)
}

// A Schema is which migrations a database has and which the program knows.
type Schema struct {
	Version int64 // 0 for an empty database
	Known   int64 // the last that this program knows
	// Oldest is the least that a program must know to use the database: the number of
	// the last migration that has taken something away. 0 if none has.
	Oldest  int64
	Pending []string // files of migrations that are still to come
}

// A Step is what an operator has a migrator do with a schema.
type Step func(ctx context.Context, s Schema, p *goose.Provider) error

// Look does nothing.
func Look(context.Context, Schema, *goose.Provider) error { return nil }

// Up applies what is pending.
func Up(ctx context.Context, s Schema, p *goose.Provider) error { return s.up(ctx, p) }

// DownTo takes back all migrations behind a version, with what was written where they
// had made room for it.
func DownTo(version int64) Step {
	return func(ctx context.Context, s Schema, p *goose.Provider) error {
		first := p.ListSources()[0].Version
		switch {
		case s.Version > s.Known:
			return s.tooNew()
		case version < first || version >= s.Version:
			return fmt.Errorf("the database has schema version %d: it can go down to %d at the least, not to %d", s.Version, first, version)
		}
		if _, err := p.DownTo(ctx, version); err != nil {
			return fmt.Errorf("migrate down: %w", err)
		}
		return nil
	}
}

// Newer says what this program can do with a schema of a newer one; "" for its own.
func (s Schema) Newer() string {
	switch {
	case s.Version <= s.Known:
		return ""
	case s.Oldest > s.Known:
		return "this program cannot use the database: use the newer release's tandem"
	}
	return "this program serves on it, but cannot back it up, copy it or take it back: use the newer release's tandem for that"
}

func (s Schema) tooNew() error {
	return fmt.Errorf("the database has schema version %d, this program knows %d: it is older than the data; use the newer release's tandem for this", s.Version, s.Known)
}

// up applies what is pending. A schema that a newer program has only added to is taken
// as it is: so nodes of two releases work side by side while one follows the other.
func (s Schema) up(ctx context.Context, p *goose.Provider) error {
	switch {
	case s.Version > s.Known && s.Oldest > s.Known:
		return s.tooNew()
	case s.Version >= s.Known:
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate up: %w", err)
	}
	return nil
}

// Run runs the closure of an Update and makes an error of a panic. What was panicked
// with may hold a number, so only errors of the Go runtime are repeated.
func Run(ctx context.Context, log *slog.Logger, c Conn, fn func(context.Context, store.Tx) error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		what := fmt.Sprintf("%T", p)
		if re, ok := p.(runtime.Error); ok {
			what = re.Error()
		}
		log.Error("an update panicked", "panic", what, "stack", string(debug.Stack()))
		err = fmt.Errorf("store: an update panicked: %s", what)
	}()
	return fn(ctx, NewTx(c))
}
