package postgres

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// What works on such a schema is shown on SQLite, statement by statement.
func TestANodeOfTheReleaseBeforeStartsUntilSomethingWasTakenAway(t *testing.T) {
	pg := server.Start(t)
	database := pg.Database(t, "")
	o := Options{URL: pg.URL(database)}
	old := open(t, o)
	for _, text := range []string{`ALTER TABLE tenant ADD COLUMN later TEXT NOT NULL DEFAULT 'x'`, `ALTER TABLE event ADD COLUMN later TEXT NOT NULL DEFAULT 'x'`,
		`CREATE TABLE later (id TEXT NOT NULL PRIMARY KEY)`, `INSERT INTO schema_version (version_id, is_applied) VALUES (999, true)`} {
		pg.Exec(t, database, text)
	}
	storetest.Fill(t, open(t, o), 3)
	if err := storetest.Create(t.Context(), old, storetest.Allocation("acme", storetest.AllocationID(9), storetest.Virtual(1), storetest.People(91), storetest.People(92)), storetest.Start()); err != nil {
		t.Errorf("one that runs already: %v", err)
	}
	s, err := Migrate(t.Context(), o, sqlstore.Up)
	if err != nil || s.Version != 999 || s.Known >= 999 || len(s.Pending) > 0 {
		t.Errorf("schema %+v, %v", s, err)
	}
	pg.Exec(t, database, `INSERT INTO about (name, value) VALUES ('oldest_program', '999')`)
	if again, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "schema version 999") {
		if err == nil {
			_ = again.Close()
		}
		t.Errorf("after something was taken away: %v", err)
	}
}

// told takes the lines of a log, for who waits for one.
type told chan string

func (l told) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestAMigrationThatWaitsForABackupHoldsNoServerUp(t *testing.T) {
	pg := server.Start(t)
	o := Options{URL: pg.URL(pg.Database(t, migrated(t, pg)))}
	if _, err := Migrate(t.Context(), o, sqlstore.DownTo(23)); err != nil {
		t.Fatal(err)
	}
	serving := o
	serving.Opening.Purpose = sqlstore.ToRead // with the schema that there is
	s := open(t, serving)
	read := func(ctx context.Context, tx store.Reader) error { // as a release does that knows no newer column
		_, err := tx.(*sqlstore.Reader).Conn().Exec(ctx, `SELECT id FROM call`, nil)
		return err
	}
	reads, over := make(chan bool), make(chan bool)
	backup, up := make(chan error, 1), make(chan error, 1)
	go func() {
		backup <- s.View(store.Long(t.Context()), func(ctx context.Context, tx store.Reader) error {
			err := read(ctx, tx)
			close(reads)
			<-over
			return err
		})
	}()
	<-reads
	lines := make(told, 1000)
	o.Log = slog.New(slog.NewTextHandler(lines, nil))
	go func() { _, err := Migrate(t.Context(), o, sqlstore.Up); up <- err }()
	for waits := false; !waits; {
		select {
		case line := <-lines:
			waits = strings.Contains(line, "a migration waits") && strings.Contains(line, "00024") && strings.Contains(line, "oldest_transaction_of")
		case err := <-up:
			t.Fatalf("it waits for nobody: %v", err)
		}
	}
	for range 100 {
		if err := s.View(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			_, err := connOf(tx).Exec(ctx, `UPDATE call SET cause = ? WHERE id = ?`, []any{"x", "none"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(over)
	if err := errors.Join(<-backup, <-up); err != nil {
		t.Error(err)
	}
}
