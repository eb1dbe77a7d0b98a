package masking

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tandem/internal/e164"
)

func TestEachStrategyRingsTheNumbersInItsOwnOrder(t *testing.T) {
	side := people(1, 2, 3)
	for _, c := range []struct {
		ring RingStrategy
		turn Turn
		want []e164.Number
	}{
		{Sequential, Turn{Began: person(1), Answered: person(3)}, people(1, 2, 3)},
		{Simultaneous, Turn{Began: person(1), Answered: person(3)}, people(1, 2, 3)},
		{RoundRobin, Turn{}, people(1, 2, 3)},
		{RoundRobin, Turn{Began: person(1), Answered: person(3)}, people(2, 3, 1)},
		{RoundRobin, Turn{Began: person(2)}, people(3, 1, 2)},
		{RoundRobin, Turn{Began: person(3)}, people(1, 2, 3)},
		{RoundRobin, Turn{Began: person(9)}, people(1, 2, 3)}, // he has left
		{StickyLast, Turn{Began: person(2)}, people(1, 2, 3)},
		{StickyLast, Turn{Began: person(2), Answered: person(1)}, people(1, 2, 3)},
		{StickyLast, Turn{Began: person(2), Answered: person(3)}, people(3, 1, 2)},
		{StickyLast, Turn{Answered: person(9)}, people(1, 2, 3)},
	} {
		if got := c.ring.Order(side, c.turn); !slices.Equal(got, c.want) {
			t.Errorf("%s after %v: %v, want %v", c.ring, c.turn, Texts(got), Texts(c.want))
		}
	}
	if got := RoundRobin.Order(nil, Turn{Began: person(1)}); len(got) != 0 {
		t.Errorf("nobody is rung as %v", Texts(got))
	}
}

// Whatever the strategy and whatever was before, everybody of the side is rung,
// each once; and a side whose numbers take turns begins with each as often.
func TestAStrategyLosesNobodyAndTakesTurnsFairly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := unique(few(1, 10).Draw(t, "side"))
		turn := Turn{person(rapid.IntRange(0, 14).Draw(t, "began")), person(rapid.IntRange(0, 14).Draw(t, "answered"))}
		ring := rapid.SampledFrom(RingStrategies).Draw(t, "ring")
		before := slices.Clone(side)
		order := ring.Order(side, turn)
		if !slices.Equal(side, before) {
			t.Fatal("the allocation's own list was changed")
		}
		if len(order) != len(side) || len(unique(order)) != len(side) || slices.ContainsFunc(order, func(n e164.Number) bool { return !slices.Contains(side, n) }) {
			t.Fatalf("%v became %v", Texts(side), Texts(order))
		}
		begun := map[e164.Number]int{}
		for range 3 * len(side) {
			turn.Began = RoundRobin.Order(side, turn)[0]
			begun[turn.Began]++
		}
		for _, n := range side {
			if begun[n] != 3 {
				t.Fatalf("of %d calls %d began with %v", 3*len(side), begun[n], n)
			}
		}
	})
}

func TestThePlanFollowsTheTenantsStrategyInEachDirectionByItself(t *testing.T) {
	a := active(t, Draft{From: people(1, 2), To: people(3, 4)})
	a.ToTurn, a.FromTurn = Turn{Began: person(3)}, Turn{Began: person(2)}
	tenant := acme()
	tenant.Settings.Ring = RoundRobin
	r := Route{Number: VirtualNumber{Number: vn(1), Tenant: "acme"}, Tenant: tenant, Found: []Allocation{a}}
	to, err := Admit(r, person(1), noon)
	if err != nil || !slices.Equal(to.Targets, people(4, 3)) || to.Together {
		t.Errorf("%v, %v", Texts(to.Targets), err)
	}
	from, err := Admit(r, person(3), noon)
	if err != nil || !slices.Equal(from.Targets, people(1, 2)) {
		t.Errorf("%v, %v", Texts(from.Targets), err)
	}
	r.Tenant.Settings.Ring = Simultaneous
	if all, err := Admit(r, person(1), noon); err != nil || !all.Together || len(all.Targets) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}
