package storetest

import (
	"context"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func claimTests() []test {
	return []test{
		{"ARouteHoldsAllThatAdmitNeeds", routeHoldsAll},
		{"RoutesAreWhatRouteGivesOfCallersWithALiveClaim", routesOfCallers},
		{"AnUnknownNumberIsNotFoundAndAStrangerFindsNothing", routeStrangers},
		{"AnExclusiveNumberCarriesOneAllocation", exclusiveNumber},
		{"ASharedNumberCarriesManyWithoutACommonCaller", sharedNumber},
		{"ARefusedHoldLeavesNoHalfClaims", noHalfClaims},
		{"ARefusedHoldInsideAnUpdateThatGoesOnChangesNothing", refusedHoldKeepsOld},
		{"AnExpiredClaimIsTakenOverWithoutASweeper", takeOver},
		{"TheFormerHolderCannotReleaseWhatWasTakenOver", lateRelease},
		{"ARefusedMoveChangesNothing", refusedMove},
		{"ARefusedReplacementOfPartiesChangesNothing", refusedParties},
		{"AnUpdateToItsOwnValuesIsNoConflict", ownValues},
		{"DroppedPartiesAndNumbersAreFreeAtOnce", droppedAreFree},
		{"AnAllocationMovedInTheUpdateThatCreatesItHoldsOneNumber", createAndMove},
		{"ALongerLifeIsHeldLonger", longerLife},
		{"ADeleteTakesEffectAtOnce", deleteAtOnce},
		{"ClaimsOfAnUnknownAllocationAreRefused", holdUnknown},
	}
}

// routes checks whom a call would reach: want, or nobody for nil.
func (b *bench) routes(virtual, caller e164.Number, want *masking.Allocation, now time.Time) {
	b.Helper()
	r := get(b, func(ctx context.Context, tx store.Reader) (masking.Route, error) {
		return tx.Route(ctx, virtual, caller)
	})
	// A call asks the store itself, which must say the same.
	called, err := b.Route(b.Context(), virtual, caller)
	if err != nil {
		b.Fatalf("Route: %v", err)
	}
	equal(b, called, r)
	plan, err := masking.Admit(r, caller, now)
	switch {
	case want == nil && err == nil:
		b.Fatalf("a call of %s to %s reaches %s", caller, virtual, plan.Allocation.ID)
	case want != nil && err != nil:
		b.Fatalf("a call of %s to %s is %v, want %s", caller, virtual, err, want.ID)
	case want != nil && plan.Allocation.ID != want.ID:
		b.Fatalf("a call of %s to %s reaches %s, want %s", caller, virtual, plan.Allocation.ID, want.ID)
	}
}

// change changes an allocation of acme as a use case does.
func (b *bench) change(id masking.AllocationID, now time.Time, change func(masking.Allocation) (masking.Allocation, error)) error {
	return Change(b.Context(), b, "acme", id, now, change)
}

// move moves an allocation of acme to another number.
func (b *bench) move(id masking.AllocationID, to int, now time.Time) error {
	return b.change(id, now, func(a masking.Allocation) (masking.Allocation, error) {
		return a.WithVirtualNumber(Virtual(to), now)
	})
}

// replace replaces the parties of an allocation of acme.
func (b *bench) replace(id masking.AllocationID, from, to []e164.Number, now time.Time) error {
	return b.change(id, now, func(a masking.Allocation) (masking.Allocation, error) { return a.WithParties(from, to, now) })
}

func routeHoldsAll(b *bench) {
	t := b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1, 2), People(3)), Start())
	r := get(b, func(ctx context.Context, tx store.Reader) (masking.Route, error) {
		return tx.Route(ctx, Virtual(1), Person(3))
	})
	n := Number("acme", Virtual(1), masking.Exclusive)
	n.Load, n.RestedAt = 1, Start()
	equal(b, r, masking.Route{Number: n, Tenant: t, Found: []masking.Allocation{a}})
	// Expired and still claimed: Route tells, Admit refuses, with the true reason.
	_, err := masking.Admit(r, Person(3), a.ExpiresAt)
	equal(b, err, error(masking.RefusedExpired))
}

