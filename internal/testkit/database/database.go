// Package database gives tests databases that are migrated already. Every process that
// tests start migrates its own.
package database

import (
	"context"
	"io"
	"testing"

	"tandem/internal/store/sqlite"
	"tandem/internal/store/storetest"
)

// Put puts an empty database of SQLite, of today's schema, at path, where there is none yet.
var Put = storetest.Template(func(path string) (io.Closer, error) {
	return sqlite.Open(context.Background(), sqlite.Options{Path: path, Synchronous: sqlite.Normal})
})

// Open makes such a database and opens it. Who opens it closes it.
func Open(t testing.TB, o sqlite.Options) *sqlite.Store {
	t.Helper()
	if err := Put(o.Path); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
