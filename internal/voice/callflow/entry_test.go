package callflow

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// enters lets a caller enter a PIN on the number pinned.
func (d *desk) enters(caller e164.Number, pin masking.PIN) (masking.Ruling, int) {
	d.t.Helper()
	r, left, err := d.Enter(d.t.Context(), d.ask(pinned, caller), pin)
	if err != nil {
		d.t.Fatal(err)
	}
	return r, left
}

func TestAPINRingsTheOtherSideOfWhatItOpens(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		name   string
		caller e164.Number
		pin    masking.PIN
		id     masking.AllocationID
		want   []e164.Number
		way    masking.Direction
	}{
		{"from", alice, "4801", "gp_one", []e164.Number{bob}, masking.FromCalls},
		{"to", bob, "4801", "gp_one", []e164.Number{alice}, masking.ToCalls},
		{"another phone", stranger, "4801", "gp_one", []e164.Number{alice}, masking.ToCalls},
		{"withheld", hidden, "4801", "gp_one", []e164.Number{alice}, masking.ToCalls},
		{"a party of another allocation", carol, "4801", "gp_one", []e164.Number{alice}, masking.ToCalls},
		{"from, nobody to ring yet", carol, "70629", "gp_two", nil, masking.FromCalls},
	} {
		r, left := d.enters(c.caller, c.pin)
		if r.Refusal != "" || !slices.Equal(r.Plan.Targets, c.want) || r.Plan.Direction != c.way || r.Plan.Allocation.ID != c.id || left < 3 {
			t.Errorf("%s: %+v, %d left", c.name, r, left)
		}
		if p := r.Plan; p.Tenant.ID != "acme" || p.VirtualNumber != pinned || p.Caller != c.caller || p.RingTotal != time.Minute {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestWrongEntriesRunOutAndComeBack(t *testing.T) {
	d := newDesk(t)
	for _, want := range []int{2, 1, 0} {
		if r, left := d.enters(alice, "1358"); r.Refusal != masking.RefusedPIN || left != want || r.Plan.Targets != nil {
			t.Errorf("%q, %d left, want %d", r.Refusal, left, want)
		}
	}
	if r, left := d.enters(alice, "4801"); r.Refusal != masking.RefusedPINLocked || left != 0 || r.Plan.Targets != nil {
		t.Errorf("after the last: %+v, %d left", r, left)
	}
	for _, other := range []e164.Number{bob, carol, stranger, hidden} {
		if r, _ := d.enters(other, "4801"); r.Refusal != "" {
			t.Errorf("%v pays for it: %q", other, r.Refusal)
		}
	}
	d.now = start.Add(masking.PartyForgets - time.Millisecond)
	if r, _ := d.enters(alice, "4801"); r.Refusal != masking.RefusedPINLocked {
		t.Errorf("a moment too early: %q", r.Refusal)
	}
	d.now = start.Add(masking.PartyForgets) // when the allocation expires as well, so that she is a stranger
	if r, left := d.enters(alice, "4801"); r.Refusal != masking.RefusedPIN || left != masking.StrangerTries-1 {
		t.Errorf("expired: %q, %d left", r.Refusal, left)
	}
}

func TestAnEntryOnANumberThatHasLeftThePoolIsRefused(t *testing.T) {
	d := newDesk(t)
	r, left, err := d.Enter(t.Context(), d.ask(carol, alice), "4801") // carol's is no virtual number
	if err != nil || r.Refusal != masking.RefusedPIN || left != 0 || r.Plan.Targets != nil {
		t.Errorf("%+v, %d, %v", r, left, err)
	}
}

func TestTheLengthsOfPINsAreThoseThatAreLive(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		called e164.Number
		after  time.Duration
		want   []int
	}{{pinned, 0, []int{4, 5}}, {virtual, 0, nil}, {carol, 0, nil}, {pinned, time.Hour, nil}} {
		d.now = start.Add(c.after)
		if got, err := d.PINLengths(t.Context(), d.ask(c.called, alice)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v after %v: %v, %v", c.called, c.after, got, err)
		}
	}
}

// Whoever makes many calls at once would otherwise guess once in each of them
// before the first is counted.
func TestOfEntriesAtTheSameTimeOnlyAsManyAreJudgedAsThereAreLeft(t *testing.T) {
	for name, c := range map[string]struct {
		caller  e164.Number
		allowed int
	}{"a stranger": {stranger, masking.StrangerTries}, "a party": {alice, 3}, "withheld": {hidden, masking.AnonymousTries}} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			const n = 40
			type verdict struct {
				why  masking.Refusal
				left int
			}
			verdicts := make([]verdict, n)
			var all sync.WaitGroup
			for i := range n {
				ask := d.ask(pinned, c.caller)
				all.Go(func() {
					r, left, err := d.Enter(context.Background(), ask, "1358")
					if err != nil {
						t.Error(err)
					}
					verdicts[i] = verdict{r.Refusal, left}
				})
			}
			all.Wait()
			for left := range c.allowed {
				if !slices.Contains(verdicts, verdict{masking.RefusedPIN, left}) {
					t.Errorf("nobody was told that %d are left", left)
				}
			}
			judged := 0
			for _, v := range verdicts {
				if v.why == masking.RefusedPIN {
					judged++
				} else if v != (verdict{masking.RefusedPINLocked, 0}) {
					t.Errorf("%+v", v)
				}
			}
			if judged != c.allowed {
				t.Errorf("%d were judged", judged)
			}
		})
	}
}

