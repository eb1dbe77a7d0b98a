package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// way is how a sipp tells its keys, and what it offers for that.
type way struct {
	how    phone.Way
	media  string   // its name for the port of its media
	offers []string // numbers and codecs
	law    string   // of what it says, as sox calls it; "" = it is silent but for keys
	info   string   // body of an INFO: type and text around the key
}

// sipp numbers its telephone-events 96 and no other, and tells them in a way of its
// own: the events overlap by their timestamps, the reserved bit comes and goes, and
// each lot of keys is a stream of its own.
var (
	events = way{how: phone.RFC4733, media: "media_port", offers: []string{"8 PCMA", "96 telephone-event"}}
	relay  = way{how: phone.INFO, media: "rtpstream_audio_port", offers: []string{"8 PCMA", "101 telephone-event"}, law: "a-law",
		info: "application/dtmf-relay|Signal=%c\n      Duration=160"}
	plain     = way{how: phone.INFO, media: "rtpstream_audio_port", offers: []string{"0 PCMU"}, law: "u-law", info: "application/dtmf|%c"}
	inbandOfA = way{how: phone.Inband, media: "rtpstream_audio_port", offers: []string{"8 PCMA"}, law: "a-law"}
	inbandOfU = way{how: phone.Inband, media: "rtpstream_audio_port", offers: []string{"0 PCMU"}, law: "u-law"}
)

// keys is what a caller enters at his seat, lot by lot.
type keys func(s *seat) []string

func right(s *seat) []string       { return []string{s.pin.PIN} }
func wrongFirst(s *seat) []string  { return append(s.wrong(1), s.pin.PIN) }
func cleared(s *seat) []string     { return []string{s.pin.PIN[:2] + "*" + s.pin.PIN} }
func tooShort(s *seat) []string    { return []string{s.pin.PIN[:3] + "#", s.pin.PIN} }
func firstNone(s *seat) []string   { return []string{"#", s.pin.PIN} }
func alwaysWrong(s *seat) []string { return s.wrong(3) }

// All call at once, which does not mix them up either. Every PIN has a key twice in
// a row.
func TestASippWithAPINReachesTheOneItBelongsTo(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	running := map[string]*seat{}
	cases := map[string]struct {
		way
		keys
	}{
		"RFC 4733":                       {events, right},
		"RFC 4733, wrong at first":       {events, wrongFirst},
		"RFC 4733, cleared":              {events, cleared},
		"RFC 4733, too short at first":   {events, tooShort},
		"RFC 4733, none at first":        {events, firstNone},
		"INFO":                           {relay, right},
		"INFO, wrong at first":           {relay, wrongFirst},
		"INFO, cleared":                  {relay, cleared},
		"INFO, too short at first":       {relay, tooShort},
		"plain INFO":                     {plain, right},
		"plain INFO, none at first":      {plain, firstNone},
		"in-band, A-law":                 {inbandOfA, right},
		"in-band, A-law, wrong at first": {inbandOfA, wrongFirst},
		"in-band, µ-law":                 {inbandOfU, right},
		"in-band, µ-law, cleared":        {inbandOfU, cleared},
	}
	for name := range cases {
		running[name] = d.seat(hasDouble)
	}
	close(d.open)
	for name, s := range running {
		s.enter(cases[name].way, cases[name].keys(s))
	}
	for name, s := range running {
		t.Run(name, func(t *testing.T) { s.connects(t, cases[name].law != "") })
	}
	all := records(t, d.w)
	for name, s := range running {
		if r := all[s.from]; r.Cause != "callee_hung_up" || r.Pin != s.pin.ID || r.To != s.to {
			t.Errorf("%s: record %+v", name, r)
		}
	}
}

// connects waits for the callee, who may hear the caller, knows of no key, and
// hangs up.
func (s *seat) connects(t *testing.T, speaks bool) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var b *phone.Call
	select {
	case b = <-s.called:
	case <-s.caller.Done:
		s.caller.Wait(t, 0)
		t.Fatal("the caller has ended")
	case <-s.ctx.Done():
		t.Fatal("nobody was called")
	}
	if from := b.Seen().From; from != virtual {
		t.Errorf("the callee was shown %q", from)
	}
	must(b.Answered(s.ctx))
	if speaks {
		must(b.HearsTone(s.ctx, toneA))
	}
	if n := len(b.Digits()); n != 0 {
		t.Errorf("the callee was told of %d keys", n)
	}
	must(b.Hangup(s.ctx))
	s.caller.Wait(t, 10*time.Second)
}

func TestASippWithThreeWrongPINsIsHungUpOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	running := map[string]*seat{}
	cases := map[string]way{"RFC 4733": events, "INFO": relay, "in-band": inbandOfA}
	for name := range cases {
		running[name] = d.seat(anyPIN)
	}
	close(d.open)
	for name, s := range running {
		s.enter(cases[name], alwaysWrong(s))
	}
	for _, s := range running {
		s.caller.Wait(t, 30*time.Second)
	}
	all := records(t, d.w)
	for name, s := range running {
		if r := all[s.from]; r.Cause != "rejected" || r.Reason != "pin_failed" || r.Pin != "" {
			t.Errorf("%s: record %+v", name, r)
		}
		if len(s.called) > 0 {
			t.Errorf("%s: the callee was called", name)
		}
	}
}

