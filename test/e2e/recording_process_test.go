package e2e

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/voice/phone"
)

// pass lets some time go by: at which moment it ends is what the test is about.
func pass(d time.Duration) { <-time.After(d) }

// recordTalk sets up a recorded call in which both sides say noise.
func (c *carriers) recordTalk(p *process, caller string, said tape) (a, b *phone.Call, sources [2]*clocked) {
	c.s.t.Helper()
	sources = [2]*clocked{says(said[0]), says(said[1])}
	a = c.dial(p, caller, sources[0])
	b = c.called()
	c.s.must(b.Answer(phone.Reply{Audio: sources[1]}))
	c.s.must(a.Answered(c.s.ctx))
	c.s.must(b.Answered(c.s.ctx))
	return a, b, sources
}

func recordingOutlivesKill(t *testing.T, s *site) {
	said := tape{phone.Noise(11, 60*phone.Rate), phone.Noise(12, 60*phone.Rate)}
	p := s.start()
	c := s.connect(p)
	caller := c.recordedPair(1)
	s.stay(p)
	a, _, sources := c.recordTalk(p, caller, said)
	s.wait("eight seconds of the call", func() bool { return len(sources[0].when()) > 8*50 })
	killed := time.Now()
	p.kill()
	for range 3 { // what a kill has left, another one cuts again on its way to the store
		p = s.start()
		pass(time.Duration(rand.IntN(60)) * time.Millisecond)
		p.kill()
	}
	p = s.start()
	d := s.desk(p)
	call := d.calls()[0]
	info, sound := d.stored(call)
	if !info.Truncated {
		t.Error("the end of the recording is missing, and nobody says so")
	}
	for side, name := range []string{"left", "right"} {
		found := spots(sound[side], said[side])
		if len(found) == 0 {
			t.Fatalf("nothing of the %s side is left", name)
		}
		last := found[len(found)-1].frame
		d.holds(name, sound[side], said[side][:(last+1)*frame])
		short := killed.Sub(sources[side].when()[last])
		if short > 5*time.Second {
			t.Errorf("the last %v of the %s side are lost", short, name)
		}
		t.Logf("the last %v of the %s side are lost", short, name)
	}
	if left := spoolSize(s.dir); left != 0 {
		t.Errorf("%d bytes are left in the spool", left)
	}
	p.kill()
	p = s.start()
	s.desk(p).stored(call)
	s.must(a.Hangup(s.ctx)) // the call has gone on all the while, unrecorded
	s.wait("the end of the record", func() bool { return s.told("call.completed") == 1 })
	s.ended(map[string]int{"caller_hung_up": 1})
	if ready, failed := len(s.desk(p).told("recording.ready", call)), len(s.desk(p).told("recording.failed", call)); ready != 1 || failed != 0 {
		t.Errorf("%d times ready and %d times failed was told of its recording", ready, failed)
	}
}

