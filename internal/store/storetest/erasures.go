package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func erasureTests() []test {
	return []test{
		{"AnErasureIsReadListedAndDueAsWritten", erasureRoundTrip},
		{"WhetherANumberWasErasedSinceIsAskedByItsDigest", erasedSince},
		{"ACallIsWrittenBeforeTheErasureThatItDoesNotSee", erasedBeside},
		{"TracesOfANumberAreFoundInSlicesAndErased", tracesErased},
		{"WhatHasToWaitIsLeftAsItIs", tracesWait},
		{"AnActiveAllocationKeepsItsParties", tracesActive},
		{"AnErasedNumberIsForgottenButForABlock", numberForgotten},
		{"NumbersThatForwardToSomebodyAreFound", forwardsFound},
		{"AKeptAnswerIsRewrittenInPlace", replayRewritten},
		{"ScrubIsRefusedWhileSomebodyReadsWhatWas", scrubWaits},
	}
}

func erasure(i int, at time.Time) masking.Erasure {
	return masking.Erasure{ID: masking.ErasureID(fmt.Sprintf("ers_%d", i)), Tenant: "acme", Digest: [32]byte{byte(i)}, Number: []byte("sealed"),
		Part: masking.EraseAllocations, CreatedAt: at, DueAt: at}
}

func erasures(f store.ErasureFilter) func(context.Context, store.Reader) ([]masking.Erasure, error) {
	return func(ctx context.Context, tx store.Reader) ([]masking.Erasure, error) { return tx.Erasures(ctx, f) }
}

func erasureRoundTrip(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	first, second := erasure(1, Start()), erasure(2, Start().Add(time.Minute))
	for _, e := range []masking.Erasure{first, second} {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertErasure(ctx, e) })
	}
	b.refused(masking.CodeAlreadyExists, func(ctx context.Context, tx store.Tx) error { return tx.InsertErasure(ctx, first) })
	equal(b, get(b, erasures(store.ErasureFilter{Tenant: "acme"})), []masking.Erasure{second, first})
	equal(b, get(b, erasures(store.ErasureFilter{Tenant: "acme", Limit: 1, Before: second.ID})), []masking.Erasure{first})
	equal(b, get(b, erasures(store.ErasureFilter{Tenant: "acme", Digest: second.Digest})), []masking.Erasure{second})
	equal(b, len(get(b, erasures(store.ErasureFilter{Tenant: "other"}))), 0)
	due := func(at time.Time) []masking.Erasure {
		return get(b, func(ctx context.Context, tx store.Reader) ([]masking.Erasure, error) {
			return tx.DueErasures(ctx, at, 9)
		})
	}
	equal(b, due(Start()), []masking.Erasure{first})
	equal(b, due(second.DueAt), []masking.Erasure{first, second})
	first.Number, first.Part, first.Place, first.Waiting, first.FinishedAt = nil, masking.EraseFiles, "x", 3, Start().Add(time.Hour)
	first.Blocked = true
	first.Removed = masking.Removed{Allocations: 1, Calls: 2, Events: 3, Ladders: 4, Recordings: 5, PINTries: 6, Answers: 7}
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateErasure(ctx, first) })
	one := func(tenant masking.TenantID) func(context.Context, store.Reader) (masking.Erasure, error) {
		return func(ctx context.Context, tx store.Reader) (masking.Erasure, error) {
			return tx.Erasure(ctx, tenant, first.ID)
		}
	}
	equal(b, get(b, one("acme")), first)
	b.code(masking.CodeNotFound, getErr(b, one("other")))
	equal(b, due(second.DueAt), []masking.Erasure{second})
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "acme") })
	b.code(masking.CodeNotFound, getErr(b, one("acme")))
}

func erasedSince(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertErasure(ctx, erasure(1, Start())) })
	since := func(tenant masking.TenantID, digest byte, at time.Time) bool {
		return get(b, func(ctx context.Context, tx store.Reader) (bool, error) {
			return tx.ErasedSince(ctx, tenant, [32]byte{digest}, at)
		})
	}
	equal(b, []bool{since("acme", 1, Start().Add(-time.Hour)), since("acme", 1, Start())}, []bool{true, true})
	equal(b, []bool{since("acme", 1, Start().Add(time.Millisecond)), since("acme", 2, Start()), since("other", 1, Start())}, make([]bool, 3))
}

