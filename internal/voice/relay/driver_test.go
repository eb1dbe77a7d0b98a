package relay

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// forwarded is what a peer can tell of one packet: all of it, with numbers and
// timestamps counted from the first, since both begin at random.
type forwarded struct {
	payload   uint8
	marker    bool
	sequence  uint16
	timestamp uint32
	media     string
}

func TestEveryEngineRewritesLikeThePortableOne(t *testing.T) {
	seed := rand.Uint64()
	want, counts := play(t, PortableEngine, seed)
	if len(want) < 100 {
		t.Fatalf("only %d packets crossed", len(want))
	}
	got, gotCounts := play(t, AutoEngine, seed)
	for i := range min(len(want), len(got)) {
		if got[i] != want[i] {
			t.Fatalf("seed %d: packet %d is %+v, want %+v", seed, i, got[i], want[i])
		}
	}
	if len(got) != len(want) || !slices.Equal(gotCounts, counts) {
		t.Errorf("seed %d: %d packets with counts %v, want %d with %v", seed, len(got), gotCounts, len(want), counts)
	}
}

// play sends the packets of a seed, good and bad, from A and from a stranger,
// and gives what B gets and what is counted of A.
func play(t *testing.T, kind string, seed uint64) (list []forwarded, counts []uint64) {
	now := newClock()
	c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
	to := c.b.remote()
	to.Payloads[101], to.Payloads[77] = 96, Drop
	c.connect(B, to)
	stranger := newPhone(t, "127.0.0.2")
	r := rand.New(rand.NewPCG(seed, 0))
	var first header
	sequence, timestamp, ssrc := uint16(r.Uint32()), r.Uint32(), uint32(1)
	for range 300 {
		sequence += uint16([]int{1, 1, 1, 1, 2, 0, -2}[r.IntN(7)])
		timestamp += 160
		now.advance(time.Duration(r.IntN(40)) * time.Millisecond)
		if r.IntN(30) == 0 {
			sequence, timestamp, ssrc = uint16(r.Uint32()), r.Uint32(), ssrc+1
		}
		b := packet([]uint8{8, 8, 8, 101, 77, 0x80 | 8}[r.IntN(6)], sequence, timestamp, ssrc, []byte{byte(r.Uint32()), byte(r.Uint32())})
		from := c.a
		switch r.IntN(20) {
		case 0:
			from = stranger
		case 1:
			b = b[:r.IntN(len(b))]
		case 2:
			b = append(bytes.Clone(b), make([]byte, maxPacket)...)
		}
		before := c.Stats()[A]
		from.send(c.Local(A), b)
		eventually(t, func() bool {
			st := c.Stats()[A]
			return st.PacketsIn+st.Strays+st.Malformed != before.PacketsIn+before.Strays+before.Malformed
		})
		if st := c.Stats()[A]; st.PacketsIn == before.PacketsIn || st.Unmapped+st.Held != before.Unmapped+before.Held {
			continue // it does not cross
		}
		h, media := c.b.media()
		if first.ssrc == 0 {
			first = h
		}
		if h.ssrc != first.ssrc {
			t.Errorf("a second source in packet %d", len(list))
		}
		list = append(list, forwarded{h.payload, h.marker, h.sequence - first.sequence, h.timestamp - first.timestamp, string(media)})
	}
	c.b.empty()
	st := c.Close()[A]
	return list, []uint64{st.PacketsIn, st.BytesIn, st.Lost, uint64(st.Jitter), st.Strays, st.Malformed, st.Unmapped, st.Held}
}

func TestCallsThatCloseWhilePacketsArriveDisturbNoOther(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := reporting(t, Options{Engine: kind, Quarantine: -1})
		var wg sync.WaitGroup
		for id := range byte(4) {
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			wg.Go(func() { hammer(t, e, id, a, b) })
		}
		wg.Wait()
		if st := e.Stats(); st.Sessions != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// hammer opens and closes calls while their phones send all the time, and looks
// for what the phones of other calls said.
func hammer(t *testing.T, e *Engine, id byte, a, b *phone) {
	for range 50 {
		s, err := e.Open()
		if err != nil {
			t.Error(err)
			return
		}
		if err := errors.Join(s.Connect(A, a.remote()), s.Connect(B, b.remote())); err != nil {
			t.Error(err)
			return
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for side, from := range []*phone{a, b} {
			wg.Go(func() {
				for i := uint16(0); ; i++ {
					select {
					case <-stop:
						return
					default:
						_, _ = from.rtp.WriteToUDPAddrPort(packet(8, i, 1, uint32(side), []byte{id}), s.Local(Side(side)))
					}
				}
			})
		}
		_ = b.rtp.SetReadDeadline(time.Now().Add(5 * time.Second))
		for range 3 {
			n, _, err := b.rtp.ReadFromUDPAddrPort(b.buf)
			if err != nil || n != headerSize+1 || b.buf[headerSize] != id {
				t.Errorf("phone %d got %x, %v", id, b.buf[:n], err)
			}
		}
		s.Close()
		close(stop)
		wg.Wait()
	}
}
