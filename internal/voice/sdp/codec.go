package sdp

import (
	"slices"
	"strconv"
	"strings"
)

// A codec is an entry of the allow-list: only these cross from leg to leg.
type codec struct {
	name     string  // spelling of the IANA registry
	clocks   []int   // RTP clock rates that exist
	channels int     // what rtpmap may say
	control  bool    // carries no speech by itself
	params   []param // fmtp parameters that cross, in the order they are written
	// framing names the parameters that change the packets on the wire: two
	// formats with different values are two formats.
	framing []string
}

// A param rewrites the value of one fmtp parameter; ok is false for what it
// does not know. No rewritten value can carry more than a few digits.
type param struct {
	name  string
	value func(string) (text string, ok bool)
}

// codecs is the allow-list. Sources: RFC 3551, 3389 (CN), 3952 (iLBC), 4733
// (telephone-event), 4867 (AMR), 5574 (speex), 7587 (opus).
var codecs = []codec{
	{name: "PCMA", clocks: []int{8000}, channels: 1},
	{name: "PCMU", clocks: []int{8000}, channels: 1},
	{name: "G722", clocks: []int{8000}, channels: 1}, // 8000 by RFC 3551 §4.5.2, though it samples at 16000
	{name: "GSM", clocks: []int{8000}, channels: 1},
	{name: "G729", clocks: []int{8000}, channels: 1, params: []param{{"annexb", oneOf("yes", "no")}}},
	{name: "iLBC", clocks: []int{8000}, channels: 1, params: []param{{"mode", oneOf("20", "30")}}},
	{name: "speex", clocks: []int{8000, 16000, 32000}, channels: 1, params: []param{
		{"vbr", oneOf("on", "off", "vad")}, {"cng", oneOf("on", "off")}, {"mode", upTo(10)}}},
	{name: "AMR", clocks: []int{8000}, channels: 1, params: amrParams(7), framing: amrFraming},
	{name: "AMR-WB", clocks: []int{16000}, channels: 1, params: amrParams(8), framing: amrFraming},
	{name: "opus", clocks: []int{48000}, channels: 2, params: []param{
		{"maxplaybackrate", opusRate}, {"sprop-maxcapturerate", opusRate},
		{"maxaveragebitrate", opusBitrate},
		{"stereo", oneOf("0", "1")}, {"sprop-stereo", oneOf("0", "1")}, {"cbr", oneOf("0", "1")},
		{"useinbandfec", oneOf("0", "1")}, {"usedtx", oneOf("0", "1")}, {"minptime", upTo(120)}}},
	{name: "CN", clocks: []int{8000, 16000, 32000, 48000}, channels: 1, control: true},
	{name: "telephone-event", clocks: []int{8000, 16000, 32000, 48000}, channels: 1, control: true},
}

var amrFraming = []string{"octet-align", "crc", "robust-sorting", "interleaving"}

// amrParams lists the parameters of RFC 4867 §8.1 for a codec whose highest
// mode is top.
func amrParams(top int) []param {
	return []param{
		{"octet-align", oneOf("0", "1")}, {"mode-set", modeSet(top)},
		{"mode-change-period", oneOf("1", "2")}, {"mode-change-capability", oneOf("1", "2")},
		{"mode-change-neighbor", oneOf("0", "1")},
		{"crc", oneOf("0", "1")}, {"robust-sorting", oneOf("0", "1")},
		{"interleaving", upTo(30)}, {"max-red", upTo(999)},
	}
}

// StaticCodec is the codec of a payload number that needs no rtpmap (RFC 3551 §6);
// "" for every other, and for those that nobody uses any more.
func StaticCodec(payload uint8) string {
	switch payload {
	case 0:
		return "PCMU"
	case 3:
		return "GSM"
	case 8:
		return "PCMA"
	case 9:
		return "G722"
	case 13:
		return "CN"
	case 18:
		return "G729"
	}
	return ""
}

// staticFormat is what a number means without an rtpmap.
func staticFormat(payload uint8) Format {
	f := Format{Payload: payload, Codec: StaticCodec(payload), Channels: 1}
	if f.Codec != "" {
		f.Clock = 8000
	}
	return f
}

