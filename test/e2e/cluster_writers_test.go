package e2e

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/client"
)

// writers create allocations at all nodes, and remember what they were told.
type writers struct {
	*cluster
	waited                chan struct{} // has something when a create was acknowledged
	acked, refusals, last atomic.Int64  // last: when what was acknowledged was asked for

	mu      sync.Mutex
	made    map[string]string // party → id of his allocation
	without []string          // parties whose create nobody has repeated
}

func newWriters(c *cluster) *writers {
	return &writers{cluster: c, made: map[string]string{}, waited: make(chan struct{}, 1)}
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
