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

// MigrateUp brings a schema up to this program's version, and refuses one of a newer
// program.
func MigrateUp(ctx context.Context, p *goose.Provider) error {
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	if have > want {
		return fmt.Errorf("the database has schema version %d, this program knows %d: it is older than the data", have, want)
	}
	if have == want {
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
