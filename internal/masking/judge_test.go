package masking

import (
	"slices"
	"testing"
	"time"

	"tandem/internal/e164"
)

// pinNumber is a virtual number of acme's with PINs, as a store keeps it: whose
// wrong entries there are, and which allocations a PIN finds.
type pinNumber struct {
	allocations []Allocation
	tries       map[TriesOf]Tries
}

func (n *pinNumber) lookUp(caller e164.Number, pin PIN, now time.Time) PINCase {
	c := PINCase{Route: routeTo()}
	c.PINs = true
	for _, a := range n.allocations {
		if slices.Contains(a.PINs(), pin) {
			c.Found = append(c.Found, a)
		}
		if a.VirtualNumber != vn(1) || a.Tenant != "acme" || a.Status(now) != Active || len(a.PINs()) == 0 || !slices.Contains(a.Parties(), caller) {
			continue
		}
		c.Party = append(c.Party, PartyTries{a.ID, most(a), n.tries[TriesOf{vn(1), a.ID, caller}]})
	}
	if len(c.Party) == 0 {
		c.Other = n.tries[TriesOf{vn(1), "", caller}]
	}
	return c
}

func most(a Allocation) int {
	if a.Product() == GreenVN {
		return DefaultPINAttempts
	}
	return a.MaxPINAttempts
}

// enter judges an entry and counts it.
func (n *pinNumber) enter(caller e164.Number, pin PIN, now time.Time) PINVerdict {
	v := JudgePIN(n.lookUp(caller, pin, now), caller, pin, now)
	for _, k := range v.Count {
		t := n.tries[k]
		if !now.Before(t.Last.Add(k.Forgets())) {
			t.Wrong = 0
		}
		n.tries[k] = Tries{t.Wrong + 1, now}
	}
	return v
}

func newPINNumber(list ...Allocation) *pinNumber {
	return &pinNumber{list, map[TriesOf]Tries{}}
}

var withheld e164.Number

// pinCases are numbers with one allocation each: 1, 2 → 3, 4.
func pinCases(t testing.TB) map[string]Allocation {
	pin := greenpin(t, Draft{From: people(1, 2), To: people(3, 4)})
	unset := greenpin(t, Draft{From: people(1, 2)})
	plain := active(t, Draft{From: people(1, 2), To: people(3, 4)})
	fallback := plain
	fallback.PIN, fallback.ToPIN = "4801", "5913"
	oneSided := active(t, Draft{From: people(1, 2), To: people(3, 4), Usage: OneWay})
	oneSided.PIN = "4801"
	bothPINs := oneSided
	bothPINs.ToPIN = "5913"
	deleted, _ := pin.End(EndedByAPI, noon)
	elsewhere, foreign := pin, pin
	elsewhere.VirtualNumber, foreign.Tenant = vn(2), "zeta"
	return map[string]Allocation{"pin": pin, "unset": unset, "plain": plain, "fallback": fallback, "oneway": oneSided,
		"oneway, both": bothPINs, "deleted": deleted, "elsewhere": elsewhere, "foreign": foreign}
}

