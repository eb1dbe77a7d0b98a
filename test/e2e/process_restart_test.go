package e2e

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/client"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// stay lets the servers that come after p listen where p does.
func (s *site) stay(p *process) {
	s.environ = append(s.environ, "TANDEM_SIP_LISTEN="+strings.Join(p.addrs.SIP, ","))
}

// restart hangs up what goes on after a kill.
func (c *carriers) restart(p *process) *process {
	c.s.t.Helper()
	c.hangUpAll(p)
	return c.s.start()
}

// hangUpAll ends a server with its calls. One without calls is over with the first
// signal.
func (c *carriers) hangUpAll(p *process) {
	c.s.t.Helper()
	ctx, cancel := context.WithCancel(c.s.ctx)
	defer cancel()
	p.terminate()
	go func() {
		select {
		case <-p.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	c.s.wait("OPTIONS to be refused", func() bool {
		res, err := c.in.Ask(ctx, phone.Outside{Request: phone.Request{Method: "OPTIONS"}, Via: p.sip()})
		return ctx.Err() != nil || err == nil && res.Status == 503
	})
	_ = p.Process.Signal(syscall.SIGTERM) // it may have ended
	if code := p.over(); code != 0 {
		c.s.t.Errorf("exit code %d", code)
	}
}

// talk is a call between two phones, each of which says a tone of its own.
type talk struct {
	a, b     *phone.Call
	hz       [2]int        // said by a and b
	least    time.Duration // it talked so long at least, and at the most:
	most     time.Duration
	answered [2]time.Time // not before, not after
}

// talks sets calls up, no two of which sound alike.
func (c *carriers) talks(p *process, n int) []*talk {
	c.s.t.Helper()
	calls := make([]*talk, n)
	for i := range calls {
		calls[i] = c.converse(p, i)
	}
	return calls
}

// converse sets up the call of the i-th pair.
func (c *carriers) converse(p *process, i int) *talk {
	c.s.t.Helper()
	k := &talk{hz: [2]int{400 + 8*i, 1400 + 8*i}}
	k.a = c.dial(p, c.pair(i), phone.Sine(float64(k.hz[0]), 8000))
	k.b = c.called()
	k.answered[0] = time.Now()
	c.s.must(k.b.Answer(phone.Reply{Audio: phone.Sine(float64(k.hz[1]), 8000)}))
	c.s.must(k.a.Answered(c.s.ctx))
	c.s.must(k.b.Answered(c.s.ctx))
	k.answered[1] = time.Now()
	return k
}

// each runs f for all of them, a few at a time.
func each(calls []*talk, f func(*talk)) {
	var wg sync.WaitGroup
	for part := range slices.Chunk(calls, max(1, (len(calls)+7)/8)) {
		wg.Go(func() {
			for _, k := range part {
				f(k)
			}
		})
	}
	wg.Wait()
}

// heard waits until each side hears the other for a second, and nobody else.
func (s *site) heard(calls []*talk) {
	s.t.Helper()
	each(calls, func(k *talk) {
		if err := errors.Join(k.a.HearsTone(s.ctx, float64(k.hz[1])), k.b.HearsTone(s.ctx, float64(k.hz[0]))); err != nil {
			s.t.Errorf("the call of the tones %v: %v", k.hz, err)
		}
	})
}

// hangUp lets one side end each call, and measures how long it was.
func (s *site) hangUp(calls []*talk, side func(i int) int) {
	s.t.Helper()
	for i, k := range calls {
		k.hz[0] = i
	}
	each(calls, func(k *talk) {
		by, other := k.a, k.b
		if side(k.hz[0]) == 1 {
			by, other = k.b, k.a
		}
		s.hangUpOne(k, by, other)
	})
	s.wait("the end of all records", func() bool {
		return !slices.ContainsFunc(s.calls(), func(c client.CallRecord) bool { return c.Status != "ended" })
	})
}

// hangUpOne lets one side end a call.
func (s *site) hangUpOne(k *talk, by, other *phone.Call) {
	k.least = time.Since(k.answered[1])
	err := by.Hangup(s.ctx)
	end, err2 := other.Ended(s.ctx)
	if err != nil || err2 != nil || end.ByUs || end.Err != nil {
		s.t.Errorf("hung up: %v; the other side: %+v, %v", err, end, err2)
	}
	k.most = time.Since(k.answered[0])
}

// again is how long after a moment the first packet of each side has come.
func again(calls []*talk, since time.Time) (after []time.Duration) {
	for _, k := range calls {
		for _, side := range []*phone.Call{k.a, k.b} {
			for _, at := range side.Arrivals() {
				if at.After(since) {
					after = append(after, at.Sub(since))
					break
				}
			}
		}
	}
	slices.Sort(after)
	return after
}

// written waits until so many answers are in the database, with what it takes to go on
// with their calls.
func (s *site) written(p *process, n int) {
	s.t.Helper()
	s.wait("all answers and states to be written", func() bool {
		return s.told("call.answered") == n && p.metric("tandem_journal_waiting") == 0
	})
}

// hundredCallsGoOn kills the server while a hundred calls talk. Whoever talks goes
// on talking when it is back, and hangs up when he likes.
func hundredCallsGoOn(t *testing.T, s *site) {
	const n = 100
	p := s.start()
	s.stay(p)
	c := s.connect(p)
	calls := c.talks(p, n)
	s.written(p, n)
	s.heard(calls)
	p.kill()
	begun := time.Now()
	p = s.start()
	up := time.Since(begun)
	s.heard(calls)
	if after := again(calls, begun); len(after) != 2*n {
		t.Errorf("%d of %d sides hear something again", len(after), 2*n)
	} else {
		t.Logf("the server was up after %v; the sides heard each other again %v (half of them), %v (all) after the start",
			up, after[n], after[2*n-1])
	}
	s.hangUp(calls, func(i int) int { return i % 2 })
	s.ended(map[string]int{"caller_hung_up": n / 2, "callee_hung_up": n / 2})
	s.lasted(calls)
	if p.terminate(); p.over() != 0 {
		t.Errorf("exit code %d", p.over())
	}
	if left := p.out.Lines("state of a call"); len(left) > 0 {
		t.Errorf("%s", left)
	}
}

// protectedCallsGoOn kills the server while calls by SRTP talk. They go on with the
// keys that they have, under streams that no packet was protected for before: a key
// stream that is used twice gives away what both packets say.
func protectedCallsGoOn(t *testing.T, s *site) {
	p := s.start()
	s.stay(p)
	c := s.connectBy(p, "required", sdp.Mandatory)
	calls := c.talks(p, 3)
	s.written(p, len(calls))
	s.heard(calls)
	s.keysOfTheirOwn(calls)
	streams := 1
	for range 2 {
		p.kill()
		p = s.start()
		s.heard(calls)
		s.must(calls[1].b.Hold(s.ctx))
		s.must(calls[1].b.Resume(s.ctx))
		s.heard(calls)
		streams++
		for _, k := range calls {
			for _, side := range []*phone.Call{k.a, k.b} {
				s.wait("the stream of this life", func() bool { return side.Hearing().Streams >= streams })
				if got := side.Hearing().Streams; got != streams || side.Protected() != sdp.GCM {
					t.Errorf("a side is protected by %q and has heard %d streams after %d lives of the server", side.Protected(), got, streams)
				}
			}
		}
	}
	s.keysOfTheirOwn(calls)
	s.hangUp(calls, func(i int) int { return i % 2 })
	s.ended(map[string]int{"caller_hung_up": 2, "callee_hung_up": 1})
	if p.terminate(); p.over() != 0 {
		t.Errorf("exit code %d", p.over())
	}
}

// keysOfTheirOwn checks that no two sides were ever given the same key.
func (s *site) keysOfTheirOwn(calls []*talk) {
	s.t.Helper()
	whose := map[string]*phone.Call{}
	for _, k := range calls {
		for _, side := range []*phone.Call{k.a, k.b} {
			given := 0
			for _, step := range side.Ladder() {
				for line := range strings.Lines(string(step.Raw)) {
					_, key, ok := strings.Cut(line, " inline:")
					if step.Out || !ok {
						continue
					}
					given++
					if other := whose[key]; other != nil && other != side {
						s.t.Errorf("two sides have one key")
					}
					whose[key] = side
				}
			}
			if given == 0 {
				s.t.Error("a side was given no key")
			}
		}
	}
}

// lasted holds the talk times of the records against what was measured.
func (s *site) lasted(calls []*talk) {
	s.t.Helper()
	records := s.calls() // the last one first
	slices.Reverse(records)
	for i, k := range calls {
		got := time.Duration(records[i].OnCallDuration) * time.Second
		// Across a restart there is the wall clock, of milliseconds; whole seconds are told.
		if got > k.most || got < (k.least-20*time.Millisecond).Truncate(time.Second) {
			s.t.Errorf("a call of %v to %v is said to have been one of %v", k.least, k.most, got)
		}
	}
}

// accidentsOfARestart is what else happens while a server is down, or comes back.
func accidentsOfARestart(t *testing.T, s *site) {
	p := s.start()
	s.stay(p)
	c := s.connect(p)
	calls := c.talks(p, 8)
	s.heard(calls)
	s.written(p, len(calls))

	for range 3 { // killed again before all has been asked for
		p.kill()
		p = s.start()
		pass(time.Duration(rand.IntN(100)) * time.Millisecond)
	}
	s.heard(calls)

	// A re-INVITE is under way. What was answered with 100 and never again is the
	// phone's to give up, so of its call only the end is looked at.
	for _, k := range calls[:3] {
		var wg sync.WaitGroup
		wg.Go(func() { s.changes(k) })
		pass(time.Duration(rand.IntN(20)) * time.Millisecond)
		p.kill()
		p = s.start()
		wg.Wait()
		s.heard(calls[3:])
	}

	// One hangs up while nobody hears it, and another's port is taken meanwhile.
	quiet, taken := calls[3], calls[4]
	port := relayPort(s, taken.a)
	p.kill()
	hung := make(chan error, 1)
	go func() { hung <- quiet.a.Hangup(s.ctx) }()
	s.wait("his BYE to be sent", func() bool { return said(quiet.a, "BYE ") > 0 })
	other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(port))
	s.must(err)
	defer func() { _ = other.Close() }()
	s.start()
	s.must(<-hung)
	for _, side := range []*phone.Call{quiet.b, taken.a, taken.b} {
		if end, err := side.Ended(s.ctx); err != nil || end.Err != nil || end.ByUs {
			t.Errorf("%+v, %v", end, err)
		}
	}
	s.heard(calls[5:])
	s.hangUp(slices.Delete(calls, 3, 5), func(i int) int { return i % 2 })
	s.ended(map[string]int{"caller_hung_up": 4, "callee_hung_up": 3, "node_lost": 1})
}

// changes makes offers within a call, whatever becomes of them.
func (s *site) changes(k *talk) {
	ctx, enough := context.WithTimeout(s.ctx, 2*time.Second)
	defer enough()
	for range 3 {
		if err := errors.Join(k.b.Hold(ctx), k.b.Resume(ctx)); err != nil {
			s.t.Logf("a re-INVITE of the tones %v: %v", k.hz, err)
		}
	}
}

// said counts the messages that a phone has sent and that begin so.
func said(c *phone.Call, start string) (n int) {
	for _, step := range c.Ladder() {
		if step.Out && bytes.HasPrefix(step.Raw, []byte(start)) {
			n++
		}
	}
	return n
}

// relayPort is where a phone was told to send its media.
func relayPort(s *site, c *phone.Call) netip.AddrPort {
	s.t.Helper()
	for _, step := range c.Ladder() {
		if step.Out {
			continue
		}
		if _, rest, ok := strings.Cut(string(step.Raw), "m=audio "); ok {
			word, _, _ := strings.Cut(rest, " ")
			port, err := strconv.ParseUint(word, 10, 16)
			s.must(err)
			return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
		}
	}
	s.t.Fatal("the phone was told of no media")
	return netip.AddrPort{}
}

// callsThatNobodyMissesEnd restarts a server whose callers know nothing of their
// calls any more.
func callsThatNobodyMissesEnd(t *testing.T, s *site) {
	p := s.start()
	s.stay(p)
	c := s.connect(p)
	calls := c.talks(p, 4)
	s.written(p, len(calls))
	p.kill()
	at := c.in.Addr()
	s.must(c.in.Close())
	fresh, err := phone.New(phone.Options{IP: at.Addr(), Port: at.Port()})
	s.must(err)
	defer func() { s.must(fresh.Close()) }()
	s.start()
	for _, k := range calls {
		if end, err := k.b.Ended(s.ctx); err != nil || end.Err != nil || end.ByUs {
			t.Errorf("%+v, %v", end, err)
		}
	}
	s.wait("the end of all records", func() bool { return s.told("call.completed") == len(calls) })
	s.ended(map[string]int{"node_lost": len(calls)})
}
