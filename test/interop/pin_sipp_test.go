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

func TestASippWithAPINReachesTheOneItBelongsTo(t *testing.T) {
	right := func(pin string) []string { return []string{pin} }
	errs := func(pin string) []string { return []string{wrong(pin, 1), pin} }
	clears := func(pin string) []string { return []string{pin[:2] + "*" + pin} }
	stops := func(pin string) []string { return []string{pin[:3] + "#", pin} }
	nothing := func(pin string) []string { return []string{"#", pin} }
	for name, c := range map[string]struct {
		way
		keys func(pin string) []string
	}{
		"RFC 4733":                       {events, right},
		"RFC 4733, wrong at first":       {events, errs},
		"RFC 4733, cleared":              {events, clears},
		"RFC 4733, too short":            {events, stops},
		"RFC 4733, at first nothing":     {events, nothing},
		"INFO":                           {relay, right},
		"INFO, wrong at first":           {relay, errs},
		"INFO, cleared":                  {relay, clears},
		"INFO, too short":                {relay, stops},
		"plain INFO, at first nothing":   {plain, nothing},
		"in-band, A-law":                 {inbandOfA, right},
		"in-band, A-law, wrong at first": {inbandOfA, errs},
		"in-band, µ-law, cleared":        {inbandOfU, clears},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newDesk(t).connects(c.way, c.keys)
		})
	}
}

// connects lets a sipp enter keys that lead to bob, who talks with it and hangs up.
func (d *desk) connects(y way, keys func(pin string) []string) {
	d.t.Helper()
	caller := d.enter(y, keys(d.pin.PIN))
	b := d.reached()
	d.must(b.Ring(phone.Reply{}))
	d.must(b.Answer(phone.Reply{Audio: phone.Sine(toneB, 8000)}))
	d.must(b.Answered(d.ctx))
	if y.law != "" {
		d.must(b.HearsTone(d.ctx, toneA))
	}
	d.unknown(b)
	d.must(b.Hangup(d.ctx))
	caller.wait(d.t, 10*time.Second)
	if r := d.record(); r.Cause != "callee_hung_up" || r.Pin != d.pin.ID || r.From != alice || r.To != bob {
		d.t.Errorf("record %+v", r)
	}
}

func TestASippWithThreeWrongPINsIsHungUpOn(t *testing.T) {
	for name, y := range map[string]way{"RFC 4733": events, "INFO": relay, "in-band": inbandOfA} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			pin := d.pin.PIN
			d.enter(y, []string{wrong(pin, 1), wrong(pin, 2), wrong(pin, 3)}).wait(t, 30*time.Second)
			if r := d.record(); r.Cause != "rejected" || r.Reason != "pin_failed" || r.Pin != "" {
				t.Errorf("record %+v", r)
			}
			select {
			case <-d.called:
				t.Error("somebody was called")
			default:
			}
		})
	}
}

// enter starts a sipp that calls and enters lots of keys: the first a second after
// the answer, while the question is being put, and each further one a second after
// the one before. Then it says toneA, if it has a voice.
func (d *desk) enter(y way, lots []string) *sipp {
	d.t.Helper()
	k := &keying{t: d.t, way: y, seq: 1}
	for i, keys := range lots {
		k.rest(time.Second)
		if i > 0 && y.how == phone.RFC4733 { // sipp goes on at once, and makes pauses between keys
			k.rest(time.Duration(len(lots[i-1])) * 4 * keyOn)
		}
		k.press(keys)
	}
	d.caller = startSipp(d.t, "udp", "-sf", k.scenario().write(d.t), "-s", virtual, "-m", "1", d.w.SIP("udp").String())
	return d.caller
}

// keying becomes what a sipp does once it is answered.
type keying struct {
	t *testing.T
	way
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
`, alice, k.seq, kind, fmt.Sprintf(text, key))
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
	return script{"pin_caller.xml", []string{"MEDIA", k.media, "FORMATS", strings.Join(formats, " "),
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
