package relay

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// die ends the process of a call: nothing of it is left but its state, as text.
func (c call) die(t *testing.T) SessionState {
	t.Helper()
	text, err := json.Marshal(c.State())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.engine.Close(); err != nil {
		t.Fatal(err)
	}
	var st SessionState
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// resumed goes on with a call in an engine of another process, its peers signalled
// as before.
func (c call) resumed(t *testing.T, e *Engine, st SessionState) call {
	t.Helper()
	s, err := e.Resume(st)
	if err != nil {
		t.Fatal(err)
	}
	again := call{s, c.a, c.b}
	again.connect(A, c.a.remote())
	again.connect(B, c.b.remote())
	return again
}

func TestAResumedSessionGoesOnAtItsPortsAndTheRestartLooksLikeALoss(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
		ports := [2]netip.AddrPort{c.Local(A), c.Local(B)}
		c.a.send(ports[A], packet(8, 65_530, 160, 1, []byte("one")))
		atB, _ := c.b.media()
		c.b.send(ports[B], packet(8, 500, 7777, 9, []byte("one")))
		atA, _ := c.a.media()
		st := c.die(t)

		now.advance(20 * time.Minute) // more numbers than there are have gone by since the state was written
		e := engine(t, Options{Engine: kind, Now: now.Now})
		again := c.resumed(t, e, st)
		if again.Local(A) != ports[A] || again.Local(B) != ports[B] {
			t.Errorf("at %v and %v, not at %v", again.Local(A), again.Local(B), ports)
		}
		again.b.send(ports[B], packet(8, 500+9, 7777+9*160, 9, []byte("lost")))
		eventually(t, func() bool { return again.Stats()[B].Held == 1 }) // A has not been heard again
		again.a.send(ports[A], packet(8, 1000, 9_600_160, 1, []byte("two")))
		if h, got := again.b.media(); string(got) != "two" || h.ssrc != atB.ssrc ||
			h.sequence != atB.sequence+1006 || h.timestamp != atB.timestamp+9_600_000 {
			t.Errorf("%q as %+v after %+v", got, h, atB)
		}
		again.b.send(ports[B], packet(8, 500+10, 7777+1600, 9, []byte("two")))
		if h, got := again.a.media(); string(got) != "two" || h.ssrc != atA.ssrc ||
			h.sequence != atA.sequence+10 || h.timestamp != atA.timestamp+1600 {
			t.Errorf("%q as %+v after %+v", got, h, atA)
		}
	})
}

func TestAMovedSessionGoesOnAtOtherPortsAndNoNumberOfAPacketIsUsedTwice(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
		was := c.Local(A)
		c.a.send(was, packet(8, 100, 160, 1, []byte("one")))
		atB, _ := c.b.media()
		st := c.die(t)

		now.advance(-time.Second) // by a clock that is behind
		s, err := engine(t, Options{Engine: kind, Now: now.Now}).Move(st)
		if err != nil {
			t.Fatal(err)
		}
		again := call{s, c.a, c.b}
		again.connect(A, c.a.remote())
		again.connect(B, c.b.remote())
		again.b.send(again.Local(B), packet(8, 1, 1, 7, []byte("lost")))
		eventually(t, func() bool { return again.Stats()[B].Held == 1 }) // A has not agreed to go on here
		again.a.send(again.Local(A), packet(8, 7, 7, 2, []byte("two")))  // of a sender that has begun anew
		if h, got := again.b.media(); string(got) != "two" || h.ssrc != atB.ssrc || int16(h.sequence-atB.sequence) < jump {
			t.Errorf("%q as %+v after %+v", got, h, atB)
		}
	})
}

func TestAStreamWhoseSenderChangedInTheRestartGoesOnAhead(t *testing.T) {
	now := newClock()
	c := newCall(t, engine(t, Options{Now: now.Now}))
	c.a.send(c.Local(A), packet(8, 1, 160, 1, []byte("one")))
	before, _ := c.b.media()
	st := c.die(t)
	st.Sides[A].RTP, st.Sides[A].PeerSSRC = netip.AddrPort{}, 0 // written before anything came
	now.advance(10 * time.Second)
	again := c.resumed(t, engine(t, Options{Now: now.Now}), st)
	again.b.send(again.Local(B), packet(8, 1, 1, 9, []byte("lost")))
	eventually(t, func() bool { return again.Stats()[B].Held == 1 })
	again.a.send(again.Local(A), packet(8, 30_000, 1, 77, []byte("two")))
	h, _ := again.b.media()
	if ahead := h.sequence - before.sequence; h.ssrc != before.ssrc || ahead < 500 || ahead > 3000 || h.timestamp != before.timestamp+80_000 {
		t.Errorf("%+v after %+v", h, before)
	}
}

