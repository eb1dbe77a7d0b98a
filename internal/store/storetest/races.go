package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func raceTests() []test {
	return []test{
		{"OfTwoHundredCreatesOnAnExclusiveNumberOneWins", raceExclusive},
		{"OfTwoHundredCreatesOnASharedNumberThoseThatWinAreDisjoint", raceShared},
		{"OfManyMovesToOneNumberOneWins", raceMoves},
		{"OfManyReplacementsByOnePersonOneWins", raceParties},
		{"ManyNextHoldersOfAnExpiredNumberOneWins", raceTakeOver},
		{"ASharingChangeAndACreateNeverBothHoldTheOldWay", raceSharing},
		{"ANumberIsNeverVirtualAndPartyAtOnce", raceVirtualParty},
		{"ADeletedAllocationIsGoneForEveryReaderThatStartsLater", raceDelete},
		{"OfManySweepersOneEndsAnAllocation", raceSweeps},
		{"AnAllocationIsExtendedOrSweptNeverBoth", raceExtension},
		{"ThoseWhoLockTheirAllocationsFirstWriteThemInAnyOrder", raceOrders},
	}
}

// together runs n functions at once and gives their errors by index.
func together(n int, run func(i int) error) []error {
	errs := make([]error, n)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = run(i)
		})
	}
	close(begin)
	wg.Wait()
	return errs
}

// winners are the indices without an error; every error must be the refusal.
func (b *bench) winners(errs []error, code masking.Code) (won []int) {
	b.Helper()
	for i, err := range errs {
		if err == nil {
			won = append(won, i)
		} else if e := hasCode(err, code); e != nil {
			b.Fatalf("racer %d: %v", i, e)
		}
	}
	return won
}

func raceExclusive(b *bench) {
	b.acme()
	const racers = 200
	make := func(i int) masking.Allocation {
		return Allocation("acme", AllocationID(i), Virtual(1), People(2*i), People(2*i+1))
	}
	won := b.winners(together(racers, func(i int) error { return Create(b.Context(), b, make(i), Start()) }), masking.CodeVirtualNumberInUse)
	equal(b, len(won), 1)
	winner := make(won[0])
	for i := range racers {
		want := &winner
		if i != won[0] {
			want = nil
		}
		b.routes(Virtual(1), Person(2*i), want, Start())
		b.routes(Virtual(1), Person(2*i+1), want, Start())
	}
	equal(b, b.listed(store.AllocationFilter{Tenant: "acme"}), ids(won[0]))
	equal(b, len(b.events(store.EventFilter{Tenant: "acme"})), 1)
}

func raceShared(b *bench) {
	b.acme()
	const racers, people = 200, 60
	make := func(i int) masking.Allocation { // every one meets some of the others
		from, to := People(i%people, (i+1)%people), People((i*7+3)%people)
		if slices.Contains(from, to[0]) {
			to = People((i + 2) % people)
		}
		return Allocation("acme", AllocationID(i), Virtual(2), from, to)
	}
	won := b.winners(together(racers, func(i int) error { return Create(b.Context(), b, make(i), Start()) }), masking.CodePartyInUse)
	holder := map[e164.Number]int{}
	for _, i := range won {
		for _, p := range make(i).Parties() {
			if j, taken := holder[p]; taken {
				b.Fatalf("allocations %d and %d both have %s", i, j, p)
			}
			holder[p] = i
		}
	}
	for i := range racers {
		met := slices.ContainsFunc(make(i).Parties(), func(p e164.Number) bool { _, taken := holder[p]; return taken })
		if !met {
			b.Errorf("allocation %d was refused and meets nobody", i)
		}
	}
	for i := range people {
		var want *masking.Allocation
		if j, taken := holder[Person(i)]; taken {
			a := make(j)
			want = &a
		}
		b.routes(Virtual(2), Person(i), want, Start())
	}
}

// rows creates n allocations, each on an exclusive number of its own.
func (b *bench) rows(n int) []masking.Allocation {
	b.Helper()
	all := make([]masking.Allocation, n)
	for i := range n {
		b.number("acme", 100+i, masking.Exclusive)
		all[i] = b.created(Allocation("acme", AllocationID(i), Virtual(100+i), People(2*i), People(2*i+1)), Start())
	}
	return all
}

