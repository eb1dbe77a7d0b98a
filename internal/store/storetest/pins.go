package storetest

import (
	"context"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Tests of allocations that a PIN opens, and of numbers that carry PINs.

func pinTests() []test {
	return []test{
		{"AnAllocationByPINIsReadAsWrittenAndUpdated", pinRoundTrip},
		{"APINOpensOneAllocationOnANumber", pinOpensOne},
		{"ASharedNumberCarriesBothKindsWithTheSamePeople", pinShared},
		{"AnExclusiveNumberCarriesNumbersOrPINs", pinExclusive},
		{"AnExclusiveNumberIsHeldToThatInMovesAndLongerLives", pinExclusiveChanges},
		{"APINForAnotherPhoneIsNotInItsOwnAllocationsWay", pinFallback},
		{"AnExclusiveNumberWithPINsIsOfferedWhenTheLastHasEnded", pinChoice},
		{"ALateSweepOffersNoNumberThatCarriesPINs", pinLateSweep},
		{"WhoStandsInAnAllocationByPINClosesNoSharedNumber", pinClosesNothing},
		{"AnAllocationByPINKeepsItsNumberAndPartiesInUse", pinInUse},
		{"ARouteTellsWhetherPINsAreClaimedOnTheNumber", pinRoute},
		{"APINIsFreeUnlessALiveOneIsItsBeginningOrItsEnd", pinFree},
		{"PINsAreCountedByLengthWhileTheyLive", pinLengths},
	}
}

// byPIN is the i-th allocation of acme that a PIN opens.
func byPIN(i, virtual int, pin masking.PIN, from, to []e164.Number) masking.Allocation {
	return ByPIN(Allocation("acme", AllocationID(i), Virtual(virtual), from, to), pin)
}

// lasting gives the allocation another life.
func lasting(a masking.Allocation, life time.Duration) masking.Allocation {
	a.ExpiresAt = Start().Add(life)
	return a
}

// pinCase is what the store knows of an entry.
func (b *bench) pinCase(virtual int, caller e164.Number, pin masking.PIN, now time.Time) masking.PINCase {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (masking.PINCase, error) {
		return tx.PINCase(ctx, Virtual(virtual), caller, pin, now)
	})
}

// opens checks which allocation a stranger's entry opens: want, or none for "".
func (b *bench) opens(virtual int, pin masking.PIN, want masking.AllocationID, now time.Time) {
	b.Helper()
	c := b.pinCase(virtual, Person(99999), pin, now)
	if v := masking.JudgePIN(c, Person(99999), pin, now); v.Plan.Allocation.ID != want {
		b.Fatalf("the PIN opens %q (%s), want %q", v.Plan.Allocation.ID, v.Refusal, want)
	}
}

func pinRoundTrip(b *bench) {
	b.acme()
	a := b.created(byPIN(1, 2, "0042", People(1, 2), nil), Start())
	both := Allocation("acme", AllocationID(2), Virtual(2), People(3), People(4))
	both.PIN, both.ToPIN = "12345678", "00000000"
	b.created(both, Start())
	equal(b, b.allocation(a.ID), a)
	equal(b, b.allocation(both.ID), both)
	a.To, a.PIN, a.MaxPINAttempts, a.UpdatedAt = People(9), "73915", 10, Start().Add(time.Second)
	both.PIN, both.ToPIN = "", "4711"
	a.EndedAt, a.EndReason = a.ExpiresAt, masking.EndedByExpired
	for _, next := range []masking.Allocation{a, both} {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateAllocation(ctx, next) })
		equal(b, b.allocation(next.ID), next)
	}
	// Its tenant deletes it, though the sweeper has written an end.
	removed, told, err := a.Remove(a.ExpiresAt.Add(time.Minute))
	equal(b, told, true)
	equal(b, err, nil)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateAllocation(ctx, removed) })
	equal(b, b.allocation(a.ID), removed)
	equal(b, b.allocation(a.ID).Status(a.ExpiresAt), masking.Deleted)
}

