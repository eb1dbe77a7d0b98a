// Package ladder keeps the SIP messages of one call in a few hundred bytes: when,
// on which leg, which way, and of what each said the little that helps to tell what
// happened. The voice plane writes ladders, the API reads them, the store keeps
// them as they are.
//
// There is room for no text of a peer: methods, codecs and header fields are codes
// of closed lists, all else are numbers of few digits. So no telephone number can
// stand in a ladder, but for the number that an INVITE asks for, which is hidden
// before it comes in (Hide), and no digit that somebody pressed.
package ladder

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// most is how many messages a ladder holds; further ones are counted.
const most = 200

// A Leg is one of the dialogs of a call, as the ladder names it.
type Leg struct {
	Name      string // "a", the caller's, or "b1", "b2" … for the attempts in their order
	Trunk     string
	Transport string
}

// A Message is one SIP message.
type Message struct {
	After  time.Duration // since the first message of the call, by the monotonic clock
	Leg    int
	Out    bool   // sent by us
	Again  bool   // a retransmission
	Method string // of a response that in its CSeq; "OTHER" for those we do not know
	Status int    // of a response; 0 = a request
	Seq    uint32 // of CSeq
	Number string // whom an INVITE asks for, hidden
	Digit  bool   // an INFO for a key that was pressed
	Fields []Field

	Described bool // it bears a session description
	Media     Media
}

// A Field is one thing that the message's header told: a number, by the list in
// words.go.
type Field struct {
	Key   Key
	Value uint64
}

// Media is what a session description says of the first audio stream.
type Media struct {
	Direction Direction
	Refused   bool   // port 0, or no audio at all
	Secure    bool   // RTP/SAVP or RTP/SAVPF
	Codecs    []byte // by the list in words.go, in the order of preference
}

// Direction is what a description wants to do with its stream (RFC 3264 §5.1).
type Direction byte

// The directions.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

// The kinds of entries, and what the first byte of a message's tells.
const (
	entryLeg     = 0x80 // the rest of the byte: the transport
	entryLeftOut = 0xff

	flagOut    = 1 << 0
	flagAgain  = 1 << 1
	flagStatus = 1 << 2
	flagNumber = 1 << 3
	flagFields = 1 << 4
	flagMedia  = 1 << 5
	flagDigit  = 1 << 6
)

// A Writer writes one ladder. The zero Writer is ready. It is its owner's to lock.
type Writer struct {
	buf     []byte
	last    time.Duration
	legs    int
	count   int
	leftOut uint64
}

// Leg adds a leg and gives its place, 0 for the first. Legs are added in the order of
// their making, the caller's first; a message may come before its leg. Names longer than 64 bytes are cut.
func (w *Writer) Leg(trunk, transport string) int {
	if w.legs == maxLegs {
		return maxLegs - 1
	}
	trunk = trunk[:min(len(trunk), maxText)]
	w.buf = append(w.buf, entryLeg|codeOf(transports[:], []byte(transport)), byte(len(trunk)))
	w.buf = append(w.buf, trunk...)
	w.legs++
	return w.legs - 1
}

const (
	maxLegs   = 120
	maxText   = 64
	maxFields = 16
	maxCodecs = 16
)

// Add adds a message. Beyond most it is only counted.
func (w *Writer) Add(m Message) {
	if w.count == most {
		w.leftOut++
		return
	}
	w.count++
	if w.buf == nil {
		w.buf = make([]byte, 0, 512)
	}
	m.After = max(m.After, w.last) // two goroutines may have read the clock in the other order
	var flags byte
	for _, f := range [...]struct {
		set bool
		bit byte
	}{{m.Out, flagOut}, {m.Again, flagAgain}, {m.Status != 0, flagStatus}, {m.Number != "", flagNumber},
		{len(m.Fields) > 0, flagFields}, {m.Described, flagMedia}, {m.Digit, flagDigit}} {
		if f.set {
			flags |= f.bit
		}
	}
	b := append(w.buf, flags, byte(m.Leg), MethodCode(m.Method))
	b = binary.AppendUvarint(b, uint64((m.After - w.last).Microseconds()))
	w.last += (m.After - w.last).Truncate(time.Microsecond)
	b = binary.AppendUvarint(b, uint64(m.Seq))
	if m.Status != 0 {
		b = binary.AppendUvarint(b, uint64(m.Status))
	}
	if m.Number != "" {
		n := m.Number[:min(len(m.Number), maxText)]
		b = append(append(b, byte(len(n))), n...)
	}
	if len(m.Fields) > 0 {
		fields := m.Fields[:min(len(m.Fields), maxFields)]
		b = append(b, byte(len(fields)))
		for _, f := range fields {
			b = binary.AppendUvarint(append(b, byte(f.Key)), f.Value)
		}
	}
	if m.Described {
		b = m.Media.append(b)
	}
	w.buf = b
}

