package sipua

import (
	"bytes"
	"strconv"

	"tandem/internal/ladder"
	"tandem/internal/voice/sdp"
)

// glimpse is what a ladder keeps of a message, and whose message it is.
type glimpse struct {
	callID []byte // within the message
	invite bool   // the request that may begin a call: an INVITE without our tag
	msg    ladder.Message

	fields [8]ladder.Field
	codecs [8]byte
	nf, nc int // how many of them are set
}

// message is what goes into the ladder; it refers to g. (Were the slices set before,
// every glimpse would be on the heap.)
func (g *glimpse) message() ladder.Message {
	m := g.msg
	m.Fields, m.Media.Codecs = g.fields[:g.nf], g.codecs[:g.nc]
	return m
}

// glance reads a message for the ladder. It reads the bytes as they are on the wire
// and not what a parser made of them, since a message that is refused or sent again is
// seen as well; what it cannot read it leaves out. It keeps no text of the message but
// the hidden number of an INVITE.
func (g *glimpse) glance(raw []byte) {
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	line, head, _ := bytes.Cut(head, []byte("\r\n"))
	if status, ok := bytes.CutPrefix(line, []byte("SIP/2.0 ")); ok {
		g.msg.Status = int(min(number(status), 999))
	} else {
		method, _, _ := bytes.Cut(line, []byte(" "))
		g.msg.Method = ladder.MethodOf(method)
	}
	var sdp, tagged bool
	for len(head) > 0 {
		var field []byte
		field, head, _ = bytes.Cut(head, []byte("\r\n"))
		name, value, ok := bytes.Cut(field, []byte(":"))
		if !ok {
			continue
		}
		switch name, value = bytes.TrimSpace(name), bytes.TrimSpace(value); {
		case is(name, "call-id", 'i'):
			g.callID = value
		case is(name, "cseq", 0):
			seq, method, _ := bytes.Cut(value, []byte(" "))
			g.msg.Seq = uint32(number(seq))
			g.msg.Method = ladder.MethodOf(bytes.TrimSpace(method))
		case is(name, "to", 't'):
			tagged = bytes.Contains(value, []byte(";tag="))
		case is(name, "content-type", 'c'):
			sdp = prefixed(value, "application/sdp")
			g.msg.Digit = prefixed(value, "application/dtmf")
			if !sdp && !g.msg.Digit && len(body) > 0 {
				g.keep(ladder.OtherBody, 1)
			}
		default:
			g.field(name, value)
		}
	}
	if g.invite = !tagged && g.msg.Method == "INVITE" && g.msg.Status == 0; g.invite {
		g.msg.Number = ladder.Hide(string(userOf(line)))
	}
	g.msg.Digit = g.msg.Digit && g.msg.Method == "INFO" && g.msg.Status == 0
	if sdp && len(body) > 0 {
		g.description(body)
	}
}

// field keeps what a header field says if the ladder has a place for it.
func (g *glimpse) field(name, value []byte) {
	switch {
	case is(name, "reason", 0):
		g.reason(value)
	case is(name, "max-forwards", 0):
		if g.msg.Method == "INVITE" && g.msg.Status == 0 { // where it is routed
			g.keep(ladder.MaxForwards, number(value))
		}
	case is(name, "session-expires", 'x'):
		g.keep(ladder.SessionExpires, number(value))
		switch {
		case bytes.Contains(value, []byte("refresher=uac")):
			g.keep(ladder.Refresher, 1)
		case bytes.Contains(value, []byte("refresher=uas")):
			g.keep(ladder.Refresher, 2)
		}
	case is(name, "require", 0):
		g.keep(ladder.Require, requireBits(value))
	default:
		for _, f := range [...]struct {
			name string
			key  ladder.Key
			sets uint64 // what is kept; 0 = the number that the value begins with
		}{{"retry-after", ladder.RetryAfter, 0}, {"rseq", ladder.RSeq, 0}, {"rack", ladder.RAck, 0}, {"min-se", ladder.MinSE, 0},
			{"warning", ladder.Warning, 0}, {"www-authenticate", ladder.Challenged, 1}, {"proxy-authenticate", ladder.Challenged, 2},
			{"authorization", ladder.Credentials, 1}, {"proxy-authorization", ladder.Credentials, 2}} {
			if !is(name, f.name, 0) {
				continue
			}
			if f.sets == 0 {
				f.sets = number(value)
			}
			g.keep(f.key, f.sets)
		}
	}
}