func raceMoves(b *bench) {
	b.acme()
	all := b.rows(40)
	won := b.winners(together(len(all), func(i int) error { return b.move(all[i].ID, 1, Start()) }), masking.CodeVirtualNumberInUse)
	equal(b, len(won), 1)
	for i, a := range all {
		if i == won[0] {
			b.routes(Virtual(1), a.From[0], &a, Start())
			b.routes(a.VirtualNumber, a.From[0], nil, Start())
			b.created(Allocation("acme", AllocationID(1000), a.VirtualNumber, People(900), People(901)), Start()) // free again
			continue
		}
		equal(b, b.allocation(a.ID), a)
		b.routes(a.VirtualNumber, a.From[0], &a, Start())
		b.routes(a.VirtualNumber, a.To[0], &a, Start())
		b.routes(Virtual(1), a.From[0], nil, Start())
	}
}

func raceParties(b *bench) {
	b.acme()
	const racers = 40
	all := make([]masking.Allocation, racers)
	for i := range all {
		all[i] = b.created(Allocation("acme", AllocationID(i), Virtual(2), People(2*i), People(2*i+1)), Start())
	}
	won := b.winners(together(racers, func(i int) error {
		return b.replace(all[i].ID, append(People(500+i), Person(400)), nil, Start())
	}), masking.CodePartyInUse)
	equal(b, len(won), 1)
	b.routes(Virtual(2), Person(400), &all[won[0]], Start())
	for i, a := range all {
		if i == won[0] {
			b.routes(Virtual(2), Person(500+i), &a, Start())
			b.routes(Virtual(2), a.From[0], nil, Start())
			continue
		}
		equal(b, b.allocation(a.ID), a)
		b.routes(Virtual(2), Person(500+i), nil, Start())
		b.routes(Virtual(2), a.From[0], &a, Start())
	}
}

func raceTakeOver(b *bench) {
	b.acme()
	old := b.created(Allocation("acme", AllocationID(1000), Virtual(1), People(1), People(2)), Start())
	now := old.ExpiresAt
	errs := together(100, func(i int) error {
		if i%10 == 9 { // the sweeper comes along
			return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, old.ID) })
		}
		a := Allocation("acme", AllocationID(i), Virtual(1), People(1), People(2))
		a.ExpiresAt = now.Add(time.Hour)
		return Create(b.Context(), b, a, now)
	})
	won := slices.DeleteFunc(b.winners(errs, masking.CodeVirtualNumberInUse), func(i int) bool { return i%10 == 9 })
	equal(b, len(won), 1)
	b.routes(Virtual(1), Person(1), &masking.Allocation{ID: AllocationID(won[0])}, now)
}

func raceSharing(b *bench) {
	b.tenant("acme")
	for i := range 25 {
		b.number("acme", i, masking.Exclusive)
		first := Allocation("acme", AllocationID(2*i), Virtual(i), People(1), People(2))
		errs := together(2, func(k int) error {
			if k == 0 {
				return Create(b.Context(), b, first, Start())
			}
			n := Number("acme", Virtual(i), masking.Shared)
			return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.UpdateNumber(ctx, n, Start()) })
		})
		if errs[0] != nil {
			b.Fatalf("the create: %v", errs[0])
		}
		second := Create(b.Context(), b, Allocation("acme", AllocationID(2*i+1), Virtual(i), People(3), People(4)), Start())
		if errs[1] == nil {
			if second != nil { // the number was shared before the create
				b.Fatalf("a second allocation on a shared number: %v", second)
			}
			continue
		}
		b.code(masking.CodeStillInUse, errs[1])
		b.code(masking.CodeVirtualNumberInUse, second)
	}
}

func raceVirtualParty(b *bench) {
	b.acme()
	for i := range 25 {
		n := Person(1000 + i)
		errs := together(2, func(k int) error {
			if k == 0 {
				return Create(b.Context(), b, Allocation("acme", AllocationID(i), Virtual(2), []e164.Number{n}, People(2*i)), Start())
			}
			return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
				return tx.InsertNumber(ctx, Number("acme", n, masking.Shared), Start())
			})
		})
		if (errs[0] == nil) == (errs[1] == nil) {
			b.Fatalf("create: %v, insert: %v; exactly one may succeed", errs[0], errs[1])
		}
	}
}

