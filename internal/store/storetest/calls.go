package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func callTests() []test {
	return []test{
		{"ACallIsReadAsWrittenAndOnlyByItsTenant", callRoundTrip},
		{"EachStepOfACallCountsOnceHoweverOftenItIsTold", callCountsOnce},
		{"ConcurrentReportsOfOneCallCountOnce", callCountsOnceConcurrently},
		{"WhoBeganAndWhoAnsweredIsKeptForTheNextCallOfTheDirection", callTurns},
		{"AnEndTellsOfAnAnswerThatWasNeverWritten", endBringsAnswer},
		{"NothingChangesAfterTheEnd", nothingAfterEnd},
		{"ACallWithoutARecordIsNotFound", callUnknown},
		{"ACallWithoutAnAllocationCountsNowhere", callOfStranger},
		{"ListsOfCallsAreNewestFirstAndNarrowed", callLists},
		{"CallsAreNarrowedByWhatBecameOfThemAndPagesHold", callFilters},
		{"TheLadderOfACallIsKeptWithItsRecordAndNotListed", callLadder},
		{"OpenCallsAreThoseOfTheNodeWithoutAnEnd", openCalls},
	}
}

func callRoundTrip(b *bench) {
	b.acme()
	b.tenant("other")
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2, 3)), Start())
	c := Call(a, CallID(1), Person(1))
	c.Callee, c.Direction = Person(3), masking.ToCalls
	c.AnsweredAt, c.EndedAt = Start().Add(12*time.Second), Start().Add(72*time.Second)
	c.RingTime, c.TalkTime = 12*time.Second+34*time.Millisecond, 60*time.Second+56*time.Millisecond
	c.Cause, c.LastKnown = masking.CauseCallerHungUp, true
	c.Attempts = []masking.Attempt{
		{Target: Person(2), Trunk: "carrier", Rang: true, Status: 486, Cause: masking.CauseBusy, Ring: 1500 * time.Millisecond},
		{Target: Person(3), Trunk: "spare", Rang: true, Answered: true, Status: 200, Ring: 4 * time.Second},
	}
	c.Quality = masking.Quality{
		Caller: masking.LegQuality{Received: 3000, Sent: 2990, Lost: 7, Strays: 2, Jitter: 1500 * time.Microsecond},
		Callee: masking.LegQuality{Received: 2995, Sent: 2993, RoundTrip: 40 * time.Millisecond, Reported: true, PeerLost: 4, PeerJitter: 9 * time.Microsecond},
	}
	refused := Call(a, CallID(2), Person(9))
	refused.Caller, refused.Allocation, refused.CustomField, refused.Direction = refused.Callee, "", "", ""
	refused.EndedAt, refused.Cause, refused.Refusal = Start(), masking.CauseRejected, masking.RefusedWithheld
	for _, c := range []masking.Call{c, refused} {
		b.update(func(ctx context.Context, tx store.Tx) error {
			fresh, err := tx.BeginCall(ctx, c)
			if err == nil && !fresh {
				return errors.New("a new call is not fresh")
			}
			return err
		})
		equal(b, b.call(c.ID), c)
		b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.Call(ctx, "other", c.ID) }))
	}
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		lost := Call(a, CallID(3), Person(1))
		lost.Tenant = "nobody"
		_, err := tx.BeginCall(ctx, lost)
		return err
	})
}

func callLadder(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	begun, _, ended := steps(a, CallID(1))
	ended.Ladder = []byte{1, 2, 0, 255}
	refused := Call(a, CallID(2), Person(9))
	refused.EndedAt, refused.Cause, refused.Ladder = Start(), masking.CauseRejected, []byte{7}
	b.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.BeginCall(ctx, begun)
		_, err2 := tx.EndCall(ctx, ended)
		_, err3 := tx.BeginCall(ctx, refused)
		return errors.Join(err, err2, err3)
	})
	equal(b, b.call(ended.ID).Ladder, ended.Ladder)
	equal(b, b.call(refused.ID).Ladder, refused.Ladder)
	b.update(func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.WriteLadder(ctx, ended.Node, ended.ID, []byte{3}), tx.WriteLadder(ctx, ended.Node, CallID(3), []byte{4}),
			tx.WriteLadder(ctx, "another", ended.ID, []byte{5}))
	})
	equal(b, b.call(ended.ID).Ladder, []byte{3})
	listed := get(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) {
		return tx.Calls(ctx, store.CallFilter{Tenant: "acme", Limit: 10})
	})
	for _, c := range listed {
		equal(b, c.Ladder, nil)
	}
	equal(b, len(listed), 2)
	ofAny := get(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.AnyCall(ctx, ended.ID) })
	equal(b, ofAny, b.call(ended.ID))
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.Call(ctx, "", ended.ID) }))
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.AnyCall(ctx, CallID(77)) }))
}

