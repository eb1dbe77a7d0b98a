package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/prompt"
)

// recorded is what an allocation says whose calls are recorded.
var recorded = map[string]any{"record": true}

// onlyCall settles and gives the one call there was.
func (st *stage) onlyCall() string {
	st.t.Helper()
	return st.record().ID
}

// spooled waits until something of the running recording is on the disk.
func (st *stage) spooled() {
	st.t.Helper()
	waitFor(st.t, st.ctx, func() bool { return spoolSize(st.Dir) > 64<<10 }, "a sealed piece in the spool")
}

// spoolSize is how much waits in the spool of a data folder.
func spoolSize(dir string) (sum int64) {
	_ = filepath.WalkDir(filepath.Join(dir, "spool"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // not there yet, or not any more
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

func TestARecordingHoldsTheCallerLeftAndTheCalleeRight(t *testing.T) {
	t.Parallel()
	said := tape{phone.Noise(1, 5*phone.Rate), phone.Noise(2, 5*phone.Rate)}
	for name, c := range map[string]struct {
		codec string
		pin   bool
	}{"GreenVN, A-law": {"PCMA", false}, "GreenVN, µ-law": {"PCMU", false}, "GreenPin": {"PCMA", true}} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, setting{sharing: "shared"})
			as := func(in *phone.Invite) { in.Codecs = []string{c.codec, "telephone-event"} }
			secrets := []string{national(alice), national(bob)}
			var a *phone.Call
			if c.pin {
				p := st.pin(alice, bob, recorded)
				secrets = append(secrets, p.PIN)
				a = st.asked(st.in, alice, as)
				st.must(a.Press(st.ctx, p.PIN, phone.Press{}))
			} else {
				st.allocate(recorded)
				a = st.dial(st.in, alice, as)
			}
			b := st.called()
			st.must(b.Answer(phone.Reply{Audio: phone.Samples(said[1])}))
			st.must(b.Answered(st.ctx))
			st.must(a.Answered(st.ctx))
			a.Say(phone.Samples(said[0]))
			st.spooled()
			nothingPlain(t, st.Dir, said[0], secrets...)
			nothingPlain(t, st.Dir, said[1], secrets...)
			st.must(a.Said(st.ctx))
			st.must(b.Said(st.ctx))
			st.must(a.Hangup(st.ctx))
			st.over(a, b)
			call := st.onlyCall()
			d := st.desk("acme")
			info, sound := d.stored(call)
			d.holds("left", sound[0], said[0])
			d.holds("right", sound[1], said[1])
			if info.Truncated || info.DroppedPackets != 0 || info.Duration < 5 || slices.Max(info.Peaks.Left) < 200 || slices.Max(info.Peaks.Right) < 200 {
				t.Errorf("the recording is %+v", info)
			}
			played := d.ask("GET", soundPath(call), "").Body
			for _, side := range said {
				nothingPlain(t, st.Dir, side, secrets...)
				if !plainIn(played, side) {
					t.Error("what is looked for on the disk would not be found")
				}
			}
			if left := spoolSize(st.Dir); left != 0 {
				t.Errorf("%d bytes are left in the spool", left)
			}
			end := d.told("call.completed", call)
			if len(end) != 1 || end[0].Data.RecordingURL == nil || *end[0].Data.RecordingURL != "/v1/tenants/acme"+soundPath(call) {
				t.Errorf("call.completed: %+v", end)
			}
		})
	}
}

func TestARecordingIsGivenOutInPartsAndByItsTag(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(recorded)
	a, b := st.talk(alice, phone.Samples(phone.Noise(1, 8*phone.Rate)), phone.Sine(880, 8000))
	st.must(b.Hears(st.ctx, 4*phone.Rate)) // over a border of what is sealed in one piece
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	path := soundPath(st.onlyCall())
	d := st.desk("acme")
	whole := d.ask("GET", path, "")
	if whole.Status != 200 || len(whole.Body) < 4*4*phone.Rate || whole.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("GET: %d, %d bytes, %v", whole.Status, len(whole.Body), whole.Header)
	}
	n := len(whole.Body)
	head := d.ask("HEAD", path, "")
	if head.Status != 200 || len(head.Body) != 0 || head.Header.Get("Content-Length") != fmt.Sprint(n) || head.Header.Get("ETag") != whole.Header.Get("ETag") {
		t.Errorf("HEAD: %d with %v", head.Status, head.Header)
	}
	for _, c := range []struct {
		ask      string
		from, to int
	}{{"bytes=0-43", 0, 44}, {"bytes=44-203", 44, 204}, {"bytes=65000-66000", 65000, 66001}, {fmt.Sprintf("bytes=%d-", n-10), n - 10, n}, {"bytes=-100", n - 100, n}} {
		part := d.ask("GET", path, "", "Range", c.ask)
		if part.Status != 206 || !bytes.Equal(part.Body, whole.Body[c.from:c.to]) || part.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", c.from, c.to-1, n) {
			t.Errorf("%s: %d, %d bytes, %s", c.ask, part.Status, len(part.Body), part.Header.Get("Content-Range"))
		}
	}
	if beyond := d.ask("GET", path, "", "Range", fmt.Sprintf("bytes=%d-", n)); beyond.Status != 416 || beyond.code() != "invalid_range" {
		t.Errorf("a range behind the end: %d %s", beyond.Status, beyond.Body)
	}
	if same := d.ask("GET", path, "", "If-None-Match", whole.Header.Get("ETag")); same.Status != 304 || len(same.Body) != 0 {
		t.Errorf("the same once more: %d", same.Status)
	}
}