// Whoever writes a call down late, and sees no erasure of its number, has written it by the
// time that one is asked for.
func erasedBeside(b *bench) {
	b.acme()
	const rounds = 25
	for r := range rounds {
		e := erasure(r, Start())
		c := masking.Call{ID: CallID(r), Tenant: "acme", VirtualNumber: Virtual(2), Caller: Person(r), Node: "node-1", StartedAt: Start()}
		erased, written := false, false
		errs := together(2, func(i int) error {
			if i == 0 {
				return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
					if erased, err = tx.ErasedSince(ctx, "acme", e.Digest, Start()); err != nil || erased {
						return err
					}
					_, err = tx.BeginCall(ctx, c)
					return err
				})
			}
			if err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.InsertErasure(ctx, e) }); err != nil {
				return err
			}
			return b.View(b.Context(), func(ctx context.Context, tx store.Reader) error {
				_, err := tx.Call(ctx, "acme", c.ID)
				if written = err == nil; masking.KindOf(err) == masking.NotFound {
					return nil
				}
				return err
			})
		})
		if err := errors.Join(errs...); err != nil {
			b.Fatal(err)
		}
		if !erased && !written {
			b.Errorf("round %d: the call was written behind the erasure that it did not see", r)
		}
	}
}

// erase goes through a part in slices of two rows.
func (b *bench) erase(part masking.ErasurePart, n e164.Number, now time.Time) (done masking.Removed, waiting, slices int) {
	b.Helper()
	t := store.Traces{Tenant: "acme", Number: n, Part: part, Until: now, Scan: 2}
	for {
		var keys []string
		var next string
		b.view(func(ctx context.Context, tx store.Reader) (err error) {
			keys, next, err = tx.FindTraces(ctx, t)
			return err
		})
		b.update(func(ctx context.Context, tx store.Tx) error {
			more, left, err := tx.EraseTraces(ctx, t, keys, now)
			done, waiting = done.Plus(more), waiting+left
			return err
		})
		if slices++; next == "" {
			return done, waiting, slices
		}
		t.After = next
	}
}

// past is a call of acme's that has ended long before later.
func (b *bench) past(i int, caller, callee e164.Number) masking.Call {
	b.Helper()
	c := masking.Call{ID: CallID(i), Tenant: "acme", VirtualNumber: Virtual(1), Caller: caller, Callee: callee, Node: "n", StartedAt: Start(),
		Attempts: []masking.Attempt{{Target: callee, Trunk: "t"}}, CustomField: "for " + caller.E164()}
	b.update(func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.BeginCall(ctx, c); err != nil {
			return err
		}
		c.EndedAt, c.Ladder = Start().Add(time.Second), []byte("ladder")
		_, err := tx.EndCall(ctx, c)
		return err
	})
	return c
}

func tracesErased(b *bench) {
	b.acme()
	b.tenant("other")
	later := Start().Add(time.Hour)
	person, another := Person(1), Person(2)
	for i := range 5 {
		a := Allocation("acme", AllocationID(i+1), Virtual(2), nil, nil)
		a.From, a.To, a.CustomField = []e164.Number{Person(10 + i)}, []e164.Number{another}, "x"
		if i%2 == 0 {
			a.To, a.CustomField = []e164.Number{another, person}, "call "+person.E164()
		}
		a.EndedAt, a.EndReason = Start().Add(time.Minute), masking.EndedByAPI
		b.update(func(ctx context.Context, tx store.Tx) error {
			if err := tx.InsertAllocation(ctx, a); err != nil {
				return err
			}
			return tx.AppendEvent(ctx, masking.AllocationEvent(masking.EventID(fmt.Sprintf("evt_%d", i)), masking.EventCreated, a, time.UTC, "", Start()))
		})
	}
	b.past(1, person, another)
	b.past(2, another, person)
	untouched := b.past(3, another, Person(3))

	done, waiting, slices := b.erase(masking.EraseAllocations, person, later)
	equal(b, []any{done, waiting, slices}, []any{masking.Removed{Allocations: 3}, 0, 3})
	first := b.allocation(AllocationID(1))
	equal(b, first.To, []e164.Number{another, e164.Erased()})
	equal(b, first.CustomField, "call erased")
	of := func(n e164.Number) int {
		return len(get(b, func(ctx context.Context, tx store.Reader) ([]masking.Allocation, error) {
			return tx.Allocations(ctx, store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN, Party: n, Limit: 9, Now: later})
		}))
	}
	equal(b, []int{of(person), of(another)}, []int{0, 5})
	done, _, _ = b.erase(masking.EraseAllocations, another, later) // two of a list
	equal(b, done, masking.Removed{Allocations: 5})
	equal(b, b.allocation(AllocationID(1)).To, []e164.Number{e164.Erased(), e164.Erased()})
	b.update(func(ctx context.Context, tx store.Tx) error {
		return tx.UpdateAllocation(ctx, b.allocation(AllocationID(1)))
	})

	done, waiting, _ = b.erase(masking.EraseCalls, person, later)
	equal(b, []any{done, waiting}, []any{masking.Removed{Calls: 2, Ladders: 2}, 0})
	call := func(i int) masking.Call {
		return get(b, func(ctx context.Context, tx store.Reader) (masking.Call, error) {
			return tx.Call(ctx, "acme", CallID(i))
		})
	}
	equal(b, []any{call(1).Caller, call(1).Callee, call(1).CustomField, len(call(1).Ladder)}, []any{e164.Erased(), another, "for erased", 0})
	b.update(func(ctx context.Context, tx store.Tx) error {
		for i := range 2 {
			if err := tx.WriteLadder(ctx, "n", CallID(i+1), []byte("late")); err != nil {
				return err
			}
		}
		return nil
	})
	equal(b, []int{len(call(1).Ladder), len(call(2).Ladder)}, []int{0, 0})
	equal(b, []any{call(2).Callee, call(2).Attempts[0].Target}, []any{e164.Erased(), e164.Erased()})
	equal(b, call(3).Callee, untouched.Callee)
	equal(b, string(call(3).Ladder), "ladder")

	done, _, _ = b.erase(masking.EraseEvents, person, later)
	equal(b, done, masking.Removed{Events: 3})
	done, _, _ = b.erase(masking.EraseEvents, person, later) // again: nothing is left
	equal(b, done, masking.Removed{})
}