// call reads a call of acme.
func (b *bench) call(id masking.CallID) masking.Call {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) { return tx.Call(ctx, "acme", id) })
}

// steps are the three reports of a call that is answered after 5 s and ends 90.9 s later.
func steps(a masking.Allocation, id masking.CallID) (begun, answered, ended masking.Call) {
	begun = Call(a, id, a.From[0])
	answered = begun
	answered.Callee, answered.AnsweredAt, answered.RingTime = a.To[0], Start().Add(5*time.Second), 5*time.Second
	answered.Attempts = []masking.Attempt{{Target: a.To[0], Trunk: "carrier", Rang: true, Answered: true, Status: 200, Ring: 5 * time.Second}}
	ended = answered
	ended.Quality.Callee = masking.LegQuality{Received: 4500, Jitter: time.Millisecond}
	ended.EndedAt, ended.TalkTime, ended.Cause = Start().Add(95*time.Second), 90*time.Second+900*time.Millisecond, masking.CauseCalleeHungUp
	return begun, answered, ended
}

// report runs one step of a call in a transaction of its own.
func (b *bench) report(step func(store.Tx, context.Context, masking.Call) (bool, error), c masking.Call) (did bool, err error) {
	err = b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		did, err = step(tx, ctx, c)
		return err
	})
	return did, err
}

func callCountsOnce(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	begun, answered, ended := steps(a, CallID(1))
	for _, s := range []struct {
		name  string
		step  func(store.Tx, context.Context, masking.Call) (bool, error)
		call  masking.Call
		tally masking.Tally
	}{
		{"BeginCall", store.Tx.BeginCall, begun, masking.Tally{Calls: 1}},
		{"AnswerCall", store.Tx.AnswerCall, answered, masking.Tally{Calls: 1, Connected: 1}},
		{"EndCall", store.Tx.EndCall, ended, masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 90}},
	} {
		for round, want := range []bool{true, false, false} {
			did, err := b.report(s.step, s.call)
			if err != nil || did != want {
				b.Fatalf("%s, time %d: %v, %v", s.name, round+1, did, err)
			}
			equal(b, b.call(begun.ID), s.call)
			equal(b, b.allocation(a.ID).Tally, s.tally)
		}
	}
	if fresh, err := b.report(store.Tx.BeginCall, begun); err != nil || fresh {
		b.Fatalf("a late BeginCall: %v, %v", fresh, err)
	}
	equal(b, b.call(begun.ID), ended)
}

