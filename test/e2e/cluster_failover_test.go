package e2e

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/client"
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
	w := &writers{cluster: c, made: map[string]string{}, waited: make(chan struct{}, 1)}
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

// writers create allocations at all nodes, and remember what they were told.
type writers struct {
	*cluster
	waited                chan struct{} // has something when a create was acknowledged
	acked, refusals, last atomic.Int64  // last: when what was acknowledged was asked for

	mu      sync.Mutex
	made    map[string]string // party → id of his allocation
	without []string          // parties whose create nobody has repeated
}

// begin lets them work, until they are stopped and what they have begun is over.
func (w *writers) begin(round int) (stop func()) {
	const each = 4
	var (
		all  sync.WaitGroup
		done = make(chan struct{})
	)
	for i, n := range w.nodes {
		for k := range each {
			all.Go(func() { w.write(n, (round*len(w.nodes)+i)*each+k, done) })
		}
	}
	return func() {
		close(done)
		all.Wait()
	}
}

// write creates one allocation after the other. Every other one has an Idempotency-Key
// and is asked for until it is acknowledged, at the other node if need be.
func (w *writers) write(n *node, writer int, done <-chan struct{}) {
	at := slices.Index(w.nodes, n)
	for i := 0; ; i++ {
		in := client.NewAllocation{CallerIDNumber: virtual, From: []string{fmt.Sprintf("+9177%03d%05d", writer, i)},
			To: []string{fmt.Sprintf("+9166%03d%05d", writer, i)}}
		var repeated []client.Call
		if i%2 == 0 {
			repeated = append(repeated, client.Key(strconv.Itoa(writer)+"-"+strconv.Itoa(i)))
		}
		for !w.create(w.nodes[at], in, repeated) && len(repeated) > 0 && w.ctx.Err() == nil {
			at = (at + 1) % len(w.nodes)
			pass(50 * time.Millisecond)
		}
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond): // the machine is the talks' as well
		}
	}
}

func (w *writers) create(n *node, in client.NewAllocation, calls []client.Call) (acknowledged bool) {
	asked := time.Now()
	a, err := n.api.Load().CreateAllocation(w.ctx, "acme", in, calls...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		var problem *client.Error
		if !errors.As(err, &problem) || problem.Status != 503 || problem.RetryAfter <= 0 {
			w.t.Errorf("a create came to %v", err)
		}
		w.refusals.Add(1)
		if len(calls) == 0 {
			w.without = append(w.without, in.From[0])
		}
		return false
	}
	w.made[in.From[0]] = a.GreenVNID
	w.acked.Add(1)
	w.last.Store(asked.UnixNano())
	select {
	case w.waited <- struct{}{}:
	default:
	}
	return true
}

// until waits until something holds of what was acknowledged.
func (w *writers) until(holds func() bool) {
	w.t.Helper()
	for !holds() {
		select {
		case <-w.waited:
		case <-w.ctx.Done():
			w.t.Fatal("nothing is acknowledged any more")
		}
	}
}

// kept holds the allocations and their events against what was acknowledged: each is
// there once, under its id. What was refused may be there, but whole.
func (w *writers) kept() {
	w.t.Helper()
	seen, perhaps := map[string]string{}, map[string]bool{}
	for _, party := range w.without {
		perhaps[party] = true
	}
	told := map[string]int{}
	for _, e := range w.everything() {
		if e.Type == "greenvn.created" {
			told[e.GreenVNID]++
		}
	}
	unasked := 0
	for _, a := range w.active() {
		party := a.From[0]
		if told[a.GreenVNID] != 1 {
			w.t.Errorf("%d events tell of the creation of %s", told[a.GreenVNID], a.GreenVNID)
		}
		delete(told, a.GreenVNID)
		if party[:5] != "+9177" {
			continue // of a call
		}
		if to := "+9166" + party[5:]; !slices.Equal(a.To, []string{to}) || seen[party] != "" {
			w.t.Errorf("%s is there twice, or has lost a party", a.GreenVNID)
		}
		seen[party] = a.GreenVNID
	}
	for party := range perhaps {
		if seen[party] != "" {
			unasked++
		}
		delete(seen, party)
	}
	if !maps.Equal(seen, w.made) {
		w.t.Errorf("%d creates were acknowledged, %d allocations are there", len(w.made), len(seen))
	}
	if len(told) > 0 {
		w.t.Errorf("events tell of allocations that are not there: %v", told)
	}
	w.t.Logf("%d creates without an answer, of which %d took place", len(w.without), unasked)
}
