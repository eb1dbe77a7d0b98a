package storetest

import (
	"context"
	"sync/atomic"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Tests of calls that begin as nobody's, and of calls that are recorded.

func matchTests() []test {
	return []test{
		{"AMatchedCallBelongsToItsAllocationAndCountsOnce", matchCountsOnce},
		{"ACallThatHasAnAllocationOrAnEndIsNotMatched", matchRefused},
		{"ConcurrentMatchesCountOnce", matchRace},
		{"ARecordedCallStaysRecorded", callRecorded},
	}
}

// matched are the reports of a call whose PIN is entered.
func matched(a masking.Allocation, id masking.CallID) (begun, matched, answered, ended masking.Call) {
	begun, answered, ended = steps(a, id)
	begun.Allocation, begun.Direction, begun.CustomField = "", "", ""
	matched = begun
	matched.Allocation, matched.Direction, matched.CustomField = a.ID, masking.ToCalls, a.CustomField
	answered.Direction, ended.Direction = masking.ToCalls, masking.ToCalls
	return begun, matched, answered, ended
}

func matchCountsOnce(b *bench) {
	b.acme()
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	begun, match, answered, ended := matched(a, CallID(1))
	for _, s := range []struct {
		name  string
		step  func(store.Tx, context.Context, masking.Call) (bool, error)
		call  masking.Call
		tally masking.Tally
	}{
		{"BeginCall", store.Tx.BeginCall, begun, masking.Tally{}},
		{"MatchCall", store.Tx.MatchCall, match, masking.Tally{Calls: 1}},
		{"AnswerCall", store.Tx.AnswerCall, answered, masking.Tally{Calls: 1, Connected: 1}},
		{"EndCall", store.Tx.EndCall, ended, masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 90}},
	} {
		for round, want := range []bool{true, false} {
			did, err := b.report(s.step, s.call)
			if err != nil || did != want {
				b.Fatalf("%s, time %d: %v, %v", s.name, round+1, did, err)
			}
			equal(b, b.call(begun.ID), s.call)
			equal(b, b.allocation(a.ID).Tally, s.tally)
		}
	}
	calls := get(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) {
		return tx.Calls(ctx, store.CallFilter{Tenant: "acme", Allocation: a.ID})
	})
	equal(b, calls, []masking.Call{ended})
}

func matchRefused(b *bench) {
	b.acme()
	b.tenant("other")
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	other := b.created(byPIN(2, 2, "4822", People(3), People(4)), Start())
	begun, match, _, _ := matched(a, CallID(1))
	_, err := b.report(store.Tx.MatchCall, match)
	b.code(masking.CodeNotFound, err)
	over := begun
	over.ID, over.EndedAt, over.Cause, over.Refusal = CallID(2), Start(), masking.CauseRejected, masking.RefusedPIN
	for _, c := range []masking.Call{begun, over} {
		if fresh, err := b.report(store.Tx.BeginCall, c); err != nil || !fresh {
			b.Fatal(fresh, err)
		}
	}
	foreign := match
	foreign.Tenant = "other"
	_, err = b.report(store.Tx.MatchCall, foreign)
	b.code(masking.CodeNotFound, err)
	unchanged := func(c masking.Call) {
		b.Helper()
		if did, err := b.report(store.Tx.MatchCall, c); err != nil || did {
			b.Fatalf("changed: %v, %v", did, err)
		}
	}
	unchanged(begun) // with no allocation
	late := match
	late.ID = over.ID
	unchanged(late)
	equal(b, b.call(over.ID), over)
	if did, err := b.report(store.Tx.MatchCall, match); err != nil || !did {
		b.Fatal(did, err)
	}
	again := match
	again.Allocation = other.ID
	unchanged(again)
	equal(b, b.call(begun.ID), match)
	equal(b, b.allocation(a.ID).Tally, masking.Tally{Calls: 1})
	equal(b, b.allocation(other.ID).Tally, masking.Tally{})
}

func matchRace(b *bench) {
	b.acme()
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	begun, match, _, _ := matched(a, CallID(1))
	if _, err := b.report(store.Tx.BeginCall, begun); err != nil {
		b.Fatal(err)
	}
	var did atomic.Int64
	for _, err := range together(32, func(int) error {
		ok, err := b.report(store.Tx.MatchCall, match)
		if ok {
			did.Add(1)
		}
		return err
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	equal(b, did.Load(), 1)
	equal(b, b.allocation(a.ID).Tally, masking.Tally{Calls: 1})
}

func callRecorded(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	for i, c := range []struct{ atBegin, atAnswer, atEnd, answers, want bool }{
		{false, false, false, true, false},
		{false, true, true, true, true},
		{false, true, false, true, true},  // the end does not know of it
		{false, false, true, true, true},  // begun after the answer was written
		{false, false, true, false, true}, // the answer comes with the end
		{true, false, false, true, true},
		{false, false, false, false, false},
	} {
		begun, answered, ended := steps(a, CallID(i))
		begun.StartedAt = begun.StartedAt.Add(time.Duration(i) * time.Second)
		begun.Recorded, answered.Recorded, ended.Recorded = c.atBegin, c.atAnswer, c.atEnd
		for _, s := range []struct {
			step func(store.Tx, context.Context, masking.Call) (bool, error)
			call masking.Call
			skip bool
		}{{store.Tx.BeginCall, begun, false}, {store.Tx.AnswerCall, answered, !c.answers}, {store.Tx.EndCall, ended, false}} {
			if s.skip {
				continue
			}
			if did, err := b.report(s.step, s.call); err != nil || !did {
				b.Fatalf("case %d: %v, %v", i, did, err)
			}
		}
		if got := b.call(begun.ID).Recorded; got != c.want {
			b.Errorf("case %d: recorded %v, want %v", i, got, c.want)
		}
	}
}