func callTurns(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1, 2), People(3, 4)), Start())
	expect := func(to, from masking.Turn) {
		b.Helper()
		got := b.allocation(a.ID)
		equal(b, got.ToTurn, to)
		equal(b, got.FromTurn, from)
	}
	did := func(step func(store.Tx, context.Context, masking.Call) (bool, error), c masking.Call) {
		b.Helper()
		if _, err := b.report(step, c); err != nil {
			b.Fatal(err)
		}
	}
	begun, answered, ended := steps(a, CallID(1))
	begun.Callee, begun.Direction = Person(4), masking.FromCalls
	answered.Direction, ended.Direction = masking.FromCalls, masking.FromCalls
	did(store.Tx.BeginCall, begun)
	expect(masking.Turn{Began: Person(4)}, masking.Turn{})
	did(store.Tx.AnswerCall, answered)
	did(store.Tx.EndCall, ended)
	expect(masking.Turn{Began: Person(4), Answered: Person(3)}, masking.Turn{})

	back := Call(a, CallID(2), Person(3))
	back.Callee, back.Direction = Person(2), masking.ToCalls
	did(store.Tx.BeginCall, back)
	back.EndedAt, back.Cause = Start(), masking.CauseNoAnswer
	did(store.Tx.EndCall, back)
	did(store.Tx.BeginCall, begun) // told again: it is not the last
	expect(masking.Turn{Began: Person(4), Answered: Person(3)}, masking.Turn{Began: Person(2)})

	refused := Call(a, CallID(3), Person(1)) // rings nobody
	refused.Callee, refused.EndedAt, refused.Cause = e164.Number{}, Start(), masking.CauseRejected
	did(store.Tx.BeginCall, refused)
	asked := Call(a, CallID(4), Person(1))
	asked.Allocation, asked.Callee = "", e164.Number{}
	did(store.Tx.BeginCall, asked)
	expect(masking.Turn{Began: Person(4), Answered: Person(3)}, masking.Turn{Began: Person(2)})
	asked.Allocation, asked.Callee, asked.Direction = a.ID, Person(3), masking.FromCalls
	did(store.Tx.MatchCall, asked)
	expect(masking.Turn{Began: Person(3), Answered: Person(3)}, masking.Turn{Began: Person(2)})
	changed := b.allocation(a.ID)
	changed.To, changed.ToTurn = People(4), masking.Turn{}
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateAllocation(ctx, changed) })
	expect(masking.Turn{Began: Person(3), Answered: Person(3)}, masking.Turn{Began: Person(2)})
}

func callCountsOnceConcurrently(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	begun, answered, ended := steps(a, CallID(1))
	for _, s := range []struct {
		name string
		step func(store.Tx, context.Context, masking.Call) (bool, error)
		call masking.Call
	}{{"BeginCall", store.Tx.BeginCall, begun}, {"AnswerCall", store.Tx.AnswerCall, answered}, {"EndCall", store.Tx.EndCall, ended}} {
		var did, failed atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				switch ok, err := b.report(s.step, s.call); {
				case err != nil:
					failed.Add(1)
				case ok:
					did.Add(1)
				}
			})
		}
		wg.Wait()
		if did.Load() != 1 || failed.Load() != 0 {
			b.Fatalf("%s: %d changed it, %d failed", s.name, did.Load(), failed.Load())
		}
	}
	equal(b, b.allocation(a.ID).Tally, masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 90})
}

func endBringsAnswer(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	begun, _, ended := steps(a, CallID(1))
	for _, s := range []func() (bool, error){
		func() (bool, error) { return b.report(store.Tx.BeginCall, begun) },
		func() (bool, error) { return b.report(store.Tx.EndCall, ended) },
	} {
		if did, err := s(); err != nil || !did {
			b.Fatalf("%v, %v", did, err)
		}
	}
	equal(b, b.call(begun.ID), ended)
	equal(b, b.allocation(a.ID).Tally, masking.Tally{Calls: 1, Connected: 1, TalkSeconds: 90})
}

func nothingAfterEnd(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	begun, answered, _ := steps(a, CallID(1))
	ended := begun
	ended.EndedAt, ended.Cause, ended.RingTime = Start().Add(time.Second), masking.CauseCallerCancelled, time.Second
	for i, s := range []struct {
		step func(store.Tx, context.Context, masking.Call) (bool, error)
		call masking.Call
		want bool
	}{{store.Tx.BeginCall, begun, true}, {store.Tx.EndCall, ended, true}, {store.Tx.AnswerCall, answered, false}} {
		if did, err := b.report(s.step, s.call); err != nil || did != s.want {
			b.Fatalf("step %d: %v, %v", i, did, err)
		}
	}
	equal(b, b.call(begun.ID), ended)
	equal(b, b.allocation(a.ID).Tally, masking.Tally{Calls: 1})
}

