package storetest

import (
	"context"
	"fmt"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func retentionTests() []test {
	return []test{
		{"OldCallsGoWithWhatIsKnownOfTheirRecordings", oldCallsGo},
		{"OldEventsGoOldestFirstAndWhoHasNotReadThemIsTold", oldEventsGo},
		{"AnEventStaysUntilActiveEndpointsHaveItOrGaveUp", owedEventsStay},
		{"WhatWaitsForAnEndpointThatIsOffGoesWithItsEvent", waitingEventsGo},
		{"OldAllocationsGoAfterTheirCalls", oldAllocationsGo},
	}
}

// outlived tells whether there is something of acme's to be removed.
func (b *bench) outlived(before time.Time) bool {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (bool, error) { return tx.AnyOutlived(ctx, "acme", before) })
}

// forget removes at most limit of acme's calls, events or allocations.
func (b *bench) forget(what func(store.Tx) func(context.Context, masking.TenantID, time.Time, int) (int, error), before time.Time, limit int) (n int) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) (err error) {
		n, err = what(tx)(ctx, "acme", before, limit)
		return err
	})
	return n
}

func calls(tx store.Tx) func(context.Context, masking.TenantID, time.Time, int) (int, error) {
	return tx.ForgetCalls
}

func events(tx store.Tx) func(context.Context, masking.TenantID, time.Time, int) (int, error) {
	return tx.ForgetEvents
}

func allocations(tx store.Tx) func(context.Context, masking.TenantID, time.Time, int) (int, error) {
	return tx.ForgetAllocations
}

func callsLeft(ctx context.Context, tx store.Reader) (ids []masking.CallID, err error) {
	list, err := tx.Calls(ctx, store.CallFilter{Tenant: "acme", Limit: 99})
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	return ids, err
}

func oldCallsGo(b *bench) {
	b.acme()
	b.tenant("other")
	for i := range 7 {
		c := b.past(i+1, Person(1), Person(2))
		status := []masking.RecordingStatus{"", masking.RecordingRunning, masking.RecordingStored, masking.RecordingDeleted,
			masking.RecordingDeleted, masking.RecordingFailed, ""}[i]
		if status == "" {
			continue
		}
		r := masking.Recording{Call: c.ID, Tenant: "acme", VirtualNumber: Virtual(1), Status: status, StartedAt: Start(), Held: i == 2}
		if i == 2 || i == 3 {
			r.Key = "k" // there is sound
		}
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.BeginRecording(ctx, r) })
	}
	up := masking.Call{ID: CallID(8), Tenant: "acme", VirtualNumber: Virtual(1), Caller: Person(1), Node: "n", StartedAt: Start()}
	others := up
	others.ID, others.Tenant = CallID(9), "other"
	for _, c := range []masking.Call{up, others} {
		b.update(func(ctx context.Context, tx store.Tx) error { _, err := tx.BeginCall(ctx, c); return err })
	}
	equal(b, []bool{b.outlived(Start()), b.outlived(Start().Add(time.Millisecond))}, []bool{false, true})
	equal(b, b.forget(calls, Start(), 9), 0) // the moment itself is not before
	equal(b, b.forget(calls, Start().Add(time.Hour), 0), 0)
	after := Start().Add(time.Second)
	equal(b, []int{b.forget(calls, after, 3), b.forget(calls, after, 3), b.forget(calls, after, 3)}, []int{3, 1, 0})
	equal(b, get(b, callsLeft), []masking.CallID{CallID(8), CallID(4), CallID(3), CallID(2)})
	equal(b, b.outlived(after), false)
	recording := func(i int) func(context.Context, store.Reader) (masking.Recording, error) {
		return func(ctx context.Context, tx store.Reader) (masking.Recording, error) {
			return tx.Recording(ctx, "acme", CallID(i))
		}
	}
	b.code(masking.CodeNotFound, getErr(b, recording(5)))
	b.code(masking.CodeNotFound, getErr(b, recording(6)))
	r := get(b, recording(4))
	r.Key = "" // its sound is gone
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateRecording(ctx, r) })
	equal(b, b.forget(calls, after, 9), 1)
}

// eventsLeft are the identifiers of acme's events, and how far they are gone.
func (b *bench) eventsLeft() string {
	b.Helper()
	var text string
	b.view(func(ctx context.Context, tx store.Reader) error {
		text = ""
		list, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 99})
		for _, e := range list {
			text += fmt.Sprint(" ", e.At.Sub(Start()).Seconds())
		}
		return err
	})
	return text
}

func (b *bench) gone() int64 {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.EventsGone(ctx, "acme") })
}

func oldEventsGo(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	equal(b, b.gone(), 0)
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.EventsGone(ctx, "nobody") }))
	var told []store.StoredEvent
	for i := range 5 {
		told = append(told, b.tell("acme", i+1, "a"))
		b.tell("other", i+10, "a")
	}
	equal(b, []bool{b.outlived(told[0].At), b.outlived(told[1].At)}, []bool{false, true})
	equal(b, b.forget(events, told[3].At, 0), 0)
	equal(b, b.forget(events, told[3].At, 2), 2)
	equal(b, b.gone(), told[1].Cursor)
	equal(b, b.eventsLeft(), " 3 4 5")
	equal(b, []int{b.forget(events, told[3].At, 9), b.forget(events, told[3].At, 9)}, []int{1, 0})
	equal(b, b.gone(), told[2].Cursor)
	// What is written of an earlier time, though later, goes when its place is over.
	late := event("acme", 2, Start())
	late.ID = "evt_late"
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, late) })
	equal(b, b.forget(events, told[3].At, 9), 0)
	equal(b, b.forget(events, told[4].At.Add(time.Millisecond), 9), 3)
	equal(b, b.eventsLeft(), "")
	next := b.tell("acme", 6, "a")
	if next.Cursor <= b.gone() {
		b.Fatalf("a place is given again: %d after %d", next.Cursor, b.gone())
	}
	equal(b, len(get(b, func(ctx context.Context, tx store.Reader) ([]store.StoredEvent, error) {
		return tx.Events(ctx, store.EventFilter{Tenant: "other", Limit: 9})
	})), 5)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "other") })
}

