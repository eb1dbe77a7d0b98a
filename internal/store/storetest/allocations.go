package storetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func allocationTests() []test {
	return []test{
		{"AnAllocationIsReadAsWrittenAndOnlyByItsTenant", allocationRoundTrip},
		{"ATakenAllocationIDOrAnUnknownTenantIsRefused", allocationTaken},
		{"AnUpdateWritesEverythingButTheTallyAndTheCreation", allocationUpdate},
		{"ListsAreNewestFirstAndNarrowed", allocationLists},
		{"ListsByPartyFollowTheParties", allocationListByParty},
		{"PagesOfAllocationsAreCompleteWhileOthersCreate", allocationPages},
		{"OverdueAreThoseExpiredWhoseEndIsUnwritten", overdue},
	}
}

func allocationRoundTrip(b *bench) {
	b.acme()
	b.tenant("other")
	full := Allocation("acme", AllocationID(1), Virtual(2), People(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), People(20, 19, 18, 17, 16, 15, 14, 13, 12, 11))
	full.CustomField = strings.Repeat("😀", masking.MaxCustomField)
	small := Allocation("acme", AllocationID(2), Virtual(2), People(31), People(32))
	small.Usage, small.Record, small.CustomField = masking.OneWay, false, ""
	ended := Allocation("acme", AllocationID(3), Virtual(2), People(41), People(42))
	ended.EndedAt, ended.EndReason = Start().Add(time.Minute), masking.EndedByAdmin
	ended.Tally = masking.Tally{Calls: 3, Connected: 2, TalkSeconds: 1 << 40}
	for _, a := range []masking.Allocation{full, small, ended} {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertAllocation(ctx, a) })
		equal(b, b.allocation(a.ID), a)
		b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Allocation, error) {
			return tx.Allocation(ctx, "other", a.ID)
		}))
	}
}

func allocationTaken(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	again := Allocation("acme", a.ID, Virtual(2), People(3), People(4))
	b.refused(masking.CodeAlreadyExists, func(ctx context.Context, tx store.Tx) error { return tx.InsertAllocation(ctx, again) })
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertAllocation(ctx, Allocation("nobody", AllocationID(2), Virtual(2), People(3), People(4)))
	})
	again.Tenant = "other"
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.UpdateAllocation(ctx, again) })
	again.Tenant, again.ID = "acme", AllocationID(7)
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.UpdateAllocation(ctx, again) })
	equal(b, b.allocation(a.ID), a)
}

func allocationUpdate(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	b.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.BeginCall(ctx, Call(a, CallID(1), Person(1)))
		return err
	})
	want := Allocation("acme", a.ID, Virtual(1), People(5, 6), People(7))
	want.Usage, want.Record, want.CustomField = masking.OneWay, false, "other"
	want.UpdatedAt, want.ExpiresAt = Start().Add(time.Minute), Start().Add(time.Hour*48)
	want.EndedAt, want.EndReason = Start().Add(2*time.Minute), masking.EndedByAPI
	written := want
	written.CreatedAt, written.Tally = Start().Add(time.Hour), masking.Tally{Calls: 99, Connected: 99, TalkSeconds: 99}
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateAllocation(ctx, written) })
	want.Tally = masking.Tally{Calls: 1}
	equal(b, b.allocation(a.ID), want)
}

// listed gives the identifiers of a list, by number where the filter names no product.
func (b *bench) listed(f store.AllocationFilter) []masking.AllocationID {
	b.Helper()
	if f.Product == "" {
		f.Product = masking.GreenVN
	}
	list := get(b, func(ctx context.Context, tx store.Reader) ([]masking.Allocation, error) {
		return tx.Allocations(ctx, f)
	})
	ids := make([]masking.AllocationID, len(list))
	for i, a := range list {
		ids[i] = a.ID
	}
	return ids
}

func ids(indices ...int) []masking.AllocationID {
	out := make([]masking.AllocationID, len(indices))
	for k, i := range indices {
		out[k] = AllocationID(i)
	}
	return out
}

func allocationLists(b *bench) {
	b.acme()
	b.tenant("other")
	b.number("other", 3, masking.Shared)
	for i := 1; i <= 6; i++ {
		a := Allocation("acme", AllocationID(i), Virtual(2), People(10*i), People(10*i+1))
		a.ExpiresAt = Start().Add(time.Duration(i) * time.Hour)
		b.created(a, Start())
	}
	b.created(Allocation("acme", AllocationID(7), Virtual(1), People(10), People(71)), Start())
	b.created(Allocation("other", AllocationID(8), Virtual(3), People(10), People(81)), Start())
	now := Start().Add(2 * time.Hour) // 1, 2 and 7 have expired
	if err := Delete(b.Context(), b, "acme", AllocationID(5), now); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		f    store.AllocationFilter
		want []masking.AllocationID
	}{
		{store.AllocationFilter{Tenant: "acme"}, ids(7, 6, 5, 4, 3, 2, 1)},
		{store.AllocationFilter{Tenant: "other"}, ids(8)},
		{store.AllocationFilter{Tenant: "nobody"}, ids()},
		{store.AllocationFilter{Tenant: "acme", Limit: 2}, ids(7, 6)},
		{store.AllocationFilter{Tenant: "acme", Limit: 2, Before: AllocationID(6)}, ids(5, 4)},
		{store.AllocationFilter{Tenant: "acme", Status: masking.Active, Now: now}, ids(6, 4, 3)},
		{store.AllocationFilter{Tenant: "acme", Status: masking.Deleted, Now: now}, ids(7, 5, 2, 1)},
		{store.AllocationFilter{Tenant: "acme", Status: masking.Active, Now: now, Limit: 1, Before: AllocationID(6)}, ids(4)},
		{store.AllocationFilter{Tenant: "acme", VirtualNumber: Virtual(1)}, ids(7)},
		{store.AllocationFilter{Tenant: "acme", VirtualNumber: Virtual(2), Status: masking.Active, Now: now, Before: AllocationID(4)}, ids(3)},
		{store.AllocationFilter{Tenant: "other", VirtualNumber: Virtual(2)}, ids()},
		{store.AllocationFilter{Tenant: "acme", Party: Person(10)}, ids(7, 1)},
		{store.AllocationFilter{Tenant: "acme", Party: Person(10), VirtualNumber: Virtual(2)}, ids(1)},
		{store.AllocationFilter{Tenant: "acme", Party: Person(10), Before: AllocationID(7), Limit: 1}, ids(1)},
		{store.AllocationFilter{Tenant: "acme", Party: Person(51), Status: masking.Deleted, Now: now}, ids(5)},
		{store.AllocationFilter{Tenant: "acme", Party: Person(51), Status: masking.Active, Now: now}, ids()},
	} {
		if got := b.listed(c.f); !slices.Equal(got, c.want) {
			b.Errorf("%+v:\ngot  %v\nwant %v", c.f, got, c.want)
		}
	}
}