func TestWhomAPINRings(t *testing.T) {
	cases := pinCases(t)
	over := noon.Add(time.Hour)
	for _, c := range []struct {
		name, on string
		caller   e164.Number
		pin      PIN
		now      time.Time
		want     []e164.Number
		way      Direction
		why      Refusal
	}{
		{"from calls", "pin", person(1), "4801", noon, people(3, 4), FromCalls, ""},
		{"to calls", "pin", person(4), "4801", noon, people(1, 2), ToCalls, ""},
		{"an unknown caller", "pin", person(9), "4801", noon, people(1, 2), ToCalls, ""},
		{"withheld", "pin", withheld, "4801", noon, people(1, 2), ToCalls, ""},
		{"just in time", "pin", person(1), "4801", over.Add(-1), people(3, 4), FromCalls, ""},
		{"from calls, nobody to ring", "unset", person(1), "4801", noon, nil, FromCalls, ""},
		{"unknown calls, no to", "unset", person(9), "4801", noon, people(1, 2), ToCalls, ""},
		{"wrong", "pin", person(1), "4802", noon, nil, "", RefusedPIN},
		{"longer", "pin", person(1), "48010", noon, nil, "", RefusedPIN},
		{"none", "pin", person(1), "", noon, nil, "", RefusedPIN},
		{"expired", "pin", person(1), "4801", over, nil, "", RefusedPIN},
		{"deleted", "deleted", person(1), "4801", noon, nil, "", RefusedPIN},
		{"of another number", "elsewhere", person(1), "4801", noon, nil, "", RefusedPIN},
		{"of another tenant", "foreign", person(1), "4801", noon, nil, "", RefusedPIN},
		{"from's PIN from another phone", "fallback", person(9), "4801", noon, people(3, 4), FromCalls, ""},
		{"to's PIN from another phone", "fallback", person(9), "5913", noon, people(1, 2), ToCalls, ""},
		{"from's PIN, withheld", "fallback", withheld, "4801", noon, people(3, 4), FromCalls, ""},
		{"to's PIN, withheld", "fallback", withheld, "5913", noon, people(1, 2), ToCalls, ""},
		{"from's PIN at to's phone", "fallback", person(3), "4801", noon, people(4), FromCalls, ""},
		{"to's PIN at from's phone", "fallback", person(1), "5913", noon, people(2), ToCalls, ""},
		{"no PIN allowed", "plain", person(9), "", noon, nil, "", RefusedPIN},
		{"oneway, from's PIN", "oneway", person(9), "4801", noon, people(3, 4), FromCalls, ""},
		{"oneway, to's PIN", "oneway, both", person(9), "5913", noon, nil, "", RefusedPIN},
	} {
		v := newPINNumber(cases[c.on]).enter(c.caller, c.pin, c.now)
		if v.Refusal != c.why || !slices.Equal(v.Plan.Targets, c.want) || v.Plan.Direction != c.way {
			t.Errorf("%s: %q, %v %s", c.name, v.Refusal, Texts(v.Plan.Targets), v.Plan.Direction)
		}
		if opened := v.Refusal == ""; opened != (v.Plan.Allocation.ID != "") || opened != (len(v.Count) == 0) || opened && v.Left < 1 {
			t.Errorf("%s: %+v", c.name, v)
		}
		if p := v.Plan; v.Refusal == "" && (p.VirtualNumber != vn(1) || p.Caller != c.caller || p.Tenant.ID != "acme" ||
			p.RingEach != 20*time.Second || p.RingTotal != time.Minute) {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestAPINThatTwoAllocationsClaimOpensNeither(t *testing.T) {
	a := pinCases(t)["pin"]
	b := a
	b.ID = "gp_2"
	if v := newPINNumber(a, b).enter(person(1), "4801", noon); v.Refusal != RefusedPIN {
		t.Errorf("%+v", v)
	}
}

func TestWhoseWrongEntryItIs(t *testing.T) {
	one := greenpin(t, Draft{From: people(1, 2), To: people(3)})
	two := greenpin(t, Draft{From: people(1), To: people(4), MaxPINAttempts: 5})
	two.ID, two.PIN = "gp_2", "7062"
	over := greenpin(t, Draft{From: people(5), To: people(6), Duration: 300 * time.Second})
	over.ID, over.PIN = "gp_3", "2649"
	for name, c := range map[string]struct {
		caller e164.Number
		want   []TriesOf
		left   int
	}{
		"a party":               {person(2), []TriesOf{{vn(1), "gp_1", person(2)}}, 2},
		"of the other side":     {person(3), []TriesOf{{vn(1), "gp_1", person(3)}}, 2},
		"a party of two":        {person(1), []TriesOf{{vn(1), "gp_1", person(1)}, {vn(1), "gp_2", person(1)}}, 4},
		"who may more":          {person(4), []TriesOf{{vn(1), "gp_2", person(4)}}, 4},
		"a party no more":       {person(5), []TriesOf{{vn(1), "", person(5)}}, 2},
		"a stranger":            {person(9), []TriesOf{{vn(1), "", person(9)}}, 2},
		"who hides his number":  {withheld, []TriesOf{{vn(1), "", withheld}}, 9},
		"another of the number": {vn(1), []TriesOf{{vn(1), "", vn(1)}}, 2},
	} {
		v := newPINNumber(one, two, over).enter(c.caller, "1358", noon.Add(300*time.Second))
		if v.Refusal != RefusedPIN || !slices.Equal(v.Count, c.want) || v.Left != c.left {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestWhoHasUsedUpHisEntriesIsRefusedWhateverHeEnters(t *testing.T) {
	pin := pinCases(t)["pin"]
	for name, c := range map[string]struct {
		caller  e164.Number
		most    int
		forgets time.Duration
	}{
		"a party":    {person(1), 3, time.Hour},
		"a stranger": {person(9), 3, 24 * time.Hour},
		"withheld":   {withheld, 10, time.Hour},
	} {
		a := pin
		a.ExpiresAt = noon.Add(100 * time.Hour)
		n := newPINNumber(a)
		for i := range c.most {
			if v := n.enter(c.caller, "1358", noon); v.Refusal != RefusedPIN || v.Left != c.most-i-1 {
				t.Errorf("%s: entry %d: %+v", name, i, v)
			}
			if i < c.most-1 { // a right one forgets none and is none
				if v := n.enter(c.caller, "4801", noon); v.Refusal != "" || v.Left != c.most-i-1 {
					t.Errorf("%s: right after %d: %+v", name, i, v)
				}
			}
		}
		for _, later := range []time.Duration{0, time.Minute, c.forgets / 2, c.forgets - 1, -time.Hour} {
			for _, p := range []PIN{"4801", "1358"} {
				if v := n.enter(c.caller, p, noon.Add(later)); v.Refusal != RefusedPINLocked || v.Left != 0 || v.Count != nil || v.Plan.Allocation.ID != "" {
					t.Errorf("%s: %v later: %+v", name, later, v)
				}
			}
		}
		if v := n.enter(c.caller, "4801", noon.Add(c.forgets)); v.Refusal != "" || v.Left != c.most {
			t.Errorf("%s: when they are forgotten: %+v", name, v)
		}
		if v := n.enter(c.caller, "1358", noon.Add(c.forgets)); v.Refusal != RefusedPIN || v.Left != c.most-1 {
			t.Errorf("%s: begins anew with %+v", name, v)
		}
	}
}

// Each wrong entry puts the end of the window off: they are forgotten together.
func TestWrongEntriesAreForgottenAfterTheLast(t *testing.T) {
	a := pinCases(t)["pin"]
	a.ExpiresAt = noon.Add(100 * time.Hour)
	n := newPINNumber(a)
	n.enter(person(1), "1358", noon)
	n.enter(person(1), "1358", noon.Add(59*time.Minute))
	if v := n.enter(person(1), "1358", noon.Add(118*time.Minute)); v.Refusal != RefusedPIN || v.Left != 0 {
		t.Errorf("the third: %+v", v)
	}
	if v := n.enter(person(1), "4801", noon.Add(177*time.Minute)); v.Refusal != RefusedPINLocked {
		t.Errorf("the fourth: %+v", v)
	}
}

// A party of two allocations who has used up what one of them gives goes on in
// the other, and does not get into the first.
func TestOnesSpentEntriesInOneAllocationCloseThatOne(t *testing.T) {
	one := greenpin(t, Draft{From: people(1), To: people(3), MaxPINAttempts: 1})
	two := greenpin(t, Draft{From: people(1), To: people(4), MaxPINAttempts: 2})
	two.ID, two.PIN = "gp_2", "7062"
	n := newPINNumber(one, two)
	n.enter(person(1), "1358", noon)
	if v := n.enter(person(1), "4801", noon); v.Refusal != RefusedPINLocked || v.Plan.Allocation.ID != "" {
		t.Errorf("the spent one: %+v", v)
	}
	if v := n.enter(person(1), "7062", noon); v.Refusal != "" || v.Plan.Allocation.ID != "gp_2" {
		t.Errorf("the other: %+v", v)
	}
	n.enter(person(1), "1358", noon)
	if v := n.enter(person(1), "7062", noon); v.Refusal != RefusedPINLocked {
		t.Errorf("both spent: %+v", v)
	}
}

func TestTheWrongEntriesOfStrangersAreRememberedLongest(t *testing.T) {
	for name, c := range map[string]struct {
		whose TriesOf
		want  time.Duration
	}{"a party": {TriesOf{vn(1), "gp_1", person(1)}, time.Hour}, "a stranger": {TriesOf{vn(1), "", person(1)}, 24 * time.Hour},
		"withheld": {TriesOf{vn(1), "", withheld}, time.Hour}} {
		if got := c.whose.Forgets(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
