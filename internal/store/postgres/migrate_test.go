package postgres

import (
	"strings"
	"testing"

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
