package b2bua

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tandem/internal/masking"
)

var sideNames = []string{A: "A", B: "B"}

// fakeMedia opens sessions with ports of their own.
type fakeMedia struct {
	trace    *trace
	mu       sync.Mutex
	fail     bool
	failOnce bool
	scarce   bool   // there is none to spare
	full     bool   // no seat can be taken
	port     uint16 // given last
	sessions []*fakeSession
}

func (m *fakeMedia) Open() (Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail || m.failOnce {
		m.failOnce = false
		return nil, errors.New("no port is free")
	}
	s := &fakeSession{media: m, trace: m.trace}
	for side := range s.ports {
		s.ports[side] = m.nextPort()
	}
	m.sessions = append(m.sessions, s)
	return s, nil
}

func (m *fakeMedia) Spare() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.scarce
}

func (m *fakeMedia) nextPort() uint16 {
	m.port += 2
	return 20000 + m.port
}

// last is the session opened last; nil if none was.
func (m *fakeMedia) last() *fakeSession {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sessions) == 0 {
		return nil
	}
	return m.sessions[len(m.sessions)-1]
}

func (m *fakeMedia) opened() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions)
}

// fakeSession keeps what it is told. What is said to a side goes on until the
// test ends it; a side that cannot be spoken to ends it at once.
type fakeSession struct {
	media *fakeMedia
	trace *trace

	mu      sync.Mutex
	ports   [2]uint16
	heard   [2]time.Time
	peers   [2][]Stream
	says    [2]*Words // now
	said    [2][]Words
	hears   [2]func(byte)
	seats   []*fakeSeat
	records int
	trusted []Side
	closed  int
	misuse  string // what nobody may ask of a session
}

// State is the session's ports.
func (s *fakeSession) State() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports
}

func (s *fakeSession) Trust(side Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trusted = append(s.trusted, side)
}

func (s *fakeSession) Local(side Side) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), s.ports[side])
}

func (s *fakeSession) Connect(side Side, st Stream) error {
	s.mu.Lock()
	s.use("Connect")
	s.peers[side] = append(s.peers[side], st)
	s.mu.Unlock()
	s.skip(side)
	return nil
}

func (s *fakeSession) LastHeard() [2]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// fakeSeat is an address that may become that of side B.
type fakeSeat struct {
	media *fakeMedia
	port  uint16
	taken bool
	shut  int
}

func (t *fakeSeat) Local() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), t.port)
}

func (t *fakeSeat) Close() {
	t.media.mu.Lock()
	defer t.media.mu.Unlock()
	t.shut++
}

func (s *fakeSession) Seat() (Seat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use("Seat")
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	if s.media.fail {
		return nil, errors.New("no port is free")
	}
	seat := &fakeSeat{media: s.media, port: s.media.nextPort()}
	s.seats = append(s.seats, seat)
	return seat, nil
}

func (s *fakeSession) Take(seat Seat) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use("Take")
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	t := seat.(*fakeSeat)
	if t.taken || t.shut > 0 {
		s.misuse = "a seat that is given up was taken"
	}
	if s.media.full {
		t.shut++
		return errors.New("no place for another socket")
	}
	for _, before := range s.seats { // whose side it was goes with it
		if before.taken {
			before.taken = false
			before.shut++
		}
	}
	t.taken = true
	s.ports[B], s.peers[B], s.says[B] = t.port, nil, nil
	s.trace.add("take a seat")
	return nil
}

func (s *fakeSession) Say(side Side, w Words) {
	s.mu.Lock()
	s.use("Say")
	if w.Done == nil || w.Tenant == "" || len(w.Language) != 2 || len(w.Country) != 2 {
		s.misuse = "words that nobody can say"
	}
	s.says[side], s.said[side] = &w, append(s.said[side], w)
	s.trace.add("say %s %s", sideNames[side], w.Sound)
	s.mu.Unlock()
	s.skip(side)
}

// skip ends what is said to a side that is connected and cannot be spoken to.
func (s *fakeSession) skip(side Side) {
	if p := s.peer(side); p.RTP.IsValid() && p.Voice > 127 {
		s.end(side)
	}
}

func (s *fakeSession) Hush(side Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use("Hush")
	s.says[side] = nil
}

func (s *fakeSession) Listen(side Side, heard func(byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use("Listen")
	s.hears[side] = heard
}

func (s *fakeSession) Record(id masking.CallID, tenant masking.TenantID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use("Record")
	if id == "" || tenant == "" {
		s.misuse = "a recording of nobody's call"
	}
	s.records++
	s.trace.add("record")
}

func (s *fakeSession) Close() masking.Quality {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	s.says, s.hears = [2]*Words{}, [2]func(byte){}
	return masking.Quality{Callee: masking.LegQuality{Received: uint64(s.ports[B])}}
}

// use notes a session that is used after its end.
func (s *fakeSession) use(method string) {
	if s.closed > 0 {
		s.misuse = method + " after Close"
	}
}

func (s *fakeSession) hear(side Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[side] = time.Now()
}

func (s *fakeSession) peer(side Side) Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.peers[side]) == 0 {
		return Stream{}
	}
	return s.peers[side][len(s.peers[side])-1]
}

// now is what a side hears of us at present; "" if nothing.
func (s *fakeSession) now(side Side) Sound {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.says[side] == nil {
		return ""
	}
	return s.says[side].Sound
}

// sounds are all that a side has heard of us, in order.
func (s *fakeSession) sounds(side Side) (all []Sound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.said[side] {
		all = append(all, w.Sound)
	}
	return all
}

// end lets what a side hears come to its end; a tone has none.
func (s *fakeSession) end(side Side) {
	s.mu.Lock()
	w := s.says[side]
	if w == nil || slices.Contains([]Sound{ToneBusy, ToneRingBack}, w.Sound) {
		s.mu.Unlock()
		return
	}
	s.says[side] = nil
	s.mu.Unlock()
	w.Done()
}

// press lets a side press keys in its media, and reports whether anybody listens.
func (s *fakeSession) press(side Side, keys string) (heard bool) {
	s.mu.Lock()
	f := s.hears[side]
	s.mu.Unlock()
	for i := 0; f != nil && i < len(keys); i++ {
		f(keys[i])
	}
	return f != nil
}

func (s *fakeSession) recorded() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records
}

// fault is what is wrong with a session whose call is over.
func (s *fakeSession) fault() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.misuse != "":
		return s.misuse
	case s.closed != 1:
		return "a session was not closed once"
	case s.records > 1:
		return "a call was recorded twice"
	}
	taken := 0
	for _, t := range s.seats {
		if t.taken {
			taken++
		}
		if t.taken == (t.shut > 0) || t.shut > 1 || taken > 1 {
			return "a seat was not given up once"
		}
	}
	return ""
}
