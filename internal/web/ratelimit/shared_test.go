package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/web/ratelimit"
)

// ledger is one of several nodes in this process.
type ledger struct {
	mu     sync.Mutex
	states map[string]ratelimit.State
	asked  int
	away   bool
	hangs  chan struct{} // nil: it does not
}

func newLedger() *ledger { return &ledger{states: map[string]ratelimit.State{}} }

func (g *ledger) Lend(_ context.Context, key string, l ratelimit.Limit, n int, now time.Time) (lent int, s ratelimit.State, err error) {
	if g.hangs != nil {
		<-g.hangs
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	if g.away {
		return 0, s, errors.New("the ledger is away")
	}
	for s = g.states[key]; lent < n; lent++ {
		var d ratelimit.Decision
		if s, d = ratelimit.Take(s, l, now); !d.Allowed {
			break
		}
	}
	g.states[key] = s
	return lent, s, nil
}

func sharing(t *testing.T, g ratelimit.Ledger, n int) (nodes []*ratelimit.Shared) {
	for range n {
		s := ratelimit.NewShared(g)
		t.Cleanup(s.Close)
		nodes = append(nodes, s)
	}
	return nodes
}

func TestThreeNodesTogetherLetNoMorePassThanBurstAndRateAndAllOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLedger()
		l := limit(t, 50, 200)
		begun := time.Now()
		var passed atomic.Int64
		var wg sync.WaitGroup
		for _, s := range sharing(t, g, 3) {
			for range 4 { // clients that never rest
				wg.Go(func() {
					for time.Since(begun) < 10*time.Second {
						d := s.Take(t.Context(), "acme", l, time.Now())
						if d.Allowed {
							passed.Add(1)
							continue
						}
						<-time.After(d.RetryAfter)
					}
				})
			}
		}
		wg.Wait()
		most := int64(200 + 50*time.Since(begun).Seconds())
		if n := passed.Load(); n > most || n < most-20 {
			t.Errorf("%d passed, %d may", n, most)
		}
	})
}

func TestAFewRequestsAreTakenAheadAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLedger()
		l := limit(t, 1000, 2000)
		s := sharing(t, g, 1)[0]
		for i := range 1000 {
			if d := s.Take(t.Context(), "acme", l, time.Now()); !d.Allowed || d.Remaining != 2000-i-1 {
				t.Fatalf("request %d: %+v", i, d)
			}
		}
		if g.asked > 11 {
			t.Errorf("asked %d times", g.asked)
		}
	})
}

func TestWhoHasNoRequestsLeftIsRefusedWithoutAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLedger()
		l := limit(t, 1, 3)
		s := sharing(t, g, 1)[0]
		for i := range 100 {
			d := s.Take(t.Context(), "acme", l, time.Now())
			if d.Allowed != (i < 3) || (i >= 3 && d.RetryAfter != time.Second) {
				t.Fatalf("request %d: %+v", i, d)
			}
		}
		if g.asked != 3 {
			t.Errorf("asked %d times", g.asked)
		}
		<-time.After(time.Second)
		if d := s.Take(t.Context(), "acme", l, time.Now()); !d.Allowed {
			t.Errorf("a second later: %+v", d)
		}
	})
}

func TestWhatWasTakenAheadIsNotGoodForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLedger()
		l := limit(t, 100, 100)
		s := sharing(t, g, 1)[0]
		for range 3 {
			if d := s.Take(t.Context(), "acme", l, time.Now()); !d.Allowed {
				t.Fatalf("%+v", d)
			}
			<-time.After(time.Second)
		}
		if g.asked != 3 {
			t.Errorf("asked %d times", g.asked)
		}
	})
}

func TestWithoutALedgerEachNodeCountsForItselfAndNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLedger()
		l := limit(t, 1, 2)
		s := sharing(t, g, 1)[0]
		expect := func(want bool, within time.Duration) {
			t.Helper()
			begun := time.Now()
			if d := s.Take(t.Context(), "acme", l, time.Now()); d.Allowed != want || time.Since(begun) > within {
				t.Fatalf("%+v after %v", d, time.Since(begun))
			}
		}
		g.away = true
		expect(true, 0)
		expect(true, 0)
		expect(false, 0)
		g.away, g.hangs = false, make(chan struct{})
		<-time.After(time.Minute)
		expect(true, time.Second)
		close(g.hangs)
		synctest.Wait()
		<-time.After(time.Minute)
		expect(true, 0)
	})
}

func TestWhatIsKnownOfKeysThatHaveRestedIsForgottenByAndBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLedger()
		l := limit(t, 10, 20)
		s := sharing(t, g, 1)[0]
		const once = 1000
		for i := range once {
			s.Take(t.Context(), fmt.Sprint("tenant ", i), l, time.Now())
		}
		for range 20 { // and one that owes
			s.Take(t.Context(), "busy", limit(t, 0.01, 20), time.Now())
		}
		if n := s.Len(); n != once+1 {
			t.Fatalf("%d keys are known", n)
		}
		<-time.After(10 * time.Second)
		for i := range once { // new ones come as fast as the old ones go
			s.Take(t.Context(), fmt.Sprint("another ", i), l, time.Now())
		}
		if n := s.Len(); n > once+2 {
			t.Errorf("%d keys are known of %d that have not rested", n, once+1)
		}
		<-time.After(10 * time.Second)
		for range once {
			s.Take(t.Context(), "acme", l, time.Now())
		}
		if n := s.Len(); n != 2 {
			t.Errorf("%d keys are known of 2 that have not rested", n)
		}
		asked := g.asked
		if d := s.Take(t.Context(), "busy", limit(t, 0.01, 20), time.Now()); d.Allowed || g.asked != asked {
			t.Errorf("who owes was forgotten: %+v", d)
		}
	})
}