func callUnknown(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	_, answered, ended := steps(a, CallID(1))
	_, err := b.report(store.Tx.AnswerCall, answered)
	b.code(masking.CodeNotFound, err)
	_, err = b.report(store.Tx.EndCall, ended)
	b.code(masking.CodeNotFound, err)
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) {
		return tx.Call(ctx, "acme", CallID(1))
	}))
}

func callOfStranger(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	begun, answered, ended := steps(a, CallID(1))
	for i, s := range []struct {
		step func(store.Tx, context.Context, masking.Call) (bool, error)
		call masking.Call
	}{{store.Tx.BeginCall, begun}, {store.Tx.AnswerCall, answered}, {store.Tx.EndCall, ended}} {
		s.call.Allocation = ""
		if did, err := b.report(s.step, s.call); err != nil || !did {
			b.Fatalf("step %d: %v, %v", i, did, err)
		}
	}
	equal(b, b.allocation(a.ID).Tally, masking.Tally{})
}

func callLists(b *bench) {
	b.acme()
	b.tenant("other")
	one := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	two := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(3), People(4)), Start())
	foreign := two
	foreign.Tenant = "other"
	// The start decides the order, the id only between equals.
	for _, c := range []struct {
		a     masking.Allocation
		id    int
		after time.Duration
		ended bool
	}{{one, 5, 0, true}, {two, 3, time.Second, true}, {one, 4, time.Second, false}, {one, 1, 2 * time.Second, false}, {foreign, 9, 0, false}} {
		call := Call(c.a, CallID(c.id), Person(1))
		call.StartedAt = Start().Add(c.after)
		if c.ended {
			call.EndedAt, call.Cause = call.StartedAt, masking.CauseNoAnswer
		}
		if _, err := b.report(store.Tx.BeginCall, call); err != nil {
			b.Fatal(err)
		}
	}
	at := func(s int) time.Time { return Start().Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		f    store.CallFilter
		want string
	}{
		{store.CallFilter{Tenant: "acme"}, "1 4 3 5 "},
		{store.CallFilter{Tenant: "other"}, "9 "},
		{store.CallFilter{Tenant: "acme", Limit: 2}, "1 4 "},
		{store.CallFilter{Tenant: "acme", Limit: 2, Before: CallID(4)}, "3 5 "},
		{store.CallFilter{Tenant: "acme", Before: CallID(5)}, ""},
		{store.CallFilter{Tenant: "acme", Before: CallID(77)}, ""},
		{store.CallFilter{Tenant: "acme", Allocation: one.ID}, "1 4 5 "},
		{store.CallFilter{Tenant: "acme", Allocation: one.ID, Before: CallID(1), Limit: 1}, "4 "},
		{store.CallFilter{Tenant: "other", Allocation: one.ID}, ""},
		{store.CallFilter{Tenant: "acme", Status: "live"}, "1 4 "},
		{store.CallFilter{Tenant: "acme", Status: "ended"}, "3 5 "},
		{store.CallFilter{Tenant: "acme", Allocation: one.ID, Status: "ended"}, "5 "},
		{store.CallFilter{Tenant: "acme", Since: at(1)}, "1 4 3 "},
		{store.CallFilter{Tenant: "other", Before: CallID(1)}, ""}, // another tenant's call tells nothing
		{store.CallFilter{Tenant: "acme", Until: at(1)}, "5 "},
		{store.CallFilter{Tenant: "acme", Since: at(1), Until: at(2), Before: CallID(4)}, "3 "},
	} {
		var got string
		for _, call := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) { return tx.Calls(ctx, c.f) }) {
			for i := range 10 {
				if call.ID == CallID(i) {
					got += fmt.Sprint(i, " ")
				}
			}
		}
		if got != c.want {
			b.Errorf("%+v: got %q, want %q", c.f, got, c.want)
		}
	}
}