func routesOfCallers(b *bench) {
	b.acme()
	b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1, 2), People(3)), Start()) // exclusive: a claim for any caller
	b.created(Allocation("acme", AllocationID(2), Virtual(2), People(4), People(5)), Start())
	b.created(Allocation("acme", AllocationID(3), Virtual(2), People(6), People(7)), Start())
	b.created(ByPIN(Allocation("acme", PINAllocationID(4), Virtual(2), People(8), People(9)), "271828"), Start())
	b.update(func(ctx context.Context, tx store.Tx) error {
		return tx.BlockCaller(ctx, blocked("acme", Person(5), ""))
	})
	equal(b, Delete(b.Context(), b, "acme", AllocationID(3), Start()), nil)
	longer := Allocation("acme", AllocationID(5), Virtual(2), People(6), People(7))
	longer.ExpiresAt = longer.ExpiresAt.Add(time.Hour)
	longer = b.created(longer, Start())

	pages := func(now time.Time, limit int) (all []store.KnownRoute) {
		for after := (store.RouteKey{}); ; after = all[len(all)-1].Key() {
			page := get(b, func(ctx context.Context, tx store.Reader) ([]store.KnownRoute, error) {
				return tx.Routes(ctx, after, now, limit)
			})
			all = append(all, page...)
			if len(page) < limit {
				return all
			}
		}
	}
	for _, limit := range []int{1, 2, 100} {
		found := pages(Start(), limit)
		equal(b, len(found), 7)
		for i, f := range found {
			route, err := b.Route(b.Context(), f.Number.Number, f.Caller)
			equal(b, err, nil)
			route.PINs = false
			equal(b, f.Route, route)
			equal(b, f.Blocked, f.Caller == Person(5))
			if i > 0 && found[i-1].Number.Number.Compare(f.Number.Number) > 0 {
				b.Errorf("%v comes before %v", found[i-1].Key(), f.Key())
			}
		}
	}
	left := pages(longer.ExpiresAt.Add(-time.Minute), 100)
	equal(b, len(left), 2)
	equal(b, left[0].Found[0].ID, longer.ID)
}

func routeStrangers(b *bench) {
	b.acme()
	b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Route, error) {
		return tx.Route(ctx, Virtual(9), Person(1))
	}))
	_, err := b.Route(b.Context(), Virtual(9), Person(1))
	b.code(masking.CodeNotFound, err)
	for _, caller := range []e164.Number{Person(3), Virtual(1), {}} {
		r := get(b, func(ctx context.Context, tx store.Reader) (masking.Route, error) {
			return tx.Route(ctx, Virtual(1), caller)
		})
		equal(b, len(r.Found), 0)
		equal(b, r.Number.Number, Virtual(1))
	}
	b.routes(Virtual(2), Person(1), nil, Start())
}

func exclusiveNumber(b *bench) {
	b.acme()
	first := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	for _, parties := range [][]e164.Number{People(1, 2), People(2, 3), People(3, 4)} {
		second := Allocation("acme", AllocationID(2), Virtual(1), parties[:1], parties[1:])
		b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, second, Start()))
	}
	b.routes(Virtual(1), Person(1), &first, Start())
	b.routes(Virtual(1), Person(3), nil, Start())
}

func sharedNumber(b *bench) {
	b.acme()
	first := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1, 2), People(3)), Start())
	second := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(4), People(5)), Start())
	for _, parties := range [][]e164.Number{People(6, 1), People(3, 6), People(6, 5)} {
		third := Allocation("acme", AllocationID(3), Virtual(2), parties[:1], parties[1:])
		b.code(masking.CodePartyInUse, Create(b.Context(), b, third, Start()))
	}
	for i := 1; i <= 3; i++ {
		b.routes(Virtual(2), Person(i), &first, Start())
	}
	b.routes(Virtual(2), Person(4), &second, Start())
	b.routes(Virtual(2), Person(5), &second, Start())
	b.routes(Virtual(2), Person(6), nil, Start())
}