func (m Media) append(b []byte) []byte {
	flags := byte(m.Direction)
	if m.Refused {
		flags |= 4
	}
	if m.Secure {
		flags |= 8
	}
	codecs := m.Codecs[:min(len(m.Codecs), maxCodecs)]
	return append(append(b, flags, byte(len(codecs))), codecs...)
}

// Bytes is the ladder so far, for the store and for Read; nil if nothing was seen.
func (w *Writer) Bytes() []byte {
	if len(w.buf) == 0 {
		return nil
	}
	b := append(make([]byte, 0, len(w.buf)+4), w.buf...)
	if w.leftOut > 0 {
		b = binary.AppendUvarint(append(b, entryLeftOut), w.leftOut)
	}
	return b
}

// A Ladder is what was written.
type Ladder struct {
	Legs     []Leg
	Messages []Message
	LeftOut  int // messages beyond most
}

// errCorrupt says that bytes are no ladder.
var errCorrupt = errors.New("not a ladder")

// Read reads what Bytes gave. It refuses anything else.
func Read(b []byte) (Ladder, error) {
	var l Ladder
	r := reader{b: b}
	for len(r.b) > 0 && !r.bad {
		switch first := r.byte(); {
		case first == entryLeftOut:
			l.LeftOut = int(min(r.uvarint(), math.MaxInt32))
		case first&entryLeg != 0:
			trunk := r.text()
			l.Legs = append(l.Legs, Leg{Name: legName(len(l.Legs)), Trunk: trunk, Transport: wordOf(transports[:], first&^entryLeg)})
		default:
			m := r.message(first)
			if n := len(l.Messages); n > 0 {
				m.After += l.Messages[n-1].After
			}
			l.Messages = append(l.Messages, m)
		}
	}
	// The leg of the first INVITE is made, and named, after it.
	stray := func(m Message) bool { return m.Leg >= len(l.Legs) }
	if r.bad || slices.ContainsFunc(l.Messages, stray) {
		return Ladder{}, errCorrupt
	}
	return l, nil
}

// reader reads entries; bad once one is cut short.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.bytes(int(r.byte()))) }

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad = true
		return nil
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

// message reads a message whose time is still that since the one before.
func (r *reader) message(flags byte) Message {
	m := Message{Out: flags&flagOut != 0, Again: flags&flagAgain != 0, Digit: flags&flagDigit != 0}
	m.Leg = int(r.byte())
	m.Method = wordOf(methods[:], r.byte())
	m.After = time.Duration(r.uvarint()) * time.Microsecond
	m.Seq = uint32(r.uvarint())
	if flags&flagStatus != 0 {
		m.Status = int(r.uvarint())
	}
	if flags&flagNumber != 0 {
		m.Number = r.text()
	}
	if flags&flagFields != 0 {
		for range r.byte() {
			key := Key(r.byte())
			m.Fields = append(m.Fields, Field{key, r.uvarint()})
		}
	}
	if flags&flagMedia != 0 {
		bits := r.byte()
		m.Described, m.Media = true, Media{Direction: Direction(bits & 3), Refused: bits&4 != 0, Secure: bits&8 != 0, Codecs: r.bytes(int(r.byte()))}
	}
	return m
}
