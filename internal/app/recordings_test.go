package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// was writes what a process leaves that dies in the moment in which a recorded
// call is answered: its record, and that it is recorded.
func was(t *testing.T, a *App, node string) masking.Call {
	t.Helper()
	virtual, err := e164.Parse("+914000000001")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	c := masking.Call{ID: "call_lost", Tenant: "acme", VirtualNumber: virtual, Node: node, StartedAt: at, AnsweredAt: at, Recorded: true}
	err = a.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		tenant := masking.Tenant{ID: "acme", AccountSID: "ac_1", Name: "acme", Settings: masking.DefaultSettings(time.UTC), CreatedAt: at}
		if err := tx.InsertTenant(ctx, tenant); err != nil {
			return err
		}
		if _, err := tx.BeginCall(ctx, c); err != nil {
			return err
		}
		return tx.BeginRecording(ctx, masking.Recording{Call: c.ID, Tenant: c.Tenant, VirtualNumber: virtual,
			Status: masking.RecordingRunning, StartedAt: at})
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARecordingThatLeftNothingBehindHasFailedAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	a, err := Start(t.Context(), options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	node, err := os.ReadFile(filepath.Join(dir, nodeFile))
	if err != nil {
		t.Fatal(err)
	}
	c := was(t, a, strings.TrimSpace(string(node)))
	stop(t, a)
	a = start(t, options(t, dir))
	err = a.store.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		r, err := tx.Recording(ctx, c.Tenant, c.ID)
		if err != nil || r.Status != masking.RecordingFailed || r.Reason != "lost" {
			t.Errorf("the recording is %+v, %v", r, err)
		}
		events, err := tx.Events(ctx, store.EventFilter{Tenant: c.Tenant, Limit: 10})
		if len(events) != 2 || events[1].Type != masking.EventRecordingFailed {
			t.Errorf("told %+v", events)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestATenantWhoIsGoneHasNoRecordingKeyAndGetsNone(t *testing.T) {
	a := start(t, options(t, t.TempDir()))
	for range 2 {
		if id, err := a.sounds.keys.Identity(t.Context(), "gone"); masking.KindOf(err) != masking.NotFound {
			t.Errorf("%v, %v; want NotFound, by which the recorder knows", id, err)
		}
	}
}

func TestAFolderWhoseDiskCannotBeAskedIsNotFull(t *testing.T) {
	dir := t.TempDir()
	if free, known := roomOf(dir); known && (free == 0 || full(dir) != (free < reserve)) {
		t.Errorf("%d bytes are free, full %v", free, full(dir))
	}
	if full(filepath.Join(dir, "none")) {
		t.Error("a folder that is not there is full")
	}
}

func TestRecordingsOfANodeThatDoesNotComeBackAreGivenUp(t *testing.T) {
	a := start(t, options(t, t.TempDir()))
	c := was(t, a, "node-gone")
	recording := func() (r masking.Recording) {
		t.Helper()
		err := a.store.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
			r, err = tx.Recording(ctx, c.Tenant, c.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	gone := func(seen time.Time) {
		t.Helper()
		err := a.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			n := masking.Node{ID: "node-gone", StartedAt: seen, SeenAt: seen, GoneAt: seen}
			nodes, err := tx.Nodes(ctx)
			if err != nil {
				return err
			}
			var last masking.Node
			for _, known := range nodes {
				if known.ID == n.ID {
					last = known
				}
			}
			if joined, err := tx.JoinNode(ctx, n, last); err != nil || !joined {
				return fmt.Errorf("joined %v, %w", joined, err)
			}
			c.EndedAt, c.Cause = c.StartedAt, masking.CauseNodeLost
			_, err = tx.EndCall(ctx, c)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.forgetNodes(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	gone(now.Add(-nodeForgotten + time.Hour))
	if r := recording(); r.Status != masking.RecordingRunning {
		t.Errorf("before its time: %+v", r)
	}
	gone(now.Add(-nodeForgotten - time.Hour))
	if r := recording(); r.Status != masking.RecordingFailed || r.Reason != "lost" {
		t.Errorf("the recording is %+v", r)
	}
	if nodes := nodesOf(t, a); len(nodes) != 1 {
		t.Errorf("nodes %+v", nodes)
	}
}
