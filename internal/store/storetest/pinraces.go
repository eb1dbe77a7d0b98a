package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func pinRaceTests() []test {
	return []test{
		{"OfTwoHundredCreatesOfBothKindsOnAnExclusiveNumberOneKindLives", raceKinds},
		{"OfTwoHundredCreatesWithOnePINOneWins", racePIN},
		{"OfMovesOfBothKindsToAnExclusiveNumberOneKindWins", raceKindMoves},
		{"PINsThatWereDrawnAtOnceAreNoBeginningsOfEachOther", raceBeginnings},
	}
}

// kinds counts the winners of a race: those with an even index are by numbers,
// of whom one may win, the others by PIN, of whom all may. Never some of both.
func (b *bench) kinds(round int, errs []error) (byNumbers bool) {
	b.Helper()
	numbers, pins := 0, 0
	for _, i := range b.winners(errs, masking.CodeVirtualNumberInUse) {
		if i%2 == 0 {
			numbers++
		} else {
			pins++
		}
	}
	if !(numbers == 1 && pins == 0) && !(numbers == 0 && pins == len(errs)/2) {
		b.Fatalf("round %d: %d allocations by numbers and %d by PIN", round, numbers, pins)
	}
	return numbers == 1
}

func raceKinds(b *bench) {
	b.tenant("acme")
	const rounds, racers = 4, 200
	for r := range rounds {
		b.number("acme", r, masking.Exclusive)
		byNumbers := b.kinds(r, together(racers, func(i int) error {
			k := r*racers + i
			a := Allocation("acme", AllocationID(k), Virtual(r), People(2*i), People(2*i+1))
			if i%2 == 1 {
				a = ByPIN(a, masking.DrawPIN(4, uint64(i)))
			}
			return Create(b.Context(), b, a, Start())
		}))
		b.pins(r, !byNumbers)
		for product, want := range map[masking.Product]int{masking.GreenVN: 1, masking.GreenPin: racers / 2} {
			if byNumbers != (product == masking.GreenVN) {
				want = 0
			}
			live := b.listed(store.AllocationFilter{Tenant: "acme", Product: product, VirtualNumber: Virtual(r), Status: masking.Active, Now: Start()})
			equal(b, len(live), want)
		}
	}
}

func racePIN(b *bench) {
	b.acme()
	const racers = 200
	won := b.winners(together(racers, func(i int) error {
		return Create(b.Context(), b, byPIN(i, 2, "4821", People(2*i), People(2*i+1)), Start())
	}), masking.CodePartyInUse)
	equal(b, len(won), 1)
	b.opens(2, "4821", PINAllocationID(won[0]), Start())
}

func raceKindMoves(b *bench) {
	b.acme()
	b.number("acme", 3, masking.Exclusive)
	const rounds, racers = 5, 10
	for r := range rounds {
		ids := make([]masking.AllocationID, racers)
		for i := range racers {
			k := r*racers + i
			a := Allocation("acme", AllocationID(k), Virtual(2), People(2*k), People(2*k+1))
			if i%2 == 1 {
				a = ByPIN(a, masking.DrawPIN(4, uint64(k)))
			}
			ids[i] = b.created(a, Start()).ID
		}
		b.kinds(r, together(racers, func(i int) error { return b.move(ids[i], 3, Start()) }))
		for _, id := range ids {
			if err := Delete(b.Context(), b, "acme", id, Start()); err != nil {
				b.Fatal(err)
			}
		}
		b.pins(3, false)
	}
}

// raceBeginnings has PINs drawn from a space in which each is another's
// beginning: 4, 5 and 6 digits that start alike.
func raceBeginnings(b *bench) {
	b.acme()
	const racers, tries = 60, 2
	taken := errors.New("the PIN is taken")
	draw := func(i, try int) masking.PIN {
		return masking.PIN(fmt.Sprintf("48%02d%02d", (i*7+try)%12, i)[:4+(i+try)%3])
	}
	pins := make([]masking.PIN, racers)
	errs := together(racers, func(i int) error {
		for try := range tries {
			pin := draw(i, try)
			err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
				free, err := tx.PINFree(ctx, Virtual(2), pin, Start())
				if err != nil {
					return err
				}
				if !free {
					return taken
				}
				return create(ctx, tx, byPIN(i, 2, pin, People(2*i), People(2*i+1)), Start())
			})
			if !errors.Is(err, taken) {
				pins[i] = pin
				return err
			}
		}
		return nil
	})
	made := 0
	for i, pin := range pins {
		if errs[i] != nil {
			b.Fatalf("racer %d: %v", i, errs[i])
		}
		if pin == "" {
			continue
		}
		made++
		for k, other := range pins {
			if k != i && other != "" && strings.HasPrefix(other.Reveal(), pin.Reveal()) {
				b.Errorf("%s is the beginning of %s", pin.Reveal(), other.Reveal())
			}
		}
	}
	if made < 12 || made == racers {
		b.Errorf("%d of %d got a PIN: the race met nobody or everybody", made, racers)
	}
}
