package sipua

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/voice/siptx"
)

// asNode gives a node its name.
func asNode(id string) func(*Options) { return func(o *Options) { o.Node = id } }

// fellowAt says that another node is at an address, and at no other.
func (r *rig) fellowAt(at netip.AddrPort) {
	r.ua.SetFellows([]siptx.Target{{Network: "udp", Addr: at}})
}

// answers reports whether a node says that it is the one that is asked for.
func (r *rig) answers(id string, at siptx.Target) bool {
	r.t.Helper()
	before := r.ua.Responses(false, 2) + r.ua.Responses(false, 4) + r.ua.Responses(false, 5)
	here := make(chan struct{}, 1)
	giveUp, err := r.ua.AskNode(id, at, func() { here <- struct{}{} })
	if err != nil {
		r.t.Fatal(err)
	}
	defer giveUp()
	r.until("an answer has come", func() bool {
		return r.ua.Responses(false, 2)+r.ua.Responses(false, 4)+r.ua.Responses(false, 5) > before
	})
	r.until("it is weighed", func() bool { return len(here) == 1 || r.ua.Stats().ClientTx == 0 })
	return len(here) == 1
}

func TestANodeTellsTheOthersThatItIsThereAndNobodyElse(t *testing.T) {
	one, other := newRig(t, asNode("node-1"), quick), newRig(t, asNode("node-2"), quick)
	one.fellowAt(other.udp)
	other.fellowAt(one.udp)
	for _, at := range []siptx.Target{{Network: "udp", Addr: other.udp}, {Network: "tcp", Addr: other.tcp}} {
		if !one.answers("node-2", at) {
			t.Errorf("it is not there by %s", at.Network)
		}
		if one.answers("node-1", at) || one.answers("node-20", at) || one.answers("", at) {
			t.Errorf("it says by %s that it is another", at.Network)
		}
	}
	other.draining.Store(true)
	if !one.answers("node-2", siptx.Target{Network: "udp", Addr: other.udp}) {
		t.Error("it is not there while it drains, and carries calls")
	}
}

func TestWhoIsNoNodeIsToldOfNone(t *testing.T) {
	r, p := pair(t, asNode("node-1"))
	ask := func(p *peer, user string) msg {
		s := &script{p: p, callID: newTag(), local: "<sip:ping@peer>;tag=" + newTag(), remote: "<sip:" + user + "@tandem>"}
		return s.ask("OPTIONS", &with{uri: "sip:" + user + "@" + p.to.String()})
	}
	// A carrier gets the same whomever he names.
	if res := ask(p, "node-1"); res.status() != 200 || strings.Contains(string(res), "Contact:") {
		t.Errorf("a carrier got\n%s", res)
	}
	r.draining.Store(true)
	if res := ask(p, "node-1"); res.status() != 503 {
		t.Errorf("a carrier got %d of one that drains", res.status())
	}
	// A stranger gets nothing at all, until he is a node.
	q := r.peer("127.0.0.3")
	s := &script{p: q, callID: newTag(), local: "<sip:x@peer>;tag=x", remote: "<sip:node-1@tandem>"}
	q.send(s.request("OPTIONS", &with{uri: "sip:node-1@" + q.to.String()}))
	r.until("it is dropped", func() bool { return r.ua.Stats().DroppedSource == 1 })
	if got := q.got(); len(got) != 0 {
		t.Errorf("a stranger got %v", got)
	}
	r.fellowAt(q.addr)
	if res := ask(q, "node-1"); res.status() != 200 || !strings.HasPrefix(res.field("Contact"), "<sip:node-1@"+r.udp.String()) {
		t.Errorf("a node got\n%s", res)
	}
	for _, user := range []string{"node-2", virtual} {
		if res := ask(q, user); res.status() != 404 {
			t.Errorf("a node that asks for %s got %d", user, res.status())
		}
	}
}

// A carrier may be at the address that a node had, or on its machine.
func TestAnAnswerThatNamesNobodyIsNoNodes(t *testing.T) {
	one, other := newRig(t, asNode("node-1"), quick), newRig(t, quick)
	p := other.peer("127.0.0.1")
	one.fellowAt(other.udp)
	other.fellowAt(one.udp)
	other.ua.SetTrunks([]masking.Trunk{trunk("one", p)}) // it takes node-1 for that one
	if one.answers("node-2", siptx.Target{Network: "udp", Addr: other.udp}) {
		t.Error("the answer to a carrier is taken for a node's")
	}
}

func TestAQuestionThatIsGivenUpLeavesNothing(t *testing.T) {
	r := newRig(t, asNode("node-1"))
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	giveUp, err := r.ua.AskNode("node-2", siptx.Target{Network: "udp", Addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()},
		func() { t.Error("somebody answers") })
	if err != nil {
		t.Fatal(err)
	}
	if n := r.ua.Stats().ClientTx; n != 1 {
		t.Errorf("%d transactions", n)
	}
	if giveUp(); r.ua.Stats().ClientTx != 0 {
		t.Error("a transaction is left")
	}
}
