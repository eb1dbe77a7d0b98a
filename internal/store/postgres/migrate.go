package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"tandem/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// lockWithin is how long a migration waits for a table that somebody reads, such as a
	// backup. All others who want it wait behind the migration meanwhile, the reads of
	// calls too, and those wait for no more than a second (package sentry).
	lockWithin = 500 * time.Millisecond
	// lockAgain is for how long it leaves the table to them before it tries again.
	lockAgain = 2 * time.Second
	// toldEvery is how many tries it tells of once.
	toldEvery = 30
)

// migrator is a database whose schema is moved beside the servers that use it.
type migrator struct {
	*sqlstore.Migrator
	db  *sql.DB
	c   *pgx.ConnConfig
	log *slog.Logger
}

// openMigrator connects to a database. It has to be closed.
func openMigrator(ctx context.Context, c *pgx.ConnConfig, log *slog.Logger) (*migrator, error) {
	db := stdlib.OpenDB(*c, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf(`SET lock_timeout = %d`, lockWithin.Milliseconds()))
		return err
	}))
	if err := reach(ctx, db, c); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	locker, err := lock.NewPostgresTableLocker(lock.WithTableName(sqlstore.LockTable), lock.WithTableLogger(log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: migrations: %w", err), db.Close())
	}
	m, err := sqlstore.NewMigrator(goose.DialectPostgres, db, migrations, log, goose.WithLocker(locker))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: %w", err), db.Close())
	}
	return &migrator{m, db, c, log}, nil
}

// reach sees that a database answers, and refuses one that cannot keep every text.
func reach(ctx context.Context, db *sql.DB, c *pgx.ConnConfig) error {
	var encoding string
	if err := db.QueryRowContext(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return remedy(err, c)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("postgres: the database has the encoding %s, not UTF8", encoding)
	}
	return nil
}

// prepare brings the schema to where it has to be. Of several nodes that start together
// one does it and the others wait.
func (m *migrator) prepare(ctx context.Context, o sqlstore.Opening) error {
	return m.patiently(ctx, func() error { return m.Prepare(ctx, o) })
}

// patiently migrates, again and again where a table is in use, until ctx is done.
func (m *migrator) patiently(ctx context.Context, migrate func() error) error {
	for n := 0; ; n++ {
		err := migrate()
		var said *pgconn.PgError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &said) && said.Code == insufficientPrivilege:
			return remedy(err, m.c)
		case said == nil || said.Code != lockNotAvailable:
			return fmt.Errorf("postgres: %w", err)
		case n%toldEvery == 0:
			m.tell(ctx, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("postgres: %w", errors.Join(err, ctx.Err()))
		case <-time.After(lockAgain):
		}
	}
}

// tell says what a migration waits for, as far as the server tells us.
func (m *migrator) tell(ctx context.Context, err error) {
	var failed *goose.PartialError
	what := []any{"tries_every", (lockWithin + lockAgain).String()}
	if errors.As(err, &failed) {
		what = append(what, "migration", failed.Failed.Source.Path)
	}
	var pid int64
	var program string
	var since time.Time
	err = m.db.QueryRowContext(ctx, `SELECT pid, COALESCE(application_name, ''), xact_start FROM pg_stat_activity
		WHERE datname = $1 AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1`, m.c.Database).Scan(&pid, &program, &since)
	if err == nil {
		what = append(what, "oldest_transaction_of", pid, "program", program, "since", since)
	}
	m.log.Warn("a migration waits for a table that is in use, most likely by a backup: it tries again until that is over, and servers go on meanwhile", what...)
}

// Migrate takes a step with the schema of a database that is there.
func Migrate(ctx context.Context, o Options, step sqlstore.Step) (s sqlstore.Schema, err error) {
	o = o.filled()
	c, err := parse(o.URL)
	if err != nil {
		return s, err
	}
	m, err := openMigrator(ctx, c.ConnConfig, o.Log)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, m.db.Close()) }()
	return s, m.patiently(ctx, func() (err error) { s, err = m.Take(ctx, step); return err })
}
