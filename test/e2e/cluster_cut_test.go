package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/internal/client"
	"tandem/internal/masking"
	"tandem/internal/testkit/postgres"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// TestTalksOfANodeThatIsCutOffFromTheDatabaseAloneStayThere cuts one of three nodes off
// from the database and lets it be heard by the others alone: nothing of its calls is
// touched, and what happens to them is written when it is back. Then it dies while it is
// cut off: its talks go on at another.
func TestTalksOfANodeThatIsCutOffFromTheDatabaseAloneStayThere(t *testing.T) {
	database := postgres.Start(t, "max_connections=300")
	name := database.Database(t, "")
	way := newCutter(t, fmt.Sprintf("127.0.0.1:%d", database.Port))
	c := &cluster{site: newSite(t, build(t))}
	c.add(fmt.Sprintf("postgres://tandem@%s/%s?sslmode=disable", way.listener.Addr(), name))
	c.add(database.URL(name))
	c.add(database.URL(name))
	s, others := c.nodes[0], c.nodes[1:]
	crowd := s.connect(s.p)
	for _, n := range others {
		crowd.known(n.p)
		crowd.met(s, n)
	}
	const n = 10
	calls := crowd.talks(s.p, n)
	s.written(s.p, n)

	way.close()
	early := calls[:4]
	for i, k := range early {
		others[0].aliveFor(s, 3*time.Second) // longer than a lease in all
		by, other := k.a, k.b
		if i%2 == 1 {
			by, other = k.b, k.a
		}
		s.hangUpOne(k, by, other)
	}
	others[0].aliveFor(s, 3*masking.Lease)
	s.heard(calls[4:])
	if live := others[1].live(); live != n {
		t.Errorf("%d calls have no end, want that of all %d to wait for their node", live, n)
	}
	way.open()
	others[0].wait("the ends of early calls to be written", func() bool { return others[0].live() == n-len(early) })
	s.heard(calls[4:])
	s.hangUp(calls[4:], func(i int) int { return i % 2 })
	causes := map[string]int{"caller_hung_up": n / 2, "callee_hung_up": n / 2}
	others[0].ended(causes)
	others[0].lasted(calls)
	for _, k := range calls {
		k.untouched(t)
	}
	if lines := s.p.out.Lines("taken_by_others"); len(lines) != 0 {
		t.Errorf("%s", lines)
	}
	told := 0
	for _, n := range others {
		lines := strings.Count(n.p.out.Lines("silent in the database, but answers"), "\n")
		if told += lines; lines > 1 {
			t.Errorf("the log tells of one outage %d times", lines)
		}
	}
	if told == 0 {
		t.Error("no log tells that the node was cut off")
	}
	s.diesCutOff(crowd, way, others[0], causes)
}

// met waits until a node knows another one: it answers what comes from there, to say that
// it was not meant.
func (c *carriers) met(who, other *node) {
	c.s.t.Helper()
	beside := c.phone(other.p.sip().Addr(), sdp.Plain)
	res, err := beside.Ask(c.s.ctx, phone.Outside{Request: phone.Request{Method: "OPTIONS"}, Via: who.p.sip()})
	c.s.must(err)
	if res.Status != 404 {
		c.s.t.Fatalf("a node that is asked for nobody says %d", res.Status)
	}
}

// diesCutOff kills a node that is cut off and carries talks.
func (n *node) diesCutOff(crowd *carriers, way *cutter, other *node, causes map[string]int) {
	n.t.Helper()
	const first, many = 100, 6
	var calls []*talk
	for i := range many {
		calls = append(calls, crowd.converse(n.p, first+i))
	}
	n.wait("all states to be written", func() bool { return n.live() == many && n.p.metric("tandem_journal_waiting") == 0 })
	n.heard(calls)
	way.close()
	other.aliveFor(n, 2*masking.Lease)
	died := time.Now()
	n.p.kill()
	other.takesUp(calls, died)
	other.hangUp(calls, func(i int) int { return i % 2 })
	causes["caller_hung_up"] += many / 2
	causes["callee_hung_up"] += many / 2
	other.ended(causes)
	way.open()
	n.start()
	if left := n.live(); left != 0 {
		n.t.Errorf("%d calls are up when it is back", left)
	}
}

// aliveFor waits until a node that cannot say so itself has been alive for so long, as
// the others see it.
func (n *node) aliveFor(who *node, long time.Duration) {
	n.t.Helper()
	seen := func() time.Time {
		all, err := n.api.Load().Nodes(n.ctx)
		n.must(err)
		for _, one := range all.Items {
			if one.Addresses != nil && isAt(one, who) {
				if !one.Alive || one.GoneAt != "" {
					n.t.Fatalf("taken for dead: %+v", one)
				}
				at, err := time.Parse(time.RFC3339, one.SeenAt)
				n.must(err)
				return at
			}
		}
		n.t.Fatal("the node is not known")
		return time.Time{}
	}
	first := seen()
	n.wait("more signs of life", func() bool { return seen().Sub(first) >= long })
}

// isAt reports whether a node is the one that listens where p does.
func isAt(one client.Node, who *node) bool {
	for _, at := range one.Addresses {
		if at == "udp://"+who.p.sip().String() {
			return true
		}
	}
	return false
}

// untouched holds that no side was sent an offer, or heard another stream.
func (k *talk) untouched(t *testing.T) {
	t.Helper()
	for i, side := range []*phone.Call{k.a, k.b} {
		invites := 0
		for _, step := range side.Ladder() {
			if !step.Out && bytes.HasPrefix(step.Raw, []byte("INVITE ")) {
				invites++
			}
		}
		if invites != i || side.Hearing().Streams != 1 {
			t.Errorf("side %d was sent %d INVITEs and heard %d streams", i, invites, side.Hearing().Streams)
		}
	}
}