func pinOpensOne(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Exclusive)
	for i, c := range []struct {
		virtual int
		code    masking.Code
	}{{2, masking.CodePartyInUse}, {3, masking.CodeVirtualNumberInUse}} {
		first := b.created(byPIN(10*i, c.virtual, "4821", People(1), People(2)), Start())
		second := byPIN(10*i+1, c.virtual, "4821", People(3), People(4))
		second.ExpiresAt = first.ExpiresAt.Add(time.Hour)
		b.code(c.code, Create(b.Context(), b, second, first.ExpiresAt.Add(-time.Millisecond)))
		b.created(byPIN(10*i+2, c.virtual, "4822", People(1), People(2)), Start()) // the same people, another PIN
		b.opens(c.virtual, "4821", first.ID, Start())
		b.opens(c.virtual, "4822", PINAllocationID(10*i+2), Start())
		b.opens(c.virtual, "482", "", Start())
		b.opens(c.virtual, "48210", "", Start())
		b.opens(c.virtual, "4821", "", first.ExpiresAt)
		b.created(second, first.ExpiresAt) // nothing has been swept
		b.opens(c.virtual, "4821", second.ID, first.ExpiresAt)
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, first.ID) })
		b.opens(c.virtual, "4821", second.ID, first.ExpiresAt)
		if err := Delete(b.Context(), b, "acme", second.ID, first.ExpiresAt); err != nil {
			b.Fatal(err)
		}
		b.opens(c.virtual, "4821", "", first.ExpiresAt)
		equal(b, len(b.pinCase(c.virtual, Person(1), "4821", first.ExpiresAt).Found), 0)
	}
}

func pinShared(b *bench) {
	b.acme()
	for i, order := range [][]masking.Allocation{
		{Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), byPIN(2, 2, "4821", People(1), People(2))},
		{byPIN(3, 2, "4822", People(3), People(4)), oneway(4, 2, People(3), People(4))},
	} {
		for _, a := range order {
			b.created(a, Start())
		}
		numbers, pin := order[i], order[1-i]
		b.routes(Virtual(2), numbers.From[0], &numbers, Start())
		b.opens(2, pin.PIN, pin.ID, Start())
	}
	// Neither kind is in the other's way when the parties change.
	if err := b.replace(AllocationID(1), People(1), People(3, 7), Start()); err == nil {
		b.Fatal("3 may call in another allocation by numbers")
	}
	if err := b.replace(PINAllocationID(2), People(4, 3), People(1, 2), Start()); err != nil {
		b.Fatal(err)
	}
	// A oneway use, which means nothing to a PIN, makes nobody silent.
	odd := byPIN(5, 2, "4823", People(6), People(2))
	odd.Usage = masking.OneWay
	b.created(odd, Start())
	if _, silent := b.silent(2, 2, Start()); silent {
		b.Error("a party by PIN is silent")
	}
	if err := b.replace(AllocationID(1), nil, People(2, 8), Start()); err != nil {
		b.Fatal(err)
	}
}

func pinExclusive(b *bench) {
	b.acme()
	numbers := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	pin := byPIN(2, 1, "4821", People(3), People(4))
	pin.ExpiresAt = numbers.ExpiresAt.Add(time.Hour)
	b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, pin, numbers.ExpiresAt.Add(-time.Millisecond)))
	b.opens(1, "4821", "", Start())
	b.created(pin, numbers.ExpiresAt) // nothing has been swept
	b.routes(Virtual(1), Person(1), nil, numbers.ExpiresAt)
	// A second PIN is welcome, an allocation by numbers only when the last PIN has ended.
	long := byPIN(3, 1, "73915062", People(3), People(4))
	long.ExpiresAt = pin.ExpiresAt.Add(time.Hour)
	b.created(long, numbers.ExpiresAt)
	next := Allocation("acme", AllocationID(4), Virtual(1), People(5), People(6))
	next.ExpiresAt = long.ExpiresAt.Add(time.Hour)
	for _, now := range []time.Time{numbers.ExpiresAt, pin.ExpiresAt, long.ExpiresAt.Add(-time.Millisecond)} {
		b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, next, now))
	}
	b.opens(1, "4821", pin.ID, numbers.ExpiresAt)
	if err := Delete(b.Context(), b, "acme", long.ID, pin.ExpiresAt); err != nil {
		b.Fatal(err)
	}
	b.created(next, pin.ExpiresAt)
	b.routes(Virtual(1), Person(5), &next, pin.ExpiresAt)
}

