package app

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/siptx"
)

// nodeAt is a silent node that is reached at an address.
func nodeAt(id, at string) masking.Node {
	return masking.Node{ID: id, StartedAt: time.Unix(1, 0), SeenAt: time.Unix(2, 0), Addresses: []string{at}}
}

func TestASilentNodeIsAskedOneQuestionAtATimeAndNoneIsLeft(t *testing.T) {
	a := start(t, options(t, t.TempDir()))
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	mute := nodeAt("mute", "udp://"+conn.LocalAddr().String())
	r, now := newRollCall(a.agent), time.Now()
	asked := func(after time.Duration, n masking.Node) *inquiry {
		t.Helper()
		r.call([]masking.Node{n, nodeAt("tls", "tls://127.0.0.1:5061")}, now.Add(after))
		if open := a.agent.Stats().ClientTx; open != 1 || len(r.open) != 1 {
			t.Errorf("after %v %d transactions of %d questions are open", after, open, len(r.open))
		}
		return r.open["mute"]
	}
	first := asked(0, mute)
	if again := asked(patience-1, mute); again != first {
		t.Error("it is asked anew while its answer is waited for")
	}
	second := asked(patience, mute)
	if second == first {
		t.Error("a question stays open for ever")
	}
	mute.SeenAt = mute.SeenAt.Add(time.Second) // it is not as it was when it was asked
	if asked(patience+1, mute) == second {
		t.Error("it is not asked anew after a sign of life")
	}
	r.call(nil, now.Add(patience+2))
	if open := a.agent.Stats().ClientTx; open != 0 || len(r.open) != 0 || len(r.answered(now)) != 0 {
		t.Errorf("%d transactions are left", open)
	}
}

func TestAnAnswerThatIsOldIsNoSignOfLife(t *testing.T) {
	a, other := start(t, options(t, t.TempDir())), start(t, options(t, t.TempDir()))
	at := netip.MustParseAddrPort("127.0.0.1:1")
	for _, one := range []*App{a, other} {
		one.keeper.Stop() // which would say that there is nobody else
		one.agent.SetFellows([]siptx.Target{{Network: "udp", Addr: at}})
	}
	silent := nodeAt(other.node, other.addrs.SIP[0])
	r := newRollCall(a.agent)
	for _, c := range []struct {
		age  time.Duration
		want int
	}{{0, 1}, {patience, 0}} {
		r.call([]masking.Node{silent}, time.Now())
		select {
		case <-r.answers:
		case <-t.Context().Done():
			t.Fatal("no answer")
		}
		if got := r.answered(time.Now().Add(c.age)); len(got) != c.want || c.want > 0 && got[0].ID != other.node {
			t.Errorf("an answer that is %v old is the sign of life of %d", c.age, len(got))
		}
		if left := len(r.open); left != 0 {
			t.Errorf("%d questions are open that are answered", left)
		}
	}
}

func TestAnOutageIsToldOfOnce(t *testing.T) {
	r, now := newRollCall(nil), time.Now()
	for i := range 100 { // for longer than heardOnce
		if now = now.Add(2 * time.Second); r.news("a", now) != (i == 0) {
			t.Fatalf("told of or not after %d answers", i)
		}
	}
	if !r.news("b", now) || !r.news("a", now.Add(2*heardOnce)) || len(r.told) != 1 {
		t.Errorf("another outage is not told of, or one of long ago is kept: %v", r.told)
	}
}
