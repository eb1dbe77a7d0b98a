package relay

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/voice/g711"
)

// notes is a tap that writes down what it is shown.
type notes struct {
	mu   sync.Mutex
	list []Packet
}

func (n *notes) Packet(p *Packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	own := *p
	own.Media = bytes.Clone(p.Media)
	n.list = append(n.list, own)
}

func (n *notes) all() []Packet {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

func TestAListenerIsShownAllThatItsPeerSends(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		e := engine(t, Options{Engine: kind, Now: now.Now})
		c := newSilent(t, e)
		var a, b notes
		c.Listen(A, hearing{&a})
		c.Listen(B, hearing{&b})
		c.connect(A, c.a.remote())
		shown := func(n int) func() bool { return func() bool { return len(a.all()) == n } }

		now.advance(time.Second)
		withExtension := append(packet(0x80|8, 7, 8, 9, []byte{0xBE, 0xDE, 0, 0}), "before the other is there"...)
		withExtension[0] |= 0x10
		c.a.send(c.Local(A), withExtension)
		eventually(t, shown(1))
		to := c.b.remote()
		to.Payloads[101] = Drop
		c.connect(B, to)
		now.advance(time.Second)
		newPhone(t, "127.0.0.2").send(c.Local(A), packet(8, 8, 8, 9, []byte("stranger")))
		c.a.send(c.Local(A), []byte("no RTP"))
		c.a.send(c.Local(A), packet(101, 8, 168, 9, []byte("digit")))
		eventually(t, shown(2))
		c.Play(B, Speech{Payload: 8, Loop: true})
		c.a.send(c.Local(A), packet(8, 9, 328, 9, []byte("while we speak")))
		eventually(t, shown(3))
		c.Silence(B)
		c.a.send(c.Local(A), packet(8, 10, 488, 9, []byte("talk")))
		eventually(t, shown(4))
		for i, want := range []Packet{
			{A, 8, true, 7, 8, 9, time.Second, []byte("before the other is there")},
			{A, 101, false, 8, 168, 9, 2 * time.Second, []byte("digit")},
			{A, 8, false, 9, 328, 9, 2 * time.Second, []byte("while we speak")},
			{A, 8, false, 10, 488, 9, 2 * time.Second, []byte("talk")},
		} {
			got := a.all()[i]
			if !bytes.Equal(got.Media, want.Media) || got.At != want.At {
				t.Errorf("packet %d is %q of %v, want %q", i, got.Media, got.At, want.Media)
			}
			if got.Media, want.Media = nil, nil; got.Marker != want.Marker || got.Payload != want.Payload || got.Sequence != want.Sequence ||
				got.Timestamp != want.Timestamp || got.SSRC != want.SSRC || got.Side != want.Side {
				t.Errorf("packet %d is shown as %+v, want %+v", i, got, want)
			}
		}
		c.b.send(c.Local(B), packet(8, 1, 1, 1, []byte("answer")))
		c.a.media()
		if list := b.all(); len(list) != 1 || list[0].Side != B || string(list[0].Media) != "answer" {
			t.Errorf("of B is shown %+v", list)
		}
		if e.Elapsed() != 2*time.Second {
			t.Errorf("the engine's time is %v", e.Elapsed())
		}
	})
}

func TestARecorderIsShownExactlyWhatIsForwarded(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		var rec notes
		c.Record(&rec)
		r := rand.New(rand.NewPCG(rand.Uint64(), 0))
		toB := g711.ALaw.To(g711.ULaw)
		phones, held := [2]*phone{c.a, c.b}, [2]bool{}
		var sequence [2]uint16
		for n := range 300 {
			now.advance(frameTime)
			side := Side(r.IntN(2))
			switch r.IntN(8) {
			case 0:
				held[side] = !held[side]
				to := phones[side].remote()
				to.Send = !held[side]
				to.Payloads[101] = Drop
				if side == B {
					to.Tables[8] = toB
				}
				c.connect(side, to)
			case 1:
				c.Play(side, Speech{Payload: 18, Audio: phrase("a")})
			case 2:
				c.Silence(side)
			}
			c.spoken()
			sequence[side] += uint16([]int{1, 1, 1, 2, -1}[r.IntN(5)])
			media := []byte{byte(n), byte(n >> 8), byte(side)}
			before := c.Stats()[side].PacketsIn
			phones[side].send(c.Local(side), packet([]uint8{8, 8, 101}[r.IntN(3)], sequence[side], uint32(n)*160, 1+uint32(side), media))
			eventually(t, func() bool { return c.Stats()[side].PacketsIn > before })
		}
		c.Record(nil)
		var shown, arrived [2][][]byte
		for _, p := range rec.all() {
			shown[p.Side.Other()] = append(shown[p.Side.Other()], p.Media)
		}
		for i, st := range c.Close() {
			for range st.PacketsOut {
				h, media := phones[i].media()
				if h.payload == 18 {
					continue // we said it
				}
				arrived[i] = append(arrived[i], media)
			}
			phones[i].empty()
			if len(arrived[i]) < 5 || len(arrived[i]) != len(shown[i]) {
				t.Fatalf("%d packets arrived at side %v, of which %d were shown", len(arrived[i]), Side(i), len(shown[i]))
			}
			for k, media := range shown[i] {
				turned := bytes.Clone(media)
				for j, code := range media {
					turned[j] = toB[code]
				}
				if got := arrived[i][k]; !bytes.Equal(got, media) && (Side(i) == A || !bytes.Equal(got, turned)) {
					t.Errorf("packet %d to side %v is %x and was shown as %x", k, Side(i), got, media)
				}
			}
		}
	})
}

