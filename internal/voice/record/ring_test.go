package record

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
)

func TestTheRingGivesWhatWasPutInInOrder(t *testing.T) {
	r := newRing()
	const count = 20_000
	lengths := rand.New(rand.NewPCG(1, 2))
	var sizes []int
	for range count {
		sizes = append(sizes, lengths.IntN(1460))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, size := range sizes {
			p := &relay.Packet{Sequence: uint16(i), Timestamp: uint32(i), SSRC: ^uint32(i), At: time.Duration(i), Marker: i%3 == 0,
				Media: bytes.Repeat([]byte{byte(i)}, size)}
			for !r.push(p, g711.Law(i%2+1)) {
				runtime.Gosched()
			}
		}
	})
	for i, size := range sizes {
		p, ok := r.peek()
		for ; !ok; p, ok = r.peek() {
			runtime.Gosched()
		}
		want := packet{at: time.Duration(i), sequence: uint16(i), timestamp: uint32(i), ssrc: ^uint32(i), marker: i%3 == 0, law: g711.Law(i%2 + 1)}
		media := p.media
		p.media = nil
		if fmt.Sprint(p) != fmt.Sprint(want) || !bytes.Equal(media, bytes.Repeat([]byte{byte(i)}, size)) {
			t.Fatalf("packet %d: %+v with %d bytes, want %+v with %d", i, p, len(media), want, size)
		}
		r.pop()
	}
	wg.Wait()
	if _, ok := r.peek(); ok {
		t.Error("there is more than was put in")
	}
}

func TestAFullRingRefusesAndKeepsWhatItHas(t *testing.T) {
	r := newRing()
	n := 0
	for r.push(&relay.Packet{Sequence: uint16(n), Media: make([]byte, 160)}, g711.ALaw) {
		n++
	}
	if held := time.Duration(n) * 20 * time.Millisecond; held < 3*time.Second || n*184 > ringSize {
		t.Errorf("%d packets fit, which is %v", n, held)
	}
	for i := range n {
		if p, ok := r.peek(); !ok || int(p.sequence) != i {
			t.Fatalf("packet %d: %+v, %v", i, p, ok)
		}
		r.pop()
	}
	if r.push(&relay.Packet{Media: make([]byte, ringSize)}, g711.ALaw) {
		t.Error("a packet that no network carries was taken")
	}
}

func TestManyCallsAreRecordedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		const calls = 60
		var wg sync.WaitGroup
		for i := range calls {
			s := spec(fmt.Sprintf("call_%d", i))
			s.Tenant = masking.TenantID(fmt.Sprintf("tenant-%d", i%7))
			wg.Go(func() {
				c := g.Start(s)
				var sides sync.WaitGroup
				for side := range relay.Side(2) {
					sides.Go(func() { // each side's packets come from a goroutine of their own
						media := bytes.Repeat([]byte{byte(i), byte(side)}, 80)
						packets := time.NewTicker(20 * time.Millisecond)
						defer packets.Stop()
						for n := range 250 {
							<-packets.C
							c.Packet(&relay.Packet{Side: side, Payload: 8, Sequence: uint16(n), Timestamp: uint32(160 * n), At: g.now(), Media: media})
							if n%50 == 0 {
								c.SetLaws(side, both()[side])
								g.Stats()
							}
						}
					})
				}
				sides.Wait()
				c.Stop()
			})
		}
		g.await(calls)
		wg.Wait()
		var names []string
		for _, s := range g.sink.stored {
			names = append(names, string(s.Call))
			if s.Truncated || s.Dropped != 0 || s.Late != 0 || s.Duration != 5*time.Second {
				t.Errorf("%+v", s)
			}
			var i int
			if _, err := fmt.Sscanf(string(s.Call), "call_%d", &i); err != nil {
				t.Fatal(err)
			}
			sound, values := g.play(s).Samples, g711.ALaw.Values()
			if frame := sound[2*20_000 : 2*20_002]; !slices.Equal(frame, []int16{values[i], values[i], values[0], values[1]}) {
				t.Errorf("%s: %v is of another call", s.Call, frame)
			}
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != calls || len(g.spool()) != 0 {
			t.Errorf("%d calls, spool %v", len(names), g.spool())
		}
	})
}
