package storetest

import (
	"context"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Tests of whose wrong entries are counted, and for how long.

func tryTests() []test {
	return []test{
		{"AnEntryIsKnownWithItsNumberTenantAndAllocation", caseRoute},
		{"WrongEntriesCountAgainstACallersOwnAllocations", caseParty},
		{"APINForAnotherPhoneHasItsOwnCount", caseFallback},
		{"WrongEntriesOfOthersCountOnTheNumber", caseOthers},
		{"AllWhoWithholdTheirNumberShareACount", caseWithheld},
		{"WrongEntriesAreForgottenWithTime", triesExpire},
		{"AClockThatIsBehindMakesNoEntryYounger", triesBackwards},
		{"ARightEntryForgetsWhatItsCallerDidAndNoMore", triesForgotten},
		{"OldCountsAreRemovedTheOldestFirst", triesSwept},
		{"ConcurrentWrongEntriesAreAllCounted", triesRace},
		{"AnUpdateOfTheAllocationDecidesWhatCounts", caseFollowsUpdates},
		{"TheCountsOfANumberLeaveThePoolWithIt", triesLeave},
	}
}

// wrong counts one more wrong entry for each.
func (b *bench) wrong(now time.Time, whose ...masking.TriesOf) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.CountWrong(ctx, whose, now) })
}

func party(a masking.Allocation, caller e164.Number) masking.TriesOf {
	return masking.TriesOf{VirtualNumber: a.VirtualNumber, Allocation: a.ID, Caller: caller}
}

func stranger(virtual int, caller e164.Number) masking.TriesOf {
	return masking.TriesOf{VirtualNumber: Virtual(virtual), Caller: caller}
}

func caseRoute(b *bench) {
	t := b.acme()
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	b.created(Allocation("acme", AllocationID(2), Virtual(2), People(3), People(4)), Start())
	n := Number("acme", Virtual(2), masking.Shared)
	n.Load, n.RestedAt = 2, Start()
	want := masking.Route{Number: n, Tenant: t, Found: []masking.Allocation{a}, PINs: true}
	for _, now := range []time.Time{Start(), a.ExpiresAt} { // whatever its age
		for _, caller := range []e164.Number{Person(1), Person(3), Person(9), {}} {
			equal(b, b.pinCase(2, caller, "4821", now).Route, want)
		}
	}
	want.Found = nil
	equal(b, b.pinCase(2, Person(3), "4822", Start()).Route, want) // not that of his number
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.PINCase, error) {
		return tx.PINCase(ctx, Virtual(9), Person(1), "4821", Start())
	}))
}

// tries are the counts of a caller's allocations, and what is left to others.
func (b *bench) tries(virtual int, caller e164.Number, now time.Time) (map[masking.AllocationID]masking.PartyTries, masking.Tries) {
	b.Helper()
	c := b.pinCase(virtual, caller, "0000", now)
	byID := map[masking.AllocationID]masking.PartyTries{}
	for _, p := range c.Party {
		byID[p.Allocation] = p
	}
	equal(b, len(byID), len(c.Party))
	return byID, c.Other
}

func caseParty(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	one := byPIN(1, 2, "4821", People(1), People(2))
	one.MaxPINAttempts = 7
	b.created(one, Start())
	two := b.created(lasting(byPIN(2, 2, "4822", People(5), People(6, 1)), time.Minute), Start())
	b.created(byPIN(3, 3, "4821", People(1), People(2)), Start())                             // elsewhere
	b.created(byPIN(4, 2, "4824", People(8), People(9)), Start())                             // without him
	b.created(Allocation("acme", AllocationID(5), Virtual(2), People(1), People(2)), Start()) // opened by no PIN
	at := Start().Add(time.Second)
	b.wrong(at, party(one, Person(1)), party(two, Person(1)))
	b.wrong(at, party(one, Person(1)))
	b.wrong(at, party(one, Person(2)), stranger(2, Person(1))) // another's, and none of his as a party
	entry := func(a masking.Allocation, wrong int) masking.PartyTries {
		return masking.PartyTries{Allocation: a.ID, Most: a.MaxPINAttempts, Tries: masking.Tries{Wrong: wrong, Last: at.UTC()}}
	}
	got, other := b.tries(2, Person(1), Start())
	equal(b, got, map[masking.AllocationID]masking.PartyTries{one.ID: entry(one, 2), two.ID: entry(two, 1)})
	equal(b, other, masking.Tries{})
	got, _ = b.tries(2, Person(1), two.ExpiresAt)
	equal(b, got, map[masking.AllocationID]masking.PartyTries{one.ID: entry(one, 2)})
	got, _ = b.tries(2, Person(2), Start())
	equal(b, got, map[masking.AllocationID]masking.PartyTries{one.ID: entry(one, 1)})
	got, _ = b.tries(2, Person(6), Start()) // he has made none
	equal(b, got, map[masking.AllocationID]masking.PartyTries{two.ID: {Allocation: two.ID, Most: masking.DefaultPINAttempts}})
	got, other = b.tries(2, Person(1), one.ExpiresAt) // he stands in none that lives
	equal(b, len(got), 0)
	equal(b, other, masking.Tries{Wrong: 1, Last: at.UTC()})
}