func pinExclusiveChanges(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Exclusive)
	settings, life := Tenant(b, "acme").Settings, 3*time.Hour
	longer := func(id masking.AllocationID, now time.Time) error {
		return b.change(id, now, func(a masking.Allocation) (masking.Allocation, error) {
			return a.WithPatch(masking.Patch{Duration: &life}, settings, now)
		})
	}
	numbers := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	pin := b.created(byPIN(2, 3, "4821", People(3), People(4)), Start())
	b.code(masking.CodeVirtualNumberInUse, b.move(pin.ID, 1, Start()))
	b.code(masking.CodeVirtualNumberInUse, b.move(numbers.ID, 3, Start()))
	b.opens(3, "4821", pin.ID, Start())
	b.routes(Virtual(1), Person(1), &numbers, Start())
	// A node whose clock is behind lengthens what another one has seen end.
	late := byPIN(4, 1, "4823", People(5), People(6))
	late.ExpiresAt = numbers.ExpiresAt.Add(time.Hour)
	b.created(late, numbers.ExpiresAt)
	b.code(masking.CodeVirtualNumberInUse, longer(numbers.ID, numbers.ExpiresAt.Add(-time.Millisecond)))
	b.routes(Virtual(1), Person(1), nil, numbers.ExpiresAt)
	if err := longer(late.ID, numbers.ExpiresAt); err != nil { // not in its own way
		b.Fatal(err)
	}
	if err := b.move(late.ID, 2, numbers.ExpiresAt); err != nil {
		b.Fatal(err)
	}
	back := lasting(Allocation("acme", AllocationID(5), Virtual(1), People(5), People(6)), 5*time.Hour)
	b.created(back, numbers.ExpiresAt)
	b.opens(1, "4823", "", numbers.ExpiresAt)
	b.opens(2, "4823", late.ID, numbers.ExpiresAt)
	b.code(masking.CodeVirtualNumberInUse, b.move(late.ID, 1, numbers.ExpiresAt))
}

func pinFallback(b *bench) {
	b.acme()
	both := func(i, virtual int, pin, toPIN masking.PIN) masking.Allocation {
		a := Allocation("acme", AllocationID(i), Virtual(virtual), People(2*i), People(2*i+1))
		a.PIN, a.ToPIN = pin, toPIN
		return a
	}
	a := b.created(both(1, 1, "4821", "4822"), Start())
	if err := b.replace(a.ID, People(5), nil, Start()); err != nil {
		b.Fatal(err)
	}
	b.opens(1, "4821", a.ID, Start())
	b.opens(1, "4822", a.ID, Start())
	b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, byPIN(2, 1, "4830", People(8), People(9)), Start()))
	equal(b, b.usable(masking.Pick{Sharing: masking.Exclusive}, People(7), Start(), 5), "")
	if err := b.move(a.ID, 2, Start()); err != nil {
		b.Fatal(err)
	}
	b.opens(1, "4821", "", Start())
	b.opens(2, "4822", a.ID, Start())
	// On a shared number its PINs are refused to others, of either kind.
	b.code(masking.CodePartyInUse, Create(b.Context(), b, byPIN(3, 2, "4822", People(8), People(9)), Start()))
	b.code(masking.CodePartyInUse, Create(b.Context(), b, both(4, 2, "4900", "4821"), Start()))
	b.created(both(5, 2, "4900", "4901"), Start())
	// Without them it keeps its callers.
	if err := b.change(a.ID, Start(), func(a masking.Allocation) (masking.Allocation, error) {
		a.PIN, a.ToPIN = "", ""
		return a, nil
	}); err != nil {
		b.Fatal(err)
	}
	b.opens(2, "4821", "", Start())
	b.routes(Virtual(2), Person(5), &a, Start())
	b.created(byPIN(6, 2, "4821", People(5), People(9)), Start())
}