// enter starts a sipp that calls and enters lots of keys: the first a second after
// the answer, while the question is being put, and each further one a second after
// the one before. Then it says toneA, if it has a voice.
func (s *seat) enter(y way, lots []string) {
	s.t.Helper()
	k := &keying{t: s.t, way: y, from: s.from, seq: 1}
	for i, keys := range lots {
		k.rest(time.Second)
		if i > 0 && y.how == phone.RFC4733 { // sipp goes on at once, and makes pauses between keys
			k.rest(time.Duration(len(lots[i-1])) * 4 * keyOn)
		}
		k.press(keys)
	}
	s.caller = world.StartSipp(s.t, "udp", "-sf", k.scenario().write(s.t), "-s", virtual, "-m", "1", s.w.SIP("udp").String())
}

// keying becomes what a sipp does once it is answered.
type keying struct {
	t *testing.T
	way
	from  string
	seq   int             // of the last request
	acts  strings.Builder // elements of the scenario
	sound []byte          // what it says meanwhile
}

// rest lets time pass.
func (k *keying) rest(d time.Duration) {
	if k.how == phone.Inband {
		k.sound = append(k.sound, sox(k.t, k.law, "trim", "0", seconds(d))...)
		return
	}
	fmt.Fprintf(&k.acts, "<pause milliseconds=\"%d\"/>\n", d.Milliseconds())
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// How long keys are held, and the pauses between them.
const keyOn, keyOff = 100 * time.Millisecond, 80 * time.Millisecond

// press presses keys one after the other.
func (k *keying) press(keys string) {
	if k.how == phone.RFC4733 {
		fmt.Fprintf(&k.acts, "<nop><action><exec play_dtmf=\"%s,%d\"/></action></nop>\n", keys, keyOn.Milliseconds())
		return
	}
	for _, key := range keys {
		if k.how == phone.INFO {
			k.inform(key)
		} else {
			low, high := tonesOf(key)
			k.sound = append(k.sound, sox(k.t, k.law, "synth", seconds(keyOn), "sine", low, "synth", seconds(keyOn), "sine", "mix", high, "gain", "-n", "-6")...)
		}
		k.rest(keyOff)
	}
}

// tonesOf are the two frequencies of a key in Hz (ITU-T Q.23).
func tonesOf(key rune) (low, high string) {
	at := strings.IndexRune("123456789*0#", key)
	return []string{"697", "770", "852", "941"}[at/3], []string{"1209", "1336", "1477"}[at%3]
}

// inform tells a key by INFO.
func (k *keying) inform(key rune) {
	k.seq++
	kind, text, _ := strings.Cut(k.info, "|")
	fmt.Fprintf(&k.acts, `
  <send retrans="500">
    <![CDATA[
      INFO [next_url] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: <sip:%s@[local_ip]:[local_port]>;tag=[pid]t[call_number]
      [last_To:]
      Call-ID: [call_id]
      CSeq: %d INFO
      Max-Forwards: 70
      Content-Type: %s
      Content-Length: [len]

      %s
    ]]>
  </send>
  <recv response="200"/>
`, k.from, k.seq, kind, fmt.Sprintf(text, key))
}

// scenario is the whole of it.
func (k *keying) scenario() script {
	k.t.Helper()
	var formats, maps []string
	for _, o := range k.offers {
		number, _, _ := strings.Cut(o, " ")
		formats, maps = append(formats, number), append(maps, "a=rtpmap:"+o+"/8000")
	}
	acts := k.acts.String()
	if k.law != "" {
		file := k.file()
		write(k.t, file, append(k.sound, sox(k.t, k.law, "synth", "30", "sine", fmt.Sprint(toneA), "gain", "-6")...))
		number, codec, _ := strings.Cut(k.offers[0], " ")
		acts = fmt.Sprintf("<nop><action><exec rtp_stream=\"%s,1,%s,%s/8000\"/></action></nop>\n", file, number, codec) + acts
	}
	return script{"pin_caller.xml", []string{"CALLER", k.from, "MEDIA", k.media, "FORMATS", strings.Join(formats, " "),
		"RTPMAP", strings.Join(maps, "\n      "), "KEYS", acts}}
}

// file is for what it says: sipp reads a comma in a path as the path's end, and a
// test's own folder is called as the test.
func (k *keying) file() string {
	k.t.Helper()
	dir, err := os.MkdirTemp("", "sipp-")
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "says")
}

// sox makes sound as G.711 without any header.
func sox(t *testing.T, law string, effects ...string) []byte {
	t.Helper()
	sound, err := exec.Command("sox", append([]string{"-n", "-r", "8000", "-c", "1", "-b", "8", "-e", law, "-t", "raw", "-"}, effects...)...).Output()
	if err != nil {
		t.Fatalf("sox: %v", err)
	}
	return sound
}