func tracesWait(b *bench) {
	b.acme()
	later := Start().Add(time.Hour)
	up := masking.Call{ID: CallID(1), Tenant: "acme", VirtualNumber: Virtual(1), Caller: Person(1), Node: "n", StartedAt: Start()}
	b.update(func(ctx context.Context, tx store.Tx) error { _, err := tx.BeginCall(ctx, up); return err })
	held := b.past(2, Person(1), Person(2))
	stored := b.past(3, Person(1), Person(2))
	for _, c := range []masking.Call{held, stored} {
		b.update(func(ctx context.Context, tx store.Tx) error {
			r := masking.Recording{Call: c.ID, Tenant: "acme", VirtualNumber: Virtual(1), Status: masking.RecordingStored, StartedAt: Start(),
				Key: "k", Held: c.ID == held.ID, Peaks: []byte{1}}
			return tx.BeginRecording(ctx, r)
		})
	}
	equal(b, get(b, func(ctx context.Context, tx store.Reader) ([]masking.CallID, error) {
		return tx.HeldOf(ctx, "acme", Person(2), 9)
	}),
		[]masking.CallID{held.ID})
	equal(b, len(get(b, func(ctx context.Context, tx store.Reader) ([]masking.CallID, error) {
		return tx.HeldOf(ctx, "acme", Person(3), 9)
	})), 0)
	done, waiting, _ := b.erase(masking.EraseCalls, Person(1), later)
	equal(b, []any{done, waiting}, []any{masking.Removed{Calls: 1, Ladders: 1, Recordings: 1}, 2})
	r := get(b, func(ctx context.Context, tx store.Reader) (masking.Recording, error) {
		return tx.Recording(ctx, "acme", stored.ID)
	})
	equal(b, []any{r.Status, r.Key, len(r.Peaks), r.DeletedAt}, []any{masking.RecordingDeleted, "k", 0, later})
	_, waiting, _ = b.erase(masking.EraseCalls, Person(1), Start().Add(2*time.Second)) // its last messages may still come
	equal(b, waiting, 2)
}

func tracesActive(b *bench) {
	b.acme()
	a := Allocation("acme", AllocationID(1), Virtual(2), nil, nil)
	a.From, a.To, a.ExpiresAt = []e164.Number{Person(1)}, []e164.Number{Person(2)}, Start().Add(time.Hour)
	b.created(a, Start())
	done, waiting, _ := b.erase(masking.EraseAllocations, Person(1), Start().Add(time.Minute))
	equal(b, []any{done, waiting}, []any{masking.Removed{}, 0})
	_, waiting, _ = b.erase(masking.EraseAllocations, Person(1), Start().Add(2*time.Hour)) // over, and not yet written
	equal(b, waiting, 1)
	equal(b, b.allocation(a.ID).From, a.From)
}

