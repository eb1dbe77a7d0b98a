package callflow

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/seal"
	"tandem/internal/store"
)

func newSeal(t *testing.T, key byte) *seal.Box {
	t.Helper()
	b, err := seal.New(bytes.Repeat([]byte{key}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// states are what the store has kept, as it lies there.
func (d *desk) states() (states map[masking.CallID][]byte) {
	d.t.Helper()
	d.view(func(ctx context.Context, tx store.Reader) (err error) {
		open, err := tx.OpenCalls(ctx, "n1", 0)
		var ids []masking.CallID
		for _, c := range open {
			ids = append(ids, c.ID)
		}
		if err == nil {
			states, err = tx.CallStates(ctx, ids)
		}
		return err
	})
	return states
}

// says is a state before it is encoded.
func says(state string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(state), nil }
}

// answered writes a call up to its answer, with the state that was kept of it.
func (d *desk) answered(state string) masking.Call {
	d.t.Helper()
	c := d.routed()
	d.journal.Note(masking.Began, c, time.UTC)
	c.AnsweredAt = start.Add(4 * time.Second)
	c.Attempts = []masking.Attempt{{Target: carol, Cause: masking.CauseBusy}, {Target: bob, Answered: true, Status: 200}}
	d.journal.Note(masking.Answered, c, time.UTC)
	d.journal.Keep(c, says(state))
	return c
}

func (d *desk) end(c masking.Call) {
	c.EndedAt, c.Cause = start.Add(time.Minute), masking.CauseCallerHungUp
	d.journal.Note(masking.Ended, c, time.UTC)
}

func TestWhatACallNeedsToGoOnIsKeptSealedUntilItsEnd(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	talks, again, over := d.answered("the first"), d.answered("the first"), d.answered("of a call that is over")
	d.journal.Keep(again, says("the second"))
	d.end(over)
	d.flush()
	kept := d.states()
	if got := slices.Sorted(maps.Keys(kept)); !slices.Equal(got, []masking.CallID{talks.ID, again.ID}) {
		t.Fatalf("states of %v", got)
	}
	for id, state := range kept {
		if bytes.Contains(state, []byte("first")) || bytes.Contains(state, []byte("second")) {
			t.Errorf("the state of %s lies open", id)
		}
	}
	left, err := d.journal.Left(t.Context())
	if err != nil || len(left) != 2 {
		t.Fatalf("%d calls are left: %v", len(left), err)
	}
	for i, want := range []struct {
		call  masking.CallID
		state string
	}{{talks.ID, "the first"}, {again.ID, "the second"}} {
		l := left[i]
		if l.Call.ID != want.call || string(l.State) != want.state {
			t.Errorf("left %s with %q", l.Call.ID, l.State)
		}
		if l.Plan.Allocation.ID != "gvn_two" || l.Plan.Tenant.ID != "acme" || l.Plan.Caller != alice || l.Plan.VirtualNumber != virtual ||
			len(l.Plan.Targets) != 2 || l.Plan.Targets[0] != carol {
			t.Errorf("its plan is %+v", l.Plan)
		}
	}
}

func TestAStateOfAnotherMasterKeyOrAnotherCallIsNone(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	c := d.answered("state")
	d.answered("state of another")
	d.flush()
	d.update(func(ctx context.Context, tx store.Tx) error {
		for id, state := range d.states() {
			if id != c.ID {
				_, err := tx.KeepCallState(ctx, c, state)
				return err
			}
		}
		return nil
	})
	if left, err := d.journal.Left(t.Context()); err != nil || len(left) != 1 || left[0].Call.ID == c.ID {
		t.Errorf("left %d calls: %v", len(left), err)
	}
	d.journal.box = newSeal(t, 2)
	if left, err := d.journal.Left(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("left %d calls: %v", len(left), err)
	}
}

func TestOfTheCallsOfALostNodeThoseThatGoOnStayOpen(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	on, lost := d.answered("before"), d.answered("before")
	d.flush()
	d.now = start.Add(time.Minute)
	for range 2 { // crashed again between this and the first call
		n, err := d.journal.CloseLost(t.Context(), map[masking.CallID][]byte{on.ID: []byte("after")}, start.Add(34*time.Second))
		if err != nil || n > 1 {
			t.Fatal(n, err)
		}
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		open, err := tx.OpenCalls(ctx, "n1", 0)
		if len(open) != 1 || open[0].ID != on.ID || open[0].AnsweredAt.IsZero() {
			t.Errorf("open are %v", open)
		}
		r, err2 := tx.Call(ctx, "acme", lost.ID)
		if err2 != nil || r.Cause != masking.CauseNodeLost || r.TalkTime != 30*time.Second || !r.EndedAt.Equal(d.now) {
			t.Errorf("%s, ended at %v, talked %v: %v", r.Cause, r.EndedAt, r.TalkTime, err2)
		}
		return err
	})
	left, err := d.journal.Left(t.Context())
	if err != nil || len(left) != 1 || string(left[0].State) != "after" {
		t.Errorf("left %+v: %v", left, err)
	}
	if got := d.tally("acme", "gvn_two"); got.Calls != 2 || got.Connected != 2 || got.TalkSeconds != 30 {
		t.Errorf("tally %+v", got)
	}
}

func TestACallThatGoesOnAfterARestartKeepsItsCallerBusy(t *testing.T) {
	d := newDesk(t)
	plan := masking.Plan{Tenant: masking.Tenant{ID: "acme"}, VirtualNumber: virtual, Caller: alice}
	release, second := d.Resumed(plan), d.Resumed(plan)
	for range 2 {
		if r, _, err := d.Route(t.Context(), d.ask(virtual, alice)); err != nil || r.Refusal != masking.RefusedCallerBusy {
			t.Errorf("%q, %v", r.Refusal, err)
		}
		second() // holds nothing
	}
	release()
	r, release, err := d.Route(t.Context(), d.ask(virtual, alice))
	if err != nil || r.Refusal != "" {
		t.Fatalf("%q, %v", r.Refusal, err)
	}
	release()
	plan.Caller = hidden
	for range mostHiding + 1 {
		defer d.Resumed(plan)()
	}
	if d.hiding[virtual] != mostHiding+1 {
		t.Errorf("%d hide", d.hiding[virtual])
	}
}
