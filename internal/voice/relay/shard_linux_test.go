package relay

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// oneShard gives the only shard of an engine with a few sessions.
func oneShard(t testing.TB, e *Engine) *shard {
	t.Helper()
	d := e.driver.(*epoll)
	if len(d.shards) != 1 {
		t.Fatalf("%d shards", len(d.shards))
	}
	return d.shards[0]
}

// inside runs work in the shard's goroutine, so that it reads nothing meanwhile.
func inside(t testing.TB, sh *shard, work func()) {
	t.Helper()
	if err := sh.do(func() error { work(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// placeOf finds the place of a side's RTP socket. It runs in the shard.
func placeOf(sh *shard, s *Session, side Side) (at int32, p place) {
	for i, p := range sh.places {
		if p.s == s && p.side == side && !p.rtcp {
			return int32(i), p
		}
	}
	return -1, place{}
}

func TestAFloodOnOneCallDelaysAnotherByOnePacket(t *testing.T) {
	e := engine(t, Options{})
	e.reports = time.Hour // the timer must not ring among the events
	flooded, other := newCall(t, e), newCall(t, e)
	sh := oneShard(t, e)
	inside(t, sh, func() {
		for i := range uint16(100) {
			flooded.a.send(flooded.Local(A), packet(8, i, 1, 1, []byte("flood")))
		}
		other.a.send(other.Local(A), packet(8, 1, 1, 1, []byte("speech")))
		for i := range sh.events[:sh.poll()] {
			sh.serve(sh.events[i].Fd, sh.events[i].Pad, 0)
		}
		if in := other.Stats()[A].PacketsIn; in != 1 {
			t.Errorf("the other call got %d packets forwarded in the first round", in)
		}
		if in := flooded.Stats()[A].PacketsIn; in != 1 {
			t.Errorf("the flood got %d packets forwarded in the first round", in)
		}
	})
	if _, got := other.b.media(); string(got) != "speech" {
		t.Errorf("%q crossed", got)
	}
	eventually(t, func() bool { return flooded.Stats()[A].PacketsIn == 100 })
}

func TestAnEventForAnEarlierSocketIsNotTakenForALaterOne(t *testing.T) {
	e := engine(t, Options{})
	first := newCall(t, e)
	sh := oneShard(t, e)
	var at, generation int32
	inside(t, sh, func() {
		i, p := placeOf(sh, first.Session, A)
		at, generation = i, p.generation
	})
	first.Close()
	inside(t, sh, func() { sh.serve(at, generation, 0) }) // nobody is there
	var second call
	for again := int32(-1); again != at; { // places are used again, the last first
		if second.Session != nil {
			second.Close()
		}
		second = newCall(t, e)
		inside(t, sh, func() { again, _ = placeOf(sh, second.Session, A) })
	}
	inside(t, sh, func() {
		p := sh.places[at]
		if p.generation == generation {
			t.Error("two sockets are told apart by nothing")
		}
		second.a.send(second.Local(A), packet(8, 1, 1, 1, []byte("speech")))
		sh.serve(at, generation, 0)
		if in := second.Stats()[A].PacketsIn; in != 0 {
			t.Error("the event of a closed socket was taken for its successor's")
		}
		sh.serve(at, p.generation, 0)
		if in := second.Stats()[A].PacketsIn; in != 1 {
			t.Error("its own event was not taken")
		}
	})
}

func TestASocketThatKeepsFailingIsGivenUpAlone(t *testing.T) {
	e := engine(t, Options{})
	e.reports = time.Hour // the timer must not ring among the events
	c := newCall(t, e)
	sh := oneShard(t, e)
	inside(t, sh, func() {
		at, p := placeOf(sh, c.Session, A)
		for range maxFaults {
			sh.fault(at, unix.ENOMEM)
			sh.fault(at, unix.EAGAIN) // no fault of the socket
		}
		c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("unread")))
		if n := sh.poll(); n != 0 {
			t.Errorf("%d events, the place is %+v", n, p)
		}
	})
	c.b.send(c.Local(B), packet(8, 1, 1, 1, []byte("speech")))
	if _, got := c.a.media(); string(got) != "speech" {
		t.Errorf("%q crossed", got)
	}
}

func TestASessionThatCannotBeReadLeavesNothingBehind(t *testing.T) {
	e := engine(t, Options{})
	c := newCall(t, e)
	sh := oneShard(t, e)
	good, err := e.ports.open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer good.close()
	none := rawSocket(-1)
	stop, err := e.driver.start(newSession(e, good, &pair{rtp: none, rtcp: none}))
	if !errors.Is(err, unix.EBADF) || stop != nil {
		t.Fatalf("started without sockets: %v", err)
	}
	inside(t, sh, func() {
		if used := len(sh.places) - len(sh.unused); used != 4 {
			t.Errorf("%d places are taken by a call with four sockets", used)
		}
	})
	if n := e.driver.(*epoll).shards[0].sessions; n != 1 {
		t.Errorf("the shard counts %d sessions", n)
	}
	c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("speech")))
	if _, got := c.b.media(); string(got) != "speech" {
		t.Errorf("%q crossed", got)
	}
}

