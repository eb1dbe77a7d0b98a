package storetest

import (
	"context"
	"fmt"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Tests of the numbers that stand in an allocation and may not call: To of a
// oneway one. They claim nothing, and still nobody may meet them who could be
// rung by mistake.

func silentTests() []test {
	return []test{
		{"ToOfAOnewayAllocationClaimsNothingAndIsKnown", oneWay},
		{"TheNewestOfSeveralSilentStandingsIsGiven", newestSilent},
		{"ASilentNumberCannotCallInAnotherAllocationWhicheverCameFirst", silentAndCaller},
		{"ManyMayHaveOneSilentNumber", manySilent},
		{"OnAnotherNumberOrAfterTheEndASilentNumberMayCall", silentElsewhere},
		{"ReplacedPartiesAreHeldToTheRuleOfSilentNumbers", silentParties},
		{"AMoveIsHeldToTheRuleOfSilentNumbers", silentMove},
		{"ALongerLifeIsHeldToTheRuleOfSilentNumbers", silentLongerLife},
		{"ARefusalForASilentNumberChangesNothing", silentRefusalChangesNothing},
		{"OfASilentNumberAndACallerInARaceOneKindWins", raceSilent},
		{"OfReplacementsToASilentNumberAndACallerInARaceOneKindWins", raceSilentParties},
	}
}

// oneway is an allocation of acme in which only from may call.
func oneway(i, virtual int, from, to []e164.Number) masking.Allocation {
	a := Allocation("acme", AllocationID(i), Virtual(virtual), from, to)
	a.Usage = masking.OneWay
	return a
}

// silent is what the store knows of a caller who may not call.
func (b *bench) silent(virtual, person int, now time.Time) (masking.Allocation, bool) {
	b.Helper()
	var a masking.Allocation
	var found bool
	b.view(func(ctx context.Context, tx store.Reader) (err error) {
		a, found, err = tx.Silent(ctx, Virtual(virtual), Person(person), now)
		return err
	})
	return a, found
}

func oneWay(b *bench) {
	b.acme()
	var all []masking.Allocation
	for i := 1; i <= 2; i++ { // 9 stands in To of both, on one shared number
		all = append(all, b.created(oneway(i, 2, People(i), People(9)), Start()))
	}
	b.created(Allocation("acme", AllocationID(3), Virtual(2), People(7), People(8)), Start())
	b.routes(Virtual(2), Person(1), &all[0], Start())
	b.routes(Virtual(2), Person(2), &all[1], Start())
	b.routes(Virtual(2), Person(9), nil, Start())
	known := func(virtual, person int, now time.Time) bool {
		b.Helper()
		_, found := b.silent(virtual, person, now)
		return found
	}
	end := all[0].ExpiresAt
	equal(b, known(2, 9, end.Add(-time.Millisecond)), true)
	equal(b, known(2, 9, end), false)
	equal(b, known(1, 9, Start()), false) // another number
	equal(b, known(2, 1, Start()), false) // he may call
	equal(b, known(2, 8, Start()), false) // twoway
	usage := func(usage masking.Usage) {
		b.Helper()
		if err := b.change(all[0].ID, Start(), func(a masking.Allocation) (masking.Allocation, error) {
			a.Usage = usage
			return a, nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := Delete(b.Context(), b, "acme", all[1].ID, Start()); err != nil {
		b.Fatal(err)
	}
	equal(b, known(2, 9, Start()), true)
	usage(masking.TwoWay)
	equal(b, known(2, 9, Start()), false)
	b.routes(Virtual(2), Person(9), &all[0], Start())
	usage(masking.OneWay)
	equal(b, known(2, 9, Start()), true)
	b.routes(Virtual(2), Person(9), nil, Start())
}

func newestSilent(b *bench) {
	b.acme()
	for i := 1; i <= 3; i++ {
		b.created(oneway(i, 2, People(i), People(9)), Start())
	}
	if err := Delete(b.Context(), b, "acme", AllocationID(3), Start()); err != nil {
		b.Fatal(err)
	}
	got, _ := b.silent(2, 9, Start())
	equal(b, got, b.allocation(AllocationID(2)))
	// What it means is the rule's to say.
	r := get(b, func(ctx context.Context, tx store.Reader) (masking.Route, error) {
		return tx.Route(ctx, Virtual(2), Person(9))
	})
	r.Found = []masking.Allocation{got}
	_, err := masking.Admit(r, Person(9), Start())
	equal(b, err, error(masking.RefusedWrongDirection))
}

func silentAndCaller(b *bench) {
	b.acme()
	// 9 is silent in one of each pair and may call in the other.
	for i, pair := range [][2]masking.Allocation{
		{oneway(0, 2, People(1), People(9)), Allocation("acme", "", Virtual(2), People(2), People(9))},
		{oneway(0, 2, People(1), People(9)), Allocation("acme", "", Virtual(2), People(9), People(2))},
		{oneway(0, 2, People(1), People(9)), oneway(0, 2, People(9), People(2))},
		{oneway(0, 2, People(1), People(8, 9)), Allocation("acme", "", Virtual(2), People(2, 3, 4), People(5, 9))},
		{oneway(0, 2, People(1), People(9)), oneway(0, 2, People(9), People(1))}, // each calls the other
	} {
		for k := range 2 {
			first, second := pair[k], pair[1-k]
			first.ID, second.ID = AllocationID(4*i+2*k), AllocationID(4*i+2*k+1)
			b.created(first, Start())
			if err := hasCode(Create(b.Context(), b, second, Start()), masking.CodePartyInUse); err != nil {
				b.Errorf("pair %d, order %d: %v", i, k, err)
			}
			if err := Delete(b.Context(), b, "acme", first.ID, Start()); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func manySilent(b *bench) {
	b.acme()
	one := b.created(oneway(1, 2, People(1), People(9)), Start())
	two := b.created(oneway(2, 2, People(2), People(9)), Start())
	b.routes(Virtual(2), Person(1), &one, Start())
	b.routes(Virtual(2), Person(2), &two, Start())
	b.routes(Virtual(2), Person(9), nil, Start())
	// Neither is in its own way, nor in the other's.
	if err := b.replace(one.ID, nil, People(9, 8), Start()); err != nil {
		b.Fatal(err)
	}
	if err := b.move(two.ID, 2, Start()); err != nil {
		b.Fatal(err)
	}
}

func silentElsewhere(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	old := b.created(oneway(1, 2, People(1), People(9)), Start())
	other := b.created(Allocation("acme", AllocationID(2), Virtual(3), People(2), People(9)), Start())
	b.routes(Virtual(3), Person(9), &other, Start())
	next := Allocation("acme", AllocationID(3), Virtual(2), People(2), People(9))
	next.ExpiresAt = old.ExpiresAt.Add(time.Hour)
	b.code(masking.CodePartyInUse, Create(b.Context(), b, next, old.ExpiresAt.Add(-time.Millisecond)))
	b.created(next, old.ExpiresAt) // nothing has been swept
	b.routes(Virtual(2), Person(9), &next, old.ExpiresAt)
	// The other way round: a claim that has run out is in no silent number's way.
	late := oneway(4, 2, People(1), People(9))
	late.ExpiresAt = next.ExpiresAt.Add(time.Hour)
	b.created(late, next.ExpiresAt)
	b.routes(Virtual(2), Person(9), nil, next.ExpiresAt)
}

func silentParties(b *bench) {
	b.acme()
	now := Start().Add(time.Second)
	b.created(oneway(1, 2, People(1), People(9)), Start())
	a := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(3), People(4)), Start())
	for _, sides := range [][2][]e164.Number{{People(9), nil}, {nil, People(5, 9)}} {
		b.code(masking.CodePartyInUse, b.replace(a.ID, sides[0], sides[1], now))
	}
	equal(b, b.allocation(a.ID), a)
	// And by the silent side: 3 may call in a.
	b.code(masking.CodePartyInUse, b.replace(AllocationID(1), nil, People(3), now))
	if err := b.replace(AllocationID(1), nil, People(8), now); err != nil {
		b.Fatal(err)
	}
	if err := b.replace(a.ID, People(9), nil, now); err != nil { // silent nowhere now
		b.Fatal(err)
	}
	b.routes(Virtual(2), Person(9), &a, now)
}

func silentMove(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Shared)
	now := Start().Add(time.Second)
	quiet := b.created(oneway(1, 2, People(1), People(9)), Start())
	loud := b.created(Allocation("acme", AllocationID(2), Virtual(3), People(2), People(9)), Start())
	b.code(masking.CodePartyInUse, b.move(loud.ID, 2, now))
	b.code(masking.CodePartyInUse, b.move(quiet.ID, 3, now))
	equal(b, b.allocation(loud.ID), loud)
	equal(b, b.allocation(quiet.ID), quiet)
	if err := b.move(quiet.ID, 1, now); err != nil {
		b.Fatal(err)
	}
	if err := b.move(loud.ID, 2, now); err != nil {
		b.Fatal(err)
	}
	b.code(masking.CodePartyInUse, b.move(quiet.ID, 2, now))
}

// silentLongerLife has a node whose clock is a millisecond behind lengthen the
// life of an allocation whose place another one took when it was over.
func silentLongerLife(b *bench) {
	b.acme()
	settings := Tenant(b, "acme").Settings
	life := 3 * time.Hour
	longer := func(id masking.AllocationID, now time.Time) error {
		return b.change(id, now, func(a masking.Allocation) (masking.Allocation, error) {
			return a.WithPatch(masking.Patch{Duration: &life}, settings, now)
		})
	}
	quiet := b.created(oneway(1, 2, People(1), People(9)), Start())
	loud := Allocation("acme", AllocationID(2), Virtual(2), People(2), People(9))
	loud.ExpiresAt = quiet.ExpiresAt.Add(time.Hour)
	b.created(loud, quiet.ExpiresAt)
	b.code(masking.CodePartyInUse, longer(quiet.ID, quiet.ExpiresAt.Add(-time.Millisecond)))
	equal(b, b.allocation(quiet.ID), quiet)
	again := oneway(3, 2, People(3), People(9))
	again.ExpiresAt = loud.ExpiresAt.Add(time.Hour)
	b.created(again, loud.ExpiresAt)
	b.code(masking.CodePartyInUse, longer(loud.ID, loud.ExpiresAt.Add(-time.Millisecond)))
	if err := longer(again.ID, loud.ExpiresAt); err != nil { // not in its own way
		b.Fatal(err)
	}
}

func silentRefusalChangesNothing(b *bench) {
	b.acme()
	b.created(oneway(1, 2, People(1), People(9)), Start())
	loud := b.created(Allocation("acme", AllocationID(2), Virtual(2), People(2), People(3)), Start())
	changed := loud
	changed.From = People(9, 2)
	quiet := oneway(3, 2, People(4), People(5))
	b.update(func(ctx context.Context, tx store.Tx) error {
		if err := hasCode(tx.Hold(ctx, changed, masking.Shared, Start()), masking.CodePartyInUse); err != nil {
			return err
		}
		if err := create(ctx, tx, quiet, Start()); err != nil {
			return err
		}
		wrong := quiet
		wrong.From, wrong.To = People(6), People(5, 2)
		return hasCode(tx.Hold(ctx, wrong, masking.Shared, Start()), masking.CodePartyInUse)
	})
	b.routes(Virtual(2), Person(2), &loud, Start())
	b.routes(Virtual(2), Person(3), &loud, Start())
	b.routes(Virtual(2), Person(4), &quiet, Start())
	b.routes(Virtual(2), Person(6), nil, Start())
	b.routes(Virtual(2), Person(9), nil, Start())
}

// oneKind checks a race: those with an even index made a number silent, the
// others have it call. Either all of the first or one of the second won.
func (b *bench) oneKind(round int, errs []error) {
	b.Helper()
	silent, calling := 0, 0
	for _, i := range b.winners(errs, masking.CodePartyInUse) {
		if i%2 == 0 {
			silent++
		} else {
			calling++
		}
	}
	if !(silent == len(errs)/2 && calling == 0) && !(silent == 0 && calling == 1) {
		b.Fatalf("round %d: %d allocations have the number silent, in %d it may call", round, silent, calling)
	}
}

func raceSilent(b *bench) {
	b.acme()
	const rounds, racers = 25, 8
	for r := range rounds {
		common := People(1000 + r)
		b.oneKind(r, together(racers, func(i int) error {
			k := r*racers + i
			if i%2 == 0 {
				return Create(b.Context(), b, oneway(k, 2, People(k), common), Start())
			}
			return Create(b.Context(), b, Allocation("acme", AllocationID(k), Virtual(2), common, People(k)), Start())
		}))
	}
}

func raceSilentParties(b *bench) {
	b.acme()
	const rounds, racers = 10, 8
	for r := range rounds {
		common := People(2000 + r)
		for i := range racers {
			k := r*racers + i
			a := Allocation("acme", AllocationID(k), Virtual(2), People(2*k), People(2*k+1))
			if i%2 == 0 {
				a.Usage = masking.OneWay
			}
			b.created(a, Start())
		}
		b.oneKind(r, together(racers, func(i int) error {
			return b.replace(AllocationID(r*racers+i), nil, common, Start())
		}))
	}
}

// named checks the rule in the model's own words: whoever is named by two live
// allocations on one number may call in neither.
func named(live []masking.Allocation, n e164.Number) error {
	if len(live) < 2 {
		return nil
	}
	for _, a := range live {
		for _, caller := range a.Callers() {
			if caller == n {
				return fmt.Errorf("%d live allocations name a number that may call in %s", len(live), a.ID)
			}
		}
	}
	return nil
}
