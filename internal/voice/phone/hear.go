package phone

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// maxGap is how far a timestamp may jump and still mean a pause that is heard as
// silence: an hour. What jumps farther is taken as a new stream.
const maxGap = 3600 * Rate

// An ear keeps the RTP packets that a call has received. What they sound like is
// worked out when somebody asks, since the answer that names their sender may
// arrive after them.
type ear struct {
	mu      sync.Mutex
	arrived chan struct{} // closed and replaced with every packet
	packets []heard
	infos   []info
	from    map[netip.AddrPort]bool // senders that a description has named
	codecs  [128]string             // what payload numbers mean to us
	clocks  [128]int
	meaning int // rises when a description changes what packets that are here sound like

	listening sync.Mutex // before mu
	sound     sound
}

type heard struct {
	from netip.AddrPort
	at   time.Time
	packet
}

// An info is a digit that came by INFO.
type info struct {
	after int // packets received before it
	digit byte
}

func newEar() *ear {
	e := &ear{arrived: make(chan struct{}), from: make(map[netip.AddrPort]bool)}
	for _, f := range known {
		e.codecs[f.payload], e.clocks[f.payload] = f.name, f.clock
	}
	return e
}

func (e *ear) take(from netip.AddrPort, p packet) {
	e.mu.Lock()
	e.packets = append(e.packets, heard{from, time.Now(), p})
	e.wake()
	e.mu.Unlock()
}

// press takes a digit that came by INFO.
func (e *ear) press(digit byte) {
	e.mu.Lock()
	e.infos = append(e.infos, info{len(e.packets), digit})
	e.wake()
	e.mu.Unlock()
}

// wake tells those who wait. The caller holds e.mu.
func (e *ear) wake() {
	close(e.arrived)
	e.arrived = make(chan struct{})
}

// next gives a channel that is closed when more has arrived, and how much has.
func (e *ear) next() (<-chan struct{}, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.arrived, len(e.packets) + len(e.infos)
}

// hears waits until enough of what is heard says so. It looks at every fifth packet.
func (c *Call) hears(ctx context.Context, enough func([]int16) bool) error {
	return c.arrives(ctx, 5, func(e *ear) (ok bool) {
		e.listen(func(pcm []int16) { ok = enough(pcm) })
		return ok
	})
}

// Arrivals are the moments at which RTP has come so far.
func (c *Call) Arrivals() []time.Time {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v == nil {
		return nil
	}
	v.ear.mu.Lock()
	defer v.ear.mu.Unlock()
	at := make([]time.Time, len(v.ear.packets))
	for i := range at {
		at[i] = v.ear.packets[i].at
	}
	return at
}