func pinChoice(b *bench) {
	b.tenant("acme")
	for i := range 3 {
		b.number("acme", i, masking.Exclusive)
	}
	pick := masking.Pick{Sharing: masking.Exclusive}
	free := func(now time.Time, want string) {
		b.Helper()
		equal(b, b.usable(pick, People(7), now, 5), want)
	}
	release := func(now time.Time) time.Time {
		return get(b, func(ctx context.Context, tx store.Reader) (time.Time, error) {
			return tx.EarliestRelease(ctx, "acme", People(7), now)
		})
	}
	at := func(hours int) time.Time { return Start().Add(time.Duration(hours) * time.Hour) }
	b.created(lasting(byPIN(1, 0, "4821", People(1), People(2)), 2*time.Hour), Start())
	b.created(lasting(byPIN(2, 0, "48221", People(1), People(2)), 4*time.Hour), Start())
	b.created(lasting(byPIN(3, 0, "4823", People(1), People(2)), time.Hour), Start())
	b.created(lasting(byPIN(4, 1, "4821", People(1), People(2)), 3*time.Hour), Start())
	free(Start(), "00002 ")
	equal(b, release(Start()), at(3))
	free(at(3).Add(-time.Millisecond), "00002 ")
	free(at(3), "00002 00001 ") // over, and not swept
	equal(b, release(at(3)), at(4))
	free(at(4), "00002 00001 00000 ")
	// With the longest gone the next longest closes the number, and so on.
	for _, step := range []struct {
		gone, hours int
	}{{2, 2}, {1, 1}} {
		if err := Delete(b.Context(), b, "acme", PINAllocationID(step.gone), Start()); err != nil {
			b.Fatal(err)
		}
		equal(b, release(Start()), at(step.hours))
	}
	free(Start(), "00002 ")
	if err := Delete(b.Context(), b, "acme", PINAllocationID(3), Start()); err != nil {
		b.Fatal(err)
	}
	free(Start(), "00002 00000 ")
	// A shorter life opens it earlier.
	shorter := 300 * time.Second
	err := b.change(PINAllocationID(4), Start(), func(a masking.Allocation) (masking.Allocation, error) {
		return a.WithPatch(masking.Patch{Duration: &shorter}, Tenant(b, "acme").Settings, Start())
	})
	equal(b, err, nil)
	equal(b, release(Start()), Start().Add(shorter))
}

func pinLateSweep(b *bench) {
	b.tenant("acme")
	b.number("acme", 1, masking.Exclusive)
	pick := masking.Pick{Sharing: masking.Exclusive}
	old := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	now := old.ExpiresAt
	pin := b.created(lasting(byPIN(2, 1, "4821", People(3), People(4)), 3*time.Hour), now)
	equal(b, b.usable(pick, nil, now, 5), "")
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, old.ID) })
	equal(b, b.usable(pick, nil, now, 5), "")
	// And the other way round.
	now = pin.ExpiresAt
	b.created(lasting(Allocation("acme", AllocationID(3), Virtual(1), People(1), People(2)), 9*time.Hour), now)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, pin.ID) })
	equal(b, b.usable(pick, nil, now, 5), "")
	if err := Delete(b.Context(), b, "acme", AllocationID(3), now); err != nil {
		b.Fatal(err)
	}
	equal(b, b.usable(pick, nil, now, 5), "00001 ")
}

func pinClosesNothing(b *bench) {
	b.acme()
	b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	odd := byPIN(2, 2, "4822", People(3), People(4))
	odd.Usage = masking.OneWay
	b.created(odd, Start())
	equal(b, b.usable(masking.Pick{Sharing: masking.Shared}, People(1, 2, 3, 4), Start(), 5), "00002 ")
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (time.Time, error) {
		return tx.EarliestRelease(ctx, "acme", People(1, 4), Start())
	}), time.Time{})
	// Nor do those that are left when one has ended, nor when the number is
	// exclusive afterwards.
	for i := 1; i <= 2; i++ {
		if err := Delete(b.Context(), b, "acme", PINAllocationID(i), Start()); err != nil {
			b.Fatal(err)
		}
		equal(b, b.usable(masking.Pick{Sharing: masking.Shared}, People(1), Start(), 5), "00002 ")
	}
	b.update(func(ctx context.Context, tx store.Tx) error {
		return tx.UpdateNumber(ctx, Number("acme", Virtual(2), masking.Exclusive), Start())
	})
	equal(b, b.usable(masking.Pick{Sharing: masking.Exclusive}, People(1), Start(), 1), "00001 ")
	equal(b, b.usable(masking.Pick{Sharing: masking.Exclusive}, People(1), Start(), 0), "00001 00002 ")
}

func pinInUse(b *bench) {
	b.acme()
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	last := a.ExpiresAt.Add(-time.Millisecond)
	for _, party := range People(1, 2) {
		b.refused(masking.CodeStillInUse, func(ctx context.Context, tx store.Tx) error {
			return tx.InsertNumber(ctx, Number("acme", party, masking.Shared), last)
		})
	}
	b.refused(masking.CodeStillInUse, func(ctx context.Context, tx store.Tx) error {
		return tx.UpdateNumber(ctx, Number("acme", Virtual(2), masking.Exclusive), last)
	})
	b.refused(masking.CodeStillInUse, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteNumber(ctx, "acme", Virtual(2), last)
	})
	b.code(masking.CodePartyIsVirtual, Create(b.Context(), b, byPIN(2, 2, "4822", People(3), []e164.Number{Virtual(1)}), Start()))
	b.update(func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteNumber(ctx, "acme", Virtual(2), a.ExpiresAt)
	})
	b.number("acme", 2, masking.Shared) // the same number again carries nothing of the old
	b.opens(2, "4821", "", Start())
	b.pins(2, false)
}

