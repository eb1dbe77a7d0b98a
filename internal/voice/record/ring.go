package record

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
)

const (
	ringSize = 32 << 10 // bytes; more than three seconds of G.711 in packets of 20 ms. A power of two
	headSize = 24       // of a packet in the ring
	wrap     = 0xFFFF   // length that says: go on at the beginning
)

// A ring carries packets from the one goroutine that moves a side's packets to
// the one that drains the recording. Neither ever waits for the other: when it
// is full, push says so.
//
// A packet is a head and its media in one piece, in multiples of 8 bytes:
//
//	0 length of the media, 2 sequence, 4 timestamp, 8 SSRC, 12 law, 13 marker, 16 arrival
type ring struct {
	buf  []byte
	tail atomic.Uint64 // bytes ever put in, written by push
	_    [56]byte      // so that the two goroutines do not fight for one cache line
	head atomic.Uint64 // bytes ever taken out, written by pop
}

func newRing() *ring { return &ring{buf: make([]byte, ringSize)} }

// push copies a packet in. It reports false when there is no room. Only one
// goroutine at a time may call it.
func (r *ring) push(p *relay.Packet, law g711.Law) bool {
	size := (headSize + len(p.Media) + 7) &^ 7
	if size > ringSize/8 {
		return false
	}
	tail := r.tail.Load()
	at, free := int(tail&(ringSize-1)), ringSize-int(tail-r.head.Load())
	skip := 0
	if rest := ringSize - at; rest < size {
		skip = rest
	}
	if skip+size > free {
		return false
	}
	if skip > 0 {
		binary.LittleEndian.PutUint16(r.buf[at:], wrap)
		at = 0
	}
	b := r.buf[at : at+size]
	binary.LittleEndian.PutUint16(b, uint16(len(p.Media)))
	binary.LittleEndian.PutUint16(b[2:], p.Sequence)
	binary.LittleEndian.PutUint32(b[4:], p.Timestamp)
	binary.LittleEndian.PutUint32(b[8:], p.SSRC)
	b[12], b[13] = byte(law), 0
	if p.Marker {
		b[13] = 1
	}
	binary.LittleEndian.PutUint64(b[16:], uint64(p.At))
	copy(b[headSize:], p.Media)
	r.tail.Store(tail + uint64(skip+size))
	return true
}

// peek gives the oldest packet, whose media stays valid until pop. Only one
// goroutine at a time may call it and pop.
func (r *ring) peek() (p packet, ok bool) {
	head := r.head.Load()
	if head == r.tail.Load() {
		return packet{}, false
	}
	at := int(head & (ringSize - 1))
	n := int(binary.LittleEndian.Uint16(r.buf[at:]))
	if n == wrap {
		r.head.Store(head + uint64(ringSize-at))
		return r.peek() // what follows a wrap was put in with it
	}
	b := r.buf[at:]
	return packet{
		at:        time.Duration(binary.LittleEndian.Uint64(b[16:])),
		sequence:  binary.LittleEndian.Uint16(b[2:]),
		timestamp: binary.LittleEndian.Uint32(b[4:]),
		ssrc:      binary.LittleEndian.Uint32(b[8:]),
		law:       g711.Law(b[12]),
		marker:    b[13] != 0,
		media:     b[headSize : headSize+n],
	}, true
}

// pop takes out what peek gave.
func (r *ring) pop() {
	head := r.head.Load()
	n := int(binary.LittleEndian.Uint16(r.buf[head&(ringSize-1):]))
	r.head.Store(head + uint64((headSize+n+7)&^7))
}
