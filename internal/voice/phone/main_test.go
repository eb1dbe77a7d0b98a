package phone_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/voice/phone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

const (
	userA, userB = "+919876543210", "+914012345678"
)

// A pair is a phone that calls and one that is called. Nothing comes between.
type pair struct {
	a, b  *phone.Phone
	calls chan *phone.Call // that B gets
}

// newPair makes two phones on network; more may change B's or A's options.
func newPair(t *testing.T, network string, more ...func(a, b *phone.Options)) *pair {
	t.Helper()
	p := &pair{calls: make(chan *phone.Call, 8)}
	a := phone.Options{Network: network, IP: loopback}
	b := phone.Options{Network: network, IP: loopback, OnCall: func(c *phone.Call) { p.calls <- c }}
	for _, f := range more {
		f(&a, &b)
	}
	p.a, p.b = newPhone(t, a), newPhone(t, b)
	return p
}

func newPhone(t *testing.T, o phone.Options) *phone.Phone {
	t.Helper()
	p, err := phone.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// dial has A call B and returns both ends, B's as soon as the INVITE has arrived.
func (p *pair) dial(t *testing.T, in phone.Invite) (a, b *phone.Call) {
	t.Helper()
	in.From, in.To, in.Via = userA, userB, p.b.Addr()
	a, err := p.a.Dial(soon(t), in)
	if err != nil {
		t.Fatal(err)
	}
	return a, p.incoming(t)
}

func (p *pair) incoming(t *testing.T) *phone.Call {
	t.Helper()
	select {
	case c := <-p.calls:
		return c
	case <-soon(t).Done():
		t.Fatal("no call came in")
		return nil
	}
}

// talk has A call B and B answer.
func (p *pair) talk(t *testing.T, in phone.Invite, r phone.Reply) (a, b *phone.Call) {
	t.Helper()
	a, b = p.dial(t, in)
	must(t, b.Ring(phone.Reply{}))
	must(t, a.Ringing(soon(t)))
	must(t, b.Answer(r))
	must(t, a.Answered(soon(t)))
	must(t, b.Answered(soon(t)))
	return a, b
}

// soon is a deadline that only a broken test meets.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ended(t *testing.T, c *phone.Call) phone.End {
	t.Helper()
	e, err := c.Ended(soon(t))
	must(t, err)
	return e
}

// onBoth runs a test over UDP and over TCP.
func onBoth(t *testing.T, f func(t *testing.T, network string)) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) { f(t, network) })
	}
}
