package relay

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLatePacketsOfADeadCallNeverReachANewOne(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		low, high := portRange(t, 2) // one call's worth: the next call must use the same ports
		e := engine(t, Options{Engine: kind, MinPort: low, MaxPort: high, Now: now.Now})
		s := opened(t, e)
		old := call{s, newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.2")}
		old.connect(A, old.a.remote())
		old.connect(B, old.b.remote())
		ports := []netip.AddrPort{s.Local(A), s.Local(B)}
		late := func() {
			for i, p := range []*phone{old.a, old.b} {
				p.send(ports[i], packet(8, 9, 9, 9, []byte("secret of the old call")))
				p.send(ports[1-i], packet(8, 9, 9, 9, []byte("secret of the old call")))
			}
		}
		old.a.send(ports[0], packet(8, 1, 1, 1, []byte("old")))
		old.b.media()
		s.Close()

		late()
		now.advance(30*time.Second - 1)
		if _, err := e.Open(); !errors.Is(err, ErrNoPorts) {
			t.Fatalf("within the rest Open says %v", err)
		}
		if !rangeIsFree(low, high) {
			t.Error("a port is bound while it rests")
		}
		if st := e.Stats(); st.Quarantined != 2 || st.FreePorts != 0 {
			t.Errorf("resting: %+v", st)
		}
		late()
		now.advance(1)
		fresh := newCall(t, e)
		late()
		fresh.a.send(fresh.Local(A), packet(8, 1, 1, 1, []byte("new")))
		fresh.b.send(fresh.Local(B), packet(8, 1, 1, 1, []byte("new")))
		for _, p := range []*phone{fresh.a, fresh.b} {
			if _, got := p.media(); string(got) != "new" {
				t.Errorf("%q reached the new call", got)
			}
		}
		st := fresh.Close()
		if st[A].Strays+st[B].Strays != 4 { // the third volley; the first two met closed ports
			t.Errorf("%d strays, want 4", st[A].Strays+st[B].Strays)
		}
		fresh.a.empty()
		fresh.b.empty()
	})
}

func TestPortsRunOutAndComeBack(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		low, high := portRange(t, 6)
		e := engine(t, Options{Engine: kind, MinPort: low, MaxPort: high, Now: now.Now, Quarantine: time.Second})
		var open []*Session
		used := map[uint16]bool{}
		for range 3 {
			s := opened(t, e)
			for _, side := range []Side{A, B} {
				p := s.Local(side).Port()
				if used[p] || p%2 == 1 || p < low || p > high {
					t.Errorf("port %d is odd, out of range or handed out twice", p)
				}
				used[p] = true
			}
			open = append(open, s)
		}
		if _, err := e.Open(); !errors.Is(err, ErrNoPorts) {
			t.Errorf("with none left Open says %v", err)
		}
		for _, s := range open {
			s.Close()
		}
		now.advance(time.Second)
		if st := e.Stats(); st.FreePorts != 6 || st.Quarantined != 0 || st.Sessions != 0 {
			t.Errorf("after the rest: %+v", st)
		}
		if _, err := e.Open(); err != nil {
			t.Errorf("after the rest: %v", err)
		}
	})
}

func TestPortsAreSpareWhileAQuarterIsFree(t *testing.T) {
	now := newClock()
	low, high := portRange(t, 8)
	e := engine(t, Options{MinPort: low, MaxPort: high, Now: now.Now})
	var last *Session
	for open := range 4 { // two pairs each
		if want := open <= 3; e.Spare() != want {
			t.Errorf("with %d calls spare is %v", open, !want)
		}
		var err error
		if last, err = e.Open(); err != nil {
			t.Fatal(err)
		}
	}
	if last.Close(); e.Spare() {
		t.Error("ports that rest are spare")
	}
	if now.advance(30 * time.Second); !e.Spare() {
		t.Error("ports that have rested are not spare")
	}
	if e = engine(t, Options{}); !e.Spare() {
		t.Error("the kernel's ports are not spare")
	}
}

func TestAHalfOpenedCallGivesItsPortBackAtOnce(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		low, high := portRange(t, 3)
		e := engine(t, Options{Engine: kind, MinPort: low, MaxPort: high})
		if _, err := e.Open(); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Open(); !errors.Is(err, ErrNoPorts) {
			t.Errorf("with one pair left Open says %v", err)
		}
		if st := e.Stats(); st.FreePorts != 1 || st.Quarantined != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAPortThatAnotherProgramHoldsIsPassedOver(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		low, high := portRange(t, 4)
		var taken []*net.UDPConn
		for _, port := range []uint16{low, low + 3} { // RTP of the first pair, RTCP of the second
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			taken = append(taken, c)
		}
		now := newClock()
		e := engine(t, Options{Engine: kind, MinPort: low, MaxPort: high, Now: now.Now})
		s := opened(t, e)
		if s.Local(A).Port() < low+4 || s.Local(B).Port() < low+4 {
			t.Errorf("got %v and %v", s.Local(A), s.Local(B))
		}
		if _, err := e.Open(); !errors.Is(err, ErrNoPorts) {
			t.Errorf("with the rest held by others Open says %v", err)
		}
		for _, c := range taken {
			_ = c.Close()
		}
		if _, err := e.Open(); err != nil {
			t.Errorf("once the others let go: %v", err)
		}
	})
}