func recordingOutlivesShutdown(t *testing.T, s *site) {
	said := tape{phone.Noise(13, 60*phone.Rate), phone.Noise(14, 60*phone.Rate)}
	p := s.start()
	c := s.connect(p)
	caller := c.recordedPair(1)
	a, b, sources := c.recordTalk(p, caller, said)
	s.wait("three seconds of the call", func() bool { return len(sources[0].when()) > 3*50 })
	p.terminate()
	s.wait("OPTIONS to be refused", func() bool { return c.known(p).Status == 503 })
	p.terminate()
	for _, call := range []*phone.Call{a, b} {
		_, err := call.Ended(s.ctx)
		s.must(err)
	}
	if code := p.over(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	d := s.desk(s.start())
	call := d.calls()[0]
	info, sound := d.stored(call)
	if info.Truncated {
		t.Error("the recording of a call that was hung up is truncated")
	}
	for side, name := range []string{"left", "right"} {
		found := spots(sound[side], said[side])
		if len(found) == 0 {
			t.Fatalf("nothing of the %s side is left", name)
		}
		last := found[len(found)-1].frame
		if ended := len(sources[side].when()); last < ended-10 {
			t.Errorf("the %s side ends with frame %d of %d", name, last, ended)
		}
		d.holds(name, sound[side], said[side][:(last+1)*frame])
	}
	s.ended(map[string]int{"shutdown": 1})
}

// killLeavesNoRecordingRunning kills the server at moments at which recordings
// begin and end. Each has an end afterwards, and was told of once.
func killLeavesNoRecordingRunning(t *testing.T, s *site) {
	p := s.start()
	c := s.connect(p)
	var callers []string
	for i := range 4 * 8 { // who talks goes on after the kill, and is busy
		callers = append(callers, c.recordedPair(i))
	}
	for round := range 4 {
		for _, caller := range callers[8*round:][:8] {
			c.recordTalk(p, caller, tape{})
			pass(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
		if round == 3 {
			s.wait("something of each that can be read", func() bool { return spoolSize(s.dir) > 8*64<<10 })
		}
		p.kill()
		p = s.start()
	}
	d := s.desk(p)
	ends := map[string]int{}
	for _, call := range d.calls() {
		if got := d.ask("GET", soundPath(call)+"/info", ""); got.Status == 404 {
			ends["none"]++ // killed before it was written down that it was answered
			continue
		}
		waitFor(t, s.ctx, func() bool { return d.info(call).Status != "recording" }, "the end of a recording")
		info := d.info(call)
		ends[info.Status+" "+info.Reason]++
		ready, failed := len(d.told("recording.ready", call)), len(d.told("recording.failed", call))
		if info.Status == "stored" && (ready != 1 || failed != 0) || info.Status == "failed" && (ready != 0 || failed != 1) {
			t.Errorf("%d times ready and %d times failed was told of a recording that is %s", ready, failed, info.Status)
		}
	}
	t.Logf("what became of them: %v", ends)
	if ends["failed lost"] == 0 || ends["stored "] == 0 {
		t.Error("there were no recordings of both kinds")
	}
}

// limitFiles keeps a process from writing beyond a size of any file, as a full
// disk would: who writes gets an error and no byte more. It needs no rights.
func (p *process) limitFiles(size uint64) {
	p.s.t.Helper()
	var was unix.Rlimit
	p.s.must(unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, nil, &was))
	was.Cur = min(size, was.Max)
	p.s.must(unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, &was, nil))
}

func fullDiskCostsRecordings(t *testing.T, s *site) {
	p := s.start()
	c := s.connect(p)
	first, second, third := c.recordedPair(1), c.recordedPair(2), c.pair(3)
	a, b := c.talk(p, first)
	heard := func(a, b *phone.Call) {
		t.Helper()
		s.must(a.HearsTone(s.ctx, 1000))
		s.must(b.HearsTone(s.ctx, 440))
		before := [2]phone.Hearing{a.Hearing(), b.Hearing()}
		s.must(a.Hears(s.ctx, len(a.Heard())+2*phone.Rate))
		s.must(b.Hears(s.ctx, len(b.Heard())+phone.Rate))
		for side, call := range []*phone.Call{a, b} {
			if lost := call.Hearing().Lost - before[side].Lost; lost > 0 {
				t.Errorf("side %d lost %d packets", side, lost)
			}
		}
	}
	heard(a, b)
	s.wait("a sealed piece in the spool", func() bool { return spoolSize(s.dir) > 64<<10 })
	p.limitFiles(0) // not a byte more, anywhere: in the spool, the blobs, the database
	heard(a, b)
	heard(a, b)
	a2, b2 := c.dial(p, second, phone.Sine(440, 8000)), (*phone.Call)(nil)
	select { // a new call may be refused, or not; whichever, it must not hang
	case b2 = <-c.incoming:
		s.must(b2.Answer(phone.Reply{Audio: phone.Sine(1000, 8000)}))
	case <-a2.Done():
	case <-s.ctx.Done():
		t.Fatal("a call on a full disk hangs")
	}
	heard(a, b)
	p.limitFiles(unix.RLIM_INFINITY & (1<<63 - 1))
	heard(a, b)
	s.wait("the API to write again", func() bool {
		got, err := s.desk(p).try("acme", "PUT", "/settings", `{"recording_retention_days":1}`)
		return err == nil && got.Status == 200
	})
	a3, b3 := c.talk(p, third)
	heard(a3, b3)
	for _, call := range []*phone.Call{a, a2, a3} {
		s.must(call.Hangup(s.ctx))
	}
	s.wait("the end of all calls", func() bool { return s.told("call.completed") == len(s.calls()) })
	d := s.desk(p)
	for _, r := range s.calls() {
		if got := d.ask("GET", soundPath(r.CallSID)+"/info", ""); got.Status == 404 {
			continue // the third call, and the second if it was refused
		}
		waitFor(t, s.ctx, func() bool { return d.info(r.CallSID).Status != "recording" }, "the end of a recording")
		info := d.info(r.CallSID)
		t.Logf("a call of %d s: %s %q, %d s, truncated %v", r.OnCallDuration, info.Status, info.Reason, info.Duration, info.Truncated)
		failed, ready := d.told("recording.failed", r.CallSID), d.told("recording.ready", r.CallSID)
		if len(failed)+len(ready) != 1 || len(ready) == 1 && !ready[0].Data.Truncated {
			t.Errorf("of a recording on a full disk was told: failed %+v, ready %+v", failed, ready)
		}
		if len(ready) == 1 {
			_, sound := d.stored(r.CallSID)
			for channel, hz := range []float64{440, 1000} {
				if got := phone.Tone(sound[channel][phone.Rate/4:], hz); got < 0.8 {
					t.Errorf("what is left of channel %d is to %.2f what was said", channel, got)
				}
			}
		}
	}
	if left := spoolSize(s.dir); left != 0 {
		t.Errorf("%d bytes are left in the spool", left)
	}
}
