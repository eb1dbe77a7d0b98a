package sqlite

import (
	"database/sql"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

// schema is every object of the database with its text.
func schema(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.Query(`SELECT type, name, COALESCE(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND tbl_name <> ? ORDER BY type, name`, versionTable)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var kind, name, text string
		if err := rows.Scan(&kind, &name, &text); err != nil {
			t.Fatal(err)
		}
		all = append(all, kind+" "+name+": "+text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func TestMigrationsGoUpAndDownAndUpAgain(t *testing.T) {
	o, err := Options{Path: filepath.Join(t.TempDir(), "tandem.db")}.filled()
	if err != nil {
		t.Fatal(err)
	}
	db, err := openDatabase(o, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	m, err := newMigrator(db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	after := []string{schema(t, db)} // index: version
	for range m.ListSources() {
		if _, err := m.UpByOne(t.Context()); err != nil {
			t.Fatal(err)
		}
		after = append(after, schema(t, db))
	}
	last := int64(len(after) - 1)
	if v, err := m.GetDBVersion(t.Context()); err != nil || v != last || last == 0 {
		t.Fatalf("version %d, %v", v, err)
	}
	for v := last - 1; v >= 0; v-- {
		if _, err := m.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := schema(t, db); got != after[v] {
			t.Errorf("down to %d leaves\n%s\nwant\n%s", v, got, after[v])
		}
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := schema(t, db); got != after[last] || !strings.Contains(got, "table claim:") {
		t.Errorf("up again gives\n%s", got)
	}
}

func TestEveryMigrationGoesBothWaysAndHasNoTrigger(t *testing.T) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		text, err := migrations.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"-- +goose Up", "-- +goose Down"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s has no %q", file, part)
			}
		}
		if strings.Contains(strings.ToUpper(string(text)), "TRIGGER") {
			t.Errorf("%s has a trigger, which does not go everywhere", file)
		}
	}
}

func TestADatabaseOfANewerProgramIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := openTemp(t, Options{Path: path})
	if _, err := s.sessions[len(s.sessions)-1].conn.ExecContext(t.Context(),
		`INSERT INTO `+versionTable+` (version_id, is_applied) VALUES (999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), Options{Path: path})
	if err == nil {
		_ = again.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "999") {
		t.Errorf("the error does not tell the version: %v", err)
	}
}