// arrives waits until enough has arrived. It looks whenever every more has, and a last
// time when the call is over.
func (c *Call) arrives(ctx context.Context, every int, enough func(*ear) bool) error {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v == nil {
		return errState
	}
	for looked := -every; ; {
		arrived, n := v.ear.next()
		if n >= looked+every {
			if enough(v.ear) {
				return nil
			}
			looked = n
		}
		select {
		case <-arrived:
		case <-c.done:
			if !enough(v.ear) {
				return errState
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (e *ear) expect(from netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.from[from] {
		e.from[from] = true
		e.meaning++
	}
}

// learn says what payload numbers mean that the far side has chosen.
func (e *ear) learn(formats ...format) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range formats {
		if f.clock > 0 && (e.codecs[f.payload] != f.name || e.clocks[f.payload] != f.clock) {
			e.codecs[f.payload], e.clocks[f.payload] = f.name, f.clock
			e.meaning++
		}
	}
}

// A Hearing counts the RTP that a call has received.
type Hearing struct {
	Packets int // from the address the far side has named
	Strays  int // from others: not heard
	Lost    int // numbers missing between the first and the last of a stream
	Streams int // SSRCs
}

// A sound is what packets sound like, as far as it has been worked out.
type sound struct {
	meaning int // by which it was
	packets int // which it is made of
	pcm     []int16
	heard   Hearing
	streams map[uint32]*stream // the last of each SSRC
	all     []*stream
}

// A stream is one SSRC: where it begins in what is heard, and the timestamp and
// sequence number that unwrap the next ones.
type stream struct {
	start          int // of the sample with timestamp first
	first, highest int64
	last           uint32
	lowestSeq      int64
	highestSeq     int64
	seen           map[int64]uint64 // numbers, 64 in a word
	distinct       int
}

// listen works out what has come since somebody listened last, and lends look all that is
// heard. Each stream begins where the one before ends.
func (e *ear) listen(look func(pcm []int16)) Hearing {
	e.listening.Lock()
	defer e.listening.Unlock()
	e.mu.Lock()
	packets, from, codecs, clocks, meaning := e.packets, maps.Clone(e.from), e.codecs, e.clocks, e.meaning
	e.mu.Unlock()

	s := &e.sound
	if s.meaning != meaning || s.streams == nil {
		*s = sound{meaning: meaning, streams: make(map[uint32]*stream)}
	}
	for _, p := range packets[s.packets:] {
		switch clock := int64(clocks[p.payload]); {
		case !from[p.from]:
			s.heard.Strays++
		case clock == 0, codecs[p.payload] == telephoneEvent:
			s.heard.Packets++
			if t := s.streams[p.ssrc]; t != nil {
				t.count(p.sequence) // its numbers are those of the speech (RFC 4733 §2.2)
			}
		default:
			s.heard.Packets++
			s.take(p.packet, clock, codecs[p.payload])
		}
	}
	s.packets = len(packets)
	h := s.heard
	h.Streams = len(s.streams)
	for _, t := range s.all {
		h.Lost += int(t.highestSeq-t.lowestSeq) + 1 - t.distinct
	}
	look(s.pcm)
	return h
}

// take puts a packet of speech into its place.
func (s *sound) take(p packet, clock int64, codec string) {
	t := s.streams[p.ssrc]
	if t == nil || jump(t.last, p.timestamp)*Rate/clock > maxGap || jump(t.last, p.timestamp)*Rate/clock < -maxGap {
		t = &stream{start: len(s.pcm), first: int64(p.timestamp), highest: int64(p.timestamp), last: p.timestamp,
			lowestSeq: int64(p.sequence), highestSeq: int64(p.sequence), seen: make(map[int64]uint64)}
		s.streams[p.ssrc], s.all = t, append(s.all, t)
	}
	at := t.highest + jump(t.last, p.timestamp)
	if at > t.highest {
		t.highest, t.last = at, p.timestamp
	}
	t.count(p.sequence)
	s.pcm = place(s.pcm, t, int((at-t.first)*Rate/clock), decode(codec, p.body))
}

// digits lists what was pressed, in the order in which the first packet of each, or the
// INFO, has arrived. An event is all packets with its timestamp (RFC 4733 §2.2.1).
func (e *ear) digits() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	type event struct{ ssrc, timestamp uint32 }
	seen := make(map[event]bool)
	infos, list := e.infos, []byte(nil)
	for i, p := range e.packets {
		for ; len(infos) > 0 && infos[0].after <= i; infos = infos[1:] {
			list = append(list, infos[0].digit)
		}
		if !e.from[p.from] || e.codecs[p.payload] != telephoneEvent || seen[event{p.ssrc, p.timestamp}] {
			continue
		}
		seen[event{p.ssrc, p.timestamp}] = true
		if digit, ok := digitIn(p.body); ok {
			list = append(list, digit)
		}
	}
	for _, i := range infos {
		list = append(list, i.digit)
	}
	return string(list)
}

// jump is the signed distance between two timestamps (RFC 3550 §A.1 for sequence numbers).
func jump(from, to uint32) int64 { return int64(int32(to - from)) }

func (s *stream) count(sequence uint16) {
	n := s.highestSeq + int64(int16(sequence-uint16(s.highestSeq)))
	s.highestSeq, s.lowestSeq = max(s.highestSeq, n), min(s.lowestSeq, n)
	word, bit := n>>6, uint64(1)<<(n&63)
	if s.seen[word]&bit == 0 {
		s.seen[word] |= bit
		s.distinct++
	}
}

// place writes samples at an offset from the start of a stream. What precedes the
// first packet of a stream, by arriving late, moves the later ones back.
func place(pcm []int16, s *stream, offset int, samples []int16) []int16 {
	at := s.start + offset
	if offset < 0 {
		moved := make([]int16, len(pcm)-offset)
		copy(moved, pcm[:s.start])
		copy(moved[s.start-offset:], pcm[s.start:])
		pcm, at = moved, s.start
		s.first += int64(offset)
	}
	if missing := at + len(samples) - len(pcm); missing > 0 {
		pcm = append(pcm, make([]int16, missing)...)
	}
	copy(pcm[at:], samples)
	return pcm
}