// reason keeps the causes of a Reason header and leaves its text out (RFC 3326).
func (g *glimpse) reason(value []byte) {
	key := ladder.ReasonSIP
	switch {
	case prefixed(value, "q.850"):
		key = ladder.ReasonQ850
	case !prefixed(value, "sip"):
		return
	}
	if _, cause, ok := bytes.Cut(value, []byte("cause=")); ok {
		g.keep(key, min(number(cause), 999))
	}
}

func (g *glimpse) keep(key ladder.Key, value uint64) {
	if g.nf < len(g.fields) {
		g.fields[g.nf] = ladder.Field{Key: key, Value: min(value, 1<<32-1)}
		g.nf++
	}
}

func requireBits(value []byte) (bits uint64) {
	for tag := range bytes.SplitSeq(value, []byte(",")) {
		switch string(bytes.TrimSpace(tag)) {
		case "100rel":
			bits |= ladder.Require100rel
		case "timer":
			bits |= ladder.RequireTimer
		case "replaces":
			bits |= ladder.RequireReplaces
		default:
			bits |= ladder.RequireOther
		}
	}
	return bits
}

// description keeps what a session description says of the first audio stream.
func (g *glimpse) description(body []byte) {
	g.msg.Described, g.msg.Media.Refused = true, true
	var payloads []byte
	var names [128]byte // codes of rtpmap, by payload
	audio, before, zero := false, true, false
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		if value, ok := bytes.CutPrefix(line, []byte("m=")); ok {
			if audio {
				break
			}
			before = false
			if audio = bytes.HasPrefix(value, []byte("audio ")); audio {
				payloads = g.stream(value)
			}
			continue
		}
		switch {
		case !audio && !before:
		case bytes.HasPrefix(line, []byte("c=IN IP4 0.0.0.0")):
			zero = true
		case bytes.HasPrefix(line, []byte("a=rtpmap:")):
			payload, name, _ := bytes.Cut(line[len("a=rtpmap:"):], []byte(" "))
			name, _, _ = bytes.Cut(name, []byte("/"))
			if n := number(payload); n < 128 {
				names[n] = ladder.CodecOf(name)
			}
		default:
			g.direct(line)
		}
	}
	if zero && g.msg.Media.Direction == ladder.SendRecv { // hold as RFC 2543 had it
		g.msg.Media.Direction = ladder.SendOnly
	}
	for p := range bytes.FieldsSeq(payloads) {
		n := number(p)
		if n > 127 || g.nc == len(g.codecs) {
			break
		}
		code := names[n]
		if code == 0 {
			code = ladder.CodecOf([]byte(sdp.StaticCodec(uint8(n))))
		}
		g.codecs[g.nc] = code
		g.nc++
	}
}

// stream reads the m= line of audio and gives its payload numbers.
func (g *glimpse) stream(value []byte) (payloads []byte) {
	_, rest, _ := bytes.Cut(value, []byte(" "))
	port, rest, _ := bytes.Cut(rest, []byte(" "))
	proto, payloads, _ := bytes.Cut(rest, []byte(" "))
	g.msg.Media.Refused = number(port) == 0
	g.msg.Media.Secure = bytes.Contains(proto, []byte("SAVP"))
	return payloads
}

func (g *glimpse) direct(line []byte) {
	switch string(line) {
	case "a=sendrecv":
		g.msg.Media.Direction = ladder.SendRecv
	case "a=sendonly":
		g.msg.Media.Direction = ladder.SendOnly
	case "a=recvonly":
		g.msg.Media.Direction = ladder.RecvOnly
	case "a=inactive":
		g.msg.Media.Direction = ladder.Inactive
	}
}

// userOf is the user part of a Request-URI; a tel URI is all user.
func userOf(line []byte) []byte {
	_, uri, _ := bytes.Cut(line, []byte(" "))
	uri, _, _ = bytes.Cut(uri, []byte(" "))
	scheme, rest, _ := bytes.Cut(uri, []byte(":"))
	user, _, at := bytes.Cut(rest, []byte("@"))
	if !at && !is(scheme, "tel", 0) {
		return nil
	}
	return user
}

// is reports whether a header field's name is the one given in lower case, or its
// compact form.
func is(name []byte, long string, compact byte) bool {
	if len(name) == 1 && compact != 0 {
		return name[0]|0x20 == compact
	}
	return len(name) == len(long) && prefixed(name, long)
}

// prefixed reports whether text begins with lower, whatever its case.
func prefixed(text []byte, lower string) bool {
	if len(text) < len(lower) {
		return false
	}
	for i := range len(lower) {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// number reads the digits that text begins with; 0 if there are none or too many.
func number(text []byte) uint64 {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(text[:n]), 10, 32)
	if err != nil {
		return 0
	}
	return v
}
