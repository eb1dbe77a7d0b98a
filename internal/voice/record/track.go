package record

// The rules by which a track decides, in samples. They are the same for both
// sides: what is wrong on both by the same is not heard.
const (
	lateMost  = 400 * 8    // a packet later than this is not waited for
	earlyMost = 100 * 8    // one that comes earlier than this was not sent when its timestamp says
	absence   = 20_000 * 8 // after so much silence, the sender's clock may have drifted
	drift     = 2000       // by one in so many, at most
	epoch     = 2000 * 8   // a rise of the delay is believed when it has been there so long
	slack     = 8          // a shift that is wrong by less is left
	persist   = 100 * 8    // packets that are too late for so long are not late but on another clock
	disorder  = 50         // packets of another sequence number than this are no old ones (RFC 3550 A.1)
	pull      = 10_000     // samples in which a wrong shift is made good, mostly
	joint     = 64         // the longest gap between two packets in a row that is bridged
)

// A track is one channel of a timeline: the stream of one side.
//
// A packet stands where its timestamp says, moved by shift. A packet is heard
// when it has come whole, so its last sample belongs to the moment of its
// arrival, if it came without delay. Which packets did is not known, but none
// can have come before it was sent: so the right shift is the least that any
// packet of the last seconds asks for, the lower envelope of the delay. Jitter
// does not move it, and the drift between the sender's clock and ours does: the
// shift follows by a sample now and then.
//
// A stream that begins, or jumps, is anchored by arrival.
type track struct {
	pcm [window]int16 // by position modulo window; zero where nothing was placed

	known     bool // there is a stream
	ssrc      uint32
	sequence  uint16 // of the newest packet
	timestamp uint32
	media     int64 // of its first sample: timestamp without the wrap, from 0 at the anchor
	shift     int64 // position of media time 0
	heard     int64 // position of the last arrival
	end       int64 // position behind the newest packet
	last      int16 // its last sample

	delays envelope
	strays strays
	late   int
}

// put places a packet that arrived at a position; what lies before given is
// closed.
func (k *track) put(p packet, arrived, given int64) {
	n := int64(len(p.media))
	if n == 0 {
		return
	}
	if !k.known || p.ssrc != k.ssrc {
		k.begin(p)
	}
	media := k.media + int64(int32(p.timestamp-k.timestamp))
	ahead := int16(p.sequence - k.sequence)
	if ahead <= 0 && ahead > -disorder {
		k.count(k.place(p, media+k.shift, given)) // overtaken, or there twice: it tells nothing new
		return
	}
	asked := arrived - n - media // the shift if it came without delay
	shift := k.decide(p, asked, arrived)
	k.sequence, k.timestamp, k.media, k.heard = p.sequence, p.timestamp, media, arrived
	k.follow(p, media+shift, given, ahead == 1)
}

// never is when a stream was heard that has just begun.
const never = -1 << 62

// begin takes up a stream. Its first packet anchors it.
func (k *track) begin(p packet) {
	k.known, k.ssrc, k.sequence, k.timestamp, k.media, k.heard = true, p.ssrc, p.sequence-1, p.timestamp, 0, never
}

// decide gives the shift of the newest packet.
func (k *track) decide(p packet, asked, arrived int64) int64 {
	pause, wrong := arrived-k.heard, asked-k.shift
	switch {
	case k.heard == never || wrong < -earlyMost:
		k.anchor(asked, arrived)
	case wrong > lateMost:
		return k.stray(p, asked, arrived)
	case pause > absence:
		k.anchor(min(asked, k.shift+pause/drift), arrived)
	default:
		k.late += k.strays.drop()
		k.delays.add(asked, arrived)
		k.shift += k.delays.step(k.shift, int64(len(p.media)))
	}
	return k.shift
}

// anchor lets arrival say where the stream stands.
func (k *track) anchor(shift, arrived int64) {
	k.late += k.strays.drop()
	k.shift = shift
	k.delays.begin(shift, arrived)
}

