package masking

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
)

// The PINs of these tests; the last two open nothing.
var somePINs = []PIN{"4801", "5913", "7062", "2649", "31807", "00952", "1358", "90417"}

// aNumberWithPINs has one to five allocations that meet each other's parties,
// some of them ended or somebody else's.
var aNumberWithPINs = rapid.Custom(func(t *rapid.T) []Allocation {
	pins := somePINs[:len(somePINs)-2]
	var list []Allocation
	for i := range rapid.IntRange(1, 3).Draw(t, "allocations") {
		a := Allocation{ID: AllocationID([]string{"gp_0", "gp_1", "gp_2"}[i]), Tenant: "acme", VirtualNumber: vn(1), Usage: TwoWay,
			MaxPINAttempts: rapid.IntRange(1, 4).Draw(t, "most"), PIN: pins[2*i], ExpiresAt: noon.Add(1000 * time.Hour)}
		all := rapid.Permutation(people(0, 1, 2, 3, 4, 5)).Draw(t, "people")
		a.From, a.To = all[:rapid.IntRange(1, 2).Draw(t, "from")], all[3:rapid.IntRange(3, 5).Draw(t, "to")]
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0: // GreenVN: the To is not empty there
			a.ID, a.MaxPINAttempts, a.To, a.ToPIN = "gvn"+a.ID[2:], 0, all[3:5], pins[2*i+1]
		case 1:
			a.ID, a.MaxPINAttempts, a.To, a.Usage = "gvn"+a.ID[2:], 0, all[3:5], OneWay
		}
		switch rapid.IntRange(0, 9).Draw(t, "fault") {
		case 0:
			a.ExpiresAt = noon
		case 1:
			a.EndedAt, a.EndReason = noon, EndedByAPI
		case 2:
			a.Tenant = "zeta"
		case 3:
			a.VirtualNumber = vn(2)
		}
		list = append(list, a)
	}
	return list
})

type entered struct {
	caller e164.Number
	pin    PIN
	at     time.Time
}

var someEntries = rapid.Custom(func(t *rapid.T) []entered {
	callers := append(people(0, 1, 2, 3, 4, 5, 8, 9), withheld)
	gaps := []time.Duration{0, 0, time.Second, time.Minute, 59*time.Minute + 59*time.Second, time.Hour, 23 * time.Hour, 24 * time.Hour}
	now := noon.Add(time.Second)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) entered {
		now = now.Add(rapid.SampledFrom(gaps).Draw(t, "gap"))
		return entered{rapid.SampledFrom(callers).Draw(t, "caller"), rapid.SampledFrom(somePINs).Draw(t, "pin"), now}
	}), 0, 60).Draw(t, "entries")
})

// What becomes of anybody's entries is the same whether others are there or not.
// Only those who withhold their number are one to us.
func TestNobodysEntriesChangeWhatAnotherMayDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, entries := aNumberWithPINs.Draw(t, "number"), someEntries.Draw(t, "steps")
		crowded := newPINNumber(list...)
		alone := map[e164.Number]*pinNumber{}
		for i, e := range entries {
			if alone[e.caller] == nil {
				alone[e.caller] = newPINNumber(list...)
			}
			among, alone := crowded.enter(e.caller, e.pin, e.at), alone[e.caller].enter(e.caller, e.pin, e.at)
			if !reflect.DeepEqual(among, alone) {
				t.Fatalf("entry %d: %+v among others, %+v alone", i, among, alone)
			}
		}
	})
}

