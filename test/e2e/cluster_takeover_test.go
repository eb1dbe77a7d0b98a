package e2e

import (
	"syscall"
	"testing"
	"time"

	"tandem/internal/client"
	"tandem/internal/testkit/postgres"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// TestTalksOfADeadNode holds what becomes of the talks of a node that dies, where there is
// another one.
func TestTalksOfADeadNode(t *testing.T) {
	binary, database := build(t), postgres.Start(t)
	for name, test := range map[string]func(*testing.T, *cluster){
		"go on at another": talksGoOnAtAnotherNode,
		"go on at another under fresh streams of SRTP": protectedTalksGoOnAtAnotherNode,
		"end with it where they may not move":          talksThatMayNotMoveEnd,
		"are left to the other if it lives after all":  aPausedNodeLeavesItsTalksToWhoTookThem,
	} {
		t.Run(name, func(t *testing.T) { test(t, newCluster(t, binary, database.URL(database.Database(t, "")), 2)) })
	}
}

// talksGoOnAtAnotherNode kills a node with fifty calls that talk. Another one tells both
// sides of each where it goes on; who does not agree is hung up. Each call has one
// record and one terminal event.
func talksGoOnAtAnotherNode(t *testing.T, c *cluster) {
	s, other := c.nodes[0], c.nodes[1]
	const n = 50
	crowd := s.connect(s.p)
	crowd.known(other.p)
	calls := crowd.talks(s.p, n)
	s.written(s.p, n)
	s.heard(calls)
	died := time.Now()
	s.p.kill()
	other.takesUp(calls, died)
	other.hangUp(calls, func(i int) int { return i % 2 })
	other.ended(map[string]int{"caller_hung_up": n / 2, "callee_hung_up": n / 2})
	other.lasted(calls)
	// The dead node comes back: nothing is left of its calls.
	s.start()
	if left := s.live(); left != 0 {
		t.Errorf("%d calls are up when it is back", left)
	}
	for _, n := range c.nodes {
		if n.p.terminate(); n.p.over() != 0 {
			t.Errorf("exit code %d", n.p.over())
		}
	}
}

// live is how many calls have no end.
func (s *site) live() (n int) {
	s.t.Helper()
	for _, r := range s.calls() {
		if r.Status != "ended" {
			n++
		}
	}
	return n
}

// takesUp waits until all sides of the calls of a node that has died hear each other again.
func (n *node) takesUp(calls []*talk, died time.Time) {
	n.t.Helper()
	const underWay = 500 * time.Millisecond // what the dead node had sent has come by then
	sides := 2 * len(calls)
	var after []time.Duration
	n.wait("all sides to hear something again", func() bool { after = again(calls, died.Add(underWay)); return len(after) == sides })
	n.heard(calls)
	n.t.Logf("the sides heard each other again %v (the first), %v (half of them), %v (all) after their node had died", after[0]+underWay,
		after[sides/2]+underWay, after[sides-1]+underWay)
}

// talksThatMayNotMoveEnd kills a node whose trunk is one that knows it by its address:
// nobody is sent a word from elsewhere, and the records are closed.
func talksThatMayNotMoveEnd(t *testing.T, c *cluster) {
	s, other := c.nodes[0], c.nodes[1]
	crowd := s.connect(s.p)
	off := "off"
	_, err := s.site.api.ChangeTrunk(s.ctx, "carrier", client.TrunkSettings{Takeover: &off})
	s.must(err)
	crowd.talks(s.p, 3)
	s.written(s.p, 3)
	s.p.kill()
	other.wait("the end of all records", func() bool { return other.live() == 0 })
	other.ended(map[string]int{"node_lost": 3})
}

// aPausedNodeLeavesItsTalksToWhoTookThem stops a node for so long that another one takes
// its talks up, and lets it go on: it hangs nobody up, and writes no second end.
func aPausedNodeLeavesItsTalksToWhoTookThem(t *testing.T, c *cluster) {
	s, other := c.nodes[0], c.nodes[1]
	const n = 4
	crowd := s.connect(s.p)
	calls := crowd.talks(s.p, n)
	s.written(s.p, n)
	paused := time.Now()
	s.must(s.p.Process.Signal(syscall.SIGSTOP))
	other.wait("all sides to hear something again", func() bool { return len(again(calls, paused.Add(time.Second))) == 2*n })
	s.must(s.p.Process.Signal(syscall.SIGCONT))
	s.wait("the paused node to see it", func() bool { return len(s.p.out.Lines("taken_by_others")) > 0 })
	if got := s.p.out.Lines(`"taken_by_others":4`); len(got) == 0 {
		t.Errorf("%s", s.p.out.Lines("taken_by_others"))
	}
	other.heard(calls)
	other.hangUp(calls, func(i int) int { return i % 2 })
	other.ended(map[string]int{"caller_hung_up": n / 2, "callee_hung_up": n / 2})
	other.lasted(calls)
	a, _ := crowd.talk(s.p, crowd.pair(n)) // it is a node like any other
	s.must(a.Hangup(s.ctx))
	if s.p.terminate(); len(s.p.out.Lines("panic")) > 0 {
		t.Error("a fault")
	}
}

// protectedTalksGoOnAtAnotherNode is the same with SRTP: no key stream is used twice, and
// the sides are reached by requests of each other from then on.
func protectedTalksGoOnAtAnotherNode(t *testing.T, c *cluster) {
	s, other := c.nodes[0], c.nodes[1]
	crowd := s.connectBy(s.p, "required", sdp.Mandatory)
	calls := crowd.talks(s.p, 3)
	s.written(s.p, len(calls))
	s.heard(calls)
	died := time.Now()
	s.p.kill()
	other.wait("all sides to hear something again", func() bool { return len(again(calls, died.Add(time.Second))) == 2*len(calls) })
	other.heard(calls)
	other.must(calls[1].b.Hold(s.ctx))
	other.must(calls[1].b.Resume(s.ctx))
	other.heard(calls)
	for _, k := range calls {
		for _, side := range []*phone.Call{k.a, k.b} {
			if got := side.Hearing().Streams; got != 2 || side.Protected() != sdp.GCM {
				t.Errorf("a side is protected by %q and has heard %d streams of two nodes", side.Protected(), got)
			}
		}
	}
	other.keysOfTheirOwn(calls)
	other.hangUp(calls, func(i int) int { return i % 2 })
	other.ended(map[string]int{"caller_hung_up": 2, "callee_hung_up": 1})
}
