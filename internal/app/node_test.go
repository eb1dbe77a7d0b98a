package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/testkit/postgres"
)

// cluster gives the folders of nodes on one PostgreSQL, with one master key, and the
// address of their database.
func cluster(t *testing.T, nodes int) (dirs []string, database string) {
	t.Helper()
	s := postgres.Start(t)
	for range nodes {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, masterFile), []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs, "TANDEM_DATABASE_URL=" + s.URL(s.Database(t, ""))
}

func nodesOf(t *testing.T, a *App) (nodes []masking.Node) {
	t.Helper()
	err := a.store.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
		nodes, err = tx.Nodes(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func TestASecondProcessWithTheIdOfALivingNodeIsRefused(t *testing.T) {
	dirs, database := cluster(t, 2)
	first := start(t, options(t, dirs[0], database))
	id := []byte(first.node + "\n")
	if err := os.WriteFile(filepath.Join(dirs[1], nodeFile), id, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), options(t, dirs[1], database))
	if err == nil || !strings.Contains(err.Error(), "another process is running as "+first.node) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
	nodes := nodesOf(t, first)
	if len(nodes) != 1 || !nodes[0].Alive(first.o.Clock()) || len(nodes[0].Addresses) != 3 || nodes[0].Version != "test" {
		t.Errorf("nodes %+v", nodes)
	}
}

func TestANodeThatStopsIsGoneAndStartsAgainAtOnce(t *testing.T) {
	dir := t.TempDir()
	a, err := Start(t.Context(), options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	first := nodesOf(t, a)
	stop(t, a)
	a = start(t, options(t, dir))
	again := nodesOf(t, a)
	if len(first) != 1 || len(again) != 1 || first[0].ID != again[0].ID || !again[0].GoneAt.IsZero() || !again[0].StartedAt.After(first[0].StartedAt) {
		t.Errorf("before %+v\nafter %+v", first, again)
	}
}