// strict is a tap that must not be called once it is ended, nor twice at a time
// for a side.
type strict struct {
	t     *testing.T
	calls [2]atomic.Int64
	busy  [2]atomic.Bool
	ended atomic.Bool
}

func (s *strict) Packet(p *Packet) {
	if !s.busy[p.Side].CompareAndSwap(false, true) {
		s.t.Error("shown two packets at a time")
	}
	s.calls[p.Side].Add(1)
	if s.ended.Load() {
		s.t.Error("shown a packet when it was ended")
	}
	s.busy[p.Side].Store(false)
}

func TestATapIsNotCalledOnceItIsEnded(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for side, from := range []*phone{c.a, c.b} {
			to := c.Local(Side(side))
			wg.Go(func() {
				for i := uint16(0); ; i++ {
					select {
					case <-stop:
						return
					default:
						_, _ = from.rtp.WriteToUDPAddrPort(packet(8, i, 1, uint32(side), []byte("speech")), to)
					}
				}
			})
		}
		heard := func(s *strict, side Side) { eventually(t, func() bool { return s.calls[side].Load() > 2 }) }
		for range 20 {
			one, both, next := &strict{t: t}, &strict{t: t}, &strict{t: t}
			c.Listen(A, hearing{one})
			c.Record(both)
			heard(one, A)
			heard(both, A)
			heard(both, B)
			c.Listen(A, hearing{next})
			one.ended.Store(true)
			heard(next, A)
			c.Listen(A, nil)
			next.ended.Store(true)
			c.Record(nil)
			both.ended.Store(true)
			if n := one.calls[B].Load(); n != 0 {
				t.Errorf("a listener to A was shown %d packets of B", n)
			}
		}
		last := &strict{t: t}
		c.Listen(B, hearing{last})
		c.Record(last)
		heard(last, A)
		c.Close()
		last.ended.Store(true)
		close(stop)
		wg.Wait()
	})
}

func TestATapCostsNoAllocation(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		to := c.b.remote()
		to.Tables[8] = g711.ALaw.To(g711.ULaw)
		c.connect(B, to)
		tap := &strict{t: t}
		c.Listen(A, hearing{tap})
		c.Record(tap)
		out := packet(8, 1, 1, 1, random(160))
		b, from := make([]byte, len(out)), addrOf(c.a.rtp)
		allocations := testing.AllocsPerRun(500, func() {
			copy(b, out)
			if !c.rewritten(b, from) {
				t.Fatal("dropped")
			}
		})
		if allocations != 0 || tap.calls[A].Load() != 2*501 {
			t.Errorf("%v allocations a packet, %d calls", allocations, tap.calls[A].Load())
		}
	})
}

func TestCodeWordsAreTurnedByTheNumberTheyArriveWith(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		toA, toB := c.a.remote(), c.b.remote()
		toB.Payloads[8], toB.Tables[8] = 0, g711.ALaw.To(g711.ULaw)
		toA.Payloads[0], toA.Tables[0] = 8, g711.ULaw.To(g711.ALaw)
		c.connect(A, toA)
		c.connect(B, toB)
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		b := append(packet(8, 1, 1, 1, nil), 0xBE, 0xDE, 0, 1, 1, 2, 3, 4) // an extension, which is no media
		b[0] |= 0x10
		c.a.send(c.Local(A), append(b, all...))
		if h, got := c.b.media(); h.payload != 0 || !bytes.Equal(got, g711.ALaw.To(g711.ULaw)[:]) {
			t.Errorf("A-law became %d %x", h.payload, got)
		}
		c.b.send(c.Local(B), packet(0, 1, 1, 1, all))
		if h, got := c.a.media(); h.payload != 8 || !bytes.Equal(got, g711.ULaw.To(g711.ALaw)[:]) {
			t.Errorf("µ-law became %d %x", h.payload, got)
		}
		c.a.send(c.Local(A), packet(101, 2, 161, 1, all[:4]))
		if h, got := c.b.media(); h.payload != 101 || !bytes.Equal(got, all[:4]) {
			t.Errorf("an event became %d %x", h.payload, got)
		}
		c.connect(B, c.b.remote())
		c.a.send(c.Local(A), packet(8, 3, 321, 1, all))
		if h, got := c.b.media(); h.payload != 8 || !bytes.Equal(got, all) {
			t.Errorf("without a table A-law became %d %x", h.payload, got)
		}
	})
}

// hearing is an ear that lets everything pass.
type hearing struct{ Tap }

func (h hearing) Hear(p *Packet) bool {
	h.Packet(p)
	return true
}

// deaf is an ear that lets one payload number pass and nothing else.
type deaf uint8

func (d deaf) Hear(p *Packet) bool { return p.Payload == uint8(d) }

func TestWhatAnEarKeepsReachesNobodyAndLeavesNoGap(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		c := newSilent(t, e)
		var kept notes
		c.connect(A, c.a.remote())
		c.connect(B, c.b.remote())
		c.Record(&kept)
		c.Listen(A, deaf(8))
		for i, payload := range []uint8{8, 101, 101, 8} {
			c.a.send(c.Local(A), packet(payload, uint16(10+i), uint32(160*i), 9, []byte{payload}))
		}
		h1, _ := c.b.media()
		h2, _ := c.b.media()
		if h1.payload != 8 || h2.payload != 8 || h2.sequence != h1.sequence+1 {
			t.Errorf("packets %+v and %+v reached the other side", h1, h2)
		}
		if list := kept.all(); len(list) != 2 {
			t.Errorf("%d packets were recorded", len(list))
		}
		if st := c.Stats()[A]; st.Held != 2 {
			t.Errorf("%d packets are counted as held", st.Held)
		}
	})
}