func TestACallIsNotRecordedThatShallNotBe(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	call := st.onlyCall()
	st.notRecorded(call)
	for _, folder := range []string{"spool", "recordings"} {
		_ = filepath.WalkDir(filepath.Join(st.Dir, folder), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				t.Errorf("left in %s: %s (%v)", folder, path, err)
			}
			return nil
		})
	}
}

// notRecorded fails if anything tells of a recording of the call.
func (st *stage) notRecorded(call string) {
	st.t.Helper()
	d := st.desk("acme")
	for _, path := range []string{soundPath(call), soundPath(call) + "/info"} {
		if got := d.ask("GET", path, ""); got.Status != 404 {
			st.t.Errorf("GET %s: %d", path, got.Status)
		}
	}
	if n := len(d.told("recording.ready", call)) + len(d.told("recording.failed", call)); n != 0 {
		st.t.Errorf("%d events of a recording", n)
	}
	for _, e := range d.told("call.completed", call) {
		if e.Data.RecordingURL != nil {
			st.t.Errorf("call.completed tells of %s", *e.Data.RecordingURL)
		}
	}
}

// keys are the digits whose tones are heard in a channel.
func keys(channel []int16) string {
	ear := prompt.NewInband()
	var digits []byte
	for packet := range slices.Chunk(channel, frame) {
		for digit, ok := ear.Samples(g711.ULaw, g711.ULaw.Encode(nil, packet)); ok; digit, ok = ear.Samples(g711.ULaw, nil) {
			digits = append(digits, digit)
		}
	}
	return string(digits)
}

func TestNoToneOfAPINIsRecorded(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]phone.Press{
		"in-band":                       {How: phone.Inband},
		"in-band, held for long":        {How: phone.Inband, On: 900 * time.Millisecond},
		"RFC 4733, held for long":       {On: 900 * time.Millisecond},
		"in-band, known and quick keys": {How: phone.Inband, On: 60 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, setting{sharing: "shared"})
			p := st.pin(alice, bob, recorded)
			a := st.asked(st.in, alice, func(in *phone.Invite) {
				if how.How == phone.Inband {
					in.Codecs = []string{"PCMA"} // without telephone-event, or nobody listens for tones
				}
			})
			pressed := make(chan error, 1)
			go func() { pressed <- a.Press(st.ctx, p.PIN, how) }()
			b := st.called() // as soon as the last key is known, which may still be held
			st.must(b.Answer(phone.Reply{Audio: phone.Sine(880, 4000)}))
			st.must(b.Answered(st.ctx))
			st.must(<-pressed)
			a.Say(phone.Sine(440, 4000))
			st.must(b.HearsTone(st.ctx, 440))
			st.must(a.Press(st.ctx, "*", phone.Press{How: phone.Inband, On: 400 * time.Millisecond})) // that one is part of the talk
			st.must(b.HearsTone(st.ctx, 440))
			heard := keys(b.Heard())
			st.must(b.Hangup(st.ctx))
			st.over(a, b)
			_, sound := st.desk("acme").stored(st.onlyCall())
			for who, got := range map[string]string{"in the recording": keys(sound[0]), "by the callee": heard} {
				if got == "" || strings.Trim(got, "*") != "" { // more than once where a busy machine has torn the tone
					t.Errorf("%d keys are heard %s, of which the PIN has %d", len(got), who, len(p.PIN))
				}
			}
			st.secret(p.PIN, b)
		})
	}
}

