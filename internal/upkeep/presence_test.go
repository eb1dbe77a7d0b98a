package upkeep

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
	"tandem/internal/testkit/database"
)

// running is a database with a node that has joined.
func running(t *testing.T) (store.Store, *Presence) {
	t.Helper()
	s := database.Open(t, sqlite.Options{Path: filepath.Join(t.TempDir(), "t.db"), Synchronous: sqlite.Normal})
	t.Cleanup(func() { _ = s.Close() })
	p := NewPresence(s, time.Now, masking.Node{ID: "node-a", Folder: "here"})
	if err := p.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Beat(t.Context(), nil, 0, false); err != nil {
		t.Fatal(err)
	}
	return s, p
}

func change(t *testing.T, s store.Store, fn func(context.Context, store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func seen(t *testing.T, s store.Store) (nodes []masking.Node) {
	t.Helper()
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
		nodes, err = tx.Nodes(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func TestANodeGivesNoSignOfLifeInADatabaseThatIsBeingFilled(t *testing.T) {
	s, p := running(t)
	before := seen(t, s)
	change(t, s, func(ctx context.Context, tx store.Tx) error { return tx.SetFact(ctx, store.FactState, "{}") })
	if _, err := p.Beat(t.Context(), nil, 0, false); !errors.Is(err, ErrOver) {
		t.Errorf("a sign of life: %v", err)
	}
	other := NewPresence(s, time.Now, masking.Node{ID: "node-b"})
	if err := other.Join(t.Context()); !errors.Is(err, ErrOver) {
		t.Errorf("another one joined: %v", err)
	}
	if now := seen(t, s); len(now) != 1 || !now[0].SameLife(before[0]) {
		t.Errorf("%+v, before it %+v", now, before)
	}
}

func TestARunThatItsDatabaseDoesNotKnowIsOver(t *testing.T) {
	t.Run("its row is gone", func(t *testing.T) {
		s, p := running(t)
		change(t, s, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.ForgetNodes(ctx, time.Now().Add(time.Hour), 10)
			return err
		})
		if _, err := p.Beat(t.Context(), nil, 0, false); !errors.Is(err, ErrOver) {
			t.Errorf("a sign of life: %v", err)
		}
	})
	t.Run("it has another content, with the same run in it", func(t *testing.T) {
		s, p := running(t)
		change(t, s, func(ctx context.Context, tx store.Tx) error { return tx.SetFact(ctx, store.FactFilled, "anew") })
		if _, err := p.Beat(t.Context(), nil, 0, false); !errors.Is(err, ErrOver) {
			t.Errorf("a sign of life: %v", err)
		}
		if err := NewPresence(s, time.Now, masking.Node{ID: "node-b"}).Join(t.Context()); err != nil { // who starts on it serves from it
			t.Error(err)
		}
	})
	t.Run("another run has its place", func(t *testing.T) {
		s, p := running(t)
		last := seen(t, s)[0]
		change(t, s, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.JoinNode(ctx, masking.Node{ID: "node-a", StartedAt: time.Now().Add(time.Hour)}, last)
			return err
		})
		if _, err := p.Beat(t.Context(), nil, 0, false); !errors.Is(err, ErrOver) {
			t.Errorf("a sign of life: %v", err)
		}
	})
}
