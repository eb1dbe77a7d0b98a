package record

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"tandem/internal/blob"
	"tandem/internal/masking"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
)

// Spec is what to record.
type Spec struct {
	Call   masking.CallID
	Tenant masking.TenantID
	// Part tells the recordings of one call apart, if it has several; from 0.
	// One that was stored before under the same call and part is replaced; while
	// it is not stored yet, nothing is recorded under its name.
	Part int
	// Laws are the G.711 payload numbers that arrive from each side; None =
	// not recorded.
	Laws [2][128]g711.Law
}

// name is what the recording is called in the spool and in the blob store. It
// tells the call from the part by a dot, which no call has.
func (s Spec) name() (string, error) {
	call := string(s.Call)
	if s.Part > 0 {
		call += "." + strconv.Itoa(s.Part)
	}
	name := string(s.Tenant) + "/" + call
	if strings.Contains(string(s.Call), ".") || strings.Contains(string(s.Call)+string(s.Tenant), "/") || blob.CheckKey(name) != nil {
		return "", errors.New("no file can be named after the tenant and the call")
	}
	return name, nil
}

// parse is the opposite of name.
func parse(name string) (s Spec, ok bool) {
	tenant, call, _ := strings.Cut(name, "/")
	call, part, several := strings.Cut(call, ".")
	s = Spec{Tenant: masking.TenantID(tenant), Call: masking.CallID(call)}
	if several {
		s.Part, _ = strconv.Atoi(part)
	}
	again, err := s.name()
	return s, err == nil && again == name
}

// Recording is one running recording, and a relay.Tap. None of its methods
// waits for anything.
type Recording struct {
	recorder *Recorder
	spec     Spec // without Laws
	name     string

	laws    [2]atomic.Pointer[[128]g711.Law]
	codec   atomic.Bool // somebody had one
	rings   [2]*ring
	dropped atomic.Uint64
	over    atomic.Bool
	stopped atomic.Int64 // by Options.Now, 0 = not yet
	busy    atomic.Bool  // a worker has it, or the dispatcher gives it to one

	// owned by the worker that has busy
	timeline *timeline
	peaks    peaks
	out      *spoolFile // nil = none yet
	ended    bool
}

var _ relay.Tap = (*Recording)(nil)