// pins checks whether a call learns that the number carries PINs.
func (b *bench) pins(virtual int, want bool) {
	b.Helper()
	for _, caller := range []e164.Number{Person(1), {}} {
		r, err := b.Route(b.Context(), Virtual(virtual), caller)
		if err != nil {
			b.Fatal(err)
		}
		equal(b, r.PINs, want)
	}
}

func pinRoute(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start()) // claims * and numbers
	a := b.created(byPIN(2, 2, "4821", People(1), People(2)), Start())
	b.pins(1, false)
	b.pins(2, true)
	b.pins(3, false)
	b.routes(Virtual(2), Person(1), nil, Start()) // his number alone lets nobody through
	if err := b.move(a.ID, 3, Start()); err != nil {
		b.Fatal(err)
	}
	b.pins(2, false)
	b.pins(3, true)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, a.ID) })
	b.pins(3, false)
}

func pinFree(b *bench) {
	b.acme()
	b.created(byPIN(1, 2, "482193", People(1), People(2)), Start())
	b.created(byPIN(2, 2, "5000", People(1), People(2)), Start())
	b.created(lasting(byPIN(3, 2, "6000", People(1), People(2)), time.Minute), Start())
	b.created(lasting(byPIN(5, 2, "70001", People(1), People(2)), time.Minute), Start())
	b.created(Allocation("acme", AllocationID(4), Virtual(2), People(3), People(4)), Start())
	now := Start().Add(time.Minute)
	for pin, want := range map[masking.PIN]bool{
		"482193": false, "4821": false, "48219": false, "4821930": false, "48219399": false, // the same, beginnings, ends
		"482194": true, "482192": true, "4820": true, "4822": true, "48218": true, "48220": true, "39999999": true,
		"5000": false, "50009": false, "50000000": false, "5001": true, "4999": true,
		"6000": true, "60001": true, "7000": true, "70001": true, // over
	} {
		got := get(b, func(ctx context.Context, tx store.Reader) (bool, error) { return tx.PINFree(ctx, Virtual(2), pin, now) })
		if got != want {
			b.Errorf("%s: free %v, want %v", pin.Reveal(), got, want)
		}
		equal(b, get(b, func(ctx context.Context, tx store.Reader) (bool, error) { return tx.PINFree(ctx, Virtual(1), pin, now) }), true)
	}
}

func pinLengths(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	for i, pin := range []masking.PIN{"4821", "4822", "48230", "4824", "73915062", "739151"} {
		b.created(lasting(byPIN(i, 2, pin, People(1), People(2)), time.Duration(6-i)*time.Hour), Start())
	}
	both := Allocation("acme", AllocationID(7), Virtual(2), People(3), People(4))
	both.PIN, both.ToPIN, both.ExpiresAt = "48250", "4826", Start().Add(10*time.Hour)
	b.created(both, Start())
	for hours, want := range map[int][]int{0: {4, 5, 6, 8}, 1: {4, 5, 8}, 2: {4, 5}, 6: {4, 5}, 10: nil} {
		now := Start().Add(time.Duration(hours) * time.Hour)
		equal(b, get(b, func(ctx context.Context, tx store.Reader) ([]int, error) { return tx.PINLengths(ctx, Virtual(2), now) }), want)
	}
	equal(b, get(b, func(ctx context.Context, tx store.Reader) ([]int, error) {
		return tx.PINLengths(ctx, Virtual(1), Start())
	}), nil)
	for _, c := range []struct{ length, hours, limit, want int }{
		{4, 0, 100, 4}, {4, 0, 4, 4}, {4, 0, 3, 3}, {4, 3, 100, 3}, {4, 6, 100, 1}, {4, 10, 100, 0},
		{5, 0, 100, 2}, {6, 0, 100, 1}, {6, 1, 100, 0}, {7, 0, 100, 0}, {8, 0, 100, 1},
	} {
		now := Start().Add(time.Duration(c.hours) * time.Hour)
		equal(b, get(b, func(ctx context.Context, tx store.Reader) (int, error) {
			return tx.PINCount(ctx, Virtual(2), c.length, now, c.limit)
		}), c.want)
	}
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (int, error) {
		return tx.PINCount(ctx, Virtual(3), 4, Start(), 9)
	}), 0)
}
