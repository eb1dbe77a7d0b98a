package callflow

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// asked is the record of a call that is asked for a PIN: nobody's yet.
func (d *desk) asked(caller e164.Number) masking.Call {
	d.t.Helper()
	ask := d.ask(pinned, caller)
	r, release, err := d.Route(d.t.Context(), ask)
	if err != nil || r.Then != masking.AskPIN {
		d.t.Fatal(r.Then, err)
	}
	release()
	return masking.Call{ID: ask.Call, Tenant: r.Plan.Tenant.ID, VirtualNumber: pinned, Caller: caller, Node: "n1", StartedAt: d.now}
}

// matched is c once 4801 was entered.
func matched(c masking.Call) masking.Call {
	c.Allocation, c.Callee, c.Direction, c.CustomField = "gp_one", bob, masking.FromCalls, "order 8"
	return c
}

func (d *desk) record(id masking.CallID) (c masking.Call) {
	d.t.Helper()
	d.view(func(ctx context.Context, tx store.Reader) (err error) {
		c, err = tx.Call(ctx, "acme", id)
		return err
	})
	return c
}

func TestACallThatAPINMatchedIsItsAllocationsAndCountsOnce(t *testing.T) {
	d := newDesk(t)
	d.flush()
	s := &ambiguous{Store: d.store} // so everything is told again
	s.lies.Store(3)
	d.journal = NewJournal(JournalOptions{Store: s, Clock: d.clockNow, Log: d.Director.log, Node: "n1"})
	c := d.asked(alice)
	zone := kolkata(t)
	d.journal.Note(masking.Began, c, zone)
	c = matched(c)
	d.journal.Note(masking.Matched, c, zone)
	other := c
	other.Allocation = "gp_two"
	d.journal.Note(masking.Matched, other, zone) // whose it is it stays
	d.journal.Note(masking.Rang, c, zone)
	c.AnsweredAt = start.Add(4 * time.Second)
	d.journal.Note(masking.Answered, c, zone)
	c.EndedAt, c.TalkTime, c.Cause = start.Add(70*time.Second), 66*time.Second, masking.CauseCallerHungUp
	d.journal.Note(masking.Ended, c, zone)
	d.journal.Note(masking.Matched, c, zone)
	d.flush()
	if s.lies.Load() >= 0 {
		t.Error("not all answers were lost: this test sees nothing")
	}
	if got, want := d.events("acme"), []string{"call.ringing  gp_one", "call.answered  gp_one", "call.completed  gp_one"}; !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	if got := d.tally("acme", "gp_one"); got != (masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 66}) {
		t.Errorf("counted %+v", got)
	}
	if got := d.tally("acme", "gp_two"); got != (masking.Tally{}) {
		t.Errorf("the other allocation's: %+v", got)
	}
	if r := d.record(c.ID); r.Allocation != "gp_one" || r.Direction != masking.FromCalls || r.CustomField != "order 8" || r.Callee != bob {
		t.Errorf("record %+v", r)
	}
}

func TestACallThatIsAskedForAPINWithoutOneIsRejectedOnce(t *testing.T) {
	for _, why := range []masking.Refusal{masking.RefusedPIN, masking.RefusedPINLocked} {
		d := newDesk(t)
		c := d.asked(stranger)
		d.journal.Note(masking.Began, c, time.UTC)
		c.EndedAt, c.Cause, c.Refusal = start.Add(20*time.Second), masking.CauseRejected, why
		d.journal.Note(masking.Ended, c, time.UTC)
		d.journal.Note(masking.Ended, c, time.UTC)
		late := c
		late.Cause, late.Refusal = masking.CauseCallerHungUp, ""
		d.journal.Note(masking.Ended, late, time.UTC)
		d.flush()
		if n, err := d.journal.CloseLost(t.Context(), nil, d.now); n != 0 || err != nil {
			t.Errorf("%d calls are still open: %v", n, err)
		}
		if got := d.events("acme"); !slices.Equal(got, []string{"call.rejected " + string(why)}) {
			t.Errorf("%s: events %q", why, got)
		}
		if r := d.record(c.ID); r.Cause != masking.CauseRejected || r.Refusal != why || r.Allocation != "" || !r.EndedAt.Equal(c.EndedAt) {
			t.Errorf("%s: record %+v", why, r)
		}
		for _, id := range []masking.AllocationID{"gp_one", "gp_two"} {
			if got := d.tally("acme", id); got != (masking.Tally{}) {
				t.Errorf("%s: counts as %s's: %+v", why, id, got)
			}
		}
	}
}