// callFilters narrows a list by what became of calls; pages of it hold, whatever
// begins meanwhile.
func callFilters(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	other := b.created(Allocation("acme", AllocationID(2), Virtual(1), People(1), People(4)), Start())
	begin := func(i int, of masking.Allocation, edit func(*masking.Call)) {
		call := Call(of, CallID(i), Person(1))
		call.StartedAt, call.Callee, call.Direction = Start().Add(time.Duration(i)*time.Second), of.To[0], masking.FromCalls
		edit(&call)
		if _, err := b.report(store.Tx.BeginCall, call); err != nil {
			b.Fatal(err)
		}
	}
	ended := func(c *masking.Call, cause masking.Cause) { c.EndedAt, c.Cause = c.StartedAt.Add(time.Second), cause }
	begin(0, a, func(c *masking.Call) { ended(c, masking.CauseBusy) })
	begin(1, a, func(c *masking.Call) {
		ended(c, masking.CauseCallerHungUp)
		c.AnsweredAt, c.Recorded = c.StartedAt, true
	})
	begin(2, other, func(c *masking.Call) { ended(c, masking.CauseCallerHungUp); c.AnsweredAt = c.StartedAt })
	begin(3, a, func(c *masking.Call) {
		c.Caller, c.Callee, c.Direction = Person(2), Person(1), masking.ToCalls
		ended(c, masking.CauseBusy)
	})
	begin(4, other, func(*masking.Call) {})
	yes, no := true, false
	list := func(f store.CallFilter) (got string) {
		b.Helper()
		f.Tenant = "acme"
		for _, call := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) { return tx.Calls(ctx, f) }) {
			for i := range 10 {
				if call.ID == CallID(i) {
					got += fmt.Sprint(i, " ")
				}
			}
		}
		return got
	}
	equal(b, list(store.CallFilter{Cause: masking.CauseBusy}), "3 0 ")
	equal(b, list(store.CallFilter{Direction: masking.ToCalls}), "3 ")
	equal(b, list(store.CallFilter{VirtualNumber: Virtual(1)}), "4 2 ")
	equal(b, list(store.CallFilter{Party: Person(2)}), "3 1 0 ")
	equal(b, list(store.CallFilter{Party: Person(4)}), "4 2 ")
	equal(b, list(store.CallFilter{Party: Person(9)}), "")
	equal(b, list(store.CallFilter{Answered: &yes}), "2 1 ")
	equal(b, list(store.CallFilter{Answered: &no}), "4 3 0 ")
	equal(b, list(store.CallFilter{Recorded: &yes}), "1 ")
	equal(b, list(store.CallFilter{Recorded: &no, Status: "ended"}), "3 2 0 ")
	equal(b, list(store.CallFilter{Cause: masking.CauseCallerHungUp, VirtualNumber: Virtual(2), Party: Person(1), Answered: &yes}), "1 ")
	equal(b, list(store.CallFilter{Party: Person(1), Limit: 2}), "4 3 ")
	for _, f := range []store.CallFilter{{}, {Tenant: "acme", AllTenants: true}} {
		if err := getErr(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) { return tx.Calls(ctx, f) }); err == nil {
			b.Errorf("whose calls are asked for is not said, and given: %+v", f)
		}
	}
	begin(5, a, func(*masking.Call) {})
	begin(6, a, func(*masking.Call) {})
	equal(b, list(store.CallFilter{Party: Person(1), Limit: 2, Before: CallID(3)}), "2 1 ")
	equal(b, list(store.CallFilter{Party: Person(1), Limit: 2, Before: CallID(1)}), "0 ")
}

func openCalls(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	for i, node := range []string{"node-1", "node-2", "node-1"} {
		c := Call(a, CallID(i), Person(1))
		c.Node = node
		if i == 2 {
			c.EndedAt, c.Cause = Start(), masking.CauseBusy
		}
		if _, err := b.report(store.Tx.BeginCall, c); err != nil {
			b.Fatal(err)
		}
	}
	open := get(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) {
		return tx.OpenCalls(ctx, "node-1", 0)
	})
	equal(b, open, []masking.Call{Call(a, CallID(0), Person(1))})
	equal(b, len(get(b, func(ctx context.Context, tx store.Reader) ([]masking.Call, error) {
		return tx.OpenCalls(ctx, "node-3", 0)
	})), 0)
}