func raceDelete(b *bench) {
	b.acme()
	const rounds, readers = 10, 4
	for i := range rounds {
		a := b.created(Allocation("acme", AllocationID(i), Virtual(1), People(1), People(2)), Start())
		deleted := make(chan struct{})
		errs := together(readers+1, func(k int) error {
			if k == readers {
				defer close(deleted)
				return Delete(b.Context(), b, "acme", a.ID, Start())
			}
			for {
				gone := false
				select {
				case <-deleted:
					gone = true
				default:
				}
				var found int
				err := b.View(b.Context(), func(ctx context.Context, tx store.Reader) error {
					r, err := tx.Route(ctx, Virtual(1), Person(1))
					found = len(r.Found)
					return err
				})
				if err != nil || (gone && found == 0) {
					return err
				}
				if gone {
					return fmt.Errorf("a call was routed after the delete had been answered")
				}
			}
		})
		for _, err := range errs {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// sweepSome ends at most limit allocations that are overdue.
func (b *bench) sweepSome(limit int, now time.Time) (swept []masking.AllocationID, err error) {
	err = b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
		swept = nil
		overdue, err := tx.Overdue(ctx, now, limit)
		for _, a := range overdue {
			if err == nil {
				a, _ = a.End(masking.EndedByExpired, now)
				swept, err = append(swept, a.ID), tx.UpdateAllocation(ctx, a)
			}
		}
		return err
	})
	return swept, err
}

func raceSweeps(b *bench) {
	b.acme()
	const sweepers = 4
	var all []int
	for i := range 60 {
		all = append(all, i)
		b.created(Allocation("acme", AllocationID(i), Virtual(2), People(2*i), People(2*i+1)), Start())
	}
	now := b.allocation(AllocationID(0)).ExpiresAt
	swept := make([][]masking.AllocationID, sweepers)
	for _, err := range together(sweepers, func(k int) error {
		for {
			some, err := b.sweepSome(7, now)
			if err != nil || len(some) == 0 {
				return err
			}
			swept[k] = append(swept[k], some...)
		}
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	equal(b, slices.Sorted(slices.Values(slices.Concat(swept...))), ids(all...))
}

func raceExtension(b *bench) {
	b.acme()
	for i := range 25 {
		b.number("acme", 100+i, masking.Exclusive)
		a := b.created(Allocation("acme", AllocationID(i), Virtual(100+i), People(2*i), People(2*i+1)), Start())
		now := a.ExpiresAt
		errs := together(2, func(k int) error {
			if k == 1 {
				_, err := b.sweepSome(10, now)
				return err
			}
			// By a clock that is behind the sweeper's.
			return Change(b.Context(), b, "acme", a.ID, now.Add(-time.Millisecond), func(a masking.Allocation) (masking.Allocation, error) {
				if !a.EndedAt.IsZero() {
					return a, errTest
				}
				a.ExpiresAt = now.Add(time.Hour)
				return a, nil
			})
		})
		if errs[1] != nil || (errs[0] != nil && !errors.Is(errs[0], errTest)) {
			b.Fatal(errs)
		}
		is := b.allocation(a.ID)
		if extended := errs[0] == nil; extended != is.EndedAt.IsZero() || extended != is.ExpiresAt.After(now) {
			b.Fatalf("extended: %v, and now it has expired at %v and ended at %v", errs[0], is.ExpiresAt, is.EndedAt)
		}
	}
}

func raceOrders(b *bench) {
	b.acme()
	const racers, each, allocations = 6, 10, 12
	rows := b.rows(allocations)
	errs := together(racers, func(i int) error {
		order := slices.Clone(rows)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for n := range each {
			err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
				ids := []masking.AllocationID{"", AllocationID(999)} // of no allocation, and of one that is gone
				for _, a := range order {
					ids = append(ids, a.ID)
				}
				tx.LockAllocations(ids)
				for k, a := range order {
					if _, err := tx.BeginCall(ctx, Call(a, CallID((i*each+n)*allocations+k), a.From[0])); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	for _, a := range rows {
		got := get(b, func(ctx context.Context, tx store.Reader) (masking.Allocation, error) {
			return tx.Allocation(ctx, a.Tenant, a.ID)
		})
		equal(b, got.Tally.Calls, racers*each)
	}
}