// stray decides about a packet in order that is too late for its place. The
// network may have held it up, together with those that follow in a burst; or
// the sender stopped its clock, as some do for a hold, or set it back. A burst
// ends, so until it is over such packets stand where they arrive, each over the
// one before; after that, or at once where the sender says that speech begins
// anew (RFC 3551 §4.1), they are the stream.
func (k *track) stray(p packet, asked, arrived int64) (shift int64) {
	shift = k.strays.add(asked, arrived)
	if p.marker || arrived-k.strays.since >= persist {
		k.strays = strays{} // they were not late
		k.anchor(shift, arrived)
	}
	return shift
}

func (k *track) count(placed bool) {
	if !placed {
		k.late++
	}
}

// follow places the newest packet. Where it continues the one before, and
// begins a little behind its end because the shift has moved, the gap is
// bridged.
func (k *track) follow(p packet, position, given int64, inRow bool) {
	values := p.law.Values()
	if gap := position - k.end; inRow && gap > 0 && gap <= joint {
		from, to := int64(k.last), int64(values[p.media[0]])
		for i := range gap {
			if at := k.end + i; at >= given && at < given+window {
				k.pcm[at&(window-1)] = int16(from + (to-from)*(i+1)/(gap+1))
			}
		}
	}
	k.count(k.place(p, position, given))
	k.end, k.last = position+int64(len(p.media)), values[p.media[len(p.media)-1]]
}

// place writes the samples of a packet that are still open, and reports whether
// there were any. What was there is replaced.
func (k *track) place(p packet, position, given int64) bool {
	media := p.media
	if closed := given - position; closed > 0 {
		if closed >= int64(len(media)) {
			return false
		}
		media, position = media[closed:], given
	}
	room := given + window - position
	if room <= 0 {
		return false
	}
	media = media[:min(room, int64(len(media)))]
	values := p.law.Values()
	for len(media) > 0 {
		to := k.pcm[position&(window-1):]
		n := min(len(to), len(media))
		to = to[:n]
		for i, code := range media[:n] {
			to[i] = values[code]
		}
		media, position = media[n:], position+int64(n)
	}
	return true
}

// An envelope finds the least shift that the packets of the last seconds ask
// for: of the present epoch and the one before.
type envelope struct {
	present, before int64
	end             int64 // of the present epoch, by arrival
}

func (e *envelope) begin(asked, arrived int64) {
	*e = envelope{present: asked, before: asked, end: arrived + epoch}
}

func (e *envelope) add(asked, arrived int64) {
	if arrived >= e.end {
		*e = envelope{present: asked, before: e.present, end: arrived + epoch}
	}
	e.present = min(e.present, asked)
}

// step is how far the shift moves with a packet of n samples: towards the
// envelope by a part of the way, at least a sample, so that drift is followed and
// a change of the route made good within seconds, and at most by what is hardly
// heard. Down follows a packet at once, for it proves itself; up
// waits for a whole epoch.
func (e *envelope) step(shift, n int64) int64 {
	wrong := min(e.present, e.before) - shift
	if wrong > -slack && wrong < slack {
		return 0
	}
	most := min(max(n/16, 1), joint)
	if wrong < 0 {
		return max(min(wrong*n/pull, -1), -most)
	}
	return min(max(wrong*n/pull, 1), most)
}

// strays are packets in a row that are too late for their places.
type strays struct {
	count int
	since int64 // arrival of the first
	least int64 // shift that any of them asks for
}

func (s *strays) add(asked, arrived int64) int64 {
	if s.count == 0 {
		s.since, s.least = arrived, asked
	}
	s.count++
	s.least = min(s.least, asked)
	return s.least
}

// drop forgets them, and tells how many there were.
func (s *strays) drop() int {
	n := s.count
	*s = strays{}
	return n
}