func TestPortsAreChosenAtRandom(t *testing.T) {
	p, err := newPorts(loopback, 20000, 29999, 0)
	if err != nil {
		t.Fatal(err)
	}
	rising := 0
	last, _ := p.take(0)
	for range 200 {
		port, ok := p.take(0)
		if !ok {
			t.Fatal("none left of 5000")
		}
		if port == last+2 {
			rising++
		}
		last = port
	}
	if rising > 5 {
		t.Errorf("%d of 200 ports follow the one before", rising)
	}
}

func TestKernelChosenPortsArePairsAndRestToo(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		e := engine(t, Options{Engine: kind, Now: now.Now})
		s := opened(t, e)
		port := s.Local(A).Port()
		if port%2 != 0 || s.Local(B).Port()%2 != 0 || port == s.Local(B).Port() {
			t.Errorf("%v and %v", s.Local(A), s.Local(B))
		}
		s.Close()
		if !e.ports.rests(port, e.Elapsed()) {
			t.Error("the port does not rest")
		}
		now.advance(30 * time.Second)
		if e.ports.rests(port, e.Elapsed()) {
			t.Error("the port rests too long")
		}
	})
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no address":         {},
		"unspecified":        {IP: netip.IPv4Unspecified()},
		"multicast":          {IP: loopback, Advertise: netip.MustParseAddr("224.0.0.1")},
		"two families":       {IP: loopback, Advertise: netip.IPv6Loopback()},
		"room for one pair":  {IP: loopback, MinPort: 20000, MaxPort: 20002},
		"backwards":          {IP: loopback, MinPort: 30000, MaxPort: 20000},
		"no such engine":     {IP: loopback, Engine: "fast"},
		"odd by one too few": {IP: loopback, MinPort: 20001, MaxPort: 20004},
	} {
		if e, err := New(o); err == nil {
			t.Errorf("%s is taken: %+v", name, e)
		}
	}
}

func TestTheAdvertisedAddressIsWhatLocalGives(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		public := netip.MustParseAddr("198.51.100.1")
		s, err := engine(t, Options{Engine: kind, IP: netip.IPv4Unspecified(), Advertise: public}).Open()
		if err != nil {
			t.Fatal(err)
		}
		if s.Local(A).Addr() != public {
			t.Errorf("local is %v", s.Local(A))
		}
	})
}

func TestCloseEndsEveryCallAndNoneStartsAfter(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		var calls []call
		for range 5 {
			calls = append(calls, newCall(t, e))
		}
		var wg sync.WaitGroup
		for range 3 { // callers that open while it closes
			wg.Go(func() {
				if s, err := e.Open(); err == nil {
					s.Close()
				} else if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			})
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if st := e.Stats(); st.Sessions != 0 {
			t.Errorf("%+v", st)
		}
		if err := calls[0].Connect(A, calls[0].a.remote()); !errors.Is(err, ErrClosed) {
			t.Errorf("a call of a closed engine says %v", err)
		}
		if _, err := e.Open(); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed engine says %v", err)
		}
	})
}

func TestAPortIsInOnePlaceOnlyWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const pairs, rest = 8, 30 * time.Second
		p, err := newPorts(loopback, 20000, 20000+2*pairs-1, rest)
		if err != nil {
			t.Fatal(err)
		}
		var now time.Duration
		out, retired := map[uint16]bool{}, map[uint16]time.Duration{}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				port, ok := p.take(now)
				if !ok {
					return
				}
				if at, was := retired[port]; out[port] || was && now < at+rest {
					t.Fatalf("port %d is out already or rests", port)
				}
				out[port] = true
			},
			"retire": func(t *rapid.T) {
				for port := range out {
					delete(out, port)
					retired[port] = now
					p.retire(port, now)
					return
				}
			},
			"unused": func(t *rapid.T) {
				for port := range out {
					delete(out, port)
					p.unused(port)
					return
				}
			},
			"time passes": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 20).Draw(t, "s")) * time.Second
			},
			"": func(t *rapid.T) {
				if free, resting := p.count(now); free+resting+len(out) != pairs {
					t.Fatalf("%d free, %d resting, %d out", free, resting, len(out))
				}
			},
		})
	})
}