func TestNobodyGetsMoreThanHisWrongEntriesAndHisOwnPINOpensUntilThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, entries := aNumberWithPINs.Draw(t, "number"), someEntries.Draw(t, "steps")
		n, wrong := newPINNumber(list...), map[e164.Number][]time.Time{} // the latter counted by the test
		for i, e := range entries {
			allowed, forgets := entriesOf(list, e.caller)
			made := wrong[e.caller]
			if len(made) > 0 && e.at.Sub(made[len(made)-1]) >= forgets {
				made = nil
			}
			want, left := RefusedPIN, allowed-len(made)-1
			a, right := opens(list, e.pin)
			switch {
			case len(made) >= allowed:
				want, left = RefusedPINLocked, 0
			case right && len(made) >= mostOf(a, e.caller, allowed):
				want, left = RefusedPINLocked, left+1
			case right:
				want, left = "", left+1
			}
			v := n.enter(e.caller, e.pin, e.at)
			if v.Refusal != want || v.Left != left || (want == RefusedPIN) != (len(v.Count) > 0) {
				t.Fatalf("entry %d after %d wrong ones of %d: %q, %d left; want %q, %d", i, len(made), allowed, v.Refusal, v.Left, want, left)
			}
			if v.Refusal == RefusedPIN {
				made = append(made, e.at)
			}
			wrong[e.caller] = made
		}
	})
}

// live are the allocations that the number really has.
func live(list []Allocation) []Allocation {
	return slices.DeleteFunc(slices.Clone(list), func(a Allocation) bool {
		return a.VirtualNumber != vn(1) || a.Tenant != "acme" || !a.EndedAt.IsZero() || !a.ExpiresAt.After(noon)
	})
}

// opens is the live allocation that a PIN opens.
func opens(list []Allocation, pin PIN) (Allocation, bool) {
	for _, a := range live(list) {
		if pin == a.PIN || pin == a.ToPIN {
			return a, true
		}
	}
	return Allocation{}, false
}

// entriesOf are how many wrong entries a caller has, and how long they count.
func entriesOf(list []Allocation, caller e164.Number) (allowed int, forgets time.Duration) {
	for _, a := range live(list) {
		if slices.Contains(a.Parties(), caller) {
			allowed = max(allowed, most(a))
		}
	}
	switch {
	case allowed > 0:
		return allowed, time.Hour
	case caller.IsZero():
		return 10, time.Hour
	}
	return 3, 24 * time.Hour
}

// mostOf is how many of them a caller may have made before a's PIN is closed to him.
func mostOf(a Allocation, caller e164.Number, allowed int) int {
	if slices.Contains(a.Parties(), caller) {
		return most(a)
	}
	return allowed
}

// Whatever a store would give: what is rung is the other side of what the PIN
// opens, and never the caller.
func TestAPINNeverRingsAWrongPhone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := PINCase{Route: routeTo(rapid.SliceOfN(rapid.Map(aNumberWithPINs, func(l []Allocation) Allocation { return l[0] }), 0, 2).Draw(t, "found")...)}
		caller := rapid.SampledFrom(append(people(0, 1, 2, 3, 4, 5, 9), withheld)).Draw(t, "caller")
		pin := rapid.SampledFrom(somePINs).Draw(t, "pin")
		v := JudgePIN(c, caller, pin, noon.Add(time.Second))
		if v.Refusal != "" {
			if v.Plan.Targets != nil || v.Plan.Allocation.ID != "" {
				t.Fatalf("refused, with %+v", v.Plan)
			}
			return
		}
		a := c.Found[0]
		side, way := a.From, ToCalls
		if a.Product() == GreenPin && slices.Contains(a.From, caller) || a.Product() == GreenVN && pin == a.PIN {
			side, way = a.To, FromCalls
		}
		want := slices.DeleteFunc(slices.Clone(side), func(n e164.Number) bool { return n == caller })
		switch {
		case len(c.Found) != 1 || len(live(c.Found)) != 1:
			t.Fatalf("opened one of %+v", c.Found)
		case pin != a.PIN && (pin != a.ToPIN || a.Usage == OneWay):
			t.Fatal("opened by another PIN")
		case !slices.Equal(v.Plan.Targets, want) || v.Plan.Direction != way || v.Plan.Allocation.ID != a.ID:
			t.Fatalf("rings %v, %s", Texts(v.Plan.Targets), v.Plan.Direction)
		case way == ToCalls && a.Usage == OneWay:
			t.Fatal("the silent side calls")
		}
	})
}
