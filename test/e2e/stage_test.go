// Package e2e tests the whole program in process: a real server on free ports,
// its API over HTTP, and phones that speak SIP and RTP with it.
package e2e

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/siptx"
	"tandem/test/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The people of these tests. Their numbers have no run of digits in common.
const (
	alice   = "+919912345601"
	bob     = "+918867676702"
	carol   = "+917755443303"
	dave    = "+916644221104"
	virtual = "+914000000001"
	second  = "+914000000002"
)

// stage is a server between two carriers: one that only calls in, and one that
// is called and calls back. Each is a phone on a loopback address of its own. A test
// with few calls shares the machine with others (t.Parallel); one with a crowd, or that
// measures how far apart things are heard, has it to itself.
type stage struct {
	*world.World
	t        *testing.T
	ctx      context.Context
	network  string
	in, out  *phone.Phone
	incoming chan *phone.Call // calls that reach the out carrier
	homer    *world.Collector // gets what the server exports
	opens    string           // the PIN of the one GreenPin allocation there is
	hush     atomic.Bool      // what the out carrier's people say gets lost
}

// impatient gives SIP a T1 of 50 ms, so that nobody's silence is noticed after
// 3.2 s instead of 32.
func impatient(o *app.Options) { o.SIPTimers = siptx.Timers{T1: 50 * time.Millisecond} }

// setting changes the stage before it is built.
type setting struct {
	edit    func(*app.Options)
	in, out func(*phone.Options)
	environ []string // settings of the server
	network string
	// networkOut is that of the out carrier, where it is another.
	networkOut string
	// source is where both carriers send from, if it is one address.
	source   string
	sharing  string
	patience time.Duration // how long the test may take; 0 = a minute
}

func newStage(t *testing.T, s setting) *stage {
	t.Helper()
	if s.patience == 0 {
		s.patience = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	t.Cleanup(cancel)
	st := &stage{t: t, ctx: ctx, incoming: make(chan *phone.Call, 16)}
	if s.network == "" {
		s.network = "udp"
	}
	st.network = s.network
	homer, err := world.NewCollector()
	st.must(err)
	st.homer = homer
	if st.World, err = world.Start(world.Options{Environ: append([]string{homer.Setting()}, s.environ...), Edit: s.edit}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		noNumberInALadder(st)
		if err := st.World.Close(5 * time.Second); err != nil {
			t.Error(err)
		}
		noNumberExported(st, homer)
		if t.Failed() {
			t.Logf("the server's log of calls:\n%s", st.Log.Lines(`"call"`))
		}
	})
	in := phone.Options{Network: s.network, IP: netip.MustParseAddr("127.0.0.2")}
	out := phone.Options{Network: s.network, IP: netip.MustParseAddr("127.0.0.3"), OnCall: world.HandTo(ctx, st.incoming),
		Lose: func([]byte) bool { return st.hush.Load() }}
	if s.networkOut != "" {
		out.Network = s.networkOut
	}
	if s.in != nil {
		s.in(&in)
	}
	if s.out != nil {
		s.out(&out)
	}
	st.in, st.out = st.newPhone(in), st.newPhone(out)
	sources := []string{"127.0.0.2/32", "127.0.0.3/32"}
	if s.source != "" {
		sources = []string{s.source, s.source}
	}
	st.must(st.AddTrunk("carrier-in", map[string]any{"sources": sources[:1], "transport": s.network}))
	st.must(st.AddTrunk("carrier-out", map[string]any{"sources": sources[1:], "transport": out.Network,
		"targets": []string{st.out.Addr().String()}}))
	if s.sharing == "" {
		s.sharing = "exclusive"
	}
	_, err = st.NewTenant("acme", s.sharing, virtual, second)
	st.must(err)
	return st
}

func (st *stage) newPhone(o phone.Options) *phone.Phone {
	p, err := phone.New(o)
	st.must(err)
	st.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			st.t.Error(err)
		}
	})
	return p
}

func (st *stage) must(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

// allocate maps alice and bob over the virtual number.
func (st *stage) allocate(more map[string]any) world.Allocation {
	st.t.Helper()
	a, err := st.Allocate("acme", virtual, []string{alice}, []string{bob}, more)
	st.must(err)
	return a
}

// dial calls the virtual number from a carrier.
func (st *stage) dial(p *phone.Phone, from string, edit ...func(*phone.Invite)) *phone.Call {
	st.t.Helper()
	in := phone.Invite{From: from, To: virtual, Via: st.SIP(st.network)}
	for _, e := range edit {
		e(&in)
	}
	c, err := p.Dial(st.ctx, in)
	st.must(err)
	return c
}

// called waits for the next call that reaches the out carrier.
func (st *stage) called() *phone.Call {
	st.t.Helper()
	select {
	case c := <-st.incoming:
		return c
	case <-st.ctx.Done():
		st.t.Fatal("nobody was called")
		return nil
	}
}

// nobodyCalled fails if a call has reached the out carrier.
func (st *stage) nobodyCalled() {
	st.t.Helper()
	select {
	case c := <-st.incoming:
		st.t.Fatalf("%s was called", c.Seen().RequestUser)
	default:
	}
}

// talk sets up a call from a party of the in carrier to whom it reaches.
func (st *stage) talk(from string, audioA, audioB phone.Source) (a, b *phone.Call) {
	st.t.Helper()
	a = st.dial(st.in, from, func(in *phone.Invite) { in.Audio = audioA })
	b = st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(b.Answer(phone.Reply{Audio: audioB}))
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	return a, b
}

// counted is talk in which the callee says nothing before the server has read his
// answer: what comes from an address that it was not told yet is nobody's, and is
// counted as that.
func (st *stage) counted(from string, audioA, audioB phone.Source) (a, b *phone.Call) {
	st.t.Helper()
	st.hush.Store(true)
	defer st.hush.Store(false)
	return st.talk(from, audioA, audioB)
}

// refused waits for the refusal of a call and gives its status.
func (st *stage) refused(c *phone.Call) int {
	st.t.Helper()
	end, err := c.Ended(st.ctx)
	st.must(err)
	return end.Status
}

// over waits until both calls have ended.
func (st *stage) over(calls ...*phone.Call) {
	st.t.Helper()
	for _, c := range calls {
		_, err := c.Ended(st.ctx)
		st.must(err)
	}
}

// settle waits until the server has nothing left of any call: no call, no leg,
// no media session, no record that is not written.
func (st *stage) settle() {
	st.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := st.App.Leftovers()
		if left == (app.Leftovers{}) {
			return
		}
		select {
		case <-tick.C:
		case <-st.ctx.Done():
			st.t.Fatalf("left of the calls: %+v", left)
		}
	}
}

// record settles and gives the one call record there is.
func (st *stage) record() world.Call {
	st.t.Helper()
	st.settle()
	calls, err := st.Calls("acme")
	st.must(err)
	if len(calls) != 1 {
		st.t.Fatalf("%d call records, want one", len(calls))
	}
	return calls[0]
}

// types settles and gives the types of all call events in order.
func (st *stage) types() []string {
	st.t.Helper()
	st.settle()
	events, err := st.Events("acme")
	st.must(err)
	var types []string
	for _, e := range events {
		if e.Type[:5] == "call." {
			types = append(types, e.Type)
		}
	}
	return types
}