func eventTests() []test {
	return []test{
		{"EventsAreReadInTheOrderOfTheirTransactions", eventOrder},
		{"EventsAreNarrowedByTenantTimeAndCursor", eventLists},
		{"AnEventIsWrittenOnceHoweverOftenItIsAppended", eventOnce},
		{"EventsWrittenLateAreFoundByTheirOwnTime", eventLate},
		{"EventPagesMissNothingUnderConcurrentWriters", eventPages},
		{"AnEventOfATransactionThatIsStillOpenIsNotPassedByLaterOnes", eventOpen},
		{"TheLastEventIsThatOfAllTenants", eventLast},
	}
}

func event(tenant masking.TenantID, i int, at time.Time) masking.Event {
	return masking.Event{ID: EventID(i), Type: masking.EventUpdated, Tenant: tenant, Allocation: AllocationID(i), Call: CallID(i), At: at,
		Data: json.RawMessage(fmt.Sprintf(`{"i": %d, "text": "€ \" \\"}`, i))}
}

// events reads a page of the outbox.
func (b *bench) events(f store.EventFilter) []store.StoredEvent {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) ([]store.StoredEvent, error) { return tx.Events(ctx, f) })
}

func eventOrder(b *bench) {
	b.tenant("acme")
	for i := range 5 {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, event("acme", i, Start())) })
		_ = b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
			if err := tx.AppendEvent(ctx, event("acme", 100+i, Start())); err != nil {
				return err
			}
			return errTest
		})
	}
	last := int64(0)
	got := b.events(store.EventFilter{Tenant: "acme"})
	equal(b, len(got), 5)
	for i, e := range got {
		equal(b, e.Event, event("acme", i, Start()))
		if e.Cursor <= last {
			b.Errorf("cursor %d after %d", e.Cursor, last)
		}
		last = e.Cursor
	}
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, event("nobody", 99, Start())) })
}

func eventLists(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	for i := range 8 {
		tenant := masking.TenantID("acme")
		if i%4 == 3 {
			tenant = "other"
		}
		b.update(func(ctx context.Context, tx store.Tx) error {
			return tx.AppendEvent(ctx, event(tenant, i, Start().Add(time.Duration(i)*time.Second)))
		})
	}
	list := func(f store.EventFilter) (text string) {
		b.Helper()
		for _, e := range b.events(f) {
			for i := range 8 {
				if e.ID == EventID(i) {
					text += fmt.Sprint(i, " ")
				}
			}
		}
		return text
	}
	at := func(s int) time.Time { return Start().Add(time.Duration(s) * time.Second) }
	second := b.events(store.EventFilter{Tenant: "acme", Limit: 2})[1].Cursor
	equal(b, list(store.EventFilter{Tenant: "acme"}), "0 1 2 4 5 6 ")
	equal(b, list(store.EventFilter{Tenant: "other"}), "3 7 ")
	equal(b, list(store.EventFilter{Tenant: "acme", After: second, Limit: 2}), "2 4 ")
	equal(b, list(store.EventFilter{Tenant: "acme", Since: at(2), Until: at(5)}), "2 4 ")
	equal(b, list(store.EventFilter{Tenant: "acme", Since: at(2), After: second, Limit: 1}), "2 ")
	equal(b, list(store.EventFilter{AllTenants: true}), "0 1 2 3 4 5 6 7 ")
	for _, f := range []store.EventFilter{{}, {Tenant: "acme", AllTenants: true}} {
		if err := getErr(b, func(ctx context.Context, tx store.Reader) ([]store.StoredEvent, error) { return tx.Events(ctx, f) }); err == nil {
			b.Errorf("whose events are asked for is not said, and given: %+v", f)
		}
	}
}

