package callflow

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// ambiguous is a store whose first commits are durable and say that they failed.
type ambiguous struct {
	store.Store
	lies atomic.Int64
}

func (a *ambiguous) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if err := a.Store.Update(ctx, fn); err != nil {
		return err
	}
	if a.lies.Add(-1) >= 0 {
		return errors.New("the answer to the commit was lost")
	}
	return nil
}

func TestAMomentWhoseCommitGaveNoAnswerIsToldOnce(t *testing.T) {
	d := newDesk(t)
	d.flush()
	s := &ambiguous{Store: d.store}
	s.lies.Store(3)
	d.journal = NewJournal(JournalOptions{Store: s, Clock: d.clockNow, Log: d.Director.log, Node: "n1"})
	c := record(1)
	c.Allocation = "gvn_two"
	live(d.journal, c, kolkata(t))
	d.flush()
	want := []string{"call.ringing  gvn_two", "call.answered  gvn_two", "call.completed  gvn_two"}
	if got := d.events("acme"); !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	if s.lies.Load() >= 0 {
		t.Error("not all answers were lost: this test sees nothing")
	}
	if got := d.tally("acme", "gvn_two"); got != (masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 60}) {
		t.Errorf("counted %+v", got)
	}
}