func noHalfClaims(b *bench) {
	b.acme()
	b.created(Allocation("acme", AllocationID(1), Virtual(2), People(5), People(6)), Start())
	// 5 is in the middle of the keys: claims before and after it must go again.
	refused := Allocation("acme", AllocationID(2), Virtual(2), People(1, 5, 9), People(2, 8))
	b.code(masking.CodePartyInUse, Create(b.Context(), b, refused, Start()))
	for _, i := range []int{1, 2, 8, 9} {
		b.routes(Virtual(2), Person(i), nil, Start())
	}
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Allocation, error) {
		return tx.Allocation(ctx, "acme", refused.ID)
	}))
	third := b.created(Allocation("acme", AllocationID(3), Virtual(2), People(1, 9), People(2, 8)), Start())
	b.routes(Virtual(2), Person(9), &third, Start())
}

func refusedHoldKeepsOld(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	b.created(Allocation("acme", AllocationID(1), Virtual(3), People(5), People(6)), Start())
	a := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(1, 5), People(2)), Start())
	moved := a
	moved.VirtualNumber = Virtual(3)
	b.update(func(ctx context.Context, tx store.Tx) error {
		err := tx.Hold(ctx, moved, masking.Shared, Start())
		return hasCode(err, masking.CodePartyInUse)
	})
	for _, i := range []int{1, 2, 5} {
		b.routes(Virtual(2), Person(i), &a, Start())
	}
	b.routes(Virtual(3), Person(1), nil, Start())
	b.routes(Virtual(3), Person(2), nil, Start())
}

func takeOver(b *bench) {
	b.acme()
	old := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	next := Allocation("acme", AllocationID(2), Virtual(1), People(2), People(3))
	next.ExpiresAt = old.ExpiresAt.Add(time.Hour)
	last := old.ExpiresAt.Add(-time.Millisecond)
	b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, next, last))
	b.created(next, old.ExpiresAt)
	b.routes(Virtual(1), Person(2), &next, old.ExpiresAt)
	b.routes(Virtual(1), Person(3), &next, old.ExpiresAt)
	b.routes(Virtual(1), Person(1), nil, old.ExpiresAt)
	// The clock is the argument, not the machine's: nothing has been swept.
	equal(b, b.allocation(old.ID), old)
}

func lateRelease(b *bench) {
	b.acme()
	old := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	next := Allocation("acme", AllocationID(2), Virtual(1), People(1), People(2))
	next.ExpiresAt = old.ExpiresAt.Add(time.Hour)
	b.created(next, old.ExpiresAt)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, old.ID) })
	b.routes(Virtual(1), Person(1), &next, old.ExpiresAt)
	b.routes(Virtual(1), Person(2), &next, old.ExpiresAt)
	third := Allocation("acme", AllocationID(3), Virtual(1), People(8), People(9))
	b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, third, old.ExpiresAt))
}

func refusedMove(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Exclusive)
	busy := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	a := b.created(Allocation("acme", AllocationID(2), Virtual(3), People(3), People(4)), Start())
	b.code(masking.CodeVirtualNumberInUse, b.move(a.ID, 1, Start().Add(time.Second)))
	equal(b, b.allocation(a.ID), a)
	b.routes(Virtual(3), Person(3), &a, Start())
	b.routes(Virtual(3), Person(4), &a, Start())
	b.routes(Virtual(1), Person(3), nil, Start())
	b.routes(Virtual(1), Person(1), &busy, Start())
	b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b,
		Allocation("acme", AllocationID(3), Virtual(3), People(5), People(6)), Start()))
}

func refusedParties(b *bench) {
	b.acme()
	b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	a := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(3), People(4)), Start())
	b.code(masking.CodePartyInUse, b.replace(a.ID, People(5, 1), nil, Start().Add(time.Second)))
	equal(b, b.allocation(a.ID), a)
	b.routes(Virtual(2), Person(3), &a, Start())
	b.routes(Virtual(2), Person(5), nil, Start())
	equal(b, len(b.listed(store.AllocationFilter{Tenant: "acme", Party: Person(5)})), 0)
	equal(b, b.listed(store.AllocationFilter{Tenant: "acme", Party: Person(3)}), ids(2))
}

