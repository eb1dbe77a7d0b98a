package callflow

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func digest(t masking.TenantID, n e164.Number) [32]byte {
	return masking.ErasedDigest([]byte("a key"), t, n)
}

// erased says that a number of acme's was erased.
func (d *desk) erased(n e164.Number, at time.Time) {
	d.t.Helper()
	d.update(func(ctx context.Context, tx store.Tx) error {
		return tx.InsertErasure(ctx, masking.Erasure{ID: masking.ErasureID(fmt.Sprint("ers_", at.UnixMilli(), n.Digits())), Tenant: "acme", Digest: digest("acme", n),
			Part: masking.EraseFiles, CreatedAt: at, DueAt: at, FinishedAt: at})
	})
}

// whole is all that is told and written of acme's calls.
func (d *desk) whole() string {
	var b strings.Builder
	d.view(func(ctx context.Context, tx store.Reader) error {
		calls, err := tx.Calls(ctx, store.CallFilter{Tenant: "acme"})
		if err != nil {
			return err
		}
		events, err := tx.Events(ctx, store.EventFilter{Tenant: "acme"})
		for _, c := range calls {
			fmt.Fprintf(&b, "%s: %s", c.ID, c.CustomField)
			for _, n := range c.People() {
				b.WriteString(" " + n.E164())
			}
			b.WriteString("\n")
		}
		for _, e := range events {
			fmt.Fprintf(&b, "%s %s\n", e.Type, e.Data)
		}
		return err
	})
	return b.String()
}

// Of the call nothing was written before the node went down.
func TestANumberThatWasErasedWhileANodeWasDownDoesNotComeBackWithIt(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	c.CustomField = "for " + bob.E164()
	c.Attempts = []masking.Attempt{{Target: carol, Cause: masking.CauseBusy}, {Target: bob, Answered: true}}
	left := append([]entry{d.moment(masking.Began, c)}, d.life(c)...)
	refused := entry{moment: rejected, event: "evt_refused", at: d.now, ladder: []byte{7}, refusal: &refusal{why: masking.RefusedStranger, at: d.now,
		ask: masking.Ask{Call: "call_refused", Called: virtual, Caller: stranger, Received: d.now}}}
	d.erased(bob, start.Add(time.Hour))
	d.erased(stranger, start.Add(time.Hour))
	d.erased(alice, start.Add(-time.Hour)) // who has called since
	d.now = start.Add(2 * time.Hour)
	d.comesBack(append(left, refused)...)
	all := d.whole()
	for _, n := range []e164.Number{bob, stranger} {
		if strings.Contains(all, n.Digits()) {
			t.Errorf("%v is back:\n%s", n, all)
		}
	}
	for _, n := range []e164.Number{alice, carol} {
		if !strings.Contains(all, n.Digits()) {
			t.Errorf("%v is gone:\n%s", n, all)
		}
	}
	want := []string{"call.ringing  gvn_two", "call.answered  gvn_two", "call.completed  gvn_two", "call.rejected stranger"}
	if got := d.events("acme"); !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	if got := d.tally("acme", "gvn_two"); got != (masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 60}) {
		t.Errorf("counted %+v", got)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		for _, id := range []masking.CallID{c.ID, "call_refused"} {
			if r, err := tx.Call(ctx, "acme", id); err != nil || r.Ladder != nil {
				t.Errorf("the ladder of %s is %v: %v", id, r.Ladder, err)
			}
		}
		return nil
	})
	if r, _ := d.tape(c.ID); r.Status != masking.RecordingDeleted {
		t.Errorf("its recording is %s", r.Status)
	}
	if err := d.recordings().End(t.Context(), stored(c)); err != nil {
		t.Fatal(err)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		gone, err := tx.DeletedWithSound(ctx, 10)
		if len(gone) != 1 {
			t.Errorf("the sounds of %d recordings are to be removed", len(gone))
		}
		return err
	})
}

// The erasure has the record to wait for, and its recording and events with it.
func TestANumberThatTheRecordNamesIsLeftToItsErasure(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	d.journal.Note(masking.Began, c, time.UTC)
	d.flush()
	d.erased(bob, start.Add(time.Hour))
	d.now = start.Add(2 * time.Hour)
	d.comesBack(d.life(c)...)
	if all := d.whole(); strings.Contains(all, "erased") {
		t.Errorf("half of it is erased:\n%s", all)
	}
	if r, _ := d.tape(c.ID); r.Status != masking.RecordingRunning {
		t.Errorf("its recording is %s", r.Status)
	}
}

// A call that was up when its node's spool was written out goes on.
func TestTheEndOfACallWhoseBeginWasWrittenLateNamesNoErasedNumber(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	d.erased(bob, start.Add(time.Hour))
	d.now = start.Add(2 * time.Hour)
	s := &memorySpool{}
	if err := s.Append([][]byte{d.moment(masking.Began, c).encode()}); err != nil {
		t.Fatal(err)
	}
	j := NewJournal(JournalOptions{Store: d.store, Spool: s, Clock: d.clockNow, Log: d.Director.log, Node: "n1", Digest: digest})
	<-j.Caught()
	for _, e := range d.life(c) {
		j.Note(e.moment, e.call, time.UTC)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := d.whole(); strings.Contains(all, bob.Digits()) || !strings.Contains(all, "call.completed") {
		t.Errorf("written is\n%s", all)
	}
}
