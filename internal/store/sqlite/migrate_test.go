package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
)

// schema is every object of the database with its text.
func schema(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.Query(`SELECT type, name, COALESCE(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND tbl_name <> ? ORDER BY type, name`, sqlstore.VersionTable)
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

// migrator is a database at no version, or at the one that it has, and what moves it.
func migrator(t *testing.T, path string) (*sql.DB, *sqlstore.Migrator) {
	t.Helper()
	o, err := Options{Path: path}.filled()
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
	return db, m
}

func TestMigrationsGoUpAndDownAndUpAgain(t *testing.T) {
	db, m := migrator(t, filepath.Join(t.TempDir(), "tandem.db"))
	versions, after := []int64{0}, []string{schema(t, db)}
	for _, source := range m.ListSources() {
		if _, err := m.UpByOne(t.Context()); err != nil {
			t.Fatal(err)
		}
		versions, after = append(versions, source.Version), append(after, schema(t, db))
	}
	last := len(after) - 1
	if v, err := m.GetDBVersion(t.Context()); err != nil || v != versions[last] || last == 0 {
		t.Fatalf("version %d, %v", v, err)
	}
	for i := last - 1; i >= 0; i-- {
		if _, err := m.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := schema(t, db); got != after[i] {
			t.Errorf("down to %d leaves\n%s\nwant\n%s", versions[i], got, after[i])
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

// newer is what a later release would do to a schema: it adds to every table, or takes
// something away and says so.
func newer(t *testing.T, db *sql.DB, contracts bool) {
	t.Helper()
	tables, err := db.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ('schema_version', 'about')`)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for tables.Next() {
		var name string
		if err := tables.Scan(&name); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, `ALTER TABLE `+name+` ADD COLUMN later TEXT NOT NULL DEFAULT 'x'`)
	}
	if err := errors.Join(tables.Err(), tables.Close()); err != nil {
		t.Fatal(err)
	}
	if contracts {
		texts = append(texts, `INSERT INTO about (name, value) VALUES ('oldest_program', '999') ON CONFLICT (name) DO UPDATE SET value = excluded.value`)
	}
	texts = append(texts, `CREATE TABLE later (id TEXT NOT NULL PRIMARY KEY) STRICT`, `INSERT INTO `+sqlstore.VersionTable+` (version_id, is_applied) VALUES (999, 1)`)
	for _, text := range texts {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
}

// So a node of the release before starts, and works, beside those of the next one.
func TestAllWorksOnASchemaThatANewerProgramHasAddedTo(t *testing.T) {
	added := storetest.Template(func(path string) (io.Closer, error) {
		if err := empty(path); err != nil {
			return nil, err
		}
		db, _ := migrator(t, path)
		newer(t, db, false)
		return db, nil
	})
	storetest.Run(t, func(t *testing.T) store.Store {
		o := Options{Path: filepath.Join(t.TempDir(), "tandem.db"), Synchronous: Normal}
		if err := added(o.Path); err != nil {
			t.Fatal(err)
		}
		return openTemp(t, o)
	})
}

func TestADatabaseFromWhichANewerProgramHasTakenSomethingIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	if err := empty(path); err != nil {
		t.Fatal(err)
	}
	db, _ := migrator(t, path)
	newer(t, db, true)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []sqlstore.Opening{{}, {Purpose: sqlstore.ToRead}, {Purpose: sqlstore.ToFill, Schema: 23}} {
		again, err := Open(t.Context(), Options{Path: path, Opening: o})
		if err == nil {
			_ = again.Close()
			t.Fatal("opened")
		}
		if !strings.Contains(err.Error(), "999") {
			t.Errorf("the error does not tell the version: %v", err)
		}
	}
}

func TestWhatIsReadIsNeitherMadeNorChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	read := Options{Path: path, Opening: sqlstore.Opening{Purpose: sqlstore.ToRead}}
	if _, err := Open(t.Context(), read); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	db, m := migrator(t, path)
	if _, err := m.UpTo(t.Context(), 22); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), read); err == nil || !strings.Contains(err.Error(), "migrate up") {
		t.Errorf("a schema of long ago: %v", err)
	}
	if v, err := m.GetDBVersion(t.Context()); err != nil || v != 22 {
		t.Errorf("version %d, %v", v, err)
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := openTemp(t, read)
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.SetFact(ctx, store.FactMasterKey, "x") })
	if err == nil {
		t.Error("written to")
	}
}

// firstRelease are rows as the first release wrote them: a number lent whole, one
// that is shared, an allocation that has ended.
func firstRelease() string {
	end := storetest.Start().UnixMilli() + 3_600_000
	ids := []any{end, storetest.AllocationID(1), storetest.AllocationID(2), storetest.CallID(1)}
	return fmt.Sprintf(`INSERT INTO tenant VALUES ('acme', 'ac_acme', 'Acme', 'Asia/Kolkata', 50, 100, 1000, 2000, 3000, 4000);
		INSERT INTO virtual_number VALUES ('+918000000001', 'acme', 'exclusive', 'AP', 'landline', 1, 0, %[1]d, 7),
			('+918000000002', 'acme', 'shared', '', '', 0, 0, 0, 7), ('+918000000003', 'acme', 'exclusive', '', '', 0, 0, 0, 7);
		INSERT INTO allocation VALUES
			('%[2]s', 'acme', '+918000000001', '+919900000001', '+919900000002', 'twoway', 1, 'x', 1, 2, %[1]d, 0, '', 5, 4, 3),
			('%[3]s', 'acme', '+918000000002', '+919900000003', '+919900000004', 'oneway', 0, '', 1, 2, %[1]d, 9, 'api', 0, 0, 0);
		INSERT INTO party VALUES ('+919900000001', 'acme', '%[2]s', '+918000000001', 'from', 0, 0, %[1]d),
			('+919900000002', 'acme', '%[2]s', '+918000000001', 'to', 0, 0, %[1]d);
		INSERT INTO claim VALUES ('+918000000001', '*', '%[2]s', %[1]d), ('+918000000001', '+919900000001', '%[2]s', %[1]d),
			('+918000000001', '+919900000002', '%[2]s', %[1]d);
		INSERT INTO call VALUES ('%[4]s', 'acme', '%[2]s', '+918000000001', '+919900000001', '', 'from_to', 'x', 'node-1',
			1, 2, 0, 3, 4, '', '', '[]');
		INSERT INTO trunk VALUES ('carrier', '192.0.2.0/24', '192.0.2.1:5060 [2001:db8::7]:5060', 'udp', 'IN', 'e164', 1, 1, 1, 0, 0, '*', 5, 6)`, ids...)
}

// rows are all rows of the tables that the first release has.
func rowsOf(t *testing.T, db *sql.DB) (all []string) {
	t.Helper()
	for _, table := range []string{"tenant", "virtual_number", "allocation", "party", "claim", "call", "trunk"} {
		rows, err := db.QueryContext(t.Context(), `SELECT * FROM `+table+` ORDER BY 1, 2, 3`)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row := make([]any, len(columns))
			for i := range row {
				row[i] = new(any)
			}
			if err := rows.Scan(row...); err != nil {
				t.Fatal(err)
			}
			line := table
			for i, column := range columns {
				line += fmt.Sprintf(" %s=%v", column, *row[i].(*any))
			}
			all = append(all, line)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestRowsOfTheFirstReleaseGetDefaultsAndComeBackUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	db, m := migrator(t, path)
	if _, err := m.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), firstRelease()); err != nil {
		t.Fatal(err)
	}
	before := rowsOf(t, db)
	if len(before) != 13 {
		t.Fatalf("%d rows", len(before))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := openTemp(t, Options{Path: path})
	checkDefaults(t, s)
	usePINs(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, m = migrator(t, path)
	if _, err := m.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if after := rowsOf(t, db); !reflect.DeepEqual(after, before) {
		t.Errorf("down leaves\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	checkDefaults(t, openTemp(t, Options{Path: path}))
}

// checkDefaults reads the rows of the first release through the port.
func checkDefaults(t *testing.T, s *Store) {
	t.Helper()
	r, err := s.Route(t.Context(), storetest.Virtual(1), storetest.Person(2))
	if err != nil {
		t.Fatal(err)
	}
	got, want := r.Tenant.Settings, masking.DefaultSettings(r.Tenant.Settings.Zone)
	want.RateLimit, want.MaxDuration, want.RingEach, want.RingTotal = got.RateLimit, got.MaxDuration, got.RingEach, got.RingTotal
	if !reflect.DeepEqual(got, want) {
		t.Errorf("settings %+v, want the defaults %+v", got, want)
	}
	if r.PINs || r.Number.Strangers != (masking.StrangerPolicy{}) || len(r.Found) != 1 {
		t.Fatalf("route %+v", r)
	}
	a := r.Found[0]
	if a.ID != storetest.AllocationID(1) || len(a.PINs()) != 0 || a.MaxPINAttempts != 0 || a.Tally.Calls != 5 {
		t.Errorf("allocation %+v", a)
	}
	err = s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		tr, err := tx.Trunk(ctx, "carrier")
		if err != nil || tr.OptionsEvery != masking.DefaultOptionsEvery || tr.Auth.Username != "" || tr.Register.Domain != "" || len(tr.Targets) != 2 {
			err = errors.Join(err, fmt.Errorf("trunk %+v", tr))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	err = s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		c, err := tx.Call(ctx, "acme", storetest.CallID(1))
		if err == nil && c.Recorded {
			err = errors.New("the call is recorded")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// usePINs writes what only this release knows.
func usePINs(t *testing.T, s *Store) {
	t.Helper()
	now := storetest.Start()
	pin := storetest.ByPIN(storetest.Allocation("acme", storetest.AllocationID(7), storetest.Virtual(3), storetest.People(1), nil), "4821")
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		a, err := tx.Allocation(ctx, "acme", storetest.AllocationID(1))
		if err != nil {
			return err
		}
		a.PIN = "4822"
		tr, err := tx.Trunk(ctx, "carrier")
		if err != nil {
			return err
		}
		tr.Targets = slices.Concat([]masking.Target{{Host: "3cafe.de"}}, tr.Targets, []masking.Target{{Host: "sip.carrier.example", Port: 5060}})
		tr.Auth = masking.Credentials{Username: "acme", Realm: "r", Sealed: []byte("sealed")}
		return errors.Join(tx.UpdateTrunk(ctx, tr),
			tx.InsertAllocation(ctx, pin), tx.Hold(ctx, pin, masking.Exclusive, now),
			tx.UpdateAllocation(ctx, a), tx.Hold(ctx, a, masking.Exclusive, now),
			tx.CountWrong(ctx, []masking.TriesOf{{VirtualNumber: storetest.Virtual(3), Allocation: pin.ID, Caller: storetest.Person(1)}}, now),
			tx.BeginRecording(ctx, masking.Recording{Call: storetest.CallID(1), Tenant: "acme", Status: masking.RecordingRunning}),
			tx.PutPrompt(ctx, storetest.Prompt("acme", "en", "enter-pin")))
	})
	if err != nil {
		t.Fatal(err)
	}
}