func ownValues(b *bench) {
	b.acme()
	for i, virtual := range []int{1, 2} {
		a := b.created(Allocation("acme", AllocationID(i), Virtual(virtual), People(1, 2), People(3)), Start())
		for _, err := range []error{
			b.move(a.ID, virtual, Start()), b.replace(a.ID, a.From, a.To, Start()),
			b.replace(a.ID, People(2, 1), nil, Start()), b.replace(a.ID, People(3), People(1, 2), Start()),
			b.move(a.ID, 3-virtual, Start()), b.move(a.ID, virtual, Start()),
		} {
			if err != nil {
				b.Fatal(err)
			}
		}
		b.routes(Virtual(virtual), Person(3), &a, Start())
		b.routes(Virtual(3-virtual), Person(3), nil, Start())
		if err := Delete(b.Context(), b, "acme", a.ID, Start()); err != nil {
			b.Fatal(err)
		}
	}
}

func droppedAreFree(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1, 2), People(3)), Start())
	if err := b.replace(a.ID, People(4), nil, Start()); err != nil {
		b.Fatal(err)
	}
	b.routes(Virtual(2), Person(1), nil, Start())
	b.routes(Virtual(2), Person(4), &a, Start())
	second := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(1), People(2)), Start())
	b.routes(Virtual(2), Person(1), &second, Start())
	if err := b.move(a.ID, 1, Start()); err != nil {
		b.Fatal(err)
	}
	third := b.created(Allocation("acme", AllocationID(3), Virtual(2), People(3), People(4)), Start())
	b.routes(Virtual(2), Person(3), &third, Start())
	b.routes(Virtual(1), Person(3), &a, Start())
}

func createAndMove(b *bench) {
	b.acme()
	a := Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2))
	b.update(func(ctx context.Context, tx store.Tx) error {
		if err := create(ctx, tx, a, Start()); err != nil {
			return err
		}
		a.VirtualNumber = Virtual(2)
		if err := tx.UpdateAllocation(ctx, a); err != nil {
			return err
		}
		return tx.Hold(ctx, a, masking.Shared, Start())
	})
	b.routes(Virtual(2), Person(1), &a, Start())
	next := b.created(Allocation("acme", AllocationID(2), Virtual(1), People(1), People(2)), Start())
	b.routes(Virtual(1), Person(1), &next, Start())
}

func longerLife(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	life, now := 3*time.Hour, Start().Add(30*time.Minute)
	settings := Tenant(b, "acme").Settings
	err := b.change(a.ID, now, func(a masking.Allocation) (masking.Allocation, error) {
		return a.WithPatch(masking.Patch{Duration: &life}, settings, now)
	})
	if err != nil {
		b.Fatal(err)
	}
	end := now.Add(life)
	b.routes(Virtual(1), Person(1), &a, end.Add(-time.Millisecond))
	next := Allocation("acme", AllocationID(2), Virtual(1), People(1), People(2))
	next.ExpiresAt = end.Add(time.Hour)
	b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, next, end.Add(-time.Millisecond)))
	b.created(next, end)
}

func deleteAtOnce(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	now := Start().Add(time.Second)
	if err := Delete(b.Context(), b, "acme", a.ID, now); err != nil {
		b.Fatal(err)
	}
	b.routes(Virtual(1), Person(1), nil, now)
	r := get(b, func(ctx context.Context, tx store.Reader) (masking.Route, error) {
		return tx.Route(ctx, Virtual(1), Person(1))
	})
	equal(b, len(r.Found), 0)
	next := b.created(Allocation("acme", AllocationID(2), Virtual(1), People(1), People(2)), now)
	b.routes(Virtual(1), Person(1), &next, now)
	if err := Delete(b.Context(), b, "acme", a.ID, now.Add(time.Second)); err != nil { // a retry
		b.Fatal(err)
	}
	b.routes(Virtual(1), Person(1), &next, now)
	if got := b.allocation(a.ID); !got.EndedAt.Equal(now) {
		b.Errorf("the second delete moved the end to %v", got.EndedAt)
	}
}

func holdUnknown(b *bench) {
	b.acme()
	a := Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2))
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.Hold(ctx, a, masking.Exclusive, Start())
	})
	b.routes(Virtual(1), Person(1), nil, Start())
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, a.ID) }) // nothing to give up
}
