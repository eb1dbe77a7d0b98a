package storetest

import (
	"context"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func pinListTests() []test {
	return []test{
		{"AListIsOfOneProduct", listsOfOneProduct},
		{"AllocationsByPINAreListedAsActiveExpiredAndDeleted", pinStatusLists},
		{"WhatIsDeletedAfterItsExpiryMovesFromOneListToTheOther", pinRemovedLists},
		{"OverdueAreOfBothProducts", pinOverdue},
	}
}

func pinIDs(indices ...int) []masking.AllocationID {
	out := make([]masking.AllocationID, len(indices))
	for k, i := range indices {
		out[k] = PINAllocationID(i)
	}
	return out
}

func listsOfOneProduct(b *bench) {
	b.acme()
	for i := range 3 {
		b.created(Allocation("acme", AllocationID(i), Virtual(2), People(10*i), People(10*i+1)), Start())
		b.created(byPIN(i, 2, masking.DrawPIN(4, uint64(4820+i)), People(10*i), People(10*i+1)), Start())
	}
	for _, c := range []struct {
		f    store.AllocationFilter
		want []masking.AllocationID
	}{
		{store.AllocationFilter{Product: masking.GreenVN}, ids(2, 1, 0)},
		{store.AllocationFilter{Product: masking.GreenPin}, pinIDs(2, 1, 0)},
		{store.AllocationFilter{Product: masking.GreenPin, Limit: 2}, pinIDs(2, 1)},
		{store.AllocationFilter{Product: masking.GreenPin, Before: PINAllocationID(1)}, pinIDs(0)},
		{store.AllocationFilter{Product: masking.GreenVN, Party: Person(10)}, ids(1)},
		{store.AllocationFilter{Product: masking.GreenPin, Party: Person(10)}, pinIDs(1)},
		{store.AllocationFilter{Product: masking.GreenVN, VirtualNumber: Virtual(2), Status: masking.Active}, ids(2, 1, 0)},
		{store.AllocationFilter{Product: masking.GreenPin, VirtualNumber: Virtual(2), Status: masking.Active}, pinIDs(2, 1, 0)},
		// A cursor of the other list leads into neither.
		{store.AllocationFilter{Product: masking.GreenVN, Before: PINAllocationID(1)}, ids()},
		{store.AllocationFilter{Product: masking.GreenPin, Before: AllocationID(1)}, pinIDs(2, 1, 0)},
	} {
		for _, tenant := range []masking.TenantID{"acme", ""} {
			if tenant == "" && (!c.f.Party.IsZero() || !c.f.VirtualNumber.IsZero()) {
				continue
			}
			c.f.Tenant, c.f.Now = tenant, Start()
			if got := b.listed(c.f); !slices.Equal(got, c.want) {
				b.Errorf("%+v:\ngot  %v\nwant %v", c.f, got, c.want)
			}
		}
	}
	err := getErr(b, func(ctx context.Context, tx store.Reader) ([]masking.Allocation, error) {
		return tx.Allocations(ctx, store.AllocationFilter{Tenant: "acme"})
	})
	if err == nil || masking.KindOf(err) != "" {
		b.Errorf("a list of no product: %v, want a plain error", err)
	}
}

func pinStatusLists(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	b.tenant("other")
	b.number("other", 4, masking.Shared)
	now := Start().Add(2 * time.Hour)
	for i := range 8 { // of four a number: active, expired and swept, expired, deleted
		b.created(lasting(byPIN(i, 2+i/4, masking.DrawPIN(4, uint64(4820+i)), People(i), People(50)),
			time.Duration(3-i%4)*time.Hour), Start())
		switch i % 4 {
		case 1:
			b.sweep(PINAllocationID(i), now)
		case 3:
			if err := Delete(b.Context(), b, "acme", PINAllocationID(i), Start().Add(-time.Second)); err != nil {
				b.Fatal(err)
			}
		}
	}
	foreign := byPIN(20, 4, "4821", People(1), People(50))
	foreign.Tenant = "other"
	b.created(foreign, Start())
	b.created(Allocation("acme", AllocationID(30), Virtual(2), People(1), People(50)), Start()) // expired, of the other product
	for status, want := range map[masking.Status][]masking.AllocationID{
		"":              pinIDs(7, 6, 5, 4, 3, 2, 1, 0),
		masking.Active:  pinIDs(4, 0),
		masking.Expired: pinIDs(6, 5, 2, 1),
		masking.Deleted: pinIDs(7, 3),
	} {
		f := store.AllocationFilter{Tenant: "acme", Product: masking.GreenPin, Status: status, Now: now}
		low := func(id masking.AllocationID) bool { return id >= PINAllocationID(4) }
		for name, c := range map[string]struct {
			narrow func(*store.AllocationFilter)
			want   []masking.AllocationID
		}{
			"all":       {func(*store.AllocationFilter) {}, want},
			"one":       {func(f *store.AllocationFilter) { f.Limit = 1 }, want[:1]},
			"a page":    {func(f *store.AllocationFilter) { f.Before, f.Limit = want[0], 1 }, want[1:2]},
			"by party":  {func(f *store.AllocationFilter) { f.Party = Person(50) }, want},
			"by number": {func(f *store.AllocationFilter) { f.VirtualNumber = Virtual(2) }, slices.DeleteFunc(slices.Clone(want), low)},
		} {
			f := f
			c.narrow(&f)
			if got := b.listed(f); !slices.Equal(got, c.want) {
				b.Errorf("%q, %s:\ngot  %v\nwant %v", status, name, got, c.want)
			}
		}
	}
	// An allocation by numbers that has expired reads as deleted.
	numbers := store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN, Now: now, Status: masking.Expired}
	equal(b, b.listed(numbers), ids())
	numbers.Status = masking.Deleted
	equal(b, b.listed(numbers), ids(30))
}