func caseFallback(b *bench) {
	b.acme()
	a := oneway(1, 2, People(1), People(2))
	a.PIN = "4821"
	b.created(a, Start())
	b.wrong(Start(), party(a, Person(2)))
	for i, wrong := range map[int]masking.Tries{1: {}, 2: {Wrong: 1, Last: Start()}} {
		got, _ := b.tries(2, Person(i), Start())
		equal(b, got, map[masking.AllocationID]masking.PartyTries{a.ID: {Allocation: a.ID, Most: masking.DefaultPINAttempts, Tries: wrong}})
	}
}

func caseOthers(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	a := b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	b.wrong(Start(), stranger(2, Person(8)), stranger(2, Person(9)), stranger(3, Person(8)))
	b.wrong(Start().Add(time.Second), stranger(2, Person(8)))
	for _, c := range []struct {
		virtual, person int
		want            masking.Tries
	}{
		{2, 8, masking.Tries{Wrong: 2, Last: Start().Add(time.Second)}}, {2, 9, masking.Tries{Wrong: 1, Last: Start()}},
		{3, 8, masking.Tries{Wrong: 1, Last: Start()}}, {3, 9, masking.Tries{}}, {2, 7, masking.Tries{}},
	} {
		got, other := b.tries(c.virtual, Person(c.person), Start())
		equal(b, len(got), 0)
		equal(b, other, c.want)
	}
	// A stranger has used up his own entries and nobody else's.
	for range masking.StrangerTries {
		b.wrong(Start(), stranger(2, Person(8)))
	}
	v := masking.JudgePIN(b.pinCase(2, Person(8), "4821", Start()), Person(8), "4821", Start())
	equal(b, v.Refusal, masking.RefusedPINLocked)
	v = masking.JudgePIN(b.pinCase(2, Person(1), "4821", Start()), Person(1), "4821", Start())
	equal(b, v.Plan.Allocation.ID, a.ID)
}

func caseWithheld(b *bench) {
	b.acme()
	b.created(byPIN(1, 2, "4821", People(1), People(2)), Start())
	b.wrong(Start(), stranger(2, Person(8)), stranger(2, e164.Number{}))
	b.wrong(Start(), stranger(2, e164.Number{}))
	got, other := b.tries(2, e164.Number{}, Start())
	equal(b, len(got), 0)
	equal(b, other, masking.Tries{Wrong: 2, Last: Start()})
	_, other = b.tries(1, e164.Number{}, Start())
	equal(b, other, masking.Tries{})
}

func triesExpire(b *bench) {
	b.acme()
	a := b.created(lasting(byPIN(1, 2, "4821", People(1), People(2)), 99*time.Hour), Start())
	for _, k := range []masking.TriesOf{party(a, Person(1)), stranger(2, Person(9)), stranger(2, e164.Number{})} {
		count := func(now time.Time) masking.Tries {
			got, other := b.tries(2, k.Caller, now)
			if k.Allocation != "" {
				return got[k.Allocation].Tries
			}
			return other
		}
		now := Start()
		b.wrong(now, k)
		now = now.Add(k.Forgets() - time.Millisecond)
		b.wrong(now, k)
		equal(b, count(now), masking.Tries{Wrong: 2, Last: now}) // the last one counts
		now = now.Add(k.Forgets())
		equal(b, count(now), masking.Tries{Wrong: 2, Last: now.Add(-k.Forgets())}) // whatever its age
		b.wrong(now, k)
		equal(b, count(now), masking.Tries{Wrong: 1, Last: now})
	}
}

func triesBackwards(b *bench) {
	b.acme()
	k := stranger(2, Person(9))
	b.wrong(Start(), k)
	b.wrong(Start().Add(-time.Minute), k)
	_, other := b.tries(2, Person(9), Start())
	equal(b, other, masking.Tries{Wrong: 2, Last: Start()})
}