func TestBothHearTheNoticeBeforeEachOtherAndItIsNotRecorded(t *testing.T) {
	t.Parallel()
	said := tape{phone.Noise(3, 14*phone.Rate), phone.Noise(4, 14*phone.Rate)}
	st := newStage(t, setting{})
	st.must(st.Do("acme", "PUT", "/v1/tenants/acme/settings", map[string]any{"recording_announcement": true}, nil))
	st.allocate(recorded)
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.Codecs, in.Audio = []string{"PCMA"}, phone.Samples(said[0]) })
	b := st.called()
	st.must(b.Answer(phone.Reply{Audio: phone.Samples(said[1])}))
	st.must(a.Answered(st.ctx))
	for _, c := range []*phone.Call{a, b} {
		st.must(c.Hears(st.ctx, 4*phone.Rate))
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	sounds, err := prompt.Builtin()
	st.must(err)
	notice := sounds.Clip("acme", "en", "recorded")
	words := g711.ALaw.Decode(nil, notice.Audio(g711.ALaw))
	_, sound := st.desk("acme").stored(st.onlyCall())
	for channel, listener := range []*phone.Call{b, a} {
		heard := listener.Heard()
		told, peer := spots(heard, words), spots(heard, said[channel])
		if n := len(words) / frame; len(told) < n*4/5 || len(peer) < 25 {
			t.Fatalf("%d frames of the notice's %d were heard, and %d of the other side", len(told), n, len(peer))
		}
		if last := told[len(told)-1].position; peer[0].position < last {
			t.Errorf("a side heard the other at sample %d, and the notice until %d", peer[0].position, last)
		}
		// What was said while the notice was heard is neither carried nor recorded.
		first := peer[0].frame
		before, after := spots(sound[channel], said[channel][:(first-25)*frame]), spots(sound[channel], said[channel][first*frame:])
		if len(before) > 0 || len(after) < 25 || after[0].position > phone.Rate {
			t.Errorf("channel %d holds %d frames from before the notice was over, and %d from after it: %v", channel, len(before), len(after), after[:min(1, len(after))])
		}
	}
}

func TestARecordingFollowsHoldAndAChangeOfCodec(t *testing.T) {
	for _, greenPin := range []bool{false, true} {
		t.Run(fmt.Sprintf("GreenPin %v", greenPin), func(t *testing.T) { followsHoldAndCodec(t, greenPin) })
	}
}

func followsHoldAndCodec(t *testing.T, greenPin bool) {
	said := tape{phone.Noise(3, 14*phone.Rate), phone.Noise(4, 14*phone.Rate)}
	sources := [2]*clocked{says(said[0]), says(said[1])}
	st := newStage(t, setting{})
	µFirst := func(in *phone.Invite) { in.Codecs = []string{"PCMU", "PCMA", "telephone-event"} }
	var a *phone.Call
	if greenPin {
		p := st.pin(alice, bob, recorded)
		a = st.asked(st.in, alice, µFirst)
		st.must(a.Press(st.ctx, p.PIN, phone.Press{}))
	} else {
		st.allocate(recorded)
		a = st.dial(st.in, alice, µFirst)
	}
	b := st.called()
	st.must(b.Answer(phone.Reply{Audio: sources[1]}))
	st.must(a.Answered(st.ctx))
	a.Say(sources[0])
	st.must(b.Hears(st.ctx, 3*phone.Rate))
	st.must(a.Reinvite(st.ctx, phone.Offer{Codecs: []string{"PCMA", "telephone-event"}}))
	changed := len(sources[0].when())
	st.must(b.Hears(st.ctx, 6*phone.Rate))
	st.must(a.Hold(st.ctx))
	st.must(b.Hears(st.ctx, 8*phone.Rate)) // the holder goes on to speak
	st.must(a.Resume(st.ctx))
	st.must(a.Said(st.ctx))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	d := st.desk("acme")
	info, sound := d.stored(st.onlyCall())
	if info.Truncated || info.DroppedPackets != 0 {
		t.Errorf("the recording is %+v", info)
	}
	d.holds("left", sound[0], said[0])
	// The callee is told of the hold, says nothing and then goes on where he was: the
	// recording holds all he said, and silence as long as the hold.
	found := spots(sound[1], said[1])
	var pauses []int
	for i := 1; i < len(found); i++ {
		frames := found[i].frame - found[i-1].frame
		switch step := found[i].position - found[i-1].position - frames*frame; {
		case step > 25*frame:
			pauses = append(pauses, step)
		case step < -frame || step > frame:
			t.Errorf("frame %d of the callee is moved by %d samples", found[i].frame, step)
		}
		if frames > 5 {
			t.Errorf("%d frames of the callee are missing", frames)
		}
	}
	if len(pauses) != 1 || len(found) < 500 {
		t.Errorf("%d frames of the callee with pauses of %v samples are in the recording", len(found), pauses)
	}
	// Each law was spoken: a frame of either is found as that law has it.
	for codec, f := range map[string]int{"PCMU": 75, "PCMA": changed + 75} {
		if find(sound[0], phone.Through(codec, said[0])[f*frame+60:f*frame+100]) < 0 {
			t.Errorf("frame %d is not in the recording as %s", f, codec)
		}
	}
	list := apart(sound, said, sources)
	if last := list[len(list)-1]; last.Abs() > 40*time.Millisecond {
		t.Errorf("the sides are %v apart at the end; in each second %v", last, list)
	}
}
