package e2e

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"tandem/internal/client"
	"tandem/internal/voice/phone"
)

var rollingCallers = flag.Int("rollingcallers", 6, "how many people call at once while nodes are restarted one after the other")

// TestARollingRestartLosesNoCall drains three nodes and starts them again, one after the
// other, while people call. As a carrier does, the calling side goes to the next node on
// a 503, and comes back when OPTIONS is answered again.
func TestARollingRestartLosesNoCall(t *testing.T) {
	c := threeNodes(t)
	r := &rotation{cluster: c, crowd: c.connect(c.nodes[0].p), closed: make([]bool, len(c.nodes))}
	for _, n := range c.nodes[1:] {
		r.crowd.known(n.p)
	}
	stop := r.begin()
	for i, n := range c.nodes {
		before := r.calls.Load()
		c.wait("more calls", func() bool { return r.calls.Load() > before+10 })
		r.restart(i, n)
	}
	stop()
	calls := int(r.calls.Load()) + len(c.nodes) // and those that were held
	c.wait("the end of all records", func() bool { return c.told("call.completed") >= calls })
	c.ended(map[string]int{"caller_hung_up": calls})
	t.Logf("%d calls; %d times a node refused one, and the next took it", calls, r.refused.Load())
	if r.refused.Load() == 0 {
		t.Error("nobody met a node that drains")
	}
}

// rotation is the calling carrier's list of our nodes.
type rotation struct {
	*cluster
	crowd          *carriers
	turn           atomic.Int64
	calls, refused atomic.Int64

	choosing sync.RWMutex // held by who sets a call up, until it is answered or refused
	closed   []bool       // nodes that get no calls
}

// begin has people call, and those who are called answer, until it is stopped.
func (r *rotation) begin() (stop func()) {
	const numbersEach = 4
	var all sync.WaitGroup
	var done atomic.Bool
	over := make(chan struct{})
	var people []string
	for i := range *rollingCallers * numbersEach {
		people = append(people, r.crowd.pair(100+i))
	}
	all.Go(func() {
		for {
			select {
			case b := <-r.crowd.incoming:
				if err := errors.Join(b.Ring(phone.Reply{}), b.Answer(phone.Reply{Audio: phone.Sine(1000, 8000)})); err != nil {
					r.t.Error(err)
				}
			case <-over:
				return
			}
		}
	})
	var calling sync.WaitGroup
	for own := range slices.Chunk(people, numbersEach) {
		calling.Go(func() {
			for i := 0; !done.Load() && r.ctx.Err() == nil; i++ {
				if err := r.call(own[i%len(own)]); err != nil {
					r.t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		done.Store(true)
		calling.Wait()
		close(over)
		all.Wait()
	}
}

// call calls by whichever node takes the call, talks for a while and hangs up.
func (r *rotation) call(from string) error {
	a, err := r.setUp(from)
	if err != nil {
		return err
	}
	if err := a.HearsTone(r.ctx, 1000); err != nil {
		return err
	}
	if err := a.Hangup(r.ctx); err != nil {
		return err
	}
	r.calls.Add(1)
	return nil
}

func (r *rotation) setUp(from string) (*phone.Call, error) {
	r.choosing.RLock()
	defer r.choosing.RUnlock()
	first := int(r.turn.Add(1))
	for k := range r.nodes {
		i := (first + k) % len(r.nodes)
		if r.closed[i] {
			continue
		}
		a, err := r.dialAt(r.nodes[i], from)
		if err == nil || a == nil {
			return a, err
		}
		if end, ended := a.Ended(r.ctx); ended != nil || end.Status != 503 {
			return nil, fmt.Errorf("a call was refused: %+v, %w", end, err)
		}
		r.refused.Add(1)
	}
	return nil, errors.New("no node took a call")
}

func (r *rotation) dialAt(n *node, from string) (*phone.Call, error) {
	a, err := r.crowd.in.Dial(r.ctx, phone.Invite{From: from, To: virtual, Via: n.p.sip(), Audio: phone.Sine(440, 8000)})
	if err != nil {
		return nil, err
	}
	return a, a.Answered(r.ctx)
}

// restart drains a node while one talks there, and starts it again.
func (r *rotation) restart(i int, n *node) {
	r.t.Helper()
	held, err := r.dialAt(n, r.crowd.pair(i))
	r.must(err)
	n.p.terminate()
	before := r.refused.Load()
	r.wait("a call to be refused by a node that drains", func() bool { return r.refused.Load() > before })
	if res := r.crowd.known(n.p); res.Status != 503 {
		r.t.Errorf("OPTIONS got %d while the node drains", res.Status)
	}
	other := r.nodes[(i+1)%len(r.nodes)]
	r.wait("the others to see that it drains", func() bool { return draining(r.t, other) == 1 })
	r.choosing.Lock()
	r.closed[i] = true
	r.choosing.Unlock()
	r.must(held.HearsTone(r.ctx, 1000))
	r.must(held.Hangup(r.ctx))
	if code := n.p.over(); code != 0 {
		r.t.Errorf("exit code %d", code)
	}
	r.choosing.Lock() // it has another process now
	n.start()
	r.choosing.Unlock()
	r.wait("OPTIONS to be answered again", func() bool { return r.crowd.known(n.p).Status == 200 })
	r.wait("no node to drain", func() bool { return draining(r.t, other) == 0 })
	r.choosing.Lock()
	r.closed[i] = false
	r.choosing.Unlock()
}

// draining counts the nodes that a node sees draining.
func draining(t *testing.T, n *node) (count int) {
	t.Helper()
	all, err := n.api.Load().Nodes(n.ctx)
	n.must(err)
	return len(slices.DeleteFunc(all.Items, func(one client.Node) bool { return !one.Draining }))
}