func TestASideThatCannotBeReadAnewIsReadAsBefore(t *testing.T) {
	e := engine(t, Options{})
	c := newCall(t, e)
	sh := oneShard(t, e)
	c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("speech")))
	first, _ := c.b.media()
	good, err := e.ports.open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer good.close()
	for _, fresh := range []*pair{{rtp: rawSocket(-1), rtcp: good.rtcp}, {rtp: good.rtp, rtcp: rawSocket(-1)}} {
		if err := c.reader.reseat(B, fresh); !errors.Is(err, unix.EBADF) {
			t.Fatalf("read anew without sockets: %v", err)
		}
	}
	inside(t, sh, func() {
		if used := len(sh.places) - len(sh.unused); used != 4 {
			t.Errorf("%d places are taken by a call with four sockets", used)
		}
	})
	c.a.send(c.Local(A), packet(8, 2, 161, 1, []byte("more")))
	if h, got := c.b.media(); string(got) != "more" || h.ssrc != first.ssrc || h.sequence != first.sequence+1 {
		t.Errorf("%q crossed as %+v after %+v", got, h, first)
	}
	c.b.send(c.Local(B), packet(8, 1, 1, 1, []byte("answer")))
	if _, got := c.a.media(); string(got) != "answer" {
		t.Errorf("%q crossed", got)
	}
}

func TestReportsOfClosedCallsAreForgotten(t *testing.T) {
	e := reporting(t, Options{})
	for range 20 {
		newCall(t, e).Close()
	}
	c := newCall(t, e)
	sh := oneShard(t, e)
	eventually(t, func() (settled bool) {
		inside(t, sh, func() { settled = len(sh.due) == 2 })
		return settled
	})
	c.a.receive(c.a.rtcp)
	c.b.receive(c.b.rtcp)
}

func TestCallsAreSpreadOverShardsOnceOneIsFull(t *testing.T) {
	e := engine(t, Options{})
	d := e.driver.(*epoll)
	d.most = 2
	count := func() (list []int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, sh := range d.shards {
			list = append(list, sh.sessions)
		}
		return list
	}
	var open []call
	for range fillFirst + 3 {
		s := opened(t, e)
		open = append(open, call{Session: s})
	}
	if got := count(); !slices.Equal(got, []int{fillFirst, 3}) {
		t.Errorf("sessions are spread as %v", got)
	}
	for _, c := range open[:10] {
		c.Close()
	}
	c := newCall(t, e) // in the second: still the one with fewer
	if got := count(); !slices.Equal(got, []int{fillFirst - 10, 4}) {
		t.Errorf("after some closed: %v", got)
	}
	c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("speech")))
	if _, got := c.b.media(); string(got) != "speech" {
		t.Errorf("%q crossed in the second shard", got)
	}
}

func TestASystemAddressReadsBackAsItWasBuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4"))
		if rapid.Bool().Draw(t, "is v6") {
			host, _ = netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6"))
		}
		want := netip.AddrPortFrom(host, rapid.Uint16().Draw(t, "port"))
		raw := newRawAddr(want)
		if got := raw.addrPort(); got != want {
			t.Fatalf("%v became %v", want, got)
		}
	})
	scoped := newRawAddr(netip.MustParseAddrPort("[fe80::1]:4000"))
	binary.NativeEndian.PutUint32(scoped.b[24:], 2)
	if got := scoped.addrPort(); got.Addr().Zone() == "" {
		t.Errorf("%v has lost its scope", got)
	}
	if got := new(rawAddr).addrPort(); got.IsValid() {
		t.Errorf("no family became %v", got)
	}
}

// descriptors counts the open files of the process.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestAThousandCallsUnderLoadLeaveNoDescriptor(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
		before := descriptors(t)
		e := engine(t, Options{Engine: kind, Quarantine: -1})
		const atOnce = 50
		for range 1000 / atOnce {
			var open []*Session
			for range atOnce {
				s := opened(t, e)
				open = append(open, s)
				c := call{s, a, b}
				c.connect(A, a.remote())
				c.connect(B, b.remote())
			}
			for i, s := range open {
				for _, later := range open[i:] {
					a.send(later.Local(A), packet(8, uint16(i), 1, 1, []byte("speech")))
				}
				s.Close()
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d open files before, %d after", before, after)
		}
	})
}
