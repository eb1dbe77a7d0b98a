package sipua

import (
	"net"
	"net/netip"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// nodes are agents with one trunk of one peer, who know of each other.
func nodes(t *testing.T, n int, edit ...func(*Options)) (list []*rig, p *peer) {
	t.Helper()
	for range n {
		list = append(list, newRig(t, edit...))
	}
	p = list[0].peer("127.0.0.2")
	for _, r := range list {
		var others []siptx.Target
		for _, o := range list {
			if o != r {
				others = append(others, siptx.Target{Network: "udp", Addr: o.udp})
			}
		}
		r.ua.SetTrunks([]masking.Trunk{trunk("one", p)})
		r.ua.SetFellows(others)
	}
	return list, p
}

func TestARequestWithinADialogIsAnsweredByTheNodeThatHasItWhereverItComes(t *testing.T) {
	list, p := nodes(t, 3)
	s, c := list[0].established(p)
	p.to = list[1].udp // from here on
	again := msg(s.request("INVITE", &with{body: sdpBody}))
	p.send(string(again))
	c.next(t, b2bua.EvOffered)
	c.Leg.Answer([]byte(sdpBody))
	res := s.final(again)
	if res.status() != 200 || res.field("Via") == "" || res.field("To") != s.remote {
		t.Fatalf("the re-INVITE got\n%s", res)
	}
	s.ack(res, nil)
	list[0].until("the ACK has come", func() bool { return !repeats(c.Leg) })
	p.to = list[2].udp
	if got := s.ask("INFO", nil); got.status()/100 != 2 && got.status() != 415 {
		t.Errorf("INFO got %d", got.status())
	}
	if got := s.ask("BYE", nil); got.status() != 200 {
		t.Errorf("BYE got %d", got.status())
	}
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
	if got := s.ask("BYE", nil); got.status() != 481 { // it is nobody's now
		t.Errorf("a second BYE got %d", got.status())
	}
}

func TestTheAckOfACallComesToItsNode(t *testing.T) {
	list, p := nodes(t, 2, quick)
	s, c := list[0].caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	s.confirm(res)
	p.to = list[1].udp
	s.ack(res, nil)
	list[0].until("the 200 is repeated no more", func() bool { return !repeats(c.Leg) })
	c.none(t)
	c.Leg.End(b2bua.Reason{})
	p.send(p.expect("BYE ").reply(200, "", ""))
	list[0].gone()
}

func TestARequestOfNoDialogIsNotPassedRoundInACircle(t *testing.T) {
	list, p := nodes(t, 3)
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=x", remote: "<sip:" + virtual + "@tandem>;tag=y"}
	if got := s.ask("BYE", nil).status(); got != 481 {
		t.Errorf("BYE got %d", got)
	}
	in := int64(0)
	for _, r := range list[1:] {
		in += r.ua.Requests(false, "BYE")
	}
	if in != 2 {
		t.Errorf("%d requests for two other nodes", in)
	}
	if got := s.ask("BYE", &with{hops: "0"}).status(); got != 481 {
		t.Errorf("BYE without a hop left got %d", got)
	}
	s.p.send(s.request("ACK", &with{hops: "0"}))
	p.sync()
}

func TestWhereANodeDoesNotAnswerADialogIsNotSaidToBeNowhere(t *testing.T) {
	list, p := nodes(t, 2, quick)
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	silent := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	list[0].ua.SetFellows([]siptx.Target{{Network: "udp", Addr: silent}, {Network: "udp", Addr: list[1].udp}})
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=x", remote: "<sip:" + virtual + "@tandem>;tag=y"}
	if got := s.ask("INVITE", &with{body: sdpBody}).status(); got != 504 {
		t.Errorf("INVITE got %d", got)
	}
}