func triesForgotten(b *bench) {
	b.acme()
	one := b.created(byPIN(1, 2, "4821", People(1, 3), People(2)), Start())
	two := b.created(byPIN(2, 2, "4822", People(1), People(2)), Start())
	fill := func() {
		b.wrong(Start(), party(one, Person(1)), party(one, Person(2)), party(two, Person(1)), stranger(2, Person(1)),
			stranger(2, Person(9)), stranger(2, e164.Number{}), stranger(1, Person(1)))
	}
	forget := func(a masking.Allocation, caller e164.Number) {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.ForgetWrong(ctx, a, caller) })
	}
	// left are the wrong entries of 1 and 2 in one, of 1 in two, of strangers.
	left := func(want ...int) {
		b.Helper()
		first, _ := b.tries(2, Person(1), Start())
		second, _ := b.tries(2, Person(2), Start())
		got := []int{first[one.ID].Wrong, second[one.ID].Wrong, first[two.ID].Wrong}
		for _, virtual := range []int{2, 1} {
			for _, caller := range []e164.Number{Person(1), Person(9), {}} { // after all allocations: he stands in none
				_, other := b.tries(virtual, caller, one.ExpiresAt)
				got = append(got, other.Wrong)
			}
		}
		equal(b, got, want)
	}
	fill()
	left(1, 1, 1, 1, 1, 1, 1, 0, 0)
	forget(one, Person(3)) // he has made none
	left(1, 1, 1, 1, 1, 1, 1, 0, 0)
	forget(one, Person(1))
	left(0, 1, 1, 0, 1, 1, 1, 0, 0)
	fill()
	left(1, 2, 2, 1, 2, 2, 2, 0, 0)
	forget(one, e164.Number{}) // of all its parties, and of no stranger
	left(0, 0, 2, 1, 2, 2, 2, 0, 0)
}

func triesSwept(b *bench) {
	b.acme()
	for i := range 5 {
		b.wrong(Start().Add(time.Duration(i)*time.Second), stranger(2, Person(10-i)))
	}
	forget := func(before time.Time, limit, want int) {
		b.Helper()
		var n int
		b.update(func(ctx context.Context, tx store.Tx) (err error) {
			n, err = tx.ForgetTries(ctx, before, limit)
			return err
		})
		equal(b, n, want)
	}
	left := func() (n int) {
		for i := range 5 {
			_, other := b.tries(2, Person(10-i), Start())
			n += other.Wrong
		}
		return n
	}
	forget(Start(), 10, 0)
	forget(Start().Add(3*time.Second), 2, 2)
	_, other := b.tries(2, Person(8), Start()) // the third is the oldest now
	equal(b, other.Wrong, 1)
	forget(Start().Add(3*time.Second), 2, 1)
	equal(b, left(), 2)
	forget(Start().Add(time.Hour), 10, 2)
	equal(b, left(), 0)
}

func triesRace(b *bench) {
	b.acme()
	const racers = 50
	k := stranger(2, Person(9))
	for _, err := range together(racers, func(int) error {
		return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
			return tx.CountWrong(ctx, []masking.TriesOf{k}, Start())
		})
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	_, other := b.tries(2, Person(9), Start())
	equal(b, other.Wrong, racers)
}

func caseFollowsUpdates(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	a := b.created(byPIN(1, 2, "4821", People(1), nil), Start())
	stands := func(virtual, person int) bool {
		got, _ := b.tries(virtual, Person(person), Start())
		return len(got) == 1
	}
	equal(b, stands(2, 1), true)
	equal(b, stands(2, 2), false)
	if err := b.replace(a.ID, People(3), People(2), Start()); err != nil {
		b.Fatal(err)
	}
	equal(b, stands(2, 1), false)
	equal(b, stands(2, 2), true)
	if err := b.move(a.ID, 3, Start()); err != nil {
		b.Fatal(err)
	}
	equal(b, stands(2, 2), false)
	equal(b, stands(3, 2), true)
	// A PIN for calls from another phone comes and goes.
	numbers := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(5), People(6)), Start())
	for _, pin := range []masking.PIN{"", "4821", ""} {
		if err := b.change(numbers.ID, Start(), func(a masking.Allocation) (masking.Allocation, error) {
			a.PIN = pin
			return a, nil
		}); err != nil {
			b.Fatal(err)
		}
		equal(b, stands(2, 5), pin != "")
	}
	most := 9
	err := b.change(a.ID, Start(), func(a masking.Allocation) (masking.Allocation, error) {
		return a.WithPatch(masking.Patch{MaxPINAttempts: &most}, Tenant(b, "acme").Settings, Start())
	})
	equal(b, err, nil)
	got, _ := b.tries(3, Person(2), Start())
	equal(b, got[a.ID].Most, most)
	if err := Delete(b.Context(), b, "acme", a.ID, Start()); err != nil {
		b.Fatal(err)
	}
	equal(b, stands(3, 2), false)
}

func triesLeave(b *bench) {
	b.acme()
	b.wrong(Start(), stranger(2, Person(9)), stranger(2, e164.Number{}), stranger(1, Person(9)))
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteNumber(ctx, "acme", Virtual(2), Start()) })
	b.tenant("other")
	b.number("other", 2, masking.Shared)
	for virtual, want := range map[int]int{1: 1, 2: 0} {
		_, other := b.tries(virtual, Person(9), Start())
		equal(b, other.Wrong, want)
	}
	_, other := b.tries(2, e164.Number{}, Start())
	equal(b, other.Wrong, 0)
}