// spelling gives the registered spelling of a codec's name, or name itself.
func spelling(name string) string {
	for i := range codecs {
		if strings.EqualFold(codecs[i].name, name) {
			return codecs[i].name
		}
	}
	return name
}

// codecFor finds the entry of f. A known name with a clock or channel number
// that does not exist is not known: it could carry a number of another kind.
func codecFor(f Format) (*codec, bool) {
	for i := range codecs {
		c := &codecs[i]
		if c.name == f.Codec && c.channels == f.Channels && slices.Contains(c.clocks, f.Clock) {
			return c, true
		}
	}
	return nil, false
}

// param gives the value of a parameter of f's fmtp, def if it is not given.
func (f Format) param(name, def string) string {
	for part := range strings.SplitSeq(f.Params, ";") {
		key, value, _ := strings.Cut(part, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return def
}

// neutralParams rewrites f's fmtp from c's list. "" means no fmtp line.
func neutralParams(f Format, c *codec) string {
	if c.name == "telephone-event" {
		return eventRange(f.Params)
	}
	var out []string
	for _, p := range c.params {
		if value := f.param(p.name, ""); value != "" {
			if text, ok := p.value(value); ok {
				out = append(out, p.name+"="+text)
			}
		}
	}
	return strings.Join(out, ";")
}

// sameAs reports whether f and g are one codec packed in one way, so that a
// payload of f can be sent as g without touching it.
func (f Format) sameAs(g Format) bool {
	c, ok := codecFor(f)
	if !ok || f.Codec != g.Codec || f.Clock != g.Clock || f.Channels != g.Channels {
		return false
	}
	for _, name := range c.framing {
		if f.param(name, "0") != g.param(name, "0") {
			return false
		}
	}
	return true
}

// eventRange rewrites an event list (RFC 4733 §2.4.1) to the widest of a few
// usual ranges that it covers: a free list of numbers could spell a telephone
// number, and nothing but DTMF and flash means anything to a phone.
func eventRange(list string) string {
	var has [256]bool
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, err := strconv.ParseUint(first, 10, 8)
		if err != nil {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.ParseUint(last, 10, 8); err != nil {
				continue
			}
		}
		for n := from; n <= to; n++ {
			has[n] = true
		}
	}
	covered := 0
	for covered < len(has) && has[covered] {
		covered++
	}
	for _, last := range []int{16, 15, 11, 9} {
		if covered > last {
			return "0-" + strconv.Itoa(last)
		}
	}
	return ""
}

// oneOf accepts the given words, without regard to case.
func oneOf(words ...string) func(string) (string, bool) {
	return func(s string) (string, bool) {
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, s) })
		if i < 0 {
			return "", false
		}
		return words[i], true
	}
}

// upTo accepts a number from 0 to most.
func upTo(most int) func(string) (string, bool) {
	return func(s string) (string, bool) {
		n, err := strconv.Atoi(s)
		return strconv.Itoa(n), err == nil && n >= 0 && n <= most
	}
}

// modeSet accepts a list of modes and writes it sorted, each once.
func modeSet(top int) func(string) (string, bool) {
	return func(s string) (string, bool) {
		var has [10]bool
		for part := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(part))
			if err != nil || n < 0 || n > top {
				return "", false
			}
			has[n] = true
		}
		var out []string
		for n, set := range has {
			if set {
				out = append(out, strconv.Itoa(n))
			}
		}
		return strings.Join(out, ","), true
	}
}

// opusRate accepts the sampling rates of RFC 7587 §3.
func opusRate(s string) (string, bool) {
	return oneOf("8000", "12000", "16000", "24000", "48000")(s)
}

// opusBitrate accepts 6 to 510 kbit/s (RFC 7587 §6.1) and rounds down to whole
// kbit/s, so that it holds three digits and no more.
func opusBitrate(s string) (string, bool) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 6000 || n > 510000 {
		return "", false
	}
	return strconv.Itoa(n / 1000 * 1000), true
}