func owedEventsStay(b *bench) {
	b.tenant("acme")
	b.webhook(Webhook("acme", "wh_1"))
	e := []store.StoredEvent{b.tell("acme", 1, "a"), b.tell("acme", 2, "a"), b.tell("acme", 3, "c"), b.tell("acme", 4, "d")}
	all := Start().Add(time.Hour)
	equal(b, b.outlived(all), false) // nobody has looked at them
	b.spread("wh_1", 3)
	equal(b, b.forget(events, all, 9), 0) // pending, queued, pending, not looked at
	end := func(i int, s masking.DeliveryStatus) {
		b.update(func(ctx context.Context, tx store.Tx) error {
			d, err := tx.Delivery(ctx, "wh_1", e[i].Cursor)
			if err != nil {
				return err
			}
			d.Status, d.FinishedAt = s, Start().Add(time.Minute)
			_, err = tx.FinishAttempt(ctx, d)
			return err
		})
	}
	end(0, masking.DeliveryDelivered)
	end(2, masking.DeliveryDead)
	equal(b, b.outlived(all), true)
	equal(b, b.forget(events, all, 9), 2)
	equal(b, b.eventsLeft(), " 2 4")
	equal(b, b.gone(), e[2].Cursor)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "2: pending")
	b.spread("wh_1", 3)
	end(1, masking.DeliveryDead)
	end(3, masking.DeliveryDelivered)
	equal(b, b.forget(events, all, 9), 2)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "")
}

func waitingEventsGo(b *bench) {
	b.tenant("acme")
	w := b.webhook(Webhook("acme", "wh_1"))
	b.tell("acme", 1, "a")
	b.tell("acme", 2, "a")
	b.spread("wh_1", 9)
	b.tell("acme", 3, "a")
	w.Active = false
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateWebhook(ctx, w) })
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "1: pending, 2: queued")
	equal(b, b.forget(events, Start().Add(2*time.Second), 9), 1)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "2: pending") // the next of the chain leads
	equal(b, b.forget(events, Start().Add(time.Hour), 9), 2)
	equal(b, b.standing("wh_1", store.DeliveryFilter{}), "")
}

func oldAllocationsGo(b *bench) {
	b.acme()
	end := Start().Add(time.Minute)
	for i := range 3 {
		a := Allocation("acme", AllocationID(i+1), Virtual(2), People(10+i), People(20+i))
		b.created(a, Start())
	}
	pin := b.created(ByPIN(Allocation("acme", AllocationID(4), Virtual(2), People(30), nil), "4821"), Start())
	b.update(func(ctx context.Context, tx store.Tx) error {
		return tx.CountWrong(ctx, []masking.TriesOf{{VirtualNumber: Virtual(2), Allocation: pin.ID, Caller: Person(30)}}, Start())
	})
	c := Call(b.allocation(AllocationID(2)), CallID(1), Person(11))
	b.update(func(ctx context.Context, tx store.Tx) error { _, err := tx.BeginCall(ctx, c); return err })
	after := end.Add(time.Millisecond)
	equal(b, b.outlived(after), true) // the events
	equal(b, b.forget(events, after, 99), 4)
	equal(b, b.outlived(after), false) // they are all active
	for _, id := range []masking.AllocationID{AllocationID(1), AllocationID(2), pin.ID} {
		if err := Delete(b.Context(), b, "acme", id, end); err != nil {
			b.Fatal(err)
		}
	}
	equal(b, []int{b.forget(allocations, end, 9), b.forget(allocations, after, 0)}, []int{0, 0})
	equal(b, b.outlived(after), true)
	equal(b, []int{b.forget(allocations, after, 1), b.forget(allocations, after, 9), b.forget(allocations, after, 9)}, []int{1, 1, 0})
	one := func(id masking.AllocationID) func(context.Context, store.Reader) (masking.Allocation, error) {
		return func(ctx context.Context, tx store.Reader) (masking.Allocation, error) {
			return tx.Allocation(ctx, "acme", id)
		}
	}
	b.code(masking.CodeNotFound, getErr(b, one(AllocationID(1))))
	b.code(masking.CodeNotFound, getErr(b, one(pin.ID)))
	get(b, one(AllocationID(2))) // there is still a call
	get(b, one(AllocationID(3))) // it is active
	c.EndedAt, c.Cause = end, masking.CauseCallerHungUp
	b.update(func(ctx context.Context, tx store.Tx) error { _, err := tx.EndCall(ctx, c); return err })
	equal(b, []int{b.forget(calls, after, 9), b.forget(allocations, after, 9)}, []int{1, 1})
	// Nothing refers to what is gone: the same identifiers can be made again.
	again := Allocation("acme", AllocationID(1), Virtual(2), People(10), People(20))
	again.CreatedAt, again.ExpiresAt = after, after.Add(time.Hour)
	if err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.InsertAllocation(ctx, again) }); err != nil {
		b.Fatal(err)
	}
}
