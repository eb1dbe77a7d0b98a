package callflow

import (
	"context"
	"slices"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// comesBack lets the desk's node start again with what its last run could not write.
func (d *desk) comesBack(left ...entry) {
	d.t.Helper()
	s := &memorySpool{}
	for _, e := range left {
		if err := s.Append([][]byte{e.encode()}); err != nil {
			d.t.Fatal(err)
		}
	}
	j := NewJournal(JournalOptions{Store: d.store, Spool: s, Clock: d.clockNow, Log: d.Director.log, Node: "n1", Seal: d.journal.box, Digest: digest})
	if err := j.Close(d.t.Context()); err != nil || s.Len() > 0 {
		d.t.Fatalf("%d entries are left: %v", s.Len(), err)
	}
}

// moment is an entry of the desk's node.
func (d *desk) moment(m masking.Moment, c masking.Call) entry {
	return entry{moment: m, event: newEventID(d.now), call: c, zone: time.UTC, at: d.now}
}

// life are the moments of a talk after its begin, its whole end with a ladder.
func (d *desk) life(c masking.Call) []entry {
	answered := c
	answered.AnsweredAt, answered.Recorded = start.Add(4*time.Second), true
	ended := answered
	ended.EndedAt, ended.TalkTime, ended.Cause = start.Add(64*time.Second), time.Minute, masking.CauseCallerHungUp
	end := d.moment(masking.Ended, ended)
	end.ladder = []byte{1}
	seen := d.moment(allSeen, masking.Call{ID: c.ID})
	seen.ladder = []byte{2}
	return []entry{d.moment(masking.Rang, c), d.moment(masking.Answered, answered), d.moment(masking.Taped, answered), end, seen}
}

// A node that was taken for dead has told nobody that the call rang, was answered and ended.
func TestNothingIsToldOfACallAfterItsEnd(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	c := d.routed()
	d.journal.Note(masking.Began, c, time.UTC)
	d.flush()
	d.now = start.Add(time.Minute)
	n, other := d.silent()
	if _, closed, err := other.TakeOver(t.Context(), n, 10, func(Left) bool { return true }); err != nil || closed != 1 {
		t.Fatal(closed, err)
	}
	d.comesBack(append([]entry{d.moment(masking.Began, c)}, d.life(c)...)...)
	if got := d.events("acme"); !slices.Equal(got, []string{"call.completed  gvn_two"}) {
		t.Errorf("events %q", got)
	}
	if got := d.tally("acme", "gvn_two"); got != (masking.Tally{Calls: 1}) {
		t.Errorf("counted %+v", got)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		r, err := tx.Call(ctx, "acme", c.ID)
		if r.Cause != masking.CauseNodeLost || len(r.Ladder) != 1 {
			t.Errorf("record %+v", r)
		}
		return err
	})
}

func TestNothingOfACallIsWrittenThatIsAnotherNodesByNowButThatItIsRecorded(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	c := d.answered("talks")
	d.flush()
	before := d.events("acme")
	d.now = start.Add(time.Minute)
	n, other := d.silent()
	taken, _, err := other.TakeOver(t.Context(), n, 10, func(Left) bool { return true })
	if err != nil || len(taken) != 1 {
		t.Fatal(taken, err)
	}
	d.comesBack(d.life(c)...)
	if got := d.events("acme"); !slices.Equal(got, before) {
		t.Errorf("events %q, before %q", got, before)
	}
	running := func(node string) (n int) {
		d.view(func(ctx context.Context, tx store.Reader) error {
			found, err := tx.RunningRecordings(ctx, node)
			n = len(found)
			return err
		})
		return n
	}
	if running("n1") != 1 || running("n2") != 0 {
		t.Errorf("the recording is looked for at %d and %d nodes that have it and have not", running("n1"), running("n2"))
	}
	ended := taken[0].Call
	ended.EndedAt, ended.TalkTime, ended.Cause, ended.Ladder = d.now, time.Minute, masking.CauseCalleeHungUp, []byte{9}
	d.update(func(ctx context.Context, tx store.Tx) error { _, err := tx.EndCall(ctx, ended); return err })
	seen := d.moment(allSeen, masking.Call{ID: c.ID})
	seen.ladder = []byte{2}
	d.comesBack(seen)
	d.view(func(ctx context.Context, tx store.Reader) error {
		r, err := tx.Call(ctx, "acme", c.ID)
		if r.Cause != masking.CauseCalleeHungUp || !r.Recorded || !slices.Equal(r.Ladder, []byte{9}) {
			t.Errorf("record %+v", r)
		}
		return err
	})
}
