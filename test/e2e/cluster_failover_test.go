package e2e

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"tandem/internal/testkit/postgres"
	"tandem/internal/voice/phone"
)

var failovers = flag.Int("failovers", 1, "how often PostgreSQL's primary is killed under load; 5 at the most")

// TestAFailoverOfPostgreSQLLosesNothingAndCutsNoTalk kills the machine of the primary,
// whose synchronous standby takes its place by itself, while clients create allocations
// at two nodes and people talk through both.
func TestAFailoverOfPostgreSQLLosesNothingAndCutsNoTalk(t *testing.T) {
	pair := postgres.StartPair(t)
	c := newCluster(t, build(t), pair.Database(), 2)
	crowd := c.connect(c.nodes[0].p)
	crowd.known(c.nodes[1].p)
	w := newWriters(c)
	ended := 0
	for round := range *failovers {
		if round > 0 {
			pair.Revive()
		}
		ended += w.failover(pair, crowd, round)
	}
	c.ended(map[string]int{"caller_hung_up": ended})
	w.kept()
}

// failover kills the primary once, and tells how many calls there were.
func (w *writers) failover(pair *postgres.Pair, crowd *carriers, round int) (ended int) {
	t, c := w.t, w.cluster
	const each = 5
	var calls []*talk
	more := func(n int) {
		for range n {
			calls = append(calls, crowd.converse(c.nodes[len(calls)%len(c.nodes)].p, 25*round+len(calls)))
		}
	}
	more(2 * each * len(c.nodes))
	c.heard(calls)
	stop := w.begin(round)
	w.until(func() bool { return w.acked.Load() > 200 })
	killed := pair.KillPrimary()
	for i, n := range c.nodes {
		refused := crowd.dial(n.p, callerOf(calls[i]), nil)
		if end, err := refused.Ended(c.ctx); err != nil || end.Status != 503 {
			t.Errorf("a call while the database is away: %+v, %v", end, err)
		}
	}
	early := calls[:each*len(c.nodes)]
	var hungUp sync.WaitGroup
	for _, k := range early {
		hungUp.Go(func() { c.must(k.a.Hangup(c.ctx)) })
	}
	hungUp.Wait()
	c.heard(calls[len(early):])
	w.until(func() bool { return w.last.Load() > killed.UnixNano() })
	back := time.Since(killed)
	acked := w.acked.Load()
	w.until(func() bool { return w.acked.Load() > acked+200 })
	stop()
	more(len(c.nodes))
	c.heard(calls[len(early):])
	lost, packets, silence := interruption(calls[len(early):], killed)
	t.Logf("a create was acknowledged again %v after the kill; %d refused meanwhile, %d acknowledged in all; talks lost %d of %d packets, the longest wait for one was %v",
		back.Round(time.Millisecond), w.refusals.Load(), w.acked.Load(), lost, packets, silence.Round(time.Millisecond))
	if lost*100 > packets || silence > back/2 {
		t.Error("talks were interrupted")
	}
	c.hangUp(calls[len(early):], func(int) int { return 0 })
	return len(calls)
}

func callerOf(k *talk) string { return fmt.Sprintf("+91990000%04d", (k.hz[0]-400)/8) }

// interruption is what calls have missed since a moment: packets, and the longest time
// without one.
func interruption(calls []*talk, since time.Time) (lost, packets int, silence time.Duration) {
	for _, k := range calls {
		for _, side := range []*phone.Call{k.a, k.b} {
			h := side.Hearing()
			lost, packets = lost+h.Lost, packets+h.Packets
			var last time.Time
			for _, at := range side.Arrivals() {
				if at.After(since) && !last.IsZero() {
					silence = max(silence, at.Sub(last))
				}
				last = at
			}
		}
	}
	return lost, packets, silence
}