func TestACallerWhoHangsUpWhileHeIsAskedHasOneEnd(t *testing.T) {
	d := newDesk(t)
	c := d.asked(hidden)
	d.journal.Note(masking.Began, c, time.UTC)
	c.EndedAt, c.Cause = start.Add(3*time.Second), masking.CauseCallerCancelled
	d.journal.Note(masking.Ended, c, time.UTC)
	d.flush()
	if got := d.events("acme"); !slices.Equal(got, []string{"call.completed"}) {
		t.Errorf("events %q", got)
	}
}

func TestCallsThatWereAskedWhenTheirNodeDiedAreClosedOnce(t *testing.T) {
	d := newDesk(t)
	asking, ringing, talking := d.asked(stranger), d.asked(alice), d.asked(bob)
	for _, c := range []masking.Call{asking, ringing, talking} {
		d.journal.Note(masking.Began, c, time.UTC)
	}
	d.journal.Note(masking.Matched, matched(ringing), time.UTC)
	talking = matched(talking)
	d.journal.Note(masking.Matched, talking, time.UTC)
	talking.AnsweredAt, talking.Recorded = start.Add(time.Second), true
	d.journal.Note(masking.Answered, talking, time.UTC)
	d.flush()
	before := len(d.events("acme"))
	d.now = start.Add(time.Minute)
	for _, want := range []int{3, 0} {
		if n, err := d.journal.CloseLost(t.Context(), nil, d.now); err != nil || n != want {
			t.Errorf("closed %d, want %d: %v", n, want, err)
		}
	}
	got := d.events("acme")[before:]
	slices.Sort(got)
	if !slices.Equal(got, []string{"call.completed", "call.completed  gp_one", "call.completed  gp_one"}) {
		t.Errorf("events %q", got)
	}
	for _, c := range []masking.Call{asking, ringing, talking} {
		if r := d.record(c.ID); r.Cause != masking.CauseNodeLost || !r.EndedAt.Equal(d.now) || r.Refusal != "" {
			t.Errorf("record %+v", r)
		}
	}
	if r := d.record(talking.ID); !r.Recorded {
		t.Error("its recording is forgotten")
	}
}

func TestMatchedIsOneMomentOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.again = 2
		j, _ := newJournal(m)
		c := record(1)
		allocation := c.Allocation
		c.Allocation = ""
		j.Note(masking.Began, c, time.UTC)
		c.Allocation = allocation
		j.Note(masking.Matched, c, time.UTC)
		j.Note(masking.Matched, c, time.UTC)
		live(j, c, time.UTC)
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(c.ID); got != "began, matched, "+strings.TrimPrefix(wholeLife, "began, ") {
			t.Errorf("written %s", got)
		}
		if got := m.rows.counted[allocation]; got != (masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 60}) {
			t.Errorf("counted %+v", got)
		}
	})
}

// A PIN opens an allocation on a call whose record was never begun: nothing of it
// can be written, and nothing else waits for it.
func TestAMomentOfACallThatWasNotBegunIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		j, log := newJournal(m)
		j.Note(masking.Matched, record(1), time.UTC)
		j.Note(masking.Began, record(2), time.UTC)
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(""); got != "call_0002 began" || strings.Count(log.String(), "cannot be written") != 1 {
			t.Errorf("written %s, log %s", got, log)
		}
	})
}
