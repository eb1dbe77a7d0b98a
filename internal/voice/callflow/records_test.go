package callflow

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// dataField is one text of an event's data, "" if it has none.
func dataField(t *testing.T, data []byte, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	s, _ := fields[name].(string)
	return s
}

// routed is the record of a call that the desk has routed.
func (d *desk) routed() masking.Call {
	d.t.Helper()
	ask := d.ask(virtual, alice)
	r, release, err := d.Route(d.t.Context(), ask)
	if err != nil || r.Refusal != "" {
		d.t.Fatal(r.Refusal, err)
	}
	release()
	plan := r.Plan
	return masking.Call{ID: ask.Call, Tenant: plan.Tenant.ID, Allocation: plan.Allocation.ID, VirtualNumber: virtual, Caller: alice,
		Callee: bob, Direction: plan.Direction, CustomField: plan.Allocation.CustomField, Node: "n1", StartedAt: d.now}
}

func TestEachMomentIsOneEventAndOneCountHoweverOftenItIsTold(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	zone := kolkata(t)
	twice := func(m masking.Moment) { d.journal.Note(m, c, zone); d.journal.Note(m, c, zone) }
	twice(masking.Began)
	d.journal.Note(masking.Rang, c, zone)
	c.AnsweredAt, c.RingTime = start.Add(4*time.Second), 4*time.Second
	twice(masking.Answered)
	c.EndedAt, c.TalkTime, c.Cause = start.Add(70*time.Second), 66*time.Second, masking.CauseCalleeHungUp
	c.Attempts = []masking.Attempt{{Target: bob, Trunk: "carrier-a", Rang: true, Answered: true, Status: 200, Ring: 4 * time.Second}}
	twice(masking.Ended)
	late := c
	late.Cause = masking.CauseFailed
	d.journal.Note(masking.Answered, late, zone)
	d.journal.Note(masking.Ended, late, zone)
	d.flush()
	if got, want := d.events("acme"), []string{"call.ringing  gvn_two", "call.answered  gvn_two", "call.completed  gvn_two"}; !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	if got := d.tally("acme", "gvn_two"); got != (masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 66}) {
		t.Errorf("tally %+v", got)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		r, err := tx.Call(ctx, "acme", c.ID)
		if r.Cause != masking.CauseCalleeHungUp || !r.EndedAt.Equal(c.EndedAt) || !slices.Equal(r.Attempts, c.Attempts) {
			t.Errorf("record %+v", r)
		}
		list, err2 := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 10})
		if err2 == nil && dataField(t, list[2].Data, "start_time") != "2024-06-15T15:00:00+05:30" {
			t.Errorf("event %s", list[2].Data)
		}
		return err
	})
}

func TestACallThatNobodyAnsweredCountsAsAttempted(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	d.journal.Note(masking.Began, c, time.UTC)
	c.EndedAt, c.Cause = start.Add(20*time.Second), masking.CauseNoAnswer
	d.journal.Note(masking.Ended, c, time.UTC)
	d.flush()
	if got := d.events("acme"); !slices.Equal(got, []string{"call.completed  gvn_two"}) {
		t.Errorf("events %q", got)
	}
	if got := d.tally("acme", "gvn_two"); got != (masking.Tally{Calls: 1}) {
		t.Errorf("tally %+v", got)
	}
}

func TestARunOfCallsIsWrittenWholeAndInOrder(t *testing.T) {
	d := newDesk(t)
	const n = 700
	for range n {
		live(d.journal, d.routed(), time.UTC)
	}
	d.flush()
	if got := d.tally("acme", "gvn_two"); got != (masking.Tally{Calls: n, Connected: n, TalkSeconds: n * 60}) {
		t.Errorf("tally %+v", got)
	}
	of := map[masking.CallID][]string{}
	d.view(func(ctx context.Context, tx store.Reader) error {
		list, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 10 * n})
		for _, e := range list {
			of[e.Call] = append(of[e.Call], string(e.Type))
		}
		return err
	})
	for id, types := range of {
		if strings.Join(types, " ") != "call.ringing call.answered call.completed" {
			t.Fatalf("%s: %v", id, types)
		}
	}
	if len(of) != n {
		t.Errorf("events of %d calls", len(of))
	}
}

func TestCallsOfALostNodeAreClosedOnce(t *testing.T) {
	d := newDesk(t)
	ringing, talking, over, elsewhere := d.routed(), d.routed(), d.routed(), d.routed()
	elsewhere.Node = "n2"
	for _, c := range []masking.Call{ringing, talking, over, elsewhere} {
		d.journal.Note(masking.Began, c, time.UTC)
	}
	talking.AnsweredAt = start.Add(time.Second)
	d.journal.Note(masking.Answered, talking, time.UTC)
	over.EndedAt, over.Cause = start.Add(time.Second), masking.CauseBusy
	d.journal.Note(masking.Ended, over, time.UTC)
	d.flush()
	before := len(d.events("acme"))
	d.now = start.Add(time.Minute)
	for _, want := range []int{2, 0} {
		if n, err := d.journal.CloseLost(t.Context(), nil, d.now); err != nil || n != want {
			t.Errorf("closed %d, want %d: %v", n, want, err)
		}
	}
	if got := d.events("acme")[before:]; !slices.Equal(got, []string{"call.completed  gvn_two", "call.completed  gvn_two"}) {
		t.Errorf("events %q", got)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		for _, c := range []masking.Call{ringing, talking} {
			r, err := tx.Call(ctx, "acme", c.ID)
			if err != nil {
				return err
			}
			if r.Cause != masking.CauseNodeLost || !r.EndedAt.Equal(d.now) {
				t.Errorf("record %+v", r)
			}
		}
		open, err := tx.OpenCalls(ctx, "n2", 0)
		if len(open) != 1 {
			t.Error("another node's call was closed")
		}
		return err
	})
}

func TestNothingIsLostWhileTheEnginesWriterIsBusy(t *testing.T) {
	d := newDesk(t)
	hold, held := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- d.store.Update(context.Background(), func(context.Context, store.Tx) error {
			close(held)
			<-hold
			return nil
		})
	}()
	<-held // the one writer is busy
	for range 20 {
		live(d.journal, d.routed(), time.UTC)
	}
	if d.journal.Waiting() != 80 {
		t.Errorf("%d wait", d.journal.Waiting())
	}
	close(hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.flush()
	if got := d.tally("acme", "gvn_two"); got.Calls != 20 || got.Connected != 20 {
		t.Errorf("tally %+v", got)
	}
}