func numberForgotten(b *bench) {
	b.acme()
	b.tenant("other")
	of := func(tenant masking.TenantID, i int, note string) store.BlockedCaller {
		return store.BlockedCaller{Tenant: tenant, Number: Person(i), Note: note, CreatedAt: Start()}
	}
	list := []store.BlockedCaller{of("acme", 1, "rude"), of("acme", 2, "friend of "+Person(1).E164()), of("acme", 3, ""), of("other", 1, "as "+Person(1).E164())}
	pace := masking.Pace{Tenant: "acme", Scope: masking.OfCaller, Subject: Person(1).E164(), Most: 1}
	tries := []masking.TriesOf{{VirtualNumber: Virtual(2), Caller: Person(1)}, {VirtualNumber: Virtual(2), Caller: Person(2)}}
	b.update(func(ctx context.Context, tx store.Tx) error {
		for _, c := range list {
			if err := tx.BlockCaller(ctx, c); err != nil {
				return err
			}
		}
		if _, err := tx.CountPace(ctx, pace, time.Hour, Start()); err != nil {
			return err
		}
		return tx.CountWrong(ctx, tries, Start())
	})
	forget := func(i int) (done masking.Removed, blocked bool) {
		b.update(func(ctx context.Context, tx store.Tx) (err error) {
			done, blocked, err = tx.ForgetNumber(ctx, "acme", Person(i))
			return err
		})
		return done, blocked
	}
	done, blocked := forget(1)
	equal(b, []any{done, blocked}, []any{masking.Removed{PINTries: 1}, true})
	done, blocked = forget(4)
	equal(b, []any{done, blocked}, []any{masking.Removed{}, false})
	list[1].Note = "friend of erased"
	callers := func(tenant masking.TenantID) []store.BlockedCaller {
		return get(b, func(ctx context.Context, tx store.Reader) ([]store.BlockedCaller, error) {
			return tx.BlockedCallers(ctx, tenant, "", 9)
		})
	}
	equal(b, callers("acme"), list[:3])
	equal(b, callers("other"), list[3:])
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (int, error) {
		return tx.Pace(ctx, pace, time.Hour, Start().Add(time.Second))
	}), 0)
}

func forwardsFound(b *bench) {
	b.acme()
	b.tenant("other")
	forwarding := func(tenant masking.TenantID, i, to int) {
		n := Number(tenant, Virtual(i), masking.Shared)
		n.Strangers = masking.StrangerPolicy{Action: masking.Forward, Forward: Person(to)}
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, Start()) })
	}
	forwarding("acme", 5, 1)
	forwarding("acme", 3, 1)
	forwarding("acme", 4, 2)
	forwarding("other", 6, 1)
	of := func(i, limit int) []e164.Number {
		return get(b, func(ctx context.Context, tx store.Reader) ([]e164.Number, error) {
			return tx.ForwardsTo(ctx, "acme", Person(i), limit)
		})
	}
	equal(b, of(1, 9), []e164.Number{Virtual(3), Virtual(5)})
	equal(b, of(1, 1), []e164.Number{Virtual(3)})
	equal(b, len(of(3, 9)), 0)
}

func replayRewritten(b *bench) {
	for i := range 3 {
		b.update(func(ctx context.Context, tx store.Tx) error {
			return tx.KeepReplay(ctx, store.Replay{Tenant: "acme", Key: fmt.Sprint("k", i), Status: 201, Body: []byte("body"), CreatedAt: Start()})
		})
	}
	b.update(func(ctx context.Context, tx store.Tx) error {
		page, err := tx.ReplaysAfter(ctx, "acme", "k0", 1)
		if err != nil || len(page) != 1 || page[0].Key != "k1" {
			return fmt.Errorf("%v, %w", page, err)
		}
		page[0].Body = []byte("another")
		return tx.RewriteReplay(ctx, page[0])
	})
	b.update(func(ctx context.Context, tx store.Tx) error {
		r, err := tx.Replay(ctx, "acme", "k1", Start())
		if err != nil {
			return err
		}
		return same(string(r.Body), "another")
	})
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.RewriteReplay(ctx, store.Replay{Tenant: "other", Key: "k1"})
	})
}

func scrubWaits(b *bench) {
	b.acme()
	b.view(func(ctx context.Context, tx store.Reader) error {
		if _, err := tx.Tenant(ctx, "acme"); err != nil {
			return err
		}
		b.number("acme", 3, masking.Shared) // from here on there is something that was
		_ = b.Scrub(ctx)                    // an engine may need nobody's leave
		return nil
	})
	if err := b.Scrub(b.Context()); err != nil {
		b.Fatal(err)
	}
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (masking.VirtualNumber, error) {
		return tx.Number(ctx, "acme", Virtual(3))
	}).Number, Virtual(3))
}
