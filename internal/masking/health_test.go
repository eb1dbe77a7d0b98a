package masking

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func healthStart() time.Time { return time.Date(2024, 6, 15, 9, 30, 0, 0, time.UTC) }

// shown are legs a minute apart: of each letter one, a capital was refused (B by 608,
// F by 403, D by 603, U by 607), in the call of one of several allocations in turn.
func shown(letters string, pairs int) (legs []ShownLeg) {
	blames := map[rune]Blame{'B': BlameBlocked, 'F': BlameForbidden, 'D': BlameDeclined, 'U': BlameUnwanted}
	for i, l := range letters {
		legs = append(legs, ShownLeg{At: healthStart().Add(time.Duration(i) * time.Minute), Blame: blames[l], Of: AllocationID(fmt.Sprint("gvn_", i%pairs))})
	}
	return legs
}

func TestANumberIsDegradedWhenNetworksRefuseItAndOkAgainByItself(t *testing.T) {
	for _, c := range []struct {
		legs   string
		pairs  int
		want   Health
		reason Blame
		turned bool
	}{
		{"", 3, HealthOK, "", false},
		{"....................", 3, HealthOK, "", false},
		{"BBBB", 4, HealthOK, "", false},
		{"BBBBB", 2, HealthOK, "", false}, // of two pairs: theirs, not the number's
		{"BBBBB", 3, HealthDegraded, BlameBlocked, true},
		{"....................BBBBB", 3, HealthDegraded, BlameBlocked, true}, // what was before the first does not help
		{"B.B.B.B.B", 3, HealthDegraded, BlameBlocked, true},
		{"B..B..B..B..B..B..B", 3, HealthOK, "", false}, // most get through
		{"FFDDDU", 3, HealthDegraded, BlameDeclined, true},
		{"BBBBB...............", 3, HealthOK, "", true}, // three of four got through since
		{"BBBBB..............", 3, HealthDegraded, BlameBlocked, true},
		{"BBBBB...............BBBBB", 3, HealthOK, "", true}, // of the last 20 half has to be refused
		{"BBBBB...............BBBBBBBBBB", 3, HealthDegraded, BlameBlocked, true},
	} {
		h, turned := NumberHealth{}.After(shown(c.legs, c.pairs))
		if h.Status() != c.want || h.Reason != c.reason || turned != c.turned {
			t.Errorf("%q of %d pairs: %s for %q, turned: %v", c.legs, c.pairs, h.Status(), h.Reason, turned)
		}
	}
	h, _ := NumberHealth{}.After(shown("BBBBB", 3))
	last := h.Legs[4].At
	if h.Since != last {
		t.Errorf("degraded since %v, want %v", h.Since, last)
	}
	if still := h.At(last.Add(healthWindow - 1)); still.Status() != HealthDegraded {
		t.Error("ok before a day is over")
	}
	if over := h.At(last.Add(healthWindow)); !reflect.DeepEqual(over, NumberHealth{}) {
		t.Errorf("a day after the last refusal it is %+v", over)
	}
}

func TestOnlyWhatSpeaksOfTheNumberIsJudged(t *testing.T) {
	for _, c := range []struct {
		a    Attempt
		want string // "" = says nothing
	}{
		{Attempt{Rang: true, Answered: true, Status: 200}, "through"},
		{Attempt{Rang: true, Status: 487}, "through"},
		{Attempt{Rang: true, Status: 603}, "through"}, // a person declined
		{Attempt{Rang: true, Status: 403}, "through"},
		{Attempt{Status: 486}, "through"},
		{Attempt{Status: 600}, "through"},
		{Attempt{Status: 403}, "forbidden"},
		{Attempt{Status: 603}, "declined"},
		{Attempt{Status: 607}, "unwanted"},
		{Attempt{Rang: true, Status: 607}, "unwanted"}, // a person reports it
		{Attempt{Rang: true, Status: 608}, "blocked"},
		{Attempt{}, ""},
		{Attempt{Status: 404}, ""},
		{Attempt{Status: 408}, ""},
		{Attempt{Status: 433}, ""},
		{Attempt{Status: 480}, ""},
		{Attempt{Status: 487}, ""},
		{Attempt{Status: 503}, ""},
	} {
		got := ""
		if legs := (Call{Attempts: []Attempt{c.a}}).ShownLegs(); len(legs) == 1 {
			if got = string(legs[0].Blame); got == "" {
				got = "through"
			}
		}
		if got != c.want {
			t.Errorf("%+v says %q of its number, want %q", c.a, got, c.want)
		}
	}
}

func TestTheHealthOfANumberFollowsItsRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blames := rapid.SampledFrom([]Blame{"", "", BlameBlocked, BlameForbidden, BlameDeclined, BlameUnwanted})
		var h NumberHealth
		now := healthStart()
		var all []ShownLeg
		for range rapid.IntRange(0, 80).Draw(t, "legs") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3*3600).Draw(t, "seconds")) * time.Second)
			l := ShownLeg{At: now, Blame: blames.Draw(t, "blame"), Of: AllocationID(fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "pair")))}
			all = append(all, l)
			was := h.At(now)
			next, turned := h.After([]ShownLeg{l})
			if turned != (was.Status() == HealthOK && next.Status() == HealthDegraded) {
				t.Fatalf("turned: %v from %+v to %+v", turned, was, next)
			}
			if turned && (l.Blame == "" || next.Refused() < 5 || 2*next.Refused() < len(next.Legs) || next.pairs() < 3 || next.Reason == "" || next.Since != now) {
				t.Fatalf("degraded without reason: %+v", next)
			}
			if next.Status() == HealthDegraded && 4*next.Refused() <= len(next.Legs) {
				t.Fatalf("still degraded: %+v", next)
			}
			if len(next.Legs) > 20 || (len(next.Legs) > 0 && now.Sub(next.Legs[0].At) >= healthWindow) {
				t.Fatalf("too much is kept: %+v", next)
			}
			if next.Refused() == 0 && !reflect.DeepEqual(next, NumberHealth{}) {
				t.Fatalf("nothing speaks against it, and it is %+v", next)
			}
			h = next
		}
		// However the legs are told, the end is the same.
		cut := rapid.IntRange(0, len(all)).Draw(t, "cut")
		first, _ := NumberHealth{}.After(all[:cut])
		both, _ := first.After(all[cut:])
		if !reflect.DeepEqual(both, h) {
			t.Fatalf("told in two parts it is %+v, told one by one %+v", both, h)
		}
		if over := h.At(now.Add(healthWindow)); !reflect.DeepEqual(over, NumberHealth{}) {
			t.Fatalf("a day later it is %+v", over)
		}
	})
}
