package callflow

import (
	"context"
	"slices"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func TestTheCallsOfASilentNodeAreClosedOnceHoweverManyCloseThem(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	calls := []masking.Call{d.answered("a"), d.answered("b"), d.answered("c")}
	d.flush()
	d.now = start.Add(time.Minute)
	n := masking.Node{ID: "n1", StartedAt: start, SeenAt: start.Add(34 * time.Second)}
	d.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.JoinNode(ctx, n, masking.Node{})
		return err
	})
	back := n
	back.SeenAt = start.Add(35 * time.Second)
	for i, want := range []int{0, 2, 1, 0, 0} {
		of := n
		if i == 0 { // it gave a sign of life since it was read
			of.SeenAt = start.Add(33 * time.Second)
		}
		taken, closed, err := d.journal.TakeOver(t.Context(), of, 2, func(Left) bool { return false })
		if err != nil || closed != want || len(taken) != 0 {
			t.Fatalf("the %d. closes %d: %v", i, closed, err)
		}
	}
	d.update(func(ctx context.Context, tx store.Tx) error { _, _, err := tx.BeatNode(ctx, back); return err })
	for _, c := range calls { // it was only slow, and ends them itself
		d.end(c)
	}
	d.flush()
	d.view(func(ctx context.Context, tx store.Reader) error {
		for _, c := range calls {
			r, err := tx.Call(ctx, "acme", c.ID)
			if err != nil || r.Cause != masking.CauseNodeLost || r.TalkTime != 30*time.Second {
				t.Errorf("%s, talked %v: %v", r.Cause, r.TalkTime, err)
			}
		}
		events, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 100})
		told := 0
		for _, e := range events {
			if e.Type == masking.EventCallCompleted {
				told++
			}
		}
		if told != len(calls) {
			t.Errorf("%d events tell of %d ends", told, len(calls))
		}
		return err
	})
}

// Whoever does not hear that a database has committed, as when it dies, may have taken
// calls over.
func TestATakeoverOfWhichItIsNotKnownWhetherItTookPlaceCanBeAskedFor(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	c, over := d.answered("goes on"), d.answered("is over by then")
	d.flush()
	d.now = start.Add(time.Minute)
	n, other := d.silent()
	s := &ambiguous{Store: d.store}
	s.lies.Store(1)
	other.store = s
	taken, _, err := other.TakeOver(t.Context(), n, 10, func(Left) bool { return true })
	if err == nil || len(taken) != 2 {
		t.Fatalf("%d taken, %v", len(taken), err)
	}
	d.update(func(ctx context.Context, tx store.Tx) error {
		over.Node, over.EndedAt, over.Cause = "n2", d.now, masking.CauseCallerHungUp
		_, err := tx.EndCall(ctx, over)
		return err
	})
	mine, err := other.Mine(t.Context(), taken)
	if err != nil || len(mine) != 1 || mine[0].Call.ID != c.ID {
		t.Errorf("mine are %+v, %v", mine, err)
	}
}

// A node that is paused while it takes a call over can be found silent as well.
func TestATalkThatIsTakenTwiceIsThatOfTheLast(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	c := d.answered("goes on")
	d.flush()
	d.now = start.Add(time.Minute)
	n, other := d.silent()
	all := func(Left) bool { return true }
	taken, _, err := other.TakeOver(t.Context(), n, 10, all)
	if err != nil || len(taken) != 1 {
		t.Fatal(err)
	}
	paused := masking.Node{ID: "n2", StartedAt: start, SeenAt: start.Add(50 * time.Second)}
	d.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.JoinNode(ctx, paused, masking.Node{})
		return err
	})
	third := NewJournal(JournalOptions{Store: d.store, Clock: d.journal.clock, Log: d.journal.log, Node: "n3", Seal: d.journal.box})
	t.Cleanup(func() { _ = third.Close(context.Background()) })
	if again, _, err := third.TakeOver(t.Context(), paused, 10, all); err != nil || len(again) != 1 {
		t.Fatal(again, err)
	}
	gone, err := other.Settle(t.Context(), n.SeenAt, taken, map[masking.CallID][]byte{c.ID: []byte("n2")})
	if err != nil || !slices.Equal(gone, []masking.CallID{c.ID}) {
		t.Errorf("the paused node goes on without %v: %v", gone, err)
	}
	if left, err := third.Left(t.Context()); err != nil || len(left) != 1 || string(left[0].State) != "goes on" {
		t.Errorf("left %+v: %v", left, err)
	}
}

func TestNoTalkGoesOnThatNobodyHasCarriedForLong(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	d.answered("of a database that was restored")
	d.flush()
	n, other := d.silent()
	d.now = n.SeenAt.Add(LongestOutage + time.Millisecond)
	taken, closed, err := other.TakeOver(t.Context(), n, 10, func(Left) bool { return true })
	if err != nil || closed != 1 || len(taken) != 0 {
		t.Errorf("%d closed, %d taken: %v", closed, len(taken), err)
	}
}

