package postgres

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"tandem/internal/store"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// migrated makes a database of today's schema to copy.
func migrated(t testing.TB, s *server.Server) (template string) {
	t.Helper()
	template = s.Database(t, "")
	db, err := Open(context.Background(), Options{URL: s.URL(template)})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return template
}

// open opens a store and closes it with the test.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// empty makes a database what it is after its migrations, quicker than a new one or
// TRUNCATE, which make files.
func empty(t testing.TB, s *server.Server, database string) {
	t.Helper()
	s.Exec(t, database, `DO $$ DECLARE name TEXT; BEGIN
		SET LOCAL session_replication_role = replica; -- in whatever order
		FOR name IN SELECT tablename FROM pg_tables
			WHERE schemaname = 'public' AND tablename NOT IN ('schema_version', 'schema_lock', 'event_head', 'audit_head') LOOP
			EXECUTE 'DELETE FROM ' || name;
		END LOOP;
		UPDATE event_head SET cursor = 0;
		UPDATE audit_head SET sequence = 0, hash = decode(repeat('00', 32), 'hex');
	END $$`)
}

func TestTheEngineDoesWhatEveryStoreMust(t *testing.T) {
	s := server.Start(t)
	template := migrated(t, s)
	for _, isolation := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.Serializable} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel() // they mostly wait for the server
			database := s.Database(t, template)
			storetest.Run(t, func(t *testing.T) store.Store {
				empty(t, s, database)
				return open(t, Options{URL: s.URL(database), Isolation: isolation})
			})
		})
	}
}

func TestBothEnginesHaveTheSameMigrationsSinceTheyAreTwo(t *testing.T) {
	names := func(folder string) (list []string) {
		found, err := filepath.Glob(filepath.Join(folder, "*.sql"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if name := filepath.Base(path); name > "00015" {
				list = append(list, name)
			}
		}
		return list
	}
	if ours, theirs := names("migrations"), names("../sqlite/migrations"); !slices.Equal(ours, theirs) || len(ours) == 0 {
		t.Errorf("PostgreSQL's are %q, SQLite's %q", ours, theirs)
	}
}