// Start begins to record. It neither waits nor fails: what goes wrong, the Sink
// learns. A recording that is running already goes on alone, and the new one
// records nothing; the same after Close.
func (r *Recorder) Start(s Spec) *Recording {
	now := r.o.Now()
	c := &Recording{recorder: r, spec: s, timeline: newTimeline(now)}
	c.spec.Laws = [2][128]g711.Law{}
	for side := range c.rings {
		c.rings[side] = newRing()
		c.SetLaws(relay.Side(side), s.Laws[side])
	}
	var err error
	if c.name, err = s.name(); err != nil {
		c.over.Store(true)
		r.o.Log.Error("recording not begun", "call", string(s.Call), "tenant", string(s.Tenant), "error", err)
		r.queue.add(&job{spec: c.spec, reason: WriteFailed, since: r.o.Clock()})
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.running[c.name] != nil {
		c.over.Store(true)
		r.o.Log.Error("recording not begun: there is one already, or the server ends", "call", string(s.Call), "tenant", string(s.Tenant))
		return c
	}
	r.running[c.name] = c
	return c
}

// SetLaws says what the payload numbers of a side mean from now on.
func (c *Recording) SetLaws(side relay.Side, laws [128]g711.Law) {
	c.laws[side].Store(&laws)
	if slices.ContainsFunc(laws[:], func(l g711.Law) bool { return l != g711.None }) {
		c.codec.Store(true)
	}
}

// Stop ends the recording with what has arrived.
func (c *Recording) Stop() {
	c.stopped.CompareAndSwap(0, max(1, int64(c.recorder.o.Now())))
	c.over.Store(true)
}

// Packet takes a copy of a packet that is to be recorded; where there is no
// room it counts a drop. It neither allocates nor locks. The packets of one side
// must come one at a time.
func (c *Recording) Packet(p *relay.Packet) {
	if c.over.Load() || p.Payload > 127 || len(p.Media) == 0 {
		return
	}
	law := c.laws[p.Side&1].Load()[p.Payload]
	if law == g711.None {
		return
	}
	if !c.rings[p.Side&1].push(p, law) {
		c.dropped.Add(1)
	}
}

// turn moves what has arrived one step on. The caller has busy.
func (c *Recording) turn(frames *[]byte) {
	defer func() {
		if fault := recover(); fault != nil {
			c.recorder.o.Log.Error("fault in a recording", "call", string(c.spec.Call), "tenant", string(c.spec.Tenant),
				"fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
			c.leave()
			c.end(WriteFailed)
		}
	}()
	if c.ended { // while the dispatcher was about to give it a turn
		return
	}
	stopped, now := time.Duration(c.stopped.Load()), c.recorder.o.Now()
	if stopped == 0 && now-c.timeline.origin > longest {
		c.Stop()
		stopped = now
	}
	if c.out == nil && !c.open(stopped, now) {
		return
	}
	var err error
	switch {
	case stopped == 0 && c.recorder.full.Load():
		err = errNoRoom
	case stopped == 0:
		err = c.drain(c.timeline.position(now)-behind, frames)
	default:
		if err = c.drain(c.timeline.position(stopped), frames); err == nil {
			err = c.out.finish(contents{frames: c.timeline.given, peaks: c.peaks.bytes(), dropped: c.dropped.Load(), late: uint64(c.timeline.late())})
		}
	}
	switch {
	case err != nil:
		c.recorder.o.Log.Error("recording ends early", "call", string(c.spec.Call), "tenant", string(c.spec.Tenant), "error", err)
		c.leave()
		c.end(reasonOf(err))
	case stopped > 0:
		c.end("")
	}
}

// open makes the spool file once there is something to record and a key to seal
// it with. Until then packets wait in the rings.
func (c *Recording) open(stopped, now time.Duration) bool {
	r := c.recorder
	if !c.codec.Load() {
		if stopped > 0 {
			c.end(NoCodec)
		}
		return false
	}
	if r.full.Load() {
		r.o.Log.Error("recording not begun", "call", string(c.spec.Call), "tenant", string(c.spec.Tenant), "error", errNoRoom)
		c.end(DiskFull)
		return false
	}
	recipient := r.keys.recipient(c.spec.Tenant, now)
	if recipient == nil {
		if stopped > 0 && now-stopped > unkeyed {
			c.end(Lost)
		}
		return false
	}
	out, err := r.openSpool(c.name, recipient)
	if err == nil {
		c.out = out
		return true
	}
	r.o.Log.Error("recording not begun", "call", string(c.spec.Call), "tenant", string(c.spec.Tenant), "error", err)
	if errors.Is(err, fs.ErrExist) {
		c.forget() // an earlier process left it; what becomes of that one is told
	} else {
		c.end(reasonOf(err))
	}
	return false
}

// drain puts what is in the rings onto the timeline, in the order of arrival,
// and writes the frames before a position.
func (c *Recording) drain(until int64, frames *[]byte) error {
	for {
		side := relay.A
		p, ok := c.rings[relay.A].peek()
		if other, there := c.rings[relay.B].peek(); there && (!ok || other.at < p.at) {
			side, p, ok = relay.B, other, true
		}
		if !ok {
			return c.write(until, frames)
		}
		if c.timeline.full(p.at) { // only after a pause of the workers
			if err := c.write(c.timeline.position(p.at)-behind, frames); err != nil {
				return err
			}
		}
		c.timeline.put(side, p)
		c.rings[side].pop()
	}
}

func (c *Recording) write(until int64, frames *[]byte) error {
	for c.timeline.given < until {
		*frames = c.timeline.take((*frames)[:0], until)
		if _, err := c.out.Write(*frames); err != nil {
			return err
		}
		c.peaks.add(*frames)
	}
	return nil
}

// end hands the recording over to the finishers. Whoever holds it may go on
// calling its methods.
func (c *Recording) end(reason Reason) {
	r := c.recorder
	j := &job{spec: c.spec, name: c.name, reason: reason, since: r.o.Clock()}
	if c.out != nil {
		j.path = c.out.path
	}
	r.queue.add(j) // first, so that Recover finds it in one of the two
	c.forget()
}

// leave closes the spool file as it is.
func (c *Recording) leave() {
	if c.out != nil {
		c.out.abandon()
	}
}

// forget takes the recording off the list of those that run.
func (c *Recording) forget() {
	r := c.recorder
	c.ended = true
	c.over.Store(true)
	r.dropped.Add(c.dropped.Load())
	r.lateness.Add(uint64(c.timeline.late()))
	r.mu.Lock()
	delete(r.running, c.name)
	r.mu.Unlock()
}

// errNoRoom ends a recording before it takes the last of the disk.
var errNoRoom = fmt.Errorf("the rest of the disk is not for recordings: %w", syscall.ENOSPC)

// reasonOf gives the reason that an error of the spool is to the outside.
func reasonOf(err error) Reason {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return DiskFull
	}
	return WriteFailed
}