// What is behind is thrown away by many, so a stream goes on ahead of all that was
// sent, however long ago its state was written.
func TestAStreamGoesOnAheadOfPacketsOfTenAndOfTwentyMilliseconds(t *testing.T) {
	for _, every := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond} {
		for _, away := range []time.Duration{0, time.Second, time.Minute, 5 * time.Minute, 8 * time.Minute, 13 * time.Minute,
			15 * time.Minute, 21 * time.Minute, 22 * time.Minute, time.Hour} {
			was := newFlow(7)
			st := FlowState{Sequence: was.sequence, Timestamp: was.timestamp, Clock: 8000}
			for down := range time.Duration(10) {
				f := restored(st, 7, 2*time.Hour, away)
				sequence, timestamp, ok := f.number(header{ssrc: 1, sequence: 9, timestamp: 9}, 8000, 2*time.Hour)
				died := away - min(away, down*time.Second)
				if last := was.sequence + uint16(died/every); !ok || int16(sequence-last) <= 0 {
					t.Errorf("%v after packets each %v of which the last was %d, %d follows", away-died, every, last, sequence)
				}
				if want := was.timestamp + ticks(away, 8000); int32(timestamp-want) < 0 || timestamp-want > 1 {
					t.Errorf("at %d follows %d", want, timestamp)
				}
			}
		}
	}
}

func TestNothingIsSentToAPeerThatIsNotHeardAgainUntilItIsTrusted(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		st := c.die(t)
		again := c.resumed(t, engine(t, Options{Engine: kind}), st)
		again.a.send(again.Local(A), packet(8, 1, 1, 1, []byte("to whom?")))
		eventually(t, func() bool { return again.Stats()[A].Held == 1 })
		again.sendReport(B, false)
		again.Trust(B)
		again.a.send(again.Local(A), packet(8, 2, 161, 1, []byte("to him")))
		if _, got := again.b.media(); string(got) != "to him" {
			t.Errorf("%q", got)
		}
		if again.ends[B].rtcpTo.Load() == nil {
			t.Error("he gets no reports")
		}
		again.b.empty()
	})
}

func TestAfterARestartNoStrangerTakesThePlaceOfAPeerThatWasFound(t *testing.T) {
	c := newCall(t, engine(t, Options{}))
	c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("one")))
	c.b.media()
	st := c.die(t)
	again := c.resumed(t, engine(t, Options{}), st)
	again.Trust(B)
	other := newPhone(t, "127.0.0.1")
	other.send(again.Local(A), packet(8, 1, 1, 2, []byte("bleed")))
	eventually(t, func() bool { return again.Stats()[A].Strays == 1 })
	other.send(again.Local(A), packet(8, 2, 161, 1, []byte("from another port")))
	if _, got := again.b.media(); string(got) != "from another port" {
		t.Errorf("%q", got)
	}
	again.b.empty()
}

func TestASessionWhosePortIsTakenIsNotResumedAndItsPortsRest(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		low, high := portRange(t, 2)
		o := Options{Engine: kind, MinPort: low, MaxPort: high, Now: now.Now}
		c := newCall(t, engine(t, o))
		rtcp := netip.AddrPortFrom(loopback, c.Local(B).Port()+1)
		st := c.die(t)
		other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(rtcp))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		e := engine(t, o)
		if _, err := e.Resume(st); err == nil {
			t.Fatal("it was resumed")
		}
		if s := e.Stats(); s.Quarantined != 2 || s.FreePorts != 0 || s.Sessions != 0 {
			t.Errorf("%+v", s)
		}
		_ = other.Close()
		now.advance(time.Minute)
		if s, err := e.Resume(st); err != nil || s.Local(A) != c.Local(A) {
			t.Errorf("once the ports have rested: %v", err)
		}
		if _, err := e.Resume(st); !errors.Is(err, ErrNoPorts) {
			t.Errorf("a second time: %v", err)
		}
		if s := e.Stats(); s.Quarantined != 0 || s.Sessions != 1 {
			t.Errorf("%+v", s)
		}
		foreign := st
		foreign.Sides[A].Port, foreign.Sides[B].Port = high+1, 7
		if _, err := e.Resume(foreign); !errors.Is(err, ErrNoPorts) {
			t.Errorf("ports that are not ours: %v", err)
		}
	})
}

// With the key and the SSRC of before, packets would be numbered anew under a key
// stream that has been used.
func TestAResumedSideWithKeysIsSentToUnderAnotherSSRC(t *testing.T) {
	for suite := range suites {
		t.Run(suite, func(t *testing.T) {
			c, a := halfSecure(t, AutoEngine, suite)
			c.b.send(c.Local(B), packet(8, 1, 160, 9, []byte("one")))
			before, _ := a.heard()
			st := c.die(t)
			s, err := engine(t, Options{}).Resume(st)
			if err != nil {
				t.Fatal(err)
			}
			again := call{s, c.a, c.b}
			for range 2 { // a refresh changes nothing
				again.connect(A, a.remote())
				again.connect(B, c.b.remote())
			}
			a.send(again.Local(A), a.protect(packet(8, 1, 160, 7, []byte("here I am"))))
			eventually(t, func() bool { return again.Stats()[A].PacketsIn == 1 })
			for n := range uint16(2) {
				again.b.send(again.Local(B), packet(8, 2+n, 320+160*uint32(n), 9, []byte("two")))
				if h, got := a.heard(); string(got) != "two" || h.ssrc == before.ssrc || h.ssrc != again.State().Sides[A].SSRC {
					t.Errorf("%q as %+v after %+v", got, h, before)
				}
			}
		})
	}
}