// sweep writes the end of an expired allocation, as upkeep does.
func (b *bench) sweep(id masking.AllocationID, now time.Time) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error {
		a, err := tx.Allocation(ctx, "acme", id)
		if err != nil {
			return err
		}
		a, _ = a.End(masking.EndedByExpired, now)
		if err := tx.Release(ctx, a.ID); err != nil {
			return err
		}
		return tx.UpdateAllocation(ctx, a)
	})
}

func pinRemovedLists(b *bench) {
	b.acme()
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	now := a.ExpiresAt.Add(time.Minute)
	list := func(status masking.Status) []masking.AllocationID {
		return b.listed(store.AllocationFilter{Tenant: "acme", Product: masking.GreenPin, Status: status, Now: now})
	}
	equal(b, list(masking.Expired), pinIDs(1))
	b.sweep(a.ID, now)
	equal(b, list(masking.Expired), pinIDs(1))
	equal(b, list(masking.Deleted), pinIDs())
	removed, _, err := b.allocation(a.ID).Remove(now)
	equal(b, err, nil)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateAllocation(ctx, removed) })
	equal(b, list(masking.Expired), pinIDs())
	equal(b, list(masking.Deleted), pinIDs(1))
}

func pinOverdue(b *bench) {
	b.acme()
	b.created(lasting(byPIN(1, 2, "4821", People(1), People(2)), time.Minute), Start())
	b.created(lasting(Allocation("acme", AllocationID(2), Virtual(2), People(1), People(2)), 2*time.Minute), Start())
	over := get(b, func(ctx context.Context, tx store.Reader) ([]masking.Allocation, error) {
		return tx.Overdue(ctx, Start().Add(2*time.Minute), 5)
	})
	equal(b, len(over), 2)
	equal(b, []masking.Product{over[0].Product(), over[1].Product()}, []masking.Product{masking.GreenPin, masking.GreenVN})
}
