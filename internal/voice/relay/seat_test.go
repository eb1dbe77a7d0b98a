package relay

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// unbound reports whether nobody holds a port of loopback.
func unbound(at netip.AddrPort) bool { return rangeIsFree(at.Port(), at.Port()+1) }

func TestASideThatIsTakenAnewKnowsNothingOfItsPeerAndTheOtherNoticesNothing(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		e := engine(t, Options{Engine: kind, Now: now.Now})
		s := opened(t, e)
		first, second := newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.3")
		c := call{s, newPhone(t, "127.0.0.1"), first}
		c.connect(A, c.a.remote())
		c.connect(B, first.remote())
		c.a.send(c.Local(A), packet(8, 1, 160, 1, []byte("to the first")))
		toFirst, _ := first.media()
		first.send(c.Local(B), packet(8, 500, 500, 9, []byte("of the first")))
		fromFirst, _ := c.a.media()

		old := c.Local(B)
		if err := c.reseat(B); err != nil {
			t.Fatal(err)
		}
		fresh := c.Local(B)
		if fresh == old || !unbound(old) || e.Stats().Quarantined != 1 {
			t.Errorf("%v became %v; %+v", old, fresh, e.Stats())
		}
		packets := unmarshal(t, first.receive(first.rtcp))
		if bye, ok := packets[len(packets)-1].(*rtcp.Goodbye); !ok || bye.Sources[0] != toFirst.ssrc {
			t.Errorf("the first peer is told %v", packets)
		}
		if st := c.Stats()[B]; st.PacketsIn+st.PacketsOut+st.BytesOut != 0 || st.Payloads != nil || !c.Activity().Last[B].IsZero() {
			t.Errorf("of the first peer is known %+v", st)
		}
		if st := e.Stats(); st.PacketsIn != 2 || st.PacketsOut != 2 {
			t.Errorf("the engine forgot packets: %+v", st)
		}

		now.advance(20 * time.Millisecond)
		first.send(old, packet(8, 501, 660, 9, []byte("late")))
		first.send(fresh, packet(8, 501, 660, 9, []byte("late")))
		c.a.send(c.Local(A), packet(8, 2, 320, 1, []byte("to nobody")))
		eventually(t, func() bool { st := c.Stats(); return st[A].Held == 1 && st[B].Strays == 1 })
		c.connect(B, second.remote())
		first.send(fresh, packet(8, 502, 820, 9, []byte("late")))
		now.advance(20 * time.Millisecond)
		second.send(fresh, packet(8, 560, 77, 9, []byte("of the second"))) // with the SSRC that the first had
		if h, got := c.a.media(); string(got) != "of the second" || h.ssrc != fromFirst.ssrc ||
			h.sequence != fromFirst.sequence+1 || h.timestamp != fromFirst.timestamp+320 {
			t.Errorf("%q as %+v after %+v", got, h, fromFirst)
		}
		c.a.send(c.Local(A), packet(8, 3, 480, 1, []byte("to the second")))
		if h, got := second.media(); string(got) != "to the second" || h.ssrc == toFirst.ssrc {
			t.Errorf("%q as %+v", got, h)
		}
		c.a.empty()
		first.empty()
		c.Close()
		if st := e.Stats(); st.PacketsIn != 5 || st.PacketsOut != 4 || st.Strays != 2 || st.Quarantined != 3 {
			t.Errorf("at the end %+v", st)
		}
		packets = unmarshal(t, second.receive(second.rtcp))
		if name := packets[1].(*rtcp.SourceDescription).Chunks[0]; name.Source == toFirst.ssrc {
			t.Error("both peers know one name")
		}
	})
}

func TestWhatIsSaidGoesOnWhereNoSeatWasTaken(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		c.Play(A, Speech{Payload: 8, Audio: phrase("abc")})
		c.Play(B, Speech{Payload: 8, Audio: phrase("xyz"), Done: func() { t.Error("what was said to the old peer came to its end") }})
		first, _ := c.a.media()
		c.b.media()
		var tap notes
		c.Listen(B, hearing{&tap})
		if err := c.reseat(B); err != nil {
			t.Fatal(err)
		}
		for i := range uint16(2) {
			now.advance(frameTime)
			if h, got := c.a.media(); got[0] != byte('b'+i) || h.sequence != first.sequence+1+i || h.timestamp != first.timestamp+160*uint32(1+i) {
				t.Errorf("%c as %+v after %+v", got[0], h, first)
			}
		}
		now.advance(frameTime)
		c.spoken()
		c.connect(B, c.b.remote())
		c.b.send(c.Local(B), packet(8, 1, 1, 1, []byte("talk")))
		if h, got := c.a.media(); string(got) != "talk" || h.sequence != first.sequence+3 {
			t.Errorf("%q as %+v after %+v", got, h, first)
		}
		if len(tap.all()) != 1 {
			t.Error("the tap has gone with the peer")
		}
		c.b.empty()
	})
}