// silent makes the node of the desk's calls one that is known, and another's journal of
// what becomes of them.
func (d *desk) silent() (n masking.Node, other *Journal) {
	d.t.Helper()
	n = masking.Node{ID: "n1", StartedAt: start, SeenAt: start.Add(34 * time.Second)}
	d.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.JoinNode(ctx, n, masking.Node{})
		return err
	})
	other = NewJournal(JournalOptions{Store: d.journal.store, Clock: d.journal.clock, Log: d.journal.log, Node: "n2", Seal: d.journal.box})
	d.t.Cleanup(func() { _ = other.Close(context.Background()) })
	return n, other
}

func TestATalkOfASilentNodeThatIsTakenOverIsTheOthersToKeepAndToEnd(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	goesOn, hopeless, barred := d.answered("goes on"), d.answered("hopeless"), d.answered("barred")
	d.flush()
	d.now = start.Add(time.Minute)
	n, other := d.silent()
	taken, closed, err := other.TakeOver(t.Context(), n, 10, func(l Left) bool { return string(l.State) != "barred" })
	if err != nil || closed != 1 || len(taken) != 2 || taken[0].Call.Node != "n2" || taken[0].Plan.Allocation.ID != goesOn.Allocation {
		t.Fatalf("%d closed, taken %+v: %v", closed, taken, err)
	}
	if gone, err := other.Settle(t.Context(), n.SeenAt, taken, map[masking.CallID][]byte{goesOn.ID: []byte("here")}); err != nil || len(gone) != 0 {
		t.Fatal(gone, err)
	}
	// The node was only slow: it keeps, and ends, what is not its own any more.
	moved, err := d.journal.Moved(t.Context(), []masking.CallID{goesOn.ID, hopeless.ID, barred.ID})
	slices.Sort(moved)
	want := []masking.CallID{goesOn.ID, hopeless.ID}
	if slices.Sort(want); err != nil || !slices.Equal(moved, want) {
		t.Errorf("moved are %v: %v", moved, err)
	}
	d.journal.Keep(goesOn, func() ([]byte, error) { return []byte("there"), nil })
	d.end(goesOn)
	d.flush()
	left, err := other.Left(t.Context())
	if err != nil || len(left) != 1 || left[0].Call.ID != goesOn.ID || string(left[0].State) != "here" || !left[0].Call.EndedAt.IsZero() {
		t.Errorf("left %+v: %v", left, err)
	}
	for id, cause := range map[masking.CallID]masking.Cause{hopeless.ID: masking.CauseNodeLost, barred.ID: masking.CauseNodeLost} {
		d.view(func(ctx context.Context, tx store.Reader) error {
			r, err := tx.Call(ctx, "acme", id)
			if r.Cause != cause || r.TalkTime != 30*time.Second {
				t.Errorf("%s, talked %v", r.Cause, r.TalkTime)
			}
			return err
		})
	}
	ended := taken[0].Call
	ended.EndedAt, ended.Cause, ended.TalkTime = d.now, masking.CauseCalleeHungUp, time.Minute
	other.Note(masking.Ended, ended, time.UTC)
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		r, err := tx.Call(ctx, "acme", ended.ID)
		events, err2 := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 100})
		told := 0
		for _, e := range events {
			if e.Type == masking.EventCallCompleted {
				told++
			}
		}
		if err2 != nil || r.Cause != masking.CauseCalleeHungUp || told != 3 {
			t.Errorf("%s; %d events tell of 3 ends: %v", r.Cause, told, err2)
		}
		return err
	})
}

// readings counts the open calls that its store is asked for whole.
type readings struct {
	store.Store
	rows int
}

func (r *readings) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	return r.Store.View(ctx, func(ctx context.Context, tx store.Reader) error { return fn(ctx, countedReader{tx, r}) })
}

func (r *readings) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	return r.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return fn(ctx, countedTx{tx, r}) })
}

type countedReader struct {
	store.Reader
	in *readings
}

func (c countedReader) OpenCalls(ctx context.Context, node string, limit int) ([]masking.Call, error) {
	calls, err := c.Reader.OpenCalls(ctx, node, limit)
	c.in.rows += len(calls)
	return calls, err
}

type countedTx struct {
	store.Tx
	in *readings
}

func (c countedTx) OpenCalls(ctx context.Context, node string, limit int) ([]masking.Call, error) {
	return countedReader{c.Tx, c.in}.OpenCalls(ctx, node, limit)
}

func TestATakeoverReadsNoMoreCallsThanItDealsWith(t *testing.T) {
	d := newDesk(t)
	d.journal.box = newSeal(t, 1)
	const all, atOnce = 60, 5
	for range all {
		d.answered("talks")
	}
	d.flush()
	d.now = start.Add(time.Minute)
	n, other := d.silent()
	r := &readings{Store: d.store}
	other.store = r
	var taken []Left
	for more := true; more; {
		some, closed, err := other.TakeOver(t.Context(), n, atOnce, func(Left) bool { return true })
		if err != nil || closed != 0 {
			t.Fatal(closed, err)
		}
		taken, more = append(taken, some...), len(some) == atOnce
	}
	if len(taken) != all || r.rows != all {
		t.Errorf("%d calls were taken over, %d were read", len(taken), r.rows)
	}
	r.rows = 0
	if mine, err := other.Mine(t.Context(), taken[:3]); err != nil || len(mine) != 3 || r.rows > 3 {
		t.Errorf("%d of 3 are mine, %d were read: %v", len(mine), r.rows, err)
	}
}
