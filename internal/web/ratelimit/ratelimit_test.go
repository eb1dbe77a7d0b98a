package ratelimit_test

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/web/ratelimit"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func limit(t interface{ Fatal(...any) }, perSecond float64, burst int) ratelimit.Limit {
	l, err := ratelimit.NewLimit(perSecond, burst)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestABurstPassesAndThenTheSustainedRate(t *testing.T) {
	l := limit(t, 2, 3) // one each 500 ms
	var s ratelimit.State
	const ms = time.Millisecond
	for i, step := range []struct {
		at   time.Duration
		want ratelimit.Decision
	}{
		{0, ratelimit.Decision{Allowed: true, Remaining: 2, Reset: 500 * ms}},
		{0, ratelimit.Decision{Allowed: true, Remaining: 1, Reset: 1000 * ms}},
		{0, ratelimit.Decision{Allowed: true, Remaining: 0, Reset: 1500 * ms}},
		{0, ratelimit.Decision{RetryAfter: 500 * ms, Reset: 1500 * ms}},
		{400 * ms, ratelimit.Decision{RetryAfter: 100 * ms, Reset: 1100 * ms}},
		{500 * ms, ratelimit.Decision{Allowed: true, Remaining: 0, Reset: 1500 * ms}},
		{2000 * ms, ratelimit.Decision{Allowed: true, Remaining: 2, Reset: 500 * ms}},
		{time.Hour, ratelimit.Decision{Allowed: true, Remaining: 2, Reset: 500 * ms}},
	} {
		var got ratelimit.Decision
		if s, got = ratelimit.Take(s, l, start.Add(step.at)); got != step.want {
			t.Errorf("step %d at %v: got %+v, want %+v", i, step.at, got, step.want)
		}
	}
}

func TestLimitsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, c := range []struct {
		perSecond float64
		burst     int
	}{
		{0, 1}, {-1, 1}, {math.NaN(), 1}, {math.Inf(1), 1}, {2e9, 1}, {math.SmallestNonzeroFloat64, 1},
		{1, 0}, {1, -1}, {1, math.MaxInt}, {0.001, 1_000_000},
	} {
		if l, err := ratelimit.NewLimit(c.perSecond, c.burst); err == nil {
			t.Errorf("%v a second, burst %d was taken: %+v", c.perSecond, c.burst, l)
		}
	}
}

func TestTheZeroLimitLetsNothingPass(t *testing.T) {
	if _, d := ratelimit.Take(ratelimit.State{}, ratelimit.Limit{}, start); d.Allowed || d.RetryAfter <= 0 {
		t.Errorf("got %+v", d)
	}
	m := ratelimit.NewMemory[string](1)
	if d := m.Take("a", ratelimit.Limit{}, start); d.Allowed || m.Len() != 0 {
		t.Errorf("got %+v, %d keys kept", d, m.Len())
	}
}

func TestAClockThatStepsBackOnlyMakesItStricter(t *testing.T) {
	l := limit(t, 1, 2)
	s, _ := ratelimit.Take(ratelimit.State{}, l, start)
	_, d := ratelimit.Take(s, l, start.Add(-time.Minute))
	if d.Allowed || d.RetryAfter != time.Minute {
		t.Errorf("got %+v", d)
	}
}

// drawnLimit gives the limit and what it was made of.
func drawnLimit(t *rapid.T) (l ratelimit.Limit, perSecond float64, burst int) {
	perSecond = rapid.Float64Range(0.01, 5000).Draw(t, "per second")
	burst = rapid.IntRange(1, 50).Draw(t, "burst")
	return limit(t, perSecond, burst), perSecond, burst
}

// gap draws a time between two requests: none, around the limit's own
// interval, or anything.
func gap(t *rapid.T, perSecond float64) time.Duration {
	interval := int64(float64(time.Second) / perSecond)
	return time.Duration(rapid.OneOf(
		rapid.Just(int64(0)),
		rapid.Int64Range(0, 2*interval),
		rapid.Int64Range(0, int64(time.Hour)),
	).Draw(t, "gap"))
}

// withinBound fails when in any stretch between two of the times more passed
// than burst + rate·t.
func withinBound(t *rapid.T, passed []time.Time, perSecond float64, burst int) {
	for i := range passed {
		for j := i; j < len(passed); j++ {
			most := float64(burst) + perSecond*passed[j].Sub(passed[i]).Seconds()
			if n := j - i + 1; float64(n) > most+1e-9 {
				t.Fatalf("%d passed within %v, at most %v may", n, passed[j].Sub(passed[i]), most)
			}
		}
	}
}

func TestNoStretchOfTimeLetsMorePassThanBurstAndRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, perSecond, burst := drawnLimit(t)
		var s ratelimit.State
		var passed []time.Time
		now := start
		for range rapid.IntRange(1, 150).Draw(t, "requests") {
			now = now.Add(gap(t, perSecond))
			var d ratelimit.Decision
			if s, d = ratelimit.Take(s, l, now); d.Allowed {
				passed = append(passed, now)
			}
		}
		withinBound(t, passed, perSecond, burst)
	})
}

func TestWhatADecisionTellsTheClientIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, perSecond, burst := drawnLimit(t)
		var s ratelimit.State
		now := start
		for range rapid.IntRange(1, 40).Draw(t, "requests") {
			now = now.Add(gap(t, perSecond))
			before := s
			var d ratelimit.Decision
			s, d = ratelimit.Take(s, l, now)
			if !d.Allowed {
				if s != before || d.Remaining != 0 || d.RetryAfter <= 0 {
					t.Fatalf("a refusal: %+v, state %v to %v", d, before, s)
				}
				if _, early := ratelimit.Take(s, l, now.Add(d.RetryAfter-1)); early.Allowed {
					t.Fatalf("one passed before RetryAfter %v", d.RetryAfter)
				}
				if _, late := ratelimit.Take(s, l, now.Add(d.RetryAfter)); !late.Allowed {
					t.Fatalf("none passed after RetryAfter %v", d.RetryAfter)
				}
				continue
			}
			if n := passAt(s, l, now); n != d.Remaining {
				t.Fatalf("%d more passed, Remaining said %d", n, d.Remaining)
			}
			if n := passAt(s, l, now.Add(d.Reset)); n != burst {
				t.Fatalf("%d passed after Reset, want the burst of %d", n, burst)
			}
		}
	})
}

// passAt counts how many requests pass at one moment.
func passAt(s ratelimit.State, l ratelimit.Limit, now time.Time) int {
	for n := 0; ; n++ {
		var d ratelimit.Decision
		if s, d = ratelimit.Take(s, l, now); !d.Allowed {
			return n
		}
	}
}

func TestTheSustainedRateIsReachedByOneWhoKeepsToIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, perSecond, _ := drawnLimit(t)
		interval := time.Duration(math.Ceil(float64(time.Second) / perSecond))
		var s ratelimit.State
		for i := range 100 {
			var d ratelimit.Decision
			if s, d = ratelimit.Take(s, l, start.Add(time.Duration(i)*interval)); !d.Allowed {
				t.Fatalf("request %d of a steady sender was refused", i)
			}
		}
	})
}

func TestMemoryKeepsItsSizeAndTheBoundOfEveryKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		m := ratelimit.NewMemory[int](size)
		type kept struct {
			limit     ratelimit.Limit
			perSecond float64
			burst     int
			passed    []time.Time
		}
		keys := make([]kept, 8)
		for i := range keys {
			keys[i].limit, keys[i].perSecond, keys[i].burst = drawnLimit(t)
		}
		now := start
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			k := &keys[rapid.IntRange(0, len(keys)-1).Draw(t, "key")]
			now = now.Add(gap(t, k.perSecond))
			if m.Take(int(k.perSecond*1e6), k.limit, now).Allowed {
				k.passed = append(k.passed, now)
			}
			if m.Len() > size {
				t.Fatalf("%d keys kept, at most %d may", m.Len(), size)
			}
		}
		for _, k := range keys {
			withinBound(t, k.passed, k.perSecond, k.burst)
		}
	})
}

func TestAFullMemoryRefusesNewKeysUntilOneIsFullAgain(t *testing.T) {
	l := limit(t, 1, 1)
	m := ratelimit.NewMemory[string](2)
	for i, key := range []string{"a", "b"} {
		if d := m.Take(key, l, start.Add(time.Duration(i)*100*time.Millisecond)); !d.Allowed {
			t.Fatalf("%s: %+v", key, d)
		}
	}
	now := start.Add(200 * time.Millisecond)
	if d := m.Take("c", l, now); d.Allowed || d.RetryAfter != 800*time.Millisecond {
		t.Errorf("a third key: %+v", d)
	}
	if d := m.Take("c", l, now.Add(800*time.Millisecond)); !d.Allowed {
		t.Errorf("a third key, once the first is full again: %+v", d)
	}
	if d := m.Take("b", l, now.Add(800*time.Millisecond)); d.Allowed {
		t.Error("the second key was forgotten with a debt")
	}
}

func TestManyGoroutinesTogetherGetNoMoreThanTheBurst(t *testing.T) {
	l := limit(t, 0.001, 100)
	m := ratelimit.NewMemory[string](10)
	var mu sync.Mutex
	passed := map[string]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				key := fmt.Sprint(i % 2)
				if m.Take(key, l, start).Allowed {
					mu.Lock()
					passed[key]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if passed["0"] != 100 || passed["1"] != 100 {
		t.Errorf("passed %v, want 100 each", passed)
	}
}

func BenchmarkTake(b *testing.B) {
	l := limit(b, 1e6, 100)
	m := ratelimit.NewMemory[int](10_000)
	now := start
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Microsecond)
		m.Take(i%20_000, l, now)
	}
}
