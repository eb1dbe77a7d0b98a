package main

import (
	"database/sql"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// contents are the rows of the tables that a create writes.
func contents(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var all strings.Builder
	for table, order := range map[string]string{"allocation": "id", "party": "number", "claim": "virtual_number, caller",
		"virtual_number": "number", "event": "id"} {
		rows, err := db.Query(`SELECT * FROM ` + table + ` ORDER BY ` + order)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		for rows.Next() {
			if err := rows.Scan(values...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(&all, table, ":")
			for i, c := range columns {
				if c != "cursor" { // the order of concurrent clients
					fmt.Fprint(&all, " ", *values[i].(*any))
				}
			}
			fmt.Fprintln(&all)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

func TestTheBareLoopWritesWhatTheStoreWrites(t *testing.T) {
	o := settings{dir: t.TempDir(), clients: 8, creates: 100, synchronous: "normal"}
	for name, open := range map[string]way{"store.db": viaStore, "bare.db": viaBareLoop} {
		f, err := measure(t.Context(), o, name, open)
		if err != nil || f.perSecond <= 0 || f.cpu <= 0 {
			t.Fatalf("%s: %+v, %v", name, f, err)
		}
	}
	stored, bared := contents(t, filepath.Join(o.dir, "store.db")), contents(t, filepath.Join(o.dir, "bare.db"))
	if strings.Count(stored, "\n") != 100*(1+2+2+1)+pool {
		t.Errorf("the store wrote %d rows", strings.Count(stored, "\n"))
	}
	for line := range strings.Lines(stored) {
		if !strings.Contains(bared, line) {
			t.Fatalf("the bare loop did not write\n%s", line)
		}
	}
	if len(stored) != len(bared) {
		t.Errorf("%d bytes of rows by the store, %d by the bare loop", len(stored), len(bared))
	}
}

func TestBothTablesArePrinted(t *testing.T) {
	var out strings.Builder
	o := settings{dir: t.TempDir(), clients: 2, creates: 20, rounds: 1, synchronous: "normal", small: 20, large: 40, calls: 40}
	for range 2 { // the second run routes over what the first one left
		if err := run(t.Context(), o, &out); err != nil {
			t.Fatal(err)
		}
		o.creates = 0
	}
	for _, part := range []string{"by CPU", "20 claims", "40 claims"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing in\n%s", part, out.String())
		}
	}
	if err := run(t.Context(), settings{dir: t.TempDir(), creates: 1, rounds: 1, clients: 1, synchronous: "off"}, io.Discard); err == nil {
		t.Error("synchronous=off was accepted")
	}
}