func TestWithoutTheStoreNoEntryIsJudged(t *testing.T) {
	for name, fail := range map[string]func(*memory){
		"away": func(m *memory) { m.away = true }, "cannot write": func(m *memory) { m.full = true },
		"the count cannot be written": func(m *memory) { m.poison[""] = errAway },
	} {
		m := newMemory()
		m.carry(pinned, pinAllocation("gp_one", "4801", alice, bob))
		d, j := newDirector(m)
		d.clock = func() time.Time { return start }
		ask := masking.Ask{Call: "call_1", Called: pinned, Caller: alice}
		m.set(fail)
		if r, left, err := d.Enter(t.Context(), ask, "1358"); err == nil || r.Refusal != "" || r.Plan.Targets != nil || left != 0 {
			t.Errorf("%s: %+v, %d, %v", name, r, left, err)
		}
		m.set(func(m *memory) { m.away, m.full, m.poison[""] = false, false, nil })
		if r, left, err := d.Enter(t.Context(), ask, "1358"); err != nil || r.Refusal != masking.RefusedPIN || left != 2 {
			t.Errorf("%s, and back: %+v, %d, %v", name, r, left, err)
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A lost answer to the commit must not give a guess back.
func TestAnEntryWhoseCommitGaveNoAnswerIsCountedAndNotJudged(t *testing.T) {
	m := newMemory()
	m.carry(pinned, pinAllocation("gp_one", "4801", alice, bob))
	d, j := newDirector(m)
	d.clock = func() time.Time { return start }
	ask := masking.Ask{Call: "call_1", Called: pinned, Caller: stranger}
	m.set(func(m *memory) { m.forgets = 1 })
	if r, _, err := d.Enter(t.Context(), ask, "1358"); err == nil || r.Plan.Targets != nil {
		t.Errorf("judged: %+v", r)
	}
	m.set(func(m *memory) { m.again = 1 }) // and one that was tried twice is one
	if r, left, err := d.Enter(t.Context(), ask, "1358"); err != nil || r.Refusal != masking.RefusedPIN || left != 1 {
		t.Errorf("%+v, %d left, %v", r, left, err)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAPINIsJudgedByWhatIsThereNow(t *testing.T) {
	d := newDesk(t)
	d.update(func(ctx context.Context, tx store.Tx) error {
		a, err := tx.Allocation(ctx, "acme", "gp_one")
		if err != nil {
			return err
		}
		a, _ = a.End(masking.EndedByAPI, d.now)
		if err := tx.UpdateAllocation(ctx, a); err != nil {
			return err
		}
		return tx.Release(ctx, a.ID)
	})
	for _, who := range []e164.Number{alice, stranger} {
		if r, _ := d.enters(who, "4801"); r.Refusal != masking.RefusedPIN {
			t.Errorf("%v opens what was deleted: %q", who, r.Refusal)
		}
	}
}

// crowd is a number whose four digits are taken to 5 %, each allocation with
// people of its own.
func crowd(m *memory, random *rand.Rand) (taken []masking.Allocation) {
	drawn := map[masking.PIN]bool{}
	for len(taken) < masking.PINsBeforeLonger(4) {
		pin := masking.DrawPIN(4, random.Uint64())
		if pin.Trivial() || drawn[pin] {
			continue
		}
		drawn[pin] = true
		i := len(taken)
		a := pinAllocation(masking.AllocationID(fmt.Sprintf("gp_%03d", i)), pin, e164.MustParse(fmt.Sprintf("+9199%08d", 2*i)),
			e164.MustParse(fmt.Sprintf("+9199%08d", 2*i+1)))
		a.ExpiresAt = start.Add(1000 * time.Hour)
		taken = append(taken, a)
	}
	m.carry(pinned, taken...)
	return taken
}

// A hundred strangers guess for weeks on a number that is as full as one gets.
// Their guesses hit as often as the taken share of the space says, they get no
// more of them than three wrong ones a day, and no party is the worse for it.
func TestStrangersWhoHammerANumberHitByChanceAndLockNobodyOut(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	m := newMemory()
	d, j := newDirector(m)
	now := start
	d.clock = func() time.Time { return now }
	taken := crowd(m, random)
	const strangers, days, calls = 100, 20, 8
	judged, hits := 0, 0
	for day := range days {
		for i := range strangers * calls {
			ask := masking.Ask{Call: "call_1", Called: pinned, Caller: e164.MustParse(fmt.Sprintf("+9188%08d", i%strangers))}
			r, _, err := d.Enter(t.Context(), ask, masking.DrawPIN(4, random.Uint64()))
			switch {
			case err != nil:
				t.Fatal(err)
			case r.Refusal == "":
				hits, judged = hits+1, judged+1
			case r.Refusal == masking.RefusedPIN:
				judged++
			}
		}
		if wrong := judged - hits; wrong > (day+1)*strangers*masking.StrangerTries {
			t.Fatalf("after %d days %d wrong guesses were judged", day+1, wrong)
		}
		for _, a := range taken[day*len(taken)/days : (day+1)*len(taken)/days] {
			for _, party := range a.Parties() {
				r, left, err := d.Enter(t.Context(), masking.Ask{Call: "call_2", Called: pinned, Caller: party}, a.PIN)
				if err != nil || r.Refusal != "" || r.Plan.Allocation.ID != a.ID || left != 3 {
					t.Fatalf("a party's own entry: %q, %d left, %v", r.Refusal, left, err)
				}
			}
		}
		now = now.Add(24 * time.Hour)
	}
	share := float64(len(taken)) / 10_000
	sigma := math.Sqrt(share * (1 - share) / float64(judged))
	if got := float64(hits) / float64(judged); math.Abs(got-share) > 4*sigma || judged < days*strangers*masking.StrangerTries {
		t.Errorf("%d hits of %d judged: %.4f of them, and %.4f of the space is taken", hits, judged, got, share)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