func allocationListByParty(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	by := func(i int) []masking.AllocationID {
		return b.listed(store.AllocationFilter{Tenant: "acme", Party: Person(i)})
	}
	change := func(from, to []e164.Number) {
		b.Helper()
		err := Change(b.Context(), b, "acme", a.ID, Start(), func(a masking.Allocation) (masking.Allocation, error) {
			return a.WithParties(from, to, Start())
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	change(People(3, 1), nil)
	equal(b, by(3), ids(1))
	equal(b, by(1), ids(1))
	change(People(2), People(3)) // they change sides
	equal(b, by(1), ids())
	equal(b, by(2), ids(1))
	equal(b, by(3), ids(1))
	if err := Delete(b.Context(), b, "acme", a.ID, Start()); err != nil {
		b.Fatal(err)
	}
	equal(b, by(2), ids(1)) // an ended allocation stays readable
}

func allocationPages(b *bench) {
	b.acme()
	const before, during, page = 30, 30, 4
	for i := range before {
		b.created(Allocation("acme", AllocationID(2*i), Virtual(2), People(100+2*i), People(101+2*i)), Start())
	}
	var wg sync.WaitGroup
	errs := make(chan error, during)
	wg.Go(func() {
		for i := range during {
			a := Allocation("acme", AllocationID(2*i+1), Virtual(2), People(500+2*i), People(501+2*i))
			errs <- Create(b.Context(), b, a, Start())
		}
	})
	var seen []masking.AllocationID
	for f := (store.AllocationFilter{Tenant: "acme", Limit: page}); ; f.Before = seen[len(seen)-1] {
		got := b.listed(f)
		seen = append(seen, got...)
		if len(got) < page {
			break
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	if !slices.IsSortedFunc(seen, func(x, y masking.AllocationID) int { return strings.Compare(string(y), string(x)) }) {
		b.Error("the pages are out of order")
	}
	if len(slices.Compact(slices.Clone(seen))) != len(seen) {
		b.Error("an allocation stands on two pages")
	}
	for i := range before {
		if !slices.Contains(seen, AllocationID(2*i)) {
			b.Errorf("allocation %d, which was there all the time, is on no page", 2*i)
		}
	}
}

func overdue(b *bench) {
	b.acme()
	b.tenant("other")
	b.number("other", 3, masking.Shared)
	for i, c := range []struct {
		tenant masking.TenantID
		number int
		life   time.Duration
	}{{"acme", 2, 3 * time.Minute}, {"acme", 2, time.Minute}, {"other", 3, 2 * time.Minute}, {"acme", 2, time.Hour}} {
		a := Allocation(c.tenant, AllocationID(i), Virtual(c.number), People(2*i), People(2*i+1))
		a.ExpiresAt = Start().Add(c.life)
		b.created(a, Start())
	}
	list := func(now time.Time, limit int) []masking.AllocationID {
		b.Helper()
		var out []masking.AllocationID
		for _, a := range get(b, func(ctx context.Context, tx store.Reader) ([]masking.Allocation, error) {
			return tx.Overdue(ctx, now, limit)
		}) {
			out = append(out, a.ID)
		}
		slices.Sort(out)
		return out
	}
	now := Start().Add(3 * time.Minute)
	equal(b, list(now, 0), ids(0, 1, 2))
	equal(b, list(now.Add(-time.Millisecond), 0), ids(1, 2))
	equal(b, len(list(now, 2)), 2)
	b.update(func(ctx context.Context, tx store.Tx) error { // as the sweeper writes it
		a, err := tx.Allocation(ctx, "acme", AllocationID(1))
		if err != nil {
			return err
		}
		a, _ = a.End(masking.EndedByExpired, now)
		if err := tx.Release(ctx, a.ID); err != nil {
			return err
		}
		return tx.UpdateAllocation(ctx, a)
	})
	equal(b, list(now, 0), ids(0, 2))
	ended := b.allocation(AllocationID(1))
	if !ended.EndedAt.Equal(Start().Add(time.Minute)) || ended.EndReason != masking.EndedByExpired {
		b.Errorf("ended %v because %s", ended.EndedAt, ended.EndReason)
	}
}