func TestASeatThatCannotBeTakenChangesNothing(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		low, high := portRange(t, 2)
		e := engine(t, Options{Engine: kind, MinPort: low, MaxPort: high})
		c := newCall(t, e)
		before := [2]netip.AddrPort{c.Local(A), c.Local(B)}
		c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("one")))
		first, _ := c.b.media()
		if err := c.reseat(B); !errors.Is(err, ErrNoPorts) {
			t.Fatalf("the seat was taken: %v", err)
		}
		c.a.send(c.Local(A), packet(8, 2, 161, 1, []byte("two")))
		if h, got := c.b.media(); string(got) != "two" || h.sequence != first.sequence+1 || h.ssrc != first.ssrc {
			t.Errorf("%q as %+v after %+v", got, h, first)
		}
		if after := [2]netip.AddrPort{c.Local(A), c.Local(B)}; after != before || e.Stats().Quarantined != 0 {
			t.Errorf("%v became %v", before, after)
		}
	})
}

func TestASeatThatCannotBeTakenIsGivenBack(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		c := newCall(t, e)
		seat, err := e.Seat()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := c.Take(B, seat); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if st := e.Stats(); st.Quarantined != 3 || !unbound(seat.Local()) {
			t.Errorf("%+v", st)
		}
	})
}

func TestSeatsTakenAgainAndAgainUnderLoadKeepTheOthersStreamWhole(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := reporting(t, Options{Engine: kind, Quarantine: -1})
		e.speaker.period = time.Millisecond
		c := newCall(t, e)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		busy := func(work func(i uint16)) {
			wg.Go(func() {
				for i := uint16(0); ; i++ {
					select {
					case <-stop:
						return
					default:
						work(i)
					}
				}
			})
		}
		audio, tap := phrase("s"), &strict{t: t}
		busy(func(i uint16) { _, _ = c.a.rtp.WriteToUDPAddrPort(packet(8, i, 1, 1, []byte("a")), c.Local(A)) })
		busy(func(i uint16) { _, _ = c.b.rtp.WriteToUDPAddrPort(packet(8, i, 1, 2, []byte("b")), c.Local(B)) })
		busy(func(uint16) {
			c.Play(A, Speech{Payload: 8, Audio: audio, Done: func() {}})
			c.Play(B, Speech{Payload: 8, Audio: audio})
			c.Silence(A)
		})
		busy(func(uint16) {
			c.Listen(B, hearing{tap})
			c.Record(tap)
			c.Listen(B, nil)
			c.Record(nil)
			c.Stats()
			e.Stats()
			c.Activity()
		})
		wg.Go(func() {
			defer close(stop)
			for range 20 {
				if err := errors.Join(c.reseat(B), c.Connect(B, c.b.remote())); err != nil {
					t.Error(err)
				}
				before := c.Stats()[B].PacketsIn
				eventually(t, func() bool { return c.Stats()[B].PacketsIn > before })
			}
		})
		whole(t, c.a.rtp, stop)
		wg.Wait()
		if st := c.Stats(); st[A].Unsent+st[A].Malformed+st[B].Malformed != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// whole reads a stream until stop and fails unless it is one. What the reader's
// own socket had no room for may lack.
func whole(t *testing.T, conn *net.UDPConn, stop <-chan struct{}) {
	t.Helper()
	buf := make([]byte, 2048)
	var last header
	for n := 0; ; {
		select {
		case <-stop:
			if n < 50 {
				t.Errorf("only %d packets arrived", n)
			}
			return
		default:
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		size, _, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			continue
		}
		h, ok := parseHeader(buf[:size])
		if !ok || n > 0 && (h.ssrc != last.ssrc || int16(h.sequence-last.sequence) <= 0) {
			t.Fatalf("%+v after %+v", h, last)
		}
		last = h
		n++
	}
}

// reseat gives a side another peer, as for a second number that is rung.
func (c call) reseat(side Side) error {
	seat, err := c.engine.Seat()
	if err != nil {
		return err
	}
	return c.Take(side, seat)
}

func TestWhatCameToASeatBeforeItWasTakenIsLost(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		c := newCall(t, e)
		seat, err := e.Seat()
		if err != nil {
			t.Fatal(err)
		}
		second := newPhone(t, "127.0.0.3")
		for i := range uint16(20) {
			second.send(seat.Local(), packet(8, i, 160*uint32(i), 7, []byte("early")))
		}
		if err := c.Take(B, seat); err != nil || c.Local(B) != seat.Local() {
			t.Fatal(err, c.Local(B))
		}
		c.connect(B, second.remote())
		second.send(c.Local(B), packet(8, 20, 3200, 7, []byte("talk")))
		if _, got := c.a.media(); string(got) != "talk" {
			t.Errorf("the caller hears %q", got)
		}
		seat.Close() // it is the session's
		second.send(c.Local(B), packet(8, 21, 3360, 7, []byte("more")))
		if _, got := c.a.media(); string(got) != "more" {
			t.Errorf("the caller hears %q", got)
		}
	})
}

func TestASeatThatIsNotTakenRests(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		seat, err := e.Seat()
		if err != nil {
			t.Fatal(err)
		}
		seat.Close()
		seat.Close()
		if st := e.Stats(); st.Quarantined != 1 || !unbound(seat.Local()) {
			t.Errorf("%+v", st)
		}
	})
}
