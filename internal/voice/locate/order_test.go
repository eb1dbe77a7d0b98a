package locate

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func record(priority, weight uint16, addrs ...string) Record {
	r := Record{Priority: priority, Weight: weight, Port: 5060, Network: "udp"}
	for _, a := range addrs {
		r.Addrs = append(r.Addrs, netip.MustParseAddr(a))
	}
	return r
}

func TestEachCallDrawsAnOrderByPriorityAndWeight(t *testing.T) {
	f := Found{Records: []Record{record(1, 60, "192.0.2.1"), record(1, 30, "192.0.2.2"), record(1, 10, "192.0.2.3"), record(1, 0, "192.0.2.4"),
		record(2, 0, "192.0.2.5")}}
	source := rand.New(rand.NewPCG(1, 2))
	const calls = 20000
	first := map[string]float64{}
	for range calls {
		got := f.Order(source.IntN)
		if len(got) != 5 || got[4].Addr.String() != "192.0.2.5:5060" {
			t.Fatalf("order %v", got)
		}
		first[got[0].Addr.Addr().String()]++
	}
	// Of the 101 numbers that may be drawn one is that of weight 0 (RFC 2782).
	for addr, want := range map[string]float64{"192.0.2.1": 60, "192.0.2.2": 30, "192.0.2.3": 10, "192.0.2.4": 1} {
		if share := first[addr] * 101 / calls; math.Abs(share-want) > 1.5 {
			t.Errorf("%s is first in %.1f of 101 calls, want %.0f", addr, share, want)
		}
	}
	if f.Records[0].Weight != 60 || f.Records[3].Weight != 0 {
		t.Error("a draw changes what was found")
	}
}

// RFC 2782: of the numbers from 0 to the sum of weights each chooses one server, and
// none of weight 0 comes before its turn.
func TestEveryNumberThatCanBeDrawnChoosesAsTheRFCSays(t *testing.T) {
	f := Found{Records: []Record{record(1, 2, "192.0.2.2"), record(1, 1, "192.0.2.1"), record(1, 0, "192.0.2.9")}}
	for at, want := range []string{"192.0.2.9", "192.0.2.2", "192.0.2.2", "192.0.2.1"} {
		first := true
		got := f.Order(func(n int) int {
			if !first {
				return 0
			}
			if first = false; n != 4 {
				t.Errorf("drawn of %d numbers", n)
			}
			return at
		})
		if a := got[0].Addr.Addr().String(); a != want {
			t.Errorf("%d chooses %s, want %s", at, a, want)
		}
	}
}

func TestTheSameDrawGivesTheSameOrder(t *testing.T) {
	f := Found{Records: []Record{record(1, 1, "192.0.2.1", "192.0.2.2"), record(1, 1, "192.0.2.3"), record(1, 1, "192.0.2.4")}}
	order := func() []Server { return f.Order(rand.New(rand.NewPCG(3, 4)).IntN) }
	if a, b := order(), order(); !slices.Equal(a, b) {
		t.Errorf("%v and %v", a, b)
	}
}

func TestAddressesOfOneServerTakeTurnsWithinTheirFamily(t *testing.T) {
	f := Found{Records: []Record{record(1, 0, "2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3")}}
	source := rand.New(rand.NewPCG(5, 6))
	seen := map[netip.AddrPort]int{}
	for range 600 {
		got := f.Order(source.IntN)
		if got[0].Addr.Addr().Is4() || got[1].Addr.Addr().Is4() {
			t.Fatalf("order %v", got)
		}
		seen[got[0].Addr]++
		seen[got[2].Addr]++
	}
	if len(seen) != 5 {
		t.Errorf("first of their family: %v", seen)
	}
}

func TestAllWeightsZeroIsAnEvenDraw(t *testing.T) {
	f := Found{Records: []Record{record(1, 0, "192.0.2.1"), record(1, 0, "192.0.2.2")}}
	if got := f.Order(func(n int) int { return n - 1 }); len(got) != 2 {
		t.Errorf("order %v", got)
	}
	if got := (Found{}).Order(nil); got != nil {
		t.Errorf("nothing in order: %v", got)
	}
}