// eventOnce appends as a journal does that was told of a failure after the
// commit: the same event again, alone and beside new ones.
func eventOnce(b *bench) {
	b.tenant("acme")
	first := event("acme", 1, Start())
	for range 2 {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, first) })
	}
	b.update(func(ctx context.Context, tx store.Tx) error {
		for _, e := range []masking.Event{event("acme", 2, Start()), first, event("acme", 3, Start())} {
			if err := tx.AppendEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	var got []masking.Event
	for _, e := range b.events(store.EventFilter{Tenant: "acme"}) {
		got = append(got, e.Event)
	}
	equal(b, got, []masking.Event{first, event("acme", 2, Start()), event("acme", 3, Start())})
}

// eventLate has events wait for the database and be written after later ones.
func eventLate(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	at := func(s int) time.Time { return Start().Add(time.Duration(s) * time.Second) }
	for i, s := range []int{0, 5, 2, 9, 3, 5} {
		b.update(func(ctx context.Context, tx store.Tx) error {
			if err := tx.AppendEvent(ctx, event("other", 100+i, at(50))); err != nil { // not acme's time
				return err
			}
			return tx.AppendEvent(ctx, event("acme", i, at(s)))
		})
	}
	list := func(f store.EventFilter) (text string) {
		b.Helper()
		f.Tenant = "acme"
		for _, e := range b.events(f) {
			text += fmt.Sprint(e.At.Sub(Start()).Seconds(), " ")
		}
		return text
	}
	equal(b, list(store.EventFilter{}), "0 5 2 9 3 5 ")
	equal(b, list(store.EventFilter{Since: at(2)}), "5 2 9 3 5 ")
	equal(b, list(store.EventFilter{Since: at(3)}), "5 9 3 5 ")
	equal(b, list(store.EventFilter{Since: at(6)}), "9 ")
	equal(b, list(store.EventFilter{Since: at(10)}), "")
	equal(b, list(store.EventFilter{Since: at(2), Until: at(5)}), "2 3 ")
	all := b.events(store.EventFilter{Tenant: "acme"})
	equal(b, list(store.EventFilter{Since: at(3), After: all[1].Cursor}), "9 3 5 ")
	equal(b, list(store.EventFilter{Since: at(3), After: all[5].Cursor}), "")
}

// eventOpen holds a transaction open that has appended its event, and reads on
// while others want to commit theirs. Whatever of them becomes visible meanwhile,
// what the open one has written must come after it.
func eventOpen(b *bench) {
	b.tenant("acme")
	appended, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var failed atomic.Int64
	write := func(i int, held func()) {
		err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
			err := tx.AppendEvent(ctx, event("acme", i, Start()))
			held()
			return err
		})
		if err != nil {
			failed.Add(1)
		}
	}
	wg.Go(func() { write(0, sync.OnceFunc(func() { close(appended); <-release })) })
	<-appended
	for i := range 3 {
		wg.Go(func() { write(1+i, func() {}) })
	}
	seen, after := 0, int64(0)
	read := func() {
		for _, e := range b.events(store.EventFilter{Tenant: "acme", After: after}) {
			seen, after = seen+1, e.Cursor
		}
	}
	for range 100 { // reads: whoever can commit has
		read()
	}
	close(release)
	wg.Wait()
	read()
	equal(b, failed.Load(), 0)
	equal(b, seen, 4)
}

func eventLast(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	last := func() int64 {
		b.Helper()
		return get(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.LastEvent(ctx) })
	}
	equal(b, last(), 0)
	for i, tenant := range []masking.TenantID{"acme", "other"} {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, event(tenant, i, Start())) })
		equal(b, last(), b.events(store.EventFilter{Tenant: tenant})[0].Cursor)
	}
}

func eventPages(b *bench) {
	b.tenant("acme")
	const writers, each = 8, 20
	var wg sync.WaitGroup
	var failed atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
					return tx.AppendEvent(ctx, event("acme", w*each+i, Start()))
				})
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { wg.Wait(); close(written) }()
	seen, after, all := map[masking.EventID]bool{}, int64(0), false
	for {
		page := b.events(store.EventFilter{Tenant: "acme", After: after, Limit: 9})
		for _, e := range page {
			if seen[e.ID] || e.Cursor <= after {
				b.Fatalf("event %s comes twice or out of order", e.ID)
			}
			seen[e.ID], after = true, e.Cursor
		}
		if len(page) == 0 && all {
			break
		}
		select {
		case <-written:
			all = true
		default:
		}
	}
	equal(b, failed.Load(), 0)
	equal(b, len(seen), writers*each) // an event with a lower cursor that came late would be missing
}
