package storetest

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func capacityTests() []test {
	return []test{
		{"NumbersAreCountedByWhatTheyAreAndCarry", stocks},
		{"DemandIsWhatExclusiveNumbersWereAskedForLately", demand},
	}
}

func stocks(b *bench) {
	b.acme()
	b.tenant("other")
	b.number("other", 9, masking.Shared)
	b.number("acme", 3, masking.Exclusive)
	remote := Number("acme", Virtual(4), masking.Shared)
	remote.Region = "KA"
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, remote, Start()) })
	b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	b.created(Allocation("acme", AllocationID(2), Virtual(2), People(1), People(2)), Start())
	b.created(ByPIN(Allocation("acme", AllocationID(3), Virtual(2), People(3), People(4)), "4821"), Start())
	at := func(t time.Duration) []masking.Stock {
		return get(b, func(ctx context.Context, tx store.Reader) ([]masking.Stock, error) {
			return tx.Stocks(ctx, "acme", Start().Add(t))
		})
	}
	equal(b, at(0), []masking.Stock{
		{Sharing: masking.Exclusive, Region: "AP", Type: "landline", Numbers: 2, Busy: 1, Load: 1},
		{Sharing: masking.Shared, Region: "AP", Type: "landline", Numbers: 1, Busy: 1, Load: 2, PINs: 1},
		{Sharing: masking.Shared, Region: "KA", Type: "landline", Numbers: 1},
	})
	over := at(time.Hour) // nobody has written the ends yet
	equal(b, over[0].Busy, 0)
	equal(b, over[1].PINs, 0)
}

func demand(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Exclusive)
	made := func(i int, virtual int, at, life time.Duration) masking.Allocation {
		a := Allocation("acme", "", Virtual(virtual), People(2*i), People(2*i+1))
		a.CreatedAt = Start().Add(at)
		a.ID = masking.AllocationID(masking.NewID(masking.PrefixAllocation, a.CreatedAt, [10]byte{byte(i)}))
		a.ExpiresAt = a.CreatedAt.Add(life)
		return b.created(a, a.CreatedAt)
	}
	made(1, 1, -2*time.Hour, time.Hour)               // before
	made(2, 1, -time.Hour, time.Minute)               // just within
	made(3, 2, -time.Minute, time.Minute)             // shared
	ended := made(4, 3, -30*time.Minute, 2*time.Hour) // and ended by somebody
	b.update(func(ctx context.Context, tx store.Tx) error {
		ended.EndedAt, ended.EndReason = Start().Add(-20*time.Minute), masking.EndedByAPI
		if err := tx.UpdateAllocation(ctx, ended); err != nil {
			return err
		}
		return tx.Release(ctx, ended.ID)
	})
	last := made(5, 1, -10*time.Minute, 3*time.Hour)
	ask := func(limit int) masking.Demand {
		return get(b, func(ctx context.Context, tx store.Reader) (masking.Demand, error) {
			return tx.Demand(ctx, "acme", Start().Add(-time.Hour), Start(), limit)
		})
	}
	equal(b, ask(10), masking.Demand{Numbers: 2, Until: []time.Time{last.ExpiresAt},
		Lives: []time.Duration{3 * time.Hour, 10 * time.Minute, time.Minute}, Period: time.Hour})
	equal(b, ask(2), masking.Demand{Numbers: 2, Until: []time.Time{last.ExpiresAt},
		Lives: []time.Duration{3 * time.Hour, 10 * time.Minute}, Period: 30 * time.Minute})
}
