package relay

import (
	"sync"
	"time"
)

const (
	frameTime   = 20 * time.Millisecond
	frameOctets = 160 // of frameTime at 8 kHz
	// mostAtOnce is how many frames a speech that is behind catches up with at
	// once. What it lacks beyond that it says later than planned.
	mostAtOnce = 3
)

// frame is the memory for a packet of frameTime, with room to protect it.
type frame [headerSize + frameOctets + sealRoom]byte

// Speech is G.711 that the engine itself says to one side, 160 octets every
// 20 ms: a prompt or a tone.
type Speech struct {
	Payload uint8  // number that leaves; above 127 = nothing leaves, but time passes
	Audio   []byte // code words at 8 kHz; must not change
	Fill    byte   // code word of silence: fills a last frame that is short
	// Loop says Audio again and again, without filling; of no Audio it makes
	// silence.
	Loop bool
	// Done is called once when Audio has been said to its end, and never if
	// Silence, another Play, Take or Close came first. All speech of the engine
	// waits for it, so it must not wait itself. May be nil.
	Done func()
}

// Play says something to a side that is connected, in place of what was being
// said to it. Until it is over the side hears nothing of the other one, which
// need not be connected. While the side is held, or has no address yet, the
// speech runs on unheard. After Close it does nothing.
//
// The side sees no other stream than that of the call: the packets go on with
// its SSRC, sequence numbers and timestamps.
func (s *Session) Play(side Side, sp Speech) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	v := &saying{Speech: sp, session: s, side: side, pause: true}
	from := &s.ends[side.Other()]
	from.mu.Lock()
	if old := from.said; old != nil { // keep step with what it ends
		v.begun, v.due = old.begun, old.due
	}
	from.said = v
	from.mu.Unlock()
	s.engine.speaker.add(v)
}

// Silence ends what is being said to a side. When it has returned nothing more
// of it leaves.
func (s *Session) Silence(side Side) {
	from := &s.ends[side.Other()]
	from.mu.Lock()
	defer from.mu.Unlock()
	from.said = nil
}

// saying is a speech under way. It is over when the end that it holds back no
// longer points to it; that end's mu guards the rest.
type saying struct {
	Speech
	session *Session
	side    Side // that hears it

	begun bool
	due   time.Duration // when the next frame is, once begun
	next  int           // octet of Audio
	pause bool          // no frame before the next: it begins a talkspurt
}

// turn says what is due, with frame as memory. It reports whether there is more
// to come.
func (v *saying) turn(now time.Duration, frame *frame) bool {
	more, said := v.speak(now, frame)
	if said && v.Done != nil {
		v.Done()
	}
	return more
}

// speak sends the frames that are due. It reports whether there is more to
// come, and if not, whether it has come to its end.
func (v *saying) speak(now time.Duration, frame *frame) (more, said bool) {
	from := &v.session.ends[v.side.Other()]
	from.mu.Lock()
	defer from.mu.Unlock()
	if from.said != v {
		return false, false
	}
	if !v.begun {
		v.begun, v.due = true, now
	}
	for range mostAtOnce {
		if v.due > now+frameTime/2 { // the ticks are not exact
			return true, false
		}
		if !v.Loop && v.next >= len(v.Audio) {
			from.said = nil
			return false, true
		}
		v.fill(frame[headerSize : headerSize+frameOctets])
		v.send(from, frame[:])
		v.due += frameTime
	}
	if v.due <= now {
		v.due, v.pause = now+frameTime, true
	}
	return true, false
}

// fill takes the next frame of Audio.
func (v *saying) fill(frame []byte) {
	n := copy(frame, v.Audio[v.next:])
	v.next += n
	for v.Loop && len(v.Audio) > 0 && n < len(frame) {
		v.next = copy(frame[n:], v.Audio)
		n += v.next
	}
	for ; n < len(frame); n++ {
		frame[n] = v.Fill
	}
}

// send sends a frame to where the side wants packets now, through the flow from
// the other end. The caller holds that end's mu.
func (v *saying) send(from *end, frame []byte) {
	n := &v.session.ends[v.side]
	to := n.rtpTo.Load()
	if to == nil || v.Payload > 127 {
		v.pause = true
		return
	}
	h := header{marker: v.pause, payload: v.Payload, start: headerSize, end: headerSize + frameOctets}
	from.deliver(from.flow.speak(frame, h, v.due), to, n)
	v.pause = false
}

// A speaker says the speeches of an engine, by one clock. Its goroutine runs
// only while there are some.
type speaker struct {
	engine *Engine
	period time.Duration
	stop   chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex // never taken for a packet that arrived
	running bool
	fresh   []*saying // begun since the last tick

	// Owned by run.
	speeches []*saying
	frame    frame
}

func newSpeaker(e *Engine) *speaker {
	return &speaker{engine: e, period: frameTime, stop: make(chan struct{})}
}

func (sp *speaker) add(v *saying) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.fresh = append(sp.fresh, v)
	if !sp.running {
		sp.running = true
		sp.done.Go(sp.run)
	}
}

// close waits for the goroutine. Every session is closed, so nothing is added.
func (sp *speaker) close() {
	close(sp.stop)
	sp.done.Wait()
}

func (sp *speaker) run() {
	ticker := time.NewTicker(sp.period)
	defer ticker.Stop()
	for sp.gather() {
		sp.tick(sp.engine.Elapsed())
		select {
		case <-ticker.C:
		case <-sp.stop:
			return
		}
	}
}

// gather takes over what began since the last tick, and reports whether there
// is anything to say. If not, the next add starts another goroutine.
func (sp *speaker) gather() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.speeches = append(sp.speeches, sp.fresh...)
	clear(sp.fresh)
	sp.fresh = sp.fresh[:0]
	sp.running = len(sp.speeches) > 0
	return sp.running
}

// tick says what is due in each speech and forgets those that are over.
func (sp *speaker) tick(now time.Duration) {
	live := sp.speeches[:0]
	for _, v := range sp.speeches {
		if v.turn(now, &sp.frame) {
			live = append(live, v)
		}
	}
	clear(sp.speeches[len(live):])
	sp.speeches = live
}
