package postgres

import (
	"context"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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

// tables are all tables of the schema, those that refer to others first.
func tables(t testing.TB) (list []string) {
	t.Helper()
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(files)
	for _, name := range files {
		text, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?m)^DROP TABLE (\w+);$`).FindAllSubmatch(text, -1) {
			list = append(list, string(found[1]))
		}
	}
	return list
}

// empty makes a database what it is after its migrations, quicker than a new one or
// TRUNCATE, which make files.
func empty(t testing.TB, s *server.Server, database string, tables []string) {
	t.Helper()
	var text strings.Builder
	for _, table := range tables {
		if table != "event_head" && table != "audit_head" {
			text.WriteString("DELETE FROM " + table + ";")
		}
	}
	text.WriteString(`UPDATE event_head SET cursor = 0; UPDATE audit_head SET sequence = 0, hash = decode(repeat('00', 32), 'hex');`)
	s.Exec(t, database, text.String())
}

// On the server of TANDEM_TEST_DSN, if that is set.
func TestTheEngineDoesWhatEveryStoreMust(t *testing.T) {
	s := server.Given(t)
	all := tables(t)
	for _, isolation := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.Serializable} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel() // they mostly wait for the server
			database := s.Database(t, "")
			storetest.Run(t, func(t *testing.T) store.Store {
				db := open(t, Options{URL: s.URL(database), Isolation: isolation}) // which migrates it
				empty(t, s, database, all)
				return db
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

func TestThePoolForCallsIsSmallWhateverTheURLSaysOfTheOther(t *testing.T) {
	srv := server.Start(t)
	s := open(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv))) + "&pool_min_conns=10&pool_min_idle_conns=10"})
	if c := s.pool.Config(); c.MinConns != 10 || c.MinIdleConns != 10 {
		t.Errorf("the pool has %d and %d", c.MinConns, c.MinIdleConns)
	}
	if c := s.routers.Config(); c.MinConns != 0 || c.MinIdleConns != 1 || c.MaxConns != 4 {
		t.Errorf("that for calls has %d, %d and at most %d", c.MinConns, c.MinIdleConns, c.MaxConns)
	}
}
