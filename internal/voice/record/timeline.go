package record

import (
	"encoding/binary"
	"slices"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
)

const (
	tick      = time.Second / g711.Rate
	window    = 8192                   // samples of a channel that are still open; a power of two
	behind    = 500 * g711.Rate / 1000 // what is older than this is written
	frameSize = 4                      // bytes of a sample of each channel
	// margin is how much of the window is kept for packets that end after now:
	// a track may be wrong by earlyMost, and slow to turn.
	margin = 2 * earlyMost
)

// packet is what a timeline needs to know of an RTP packet.
type packet struct {
	at              time.Duration
	sequence        uint16
	timestamp, ssrc uint32
	marker          bool
	law             g711.Law // not None
	media           []byte
}

// A timeline puts what two sides say onto one clock, that of arrival, and gives
// it out as frames: a sample of side A, the left channel, and one of side B,
// the right one. A frame's number is its position: samples of 8 kHz since the
// beginning.
//
// It is a plain value without clock or goroutine. Who holds it shows it the
// packets in the order of their arrival, and takes frames once they are so old
// that no packet is waited for any more.
type timeline struct {
	origin time.Duration
	given  int64 // frames given out; what lies before is closed
	tracks [2]track
}

func newTimeline(origin time.Duration) *timeline { return &timeline{origin: origin} }

// position is the number of the frame at a moment. It may be negative.
func (t *timeline) position(at time.Duration) int64 { return int64((at - t.origin) / tick) }

// full reports that frames have to be taken before a packet of that moment is
// put in.
func (t *timeline) full(at time.Duration) bool { return t.position(at)-t.given > window-margin }

// put places a packet. It counts what it cannot place as late.
func (t *timeline) put(side relay.Side, p packet) {
	t.tracks[side].put(p, t.position(p.at), t.given)
}

// late is how many packets came after their place was given out.
func (t *timeline) late() int { return t.tracks[0].late + t.tracks[1].late }

// take appends the frames up to a position to dst, but no more than a window of
// them: the caller asks again until given is what it wants. They are 16-bit
// little-endian PCM, left first, as WAV has them.
func (t *timeline) take(dst []byte, until int64) []byte {
	most := int(min(until-t.given, window))
	for most > 0 {
		from := int(t.given % window)
		n := min(most, window-from)
		left, right := t.tracks[relay.A].pcm[from:from+n], t.tracks[relay.B].pcm[from:from+n]
		dst = slices.Grow(dst, frameSize*n)
		out := dst[len(dst) : len(dst)+frameSize*n]
		for i, l := range left {
			binary.LittleEndian.PutUint32(out[frameSize*i:], uint32(uint16(l))|uint32(uint16(right[i]))<<16)
		}
		dst = dst[:len(dst)+len(out)]
		clear(left)
		clear(right)
		t.given += int64(n)
		most -= n
	}
	return dst
}
